"""What answers earn: the only place where completions become rollouts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from videochat_r1 import plugins
from videochat_r1.errors import TaskFault, Unscorable, UsageError
from videochat_r1.judge.base import Judge
from videochat_r1.tasks.base import Asking, Reward, Task, number, truth_is_at_fault
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Completion, Reading, Rollout, Sample

NOTES = logging.getLogger("videochat_r1.rewards")
_told: set[tuple[str, str, str]] = set()  # (task, reward, kind) of failures whose first was shown with its traceback


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
    key = (sample.task, name, type(fault).__name__)
    if key not in _told:
        _told.add(key)
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
        earned = number(value)
    except TypeError as fault:
        raise Unscorable(f"gave {fault}") from None
    if not 0.0 <= earned <= 1.0:  # nan is not, either
        raise Unscorable(f"gave {earned:g}, which is not from 0 to 1")
    return earned
