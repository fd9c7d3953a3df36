"""RMS norm (Zhang & Sennrich 2019, arXiv:1910.07467): y = w * x / sqrt(mean(x^2) + eps), one read of x and one write of y.

Axes: N rows, D their width."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ELEMENTS = 4096  # of a program's tile, about: narrow rows (the heads of Qwen3-VL) go several at a time
PARTS = 512  # programs that sum a weight's gradient side by side


@triton.jit
def _forward(x_ptr, w_ptr, y_ptr, rows, width, eps, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    inside = (row[:, None] < rows) & (column[None, :] < width)
    place = row[:, None] * width + column[None, :]
    x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(w_ptr + column, mask=column < width, other=0.0).to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / width + eps)
    tl.store(y_ptr + place, (x * inverse[:, None] * w[None, :]).to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    x_ptr, w_ptr, dy_ptr, dx_ptr, dw_ptr, rows, width, eps, TILES: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, SUMS: tl.constexpr
):
    column = tl.arange(0, WIDTH)
    w = tl.load(w_ptr + column, mask=column < width, other=0.0).to(tl.float32)
    dw = tl.zeros((WIDTH,), dtype=tl.float32)
    for tile in range(TILES):
        row = (tl.program_id(0).to(tl.int64) * TILES + tile) * ROWS + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & (column[None, :] < width)
        place = row[:, None] * width + column[None, :]
        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + place, mask=inside, other=0.0).to(tl.float32)
        inverse = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / width + eps)
        unit = x * inverse[:, None]
        g = dy * w[None, :]
        dx = inverse[:, None] * (g - unit * (tl.sum(g * unit, axis=1) / width)[:, None])
        tl.store(dx_ptr + place, dx.to(dx_ptr.dtype.element_ty), mask=inside)
        if SUMS:
            dw += tl.sum(dy * unit, axis=0)
    if SUMS:
        tl.store(dw_ptr + tl.program_id(0) * width + column, dw, mask=column < width)


class RmsNorm(torch.autograd.Function):
    """(x (..., D), w (D,), eps) -> (..., D), in x's type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        x_ND = x.reshape(-1, x.shape[-1]).contiguous()
        rows, width = x_ND.shape
        y_ND = torch.empty_like(x_ND)
        tile = _tile(width)
        if rows:
            _forward[(triton.cdiv(rows, tile["ROWS"]),)](x_ND, weight_D, y_ND, rows, width, eps, **tile)
        ctx.save_for_backward(x_ND, weight_D)
        ctx.eps = eps
        return y_ND.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, weight_D = ctx.saved_tensors
        rows, width = x_ND.shape
        dy_ND = grads[0].reshape(rows, width).contiguous()
        dx_ND = torch.empty_like(x_ND)
        wants_weight, tile = ctx.needs_input_grad[1], _tile(width)
        tiles = max(1, triton.cdiv(rows, PARTS * tile["ROWS"])) if wants_weight else 1
        programs = triton.cdiv(rows, tiles * tile["ROWS"])
        parts = torch.zeros(max(programs, 1) if wants_weight else 1, width, dtype=torch.float32, device=x_ND.device)
        if rows:
            _backward[(programs,)](x_ND, weight_D, dy_ND, dx_ND, parts, rows, width, ctx.eps, TILES=tiles, SUMS=wants_weight, **tile)
        return dx_ND.view(grads[0].shape), parts.sum(0).to(weight_D.dtype) if wants_weight else None, None


def _tile(width: int) -> dict[str, int]:
    wide = triton.next_power_of_2(width)
    return {"ROWS": max(1, min(ELEMENTS // wide, 16)), "WIDTH": wide, "num_warps": 4 if wide <= 2048 else 8}


def rms_norm(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """y (..., D) of x (..., D) on a GPU, with gradients to x and the weight."""
    out: Tensor = RmsNorm.apply(x, weight_D, eps)
    return out
