"""The figures that are called official, against the definitions of the official code written out here, and on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from videochat_r1.evaluation.figures import figures
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Answer, Reading, Sample

GQA, TRACKING = load_task("grounded_qa"), load_task("tracking")


def question(number, truth, choice="A"):
    options = ("(A) a", "(B) b")
    return Sample(
        id=f"{number}_1", task="grounded_qa", video=f"{number}", question="?", options=options, truth=Answer(choice=choice, spans=truth)
    )


def answered(choice, *spans):
    return Reading(answer=Answer(choice=choice, spans=spans), reason="", format_ok=True)


def eval_ground(samples, readings):
    """Acc&GQA, mIoP, TIoP@0.3, TIoP@0.5, mIoU, TIoU@0.3, TIoU@0.5 as eval_ground.py of NExT-GQA counts them, for spans of some length: the
    greatest over the true spans, from 0 on, of the overlap over the hull and over the prediction."""
    rows = []
    for sample, reading in zip(samples, readings, strict=True):
        start, end = reading.answer.spans[0]
        iou = iop = 0.0
        for true_start, true_end in sample.truth.spans:
            inside = min(end, true_end) - max(start, true_start)
            iou = max(iou, inside / (max(end, true_end) - min(start, true_start)))
            iop = max(iop, inside / (end - start))
        is_right = reading.answer.choice == sample.truth.choice
        rows.append([is_right and iop >= 0.5, iop, iop >= 0.3, iop >= 0.5, iou, iou >= 0.3, iou >= 0.5])
    return dict(
        zip(["Acc&GQA", "mIoP", "IoP@0.3", "IoP@0.5", "mIoU", "IoU@0.3", "IoU@0.5"], 100 * np.mean(rows, axis=0, dtype=float), strict=True)
    )


def test_nextgqa_by_hand():
    samples = [question(0, ((10.0, 20.0), (40.0, 50.0))), question(1, ((0.0, 10.0),)), question(2, ((0.0, 10.0),))]
    readings = [answered("A", (15.0, 25.0)), answered("B", (2.0, 8.0)), answered("A", (8.0, 18.0))]
    found = figures(GQA, samples, readings, resamples=0)
    assert found["mIoP"] == pytest.approx(100 * (0.5 + 1.0 + 0.2) / 3)
    assert found["mIoU"] == pytest.approx(100 * (5 / 15 + 0.6 + 2 / 18) / 3)
    assert (found["IoP@0.3"], found["IoP@0.5"]) == (pytest.approx(200 / 3), pytest.approx(200 / 3))
    assert (found["IoU@0.3"], found["IoU@0.5"]) == (pytest.approx(200 / 3), pytest.approx(100 / 3))
    assert found["Acc&GQA"] == pytest.approx(100 / 3)  # the first alone is right and half within
    assert {name: found[name] for name in eval_ground(samples, readings)} == pytest.approx(eval_ground(samples, readings))


def test_nextgqa_is_the_official_definition_on_random_answers():
    random = np.random.default_rng(2)

    def span():
        return tuple(sorted(map(float, random.choice(25, 2, replace=False))))

    samples = [question(n, tuple(span() for _ in range(random.integers(1, 4))), "AB"[n % 2]) for n in range(300)]
    readings = [answered("AB"[random.integers(2)], span()) for _ in samples]
    found, official = figures(GQA, samples, readings, resamples=0), eval_ground(samples, readings)
    assert {name: found[name] for name in official} == pytest.approx(official)


def test_where_we_are_stricter_than_nextgqa_a_moment_without_length_names_nothing():
    """The official code gives an IoP of 1 to a span of no length within a true one, which a policy could live on."""
    found = figures(GQA, [question(0, ((0.0, 10.0),))], [answered("A", (5.0, 5.0))], resamples=0)
    assert (found["mIoP"], found["Acc&GQA"], found["mIoU"]) == (0.0, 0.0, 0.0)


def test_got10k_counts_frames_of_all_sequences_and_leaves_out_the_given_one():
    """AO is the mean over all frames but each sequence's first, SR the share of them above a bound: longer sequences weigh more."""
    box, half, away = (0.0, 0.0, 0.4, 0.4), (0.0, 0.0, 0.4, 0.2), (0.6, 0.6, 0.9, 0.9)
    wide = (0.0, 0.0, 0.4, 0.3)  # 0.75 of the box, exactly
    long = Sample(id="l", task="tracking", video="l", question="x", truth=Answer(boxes=(box,) * 4))
    short = Sample(id="s", task="tracking", video="s", question="x", truth=Answer(boxes=(box,) * 2))
    readings = [Reading(answer=Answer(boxes=boxes), reason="", format_ok=True) for boxes in ((away, box, half, wide), (box, away))]
    found = figures(TRACKING, [long, short], readings, resamples=0)
    assert found["AO"] == pytest.approx(100 * (1 + 0.5 + 0.75 + 0) / 4)
    assert found["SR0.5"] == 50.0 and found["SR0.75"] == 25.0  # above the bound: a half and three quarters are not
    assert found["AO_8"] == pytest.approx(100 * ((0 + 1 + 0.5 + 0.75) / 4 + 1 / 2) / 2)  # as the paper: the given box too, by sequence
