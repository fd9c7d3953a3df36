"""The shipped small model: where it lies, and the clips that it takes."""

from __future__ import annotations

from pathlib import Path

from videochat_r1.video.sampling import VideoConfig

SMALL_MODEL = Path(__file__).parent / "model"

SMALL_VIDEO = VideoConfig(fps=2.0, min_frames=2, max_frames=64, total_pixels=64 * 64 * 64, min_pixels=16 * 16, max_pixels=64 * 64)
"""Two frames a second of at most 64 x 64 pixels: what it was trained on."""
