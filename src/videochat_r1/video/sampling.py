"""Which seconds of a video a model sees, and at what size: planned from the file's metadata, before anything is decoded.

Frames are named by their second, never by their index. For a file of constant rate the seconds planned here are exactly those of the
frames that qwen-vl-utils takes; for any other file they are as evenly spread in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from pydantic import model_validator

from videochat_r1.errors import VideoError
from videochat_r1.section import Section, free, refused, warned
from videochat_r1.types import Sample, Span
from videochat_r1.video.faults import fault
from videochat_r1.video.resize import Geometry, frame_max_pixels, target_size

LARGEST_S = 1e9  # a second beyond it is none
MOST_FRAMES = 1_000_000  # that a clip may be asked for: nine hours, each frame
PAST_END_S = 0.5  # an annotation may round its last second up by so much: the last frame serves it


class VideoConfig(Section):
    """How clips are sampled, sized and read. Pixel budgets are in pixels of the resized frames; the defaults are the paper's."""

    fps: float = refused(2.0, "frames sampled from each second", gt=0.0, le=1000.0)
    frames: int = refused(0, "sample just so many frames, evenly spread, whatever the length; 0 samples by fps", ge=0, le=MOST_FRAMES)
    min_frames: int = refused(4, "frames of a clip at least, where the file has them", ge=1, le=MOST_FRAMES)
    max_frames: int = refused(768, "frames of a clip at most", ge=1, le=MOST_FRAMES)
    total_pixels: int = refused(3584 * 28 * 28, "pixels of a clip in all, a temporal patch of frames counted once", ge=1)
    min_pixels: int = refused(16 * 28 * 28, "pixels of a frame at least", ge=1)
    max_pixels: int = refused(768 * 28 * 28, "pixels of a frame at most", ge=1)
    max_tokens: int = refused(0, "video tokens of a clip at most, fewer frames if need be; 0: min_pixels may overrun total_pixels", ge=0)
    frames_per_box: Literal[1, 2] = refused(2, "asked seconds, such as of boxes: 1 shows each alone, 2 also the moment midway to the next")
    picture_fps: float = refused(10.0, "rate of a folder of numbered pictures", gt=0.0, le=1000.0)
    on_unreadable: Literal["quarantine", "stop"] = warned("quarantine", "a video that cannot be used: leave its samples out, or stop")
    on_truncated: Literal["quarantine", "keep"] = refused(
        "quarantine", "a file that ends before 0.9 of its stated length: as unreadable, or use what is there and list it"
    )
    prefetch_clips: int = free(4, "clips decoded ahead of their use", ge=1, le=4096)
    prefetch_threads: int = free(2, "clips decoded at the same time", ge=1, le=256)
    decoder_threads: int = free(1, "threads inside each decoder", ge=1, le=64)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> VideoConfig:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}")
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames {self.min_frames} is more than max_frames {self.max_frames}")
        return self


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What is known of a video before it is decoded. Seconds are counted from its first frame."""

    path: str
    container: str  # "mov", "matroska", "avi", "mpegts"; "pictures" for a folder of numbered pictures
    codec: str
    width: int  # as displayed: rotated, and with square pixels
    height: int
    rotation: int  # degrees clockwise by which stored pictures are turned for display: 0, 90, 180, 270
    mirrored: bool  # stored pictures are also mirrored, left to right, before they are turned
    frames: int  # counted where the container says so, else length x rate
    fps: float  # frames a second on average
    duration_s: float  # last_s and the last frame's own length
    last_s: float  # the second of the last frame
    start_s: float = 0.0  # the first frame's own time stamp
    declared_s: float | None = None  # the length that the header states
    truncated: bool = False  # the file ends before 0.9 of that
    pictures: tuple[tuple[float, str], ...] = field(default=(), repr=False)  # of a folder: (second, file name), in order


@dataclass(frozen=True, kw_only=True)
class FramePlan:
    """The seconds to take frames at, and the size to give them."""

    times_s: tuple[float, ...]  # never falling, from the start of the window; a multiple of the temporal patch
    height_px: int
    width_px: int
    grid_thw: tuple[int, int, int]
    video_tokens: int
    window_s: Span | None = None  # the part of the source that is shown, in its own seconds; None: all of it


def window_of(sample: Sample) -> Span | None:
    """The part of its video that a sample is about: meta "window_s", [start, end] in seconds of the file; None for the whole of it, and
    where the entry is no such pair (`data check` lists it)."""
    entry = sample.meta.get("window_s")
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        return None
    if not all(isinstance(second, int | float) and not isinstance(second, bool) and 0 <= second < LARGEST_S for second in entry):
        return None
    start_s, end_s = entry
    return (float(start_s), float(end_s)) if start_s < end_s else None


def plan_frames(
    info: VideoInfo,
    config: VideoConfig,
    geometry: Geometry,
    seconds: tuple[float, ...] | None = None,
    window_s: Span | None = None,
) -> FramePlan:
    """The frames that a model sees of a video, or of the part of it within `window_s`; nothing is decoded.

    seconds: where given, rising seconds from the first frame, each of which gets a frame of its own; else the video is sampled evenly.
    window_s: (start, end) in seconds of the file; what lies past its end is cut off. All other seconds, given and planned, then count from
    its start. Frames are those from the one nearest to the start to the one nearest to the end, as MVBench takes them.
    A longer video gets smaller frames, down to min_pixels; then, beyond max_frames or max_tokens, fewer. Asked seconds are all kept.
    Raises VideoError: "too_short" where a second lies past the end, "bad_times" where seconds do not rise, "too_large" where the asked
    seconds, or a single moment, do not fit max_tokens, "bad_aspect".
    """
    shown = _within(info, window_s)
    if seconds is not None:
        plan = _sized(info, config, geometry, _asked(info, config, seconds, shown), shown)
        if config.max_tokens and plan.video_tokens > config.max_tokens:
            what = f"{info.path}: {len(seconds)} asked seconds take {plan.video_tokens} video tokens, more than {config.max_tokens}."
            raise VideoError("too_large", what, "Raise video.max_tokens, lower video.min_pixels, or ask for fewer seconds.")
        return plan
    count = frame_count(shown.frames, info.fps, config, geometry.temporal_patch)
    plan = _sized(info, config, geometry, _spread(info, count, shown), shown)
    while config.max_tokens and plan.video_tokens > config.max_tokens and count > geometry.temporal_patch:
        fitting = count * config.max_tokens // plan.video_tokens
        count = max(min(count - 1, fitting) // geometry.temporal_patch, 1) * geometry.temporal_patch
        plan = _sized(info, config, geometry, _spread(info, count, shown), shown)
    if config.max_tokens and plan.video_tokens > config.max_tokens:
        what = f"{info.path}: one moment takes {plan.video_tokens} video tokens, more than {config.max_tokens}."
        raise VideoError("too_large", what, "Raise video.max_tokens, or lower video.min_pixels and video.max_pixels.")
    return plan


def plan_at(
    info: VideoInfo,
    config: VideoConfig,
    geometry: Geometry,
    times_s: tuple[float, ...],
    *,
    max_tokens: int,
    window_s: Span | None = None,
) -> FramePlan:
    """The frames at just these seconds, however they are spread, as large as max_tokens video tokens and config.max_pixels allow.

    times_s: rising seconds from the first frame, or from the window's start as in `plan_frames`, temporal patch by temporal patch; the last
    is repeated to fill its patch. Only frames of one token each can overrun max_tokens. Raises VideoError: "bad_times" where seconds do not
    rise, "too_short" where one lies past the end, "bad_aspect".
    """
    shown = _within(info, window_s)
    _require_rising(info, times_s, shown)
    moments = -(-len(times_s) // geometry.temporal_patch)
    share = max_tokens * geometry.factor**2 / moments  # pixels of a frame
    least = max(min(config.min_pixels, int(share / 1.05)), 1)  # frame_max_pixels lets a floor overrun the budget by 1.05
    limits = config.model_copy(update={"total_pixels": max(max_tokens, 1) * geometry.factor**2, "min_pixels": least})
    return _sized(info, limits, geometry, times_s, shown)


def frame_count(total: int, rate: float, config: VideoConfig, temporal_patch: int) -> int:
    """How many frames to take of `total` at `rate` a second; a multiple of the temporal patch unless the file has fewer.

    Source: smart_nframes of qwen-vl-utils 0.0.14, which refuses files with fewer frames than a temporal patch; here all are taken.
    """

    def whole(count: float) -> int:
        return int(count // temporal_patch) * temporal_patch

    if config.frames:
        count: float = max(round(config.frames / temporal_patch), 1) * temporal_patch
    else:
        least = -(-config.min_frames // temporal_patch) * temporal_patch
        count = min(max(total / rate * config.fps, least), whole(min(config.max_frames, total)))
    return whole(min(count, total)) or min(total, temporal_patch)


@dataclass(frozen=True)
class _Shown:
    """The part of a video that is shown: its frames by index, and where it lies."""

    first: int
    last: int
    window_s: Span | None
    start_s: float  # of the part, in seconds of the file
    duration_s: float
    last_s: float  # the second of its last frame, from its start

    @property
    def frames(self) -> int:
        return self.last - self.first + 1


def _step_s(info: VideoInfo) -> float:
    return info.last_s / (info.frames - 1) if info.frames > 1 else 0.0


def _within(info: VideoInfo, window_s: Span | None) -> _Shown:
    if window_s is None:
        return _Shown(0, max(info.frames, 1) - 1, None, 0.0, info.duration_s, info.last_s)
    start_s, end_s = window_s[0], min(window_s[1], info.duration_s)
    if start_s >= end_s:
        asked = f"the part from {window_s[0]:.1f} to {window_s[1]:.1f} s"
        raise fault("too_short", f"{info.path} ends at {info.duration_s:.1f} s, but {asked} is asked for.")
    step_s = _step_s(info)
    first = min(round(start_s / step_s), info.frames - 1) if step_s else 0
    last = max(min(round(end_s / step_s), info.frames - 1), first) if step_s else 0
    last_s = max(last * step_s - start_s, 0.0)
    return _Shown(first, last, (start_s, end_s), start_s, end_s - start_s, last_s)


def _spread(info: VideoInfo, count: int, shown: _Shown) -> tuple[float, ...]:
    """`count` seconds from the first frame shown to the last: those of the frames whose indices are evenly spread and rounded."""
    import torch  # qwen-vl-utils rounds a float32 linspace: only the same arithmetic meets it on every half

    if shown.frames <= 1:
        return (max(shown.first * _step_s(info) - shown.start_s, 0.0),) * count
    step_s = _step_s(info)
    indices = torch.linspace(shown.first, shown.last, count).round().long().tolist()
    return tuple(max(index * step_s - shown.start_s, 0.0) for index in indices)  # the first may lie a hair before the start


def _asked(info: VideoInfo, config: VideoConfig, seconds: tuple[float, ...], shown: _Shown) -> tuple[float, ...]:
    """The asked seconds, each followed by the moment midway to the next where two frames go to a box."""
    _require_rising(info, seconds, shown)
    if config.frames_per_box == 1:
        return tuple(seconds)
    halves = [(later - earlier) / 2 for earlier, later in pairwise(seconds)]
    halves.append(min(halves[-1], max(shown.last_s - seconds[-1], 0.0)) if halves else 0.0)  # after the last one as before it
    return tuple(moment for second, half in zip(seconds, halves, strict=True) for moment in (second, second + half))


def _require_rising(info: VideoInfo, seconds: tuple[float, ...], shown: _Shown) -> None:
    rising = all(earlier <= later for earlier, later in pairwise(seconds))
    if not seconds or not rising or not all(0.0 <= second < math.inf for second in seconds):
        raise fault("bad_times", f"{info.path}: the asked seconds {_brief(seconds)} are not rising numbers from 0.")
    if seconds[-1] > shown.duration_s + PAST_END_S:
        raise fault("too_short", f"{info.path} ends at {shown.duration_s:.1f} s, but {seconds[-1]:.1f} s is asked for.")


def _brief(seconds: tuple[float, ...]) -> str:
    return str(seconds) if len(seconds) <= 6 else f"({seconds[0]}, {seconds[1]}, ... {seconds[-1]})"


def _sized(info: VideoInfo, config: VideoConfig, geometry: Geometry, times_s: tuple[float, ...], shown: _Shown) -> FramePlan:
    """The plan for these seconds, the last one repeated to fill its temporal patch."""
    missing = -len(times_s) % geometry.temporal_patch
    times_s = times_s + times_s[-1:] * missing
    bounds = {"min_pixels": config.min_pixels, "max_pixels": config.max_pixels}
    most = frame_max_pixels(len(times_s), total_pixels=config.total_pixels, temporal_patch=geometry.temporal_patch, **bounds)
    try:
        height_px, width_px = target_size(info.height, info.width, factor=geometry.factor, min_pixels=config.min_pixels, max_pixels=most)
    except VideoError as error:
        raise fault(error.reason, f"{info.path}: {error.what}") from None
    grid_thw = geometry.grid(len(times_s), height_px, width_px)
    return FramePlan(
        times_s=times_s,
        height_px=height_px,
        width_px=width_px,
        grid_thw=grid_thw,
        video_tokens=geometry.tokens(grid_thw),
        window_s=shown.window_s,
    )
