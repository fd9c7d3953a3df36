"""Answers without a look at the video, for the baselines that stand beside every figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import add

from videochat_r1.rewards.choices import offered_letters
from videochat_r1.rewards.intervals import check_spans, union_ious
from videochat_r1.types import Answer, Sample, Span

GRID: tuple[Span, ...] = tuple((start / 20, end / 20) for start in range(20) for end in range(start + 1, 21))
"""Spans as fractions of the duration, in steps of 0.05."""


class NoDuration(ValueError):
    """A share of a video was asked for whose length is not known."""


def duration_s(sample: Sample) -> float:
    """The annotated duration. Raises NoDuration on a sample that has none."""
    if sample.duration_s is None or not sample.duration_s > 0:
        raise NoDuration(f"Sample {sample.id} has no duration: a span that is a share of the video cannot be given.")
    return sample.duration_s


def whole_video(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """One span: all of it. The answer raises NoDuration as duration_s."""
    return lambda sample: Answer(spans=((0.0, duration_s(sample)),))


def share_of(sample: Sample, fractions: Span) -> Span:
    """That share of the sample's video, in seconds. Raises NoDuration as duration_s."""
    return fractions[0] * duration_s(sample), fractions[1] * duration_s(sample)


def best_fractions(samples: Iterable[Sample], untrained: Span) -> Span:
    """The span of GRID whose mean union IoU with the samples' spans is the greatest; the first of equals; `untrained` without samples.

    Samples without a duration, or whose truth is at fault, teach nothing and are left out."""
    totals = [0.0] * len(GRID)
    for sample in samples:
        try:
            duration = duration_s(sample)
            truth = [(start / duration, end / duration) for start, end in check_spans(sample.truth.spans)]
            scores = union_ious(GRID, truth)
        except ValueError:
            continue
        totals = list(map(add, totals, scores))
    best = max(range(len(GRID)), key=lambda index: totals[index])
    return GRID[best] if totals[best] > 0.0 else untrained


def constant_span(training: Sequence[Sample], untrained: Span) -> Callable[[Sample], Answer]:
    """The same share of every video: the one of best mean union IoU in training, or `untrained` without training samples."""
    fractions = best_fractions(training, untrained)
    return lambda sample: Answer(spans=(share_of(sample, fractions),))


def most_frequent(values: Sequence[str]) -> str | None:
    """The value that occurs most often, the first in order of equals; None where there are none."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value)) if counts else None


def majority_letter(samples: Sequence[Sample]) -> Callable[[Sample], str]:
    """Answers with the letter that is right most often in training and that a sample offers; "A" where nothing is known."""
    counts = Counter(sample.truth.choice for sample in samples if sample.truth.choice)

    def letter(sample: Sample) -> str:
        offered = offered_letters(sample.options)  # in order, and the first of equals is taken
        return max(offered, key=lambda each: counts[each])

    return letter
