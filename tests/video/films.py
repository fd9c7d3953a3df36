"""Small films with a number written into every picture, made by PyAV, and the plain way to choose frames from them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

BITS = 12


def numbered(number: int, width: int, height: int) -> np.ndarray:
    """An RGB picture that spells `number` in black and white stripes, the highest bit at the left, with a red upper left corner."""
    picture = np.zeros((height, width, 3), np.uint8)
    edges = np.linspace(0, width, BITS + 1).round().astype(int)
    for bit in range(BITS):
        if number >> (BITS - 1 - bit) & 1:
            picture[:, edges[bit] : edges[bit + 1]] = 235
    picture[: height // 4, : width // 4] = (200, 0, 0)
    return picture


def number_of(picture_CHW: torch.Tensor) -> int:
    """The number that a picture spells, read along its lower half."""
    width = picture_CHW.shape[2]
    edges = torch.linspace(0, width, BITS + 1)
    middles = ((edges[:-1] + edges[1:]) / 2).long().tolist()
    line = picture_CHW[:, picture_CHW.shape[1] * 5 // 8 :].float().mean((0, 1))
    return sum(int(line[x] > 118) << (BITS - 1 - bit) for bit, x in enumerate(middles))


def write_film(
    path: Path,
    count: int = 30,
    *,
    size: tuple[int, int] = (96, 64),
    rate: int | Fraction = 10,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    stamps_s: Sequence[float] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
    sound: float = 0.0,
) -> Path:
    """A film of `count` numbered pictures, at stamps_s where given. options are the encoder's; H.264 has a key frame in 8 and B-frames."""
    if codec == "libx264":
        options = {"g": "8", "bf": "2", "preset": "ultrafast"} | (options or {})
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        if time_base is None and stamps_s is not None:
            time_base = Fraction(1, 1000)
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        speaker = container.add_stream("aac", rate=16000) if sound else None
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")
            base = time_base or Fraction(1) / Fraction(rate)
            frame.time_base = base
            frame.pts = number if stamps_s is None else round(Fraction(stamps_s[number]) / base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if speaker is not None:
            write_sound(container, speaker, sound)
    return path


def write_sound(container: av.container.OutputContainer, speaker: av.AudioStream, seconds: float) -> None:
    for start in range(0, int(seconds * 16000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, start
        container.mux(speaker.encode(frame))
    container.mux(speaker.encode(None))


def all_frames(path: str | Path) -> tuple[list[float], list[av.VideoFrame]]:
    """Every frame of a file, decoded from the start without any of our code, in order of display, with its second from the first."""
    with av.open(str(path)) as container:
        frames = sorted(container.decode(container.streams.best("video")), key=lambda frame: frame.pts)
        return [float((frame.pts - frames[0].pts) * frame.time_base) for frame in frames], frames


def rgb(frame: av.VideoFrame) -> torch.Tensor:
    """(3, H, W), uint8."""
    return torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)


def nearest(times_s: Sequence[float], wanted_s: Sequence[float]) -> list[int]:
    """For each wanted second the index of the nearest time, of two equally near the earlier."""
    times = np.asarray(times_s)
    return [int(np.argmin(np.round(np.abs(times - wanted), 6))) for wanted in wanted_s]


def resized(picture_CHW: torch.Tensor, height_px: int, width_px: int) -> torch.Tensor:
    """As fetch_video of qwen-vl-utils resizes."""
    return resize(picture_CHW, [height_px, width_px], interpolation=InterpolationMode.BICUBIC, antialias=True)
