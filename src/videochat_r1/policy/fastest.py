"""Which backend of the shared attention is fastest here: measured once for each kind of row, on random tensors of its shape.

On a processor there is nothing to measure: its flash kernel was never slower than plain operations (docs/log.md), and a choice that
followed the clock could change the last bits of a run from one start to the next. On a GPU the first candidate stands unless another beats
it clearly, and a candidate whose numbers stray from the first one's is left out with a warning."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videochat_r1.policy.attention import Backend, SharedRow, kernel_of

NOTES = logging.getLogger("videochat_r1")
RUNS = 3
CLEARLY = 0.95
"""A later candidate is taken where its time is below this share of the best before it: a tie does not change a run's last bits."""
STRAY = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 4e-2}
"""Relative distance (norms) from the first candidate's output and gradients at which another is wrong, not rounded."""


@dataclass(frozen=True)
class Geometry:
    """What one layer's attention is made of."""

    heads: int
    kv_heads: int
    size: int  # of a head
    dtype: torch.dtype
    device: torch.device


Timing = Callable[[SharedRow, Geometry, bool], tuple[float, Tensor]]
_taken: dict[tuple[Any, ...], Backend] = {}


def fastest(prompts: Sequence[int], tails: Sequence[Sequence[int]], geometry: Geometry, *, with_grad: bool) -> Backend:
    """The backend to take for a row of such prompts and tails; with_grad: forward and backward count, else forward alone.

    Measured on first use for each bucket of lengths (powers of two of the prompts', the tails' and their number), device and geometry, and
    remembered for the process."""
    options = candidates(geometry)
    if len(options) == 1:
        return options[0]
    tokens = (sum(prompts), sum(map(sum, tails)), sum(map(len, tails)))
    key = (*(count.bit_length() for count in tokens), geometry, with_grad)
    if key not in _taken:
        _taken[key] = measured(prompts, tails, geometry, options, with_grad=with_grad)
    return _taken[key]


def candidates(geometry: Geometry) -> tuple[Backend, ...]:
    """Backends that have a kernel of their own for such tensors, the usual first; plain operations where none has."""
    kernels: tuple[Backend, ...] = (
        "segments",
        "efficient",
    )  # the second where there is no first: it was never faster (docs/performance.md)
    found = tuple(name for name in kernels if kernel_of(name, geometry.device, geometry.dtype, geometry.size) is not None)[:1]
    if geometry.device.type == "cuda" and geometry.dtype in (torch.bfloat16, torch.float16) and geometry.size >= 16:
        found += ("flex",)
    return found or ("portable",)


def measured(
    prompts: Sequence[int],
    tails: Sequence[Sequence[int]],
    geometry: Geometry,
    options: Sequence[Backend],
    *,
    with_grad: bool,
    timing: Timing | None = None,
) -> Backend:
    """The fastest of the options for one row. An option that fails (no compiler, no such kernel) is left out; where all fail, plain
    operations it is. Raises torch.OutOfMemoryError where there is no memory for the first that works."""
    best: Backend | None = None
    best_s, expected = float("inf"), None
    for backend in options:
        row = SharedRow(prompts, tails, geometry.device, backend)
        try:
            taken_s, made = (timing or time_of)(row, geometry, with_grad)
        except torch.OutOfMemoryError:
            if best is None:
                raise  # says nothing of the kernel: who asked makes smaller passes, and it is measured then
            continue
        except Exception as fault:  # whatever a compiler or a driver raises: another backend serves
            NOTES.warning("Attention backend %s is left out: %s", backend, (str(fault).splitlines() or [type(fault).__name__])[0])
            continue
        if expected is not None and (gap := float((made - expected).norm() / expected.norm())) > STRAY.get(geometry.dtype, 1e-3):
            NOTES.warning("Attention backend %s is left out: its numbers are %.1e off those of %s", backend, gap, best)
            continue
        expected = made if expected is None else expected
        if taken_s < CLEARLY * best_s:
            best, best_s = backend, taken_s
    return best or "portable"


def time_of(row: SharedRow, geometry: Geometry, with_grad: bool) -> tuple[float, Tensor]:
    """Median seconds of one layer's attention after a first run that is not counted, and what it made (output and gradients, flat)."""
    draw = torch.Generator(device=geometry.device).manual_seed(0)
    q, k, v, upstream = (
        torch.randn(1, row.length, heads, geometry.size, generator=draw, device=geometry.device, dtype=torch.float32).to(geometry.dtype)
        for heads in (geometry.heads, geometry.kv_heads, geometry.kv_heads, geometry.heads)
    )
    states = [x.transpose(1, 2).requires_grad_(with_grad) for x in (q, k, v)]
    scale = geometry.size**-0.5

    def attend() -> Tensor:
        with torch.set_grad_enabled(with_grad):
            out = row.attend(0, states[0], states[1], states[2], scale)
            made = [out, *torch.autograd.grad(out, states, upstream)] if with_grad else [out]
        return torch.cat([each.detach().flatten() for each in made]).float()

    made = attend()
    seconds = []
    for _ in range(RUNS):
        _wait(geometry.device)
        began = time.perf_counter()
        attend()
        _wait(geometry.device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), made


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
