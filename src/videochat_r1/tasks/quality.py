"""How good does a video look? The answer is one of a few labels, such as "low quality".

Prompt and reward: VideoChat-R1, arXiv:2504.06958, on Quality_Access of VidTAB (VideoEval, arXiv:2407.06491)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from videochat_r1.rewards import released, tags
from videochat_r1.rewards.choices import plain, read_label
from videochat_r1.tasks._prompts import THOUGHT
from videochat_r1.tasks._trivial import most_frequent
from videochat_r1.tasks.base import FORMAT, Asking, Task
from videochat_r1.types import Answer, Reading, Sample

UNTRAINED_LABEL = "low quality"
"""The first label of the paper's question; answered where there are no training samples and no options."""

_LABEL_LIST = re.compile(r"\[((?:'[^'\[\]]{1,64}',? ?){2,26})\]")
_LABEL = re.compile(r"'([^']{1,64})'")


def ask(sample: Sample, asking: Asking) -> str:
    """The paper's prompt around the data's own question, which names the labels."""
    start = f"{THOUGHT}\n\nThen, provide" if asking.thinking else "Output"
    return f"{sample.question}\n\n{start} your final answer within the <answer> </answer> tags.\n"


def offered_labels(sample: Sample) -> tuple[str, ...]:
    """The labels to choose from: the sample's options, or those that its question lists, as the paper's does; () where it names none."""
    listed = None if sample.options else _LABEL_LIST.search(sample.question)
    return tuple(_LABEL.findall(listed[1])) if listed else sample.options


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """The label in the last answer block. Reasons: no_answer, and those of choices.read_label."""
    tail = tags.window(text)
    if asking.reading != "strict":
        label, reason = released.read_label(tail), "no_label"
        form_ok = released.has_form(tail, thinking=asking.thinking, glue=False)
        return Reading(answer=Answer(label=label) if label else None, reason="" if label else reason, format_ok=form_ok)
    block = tags.last_block(tags.after_thought(tail), "answer")
    label, reason = (None, "no_answer") if block is None else read_label(block, offered_labels(sample))
    form = tags.whole_form(text, *tags.forms(asking.thinking)) if label else None
    form_ok = form is not None and label is not None and form[-1].strip().casefold() == label.casefold()
    return Reading(answer=Answer(label=label) if label else None, reason=reason, format_ok=form_ok)


def write(answer: Answer, asking: Asking) -> str:
    """The label, as asked for. Raises ValueError where there is none."""
    thought = "I look at how sharp, steady and well lit the video is, and how it is composed." if asking.thinking else ""
    return tags.blocks(check_label(answer.label), thought=thought)


def check_label(label: str | None) -> str:
    """The label of a truth. Raises ValueError where there is none."""
    if not label or not plain(label) or "<" in label:
        raise ValueError(f"The truth's label {label!r} has no words.")
    return label


def right(reading: Reading, sample: Sample) -> float:
    """1.0 where the label is the true one but for case, 0.0 otherwise. Raises ValueError where the truth has none that is offered."""
    truth = check_label(sample.truth.label)
    labels = offered_labels(sample)
    if labels and plain(truth) not in [plain(label) for label in labels]:
        raise ValueError(f"The truth's label {truth!r} of sample {sample.id} is not one of {list(labels)}.")
    label = reading.answer.label if reading.answer else None
    return float(label is not None and (label.strip().lower() == truth.strip().lower() or (not labels and label == plain(truth))))


def majority(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The most frequent label in training; the first that is offered, or "low quality", without training samples."""
    label = most_frequent([sample.truth.label for sample in training if sample.truth.label])
    return lambda sample: Answer(label=label or next(iter(offered_labels(sample)), UNTRAINED_LABEL))


TASK = Task(
    ask=ask,
    read=read,
    write=write,
    rewards=FORMAT | {"accuracy": lambda reading, sample, asking: right(reading, sample)},
    metrics={"accuracy": lambda reading, sample: (right(reading, sample), 1.0)},
    trivial={"majority": majority},
)
