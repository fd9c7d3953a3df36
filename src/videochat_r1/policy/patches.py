"""uint8 frames -> the float32 patches that a Qwen video tower takes, equal to the stock video processor's without its resizing and
sampling; and the tower's first layer, which embeds them, as the matrix product that it is."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear


def frames_to_patches(frames_NCHW: Tensor, video_processor: Any) -> tuple[Tensor, tuple[int, int, int]]:
    """Patches (patches, channels x temporal patch x patch x patch), float32, and their grid (time, rows, columns).

    frames_NCHW: uint8, at least one frame, height and width multiples of patch x merge (else ValueError). The last frame is repeated to
    fill a temporal patch. The patches of one token (merge x merge of them) stand together, as the tower's merger expects.
    video_processor: the stock one; its patch sizes, rescaling and normalisation are used."""
    if frames_NCHW.dtype != torch.uint8:
        raise ValueError(f"frames must be uint8, not {frames_NCHW.dtype}")
    patch, merge, moment = (int(getattr(video_processor, name)) for name in ("patch_size", "merge_size", "temporal_patch_size"))
    if missing := -frames_NCHW.shape[0] % moment:
        frames_NCHW = torch.cat([frames_NCHW, frames_NCHW[-1:].expand(missing, -1, -1, -1)])
    count, channels, height, width = frames_NCHW.shape
    if count == 0 or height % (patch * merge) or width % (patch * merge):
        raise ValueError(f"{count} frames of {width} x {height} pixels do not divide into tokens of {patch * merge} pixels")
    times, rows, columns = count // moment, height // patch, width // patch
    cells = frames_NCHW.reshape(times, moment, channels, rows // merge, merge, patch, columns // merge, merge, patch)
    # -> time, token row, token column, row in token, column in token, then what is inside a patch: channel, frame, row, column
    patches = cells.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(times * rows * columns, channels, moment * patch * patch).to(torch.float32)
    _normalise(patches, video_processor)
    return patches.flatten(1), (times, rows, columns)


def _normalise(values_NCX: Tensor, video_processor: Any) -> None:
    """Rescale and normalise in place, in one subtraction and one division as the stock processor does."""
    scale = float(video_processor.rescale_factor) if video_processor.do_rescale else 1.0
    if video_processor.do_normalize:
        mean = torch.tensor(video_processor.image_mean, device=values_NCX.device) * (1.0 / scale)
        std = torch.tensor(video_processor.image_std, device=values_NCX.device) * (1.0 / scale)
        values_NCX.sub_(mean.reshape(1, -1, 1)).div_(std.reshape(1, -1, 1))
    else:
        values_NCX.mul_(scale)


def embed_by_product(tower: Any) -> None:
    """Let a stock tower embed patches by a matrix product: its convolution's kernel is as large as a patch and moves nowhere, but as a
    convolution it takes several times as long."""
    tower.patch_embed.proj.forward = partial(_product, tower.patch_embed.proj)


def _product(convolution: Any, patches: Tensor) -> Tensor:
    """(N, channels, time, rows, columns), of the kernel's own size, -> (N, width, 1, 1, 1), as the convolution gives."""
    return linear(patches.flatten(1), convolution.weight.flatten(1), convolution.bias)[..., None, None, None]
