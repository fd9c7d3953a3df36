"""SIGTERM, Ctrl-C and a terminal that is closed: finish the step, save, stop. A second SIGTERM or Ctrl-C stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

from videochat_r1.grpo.log import NOTES

STOPPING = (signal.SIGTERM, signal.SIGINT)


def once(number: int) -> None:
    """A shell passes SIGHUP on once more: from the first on it is ignored."""
    if number == signal.SIGHUP:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def restore(before: Mapping[signal.Signals, Any]) -> None:
    """The handlers that were there before, but for a signal that is ignored by now."""
    for each, handler in before.items():
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, handler)


def heeded(*signals: signal.Signals) -> tuple[signal.Signals, ...]:
    """These, and SIGHUP, unless whoever started this has it ignored, as nohup does."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return signals if ignored else (*signals, signal.SIGHUP)


class StopSignal:
    """Inside, the first signal is remembered in `received` and the second ends the process. Outside the main thread nothing is caught."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._take) for each in heeded(*STOPPING)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        restore(self._before)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)  # as a shell reports a process that the signal ended; what was saved stays valid
        once(number)
        self.received = signal.Signals(number)
        NOTES.warning("%s: finishing this step, then saving. Once more stops at once.", self.received.name)
