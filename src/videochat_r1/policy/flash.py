"""Kernels of the two-part attention over a row: two partial attentions, merged by log-sum-exp, and their gradients.

With s = q.k * scale, out = sum_j exp(s_j - lse) v_j over all keys j that a query sees, whichever part they belong to. So the gradient of
one part's keys, values and queries is what an attention backward computes when it is given the merged `out` and `lse` of all parts; the
gradients of the queries add up. PyTorch's own operators serve: no extra package.

    FLASH_CPU       the flash kernel for processors, a loop over groups
    EFFICIENT_CUDA  the memory-efficient kernel, a loop over groups: any GPU, float32 too
    FLASH_CUDA      the variable-length flash kernel, two calls a row: bfloat16 and float16 on Ampere and later

Axes: L row, H query heads, K key/value heads, R = H / K, D head size, G tails, T the longest of them, P a prompt."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from videochat_r1.policy.fused import kernels_work
from videochat_r1.policy.segments import Padding, Place, Segments

aten = torch.ops.aten


class Kernel(Protocol):
    """Attention over a row on one kind of device. Shapes: q, out, grads (H, L, D); k, v (K, L, D); lse (H, L) float32."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, row: Segments, scale: float) -> tuple[Tensor, Tensor]:
        """(out, lse)."""
        ...

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, row: Segments, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k, v."""
        ...


class Operators(Protocol):
    """One attention with its log-sum-exp, as PyTorch has it for one kind of device. Shapes: (B, heads, tokens, D); lse (B, heads, tokens).
    Batches may have stride 0: keys that serve several query heads are not copied for it."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]: ...

    def backward(self, given: list[Tensor], k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k, v; given: (grad, q, out, lse), of which out and lse may be those of a larger attention."""
        ...


def flash_kernel(device: torch.device, dtype: torch.dtype, size: int) -> Kernel | None:
    """The flash kernel for tensors of this kind and head size, or None where PyTorch has none."""
    if device.type == "cpu" and hasattr(aten, "_scaled_dot_product_flash_attention_for_cpu_backward"):
        return FLASH_CPU
    if _is_nvidia(device) and dtype in (torch.bfloat16, torch.float16) and size % 8 == 0 and size <= 256:
        return FLASH_CUDA if torch.cuda.get_device_capability(device)[0] >= 8 else None
    return None


def efficient_kernel(device: torch.device, dtype: torch.dtype, size: int) -> Kernel | None:
    """The memory-efficient kernel for tensors of this kind and head size, or None where PyTorch has none."""
    is_known = dtype in (torch.float32, torch.bfloat16, torch.float16) and size % 8 == 0
    return EFFICIENT_CUDA if _is_nvidia(device) and is_known else None


def _is_nvidia(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None


class MergedAttention(torch.autograd.Function):
    """(q, k, v, row, kernel, scale) -> out (H, L, D)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, row: Segments, kernel: Kernel, scale: float) -> Tensor:
        out, lse = kernel.forward(q, k, v, row, scale)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.row, ctx.kernel, ctx.scale = row, kernel, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        dq, dk, dv = ctx.kernel.backward(grads[0], q, k, v, out, lse, ctx.row, ctx.scale)
        return dq, dk, dv, None, None, None


def merge(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over the union of two disjoint sets of keys from the attention over each."""
    lse = torch.logaddexp(lse_a, lse_b)
    weighted = out_a * (lse_a - lse).exp().unsqueeze(-1) + out_b * (lse_b - lse).exp().unsqueeze(-1)
    return weighted.to(out_a.dtype), lse


class PaddedKernel:
    """A loop over groups; tails of a group as one padded rectangle. The query heads of a key/value head are folded into the rows of the
    shared part, and into a batch of stride 0 for the prompt's own, so that both run on the prompt's keys as they are."""

    def __init__(self, operators: Operators) -> None:
        self.operators = operators

    def forward(self, q: Tensor, k: Tensor, v: Tensor, row: Segments, scale: float) -> tuple[Tensor, Tensor]:
        heads, kv_heads, size = q.shape[0], k.shape[0], q.shape[2]
        out = q.new_empty(row.length, heads, size).transpose(0, 1)  # the model wants the heads of a token side by side
        lse = torch.empty(heads, row.length, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        repeats, attend = heads // kv_heads, self.operators.attend
        for place, padding in zip(row.places, row.paddings, strict=True):
            prompt, tail = slice(place.start, place.split), slice(place.split, place.end)
            kp, vp = k[:, prompt], v[:, prompt]
            own, own_lse = attend(
                _by_repeat(q[:, prompt], repeats), kp.expand(repeats, -1, -1, -1), vp.expand(repeats, -1, -1, -1), True, scale
            )
            out[:, prompt], lse[:, prompt] = _by_head(own), _by_head(own_lse)
            if padding is None:
                continue
            shared, shared_lse = attend(q[:, tail].reshape(1, kv_heads, -1, size), kp[None], vp[None], False, scale)
            spread = [padding.spread(x) for x in (q[:, tail], k[:, tail], v[:, tail])]
            own, own_lse = attend(spread[0], _expand(spread[1], repeats), _expand(spread[2], repeats), True, scale)
            own, own_lse = padding.gather(own), padding.gather(own_lse.unsqueeze(-1))[..., 0]
            out[:, tail], lse[:, tail] = merge(shared.reshape(heads, -1, size), shared_lse.reshape(heads, -1), own, own_lse)
        return out, lse

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, row: Segments, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        size, repeats = q.shape[2], q.shape[0] // k.shape[0]
        dq, dk, dv = (x.new_empty(row.length, x.shape[0], size).transpose(0, 1) for x in (q, k, v))
        for place, padding in zip(row.places, row.paddings, strict=True):
            prompt = slice(place.start, place.split)
            kp, vp = (x[:, prompt].expand(repeats, -1, -1, -1) for x in (k, v))
            given = [_by_repeat(x[:, prompt], repeats) for x in (grad, q, out, lse)]
            own = self.operators.backward(given, kp, vp, True, scale)
            dq[:, prompt], dk[:, prompt], dv[:, prompt] = _by_head(own[0]), own[1].sum(0), own[2].sum(0)
            if padding is not None:
                self._tails_backward((grad, q, out, lse), k, v, (dq, dk, dv), place, padding, scale)
        return dq, dk, dv

    def _tails_backward(
        self,
        given: tuple[Tensor, Tensor, Tensor, Tensor],
        k: Tensor,
        v: Tensor,
        into: tuple[Tensor, Tensor, Tensor],
        place: Place,
        padding: Padding,
        scale: float,
    ) -> None:
        """The gradients of one group's tails, and what they add to those of its prompt's keys and values."""
        (grad, q, out, lse), (dq, dk, dv) = given, into
        heads, kv_heads, size = q.shape[0], k.shape[0], q.shape[2]
        repeats, prompt, tail = heads // kv_heads, slice(place.start, place.split), slice(place.split, place.end)
        folded = [x[:, tail].reshape(1, kv_heads, -1, size) for x in (grad, q, out)] + [lse[:, tail].reshape(1, kv_heads, -1)]
        shared = self.operators.backward(folded, k[None, :, prompt], v[None, :, prompt], False, scale)
        dk[:, prompt] += shared[1][0]
        dv[:, prompt] += shared[2][0]
        # Slots past a tail's end: no gradient comes in, and an infinite log-sum-exp gives them no weight.
        spread = [padding.place(x[:, tail], 0.0) for x in (grad, q, out)] + [padding.place(lse[:, tail], float("inf"))]
        kt, vt = (_expand(padding.spread(x[:, tail]), repeats) for x in (k, v))
        own = self.operators.backward(spread, kt, vt, True, scale)
        dq[:, tail] = padding.gather(own[0]) + shared[0].reshape(heads, -1, size)
        dk[:, tail], dv[:, tail] = padding.gather(_reduce(own[1], repeats)), padding.gather(_reduce(own[2], repeats))


class VarlenKernel:
    """Two variable-length calls for the whole row: every segment causally over itself, and the tails of each group over its prompt."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, row: Segments, scale: float) -> tuple[Tensor, Tensor]:
        q_LHD, k_LKD, v_LKD = (x.transpose(0, 1) for x in (q, k, v))
        out, lse = _varlen(q_LHD, k_LKD, v_LKD, row.segment_bounds, row.segment_bounds, True, scale)
        tail, prompt = row.tail_index, row.prompt_index
        if tail.numel():
            shared, shared_lse = _varlen(q_LHD[tail], k_LKD[prompt], v_LKD[prompt], row.tail_bounds, row.prompt_bounds, False, scale)
            if kernels_work(q.device):
                from videochat_r1.policy.kernels.merge import merge_into

                merge_into(out, lse, shared, shared_lse, tail)
                return out.transpose(0, 1), lse
            merged, merged_lse = merge(shared, shared_lse.transpose(0, 1), out[tail], lse[:, tail].transpose(0, 1))
            out[tail], lse[:, tail] = merged, merged_lse.transpose(0, 1)
        return out.transpose(0, 1), lse

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, row: Segments, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        grad_LHD, q_LHD, k_LKD, v_LKD, out_LHD = (x.transpose(0, 1) for x in (grad, q, k, v, out))
        grad_LHD = grad_LHD.contiguous()
        dq, dk, dv = _varlen_backward(grad_LHD, q_LHD, k_LKD, v_LKD, out_LHD, lse, row.segment_bounds, row.segment_bounds, True, scale)
        tail, prompt = row.tail_index, row.prompt_index
        if tail.numel():
            given = (grad_LHD[tail], q_LHD[tail], k_LKD[prompt], v_LKD[prompt], out_LHD[tail], lse[:, tail].contiguous())
            more = _varlen_backward(*given, row.tail_bounds, row.prompt_bounds, False, scale)
            dq.index_add_(0, tail, more[0])  # each row once, so the order of the additions is fixed
            dk.index_add_(0, prompt, more[1])
            dv.index_add_(0, prompt, more[2])
        return dq.transpose(0, 1), dk.transpose(0, 1), dv.transpose(0, 1)


class FlashCpu:
    """The flash kernel for processors; it takes strides as they are."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
        return out, lse

    def backward(self, given: list[Tensor], k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        grad, q, out, lse = given
        dq, dk, dv = aten._scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, lse, 0.0, causal, scale=scale)
        return dq, dk, dv


class EfficientCuda:
    """The memory-efficient kernel. It keeps the log-sum-exps of 32 queries together, the last ones padded."""

    BLOCK = 32

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        out, lse, *_ = aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal, scale=scale)
        return out, lse[..., : q.shape[2]]

    def backward(self, given: list[Tensor], k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        grad, q, out, lse = given
        out = out.transpose(1, 2).contiguous().transpose(1, 2)  # as the kernel writes it; it reads others past their end
        padded = F.pad(lse, (0, -lse.shape[-1] % self.BLOCK), value=float("inf")).contiguous()
        unused = torch.zeros((), dtype=torch.int64, device=q.device)  # the random state of a dropout that there is not
        wanted = [True, True, True, False]
        dq, dk, dv, _ = aten._scaled_dot_product_efficient_attention_backward(
            grad, q, k, v, None, out, padded, unused, unused, 0.0, wanted, causal, scale=scale
        )
        return dq, dk, dv


FLASH_CPU = PaddedKernel(FlashCpu())
EFFICIENT_CUDA = PaddedKernel(EfficientCuda())
FLASH_CUDA = VarlenKernel()


def _varlen(
    q: Tensor, k: Tensor, v: Tensor, q_bounds: tuple[Tensor, int], k_bounds: tuple[Tensor, int], causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    out, lse, *_ = aten._flash_attention_forward(
        q, k, v, q_bounds[0], k_bounds[0], q_bounds[1], k_bounds[1], 0.0, causal, False, scale=scale
    )
    return out, lse


def _varlen_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    q_bounds: tuple[Tensor, int],
    k_bounds: tuple[Tensor, int],
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    no_dropout = torch.empty(2, dtype=torch.uint64, device=q.device)
    edges = (q_bounds[0], k_bounds[0], q_bounds[1], k_bounds[1])
    dq, dk, dv = aten._flash_attention_backward(grad, q, k, v, out, lse, *edges, 0.0, causal, no_dropout, no_dropout, scale=scale)
    return dq, dk, dv


def _expand(x_BKLD: Tensor, repeats: int) -> Tensor:
    return x_BKLD.repeat_interleave(repeats, 1) if repeats > 1 else x_BKLD


def _reduce(x_BHLD: Tensor, repeats: int) -> Tensor:
    return x_BHLD.unflatten(1, (-1, repeats)).sum(2) if repeats > 1 else x_BHLD


def _by_repeat(x_HP: Tensor, repeats: int) -> Tensor:
    """(H, P, ...) -> (R, K, P, ...): the query heads of one key/value head as a batch."""
    return x_HP.unflatten(0, (-1, repeats)).transpose(0, 1)


def _by_head(x_RKP: Tensor) -> Tensor:
    """(R, K, P, ...) -> (H, P, ...)."""
    return x_RKP.transpose(0, 1).flatten(0, 1)
