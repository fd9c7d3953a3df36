"""How many pixels a frame gets, and the resizing itself: the rules of qwen-vl-utils, for any patch size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videochat_r1.video.faults import fault

if TYPE_CHECKING:
    from torch import Tensor

MAX_ASPECT = 200  # longer side over shorter side; beyond it a frame cannot be cut into patches without absurd distortion
FLOAT_SAMPLES = 2**22  # values resized at once in float32: 16 MiB, so that a 4K frame does not need a hundred


@dataclass(frozen=True)
class Geometry:
    """How a model cuts frames: `patch` x `patch` pixels by `temporal_patch` frames are a patch, `merge` x `merge` patches one token."""

    patch: int
    merge: int
    temporal_patch: int

    @property
    def factor(self) -> int:
        """The side in pixels of what becomes one token; frame sides are multiples of it."""
        return self.patch * self.merge

    def grid(self, frames: int, height_px: int, width_px: int) -> tuple[int, int, int]:
        """Patches in time, height and width of so many frames of that size."""
        return frames // self.temporal_patch, height_px // self.patch, width_px // self.patch

    def tokens(self, grid_thw: tuple[int, int, int]) -> int:
        """Video tokens of a grid, after merging."""
        return math.prod(grid_thw) // self.merge**2


def frame_max_pixels(frames: int, *, total_pixels: int, min_pixels: int, max_pixels: int, temporal_patch: int) -> float:
    """Pixels that one of `frames` frames may have when all share `total_pixels`.

    A temporal patch of frames counts once, as it makes one layer of tokens. The floor, min_pixels * 1.05, may exceed the share: a long
    clip then costs more than total_pixels, up to max_frames * 1.05 * min_pixels / temporal_patch.
    Source: fetch_video of qwen-vl-utils 0.0.14, whose FRAME_FACTOR is the temporal patch of Qwen's models.
    """
    return min(max_pixels, max(total_pixels / frames * temporal_patch, int(min_pixels * 1.05)))


def target_size(height: int, width: int, *, factor: int, min_pixels: int, max_pixels: float) -> tuple[int, int]:
    """(height, width) in pixels to resize a picture to: multiples of `factor`, between min_pixels and max_pixels in all, nearly its aspect.

    Raises VideoError("bad_aspect") where one side is more than 200 times the other.
    Source: smart_resize of qwen-vl-utils 0.0.14; sizes below one factor, which it never sees with its own budgets, are held at one factor.
    """
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise fault("bad_aspect", f"A picture of {width}x{height} pixels has one side more than {MAX_ASPECT} times the other.")
    high = max(factor, round(height / factor) * factor)
    wide = max(factor, round(width / factor) * factor)
    if high * wide > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif high * wide < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return high, wide


def resize_frame(frame_CHW: Tensor, height_px: int, width_px: int) -> Tensor:
    """A uint8 picture (C, H, W) at another size: bicubic with antialiasing, bit for bit what qwen-vl-utils' call of torchvision gives.

    A large picture is resized a channel at a time: the arithmetic is done in float32, and channels do not depend on each other.
    """
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    if frame_CHW.shape[1:] == (height_px, width_px):
        return frame_CHW
    parts = torch.split(frame_CHW, 1) if frame_CHW.numel() > FLOAT_SAMPLES else (frame_CHW,)
    resized = [resize(part, [height_px, width_px], interpolation=InterpolationMode.BICUBIC, antialias=True) for part in parts]
    return resized[0] if len(resized) == 1 else torch.cat(resized)
