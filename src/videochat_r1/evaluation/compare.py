"""Two policies on the same samples: what the difference is worth.

Each metric's difference has a 95 % interval by paired bootstrap over videos, and a two-sided p by permutation: were the two policies alike,
the answers about any video could change sides. Questions about one video stand or fall together in both. For a metric that is 0 or 1 for
each sample McNemar's exact test (McNemar 1947) stands beside it; it takes samples for independent. Figures that are made of others, such as
an F1 of two means, are made anew of every resample and permutation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videochat_r1.errors import DataError, UsageError
from videochat_r1.evaluation.answers_file import content_of
from videochat_r1.evaluation.figures import INTERVAL, by_video, resampled, rests_on_several, shares
from videochat_r1.tasks.base import Derived
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Reading, Sample

READABLE = "readable"
"""The share of answers that could be read, compared like a metric."""
PERMUTATIONS = 10_000
EXACT_VIDEOS = 13
"""Up to so many videos all 2^V permutations are taken, and no random one."""


@dataclass(frozen=True)
class ScoredSample:
    """One sample as one policy answered it. metrics: {METRIC: (numerator, denominator)}."""

    id: str
    task: str
    video: str
    sample: str  # answers_file.content_of
    metrics: Mapping[str, tuple[float, float]]


Scored = dict[str, ScoredSample]
"""By id."""


def scored(samples: Sequence[Sample], readings: Sequence[Reading]) -> Scored:
    """What each sample's reading is worth. Raises DataError as `figures.shares` does."""
    tasks = {name: load_task(name) for name in {sample.task for sample in samples}}
    found = {}
    for sample, reading in zip(samples, readings, strict=True):
        metrics = {name: (num, den) for name, (num, den) in shares(tasks[sample.task], sample, reading).items()}
        metrics[READABLE] = (float(reading.answer is not None), 1.0)
        found[sample.id] = ScoredSample(sample.id, sample.task, sample.video, content_of(sample), metrics)
    return found


def read_scores(path: Path) -> Scored:
    """The rows that `write_scores` wrote. Raises DataError, with the line, for a file or row that cannot be used."""
    from videochat_r1.datasets.base import read_items

    found: Scored = {}
    for item in read_items(path, "list"):
        row = item.value
        try:
            metrics = {str(name): (float(num), float(den)) for name, (num, den) in row["metrics"].items()}
            metrics[READABLE] = (float(row["reason"] == ""), 1.0)
            found[row["id"]] = ScoredSample(row["id"], row["task"], row["video"], row["sample"], metrics)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DataError(f"{path}:{item.line}: no row of scores.jsonl.", "Run the evaluation again: `videochat-r1 evaluate`.") from None
    return found


def compare(
    a: Scored, b: Scored, *, names: tuple[str, str] = ("A", "B"), common: bool = False, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """{TASK: {"n", "videos", "metrics": {METRIC: {"a", "b", "difference", "difference_ci95"?, "p", "p_mcnemar"?, "only_a"?, "only_b"?}}}}.

    Figures and differences (a - b) are in per cent and points. p: permutation over videos. only_a: samples that a alone has right.
    common: compare what both have where their samples differ. Raises DataError where the two are not about the same samples."""
    ids = _same_samples(a, b, names, common)
    by_task: dict[str, list[str]] = {}
    for name in ids:
        by_task.setdefault(a[name].task, []).append(name)
    return {
        task: _compared([a[name] for name in own], [b[name] for name in own], _derived_of(task), resamples, seed)
        for task, own in by_task.items()
    }


def _derived_of(task: str) -> Mapping[str, Derived]:
    """A task's figures that are made of others; none of a task file that is no longer there."""
    try:
        return load_task(task).derived
    except UsageError:
        return {}


def _same_samples(a: Scored, b: Scored, names: tuple[str, str], common: bool) -> list[str]:
    both = [name for name in a if name in b]
    other = [name for name in both if (a[name].sample, a[name].task) != (b[name].sample, b[name].task)]
    if other:
        what = f"{len(other):,} samples have the same id but another question or truth in {names[0]} and {names[1]}, {other[0]} the first."
        raise DataError(what, "Evaluate both with the same annotation file.")
    alone = [(names[0], names[1], [name for name in a if name not in b]), (names[1], names[0], [name for name in b if name not in a])]
    told = [f"{len(missing):,} of {one} are not in {lacks}, {missing[0]} the first" for one, lacks, missing in alone if missing]
    if told and (not common or not both):
        mend = "--common compares those that both have." if both else "No sample is in both: they are of different data sets."
        raise DataError(f"The two are not about the same samples: {'; '.join(told)}.", mend)
    if not both:
        raise DataError(f"Neither {names[0]} nor {names[1]} has a sample.", "Give evaluations of the same data set.")
    return both


@dataclass(frozen=True)
class Figures:
    """How the figures of one policy follow from its metrics' sums: each metric's mean, then those that are made of means."""

    derived: Sequence[tuple[Derived, Sequence[int]]]  # and the places of what each is made of

    def __call__(self, sums_RM2: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R, M + derived) per cent; NaN where a figure has no sample."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means_RM = 100.0 * sums_RM2[..., 0] / sums_RM2[..., 1]
        made = [np.array([one.combine(*row) for row in means_RM[:, list(places)].tolist()]) for one, places in self.derived]
        return np.concatenate([means_RM, *(column_R[:, None] for column_R in made)], 1)


def _compared(
    a: Sequence[ScoredSample], b: Sequence[ScoredSample], derived: Mapping[str, Derived], resamples: int, seed: int
) -> dict[str, Any]:
    metrics = [name for name in a[0].metrics if all(name in one.metrics for one in (*a, *b))]
    videos = [one.video for one in a]
    a_NM2 = np.array([[one.metrics[name] for name in metrics] for one in a])
    b_NM2 = np.array([[one.metrics[name] for name in metrics] for one in b])
    both_VP2 = by_video(np.concatenate([a_NM2, b_NM2], 1), videos)  # P: the metrics of a, then those of b
    count = len(metrics)
    known = {name: one for name, one in derived.items() if all(part in metrics for part in one.of)}
    figures = Figures([(one, [metrics.index(part) for part in one.of]) for one in known.values()])
    totals_P2 = both_VP2.sum(0)
    of_a, of_b = (figures(part[None])[0] for part in (totals_P2[:count], totals_P2[count:]))
    observed_M = of_a - of_b
    differences_RM = _difference(resampled(both_VP2, resamples, seed), count, figures) if resamples else np.zeros((0, len(observed_M)))
    p_M = _permutation(both_VP2, observed_M, count, figures, seed)
    denominators_VM = both_VP2[:, :count, 1] + both_VP2[:, count:, 1]
    found: dict[str, Any] = {}
    for place, name in enumerate((*metrics, *known)):
        if not np.isfinite(observed_M[place]):
            continue
        entry: dict[str, Any] = {"a": float(of_a[place]), "b": float(of_b[place]), "difference": float(observed_M[place])}
        drawn = differences_RM[:, place]
        drawn = drawn[np.isfinite(drawn)]
        own = [place] if place < count else figures.derived[place - count][1]
        if len(drawn) and all(rests_on_several(denominators_VM[:, part]) for part in own):
            entry["difference_ci95"] = [float(end) for end in np.percentile(drawn, INTERVAL)]
        found[name] = entry | {"p": float(p_M[place])} | (_mcnemar(a_NM2[:, place], b_NM2[:, place]) if place < count else {})
    return {"n": len(a), "videos": len(both_VP2), "metrics": found}


def _difference(sums_RP2: NDArray[np.float64], count: int, figures: Figures) -> NDArray[np.float64]:
    """(R, figures): points by which a's lie above b's; NaN where a figure has no sample."""
    return figures(sums_RP2[:, :count]) - figures(sums_RP2[:, count:])


def _permutation(
    both_VP2: NDArray[np.float64], observed_M: NDArray[np.float64], count: int, figures: Figures, seed: int
) -> NDArray[np.float64]:
    """(M,): how often a difference as large comes of letting the answers about each video change sides at random."""
    videos = len(both_VP2)
    swapped_VP2 = np.concatenate([both_VP2[:, count:], both_VP2[:, :count]], 1)
    total = both_VP2.sum(0).ravel()
    change_VK = (swapped_VP2 - both_VP2).reshape(videos, -1)
    exact = videos <= EXACT_VIDEOS
    random = np.random.default_rng((seed, 1))
    extreme_M = np.zeros(len(observed_M))
    drawn = 0
    every = np.array(list(product((0.0, 1.0), repeat=videos))) if exact else None
    while drawn < (len(every) if every is not None else PERMUTATIONS):
        block = min(1000, PERMUTATIONS - drawn)
        sides_RV = every if every is not None else random.integers(2, size=(block, videos)).astype(np.float64)
        sums_RP2 = (total + sides_RV @ change_VK).reshape(len(sides_RV), 2 * count, 2)
        extreme_M += (np.abs(_difference(sums_RP2, count, figures)) >= np.abs(observed_M) - 1e-9).sum(0)
        drawn += len(sides_RV)
    found: NDArray[np.float64] = extreme_M / drawn if exact else (extreme_M + 1) / (drawn + 1)
    return found


def _mcnemar(a_N2: NDArray[np.float64], b_N2: NDArray[np.float64]) -> dict[str, Any]:
    """McNemar's exact test where the metric is 0 or 1 for each sample; else nothing."""
    whole = np.concatenate([a_N2, b_N2])
    if not (np.isin(whole[:, 0], (0.0, 1.0)).all() and (whole[:, 1] == 1.0).all()):
        return {}
    only_a, only_b = int((a_N2[:, 0] > b_N2[:, 0]).sum()), int((b_N2[:, 0] > a_N2[:, 0]).sum())
    return {"p_mcnemar": mcnemar(only_a, only_b), "only_a": only_a, "only_b": only_b}


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p of so many samples that one policy alone has right, under a fair coin."""
    trials, fewer = only_a + only_b, min(only_a, only_b)
    if trials == 0:
        return 1.0
    log_each = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(fewer + 1)]
    return min(1.0, 2 * sum(math.exp(each - trials * math.log(2)) for each in log_each))


def options_of(folder: Path) -> dict[str, Any]:
    """What an evaluation's figures.json says that it was asked with; {} where there is none."""
    try:
        found = json.loads((folder / "figures.json").read_text(encoding="utf-8"))["options"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
