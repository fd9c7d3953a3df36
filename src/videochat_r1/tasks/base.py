"""What a task is: how it asks, how an answer is read, what the answer earns, and which figures it is reported by.

A task is one file in this folder that assigns TASK. `judge` is the only place where completions become rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from videochat_r1 import plugins
from videochat_r1.errors import UsageError
from videochat_r1.section import Section, refused
from videochat_r1.types import Answer, Completion, Reading, Rollout, Sample


class Asking(Section):
    """How questions are put and answers are read; the same for all tasks of a run."""

    thinking: bool = refused(False, "ask for a <think> block before the answer, and require it in the format reward")
    order: Literal["text_first", "video_first"] = refused("text_first", "what stands first in the user's message (the paper: text)")
    reading: Literal["strict", "released"] = refused("strict", "how answers are read: strict, or as the released code would have paid")
    given_box_scored: bool = refused(False, "tracking: score the given first box too, as the paper does")
    timed_boxes: bool = refused(False, "tracking: name the second of each box that is asked for")


Reward = Callable[[Reading, Sample, Asking], float]
"""What one answer earns, 0.0 .. 1.0. A sample whose truth is at fault raises ValueError; a text never does."""

Metric = Callable[[Reading, Sample], tuple[float, float]]
"""One sample's share of a figure: (numerator, denominator). The figure is 100 x the sum of numerators over the sum of denominators."""

Trivial = Callable[[Sequence[Sample]], Callable[[Sample], Answer]]
"""An answer without a look at the video: fitted on training samples (there may be none), then called for each sample."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of question. See docs/tour.md for one written from scratch in 20 lines."""

    ask: Callable[[Sample, Asking], str]  # the user's text; the video is put before or after it
    read: Callable[[str, Sample, Asking], Reading]  # total: any text gives a Reading
    write: Callable[[Answer, Asking], str]  # an answer in the form that was asked for; read(write(truth)) scores full marks
    rewards: Mapping[str, Reward]  # the total is their sum
    metrics: Mapping[str, Metric]
    trivial: Mapping[str, Trivial] = field(default_factory=dict)
    seconds: Callable[[Sample], tuple[float, ...] | None] = lambda sample: None  # seconds the model must see a frame of


def load_task(name: str) -> Task:
    """The task of that name, or of the .py file at that path. Raises UsageError on an unknown one."""
    task = plugins.load("tasks", name, "TASK")
    assert isinstance(task, Task), f"{name}.TASK is not a Task"
    return task


def judge(task: Task, sample: Sample, completions: Sequence[Completion], asking: Asking) -> tuple[Rollout, ...]:
    """Completions of one sample with what each earns, in the same order; each depends on nothing but its own text.

    Raises ValueError where the sample's truth is at fault, and UsageError where a reward fails or gives no number from 0 to 1."""
    rollouts = []
    for completion in completions:
        reading = task.read(completion.text, sample, asking)
        rewards = {name: _earned(name, reward, reading, sample, asking) for name, reward in task.rewards.items()}
        rollouts.append(Rollout(completion=completion, reading=reading, rewards=rewards))
    return tuple(rollouts)


def _earned(name: str, reward: Reward, reading: Reading, sample: Sample, asking: Asking) -> float:
    try:
        earned = float(reward(reading, sample, asking))
    except ValueError:
        raise  # the truth's fault, which is the data set's to mend
    except Exception as fault:
        raise UsageError(
            f"The reward {name!r} failed on sample {sample.id}: {type(fault).__name__}: {fault}", "A reward must be total over texts."
        ) from fault
    if not 0.0 <= earned <= 1.0:  # nan is not, either
        raise UsageError(f"The reward {name!r} gave {earned} for sample {sample.id}.", "A reward is a number from 0.0 to 1.0.")
    return earned
