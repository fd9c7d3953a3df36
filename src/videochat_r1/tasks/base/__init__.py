"""What a task is: how it asks, how an answer is read, what the answer earns, and which figures it is reported by.

A task is one file in the folder above that assigns TASK. loading.py finds it by its name, scoring.py gives its answers what they earn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from videochat_r1.section import Section, refused
from videochat_r1.types import Answer, Reading, Sample

if TYPE_CHECKING:
    from videochat_r1.judge.base import Judge


Wording = Literal["released", "released_evaluation", "r1_5"]
"""Whose words ask: the released training code's, its evaluation code's, or VideoChat-R1.5's. They differ in a few words, and R1.5 asks for
a list where the others ask for one span."""

ReadAs = Literal["strict", "released", "released_evaluation"]
"""How answers are read: soundly; as the released training code pays them; or as its evaluation code reads them, which for temporal
grounding takes the last "x to y" anywhere, the thought included."""


class Asking(Section):
    """How questions are put and answers are read; the same for all tasks of a run."""

    thinking: bool = refused(False, "ask for a <think> block before the answer, and require it in the format reward")
    order: Literal["text_first", "video_first"] = refused("text_first", "what stands first in the user's message (the paper: text)")
    prompts: Wording = refused("released", "whose words ask: the released training code's, its evaluation code's, VideoChat-R1.5's")
    reading: ReadAs = refused("strict", "how answers are read: strict, or as the released training or evaluation code does")
    given_box_scored: bool = refused(False, "tracking: score the given first box too, as the paper does")
    rewards: dict[str, str] = refused(
        dict, 'of a task: which of its rewards to train on, such as temporal_grounding = "timestamp_tiou"; left out: the paper\'s'
    )
    timed_boxes: bool = refused(False, "tracking: name the second of each box that is asked for")

    @model_validator(mode="after")
    def _reads_what_it_asks_for(self) -> Asking:
        if self.prompts == "r1_5" and self.reading != "strict":
            raise ValueError(
                f"reading {self.reading} knows no answers of VideoChat-R1.5; with prompts r1_5 it is strict: give reading strict"
            )
        return self


Reward = Callable[[Reading, Sample, Asking], float | None]
"""What one answer earns, 0.0 .. 1.0. None, or raising Unscorable, says that it cannot be told. A sample whose truth is at fault raises
ValueError, whatever the text; a text never does."""

Metric = Callable[[Reading, Sample], tuple[float, float]]
"""One sample's share of a figure: (numerator, denominator), finite, 0.0 <= numerator <= denominator; (0.0, 0.0) leaves the sample out. The
figure is 100 x the sum of numerators over the sum of denominators."""

Trivial = Callable[[Sequence[Sample]], Callable[[Sample], Answer]]
"""An answer without a look at the video: fitted on training samples (there may be none), then called for each sample."""


Consult = Callable[[Sequence[tuple[Reading, Sample]], "Judge", bool], list[Reading]]
"""(answers with their samples, judge, whether precision is asked for too) -> the same readings with the judge's verdicts."""


@dataclass(frozen=True)
class Derived:
    """A figure that is made of others, such as the F1 of two means."""

    of: tuple[str, ...]  # names of metrics
    combine: Callable[..., float]  # their values in per cent -> this one's


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of question. See docs/tour.md for one written from scratch in 20 lines."""

    ask: Callable[[Sample, Asking], str]  # the user's text; the video is put before or after it
    read: Callable[[str, Sample, Asking], Reading]  # total: any text gives a Reading
    write: Callable[[Answer, Asking], str]  # an answer in the form that was asked for; read(write(truth)) scores full marks
    rewards: Mapping[str, Reward]  # the total is their sum
    alternatives: Mapping[str, Mapping[str, Reward]] = field(default_factory=dict)  # name -> other rewards, chosen by asking.rewards
    metrics: Mapping[str, Metric]
    trivial: Mapping[str, Trivial] = field(default_factory=dict)
    seconds: Callable[[Sample], tuple[float, ...] | None] = lambda sample: None  # seconds the model must see a frame of
    prepare: Callable[[Sequence[tuple[Reading, Sample]], Asking], None] | None = None  # sees all answers of a step before the rewards do
    consult: Consult | None = None  # for rewards that rest on a judge: called once for all answers of a step
    derived: Mapping[str, Derived] = field(default_factory=dict)


FORMAT: dict[str, Reward] = {"format": lambda reading, sample, asking: float(reading.format_ok)}
"""The reward of an answer in the form that was asked for, which most tasks add to their own."""


def number(value: object) -> float:
    """What a reward or a metric gave, as a float. Raises TypeError for what is no number; a text that reads as one is none."""
    try:
        if not isinstance(value, str | bytes | bytearray):
            return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is a tensor's of several elements
        pass
    raise TypeError(f"a {type(value).__name__}, not a number")


def truth_is_at_fault(score: Callable[..., Any], sample: Sample, *asking: Any) -> bool:
    """Of a reward or a metric that raised a ValueError: whether an empty reading raises one too, so that it is not the text that is at
    fault."""
    try:
        score(Reading(answer=None, reason="no_answer", format_ok=False), sample, *asking)
    except ValueError:
        return True
    except (Exception, SystemExit):
        return False
    return False
