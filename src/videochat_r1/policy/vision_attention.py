"""Vision attention with windows of any lengths in one call.

The stock towers cut their sequence into windows (parts of a picture in most layers of Qwen2.5-VL; a whole picture, one moment of the
video, in its other layers and in all of Qwen3-VL) and, but for flash kernels, attend to each in a Python loop: hundreds of small calls a
layer. Here a GPU takes all windows of a layer in one variable-length call, and any other device or type takes windows of one length as a
batch of one call. The result is that of the loop, with gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface

# The stock towers hand over the window bounds, instead of looping themselves, to implementations with "flash" in their name.
NAME = "windows_like_flash"
_plans: WeakIdKeyDictionary = WeakIdKeyDictionary()  # bounds -> windows; a layer's bounds are its neighbours' too
_longest: WeakIdKeyDictionary = WeakIdKeyDictionary()  # bounds -> length of the longest window

Varlen = Callable[[Tensor, Tensor, Tensor, Tensor, int, float], Tensor]
"""(query, key, value (S, heads, width), int32 bounds, longest window, scale) -> (S, heads, width)."""


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
    if varlen := varlen_for(query):
        q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
        return varlen(q, k, v, cu_seq_lens_q.to(torch.int32), longest_window(cu_seq_lens_q), scaling)[None], None
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


def longest_window(bounds: Tensor) -> int:
    """Tokens of the longest window; a device is asked once for each tensor of bounds."""
    if (longest := _longest.get(bounds)) is None:
        longest = _longest[bounds] = int(bounds.diff().max())
    return longest


def plan_windows(bounds: Tensor) -> int | list[Tensor]:
    """The one length that all windows have, or for each length the places of its windows: (windows, length), int64."""
    lengths = bounds.diff()
    distinct = [length for length in lengths.unique().tolist() if length > 0]
    if len(distinct) == 1:
        return int(distinct[0])
    starts = bounds[:-1].to(torch.int64)
    return [starts[lengths == length][:, None] + torch.arange(length, device=bounds.device) for length in distinct]


def varlen_for(query: Tensor) -> Varlen | None:
    """The variable-length kernel for these tensors; None where PyTorch has none (a CPU, float32, an old GPU)."""
    if query.device.type != "cuda" or query.dtype not in (torch.bfloat16, torch.float16) or torch.version.hip is not None:
        return None
    width = query.shape[-1]
    if width % 8 or width > 256 or torch.cuda.get_device_capability(query.device)[0] < 8:
        return None
    return varlen_by_name() or varlen_by_operator


@cache
def varlen_by_name() -> Varlen | None:
    """PyTorch's public function, where this torch has one that takes a scale; it picks the kernel that is best on the card."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    takes = inspect.signature(varlen_attn).parameters
    if "scale" not in takes or "is_causal" in takes:
        return None  # before it had its present form: the operator underneath is the same in all versions

    def attend(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, scale: float) -> Tensor:
        out = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale)
        assert isinstance(out, Tensor)
        return out

    return attend


def varlen_by_operator(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, scale: float) -> Tensor:
    """The flash operator that carries its own gradient."""
    found = torch.ops.aten._flash_attention_forward(q, k, v, bounds, bounds, longest, longest, 0.0, False, False, scale=scale)
    out: Tensor = found[0]
    return out
