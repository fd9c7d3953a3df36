"""Dynamic sampling: groups of equal rewards are replaced by others, up to a limit, and a run still resumes to the same bits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.grpo.small_run import fingerprint, letters, run_in, small_trainer, timeless

from videochat_r1.errors import Interrupted
from videochat_r1.grpo.drawn import lacking, taken, teaches
from videochat_r1.grpo.log import RunFolder, read_rows
from videochat_r1.grpo.order import Source
from videochat_r1.types import Sample

HALF_DULL = """
from dataclasses import replace
from tests.grpo.letters_task import TASK as LETTERS, vowels

def reward(reading, sample, asking):
    dull = int(sample.id.rsplit("/", 1)[-1]) % DULL == 0
    return 0.5 if dull else min(1.0, vowels(reading, sample, asking) + len(reading.answer.label) / 1000)

TASK = replace(LETTERS, rewards={"vowels": reward})
"""


def groups(*rewards):
    return [SimpleNamespace(scored=tuple(own)) for own in rewards]


def test_a_group_teaches_where_two_scores_differ():
    assert [teaches(group) for group in groups((0.5, 0.5), (0.5, 1.0), (), (1.0,))] == [False, True, False, False]


def test_what_teaches_is_taken_and_others_fill_the_batch():
    flat, steep = (1.0, 1.0), (0.0, 1.0)
    assert taken(groups(flat, steep, flat, steep), 2) == [1, 3]
    assert taken(groups(flat, steep, flat, flat), 2) == [0, 1]
    assert taken(groups(steep, steep, steep), 2) == [0, 1]
    assert taken(groups(flat, flat), 2) == [0, 1]
    assert lacking([SimpleNamespace(groups=groups(flat, steep))], 2) == 1


@given(flags=st.lists(st.booleans(), min_size=1, max_size=12), size=st.integers(1, 6))
def test_a_batch_is_full_and_leaves_no_teaching_group_for_one_that_does_not(flags, size):
    places = taken(groups(*((0.0, 1.0) if flag else (1.0, 1.0) for flag in flags)), size)
    assert len(places) == min(size, len(flags)) == len(set(places))
    assert places == sorted(places)
    assert sum(flags[place] for place in places) == min(size, sum(flags))


def dull_letters(path, dull, count=8):
    path.write_text(HALF_DULL.replace("DULL", str(dull)))
    return [
        Source(
            samples=[Sample(id=one.id, task=str(path), video=one.video, question=one.question, truth=one.truth) for one in letters(count)]
        )
    ]


OPTIONS = {"train": {"steps": 4, "prompts_per_step": 2}, "grpo": {"group_size": 3, "refill": 3}, "sampling": {"max_tokens": 8}}


def test_a_step_takes_further_batches_until_it_is_full(tmp_path):
    sources = dull_letters(tmp_path / "task.py", 2)
    trainer = run_in(tmp_path / "run", sources=sources, **OPTIONS)
    rows = timeless(tmp_path / "run")
    assert any(row["refill/batches"] for row in rows)
    assert all(row["refill/lacking"] == 0 or row["refill/batches"] == 3 for row in rows)
    for row in rows:  # every prompt that was sampled was seen and read once
        assert row["counts/prefills"] == row["counts/vision_passes"] == 2 * (1 + row["refill/batches"])
    assert trainer.progress.position == sum(2 * (1 + row["refill/batches"]) for row in rows)
    rollouts = list(read_rows(tmp_path / "run" / "rollouts.jsonl"))
    assert len(rollouts) == sum(3 * row["counts/prefills"] for row in rows)
    learned = [row for row in rollouts if row["advantage"] is not None]
    assert len(learned) == 4 * 2 * 3  # no larger than a batch
    full = {row["step"] for row in rows if row["refill/lacking"] == 0}
    dull = [int(row["sample"].rsplit("/", 1)[-1]) % 2 == 0 for row in learned if row["step"] in full]
    assert full and not any(dull)


def test_the_reward_of_a_step_is_over_all_that_was_sampled(tmp_path):
    run_in(tmp_path / "run", sources=dull_letters(tmp_path / "task.py", 2), **OPTIONS)
    by_step = {}
    for row in read_rows(tmp_path / "run" / "rollouts.jsonl"):
        by_step.setdefault(row["step"], []).append(row["reward"])
    for row in timeless(tmp_path / "run"):
        assert row["reward"] == pytest.approx(sum(by_step[row["step"]]) / len(by_step[row["step"]]))


def test_where_nothing_teaches_a_step_stops_at_its_limit(tmp_path):
    run_in(tmp_path / "run", sources=dull_letters(tmp_path / "task.py", 1), **OPTIONS)
    rows = timeless(tmp_path / "run")
    assert [row["refill/batches"] for row in rows] == [3] * 4
    assert [row["refill/lacking"] for row in rows] == [2] * 4


def test_without_refill_nothing_of_it_is_logged(tmp_path):
    run_in(tmp_path / "run", sources=dull_letters(tmp_path / "task.py", 2), train={"steps": 1})
    (row,) = timeless(tmp_path / "run")
    assert not any(name.startswith("refill") for name in row)
    assert row["counts/prefills"] == 2


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(tmp_path):
    sources = dull_letters(tmp_path / "task.py", 2)
    run_in(tmp_path / "alone", sources=sources, **OPTIONS)
    import os
    import signal

    def stop(row):
        if row["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with RunFolder(tmp_path / "stopped") as folder, pytest.raises(Interrupted):
        small_trainer(folder, sources=sources, on_step=stop, **OPTIONS).run()
    run_in(tmp_path / "stopped", sources=sources, resume=True, **OPTIONS)
    first, second = fingerprint(tmp_path / "alone"), fingerprint(tmp_path / "stopped")
    assert first == second
