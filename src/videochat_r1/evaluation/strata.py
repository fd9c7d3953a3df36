"""Where a model is good and where it is not: how its overlaps are spread, and its figure by length of video and of event.

Everything is computed into plain numbers, part of report.json, from which page and figures draw."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from videochat_r1.evaluation.legend import HEADLINES, in_order
from videochat_r1.evaluation.tables import Cell, Row
from videochat_r1.rewards.boxes import box_ious
from videochat_r1.rewards.intervals import union_iou
from videochat_r1.tasks.base import Task
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Reading, Sample

if TYPE_CHECKING:
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.video.clips import ClipLoader

BINS = 10
"""Of a histogram of overlaps, from 0 to 1."""
ROUND_S = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200)
"""Bounds between parts are taken from these seconds."""
PARTS, LEAST = 4, 8
"""Parts at most, and samples of each at least."""


@dataclass(frozen=True)
class Histogram:
    """How many answers of each model have which overlap with the truth, in BINS equal bins."""

    task: str
    counts: Mapping[str, tuple[int, ...]]


def strata(answered: Mapping[str, Sequence[Answered]], loader: ClipLoader | None = None, *, resamples: int = 300) -> dict[str, Any]:
    """{TASK: {"metric", "by_video": PARTS, "by_event": PARTS, "overlaps": {MODEL: counts}}}, what there is of it, where PARTS is a list of
    {"label", "n", "models": {MODEL: [value, low, high]}}.

    answered: one answer a sample of each model, in the same order. loader: tells the length of videos whose annotation does not."""
    first = next(iter(answered.values()), ())
    found: dict[str, Any] = {}
    for name in dict.fromkeys(one.sample.task for one in first):
        task = load_task(name)
        places = [place for place, one in enumerate(first) if one.sample.task == name]
        samples = [first[place].sample for place in places]
        readings = {model: [own[place].reading for place in places] for model, own in answered.items()}
        metric = next((one for one in HEADLINES.get(name, ()) if one in task.metrics), next(iter(task.metrics), ""))
        of_task: dict[str, Any] = {"metric": metric}
        lengths = {"by_video": loader.duration_s if loader else lambda sample: sample.duration_s, "by_event": _event_s}
        for kind, length in lengths.items():
            parts = _parts(task, metric, samples, readings, length, resamples)
            if len(parts) > 1:
                of_task[kind] = parts
        overlaps = {model: _overlap_counts(samples, own) for model, own in readings.items()}
        if all(counts is not None for counts in overlaps.values()):
            of_task["overlaps"] = overlaps
        if len(of_task) > 1:
            found[name] = of_task
    return found


def overlap(sample: Sample, reading: Reading) -> float | None:
    """Mean IoU of the boxes that were not given, or IoU of the spans as sets; 0.0 where nothing was read; None for a truth with neither."""
    truth, answer = sample.truth, reading.answer
    if truth.boxes and len(truth.boxes) > 1:
        each = box_ious(answer.boxes if answer else None, truth.boxes)[1:]
        return sum(each) / len(each)
    if truth.spans:
        return union_iou(answer.spans, truth.spans) if answer and answer.spans else 0.0
    return None


def bounds(values: Sequence[float]) -> list[float]:
    """Round seconds that part the values into at most PARTS parts of at least LEAST each, as even as they can be."""
    ordered = sorted(values)
    found: list[float] = []
    for part in range(1, PARTS):
        wanted = ordered[len(ordered) * part // PARTS] if ordered else 0.0
        nearest = float(min(ROUND_S, key=lambda second: abs(second - wanted)))
        below = bisect.bisect_left(ordered, nearest) - (bisect.bisect_left(ordered, found[-1]) if found else 0)
        above = len(ordered) - bisect.bisect_left(ordered, nearest)
        if below >= LEAST and above >= LEAST and (not found or nearest > found[-1]):
            found.append(nearest)
    return found


def _parts(
    task: Task,
    metric: str,
    samples: Sequence[Sample],
    readings: Mapping[str, Sequence[Reading]],
    length: Callable[[Sample], float | None],
    resamples: int,
) -> list[dict[str, Any]]:
    from videochat_r1.evaluation.figures import figures

    lengths = [length(sample) for sample in samples]
    cuts = bounds([value for value in lengths if value is not None])
    found = []
    for part in range(len(cuts) + 1):
        places = [place for place, value in enumerate(lengths) if value is not None and bisect.bisect_right(cuts, value) == part]
        if not places:
            continue
        label = f"< {cuts[0]:g} s" if part == 0 and cuts else f"≥ {cuts[-1]:g} s" if part == len(cuts) and cuts else ""
        label = label or (f"{cuts[part - 1]:g}–{cuts[part]:g} s" if cuts else "all")
        models = {}
        for model, own in readings.items():
            got = figures(task, [samples[place] for place in places], [own[place] for place in places], resamples=resamples)
            if metric in got:
                models[model] = [got[metric], *got.get(f"{metric}_ci95", (None, None))]
        found.append({"label": label, "n": len(places), "models": models})
    return found


def _event_s(sample: Sample) -> float | None:
    return sum(end - start for start, end in sample.truth.spans) if sample.truth.spans else None


def _overlap_counts(samples: Sequence[Sample], readings: Sequence[Reading]) -> list[int] | None:
    counts = [0] * BINS
    for sample, reading in zip(samples, readings, strict=True):
        value = overlap(sample, reading)
        if value is None:
            return None
        counts[min(int(value * BINS), BINS - 1)] += 1
    return counts


def strata_rows(payload: Mapping[str, Any]) -> list[tuple[str, Row]]:
    """(part, row) of each part of each task, for the charts of levels; the metric says what it is parted by."""
    found = []
    for task, of_task in payload.get("strata", {}).items():
        for kind, words in (("by_video", "by length of video"), ("by_event", "by length of event")):
            for part in of_task.get(kind, ()):
                models = {model: Cell(*part["models"][model]) for model in in_order(part["models"])}
                found.append((f"{part['label']} ({part['n']})", Row(task, f"{of_task['metric']} {words}", models, {})))
    return found


def histograms(payload: Mapping[str, Any]) -> list[Histogram]:
    """Of every task whose answers overlap with a truth."""
    strata_of = payload.get("strata", {})
    return [
        Histogram(task, {model: tuple(of_task["overlaps"][model]) for model in in_order(of_task["overlaps"])})
        for task, of_task in strata_of.items()
        if of_task.get("overlaps")
    ]
