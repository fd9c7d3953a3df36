"""When does an event happen? The answer is one span; it earns its overlap with the true one.

Prompt, rewards and figures: VideoChat-R1, arXiv:2504.06958, sections 3.2 and 3.3. R@m is the share of answers with an IoU of m or more.
VideoChat-R1.5 (asking.prompts "r1_5") is asked for a list, as in moment_retrieval; the IoU is then that of all seconds named."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from videochat_r1.rewards import intervals, released, tags
from videochat_r1.rewards.intervals import check_spans, span_closeness, timestamp_tiou, tiou, union_iou
from videochat_r1.tasks import moment_retrieval
from videochat_r1.tasks._prompts import event_question
from videochat_r1.tasks._trivial import constant_span, duration_s, whole_video
from videochat_r1.tasks.base import FORMAT, Asking, Metric, Reward, Task
from videochat_r1.types import Answer, Reading, Sample, Span

UNTRAINED_CONSTANT = (0.0, 0.45)
"""The best constant span on Charades-STA, as fractions of the duration; used where there is nothing to fit one on."""


def ask(sample: Sample, asking: Asking) -> str:
    """The paper's prompt."""
    return event_question(sample, asking, listed=asking.prompts == "r1_5")


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """The one span of the last answer block. Reasons: no_answer, and those of intervals.read_span."""
    if asking.prompts == "r1_5":
        return moment_retrieval.read(text, sample, asking)
    tail = tags.window(text)
    if asking.reading != "strict":
        found = released.read_span(tail) if asking.reading == "released" else released.read_span_anywhere(tail)
        form_ok = released.has_form(tail, thinking=asking.thinking, glue=False)
        return Reading(answer=Answer(spans=(found,)) if found else None, reason="" if found else "no_span", format_ok=form_ok)
    block = tags.last_block(tags.after_thought(tail), "answer")
    span = "no_answer" if block is None else intervals.read_span(block)
    if isinstance(span, str):
        return Reading(answer=None, reason=span, format_ok=False)
    form = tags.whole_form(text, *tags.forms(asking.thinking))
    return Reading(answer=Answer(spans=(span,)), reason="", format_ok=form is not None and intervals.is_asked_span(form[-1]))


def write(answer: Answer, asking: Asking) -> str:
    """The first span, as asked for. Raises ValueError where there is none."""
    span = check_spans(answer.spans)[0]
    if asking.prompts == "r1_5":
        return moment_retrieval.write(Answer(spans=(span,)), asking)
    thought = "I look for the start and the end of the event in the video." if asking.thinking else ""
    return tags.blocks(intervals.write_span(span), thought=thought)


def true_span(sample: Sample) -> Span:
    """The sample's span. Raises ValueError where there is not one, or where it is at fault."""
    spans = check_spans(sample.truth.spans)
    if len(spans) != 1:
        raise ValueError(f"Sample {sample.id} has {len(spans)} true spans; temporal grounding takes one.")
    return spans[0]


def overlap_of(reading: Reading, sample: Sample) -> float:
    """IoU of the span that was read with the true one, of several spans that of all their seconds; 0.0 where none was read."""
    truth = true_span(sample)
    spans = (reading.answer.spans or ()) if reading.answer else ()
    return union_iou(spans, (truth,)) if len(spans) > 1 else tiou(spans[0], truth) if spans else 0.0


def timed_overlap(reading: Reading, sample: Sample) -> float:
    """IoU of the first span, lessened by how far each end is off, as a share of the video; 0.0 where none was read."""
    truth, video_s = true_span(sample), duration_s(sample)
    return timestamp_tiou(reading.answer.spans[0], truth, video_s) if reading.answer and reading.answer.spans else 0.0


def closeness(reading: Reading, sample: Sample) -> float:
    """Nearness by the Wasserstein distance; 0.0 where none was read."""
    truth = true_span(sample)
    return span_closeness(reading.answer.spans, [truth]) if reading.answer and reading.answer.spans else 0.0


def recall_at(least: float) -> Metric:
    return lambda reading, sample: (float(overlap_of(reading, sample) >= least), 1.0)


def constant(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The same share of every video: the one of best mean IoU in training, or (0, 0.45) without training samples."""
    return constant_span(training, UNTRAINED_CONSTANT)


TIOU: dict[str, Reward] = {"tiou": lambda reading, sample, asking: overlap_of(reading, sample)}
TIMESTAMP: dict[str, Reward] = {"timestamp_tiou": lambda reading, sample, asking: timed_overlap(reading, sample)}
WASSERSTEIN: dict[str, Reward] = {"wasserstein": lambda reading, sample, asking: closeness(reading, sample)}

TASK = Task(
    ask=ask,
    read=read,
    write=write,
    rewards=FORMAT | TIOU,
    alternatives={
        "tiou": FORMAT | TIOU,
        "timestamp_tiou": FORMAT | TIMESTAMP,  # Time-R1, arXiv:2503.13377
        "wasserstein": FORMAT | WASSERSTEIN,
        "tiou_wasserstein": FORMAT | TIOU | WASSERSTEIN,  # TimeLens2, arXiv:2607.17423
    },
    metrics={
        "mIoU": lambda reading, sample: (overlap_of(reading, sample), 1.0),
        "R@0.3": recall_at(0.3),
        "R@0.5": recall_at(0.5),
        "R@0.7": recall_at(0.7),
    },
    trivial={"whole_video": whole_video, "constant": constant},
)
