"""What answers earn: the only place where completions become rollouts."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

from videochat_r1 import plugins
from videochat_r1.errors import TaskFault, Unscorable, UsageError
from videochat_r1.judge.base import Judge
from videochat_r1.tasks.base import Asking, Reward, Task, number, truth_is_at_fault
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Completion, Reading, Rollout, Sample

NOTES = logging.getLogger("videochat_r1.rewards")
told: set[tuple[str, ...]] = set()
"""(task, reward, kind) of failures of which one was told; the same in a process apart."""


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
            if not strict:
                tell_once((sample.task, name, fault.kind), f"The reward {name!r} cannot score a text of {sample.id}: {fault.reason}")
        except TaskFault as fault:
            if strict:
                raise
            unscorable = unscorable or f"{name}: {fault.short}"
            tell_fault(f"The reward {name!r}", name, sample, fault)
        except Exception as fault:
            if isinstance(fault, ValueError) and truth_is_at_fault(reward, sample, asking):
                raise
            unscorable = unscorable or f"{name}: {type(fault).__name__}: {fault}"
            tell_fault(f"The reward {name!r}", name, sample, fault)
    return rewards, unscorable


def tell_once(key: tuple[str, ...], what: str, fault: BaseException | None = None) -> None:
    """Why a completion cannot be scored, for the first one of that key alone; with the traceback where there is a fault."""
    if key not in told:
        told.add(key)
        NOTES.warning(
            "%s; such completions are left out and counted. It is told once%s", what, "." if fault is None else ":", exc_info=fault
        )


def tell_fault(who: str, name: str, sample: Sample, fault: BaseException) -> None:
    """`tell_once` of an exception that a reward, or what comes before the rewards, raised; of a TaskFault the one that caused it."""
    fault = fault.__cause__ or fault
    tell_once((sample.task, name, type(fault).__name__), f"{who} failed on sample {sample.id}", fault)


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
        raise Unscorable("no score", "none")
    try:
        earned = number(value)
    except TypeError as fault:
        raise Unscorable(f"gave {fault}", "no number") from None
    if not 0.0 <= earned <= 1.0:  # nan is not, either
        raise Unscorable(f"gave {earned:g}, which is not from 0 to 1", "not a number" if math.isnan(earned) else "range")
    return earned
