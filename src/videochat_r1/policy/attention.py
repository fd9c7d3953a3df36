"""Attention by layout: one registered attention function, and objects that say who sees whom.

A stock transformers model calls the attention function that its config names and hands it every extra keyword of its forward. We register
one function under the name ATTENTION; it passes queries, keys and values to the `layout` among those keywords. A layout knows which tokens
of a row belong together, so no model code is copied and no mask over the row is built. Without a layout it is transformers' "sdpa".

`SharedRow` is the layout `[prompt | c_1 | ... | c_G]` of one or more groups in one row: each completion sees its prompt and itself. Its
attention is taken in two parts that are merged by their log-sum-exps:
    own     every prompt and every completion causally over itself
    shared  all completions of a group over their prompt's keys, which are never copied G times
The gradient of each part needs nothing of the other but the merged output and log-sum-exp, as in Liu et al. 2023, Ring Attention,
arXiv:2310.01889, so flash kernels serve both ways.

Axes: L row, H query heads, K key/value heads, D head size, S tokens of a group's tails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from videochat_r1.policy import flash

ATTENTION = "videochat_r1_layout"

Backend = Literal["segments", "portable", "dense"]
"""segments: flash kernels where the device has them, else portable. portable: the same in plain operations. dense: one masked call, to
hold the others to."""


class Layout(Protocol):
    """Who sees whom in the rows that a forward is given."""

    def attend(self, layer: int, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
        """Attention output (B, L, H, D) of one layer, after rotary embedding. It may keep keys and values for later calls."""
        ...


def attend_by_layout(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout | None = None,
    **forward: Any,
) -> tuple[Tensor, Any]:
    """The function behind ATTENTION: by the layout, or where none is given as transformers' "sdpa" does it.

    Raises ValueError where a layout meets attention dropout: none implements it."""
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **forward)
    if forward.get("dropout"):
        raise ValueError(f"attention dropout {forward['dropout']} is not supported: set attention_dropout to 0.0 in the model's config")
    layer = module.layer_idx
    assert isinstance(layer, int)
    return layout.attend(layer, query.to(value.dtype), key.to(value.dtype), value, forward["scaling"]), None


AttentionInterface.register(ATTENTION, attend_by_layout)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def by_layout(model: Any, layout: Layout) -> dict[str, Any]:
    """What to add to a forward of the language model of a stock ...ForConditionalGeneration, so that it attends by the layout.

    The model's config names ATTENTION from then on: a checkpointed layer attends again in the backward pass, long after this forward.
    Forwards without a layout stay what "sdpa" makes of them. The ready four-axis mask keeps transformers (5.17 and 5.23) from building
    one."""
    config = model.get_decoder().config
    if config._attn_implementation != ATTENTION:
        config._attn_implementation = ATTENTION
    unread = torch.empty(1, 1, 1, 1, dtype=torch.bool, device="meta")
    return {"layout": layout, "attention_mask": unread, "use_cache": False}


@dataclass(frozen=True)
class Place:
    """Where one group stands in a row: its prompt, then its tails one after another."""

    start: int
    prompt: int  # tokens, one at least
    tails: tuple[int, ...]  # tokens of each, 0 allowed

    @property
    def split(self) -> int:
        return self.start + self.prompt

    @property
    def end(self) -> int:
        return self.split + sum(self.tails)


class SharedRow:
    """One row of groups, `[prompt | c_1 | ... | c_G | prompt | c_1 | ...]`.

    prompts: tokens of each prompt. tails: for each prompt the tokens of each of its completions; the numbers may differ. A group without
    tails is a prompt alone. Raises ValueError on an empty prompt."""

    def __init__(self, prompts: Sequence[int], tails: Sequence[Sequence[int]], device: torch.device, backend: Backend = "segments") -> None:
        if not prompts or min(prompts) < 1:
            raise ValueError("a row needs at least one prompt, and each prompt a token")
        places: list[Place] = []
        for prompt, lengths in zip(prompts, tails, strict=True):
            places.append(Place(places[-1].end if places else 0, prompt, tuple(lengths)))
        self.places = tuple(places)
        self.length = places[-1].end
        self.device = device
        self.backend = backend

    def attend(self, layer: int, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
        if q_BHLD.shape[0] != 1 or q_BHLD.shape[2] != self.length:
            raise ValueError(f"a layout of one row of {self.length} tokens was given {tuple(q_BHLD.shape)}")
        if self.backend == "dense":
            return _dense(self, q_BHLD, k_BKLD, v_BKLD, scale)
        kernel = flash.kernel_for(q_BHLD, k_BKLD) if self.backend == "segments" else None
        if kernel is None:
            return _portable(self, q_BHLD, k_BKLD, v_BKLD, scale)
        out_HLD: Tensor = flash.MergedAttention.apply(q_BHLD[0], k_BKLD[0], v_BKLD[0], self, kernel, scale)
        return out_HLD.transpose(0, 1)[None]

    @cached_property
    def mask_LL(self) -> Tensor:
        """True where a row's token (first axis) sees another: causal within its segment, and all of its prompt."""
        group, segment = [], []
        for index, place in enumerate(self.places):
            for number, length in enumerate((place.prompt, *place.tails)):
                group += [index] * length
                segment += [number] * length  # 0 is the prompt
        group_L, segment_L = torch.tensor([group, segment], device=self.device)
        order_L = torch.arange(self.length, device=self.device)
        same_segment_LL = (segment_L[:, None] == segment_L) | (segment_L == 0)
        return (group_L[:, None] == group_L) & same_segment_LL & (order_L[:, None] >= order_L)

    @cached_property
    def segment_bounds(self) -> tuple[Tensor, int]:
        """Cumulative lengths (int32) of all segments of the row that hold tokens, and the longest."""
        return _bounds([length for place in self.places for length in (place.prompt, *place.tails) if length], self.device)

    @cached_property
    def tail_bounds(self) -> tuple[Tensor, int]:
        """Cumulative lengths (int32) of the tails' tokens of each group that has any, and the longest."""
        return _bounds([sum(place.tails) for place in self.places if sum(place.tails)], self.device)

    @cached_property
    def prompt_bounds(self) -> tuple[Tensor, int]:
        """The same of the prompts of these groups."""
        return _bounds([place.prompt for place in self.places if sum(place.tails)], self.device)

    @cached_property
    def tail_index(self) -> Tensor:
        """Where in the row the tails' tokens stand."""
        return torch.cat([torch.arange(place.split, place.end) for place in self.places]).to(self.device)

    @cached_property
    def prompt_index(self) -> Tensor:
        """Where in the row the tokens of those prompts stand that have tails."""
        return torch.cat([torch.arange(place.start, place.split) for place in self.places if sum(place.tails)] or [torch.arange(0)]).to(
            self.device
        )

    @cached_property
    def paddings(self) -> tuple[Padding | None, ...]:
        """How each group's tails become a rectangle; None where a group has no tail tokens."""
        return tuple(Padding(place.tails, self.device) if sum(place.tails) else None for place in self.places)


class Padding:
    """The tails of one group as a rectangle (G, T): copied where lengths differ, viewed where they do not."""

    def __init__(self, tails: Sequence[int], device: torch.device) -> None:
        lengths = [length for length in tails if length]
        self.count, self.longest = len(lengths), max(lengths)
        self.even = min(lengths) == self.longest
        if not self.even:
            lengths_G = torch.tensor(lengths)
            starts_G = lengths_G.cumsum(0) - lengths_G
            steps_T = torch.arange(self.longest)
            valid_GT = steps_T < lengths_G[:, None]
            # A slot past the end of its tail repeats the tail's first token. No valid token sees it: it comes later in a causal square.
            self.index = torch.where(valid_GT, starts_G[:, None] + steps_T, starts_G[:, None]).flatten().to(device)
            self.kept = valid_GT.flatten().nonzero()[:, 0].to(device)

    def spread(self, x_HSD: Tensor) -> Tensor:
        """(H, S, D) -> (G, H, T, D)."""
        wide = x_HSD if self.even else x_HSD.index_select(1, self.index)
        return wide.unflatten(1, (self.count, self.longest)).transpose(0, 1)

    def gather(self, x_GHTD: Tensor) -> Tensor:
        """(G, H, T, D) -> (H, S, D), the slots past each end dropped."""
        flat = x_GHTD.transpose(0, 1).flatten(1, 2)
        return flat if self.even else flat.index_select(1, self.kept)

    def place(self, x_HSD: Tensor, fill: float) -> Tensor:
        """As spread, with `fill` in the slots past each end."""
        if self.even:
            return self.spread(x_HSD)
        wide = x_HSD.new_full((x_HSD.shape[0], self.count * self.longest, *x_HSD.shape[2:]), fill)
        wide[:, self.kept] = x_HSD
        return wide.unflatten(1, (self.count, self.longest)).transpose(0, 1)


def _bounds(lengths: Sequence[int], device: torch.device) -> tuple[Tensor, int]:
    edges = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    edges[1:] = torch.tensor(lengths, dtype=torch.int32).cumsum(0)
    return edges.to(device), max(lengths, default=0)


def _dense(row: SharedRow, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=row.mask_LL, scale=scale).transpose(1, 2)


def _portable(row: SharedRow, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """The same by plain operations on any device and type: the scores of both parts stand side by side under one softmax."""
    heads, kv_heads, size = q.shape[1], k.shape[1], q.shape[3]
    repeats = heads // kv_heads
    parts: list[Tensor] = []
    for place, padding in zip(row.places, row.paddings, strict=True):
        prompt, tail = slice(place.start, place.split), slice(place.split, place.end)
        kp, vp = k[:, :, prompt], v[:, :, prompt]
        parts.append(
            F.scaled_dot_product_attention(q[:, :, prompt], _repeat(kp, repeats), _repeat(vp, repeats), is_causal=True, scale=scale)[0]
        )
        if padding is None:
            continue
        q_GHTD, k_GHTD, v_GHTD = (
            padding.spread(x) for x in (q[0, :, tail], _repeat(k[:, :, tail], repeats)[0], _repeat(v[:, :, tail], repeats)[0])
        )
        count, longest = padding.count, padding.longest
        folded = q_GHTD.transpose(0, 1).reshape(kv_heads, repeats * count * longest, size)
        shared = (folded @ kp[0].transpose(1, 2)) * scale
        future_TT = torch.ones(longest, longest, dtype=torch.bool, device=q.device).triu(1)
        own = ((q_GHTD @ k_GHTD.transpose(2, 3)) * scale).masked_fill(future_TT, float("-inf"))
        own = own.transpose(0, 1).reshape(kv_heads, repeats * count * longest, longest)
        weights = torch.cat([shared, own], -1).float().softmax(-1).to(q.dtype)
        from_shared = (weights[..., : place.prompt] @ vp[0]).view(heads, count, longest, size).transpose(0, 1)
        from_own = weights[..., place.prompt :].reshape(heads, count, longest, longest).transpose(0, 1) @ v_GHTD
        parts.append(padding.gather(from_shared + from_own))
    return torch.cat(parts, 1).transpose(0, 1)[None]


def _repeat(x_BKLD: Tensor, repeats: int) -> Tensor:
    return x_BKLD.repeat_interleave(repeats, 1) if repeats > 1 else x_BKLD
