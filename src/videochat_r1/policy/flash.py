"""Flash kernels under SharedRow: two partial attentions, merged by log-sum-exp, and their gradients.

With s = q.k * scale, out = sum_j exp(s_j - lse) v_j over all keys j that a query sees, whichever part they belong to. So the gradient of
one part's keys, values and queries is what a flash backward computes when it is given the merged `out` and `lse` of all parts; the
gradients of the queries add up. PyTorch's own operators serve: no extra package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from videochat_r1.policy.attention import SharedRow

aten = torch.ops.aten


class Kernel(Protocol):
    """Attention over a SharedRow on one kind of device. Shapes: q, out, grads (H, L, D); k, v (K, L, D); lse (H, L) float32."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, row: SharedRow, scale: float) -> tuple[Tensor, Tensor]:
        """(out, lse)."""
        ...

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, row: SharedRow, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k, v."""
        ...


def kernel_for(q_BHLD: Tensor, k_BKLD: Tensor) -> Kernel | None:
    """The kernel for these tensors, or None where PyTorch has none and plain operations must do."""
    if q_BHLD.device.type == "cpu" and hasattr(aten, "_scaled_dot_product_flash_attention_for_cpu_backward"):
        return CPU
    if q_BHLD.device.type == "cuda" and q_BHLD.dtype in (torch.bfloat16, torch.float16) and torch.version.hip is None:
        size = q_BHLD.shape[-1]
        if size % 8 == 0 and size <= 256 and torch.cuda.get_device_capability(q_BHLD.device)[0] >= 8:
            return CUDA
    return None


class MergedAttention(torch.autograd.Function):
    """(q, k, v, row, kernel, scale) -> out (H, L, D)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, row: SharedRow, kernel: Kernel, scale: float) -> Tensor:
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


class CpuKernel:
    """A loop over groups; tails of a group as one padded rectangle. The query heads of a key/value head are folded into the rows of the
    shared part, so that it runs on the prompt's keys as they are."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, row: SharedRow, scale: float) -> tuple[Tensor, Tensor]:
        heads, kv_heads, size = q.shape[0], k.shape[0], q.shape[2]
        out = q.new_empty(row.length, heads, size).transpose(0, 1)  # the model wants the heads of a token side by side
        lse = torch.empty(heads, row.length, dtype=torch.float32 if q.dtype != torch.float64 else q.dtype)
        repeats = heads // kv_heads
        for place, padding in zip(row.places, row.paddings, strict=True):
            prompt, tail = slice(place.start, place.split), slice(place.split, place.end)
            kp, vp = k[None, :, prompt], v[None, :, prompt]
            own, own_lse = _attend(q[None, :, prompt], _expand(kp, repeats), _expand(vp, repeats), True, scale)
            out[:, prompt], lse[:, prompt] = own[0], own_lse[0]
            if padding is None:
                continue
            shared, shared_lse = _attend(q[:, tail].reshape(1, kv_heads, -1, size), kp, vp, False, scale)
            spread = [padding.spread(x) for x in (q[:, tail], k[:, tail], v[:, tail])]
            own, own_lse = _attend(spread[0], _expand(spread[1], repeats), _expand(spread[2], repeats), True, scale)
            own, own_lse = padding.gather(own), padding.gather(own_lse.unsqueeze(-1))[..., 0]
            out[:, tail], lse[:, tail] = merge(shared.reshape(heads, -1, size), shared_lse.reshape(heads, -1), own, own_lse)
        return out, lse

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, row: SharedRow, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads, kv_heads, size = q.shape[0], k.shape[0], q.shape[2]
        repeats = heads // kv_heads
        dq, dk, dv = (x.new_empty(row.length, x.shape[0], size).transpose(0, 1) for x in (q, k, v))
        for place, padding in zip(row.places, row.paddings, strict=True):
            prompt, tail = slice(place.start, place.split), slice(place.split, place.end)
            kp, vp = k[None, :, prompt], v[None, :, prompt]
            given = [x[None, :, prompt] for x in (grad, q, out, lse)]
            own = _attend_backward(given, _expand(kp, repeats), _expand(vp, repeats), True, scale)
            dq[:, prompt], dk[:, prompt], dv[:, prompt] = own[0][0], _reduce(own[1], repeats)[0], _reduce(own[2], repeats)[0]
            if padding is None:
                continue
            folded = [x[:, tail].reshape(1, kv_heads, -1, size) for x in (grad, q, out)] + [lse[:, tail].reshape(1, kv_heads, -1)]
            shared = _attend_backward(folded, kp, vp, False, scale)
            dk[:, prompt] += shared[1][0]
            dv[:, prompt] += shared[2][0]
            # Slots past a tail's end: no gradient comes in, and an infinite log-sum-exp gives them no weight.
            given = [padding.place(x[:, tail], 0.0) for x in (grad, q, out)] + [padding.place(lse[:, tail], float("inf"))]
            own = _attend_backward(
                given, _expand(padding.spread(k[:, tail]), repeats), _expand(padding.spread(v[:, tail]), repeats), True, scale
            )
            dq[:, tail] = padding.gather(own[0]) + shared[0].reshape(heads, -1, size)
            dk[:, tail], dv[:, tail] = padding.gather(_reduce(own[1], repeats)), padding.gather(_reduce(own[2], repeats))
        return dq, dk, dv


class CudaKernel:
    """Two variable-length calls for the whole row: every segment causally over itself, and the tails of each group over its prompt."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, row: SharedRow, scale: float) -> tuple[Tensor, Tensor]:
        q_LHD, k_LKD, v_LKD = (x.transpose(0, 1) for x in (q, k, v))
        out, lse = _varlen(q_LHD, k_LKD, v_LKD, row.segment_bounds, row.segment_bounds, True, scale)
        tail, prompt = row.tail_index, row.prompt_index
        if tail.numel():
            shared, shared_lse = _varlen(q_LHD[tail], k_LKD[prompt], v_LKD[prompt], row.tail_bounds, row.prompt_bounds, False, scale)
            merged, merged_lse = merge(shared, shared_lse.transpose(0, 1), out[tail], lse[:, tail].transpose(0, 1))
            out[tail], lse[:, tail] = merged, merged_lse.transpose(0, 1)
        return out.transpose(0, 1), lse

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, row: SharedRow, scale: float
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


CPU = CpuKernel()
CUDA = CudaKernel()


def _attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
    return out, lse


def _attend_backward(given: list[Tensor], k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    grad, q, out, lse = given
    dq, dk, dv = aten._scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, lse, 0.0, causal, scale=scale)
    return dq, dk, dv


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
