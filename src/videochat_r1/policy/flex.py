"""FlexAttention over a row: one kernel that visits the blocks which hold a visible pair, and no others.

The blocks are counted from the places of the row's segments, never from a mask of the row's length squared. Source of the block format:
Dong et al. 2024, Flex Attention, arXiv:2412.05496. On a GPU the operator is compiled once for all lengths; on a CPU PyTorch evaluates it
in plain operations, which is good for a test and for nothing else.

Axes: L row, N blocks of it, H query heads, K key/value heads, D head size."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from videochat_r1.policy.segments import Segments

BLOCK = 128


def attend_blocks(row: Segments, mask: BlockMask, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
    """Attention output (1, L, H, D) of a row, by the mask that `block_mask` made of it."""
    operator: Any = compiled() if q_BHLD.device.type == "cuda" else flex_attention
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")  # on a CPU that is meant
        out_BHLD: Tensor = operator(q_BHLD, k_BKLD, v_BKLD, block_mask=mask, scale=scale, enable_gqa=q_BHLD.shape[1] != k_BKLD.shape[1])
    return out_BHLD.transpose(1, 2)


@functools.cache
def compiled() -> Callable[..., Any]:
    """The operator as a kernel; lengths are left open, so that a row of another length is not compiled anew. `fullgraph`: where it would be
    compiled too often, a fault is better than plain operations on the row's length squared."""
    return torch.compile(flex_attention, dynamic=True, fullgraph=True)


def block_mask(row: Segments) -> BlockMask:
    """Which blocks of keys each block of queries visits, and which of those need no look at their pairs."""
    labels_2L = row.labels_2L
    group_L, segment_L = labels_2L[0], labels_2L[1]

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_segment = (segment_L[query] == segment_L[key]) | (segment_L[key] == 0)
        return (group_L[query] == group_L[key]) & same_segment & (query >= key)

    visited_NN, whole_NN = visible_blocks(row)
    counts, places = zip(*(_listed(chosen_NN.to(row.device)) for chosen_NN in (visited_NN & ~whole_NN, whole_NN)), strict=True)
    lengths = (row.length, row.length)
    return BlockMask.from_kv_blocks(counts[0], places[0], counts[1], places[1], BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=lengths)


def visible_blocks(row: Segments) -> tuple[Tensor, Tensor]:
    """(N, N) booleans on the CPU: blocks with a visible pair, and blocks of which every pair is visible."""
    count = -(-row.length // BLOCK)
    seen_NN = torch.zeros(count, count, dtype=torch.int64)  # how many visible pairs each block holds
    for place in row.places:
        start = place.split
        _count_triangle(seen_NN, place.start, place.prompt)
        for length in place.tails:
            _count_rectangle(seen_NN, (start, start + length), (place.start, place.split))
            _count_triangle(seen_NN, start, length)
            start += length
    return seen_NN > 0, seen_NN == BLOCK * BLOCK


def _shares(start: int, stop: int) -> tuple[slice, Tensor]:
    """The blocks that a run of tokens touches, and how many of its tokens stand in each."""
    first, last = start // BLOCK, (stop - 1) // BLOCK
    edges = torch.arange(first, last + 2) * BLOCK
    return slice(first, last + 1), edges.clamp(start, stop).diff()


def _count_rectangle(seen_NN: Tensor, queries: tuple[int, int], keys: tuple[int, int]) -> None:
    if queries[0] < queries[1]:
        (rows, queries_n), (columns, keys_m) = _shares(*queries), _shares(*keys)
        seen_NN[rows, columns] += queries_n[:, None] * keys_m


def _count_triangle(seen_NN: Tensor, start: int, length: int) -> None:
    """A causal square: all pairs of earlier blocks, and the lower half where a block meets itself."""
    if length:
        blocks, tokens_n = _shares(start, start + length)
        pairs_nn = torch.tril(tokens_n[:, None] * tokens_n, -1) + torch.diag(tokens_n * (tokens_n + 1) // 2)
        seen_NN[blocks, blocks] += pairs_nn


def _listed(chosen_NN: Tensor) -> tuple[Tensor, Tensor]:
    """How many columns are chosen in each row (1, 1, N), and their numbers, chosen ones first (1, 1, N, N); int32."""
    order_NN = chosen_NN.int().argsort(dim=-1, descending=True, stable=True)
    return chosen_NN.sum(-1, dtype=torch.int32)[None, None], order_NN.to(torch.int32)[None, None].contiguous()
