"""Figures with their intervals.

A figure is 100 x a sum of numerators over a sum of denominators, one of each a sample (tasks/base/__init__.py, Metric). Its interval is the
percentile bootstrap (Efron 1979) over videos, not over samples: questions about one video stand or fall together, and an interval that
takes them for independent is too narrow. Of one video alone every resample is the same: such a figure has no interval, or it would read as
certain. All figures of a task share the same resamples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videochat_r1.errors import DataError
from videochat_r1.evaluation.groups import with_groups
from videochat_r1.tasks.base import Derived, Task
from videochat_r1.types import Reading, Sample

INTERVAL = (2.5, 97.5)
"""Percentiles of the resampled figures: a 95 % interval."""

_BLOCK = 1 << 22  # counts held at a time: 32 MB


def figures(task: Task, samples: Sequence[Sample], readings: Sequence[Reading], *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Every metric of a task in per cent, with its interval: {"mIoU": 58.2, "mIoU_ci95": [57.1, 59.3], ..., "n": 3720, "unparsed": 12}.

    readings: one a sample, in the same order; one without an answer scores what the metric gives it (nothing) and stays in the denominator.
    resamples: of the videos; 0 leaves the intervals out, and a figure that rests on one video has none. Samples that say what groups they
    belong to also give the figures of each, and the mean over sub-tasks (groups.py): "accuracy/short", "accuracy_macro". A metric
    whose denominators are all 0.0 is left out. Where the task rests on a judge, "unjudged" says how many answers it could not judge: the
    figures are about the others.
    Raises DataError where there is no sample, and where a sample's truth is at fault."""
    if not samples:
        raise DataError("There is no sample to score.", "Check the annotation file with `videochat-r1 data check`.")
    if len(samples) != len(readings):
        raise ValueError(f"{len(samples)} samples and {len(readings)} readings")
    names, shares_NM2, means = with_groups(tuple(task.metrics), _shares(task, samples, readings), samples)
    sums_VM2 = by_video(shares_NM2, [sample.video for sample in samples])
    totals_M2 = sums_VM2.sum(axis=0)
    spread_RM2 = resampled(sums_VM2, resamples, seed) if resamples else np.zeros((0, *totals_M2.shape))
    found: dict[str, Any] = {}
    for index, name in enumerate(names):
        numerator, denominator = totals_M2[index]
        if denominator == 0.0:
            continue
        found[name] = float(100.0 * numerator / denominator)
        drawn = spread_RM2[:, index]
        drawn = drawn[drawn[:, 1] > 0.0]
        if len(drawn) and rests_on_several(sums_VM2[:, index, 1]):
            found[f"{name}_ci95"] = [float(bound) for bound in np.percentile(100.0 * drawn[:, 0] / drawn[:, 1], INTERVAL)]
    for name, places in means.items():
        spread = spread_RM2[:, places] if rests_on_several(sums_VM2[:, places, 1].sum(axis=1)) else spread_RM2[:0, places]
        found |= _mean_of_groups(name, totals_M2[places], spread)
    for name, derived in task.derived.items():
        found |= _derived(name, derived, task, found, spread_RM2)
    found |= {"n": len(samples), "unparsed": sum(reading.answer is None for reading in readings)}
    return found if task.consult is None else {**found, "unjudged": sum(map(is_unjudged, readings))}


def _mean_of_groups(name: str, totals_G2: NDArray[np.float64], spread_RG2: NDArray[np.float64]) -> dict[str, Any]:
    """{name: the unweighted mean of the groups' figures in per cent, name_ci95: its interval}; a group that no sample counts for, as a
    resample may have, is left out of the mean. Nothing where no group counts."""
    drawn_RG2 = np.concatenate((totals_G2[None], spread_RG2))
    is_counted_RG = drawn_RG2[..., 1] > 0.0
    figures_RG = 100.0 * drawn_RG2[..., 0] / np.where(is_counted_RG, drawn_RG2[..., 1], 1.0) * is_counted_RG
    counted_R = is_counted_RG.sum(axis=1)
    if counted_R[0] == 0:
        return {}
    means_R = figures_RG.sum(axis=1)[counted_R > 0] / counted_R[counted_R > 0]
    interval = {f"{name}_ci95": [float(bound) for bound in np.percentile(means_R[1:], INTERVAL)]} if len(means_R) > 1 else {}
    return {name: float(means_R[0]), **interval}


def is_unjudged(reading: Reading) -> bool:
    """An answer that a judge could not judge, or was not shown."""
    return reading.answer is not None and (reading.verdict is None or bool(reading.verdict.failure))


def _derived(name: str, derived: Derived, task: Task, found: dict[str, Any], spread_RM2: NDArray[np.float64]) -> dict[str, Any]:
    """A figure made of others, and its interval: made of the same resamples of them."""
    if not all(part in found for part in derived.of):
        return {}
    parts_RP2 = spread_RM2[:, [list(task.metrics).index(part) for part in derived.of]]
    parts_RP2 = parts_RP2[(parts_RP2[:, :, 1] > 0.0).all(axis=1)]
    values: dict[str, Any] = {name: float(derived.combine(*(found[part] for part in derived.of)))}
    if len(parts_RP2) and all(f"{part}_ci95" in found for part in derived.of):
        drawn_R = [derived.combine(*row) for row in 100.0 * parts_RP2[:, :, 0] / parts_RP2[:, :, 1]]
        values[f"{name}_ci95"] = [float(bound) for bound in np.percentile(drawn_R, INTERVAL)]
    return values


def shares(task: Task, sample: Sample, reading: Reading) -> dict[str, list[float]]:
    """{METRIC: [numerator, denominator]} of one sample. Raises DataError where its truth is at fault."""
    try:
        return {name: [float(part) for part in metric(reading, sample)] for name, metric in task.metrics.items()}
    except ValueError as error:
        raise DataError(f"Sample {sample.id} cannot be scored: {error}", "`videochat-r1 data check` lists every such row.") from error


def _shares(task: Task, samples: Sequence[Sample], readings: Sequence[Reading]) -> NDArray[np.float64]:
    """(N, M, 2): the numerator and denominator of each sample and metric."""
    shares_NM2 = np.empty((len(samples), len(task.metrics), 2))
    for row, (sample, reading) in enumerate(zip(samples, readings, strict=True)):
        shares_NM2[row] = list(shares(task, sample, reading).values())
    return shares_NM2


def rests_on_several(denominators_V: NDArray[np.float64]) -> bool:
    """Whether more videos than one count for a figure, without which resamples tell nothing of how it would differ."""
    return int(np.count_nonzero(denominators_V)) > 1


def by_video(shares_NM2: NDArray[np.float64], videos: Sequence[str]) -> NDArray[np.float64]:
    """(V, M, 2): the sums over each video's samples."""
    numbers: dict[str, int] = {}
    video_N = np.array([numbers.setdefault(video, len(numbers)) for video in videos])
    sums_VM2 = np.zeros((len(numbers), *shares_NM2.shape[1:]))
    np.add.at(sums_VM2, video_N, shares_NM2)
    return sums_VM2


def resampled(sums_VM2: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """(R, M, 2): the sums over V videos drawn with replacement, R times."""
    videos = len(sums_VM2)
    flat_VK = sums_VM2.reshape(videos, -1)
    random = np.random.default_rng(seed)
    drawn = []
    block = max(1, _BLOCK // videos)
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        chosen = random.integers(videos, size=(rows, videos)) + videos * np.arange(rows)[:, None]
        counts_RV = np.bincount(chosen.ravel(), minlength=rows * videos).reshape(rows, videos)
        drawn.append(counts_RV.astype(np.float64) @ flat_VK)
    return np.concatenate(drawn).reshape(resamples, *sums_VM2.shape[1:])
