"""Two partial attentions of the same queries become one, in place: one read of both and one write (the formula is flash.py's `merge`).

Axes: L tokens of a row, T those of them that have a second part, H heads, D head size."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _merge(out_ptr, lse_ptr, part_ptr, part_lse_ptr, index_ptr, length, count, heads, size, HEADS: tl.constexpr, SIZE: tl.constexpr):
    token = tl.program_id(0)
    row = tl.load(index_ptr + token)
    head, column = tl.arange(0, HEADS), tl.arange(0, SIZE)
    is_head = head < heads
    inside = is_head[:, None] & (column[None, :] < size)
    place = head[:, None] * size + column[None, :]
    lse = tl.load(lse_ptr + head.to(tl.int64) * length + row, mask=is_head, other=0.0)
    part_lse = tl.load(part_lse_ptr + head.to(tl.int64) * count + token, mask=is_head, other=0.0)
    own = tl.load(out_ptr + row * heads * size + place, mask=inside, other=0.0).to(tl.float32)
    part = tl.load(part_ptr + token.to(tl.int64) * heads * size + place, mask=inside, other=0.0).to(tl.float32)
    above = tl.maximum(lse, part_lse)
    merged = above + tl.log(tl.exp(lse - above) + tl.exp(part_lse - above))
    out = own * tl.exp(lse - merged)[:, None] + part * tl.exp(part_lse - merged)[:, None]
    tl.store(out_ptr + row * heads * size + place, out.to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(lse_ptr + head.to(tl.int64) * length + row, merged, mask=is_head)


def merge_into(out_LHD: Tensor, lse_HL: Tensor, part_THD: Tensor, part_lse_HT: Tensor, index_T: Tensor) -> None:
    """Merge a second part of the tokens index_T (int64, no two the same) into the first. All contiguous; log-sum-exps are float32."""
    count, heads, size = part_THD.shape
    fixed = {"HEADS": triton.next_power_of_2(heads), "SIZE": triton.next_power_of_2(size), "num_warps": 4}
    _merge[(count,)](out_LHD, lse_HL, part_THD, part_lse_HT, index_T, len(out_LHD), count, heads, size, **fixed)
