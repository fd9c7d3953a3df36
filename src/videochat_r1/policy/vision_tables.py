"""What a vision tower derives from the size of a video's grid alone, kept for the next video of that size.

Stock towers compute for every video, in Python loops with waits for the GPU, which tokens share a window, where the windows end, and at
which row and column each patch stands. All of it depends on the grid alone, and they take it ready-made by keyword."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Grids = tuple[tuple[int, int, int], ...]
KEPT = 32
"""Grids whose tables are kept; those of 14,000 patches take under 1 MiB."""

_tables: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()


def tables_of(tower: Any, grids_thw: Sequence[tuple[int, int, int]], device: torch.device) -> dict[str, Any]:
    """Keyword arguments of a stock tower's forward, on a device: bounds of pictures and windows, positions, and, where the family has
    them, the order of windows and the places in a learned table of positions. Empty where this transformers computes them itself."""
    config = tower.config
    shape = (config.spatial_merge_size, getattr(config, "window_size", None), config.patch_size, getattr(tower, "num_grid_per_side", None))
    key = (tuple(map(tuple, grids_thw)), device, shape, _interpolation(tower))
    if key not in _tables:
        _tables[key] = {name: _on(value, device) for name, value in _computed(tower, grids_thw).items()}
        while len(_tables) > KEPT:
            _tables.popitem(last=False)
    _tables.move_to_end(key)
    return dict(_tables[key])


def _interpolation(tower: Any) -> tuple[Any, Any]:
    return getattr(tower, "interpolation_mode", None), getattr(tower, "interpolation_align_corners", None)


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _computed(tower: Any, grids_thw: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    """By the functions that the stock towers call, on the CPU."""
    try:
        from transformers import vision_utils
    except ImportError:
        return {}
    grids, merge = torch.tensor(grids_thw, dtype=torch.int64), tower.config.spatial_merge_size
    found: dict[str, Any] = {"position_ids": vision_utils.get_vision_position_ids(grids, merge)}
    found["cu_seqlens"] = vision_utils.get_vision_cu_seqlens(grids)
    found["max_seqlen"] = int(found["cu_seqlens"].diff().max())
    if hasattr(tower, "window_size"):
        found["window_index"], bounds = vision_utils.get_vision_window_index(grids, merge, tower.window_size, tower.patch_size)
        found["cu_window_seqlens"], found["max_window_seqlen"] = bounds, int(bounds.diff().max())
    if hasattr(tower, "num_grid_per_side"):
        found["interp_indices"], found["interp_weights"] = vision_utils.get_vision_interpolation_indices_and_weights(
            grids,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=merge,
        )
    return found
