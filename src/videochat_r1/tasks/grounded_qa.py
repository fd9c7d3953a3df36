"""A question with options, and the seconds of the video that the answer rests on.

Prompt and rewards: VideoChat-R1, arXiv:2504.06958, section 3.3. `mIoU_union` is what its released code reports. The others are the
official ones of NExT-GQA (Xiao et al. 2024, arXiv:2309.01327, eval_ground.py): of each question the greatest IoU and IoP over the true
spans. They know one predicted span; of several that an answer names, the first is taken, the one it puts forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from videochat_r1.rewards import intervals, released, tags
from videochat_r1.rewards.choices import check_choice, is_asked_letter, read_choice
from videochat_r1.rewards.intervals import check_spans, iop, span_closeness, tiou, union_iou
from videochat_r1.tasks._prompts import choice_question
from videochat_r1.tasks._trivial import best_fractions, duration_s, majority_letter, share_of
from videochat_r1.tasks.base import FORMAT, Asking, Metric, Reward, Task
from videochat_r1.tasks.video_qa import right
from videochat_r1.types import Answer, Reading, Sample, Span

UNTRAINED_CONSTANT = (0.0, 0.95)
"""The best constant span on NExT-GQA, as fractions of the duration; used where there is nothing to fit one on."""


def ask(sample: Sample, asking: Asking) -> str:
    """The paper's prompt; the options are written as Python writes a list, each with its letter."""
    return choice_question(sample, asking, grounded=True)


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """The letter in the last answer block and the spans in the last glue or clue block. One may be there without the other; the reason
    is given where both are missing: no_answer, and those of choices.read_choice."""
    tail = tags.window(text)
    if asking.reading != "strict":
        letter, reason, spans = released.read_choice(tail), "no_choice", released.read_spans(tail)
        form_ok = spans is not None and released.has_form(tail, thinking=asking.thinking, glue=True)
    else:
        spoken = tags.after_thought(tail)
        block, glue = tags.last_block(spoken, "answer"), tags.last_block(spoken, "glue", "clue")
        letter, reason = (None, "no_answer") if block is None else read_choice(block, sample.options)
        spans = None if glue is None else intervals.read_spans(glue)
        form = tags.whole_form(text, *tags.forms(asking.thinking), ("glue", "clue")) if letter and spans else None
        form_ok = form is not None and is_asked_letter(form[-2], sample.options) and intervals.is_asked_list(form[-1])
    if letter is None and spans is None:
        return Reading(answer=None, reason=reason, format_ok=False)
    return Reading(answer=Answer(choice=letter, spans=spans), reason="", format_ok=form_ok)


def write(answer: Answer, asking: Asking) -> str:
    """The letter and the spans, as asked for; `[]` for no spans. Raises ValueError where there is no letter or a span is at fault."""
    thought = "I look for the part of the video that the question is about, and compare it with the options." if asking.thinking else ""
    spans = check_spans(answer.spans) if answer.spans else ()
    return tags.blocks(check_choice(answer.choice, ()), thought=thought, glue=intervals.write_spans(spans))


def union_overlap(reading: Reading, sample: Sample) -> float:
    """IoU of all seconds named with all true seconds; 0.0 where none were read."""
    truth = check_spans(sample.truth.spans)
    return union_iou(reading.answer.spans, truth) if reading.answer and reading.answer.spans else 0.0


def best_over_truth(measure: Callable[[Span, Span], float]) -> Callable[[Reading, Sample], float]:
    """The greatest IoU or IoP of the first span named with any true span; 0.0 where none were read."""

    def best(reading: Reading, sample: Sample) -> float:
        truth = check_spans(sample.truth.spans)
        return max(measure(reading.answer.spans[0], span) for span in truth) if reading.answer and reading.answer.spans else 0.0

    return best


best_iou, best_iop = best_over_truth(tiou), best_over_truth(iop)


def mean(measure: Callable[[Reading, Sample], float]) -> Metric:
    return lambda reading, sample: (measure(reading, sample), 1.0)


def share(measure: Callable[[Reading, Sample], float], least: float) -> Metric:
    return lambda reading, sample: (float(measure(reading, sample) >= least), 1.0)


def whole_video(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The whole video, and the letter that is right most often in training."""
    letter = majority_letter(training)
    return lambda sample: Answer(choice=letter(sample), spans=((0.0, duration_s(sample)),))


def constant(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The same share of every video, the one of best mean union IoU in training ((0, 0.95) without), and the majority's letter."""
    letter = majority_letter(training)
    fractions = best_fractions(training, UNTRAINED_CONSTANT)
    return lambda sample: Answer(choice=letter(sample), spans=(share_of(sample, fractions),))


def majority(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The letter that is right most often in training (the first option without), and no span."""
    letter = majority_letter(training)
    return lambda sample: Answer(choice=letter(sample), spans=())


def closeness(reading: Reading, sample: Sample) -> float:
    """Nearness of all seconds named to all true seconds, by the Wasserstein distance; 0.0 where none were read."""
    truth = check_spans(sample.truth.spans)
    return span_closeness(reading.answer.spans, truth) if reading.answer and reading.answer.spans else 0.0


ACCURACY: dict[str, Reward] = {"accuracy": lambda reading, sample, asking: right(reading, sample)}
GLUE: dict[str, Reward] = {"glue_iou": lambda reading, sample, asking: union_overlap(reading, sample)}
WASSERSTEIN: dict[str, Reward] = {"wasserstein": lambda reading, sample, asking: closeness(reading, sample)}

TASK = Task(
    ask=ask,
    read=read,
    write=write,
    rewards=FORMAT | GLUE | ACCURACY,
    alternatives={
        "glue_iou": FORMAT | GLUE | ACCURACY,
        "wasserstein": FORMAT | WASSERSTEIN | ACCURACY,
        "glue_wasserstein": FORMAT | GLUE | WASSERSTEIN | ACCURACY,
    },
    metrics={
        "accuracy": mean(right),
        "mIoU_union": mean(union_overlap),
        "mIoU": mean(best_iou),
        "IoU@0.3": share(best_iou, 0.3),
        "IoU@0.5": share(best_iou, 0.5),
        "mIoP": mean(best_iop),
        "IoP@0.3": share(best_iop, 0.3),
        "IoP@0.5": share(best_iop, 0.5),
        "Acc&GQA": lambda reading, sample: (right(reading, sample) * float(best_iop(reading, sample) >= 0.5), 1.0),
    },
    trivial={"whole_video": whole_video, "constant": constant, "majority": majority},
)
