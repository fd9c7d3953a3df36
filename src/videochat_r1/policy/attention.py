"""Attention by layout: one registered attention function, and objects that say who sees whom.

A stock transformers model calls the attention function that its config names and hands it every extra keyword of its forward. We register
one function under the name ATTENTION; it passes queries, keys and values to the `layout` among those keywords. A layout knows which tokens
of a row belong together, so no model code is copied and no mask over the row is built. Without a layout it is transformers' "sdpa".

`SharedRow` is the layout `[prompt | c_1 | ... | c_G]` of one or more groups in one row: each completion sees its prompt and itself. Its
attention is taken in two parts that are merged by their log-sum-exps:
    own     every prompt and every completion causally over itself
    shared  all completions of a group over their prompt's keys, which are never copied G times
The gradient of each part needs nothing of the other but the merged output and log-sum-exp, as in Liu et al. 2023, Ring Attention,
arXiv:2310.01889, so flash kernels serve both ways. Or it is taken in one part that visits visible blocks alone (flex.py).

Axes: L row, H query heads, K key/value heads, D head size, S tokens of a group's tails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from videochat_r1.policy import flash
from videochat_r1.policy.segments import Segments

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

ATTENTION = "videochat_r1_layout"

Backend = Literal["segments", "efficient", "flex", "portable", "dense"]
"""Ways to the same numbers. segments: two parts by flash kernels. efficient: two parts by the memory-efficient kernel of a GPU. flex: one
compiled kernel over visible blocks. portable: two parts in plain operations, which stand in wherever a kernel is missing. dense: one
masked call, to hold the others to. fastest.py measures which to take."""

BACKENDS: tuple[Backend, ...] = get_args(Backend)


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


class SharedRow(Segments):
    """One row of groups, `[prompt | c_1 | ... | c_G | prompt | c_1 | ...]`, and its attention by one backend.

    prompts: tokens of each prompt. tails: for each prompt the tokens of each of its completions; the numbers may differ. A group without
    tails is a prompt alone. Raises ValueError on an empty prompt."""

    def __init__(self, prompts: Sequence[int], tails: Sequence[Sequence[int]], device: torch.device, backend: Backend = "segments") -> None:
        super().__init__(prompts, tails, device)
        self.backend = backend

    def attend(self, layer: int, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
        if q_BHLD.shape[0] != 1 or q_BHLD.shape[2] != self.length:
            raise ValueError(f"a layout of one row of {self.length} tokens was given {tuple(q_BHLD.shape)}")
        if self.backend == "dense":
            return _dense(self, q_BHLD, k_BKLD, v_BKLD, scale)
        if self.backend == "flex":
            from videochat_r1.policy.flex import attend_blocks  # loads torch's compiler

            return attend_blocks(self, self.blocks, q_BHLD, k_BKLD, v_BKLD, scale)
        kernel = kernel_of(self.backend, q_BHLD.device, q_BHLD.dtype, q_BHLD.shape[-1])
        if kernel is None:
            return _portable(self, q_BHLD, k_BKLD, v_BKLD, scale)
        out_HLD: Tensor = flash.MergedAttention.apply(q_BHLD[0], k_BKLD[0], v_BKLD[0], self, kernel, scale)
        return out_HLD.transpose(0, 1)[None]

    @cached_property
    def blocks(self) -> BlockMask:
        from videochat_r1.policy.flex import block_mask

        return block_mask(self)


def kernel_of(backend: Backend, device: torch.device, dtype: torch.dtype, size: int) -> flash.Kernel | None:
    """The two-part kernel of a backend for tensors of this kind and head size; None where plain operations stand in."""
    if backend == "segments":
        return flash.flash_kernel(device, dtype, size)
    return flash.efficient_kernel(device, dtype, size) if backend == "efficient" else None


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
