"""Steps that are recorded once and replayed: a CUDA graph for each shape of a step.

A decode step is hundreds of small kernels, and starting them one by one from Python takes longer than they run. A recorded step starts
them all at once. It may depend on nothing but tensors that keep their addresses, and must ask the device for nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

import torch

NOTES = logging.getLogger("videochat_r1")

Work = Callable[[], None]
Capture = Callable[[Work], Work]
"""Records a step without letting its effects stand; what it returns does the step."""


class Graphs:
    """Does steps, and replays those of a shape that was seen before. capture: None does every step as it comes.

    A recording that fails is said once, and from then on every step is done as it comes."""

    def __init__(self, capture: Capture | None) -> None:
        self.capture = capture
        self.captured = 0
        self._seen: set[Hashable] = set()
        self._ready: dict[Hashable, Work] = {}

    def run(self, shape: Hashable, work: Work) -> None:
        """One step. The first of a shape is done as it comes, which also lets libraries set themselves up; the second is recorded."""
        if self.capture is not None and shape in self._seen and shape not in self._ready:
            try:
                self._ready[shape] = self.capture(work)
                self.captured += 1
            except Exception as fault:  # whatever a driver or a kernel raises that cannot be recorded
                reason = (str(fault).splitlines() or [type(fault).__name__])[0]
                NOTES.warning("Decode steps are not recorded as CUDA graphs, which is slower: %s", reason)
                self.capture = None
                self._ready.clear()
        self._seen.add(shape)
        self._ready.get(shape, work)()


def cuda_capture() -> Capture:
    """Records CUDA graphs that share one pool of memory."""
    pool = torch.cuda.graph_pool_handle()

    def capture(work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        stream = torch.cuda.current_stream()
        try:
            # Other threads (decoding videos) may use the device meanwhile: only this one is held to what can be recorded.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                work()
        except BaseException:
            torch.cuda.set_stream(stream)  # a recording that cannot begin leaves its own
            raise
        return graph.replay

    return capture
