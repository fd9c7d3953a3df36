"""Several moments named for one query, against all the true ones: average precision, as QVHighlights counts it.

Source: Lei et al. 2021, arXiv:2107.09609, section 5; the definition is that of standalone_eval in github.com/jayleicn/moment_detr, which
takes the interpolated average precision of the PASCAL VOC challenge (Everingham et al. 2010, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from videochat_r1.rewards.intervals import check_spans, tiou
from videochat_r1.types import Span

BOUNDS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU that a moment must have to count as found: 0.5, 0.55 ... 0.95. The average of the ten is "mAP"."""

MOST_MOMENTS = 10
"""Moments that are looked at, the first ones."""


def average_precisions(predicted: Sequence[Span], truth: Sequence[Span]) -> list[float]:
    """The average precision of one query at each of BOUNDS, 0.0 .. 1.0. No moments score 0.0.

    predicted: the surest first; an answer in words has no scores, so its order is its ranking. Each true moment can be found once: a
    second moment on it is wrong. A reversed or empty moment covers nothing. Raises ValueError on a truth at fault."""
    truth = check_spans(truth)
    predicted = tuple(predicted)[:MOST_MOMENTS]
    ious = [[tiou(span, true) for true in truth] for span in predicted]
    nearest = [[place for _, place in sorted(zip(own, range(len(own)), strict=True), reverse=True)] for own in ious]
    return [_average_precision(ious, nearest, bound, len(truth)) for bound in BOUNDS]


def _average_precision(ious: Sequence[Sequence[float]], nearest: Sequence[Sequence[int]], bound: float, true_count: int) -> float:
    """The area below the curve of the greatest precision at each recall or a higher one."""
    taken: set[int] = set()
    points = []  # precision after each moment that found a new one
    for rank, (own, order) in enumerate(zip(ious, nearest, strict=True), start=1):
        place = next((place for place in order if own[place] >= bound and place not in taken), None)
        if place is not None:
            taken.add(place)
            points.append(len(taken) / rank)
    area, best = 0.0, 0.0
    for precision in reversed(points):
        best = max(best, precision)
        area += best
    return area / true_count


def within_lengths(truth: Sequence[Span], above_s: float, most_s: float) -> tuple[Span, ...]:
    """The moments longer than `above_s` and no longer than `most_s`."""
    return tuple(span for span in truth if above_s < span[1] - span[0] <= most_s)
