"""Scenes as pictures: signed distances to each shape, smoothed over one pixel, many scenes and moments at once, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videochat_r1.world.scenes import COLOURS, SHAPES, Scene

GRAIN, POOR_GRAIN = 2.0, 20.0  # standard deviation of the noise, of 255, at FULL_SIDE_PX
POOR_CONTRAST, GREY = 0.45, 96.0
FULL_SIDE_PX = 96  # side of the pictures that are written to files


@dataclass(frozen=True)
class Drawing:
    """Scenes at chosen moments as numbers: B scenes, K things, N moments."""

    looks_BK4: Tensor  # shape's index, red, green, blue
    state_BKN5: Tensor  # x0, y0, x1, y1, and 1.0 where visible
    ground_B3: Tensor
    poor_B: Tensor


def pack(scenes: Sequence[Scene], times_BN: Sequence[Sequence[float]]) -> Drawing:
    """What `paint` needs, as tensors. times_BN: as many seconds for each scene. The target comes last: it lies over all."""
    most = max(len(scene.things) for scene in scenes)
    looks, state = [], []
    for scene, times_s in zip(scenes, times_BN, strict=True):
        things = [*scene.things[1:], scene.target]
        pad = most - len(things)
        hidden = [[(0.0, 0.0, 1.0, 1.0, 0.0)] * len(times_s)]
        looks.append([(0, 0, 0, 0)] * pad + [(SHAPES.index(t.shape), *COLOURS[t.colour]) for t in things])
        state.append(hidden * pad + [[(*t.box(s, scene.duration_s), float(t.visible(s))) for s in times_s] for t in things])
    return Drawing(
        looks_BK4=torch.tensor(looks, dtype=torch.float32),
        state_BKN5=torch.tensor(state, dtype=torch.float32),
        ground_B3=torch.tensor([scene.ground for scene in scenes], dtype=torch.float32),
        poor_B=torch.tensor([scene.poor for scene in scenes]),
    )


def paint(drawing: Drawing, side_px: int, noise: Tensor, device: str | torch.device = "cpu") -> Tensor:
    """Frames, uint8 (B, N, 3, side, side). noise: standard normal (B, N, 1, side, side);
    a smaller picture gets less of it, as a scaled one would."""
    state_BKN5, looks_BK4 = drawing.state_BKN5.to(device), drawing.looks_BK4.to(device)
    scenes, most, moments, _ = state_BKN5.shape
    frames = drawing.ground_B3.to(device)[:, None, :, None, None].expand(scenes, moments, 3, side_px, side_px).clone()
    axis = (torch.arange(side_px, device=device, dtype=torch.float32) + 0.5) / side_px
    for k in range(most):
        x0, y0, x1, y1, seen = state_BKN5[:, k, :, :, None, None].unbind(2)  # each (B, N, 1, 1)
        radius = (x1 - x0) / 2
        dx = (axis[None, :] - (x0 + x1) / 2) / radius
        dy = (axis[:, None] - (y0 + y1) / 2) / radius
        distance_px = _distance(looks_BK4[:, k, 0], dx, dy) * radius * side_px
        cover = (0.5 - distance_px).clamp(0, 1) * seen
        colour = looks_BK4[:, k, 1:][:, None, :, None, None]
        frames += cover[:, :, None] * (colour - frames)
    poor = drawing.poor_B.to(device)[:, None, None, None, None].float()
    contrast = 1 - poor * (1 - POOR_CONTRAST)
    grain = (GRAIN + poor * (POOR_GRAIN - GRAIN)) * side_px / FULL_SIDE_PX
    frames = GREY * (1 - contrast) + frames * contrast + noise.to(device) * grain
    return frames.round().clamp(0, 255).to(torch.uint8)


def render(scene: Scene, times_s: Sequence[float], side_px: int = FULL_SIDE_PX) -> Tensor:
    """Frames of one scene, uint8 (N, 3, side, side); the grain is a function of the scene's own seed and of the frame's number."""
    generator = torch.Generator().manual_seed(scene.grain_seed)
    noise = torch.randn((1, len(times_s), 1, side_px, side_px), generator=generator)
    return paint(pack([scene], [times_s]), side_px, noise)[0]


def _distance(shape_B: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Signed distance, in units of the radius, to a shape inscribed in the square of half side 1. dx (B, N, 1, W), dy (B, N, H, 1).

    A sharp corner's smoothed edge would reach past its box: no shape does, being cut to the square."""
    ax, ay = dx.abs(), dy.abs()
    square = torch.maximum(ax, ay) - 1
    forms = {
        "circle": torch.sqrt(dx * dx + dy * dy) - 1,
        "square": square,
        "triangle": torch.maximum(dy - 1, (2 * ax - dy - 1) / 5**0.5),
        "diamond": (ax + ay - 1) / 2**0.5,
        "cross": torch.minimum(ax, ay) - 0.34,
    }
    distance = forms[SHAPES[0]]
    for index, name in enumerate(SHAPES[1:], start=1):
        distance = torch.where(shape_B[:, None, None, None] == index, forms[name], distance)
    return torch.maximum(distance, square)
