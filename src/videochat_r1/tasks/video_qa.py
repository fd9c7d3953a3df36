"""A question with options: the answer is the letter of one.

Prompt and reward: VideoChat-R1, arXiv:2504.06958, section 3.3."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from videochat_r1.rewards import released, tags
from videochat_r1.rewards.choices import check_choice, is_asked_letter, read_choice
from videochat_r1.tasks._prompts import choice_question
from videochat_r1.tasks._trivial import majority_letter
from videochat_r1.tasks.base import FORMAT, Asking, Task
from videochat_r1.types import Answer, Reading, Sample


def ask(sample: Sample, asking: Asking) -> str:
    """The paper's prompt; the options are written as Python writes a list, each with its letter."""
    return choice_question(sample, asking, grounded=False)


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """The letter in the last answer block. Reasons: no_answer, and those of choices.read_choice."""
    tail = tags.window(text)
    if asking.reading != "strict":
        letter, reason = released.read_choice(tail), "no_choice"
        form_ok = released.has_form(tail, thinking=asking.thinking, glue=False)
        return Reading(answer=Answer(choice=letter) if letter else None, reason="" if letter else reason, format_ok=form_ok)
    block = tags.last_block(tags.after_thought(tail), "answer")
    letter, reason = (None, "no_answer") if block is None else read_choice(block, sample.options)
    if letter is None:
        return Reading(answer=None, reason=reason, format_ok=False)
    form = tags.whole_form(text, *tags.forms(asking.thinking))
    return Reading(answer=Answer(choice=letter), reason="", format_ok=form is not None and is_asked_letter(form[-1], sample.options))


def write(answer: Answer, asking: Asking) -> str:
    """The letter, as asked for. Raises ValueError where there is none."""
    thought = "I compare what the video shows with each of the options." if asking.thinking else ""
    return tags.blocks(check_choice(answer.choice, ()), thought=thought)


def right(reading: Reading, sample: Sample) -> float:
    """1.0 where the letter is the true one, 0.0 otherwise. Raises ValueError on a truth that is not the letter of an option."""
    truth = check_choice(sample.truth.choice, sample.options)
    return float(reading.answer is not None and reading.answer.choice == truth)


def majority(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The letter that is right most often in training; the first option without training samples."""
    letter = majority_letter(training)
    return lambda sample: Answer(choice=letter(sample))


TASK = Task(
    ask=ask,
    read=read,
    write=write,
    rewards=FORMAT | {"accuracy": lambda reading, sample, asking: right(reading, sample)},
    metrics={"accuracy": lambda reading, sample: (right(reading, sample), 1.0)},
    trivial={"majority": majority},
)
