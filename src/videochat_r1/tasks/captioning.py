"""What happens in a video, told freely? A judge says which of the true events the caption entails.

The reward is R_cap = R_format + R_recall (VideoChat-R1, arXiv:2504.06958, section 3.3); the figures are Dream-1K's, as its released code
counts them (AutoDQ: Wang et al. 2024, arXiv:2407.00634): a sample's recall is the share of its true events that the caption entails, its
precision the share of the caption's events that the true description entails; the figures are the means over the samples, and F1 is the
harmonic mean of those two means, not the mean of the samples' F1. `description` is the same task with an exact rule in place of a judge."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from videochat_r1.errors import Unscorable
from videochat_r1.judge.base import LONGEST_CAPTION, Judge, Question
from videochat_r1.rewards import tags
from videochat_r1.rewards.events import harmonic, judged_precision, judged_recall
from videochat_r1.tasks._prompts import THOUGHT
from videochat_r1.tasks.base import FORMAT, Asking, Derived, Task
from videochat_r1.tasks.description import frequent_events
from videochat_r1.types import Answer, Reading, Sample, Verdict

DESCRIBE = "Describe this video in detail."


def ask(sample: Sample, asking: Asking) -> str:
    """The paper's Dream-1K prompt; with thinking, in the paper's frame for free answers (its prompt of the quality task)."""
    if not asking.thinking:
        return DESCRIBE
    return f"{DESCRIBE}\n\n{THOUGHT}\n\nThen, provide your final answer within the <answer> </answer> tags.\n"


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """The caption: the last answer block after the thought, or, where none was asked for and none is there, the whole text.

    Reasons: no_answer, no_text, too_long. Without thinking every caption without a stray tag has the form."""
    tail = tags.window(text)
    spoken = tags.after_thought(tail)
    block = tags.last_block(spoken, "answer")
    if block is None and asking.thinking:
        return Reading(answer=None, reason="no_answer", format_ok=False)
    caption = (spoken if block is None else block).strip()
    if not any(letter.isalnum() for letter in caption):
        return Reading(answer=None, reason="no_text", format_ok=False)
    if len(caption) > LONGEST_CAPTION:
        return Reading(answer=None, reason="too_long", format_ok=False)
    has_form = tags.whole_form(text, *tags.forms(asking.thinking)) is not None
    plain_form = not asking.thinking and len(text) <= tags.WINDOW and not any(mark in text for mark in _MARKS)
    return Reading(answer=Answer(caption=caption), reason="", format_ok=has_form or plain_form)


_MARKS = ("<think>", "</think>", "<answer>", "</answer>")


def write(answer: Answer, asking: Asking) -> str:
    """The caption, or the events, a sentence each, where there is none. Raises ValueError where there are neither."""
    text = question_of("", answer).description.strip()
    return tags.blocks(text, thought="I look at what happens from the beginning to the end.") if asking.thinking else text


def consult(items: Sequence[tuple[Reading, Sample]], judge: Judge, precision: bool) -> list[Reading]:
    """The readings with a verdict each, all judged in one batch. One without a caption needs none; one whose truth has neither events nor a
    description gets none, which its reward will say. Raises what the judge raises."""
    questions: dict[int, Question] = {}
    for place, (reading, sample) in enumerate(items):
        if reading.answer is not None and reading.answer.caption:
            with suppress(ValueError):
                questions[place] = question_of(reading.answer.caption, sample.truth)
    verdicts = dict(zip(questions, judge.judge(list(questions.values()), precision=precision), strict=True))
    return [replace(reading, verdict=verdicts[place]) if place in verdicts else reading for place, (reading, _) in enumerate(items)]


def question_of(caption: str, truth: Answer) -> Question:
    """What a judge is asked. Raises ValueError where the truth has neither events nor a description."""
    return Question(caption=caption, events=truth.events or (), reference=truth.caption or "")


def verdict_of(reading: Reading, sample: Sample) -> Verdict | None:
    """What was found in the caption; None where there is no caption. Raises Unscorable where it could not be judged, or was not, and
    ValueError where the truth has neither events nor a description."""
    question_of("", sample.truth)
    if reading.answer is None or not reading.answer.caption:
        return None
    if reading.verdict is None or reading.verdict.failure or not reading.verdict.told:
        reason = "not judged" if reading.verdict is None else reading.verdict.failure or "no true event"
        raise Unscorable(f"judge: {reason}")
    return reading.verdict


def event_recall(reading: Reading, sample: Sample, asking: Asking) -> float:
    """The reward; 0.0 without a caption. Raises Unscorable."""
    verdict = verdict_of(reading, sample)
    return judged_recall(verdict) if verdict else 0.0


def _recall(reading: Reading, sample: Sample) -> tuple[float, float]:
    try:
        verdict = verdict_of(reading, sample)
    except Unscorable:
        return 0.0, 0.0
    return (judged_recall(verdict), 1.0) if verdict else (0.0, 1.0)


def _precision(reading: Reading, sample: Sample) -> tuple[float, float]:
    try:
        verdict = verdict_of(reading, sample)
    except Unscorable:
        return 0.0, 0.0
    if verdict is None:
        return 0.0, 1.0
    return (judged_precision(verdict), 1.0) if verdict.borne_out is not None else (0.0, 0.0)


def _eventless(reading: Reading, sample: Sample) -> tuple[float, float]:
    """The share of captions that tell no event at all: their precision is 1.0 by AutoDQ's rule."""
    number, of = _precision(reading, sample)
    return (float(reading.verdict is not None and reading.verdict.claims == () and number == 1.0), of)


TASK = Task(
    ask=ask,
    read=read,
    write=write,
    rewards=FORMAT | {"event_recall": event_recall},
    metrics={"event_precision": _precision, "event_recall": _recall, "eventless": _eventless},
    derived={"event_F1": Derived(("event_recall", "event_precision"), harmonic)},
    trivial={"frequent_events": frequent_events},
    consult=consult,
)
