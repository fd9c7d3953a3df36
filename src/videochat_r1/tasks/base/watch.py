"""A call of a user's own function that takes long is told while it still runs.

By an alarm of the main thread's rather than by a thread that looks on: what hangs is most often a regular expression, and while Python
matches one no other thread runs. It costs a call about 7 us."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

NEVER = 0.0
TELL_AFTER_S = 10.0
NOTES = logging.getLogger("videochat_r1")
_told: set[str] = set()


def is_from_outside(fault: BaseException) -> bool:
    """Whether an exception may be no function's own: Ctrl-C, or SIGTERM where a command ends by it. A run has one handler for both, which
    raises nothing, and a process apart leaves both to the run: a KeyboardInterrupt there was raised by a function."""
    ctrl_c, term = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    raises = ctrl_c is signal.default_int_handler or (callable(term) and term != ctrl_c)
    return isinstance(fault, GeneratorExit) or (isinstance(fault, KeyboardInterrupt) and raises)


def watched(run: Callable[..., Any], args: tuple[Any, ...], who: str, over: Callable[[tuple[Any, ...]], str]) -> Any:
    """run(*args). Where that takes long, `who` is told with what it is `over`, the first time. Not outside the main thread, and not where
    the alarm is another's."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        return run(*args)

    def tell(number: int, frame: object) -> None:
        if who not in _told:
            _told.add(who)
            end = "; Ctrl-C ends it" if signal.getsignal(signal.SIGINT) is signal.default_int_handler else ""
            NOTES.warning("%s has been running for %g s%s%s.", who, TELL_AFTER_S, over(args), end)

    signal.signal(signal.SIGALRM, tell)
    signal.setitimer(signal.ITIMER_REAL, TELL_AFTER_S)
    try:
        return run(*args)
    finally:
        left = signal.setitimer(signal.ITIMER_REAL, 0.0)
        if (handler := signal.signal(signal.SIGALRM, signal.SIG_DFL)) is not tell:  # the function made the alarm its own
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, *left)
