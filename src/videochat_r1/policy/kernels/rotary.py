"""Rotary positions (Su et al. 2021, arXiv:2104.09864) of queries and keys in one launch: y = x cos + half-turned(x) sin.

Both halves of a head share their angles, so a pair (a, b) of its i-th and (i + D/2)-th number becomes (a c - b s, b c + a s), and the
gradient is the turn by the opposite angle. Axes: N tokens, H query heads, K key heads, D head size."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _turned(x_ptr, y_ptr, x_stride, cos, sin, token, heads, size, HEADS: tl.constexpr, HALF: tl.constexpr):
    """All heads of one token. What is read may have any distance from token to token; what is written has none between."""
    head, column, half = tl.arange(0, HEADS), tl.arange(0, HALF), size // 2
    inside = (head[:, None] < heads) & (column[None, :] < half)
    place = head[:, None] * size + column[None, :]
    a = tl.load(x_ptr + token * x_stride + place, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x_ptr + token * x_stride + place + half, mask=inside, other=0.0).to(tl.float32)
    out = y_ptr + token * heads * size + place
    tl.store(out, (a * cos[None, :] - b * sin[None, :]).to(y_ptr.dtype.element_ty), mask=inside)
    tl.store(out + half, (b * cos[None, :] + a * sin[None, :]).to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _turn(
    q_ptr,
    k_ptr,
    cos_ptr,
    sin_ptr,
    to_q_ptr,
    to_k_ptr,
    q_stride,
    k_stride,
    angle_stride,
    q_heads,
    k_heads,
    size,
    sign,
    Q_HEADS: tl.constexpr,
    K_HEADS: tl.constexpr,
    HALF: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, HALF)
    inside = column < size // 2
    cos = tl.load(cos_ptr + token * angle_stride + column, mask=inside, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + token * angle_stride + column, mask=inside, other=0.0).to(tl.float32) * sign
    _turned(q_ptr, to_q_ptr, q_stride, cos, sin, token, q_heads, size, Q_HEADS, HALF)
    _turned(k_ptr, to_k_ptr, k_stride, cos, sin, token, k_heads, size, K_HEADS, HALF)


class Rotary(torch.autograd.Function):
    """(q (N, H, D), k (N, K, D), cos (N, D), sin (N, D)) -> q and k turned, contiguous. Heads of a token stand side by side in what is
    given; tokens may have any one distance. No gradient goes to the angles."""

    @staticmethod
    def forward(ctx: Any, q_NHD: Tensor, k_NKD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos_ND, sin_ND)
        return _launch(q_NHD, k_NKD, cos_ND, sin_ND, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dq_NHD, dk_NKD = (grad if is_by_token(grad) else grad.contiguous() for grad in grads)
        cos_ND, sin_ND = ctx.saved_tensors
        return *_launch(dq_NHD, dk_NKD, cos_ND, sin_ND, -1.0), None, None


def _launch(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, sign: float) -> tuple[Tensor, Tensor]:
    turned_q, turned_k = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k))
    tokens, q_heads, size = q.shape
    if tokens:
        _turn[(tokens,)](
            q,
            k,
            cos,
            sin,
            turned_q,
            turned_k,
            q.stride(0),
            k.stride(0),
            cos.stride(0),
            q_heads,
            k.shape[1],
            size,
            sign,
            Q_HEADS=triton.next_power_of_2(q_heads),
            K_HEADS=triton.next_power_of_2(k.shape[1]),
            HALF=triton.next_power_of_2(size // 2),
            num_warps=4,
        )
    return turned_q, turned_k


def is_by_token(x_NHD: Tensor) -> bool:
    """Whether the heads of a token stand side by side."""
    return x_NHD.stride(2) == 1 and x_NHD.stride(1) == x_NHD.shape[2]


def turn(q_NHD: Tensor, k_NKD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (both `is_by_token`) turned by their angles on a GPU, with gradients to both."""
    turned: tuple[Tensor, Tensor] = Rotary.apply(q_NHD, k_NKD, cos_ND, sin_ND)
    return turned
