"""Everything that a run must remember to go on to the bit: what goes into a checkpoint, and back."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videochat_r1.grpo.order import Source


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0  # the last complete one
    position: int = 0  # of the next turn in the order of samples
    rewards: list[float] = field(default_factory=list)  # of the latest steps, as many as the plateau rule looks at
    nonfinite_in_a_row: int = 0
    skipped_updates: int = 0
    quarantined: int = 0  # turns whose video could not be used
    unscorable: int = 0  # completions without a score
    seconds: float = 0.0  # spent in steps, over all resumes

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def plateau(rewards: Sequence[float], steps: int, gain: float) -> bool:
    """Whether the mean of the latest `steps` rewards is less than `gain` above that of as many before. False until there are 2 x steps."""
    if steps == 0 or len(rewards) < 2 * steps:
        return False
    latest, before = rewards[-steps:], rewards[-2 * steps : -steps]
    return sum(latest) / steps - sum(before) / steps <= gain


def data_fingerprint(sources: Sequence[Source]) -> str:
    """A hash of what the samples ask and hold true, and of their order and weights; not of where their files lie."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.weight!r}\n".encode())
        for sample in source.samples:
            digest.update(repr((sample.id, sample.task, sample.question, sample.options, sample.truth)).encode("utf-8", "backslashreplace"))
            if "difficulty" in sample.meta:  # it may decide their order
                digest.update(repr(sample.meta["difficulty"]).encode())
    return digest.hexdigest()


def seed_random(seed: int) -> None:
    """Begin a run with the generators of torch, numpy and Python in a known state."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (the global generator is what a user's code may draw from)
    random.seed(seed)


def random_tensors() -> dict[str, Tensor]:
    """The states of the random generators of torch, numpy and Python. Nothing here draws from them; a task or an engine of a user's may."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    python = json.dumps(random.getstate()).encode()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_place": torch.tensor([position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([gauss], dtype=torch.float64),
        "python": torch.tensor(list(python), dtype=torch.uint8),
    }
    if torch.cuda.is_initialized():
        states |= {f"cuda_{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random(states: Mapping[str, Tensor]) -> None:
    """Put the generators back to where `random_tensors` found them."""
    torch.set_rng_state(states["torch"])
    position, has_gauss = states["numpy_place"].tolist()
    np.random.set_state(("MT19937", states["numpy"].numpy().astype(np.uint32), position, has_gauss, float(states["numpy_gauss"])))  # noqa: NPY002
    version, internal, gauss = json.loads(bytes(states["python"].tolist()))
    random.setstate((version, tuple(internal), gauss))
    for index in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        if f"cuda_{index}" in states:
            torch.cuda.set_rng_state(states[f"cuda_{index}"], index)
