"""The stock processor and model as oracles: what they make of the same frames at the same seconds."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from transformers.video_utils import VideoMetadata

from videochat_r1.policy.processing import Processing
from videochat_r1.types import Clip

SHARED = Path(__file__).parents[2] / "../shared/data"


def shared(name: str) -> Path:
    """A file or folder of the shared test data; skips the test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no ../shared/data/{name} beside the repository")
    return path


def stock_inputs(policy: Processing, question: str, clip: Clip, order: str = "text_first") -> dict[str, Any]:
    """What the stock processor gives for one question about one clip of even seconds, its frames taken as they are."""
    parts = [{"type": "text", "text": question}, {"type": "video"}]
    content = parts if order == "text_first" else parts[::-1]
    text = policy.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
    count = len(clip.times_s)
    fps = (count - 1) / (clip.times_s[-1] - clip.times_s[0]) if count > 1 else 2.0
    metadata = VideoMetadata(total_num_frames=count, fps=fps, frames_indices=list(range(count)))
    return dict(
        policy.processor(
            text=[text],
            videos=[clip.frames_NCHW],
            video_metadata=[metadata],
            do_resize=False,
            do_sample_frames=False,
            return_tensors="pt",
        )
    )


@functools.cache
def filmed_clip(name: str, *, frames: int, height: int, width: int, every: int) -> Clip:
    """Frames of a real film, every so many of the file's, scaled to a size."""
    with av.open(str(shared(f"videos/{name}"))) as container:
        stream = container.streams.video[0]
        rate, pictures = float(stream.average_rate), []
        for number, frame in enumerate(container.decode(stream)):
            if number % every == 0:
                pictures.append(frame.reformat(width=width, height=height, format="rgb24").to_ndarray())
            if len(pictures) == frames:
                break
        size = (stream.width, stream.height)
    frames_NCHW = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return Clip(
        frames_NCHW=frames_NCHW,
        times_s=tuple(number * every / rate for number in range(frames)),
        duration_s=frames * every / rate,
        source_size=size,
        path=name,
    )
