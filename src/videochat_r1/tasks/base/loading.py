"""A task by its name, or from a file of the user's own: what that file's functions raise is told with its line, and is no fault of the
program's own.

Faults that a function names itself (errors.py) pass as they are, and so does a ValueError that speaks of a sample's truth
(`truth_is_at_fault`). A reward that breaks is a TaskFault too: training counts it (`earned`), an evaluation stops at it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from videochat_r1 import plugins
from videochat_r1.errors import TaskFault, Unscorable, UsageError, UserFault
from videochat_r1.tasks.base import Task, number, truth_is_at_fault
from videochat_r1.tasks.base.watch import is_from_outside, watched
from videochat_r1.types import Answer, Reading, Sample

SHARE = "a pair of finite numbers with 0 <= numerator <= denominator"
ROUNDING = 1e-6
"""How far float32 rounding may put a share below 0 or above all, relative to all."""

Check = Callable[[Any], bool]
Whose = Callable[[Callable[..., Any], tuple[Any, ...]], bool]  # (function, its arguments) -> whether its ValueError speaks of the truth


def load_task(name: str) -> Task:
    """The task of that name, or of the .py file at that path. Raises UsageError on an unknown one, and on a file that holds no task; the
    functions of a file's task raise TaskFault where they break."""
    task = plugins.load("tasks", name, "TASK")
    if not isinstance(task, Task):
        mend = "docs/tour.md shows a task from scratch: TASK = Task(ask=..., read=..., write=..., rewards=..., metrics=...)."
        raise UsageError(f"{name} assigns a TASK that is a {type(task).__name__}, not a Task.", mend)
    return guarded(task, name) if name.endswith(".py") else task


def guarded(task: Task, path: str) -> Task:
    """The same task, each function of which raises TaskFault, naming the file at `path`, where it breaks or gives what it must not.

    Raises UsageError for a task that is not made of functions."""
    _require_functions(task, path)
    guard = functools.partial(_guard, path)
    scoring: dict[str, Any] = {"is_truths": lambda score, args: truth_is_at_fault(score, *args[1:])}
    earning = {**scoring, "may_be_unscorable": True}
    rewards = {name: guard(f"the reward {name!r}", reward, **earning) for name, reward in task.rewards.items()}
    alternatives = {
        kind: {name: guard(f"the reward {name!r} of {kind}", reward, **earning) for name, reward in others.items()}
        for kind, others in task.alternatives.items()
    }
    return replace(
        task,
        ask=guard("ask", task.ask, "a text", _is_text),
        read=guard("read", task.read, "a Reading", _is_reading),
        write=guard("write", task.write, "a text", _is_text, is_truths=_always),
        rewards=rewards,
        alternatives=alternatives,
        metrics={name: guard(f"the metric {name!r}", one, SHARE, _is_share, **scoring) for name, one in task.metrics.items()},
        trivial={name: _trivial(path, name, fit) for name, fit in task.trivial.items()},
        seconds=guard("seconds", task.seconds, "a tuple of seconds, or None", _are_seconds),
        prepare=None if task.prepare is None else guard("prepare", task.prepare),
        derived={
            name: replace(one, combine=guard(f"the derived figure {name!r}", one.combine, "a finite number", _is_finite))
            for name, one in task.derived.items()
        },
    )


def _guard(
    path: str,
    role: str,
    run: Callable[..., Any],
    wanted: str = "",
    fits: Check = lambda value: True,
    *,
    is_truths: Whose = lambda run, args: False,
    may_be_unscorable: bool = False,
) -> Callable[..., Any]:
    who = f"{path}: {role}"

    @functools.wraps(run)
    def guarded_run(*args: Any) -> Any:
        try:
            value = watched(run, args, who, _over)
        except UserFault:
            raise
        except BaseException as fault:
            if is_from_outside(fault) or (may_be_unscorable and isinstance(fault, Unscorable)):
                raise
            what = f"{plugins.line_of(path, fault)}: {role} raised {plugins.said(fault)}"
            if isinstance(fault, ValueError) and is_truths(run, args):
                raise ValueError(what) from fault
            raise TaskFault(f"{what}{_over(args)}.", plugins.MEND, plugins.said(fault)) from fault
        if not fits(value):
            short = f"gave {value!r:.60}, not {wanted}"
            raise TaskFault(f"{path}: {role} {short}{_over(args)}.", "Mend the file.", short)
        return value

    return guarded_run


def _trivial(path: str, name: str, fit: Callable[..., Any]) -> Callable[..., Any]:
    """A trivial answer is a function that gives a function."""
    role = f"the trivial answer {name!r}"
    fitted = _guard(path, role, fit, "a function", callable)

    @functools.wraps(fit)
    def guarded_fit(*args: Any) -> Any:
        return _guard(path, role, fitted(*args), "an Answer", lambda value: isinstance(value, Answer), is_truths=_always)

    return guarded_fit


def _always(run: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    return True


def _over(args: tuple[Any, ...]) -> str:
    return next((f", on sample {arg.id}" for arg in args if isinstance(arg, Sample)), "")


def _require_functions(task: Task, path: str) -> None:
    tables: dict[str, Any] = {"rewards": task.rewards, "metrics": task.metrics, "trivial": task.trivial}
    alternatives, derived = _table(path, "alternatives", task.alternatives), _table(path, "derived", task.derived)
    tables |= {f"alternatives[{kind!r}]": others for kind, others in alternatives.items()}
    functions: dict[str, Any] = {"ask": task.ask, "read": task.read, "write": task.write, "seconds": task.seconds}
    functions |= {} if task.prepare is None else {"prepare": task.prepare}
    for table, rows in tables.items():
        functions |= {f"{table}[{name!r}]": function for name, function in _table(path, table, rows).items()}
    functions |= {f"derived[{name!r}].combine": getattr(one, "combine", one) for name, one in derived.items()}
    for name, function in functions.items():
        if not callable(function):
            raise UsageError(f"{path}: TASK.{name} is a {type(function).__name__}, not a function.", "Mend the file.")


def _table(path: str, name: str, rows: Any) -> Mapping[str, Any]:
    if not isinstance(rows, Mapping):
        raise UsageError(f"{path}: TASK.{name} is a {type(rows).__name__}, not a table of functions by name.", "Mend the file.")
    return rows


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_reading(value: Any) -> bool:
    return isinstance(value, Reading)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(number(value))
    except TypeError:
        return False


def _is_share(value: Any) -> bool:
    if not (isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_finite, value))):
        return False
    numerator, denominator = map(number, value)
    return -ROUNDING * denominator <= numerator <= denominator * (1 + ROUNDING)


def _are_seconds(value: Any) -> bool:
    return value is None or (isinstance(value, tuple | list) and all(map(_is_finite, value)))
