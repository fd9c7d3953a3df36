"""Where a model is good: how overlaps are spread, and figures by length of video and event."""

from __future__ import annotations

import dataclasses

import pytest
from tests.tiny import tiny_sample

from videochat_r1.evaluation.evaluate import Answered
from videochat_r1.evaluation.strata import BINS, bounds, histograms, overlap, strata, strata_rows
from videochat_r1.evaluation.tables import headline, rows
from videochat_r1.types import Answer, Reading


def answered(count, *, right):
    """Samples of 5 to 5 + count seconds, whose event fills the middle; those that `right` says are answered exactly, the others not."""
    found = []
    for number in range(count):
        length = 5.0 + number
        truth = Answer(spans=((length / 4, length / 2),))
        sample = dataclasses.replace(tiny_sample(f"s/{number:03d}", truth=truth), video=f"{number}.mp4", duration_s=length)
        answer = truth if right(number) else None
        reading = Reading(answer=answer, reason="" if answer else "no_answer", format_ok=answer is not None)
        found.append(Answered(sample, "", reading, 3, {"tiou": 1.0 if answer else 0.0}))
    return found


def test_a_model_that_reads_short_videos_alone_shows_so():
    own = answered(60, right=lambda number: number < 30)
    found = strata({"policy": own}, resamples=20)["temporal_grounding"]
    values = [part["models"]["policy"][0] for part in found["by_video"]]
    assert found["metric"] == "mIoU" and len(values) > 1
    assert values[0] == pytest.approx(100.0) and values[-1] == 0.0 and sorted(values, reverse=True) == values
    assert sum(part["n"] for part in found["by_video"]) == sum(part["n"] for part in found["by_event"]) == 60
    assert found["overlaps"]["policy"][0] == found["overlaps"]["policy"][-1] == 30 and sum(found["overlaps"]["policy"]) == 60
    payload = {"strata": {"temporal_grounding": found}}
    assert [len(one.counts["policy"]) for one in histograms(payload)] == [BINS]
    assert {row.metric for _, row in strata_rows(payload)} == {"mIoU by length of video", "mIoU by length of event"}


def test_a_few_samples_are_not_parted():
    found = strata({"policy": answered(9, right=lambda number: True)}, resamples=0)["temporal_grounding"]
    assert "by_video" not in found and found["overlaps"]["policy"][-1] == 9


def test_bounds_are_round_rising_and_leave_enough_in_each_part():
    assert bounds([]) == [] and bounds([7.0] * 100) == []
    cuts = bounds([float(value) for value in range(100)])
    assert cuts == sorted(set(cuts)) and all(cut in (25, 30, 45, 60, 90) or cut < 100 for cut in cuts) and len(cuts) == 3


def test_overlap_counts_boxes_but_the_given_one_and_what_was_not_read_as_nothing():
    box = (0.1, 0.1, 0.5, 0.5)
    sample = tiny_sample(task="tracking", truth=Answer(boxes=(box, box, box), times_s=(0.0, 1.0, 2.0)))
    half = Reading(answer=Answer(boxes=((0.0, 0.0, 1.0, 1.0), box, (0.6, 0.6, 0.9, 0.9))), reason="", format_ok=True)
    assert overlap(sample, half) == pytest.approx(0.5)
    assert overlap(sample, Reading(answer=None, reason="x", format_ok=False)) == 0.0
    assert overlap(tiny_sample(task="video_qa", truth=Answer(choice="A")), half) is None


@pytest.mark.parametrize(
    "before, after, said",
    [
        (0.0, 0.0, ("nothing learned", "temporal grounding stays at 0.0 mIoU")),
        (31.2, 31.2, ("unchanged", "temporal grounding 31.2 mIoU")),
        (31.2, 31.9, ("kept", "temporal grounding 31.2 → 31.9 mIoU")),
        (31.2, 60.0, ("lifted", "temporal grounding 31.2 → 60.0 mIoU")),
    ],
)
def test_a_headline_says_what_became_of_a_figure(before, after, said):
    """Nothing at all once read "Kept 0.0 → 0.0"."""
    results = {model: {"temporal_grounding": {"mIoU": value, "n": 9}} for model, value in (("base", before), ("rft", after))}
    assert headline(rows(results, {})) == [said]
