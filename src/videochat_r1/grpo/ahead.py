"""Work that is done while the device works: an iterator that runs in a thread of its own, a bounded way ahead of who reads it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import closing, suppress
from typing import TypeVar

from videochat_r1.background import helpers_begin

Item = TypeVar("Item")
POLL_S = 0.1
"""How often a thread that waits for room looks whether it is still wanted."""


class _End:
    """What comes after the last item, and why."""

    def __init__(self, fault: BaseException | None) -> None:
        self.fault = fault


def ahead(source: Generator[Item], depth: int) -> Generator[Item]:
    """The items of `source` in their order, at most `depth` of them (and the one in work) made before they are asked for.

    What `source` raises is raised here, after the items before it. The thread starts with the first item that is asked for; when this
    iterator is closed, dropped or read to its end, the source is closed in its thread and the thread has ended."""
    made: queue.Queue[Item | _End] = queue.Queue(maxsize=max(1, depth))
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                made.put(item, timeout=POLL_S)
                return

    begin = helpers_begin()

    def produce() -> None:
        fault: BaseException | None = None
        try:
            begin()
            with closing(source):
                for item in source:
                    put(item)
                    if stopped.is_set():
                        return
        except BaseException as caught:
            fault = caught
        put(_End(fault))

    thread = threading.Thread(target=produce, name="prepare", daemon=True)
    thread.start()
    try:
        while True:
            item = made.get()
            if isinstance(item, _End):
                if item.fault is not None:
                    raise item.fault
                return
            yield item
    finally:
        stopped.set()
        thread.join()
