"""What happens in a video? The answer is plain text, and earns the share of the true events that it tells.

An exact rule for truths whose events are canonical clauses, as the built-in world writes them; it needs no judge. The reward is recall, as
in VideoChat-R1 (arXiv:2504.06958, R_cap); `event_precision` shows whether a text tells what did not happen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from videochat_r1.rewards import tags
from videochat_r1.rewards.choices import plain
from videochat_r1.rewards.events import check_events, event_precision, event_recall
from videochat_r1.tasks.base import Asking, Task
from videochat_r1.types import Answer, Reading, Sample


def ask(sample: Sample, asking: Asking) -> str:
    """The prompt of the paper's Dream-1K evaluation; the same with and without thinking, since the answer is plain text."""
    return "Describe this video in detail."


LETTER = re.compile(r"[^\W_]")  # what str.isalnum calls a letter or digit, found without a step of Python for each character


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """What the text says after its thought, if it has one. Reason: no_text."""
    caption = tags.after_thought(tags.window(text)).strip()
    found = LETTER.search(caption) is not None
    return Reading(answer=Answer(caption=caption) if found else None, reason="" if found else "no_text", format_ok=found)


def write(answer: Answer, asking: Asking) -> str:
    """The caption where it tells all events, and otherwise the events, a sentence each. Raises ValueError where there are neither."""
    if answer.caption and (not answer.events or event_recall(answer.caption, answer.events) == 1.0):
        return answer.caption.strip()
    check_events(answer.events)
    return " ".join(event.strip().rstrip(".") + "." for event in answer.events or ())


def told(measure: Callable[[str, Sequence[str]], float], reading: Reading, sample: Sample) -> float:
    """A measure of the caption against the true events; 0.0 where there is no caption."""
    check_events(sample.truth.events)
    return measure(reading.answer.caption, sample.truth.events or ()) if reading.answer and reading.answer.caption else 0.0


def frequent_events(training: Sequence[Sample]) -> Callable[[Sample], Answer]:
    """The events that are most frequent in training, as many as a sample has on average; without training samples, "A video."."""
    listed = [event.strip().rstrip(".") for sample in training for event in sample.truth.events or ()]
    names = {plain(event): event for event in reversed(listed)}
    counts = Counter(plain(event) for event in listed)
    number = round(len(listed) / max(1, sum(bool(sample.truth.events) for sample in training)))
    best = sorted(counts, key=lambda event: (-counts[event], event))[:number]
    events = tuple(names[event] for event in best)
    answer = Answer(events=events, caption=" ".join(f"{event}." for event in events)) if events else Answer(caption="A video.")
    return lambda sample: answer


TASK = Task(
    ask=ask,
    read=read,
    write=write,
    rewards={"event_recall": lambda reading, sample, asking: told(event_recall, reading, sample)},
    metrics={
        "event_recall": lambda reading, sample: (told(event_recall, reading, sample), 1.0),
        "event_precision": lambda reading, sample: (told(event_precision, reading, sample), 1.0),
    },
    trivial={"frequent_events": frequent_events},
)
