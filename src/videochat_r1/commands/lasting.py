"""Where notes and progress go, for as long as somebody takes them: a closed pipe or terminal, or a full disk under a log, ends no run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, TextIO


class Lasting:
    """A text stream around another: what that does not take is dropped, then and from then on, for this process and all it starts."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except BlockingIOError:  # a terminal that takes nothing for a moment
            pass
        except (OSError, ValueError):
            forget(self._stream)


def forget(stream: TextIO) -> None:
    """What still waits to be printed there is dropped: nothing takes it, and Python would say so when it ends."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())
