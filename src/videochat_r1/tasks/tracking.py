"""Where is an object, at several seconds, given where it is at first? The answer is a box for each second, the given one included.

Prompt and reward: VideoChat-R1, arXiv:2504.06958. `AO`, `SR0.5` and `SR0.75` are those of GOT-10k (Huang et al. 2019, arXiv:1810.11981):
the mean IoU, and the share of boxes with an IoU above 0.5 and 0.75, over all boxes but the given one. `AO_8` and `R_8@m` count as the
paper does: of each sequence the mean IoU over all boxes, the given one scored, and the share of sequences where that mean is m or more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from videochat_r1.rewards import boxes, released, tags
from videochat_r1.rewards.boxes import box_giou, box_ious, check_boxes
from videochat_r1.tasks._prompts import BRIEF_THOUGHT, THOUGHT
from videochat_r1.tasks.base import FORMAT, Asking, Metric, Task
from videochat_r1.types import Answer, Reading, Sample

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def ask(sample: Sample, asking: Asking) -> str:
    """The paper's prompt, with "eight" replaced by the number of boxes that the truth has.

    Raises ValueError on a truth at fault, and where seconds are to be named (asking.timed_boxes) and the truth has none."""
    truth = check_boxes(sample.truth.boxes)
    count = NUMBER_WORDS[len(truth)] if len(truth) < len(NUMBER_WORDS) else str(len(truth))
    timed = ""
    if asking.timed_boxes:
        timed = f" The {count} boxes are asked for at these seconds: {', '.join(f'{second:.2f}' for second in seconds(sample) or ())}."
        if not sample.truth.times_s:
            raise ValueError(f"Sample {sample.id} names no seconds for its boxes, and timed_boxes asks for them.")
    return (
        f'Track the "{sample.question}" in the video based on its initial coordinates "{list(truth[0])}". '
        f"The output should be a list containing {count} sublists. Each sublist includes four normalized coordinates [x0, y0, x1, y1] "
        f"representing the bounding box of the object at specific time intervals.{timed}\n\n"
        + (f"{THOUGHT if asking.prompts == 'released' else BRIEF_THOUGHT}\n\n" if asking.thinking else "")
        + f"Provide your answer within the <answer> </answer> tags as a list of {count} sublists, "
        "where each sublist contains the normalized coordinates [x0, y0, x1, y1]. "
        "For example: <answer>[[0.1, 0.5, 0.3, 0.55], [0.72, 0.25, 0.84, 0.43], ...]</answer>.\n"
    )


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """The boxes in the last answer block, as many as the truth has. Reasons: no_answer, and those of boxes.read_boxes."""
    tail = tags.window(text)
    if asking.reading != "strict":
        found, eight_lists = released.read_boxes(tail)
        form_ok = eight_lists and released.has_form(tail, thinking=asking.thinking, glue=False)
        return Reading(answer=Answer(boxes=found) if found else None, reason="" if found else "bad_list", format_ok=form_ok)
    count = len(sample.truth.boxes or ())
    block = tags.last_block(tags.after_thought(tail), "answer")
    found_or_reason = "no_answer" if block is None else boxes.read_boxes(block, count)
    if isinstance(found_or_reason, str):
        return Reading(answer=None, reason=found_or_reason, format_ok=False)
    form = tags.whole_form(text, *tags.forms(asking.thinking))
    return Reading(answer=Answer(boxes=found_or_reason), reason="", format_ok=form is not None and boxes.is_asked_boxes(form[-1], count))


def write(answer: Answer, asking: Asking) -> str:
    """All boxes, the given one first, as asked for. Raises ValueError where they are at fault."""
    thought = "I find the object in its first box and follow it from frame to frame." if asking.thinking else ""
    return tags.blocks(boxes.write_boxes(check_boxes(answer.boxes)), thought=thought)


def seconds(sample: Sample) -> tuple[float, ...] | None:
    """The second of each box, where the truth names them: the model must see a frame of each. Raises ValueError where they do not match."""
    times_s = sample.truth.times_s
    if times_s is not None and len(times_s) != len(check_boxes(sample.truth.boxes)):
        raise ValueError(f"Sample {sample.id} has {len(sample.truth.boxes or ())} boxes and {len(times_s)} seconds for them.")
    return times_s


def overlaps(reading: Reading, sample: Sample) -> list[float]:
    """IoU of each box with the true one, the given one first; zeros where nothing was read."""
    return box_ious(reading.answer.boxes if reading.answer else None, check_boxes(sample.truth.boxes))


def mean_overlap(reading: Reading, sample: Sample, asking: Asking) -> float:
    """Mean IoU over the boxes that are scored: all but the given one, or all as the paper has it."""
    each = overlaps(reading, sample)
    return fmean(each if asking.given_box_scored or asking.reading != "strict" else each[1:])


def mean_giou(reading: Reading, sample: Sample, asking: Asking) -> float:
    """Mean GIoU, from 0 to 1, over the boxes that are scored; 0.0 where nothing, or another number of boxes, was read."""
    truth = check_boxes(sample.truth.boxes)
    ours = reading.answer.boxes if reading.answer else None
    if ours is None or len(ours) != len(truth):
        return 0.0
    each = [box_giou(box, true) for box, true in zip(ours, truth, strict=True)]
    return fmean(each if asking.given_box_scored or asking.reading != "strict" else each[1:])


def success_above(bound: float) -> Metric:
    def success(reading: Reading, sample: Sample) -> tuple[float, float]:
        each = overlaps(reading, sample)[1:]
        return float(sum(iou > bound for iou in each)), float(len(each))

    return success


def average_overlap(reading: Reading, sample: Sample) -> tuple[float, float]:
    each = overlaps(reading, sample)[1:]
    return sum(each), float(len(each))


def sequence_recall_at(least: float) -> Metric:
    return lambda reading, sample: (float(fmean(overlaps(reading, sample)) >= least), 1.0)


def copy_first_box(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The given box, every time."""

    def copied(sample: Sample) -> Answer:
        truth = check_boxes(sample.truth.boxes)
        return Answer(boxes=(truth[0],) * len(truth))

    return copied


TASK = Task(
    ask=ask,
    read=read,
    write=write,
    rewards=FORMAT | {"box_iou": mean_overlap},
    alternatives={
        "box_iou": FORMAT | {"box_iou": mean_overlap},
        "box_giou": FORMAT | {"box_giou": mean_giou},
    },
    metrics={
        "AO": average_overlap,
        "SR0.5": success_above(0.5),
        "SR0.75": success_above(0.75),
        "AO_8": lambda reading, sample: (fmean(overlaps(reading, sample)), 1.0),
        "R_8@0.3": sequence_recall_at(0.3),
        "R_8@0.5": sequence_recall_at(0.5),
        "R_8@0.7": sequence_recall_at(0.7),
    },
    trivial={"copy_first_box": copy_first_box},
    seconds=seconds,
)
