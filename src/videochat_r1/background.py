"""Threads that work beside the one that computes: videos decoded and prompts made ahead, scenes filmed."""

from __future__ import annotations

import os
from collections.abc import Callable


def helpers_begin() -> Callable[[], None]:
    """To be called by the thread that starts helpers; gives what each of them calls first.

    torch gives every thread a team of its own, as large as the machine. Two such teams on two processors wait for one another at the end
    of every operation: sampling beside decoding took twice as long (docs/log.md). So torch's operations in a helper take a quarter of
    the processors, one at least. Threads that are started later begin with the same number; threads that have computed keep theirs."""
    import torch

    share = max(1, len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)) // 4)
    torch.get_num_threads()  # from now on this thread has a number of its own, which a helper's does not change

    def begin() -> None:
        torch.set_num_threads(min(share, torch.get_num_threads()))

    return begin
