"""A scan of difficulties: what a row says, and that a scan which was killed goes on without measuring anything twice."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tests.grpo.small_run import DrawnLoader, letters, spans
from tests.tiny import tiny_completion, tiny_policy

from videochat_r1.grpo.difficulty import measure, measured, row_of
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Group, Reading, Rollout
from videochat_r1.video.sampling import VideoConfig

SAMPLING = Sampling(max_tokens=4, batch_prompts=2)


@pytest.fixture(scope="module")
def policy():
    return tiny_policy("qwen2_5_vl", keep_reference=False)


def scan(policy, path, samples, **options):
    engine, loader = NativeEngine(policy), DrawnLoader(VideoConfig(prefetch_threads=1, prefetch_clips=2), policy.geometry)
    keys = [f"key of {sample.id}" for sample in samples]
    rows = measure(policy, engine, loader, samples, keys, path, Asking(), SAMPLING, group_size=3, **options)
    return rows, loader.counters["decodes"]


def test_every_sample_has_a_row_in_order_and_unreadable_videos_say_so(policy, tmp_path):
    samples = [*letters(3, broken=(1,)), *spans(2)]
    rows, _ = scan(policy, tmp_path / "d.jsonl", samples)
    assert [row["id"] for row in rows] == [sample.id for sample in samples]
    assert rows[1]["fault"] == "unreadable" and rows[1]["difficulty"] is None
    for row in (rows[0], rows[2]):
        assert len(row["totals"]) == row["group_size"] == 3
        assert row["reward_mean"] == pytest.approx(sum(row["totals"]) / 3)
        assert 0.0 <= row["difficulty"] <= 1.0
    assert all(row["difficulty"] == 1.0 and row["reward_std"] == 0.0 for row in rows[3:])  # a random policy grounds nothing
    assert [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()] == rows


@pytest.mark.parametrize("bytes_kept", [0, 10, 900, 1500])
def test_a_scan_that_was_killed_goes_on_to_the_same_rows(policy, tmp_path, bytes_kept):
    samples = letters(5)
    whole, decodes = scan(policy, tmp_path / "whole.jsonl", samples)
    content = (tmp_path / "whole.jsonl").read_bytes()
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(content[:bytes_kept])
    kept = content[:bytes_kept].count(b"\n")
    rows, decodes_again = scan(policy, cut, samples)
    assert decodes_again == decodes - kept
    assert rows == whole
    assert cut.read_bytes().count(b"\n") == 5
    again, none = scan(policy, cut, samples)
    assert (again, none) == (whole, 0)


def test_rows_of_other_keys_are_left_alone(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"key": "a", "id": 1}\n{"key": "b", "id": 2}\n')
    assert measured(path, ["b", "c"]) == {"b": {"key": "b", "id": 2}}
    assert measured(tmp_path / "none.jsonl", ["a"]) == {}


def test_difficulty_leaves_the_format_and_what_has_no_score_out(policy):
    reading = Reading(answer=None, reason="", format_ok=True)
    completion = tiny_completion(policy)
    rollouts = (
        Rollout(completion=completion, reading=reading, rewards={"format": 1.0, "tiou": 0.5}),
        Rollout(completion=completion, reading=reading, rewards={"format": 1.0, "tiou": 0.0}),
        Rollout(completion=completion, reading=reading, rewards={"format": 1.0}, unscorable="tiou: no reply"),
    )
    group = Group(sample=spans(1)[0], prompt=None, rollouts=rollouts)
    row = row_of("k", group)
    assert row["difficulty"] == 0.75
    assert row["totals"] == [1.5, 1.0] and row["reward_mean"] == 1.25
    assert row["reward_std"] == pytest.approx(math.sqrt(0.125))
    assert row["unscorable"] == 1 and row["rewards"] == {"format": 1.0, "tiou": 0.25}
    nothing = row_of("k", replace(group, rollouts=rollouts[2:]))
    assert nothing["difficulty"] is None and nothing["reward_std"] is None
