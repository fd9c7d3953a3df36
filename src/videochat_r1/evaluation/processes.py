"""One process or several under `torchrun --nproc-per-node N`: who takes which work, and how the results come together.

What travels is JSON in byte tensors over gloo, on GPUs too: results are small, and nothing is unpickled."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

PATIENCE = timedelta(days=7)
"""A process that is done waits for the slowest one: its work may take hours longer."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes what is said once for all."""
        return self.rank == 0

    def gathered(self, rows: Sequence[Any]) -> list[list[Any]]:
        """The rows of every process, in the order of the processes, on each of them. Rows must be JSON."""
        if self.count == 1:
            return [list(rows)]
        import torch
        import torch.distributed as dist

        own = torch.frombuffer(bytearray(json.dumps(list(rows)).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(own)]))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(own)] = own
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        return [json.loads(bytes(part[: int(size)].tolist())) for part, size in zip(parts, sizes, strict=True)]


ALONE = Processes()


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone. They part when the block ends."""
    count = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if count == 1:
        yield ALONE
        return
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()
