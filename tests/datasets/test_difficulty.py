"""What a source keeps by difficulty: by the file and the sample alone, counted, and refused where something was not measured."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videochat_r1.datasets.base.difficulty import chosen, gaussian, read_measured, summary
from videochat_r1.datasets.base.reading import read_samples
from videochat_r1.datasets.base.rows import fingerprint, write_rows
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.errors import DataError
from videochat_r1.grpo.order import Order, Source
from videochat_r1.grpo.state import data_fingerprint
from videochat_r1.types import Answer, Sample


def samples(count):
    return [
        Sample(
            id=f"v/{index}",
            task="temporal_grounding",
            video=f"v{index}.mp4",
            question=f"it turns {index}",
            truth=Answer(spans=((0.0, 1.0 + index),)),
            duration_s=300.0,
        )
        for index in range(count)
    ]


def row(sample, difficulty, std, **more):
    told = {"unscorable": 0, "reward_mean": 1.0, "fault": ""}
    return {
        "sample": fingerprint([sample]),
        "id": sample.id,
        "task": sample.task,
        "difficulty": difficulty,
        "reward_std": std,
        **told,
        **more,
    }


def measured(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return DataSource(name="jsonl", annotations="a.jsonl", difficulty=str(path))


def test_groups_without_spread_are_left_out_and_others_carry_their_difficulty(tmp_path):
    own = samples(4)
    rows = [row(own[0], 1.0, 0.0), row(own[1], 0.5, 0.2), row(own[2], None, None, fault="missing"), row(own[3], 0.1, 0.05)]
    found = chosen(own, measured(tmp_path / "d.jsonl", rows))
    assert [(one.id, one.meta["difficulty"]) for one in found.samples] == [("v/1", 0.5), ("v/3", 0.1)]
    assert (found.without_spread, found.by_chance, found.unreadable) == (1, 0, 1)
    source = measured(tmp_path / "d.jsonl", rows).model_copy(update={"keep_spread_above": 0.1})
    assert [one.id for one in chosen(own, source).samples] == ["v/1"]
    assert "1 of 4 samples kept" in chosen(own, source).line(source)
    assert len(chosen(own, source.model_copy(update={"keep_spread_above": -1.0})).samples) == 3


def test_the_last_of_several_rows_counts_and_a_line_cut_short_does_not(tmp_path):
    own = samples(1)
    path = tmp_path / "d.jsonl"
    source = measured(path, [row(own[0], 0.9, 0.0), row(own[0], 0.4, 0.3)])
    with path.open("a") as file:
        file.write('{"sample": "half')
    assert chosen(own, source).samples[0].meta["difficulty"] == 0.4
    path.write_text('not json\n{"sample": "x", "difficulty": 0.1, "reward_std": 0.0}\n')
    with pytest.raises(DataError, match=r"d\.jsonl:1: this is no row"):
        read_measured(path)


def test_samples_that_were_not_measured_and_none_left_are_refused(tmp_path):
    own = samples(2)
    with pytest.raises(DataError, match=r"1 of 2 samples of a\.jsonl have no row.*v/1\.\n.*data difficulty"):
        chosen(own, measured(tmp_path / "d.jsonl", [row(own[0], 0.5, 0.2)]))
    with pytest.raises(DataError, match="0 of 2 samples kept"):
        chosen(own, measured(tmp_path / "d.jsonl", [row(one, 0.5, 0.0) for one in own]))
    with pytest.raises(DataError, match="cannot be read"):
        read_measured(tmp_path / "none.jsonl")


def test_the_gaussian_keeps_its_share_and_the_same_samples_whatever_stands_beside_them(tmp_path):
    own = samples(2000)
    rows = [row(one, (index % 100) / 100, 0.2) for index, one in enumerate(own)]
    source = measured(tmp_path / "d.jsonl", rows).model_copy(update={"difficulty_mean": 0.75, "difficulty_width": 0.2})
    kept = {one.id for one in chosen(own, source).samples}
    expected = sum(math.exp(-((index % 100 / 100 - 0.75) ** 2) / (2 * 0.2**2)) for index in range(2000))
    assert len(kept) == pytest.approx(expected, abs=4 * math.sqrt(500))
    reversed_half = own[::-1][:1000]
    assert {one.id for one in chosen(reversed_half, source).samples} == kept & {one.id for one in reversed_half}


@given(difficulty=st.floats(0, 1), mean=st.floats(0, 1), width=st.floats(0, 2))
def test_the_chance_is_one_at_the_mean_and_falls_on_both_sides(difficulty, mean, width):
    assert 0.0 <= gaussian(difficulty, mean, width) <= 1.0 == gaussian(mean, mean, width)
    assert gaussian(difficulty, mean, 0.0) == 1.0
    assert gaussian(difficulty, mean, width) >= gaussian((difficulty + (1.0 if difficulty > mean else -1.0)), mean, width)


def test_a_source_reads_its_own_file(tmp_path):
    own = samples(3)
    write_rows(own, tmp_path / "a.jsonl", "")
    source = DataSource(name="jsonl", annotations=str(tmp_path / "a.jsonl"))
    read = read_samples(source).samples
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row(one, index / 4, 0.1 * index)) + "\n" for index, one in enumerate(read)))
    loaded = read_samples(source.model_copy(update={"difficulty": str(path)}))
    assert [one.id for one in loaded.samples] == ["v/1", "v/2"]
    assert "2 of 3 samples kept by difficulty; 1 left out" in loaded.chosen


@pytest.mark.parametrize("field", [{"keep_spread_above": 0.1}, {"difficulty_mean": 0.5}, {"difficulty_width": 0.2}])
def test_a_filter_needs_the_file(field):
    with pytest.raises(ValueError, match=f"{next(iter(field))} needs difficulty"):
        DataSource(name="jsonl", annotations="a.jsonl", **field)


def test_the_shares_that_a_scan_reports():
    own = samples(5)
    rows = [row(own[0], 0.0, 0.0), row(own[1], 1.0, 0.0), row(own[2], 0.55, 0.3), row(own[3], 0.5, 0.1, unscorable=2)]
    found = summary([*rows, row(own[4], None, None, fault="missing")])["temporal_grounding"]
    assert (found["n"], found["unreadable"], found["unscorable"]) == (5, 1, 2)
    assert (found["with_gradient"], found["never_right"], found["always_right"]) == (50.0, 25.0, 25.0)
    assert found["difficulty_mean"] == pytest.approx(2.05 / 4)
    assert found["histogram"] == [1, 0, 0, 0, 0, 2, 0, 0, 0, 1]


def ranked(count):
    return [Sample(**{**vars(one), "meta": {"difficulty": (index * 7 % count) // 2}}) for index, one in enumerate(samples(count))]


def test_a_curriculum_goes_from_easy_to_hard_in_every_epoch_and_leaves_none_out():
    order = Order([Source(samples=ranked(11))], seed=3, easy_first=True)
    for epoch in range(3):
        own = [order.at(epoch * 11 + place).sample for place in range(11)]
        assert [one.meta["difficulty"] for one in own] == sorted(one.meta["difficulty"] for one in own)
        assert {one.id for one in own} == {f"v/{index}" for index in range(11)}
    first, second = ([order.at(epoch * 11 + place).sample.id for place in range(11)] for epoch in (0, 1))
    assert first != second  # samples of the same difficulty are shuffled
    again = Order([Source(samples=ranked(11))], seed=3, easy_first=True)
    assert [again.at(15 + place).sample.id for place in range(5)] == [order.at(15 + place).sample.id for place in range(5)]


def test_a_curriculum_needs_difficulties_and_they_are_part_of_what_a_run_remembers():
    with pytest.raises(DataError, match="easy_first: the difficulty of sample v/0 is not known"):
        Order([Source(samples=samples(3))], seed=0, easy_first=True)
    assert data_fingerprint([Source(samples=ranked(3))]) != data_fingerprint([Source(samples=samples(3))])
