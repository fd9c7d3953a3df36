from __future__ import annotations

import time

import numpy as np
import pytest

from videochat_r1.errors import DataError
from videochat_r1.evaluation.figures import figures, resampled
from videochat_r1.tasks.base import Task
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Answer, Reading, Sample

NOTHING = Reading(answer=None, reason="no_answer", format_ok=False)
GROUNDING = load_task("temporal_grounding")


def said(start: float, end: float) -> Reading:
    return Reading(answer=Answer(spans=((start, end),)), reason="", format_ok=True)


def asked(number: int, video: str, truth: tuple[float, float] = (0.0, 10.0)) -> Sample:
    return Sample(id=str(number), task="temporal_grounding", video=video, question="x", truth=Answer(spans=(truth,)), duration_s=20.0)


def counting(*names: str) -> Task:
    """A task whose metric is what the sample's meta says."""
    metrics = {name: (lambda reading, sample, name=name: sample.meta[name]) for name in names}
    return Task(ask=lambda *_: "", read=lambda *_: NOTHING, write=lambda *_: "", rewards={}, metrics=metrics)


def counted(number: int, video: str, **shares: tuple[float, float]) -> Sample:
    return Sample(id=str(number), task="t", video=video, question="", truth=Answer(), meta=shares)


def test_figures_by_hand():
    samples = [asked(0, "a"), asked(1, "a"), asked(2, "b"), asked(3, "c")]
    readings = [said(0, 10), said(5, 10), said(8, 12), NOTHING]  # IoU 1, 0.5, 2/12, 0
    found = figures(GROUNDING, samples, readings, resamples=50)
    assert found["mIoU"] == pytest.approx(100 * (1 + 0.5 + 2 / 12) / 4)
    assert (found["R@0.3"], found["R@0.5"], found["R@0.7"]) == (50.0, 50.0, 25.0)
    assert (found["n"], found["unparsed"]) == (4, 1)
    for name in GROUNDING.metrics:
        low, high = found[f"{name}_ci95"]
        assert 0.0 <= low <= found[name] <= high <= 100.0


def test_a_figure_is_a_quotient_of_sums_not_a_mean_of_quotients():
    samples = [counted(0, "a", AO=(1.0, 1.0)), counted(1, "b", AO=(0.0, 9.0))]
    assert figures(counting("AO"), samples, [NOTHING] * 2)["AO"] == 10.0


def test_a_metric_that_no_sample_counts_for_is_left_out():
    samples = [counted(0, "a", x=(0.0, 0.0), y=(1.0, 1.0))]
    assert figures(counting("x", "y"), samples, [NOTHING]) == {"y": 100.0, "n": 1, "unparsed": 1}


def test_a_figure_that_rests_on_one_video_has_no_interval():
    samples = [counted(0, "a", x=(0.0, 1.0), y=(1.0, 1.0)), counted(1, "a", x=(1.0, 1.0), y=(0.0, 1.0))]
    assert figures(counting("x", "y"), samples, [NOTHING] * 2) == {"x": 50.0, "y": 50.0, "n": 2, "unparsed": 2}
    samples.append(counted(2, "b", x=(1.0, 1.0), y=(0.0, 0.0)))  # the second video counts for one of them
    assert set(figures(counting("x", "y"), samples, [NOTHING] * 3)) == {"x", "x_ci95", "y", "n", "unparsed"}


def test_the_interval_is_that_of_a_plain_bootstrap_over_videos():
    """Against the definition, with as many draws as it takes for the ends to settle."""
    random = np.random.default_rng(1)
    samples, sums = [], []
    for video in range(40):
        rows = [(float(random.random() < 0.2 + 0.6 * (video % 2)), 1.0) for _ in range(random.integers(1, 8))]
        samples += [counted(len(samples) + k, f"v{video}", acc=share) for k, share in enumerate(rows)]
        sums.append(np.sum(rows, axis=0))
    drawn = [np.sum([sums[k] for k in random.integers(40, size=40)], axis=0) for _ in range(20_000)]
    expected = np.percentile([100 * top / bottom for top, bottom in drawn], (2.5, 97.5))
    found = figures(counting("acc"), samples, [NOTHING] * len(samples), resamples=20_000)
    assert found["acc_ci95"] == pytest.approx(expected, abs=0.5)


def test_questions_about_one_video_do_not_count_as_independent():
    def width(videos: int) -> float:
        samples = [counted(k, f"v{k % videos}", acc=(float(k % videos % 2), 1.0)) for k in range(1000)]
        low, high = figures(counting("acc"), samples, [NOTHING] * 1000)["acc_ci95"]
        return high - low

    assert width(1000) == pytest.approx(2 * 1.96 * 100 * np.sqrt(0.25 / 1000), rel=0.1)
    assert width(20) == pytest.approx(2 * 1.96 * 100 * np.sqrt(0.25 / 20), rel=0.15)


def test_a_95_percent_interval_covers_the_truth_in_about_95_of_100_trials():
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        truth_V = random.beta(2, 2, size=60)
        samples = [counted(k, f"v{v}", acc=(float(random.random() < p), 1.0)) for v, p in enumerate(truth_V) for k in range(4)]
        low, high = figures(counting("acc"), samples, [NOTHING] * len(samples), resamples=200, seed=trial)["acc_ci95"]
        covered += low <= 50.0 <= high
    assert 0.90 <= covered / 300 <= 0.985


def test_figures_are_the_same_for_the_same_seed_and_whatever_the_order_of_blocks():
    samples = [asked(k, f"v{k % 7}") for k in range(30)]
    readings = [said(0, 1 + k % 12) for k in range(30)]
    assert figures(GROUNDING, samples, readings, seed=3) == figures(GROUNDING, samples, readings, seed=3)
    assert figures(GROUNDING, samples, readings, seed=3) != figures(GROUNDING, samples, readings, seed=4)
    without = figures(GROUNDING, samples, readings, resamples=0)
    assert set(without) == {*GROUNDING.metrics, "n", "unparsed"}


def test_each_resample_draws_as_many_videos_as_there_are(monkeypatch):
    ones = np.ones((37, 1, 2))
    whole = resampled(ones, 100, seed=0)
    assert (whole == 37.0).all()
    monkeypatch.setattr("videochat_r1.evaluation.figures._BLOCK", 90)  # two resamples at a time
    assert (resampled(ones, 101, seed=0) == 37.0).all() and resampled(ones, 101, seed=0).shape == (101, 1, 2)


def test_faults_are_told():
    with pytest.raises(DataError, match="no sample"):
        figures(GROUNDING, [], [])
    with pytest.raises(DataError, match="Sample 7 cannot be scored"):
        figures(GROUNDING, [asked(7, "a", truth=(5.0, 5.0))], [said(0, 1)])
    with pytest.raises(ValueError, match="1 samples and 2 readings"):
        figures(GROUNDING, [asked(0, "a")], [NOTHING] * 2)


def test_seventeen_thousand_samples_take_no_time():
    samples = [asked(k, f"v{k // 4}") for k in range(17_031)]
    readings = [said(k % 9, 12) for k in range(17_031)]
    start = time.process_time()
    figures(GROUNDING, samples, readings, resamples=1000)
    assert time.process_time() - start < 2.0  # 0.4 s on a free core
