"""The attention of one decode step in two launches: all tails of a prompt over its one copy of keys, cut into chunks that run side by side;
then each tail over its own tokens, merged with the chunks by their log-sum-exps (Dao et al. 2023, Flash-Decoding; two parts as in
Juravsky et al. 2024, Hydragen, arXiv:2402.05099). The second launch also puts the step's key and value into the tail.

How far prompts and tails are filled is read on the device, so a recorded step serves every length up to the buffers'.

Axes: N prompts, G tails of each, B = N x G, K key/value heads, R query heads of each, H = K x R, P prompt slots, C tail slots, D head size,
S chunks, Q queries of a program."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from videochat_r1.policy.kernels.rotary import is_by_token

QUERIES = 64  # of a program in the first launch, at most
BLOCK = 64  # keys that are looked at together, of two bytes a number
CHUNK = 256  # keys of a program in the first launch, at least: what a chunk saves there it costs in the second
PROGRAMS = 66  # of the first launch, about
LOG2_E = 1.4426950408889634


@triton.jit
def _look(q, k, v, inside, scale, best, total, summed, PRECISION: tl.constexpr):
    """Go on with a running softmax: q (Q, D) over some keys k (X, D) with values v (X, D), those `inside` of what is filled."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    scores = tl.where(inside[None, :], scores, float("-inf"))
    above = tl.maximum(best, tl.max(scores, axis=1))
    weights = tl.exp2(scores - above[:, None])
    kept = tl.exp2(best - above)
    total = total * kept + tl.sum(weights, axis=1)
    summed = summed * kept[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
    return above, total, summed


@triton.jit
def _over_prompts(
    q_ptr,
    k_ptr,
    v_ptr,
    lengths_ptr,
    part_ptr,
    lse_ptr,
    scale,
    slots,
    chunk,
    batch,
    G,
    KV: tl.constexpr,
    R: tl.constexpr,
    D: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    split, head, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    prompt, kv = head // KV, head % KV
    length = tl.load(lengths_ptr + prompt)
    start = split * chunk
    if start < length:
        number = tile * QUERIES + tl.arange(0, QUERIES)  # of a query among the G x R of this prompt and key head
        column, step = tl.arange(0, D), tl.arange(0, BLOCK)
        is_query = number < G * R
        query = (prompt * G + number // R) * (KV * R) + kv * R + number % R  # its row among B x H
        q = tl.load(q_ptr + query[:, None] * D + column[None, :], mask=is_query[:, None], other=0.0)
        states = head.to(tl.int64) * slots * D
        best = tl.full((QUERIES,), float("-inf"), dtype=tl.float32)
        total = tl.zeros((QUERIES,), dtype=tl.float32)
        summed = tl.zeros((QUERIES, D), dtype=tl.float32)
        for first in range(start, tl.minimum(start + chunk, length), BLOCK):
            inside = (first + step < length) & (first + step < start + chunk)
            place = states + (first + step)[:, None] * D + column[None, :]
            k = tl.load(k_ptr + place, mask=inside[:, None], other=0.0)
            v = tl.load(v_ptr + place, mask=inside[:, None], other=0.0)
            best, total, summed = _look(q, k, v, inside, scale, best, total, summed, PRECISION)
        out = split.to(tl.int64) * batch * (KV * R) + query
        tl.store(part_ptr + out[:, None] * D + column[None, :], summed / total[:, None], mask=is_query[:, None])
        tl.store(lse_ptr + out, best + tl.log2(total), mask=is_query)


@triton.jit
def _over_tails(
    q_ptr,
    new_k_ptr,
    new_v_ptr,
    k_ptr,
    v_ptr,
    slot_ptr,
    lengths_ptr,
    part_ptr,
    lse_ptr,
    out_ptr,
    scale,
    new_k_stride,
    new_v_stride,
    capacity,
    chunk,
    batch,
    G,
    KV: tl.constexpr,
    R: tl.constexpr,
    D: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
    TOGETHER: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row, kv = tl.program_id(0), tl.program_id(1)
    repeat, column, step = tl.arange(0, QUERIES), tl.arange(0, D), tl.arange(0, BLOCK)
    is_query = repeat < R
    query = row * (KV * R) + kv * R + repeat
    q = tl.load(q_ptr + query[:, None] * D + column[None, :], mask=is_query[:, None], other=0.0)
    slot = tl.load(slot_ptr).to(tl.int32)
    states = (row * KV + kv).to(tl.int64) * capacity * D
    new_k = tl.load(new_k_ptr + row.to(tl.int64) * new_k_stride + kv * D + column)
    new_v = tl.load(new_v_ptr + row.to(tl.int64) * new_v_stride + kv * D + column)
    tl.store(k_ptr + states + slot * D + column, new_k)
    tl.store(v_ptr + states + slot * D + column, new_v)
    best = tl.sum(q.to(tl.float32) * new_k.to(tl.float32)[None, :], axis=1) * scale
    total = tl.full((QUERIES,), 1.0, dtype=tl.float32)
    summed = tl.zeros((QUERIES, D), dtype=tl.float32) + new_v.to(tl.float32)[None, :]
    for first in range(0, slot, BLOCK):
        inside = first + step < slot  # the new one is counted already: nobody waits for what was just stored
        place = states + (first + step)[:, None] * D + column[None, :]
        k = tl.load(k_ptr + place, mask=inside[:, None], other=0.0)
        v = tl.load(v_ptr + place, mask=inside[:, None], other=0.0)
        best, total, summed = _look(q, k, v, inside, scale, best, total, summed, PRECISION)
    length = tl.load(lengths_ptr + row // G)
    splits = tl.cdiv(length, chunk)
    split = tl.arange(0, SPLITS)
    place = split[None, :].to(tl.int64) * batch * (KV * R) + query[:, None]
    lses = tl.load(lse_ptr + place, mask=is_query[:, None] & (split[None, :] < splits), other=float("-inf"))
    above = tl.maximum(best, tl.max(lses, axis=1))
    kept = tl.exp2(best - above)
    total *= kept
    summed *= kept[:, None]
    for first in range(0, splits, TOGETHER):
        for number in tl.static_range(TOGETHER):  # no load waits for another's sum
            one = query.to(tl.int64) + (first + number) * batch * (KV * R)
            is_part = is_query & (first + number < splits)
            lse = tl.load(lse_ptr + one, mask=is_part, other=float("-inf"))
            shared = tl.load(part_ptr + one[:, None] * D + column[None, :], mask=is_part[:, None], other=0.0)
            joined = tl.exp2(lse - above)
            total += joined
            summed += shared * joined[:, None]
    out = (summed / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + query[:, None] * D + column[None, :], out, mask=is_query[:, None])


def is_known(size: int) -> bool:
    """Whether the kernels take heads of this size."""
    return size >= 16 and size & (size - 1) == 0


def attend_step(
    q_BHD: Tensor,
    new_k_BKD: Tensor,
    new_v_BKD: Tensor,
    prompt_k_NKPD: Tensor,
    prompt_v_NKPD: Tensor,
    lengths_N: Tensor,
    tail_k_BKCD: Tensor,
    tail_v_BKCD: Tensor,
    slot_1: Tensor,
    scale: float,
) -> Tensor:
    """What a step's queries see, (B, H, D): their prompt up to its length (int32), their tail's slots before slot_1 (int64, the same for
    all), and the step's own key and value, which are written to that slot. Rows are the tails prompt by prompt. All contiguous, but for
    new keys and values, whose rows may have any one distance."""
    batch, heads, size = q_BHD.shape
    prompts, kv_heads, slots, _ = prompt_k_NKPD.shape
    tails, repeats = batch // prompts, heads // kv_heads
    tiles = triton.cdiv(tails * repeats, QUERIES)
    chunk = CHUNK
    while prompts * kv_heads * tiles * triton.cdiv(slots, chunk) > PROGRAMS and chunk < 2 * CHUNK:
        chunk *= 2
    splits = triton.cdiv(slots, chunk)
    part = torch.empty(splits, batch, heads, size, dtype=torch.float32, device=q_BHD.device)
    lse = torch.empty(splits, batch, heads, dtype=torch.float32, device=q_BHD.device)
    out = torch.empty_like(q_BHD)
    fixed = {
        "KV": kv_heads,
        "R": repeats,
        "D": size,
        "BLOCK": BLOCK if q_BHD.element_size() == 2 else BLOCK // 4,  # several blocks of keys and values stand in shared memory
        "PRECISION": "ieee" if q_BHD.dtype == torch.float32 else "tf32",  # of float32 products alone
    }
    new_k_BKD, new_v_BKD = (x if is_by_token(x) else x.contiguous() for x in (new_k_BKD, new_v_BKD))
    queries = max(16, min(QUERIES, triton.next_power_of_2(tails * repeats)))
    scale = scale * LOG2_E
    _over_prompts[(splits, prompts * kv_heads, tiles)](
        q_BHD,
        prompt_k_NKPD,
        prompt_v_NKPD,
        lengths_N,
        part,
        lse,
        scale,
        slots,
        chunk,
        batch,
        tails,
        QUERIES=queries,
        num_warps=4 if q_BHD.element_size() == 2 else 8,
        **fixed,
    )
    _over_tails[(batch, kv_heads)](
        q_BHD,
        new_k_BKD,
        new_v_BKD,
        tail_k_BKCD,
        tail_v_BKCD,
        slot_1,
        lengths_N,
        part,
        lse,
        out,
        scale,
        new_k_BKD.stride(0),
        new_v_BKD.stride(0),
        tail_k_BKCD.shape[2],
        chunk,
        batch,
        tails,
        QUERIES=max(16, triton.next_power_of_2(repeats)),
        SPLITS=triton.next_power_of_2(splits),
        TOGETHER=8,
        num_warps=4,
        **fixed,
    )
    return out
