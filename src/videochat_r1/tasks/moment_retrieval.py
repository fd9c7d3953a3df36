"""When does it happen? The answer is a list of moments, the surest first: an event may come several times.

The prompt is that of VideoChat-R1.5 (arXiv:2509.21100), its grounding prompt for several spans. The figures are QVHighlights' (Lei et al.
2021, arXiv:2107.09609, standalone_eval of github.com/jayleicn/moment_detr): R1@m, the share of queries whose first moment has an IoU of m
or more with any true one; mAP over IoU 0.5 to 0.95; the mAP of short (at most 10 s), middle (30 s) and long (150 s) true moments, each
over the queries that have some (named moments of other lengths are wrong there, so that a perfect answer can be below 100). mIoU is that
of all seconds named with all true seconds. A query without an answer scores 0 in all of them, where the official code leaves it out of
mAP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from videochat_r1.rewards import intervals, tags
from videochat_r1.rewards.intervals import check_spans
from videochat_r1.rewards.retrieval import BOUNDS, average_precisions, within_lengths
from videochat_r1.tasks._prompts import event_question
from videochat_r1.tasks._trivial import constant_span, whole_video
from videochat_r1.tasks.base import FORMAT, Asking, Metric, Task
from videochat_r1.tasks.grounded_qa import best_iou, mean, share, union_overlap
from videochat_r1.types import Answer, Reading, Sample, Span

UNTRAINED_CONSTANT = (0.0, 1.0)
"""The whole video, where there is nothing to fit a span on."""

LENGTHS_S = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, 150.0)}


def ask(sample: Sample, asking: Asking) -> str:
    """The prompt of VideoChat-R1.5."""
    return event_question(sample, asking, listed=True)


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """The moments of the last answer block: a list, or one span as temporal_grounding reads it. `[]` is an answer of none.

    Reasons: no_answer, and those of intervals.read_span. The first released code has no such task: answers are always read strictly."""
    tail = tags.window(text)
    block = tags.last_block(tags.after_thought(tail), "answer")
    found: tuple[Span, ...] | str = "no_answer"
    if block is not None:
        listed = intervals.read_spans(block)
        single = intervals.read_span(block) if listed is None else ""
        found = listed if listed is not None else single if isinstance(single, str) else (single,)
    if isinstance(found, str):
        return Reading(answer=None, reason=found, format_ok=False)
    form = tags.whole_form(text, *tags.forms(asking.thinking))
    return Reading(answer=Answer(spans=found), reason="", format_ok=form is not None and intervals.is_asked_list(form[-1]))


def write(answer: Answer, asking: Asking) -> str:
    """All moments, as asked for; `[]` for none. Raises ValueError where one is at fault."""
    thought = "I look for every time at which the event starts and ends in the video." if asking.thinking else ""
    return tags.blocks(intervals.write_spans(check_spans(answer.spans) if answer.spans else ()), thought=thought)


def precisions(reading: Reading, truth: Sequence[Span]) -> list[float]:
    return average_precisions(reading.answer.spans if reading.answer and reading.answer.spans else (), truth)


def precision_at(bound: float) -> Metric:
    index = BOUNDS.index(bound)
    return lambda reading, sample: (precisions(reading, check_spans(sample.truth.spans))[index], 1.0)


def precision_of_lengths(above_s: float, most_s: float) -> Metric:
    """Of the true moments of those lengths alone; a query that has none does not count."""

    def share_of_lengths(reading: Reading, sample: Sample) -> tuple[float, float]:
        truth = within_lengths(check_spans(sample.truth.spans), above_s, most_s)
        return (fmean(precisions(reading, truth)), 1.0) if truth else (0.0, 0.0)

    return share_of_lengths


def constant(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The same share of every video: the one of best mean union IoU in training, or the whole without training samples."""
    return constant_span(training, UNTRAINED_CONSTANT)


TASK = Task(
    ask=ask,
    read=read,
    write=write,
    rewards=FORMAT | {"union_iou": lambda reading, sample, asking: union_overlap(reading, sample)},
    metrics={
        "R1@0.3": share(best_iou, 0.3),
        "R1@0.5": share(best_iou, 0.5),
        "R1@0.7": share(best_iou, 0.7),
        "mIoU": mean(union_overlap),
        "mAP@0.5": precision_at(0.5),
        "mAP@0.75": precision_at(0.75),
        "mAP": lambda reading, sample: (fmean(precisions(reading, check_spans(sample.truth.spans))), 1.0),
        **{f"mAP/{name}": precision_of_lengths(*lengths) for name, lengths in LENGTHS_S.items()},
    },
    trivial={"whole_video": whole_video, "constant": constant},
)
