"""Vision attention with windows of equal length in one call.

The stock towers cut their sequence into windows and, but for flash kernels, attend to each in a Python loop: hundreds of small calls a
layer. Here windows of one length are a batch of one call to PyTorch's attention, on any device, in any dtype, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface

# The stock towers hand over the window bounds, instead of looping themselves, to implementations with "flash" in their name.
NAME = "windows_like_flash"
_plans: WeakIdKeyDictionary = WeakIdKeyDictionary()  # bounds -> windows; a layer's bounds are its neighbours' too


def batch_windows(tower: Any, enabled: bool) -> None:
    """Let a stock vision tower attend to its windows in batches, or as it came."""
    if enabled:
        AttentionInterface.register(NAME, attend_windows)
        tower.config._attn_implementation = NAME
    elif tower.config._attn_implementation == NAME:
        tower.config._attn_implementation = "sdpa"


def attend_windows(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float, cu_seq_lens_q: Tensor, **unused: Any
) -> tuple[Tensor, None]:
    """Attention of every token to its own window. query, key, value: (1, heads, S, width); cu_seq_lens_q: the windows' bounds in the
    sequence, from 0 to S. Returns (1, S, heads, width), as transformers asks of an attention implementation."""
    windows = _plans.get(cu_seq_lens_q)
    if windows is None:
        windows = _plans[cu_seq_lens_q] = plan_windows(cu_seq_lens_q)
    heads, length, width = query.shape[1:]
    if isinstance(windows, int):
        shape = (heads, length // windows, windows, width)
        q, k, v = (states[0].view(shape).transpose(0, 1) for states in (query, key, value))
        out = scaled_dot_product_attention(q, k, v, scale=scaling)
        return out.transpose(1, 2).reshape(1, length, heads, width), None
    attended = query.new_empty(length, heads, width)
    for index_NL in windows:
        q, k, v = (states[0][:, index_NL].transpose(0, 1) for states in (query, key, value))
        out = scaled_dot_product_attention(q, k, v, scale=scaling)
        attended[index_NL] = out.transpose(1, 2)
    return attended[None], None


def plan_windows(bounds: Tensor) -> int | list[Tensor]:
    """The one length that all windows have, or for each length the places of its windows: (windows, length), int64."""
    lengths = bounds.diff()
    distinct = [length for length in lengths.unique().tolist() if length > 0]
    if len(distinct) == 1:
        return int(distinct[0])
    starts = bounds[:-1].to(torch.int64)
    return [starts[lengths == length][:, None] + torch.arange(length, device=bounds.device) for length in distinct]
