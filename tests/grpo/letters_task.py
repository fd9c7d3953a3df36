"""A task that any text answers and hardly any two answer alike: the reward is the share of vowels. What a random policy can learn from."""

from videochat_r1.tasks.base import Task
from videochat_r1.types import Answer, Reading

VOWELS = set("aeiouAEIOU")


def read(text, sample, asking):
    return Reading(answer=Answer(label=text), reason="", format_ok=bool(text))


def vowels(reading, sample, asking):
    text = reading.answer.label
    return sum(letter in VOWELS for letter in text) / max(1, len(text))


TASK = Task(
    ask=lambda sample, asking: sample.question,
    read=read,
    write=lambda answer, asking: answer.label,
    rewards={"vowels": vowels, "form": lambda reading, sample, asking: 0.1 * reading.format_ok},
    metrics={"vowels": lambda reading, sample: (vowels(reading, sample, None), 1.0)},
)
