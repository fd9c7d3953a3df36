"""The gate of a SwiGLU layer (Shazeer 2020, arXiv:2002.05202): h = silu(g) * u, one read of each and one write.

Axes: M elements."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
HALVES_BLOCK = 1024  # a decode step has few rows: more programs


@triton.jit
def _forward(g_ptr, u_ptr, h_ptr, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    g = tl.load(g_ptr + place, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(u_ptr + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(h_ptr + place, (g * tl.sigmoid(g) * u).to(h_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _backward(g_ptr, u_ptr, dh_ptr, dg_ptr, du_ptr, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    g = tl.load(g_ptr + place, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(u_ptr + place, mask=inside, other=0.0).to(tl.float32)
    dh = tl.load(dh_ptr + place, mask=inside, other=0.0).to(tl.float32)
    gate = tl.sigmoid(g)
    tl.store(dg_ptr + place, (dh * u * gate * (1.0 + g * (1.0 - gate))).to(dg_ptr.dtype.element_ty), mask=inside)
    tl.store(du_ptr + place, (dh * g * gate).to(du_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _of_halves(x_ptr, h_ptr, count, width, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    start = place + place // width * width  # each row of x is twice as long as one of h
    g = tl.load(x_ptr + start, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(x_ptr + start + width, mask=inside, other=0.0).to(tl.float32)
    tl.store(h_ptr + place, (g * tl.sigmoid(g) * u).to(h_ptr.dtype.element_ty), mask=inside)


class SiluProduct(torch.autograd.Function):
    """(g, u), equal shapes and types -> silu(g) * u."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, u: Tensor) -> Tensor:
        g, u = g.contiguous(), u.contiguous()
        h = torch.empty_like(g)
        if g.numel():
            _forward[(triton.cdiv(g.numel(), BLOCK),)](g, u, h, g.numel(), BLOCK=BLOCK, num_warps=8)
        ctx.save_for_backward(g, u)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        g, u = ctx.saved_tensors
        dh = grads[0].contiguous()
        dg, du = torch.empty_like(g), torch.empty_like(u)
        if g.numel():
            _backward[(triton.cdiv(g.numel(), BLOCK),)](g, u, dh, dg, du, g.numel(), BLOCK=BLOCK, num_warps=8)
        return dg, du


def silu_product(g: Tensor, u: Tensor) -> Tensor:
    """silu(g) * u on a GPU, with gradients to both."""
    out: Tensor = SiluProduct.apply(g, u)
    return out


def silu_of_halves(x: Tensor) -> Tensor:
    """silu(g) * u (..., I) of x = [g | u] (..., 2 I), contiguous, on a GPU; without gradients."""
    width = x.shape[-1] // 2
    h = torch.empty(*x.shape[:-1], width, dtype=x.dtype, device=x.device)
    if h.numel():
        _of_halves[(triton.cdiv(h.numel(), HALVES_BLOCK),)](x, h, h.numel(), width, BLOCK=HALVES_BLOCK, num_warps=4)
    return h
