"""A task in a file of the user's own, read and scored in a process of its own: what hangs there is ended at its deadline, and what breaks
there breaks nothing here. A thread could not be ended, and a signal reaches the main thread alone.

The two talk in lines of JSON over pipes; the process ends with its parent."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields
from functools import lru_cache
from typing import IO, Any

from videochat_r1.errors import EnvironmentFault, TaskFault
from videochat_r1.tasks.base import Asking, Task, watch
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.tasks.base.scoring import earned, tell_fault, tell_once, told
from videochat_r1.types import Answer, Completion, Reading, Rollout, Sample

START_S = 120.0
"""Seconds that a task's file may take to be imported."""

PR_SET_PDEATHSIG = 1
NOT_READ = Reading(answer=None, reason="unscorable", format_ok=False)


class Apart:
    """The process of one task's file. It is started when it is first needed, and again after it was ended."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        atexit.register(self.close)

    def rollout(self, sample: Sample, completion: Completion, asking: Asking, deadline_s: float) -> Rollout:
        """A completion, read and scored; unscorable where that takes longer than the deadline, or ends the process.

        Raises ValueError where the sample's truth is at fault, EnvironmentFault where the task's file cannot be imported."""
        asked = {"sample": asdict(sample), "text": completion.text, "told": sorted(told), "asking": asking.model_dump(mode="json")}
        found = self._asked(asked, deadline_s)
        told.update(map(tuple, found.get("told", ())))
        if "truth" in found:
            raise ValueError(found["truth"])
        reading = _reading(found["reading"]) if "reading" in found else NOT_READ
        return Rollout(completion=completion, reading=reading, rewards=found.get("rewards", {}), unscorable=found["unscorable"])

    def close(self) -> None:
        """End the process, if it runs."""
        process, self.process, self._rest = self.process, None, b""
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _asked(self, asked: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        if self.process is not None and self.process.poll() is not None:
            self.close()  # ended since the last call: by the system, or with the thread that started it
        if self.process is None:
            self._start()
        try:
            self._send(asked)
            return self._line(time.monotonic() + deadline_s)
        except TimeoutError:
            self.close()
            tell_once((self.path, "", "deadline"), f"{self.path} took longer than {deadline_s:g} s over a text of {_id(asked)}")
            return {"unscorable": f"took longer than {deadline_s:g} s"}
        except (EOFError, OSError):
            self.close()
            tell_once((self.path, "", "ended"), f"{self.path} ended its process over a text of {_id(asked)}")
            return {"unscorable": "the process of the rewards ended"}

    def _start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        command = [sys.executable, "-m", __name__, self.path]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        try:
            self._line(time.monotonic() + START_S)
        except (TimeoutError, EOFError):
            self.close()
            mend = "Its traceback stands above. grpo.reward_deadline_s = 0 scores in the trainer's own process."
            raise EnvironmentFault(f"{self.path} cannot be imported in a process of its own.", mend) from None

    def _send(self, value: dict[str, Any]) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        self.process.stdin.flush()

    def _line(self, until: float) -> dict[str, Any]:
        assert self.process is not None and self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        while b"\n" not in self._rest:
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            more = os.read(pipe, 1 << 16)
            if not more:
                raise EOFError
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


@lru_cache(maxsize=64)
def apart(path: str) -> Apart:
    """The process of the task in that file, one for the whole of this process."""
    return Apart(path)


def _id(asked: dict[str, Any]) -> str:
    return str(asked["sample"]["id"])


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _answer(value: dict[str, Any]) -> Answer:
    return Answer(**{field.name: _tuples(value[field.name]) for field in fields(Answer)})


def _reading(value: dict[str, Any]) -> Reading:
    answer = None if value["answer"] is None else _answer(value["answer"])
    return Reading(answer=answer, reason=value["reason"], format_ok=value["format_ok"])


def _sample(value: dict[str, Any]) -> Sample:
    return Sample(**{**value, "options": _tuples(value["options"]), "truth": _answer(value["truth"])})


def _found(task: Task, asked: dict[str, Any]) -> dict[str, Any]:
    sample, asking = _sample(asked["sample"]), Asking(**asked["asking"])
    part = "read"
    try:
        reading = task.read(asked["text"], sample, asking)
        part = "prepare"
        if task.prepare is not None:
            task.prepare([(reading, sample)], asking)
    except TaskFault as fault:
        tell_fault(part, part, sample, fault)
        return {"unscorable": f"{part}: {fault.short}"}
    except Exception as fault:
        tell_fault(part, part, sample, fault)
        return {"unscorable": f"{part}: {type(fault).__name__}: {fault}"}
    try:
        rewards, unscorable = earned(task, sample, reading, asking)
    except ValueError as fault:
        return {"truth": str(fault)}
    return {"reading": asdict(reading), "rewards": rewards, "unscorable": unscorable}


def _serve(path: str, out: IO[bytes]) -> None:
    task = load_task(path)
    out.write(b"{}\n")
    out.flush()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        told.update(map(tuple, asked["told"]))  # by a process of this file that was ended, too
        found = _found(task, asked)
        out.write(json.dumps({**found, "told": sorted(told)}).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a text that hangs must not outlive its trainer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C here too; what it ends is the run's to say
    watch.TELL_AFTER_S = watch.NEVER  # the run has a deadline
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the task's file prints is no answer
    _serve(sys.argv[1], answers)
