"""What a task is: how it asks, how an answer is read, what the answer earns, and which figures it is reported by.

A task is one file in this folder that assigns TASK. `judge` is the only place where completions become rollouts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from videochat_r1 import plugins
from videochat_r1.errors import TaskFault, Unscorable, UsageError
from videochat_r1.section import Section, refused
from videochat_r1.tasks._own import guarded, truth_is_at_fault
from videochat_r1.types import Answer, Completion, Reading, Rollout, Sample

if TYPE_CHECKING:
    from videochat_r1.judge.base import Judge


class Asking(Section):
    """How questions are put and answers are read; the same for all tasks of a run."""

    thinking: bool = refused(False, "ask for a <think> block before the answer, and require it in the format reward")
    order: Literal["text_first", "video_first"] = refused("text_first", "what stands first in the user's message (the paper: text)")
    reading: Literal["strict", "released"] = refused("strict", "how answers are read: strict, or as the released code would have paid")
    given_box_scored: bool = refused(False, "tracking: score the given first box too, as the paper does")
    rewards: dict[str, str] = refused(
        dict, 'of a task: which of its rewards to train on, such as temporal_grounding = "timestamp_tiou"; left out: the paper\'s'
    )
    timed_boxes: bool = refused(False, "tracking: name the second of each box that is asked for")


Reward = Callable[[Reading, Sample, Asking], float | None]
"""What one answer earns, 0.0 .. 1.0. None, or raising Unscorable, says that it cannot be told. A sample whose truth is at fault raises
ValueError, whatever the text; a text never does."""

Metric = Callable[[Reading, Sample], tuple[float, float]]
"""One sample's share of a figure: (numerator, denominator). The figure is 100 x the sum of numerators over the sum of denominators."""

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


def load_task(name: str) -> Task:
    """The task of that name, or of the .py file at that path. Raises UsageError on an unknown one, and on a file that holds no task; the
    functions of a file's task raise TaskFault where they break (tasks/_own.py)."""
    task = plugins.load("tasks", name, "TASK")
    if not isinstance(task, Task):
        mend = "docs/tour.md shows a task from scratch: TASK = Task(ask=..., read=..., write=..., rewards=..., metrics=...)."
        raise UsageError(f"{name} assigns a TASK that is a {type(task).__name__}, not a Task.", mend)
    return guarded(task, name) if name.endswith(".py") else task


NOTES = logging.getLogger("videochat_r1.rewards")
_told: set[str] = set()  # rewards whose first failure was shown with its traceback


def consulted(items: Sequence[tuple[Reading, Sample]], judge: Judge | None = None, *, precision: bool) -> list[Reading]:
    """The readings, those of tasks that rest on a judge with its verdicts: one batch a task. judge: None: the one in force (judge.using).

    Raises what the judge raises: faults that the user must mend."""
    readings = [reading for reading, _ in items]
    for name in dict.fromkeys(sample.task for _, sample in items):
        if name.endswith(".py") or (consult := load_task(name).consult) is None:  # a user's own tasks have no judge but their own
            continue
        if judge is None:
            from videochat_r1.judge import in_force

            judge = in_force()
        places = [place for place, (_, sample) in enumerate(items) if sample.task == name]
        for place, reading in zip(places, consult([items[place] for place in places], judge, precision), strict=True):
            readings[place] = reading
    return readings


def judge(task: Task, sample: Sample, completions: Sequence[Completion], asking: Asking) -> tuple[Rollout, ...]:
    """Completions of one sample with what each earns, in the same order; each depends on nothing but its own text.

    A reward that fails, or gives no number from 0 to 1, makes the completion unscorable. Raises ValueError where the sample's truth is at
    fault."""
    completions = list(completions)
    readings = [task.read(completion.text, sample, asking) for completion in completions]
    if task.prepare is not None:
        task.prepare([(reading, sample) for reading in readings], asking)
    return tuple(scored(task, sample, completion, reading, asking) for completion, reading in zip(completions, readings, strict=True))


def scored(task: Task, sample: Sample, completion: Completion, reading: Reading, asking: Asking) -> Rollout:
    """A completion that was read, with what it earns. Raises ValueError where the sample's truth is at fault."""
    rewards, unscorable = earned(task, sample, reading, asking)
    return Rollout(completion=completion, reading=reading, rewards=rewards, unscorable=unscorable)


def earned(task: Task, sample: Sample, reading: Reading, asking: Asking, *, strict: bool = False) -> tuple[dict[str, float], str]:
    """What one reading earns by name, and why it cannot be scored ("" where it can). Raises ValueError where the truth is at fault.

    strict: a reward of the user's own that breaks raises its TaskFault, and is not counted as one that cannot score."""
    rewards: dict[str, float] = {}
    unscorable = ""
    for name, reward in chosen_rewards(task, short_name(sample.task), asking).items():
        try:
            rewards[name] = _number(reward(reading, sample, asking))
        except Unscorable as fault:
            unscorable = unscorable or f"{name}: {fault.reason}"
        except TaskFault as fault:
            if strict:
                raise
            unscorable = unscorable or f"{name}: {fault.short}"
            _tell_once(name, sample, fault.__cause__ or fault)
        except Exception as fault:
            if isinstance(fault, ValueError) and truth_is_at_fault(reward, sample, asking):
                raise
            unscorable = unscorable or f"{name}: {type(fault).__name__}: {fault}"
            _tell_once(name, sample, fault)
    return rewards, unscorable


def _tell_once(name: str, sample: Sample, fault: BaseException) -> None:
    if name not in _told:
        _told.add(name)
        what = "The reward %r failed on sample %s; such completions are left out and counted. It is shown once:"
        NOTES.warning(what, name, sample.id, exc_info=fault)


def chosen_rewards(task: Task, name: str, asking: Asking) -> Mapping[str, Reward]:
    """The rewards of a task that the recipe trains on. Raises UsageError for a name that the task does not have."""
    chosen = asking.rewards.get(name)
    if chosen is None:
        return task.rewards
    if chosen not in task.alternatives:
        mend = plugins.nearest(chosen, sorted(task.alternatives)) if task.alternatives else "It has one kind of reward; leave the line out."
        raise UsageError(f"asking.rewards.{name}: the task has no reward {chosen!r}.", mend)
    return task.alternatives[chosen]


def short_name(task: str) -> str:
    """A task's name in metrics and recipes; of a task in a file of the user's own, the file's name."""
    return task.rsplit("/", 1)[-1].removesuffix(".py")


def _number(value: object) -> float:
    """A reward's value. Raises Unscorable for what is no number from 0 to 1."""
    if value is None:
        raise Unscorable("no score")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Unscorable(f"gave a {type(value).__name__}, not a number") from None
    if not 0.0 <= number <= 1.0:  # nan is not, either
        raise Unscorable(f"gave {number:g}, which is not from 0 to 1")
    return number
