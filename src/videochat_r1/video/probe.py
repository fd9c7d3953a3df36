"""What a video is, learned from its header, its first picture and the time stamps at its end; the middle is not read."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videochat_r1.video.display import displayed_size, orientation
from videochat_r1.video.faults import fault
from videochat_r1.video.pictures import list_pictures, read_picture
from videochat_r1.video.sampling import VideoInfo
from videochat_r1.video.source import MAX_FRAMES, check_size, open_video

FIRST_PACKETS = 1024  # a stream cut out of another may start with packets that need a picture before them
TRANSPORT_MARGIN_S = 2.0  # a seek in a transport stream lands on any packet, so the last ones in display order may lie before it
DEFAULT_RATE = 25.0  # of a single picture whose file states neither rate nor length


def probe(path: str, *, picture_fps: float = 10.0) -> VideoInfo:
    """What is known of a video file, or of a folder of numbered pictures shown at `picture_fps`.

    Time stamps win over the header: length and start are those of the frames that are there. Raises VideoError (codes in source.py).
    """
    if os.path.isdir(path):
        return _probe_pictures(path, picture_fps)
    with open_video(path) as (container, stream):
        first = first_frame(path, container, stream)
        check_size(path, first.width, first.height)
        time_base = stream.time_base
        assert time_base is not None and first.pts is not None
        pixel_aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        width, height = displayed_size(first, pixel_aspect)
        degrees, mirrored = orientation(first)
        tail = _Tail(container, stream, first.pts)
        rate = _rate(stream, tail)
        last_s = float((tail.last_pts - first.pts) * time_base)
        duration_s = last_s + (float(tail.last_length * time_base) or 1 / rate)
        declared_s, reached_s = _declared(container, stream, float(first.pts * time_base), duration_s, tail)
        return VideoInfo(
            path=path,
            container=container.format.name.split(",")[0],
            codec=stream.codec_context.name,
            width=width,
            height=height,
            rotation=degrees,
            mirrored=mirrored,
            frames=_count(stream, tail, rate, duration_s),
            fps=rate,
            duration_s=duration_s,
            last_s=last_s,
            start_s=float(first.pts * time_base),
            declared_s=declared_s,
            truncated=declared_s is not None and reached_s < 0.9 * declared_s,
        )


def _probe_pictures(folder: str, rate: float) -> VideoInfo:
    pictures = list_pictures(folder, rate)
    first = read_picture(folder, pictures[0][1])
    width, height = displayed_size(first, 1.0)
    degrees, mirrored = orientation(first)
    return VideoInfo(
        path=folder,
        container="pictures",
        codec=os.path.splitext(pictures[0][1])[1][1:].lower(),
        width=width,
        height=height,
        rotation=degrees,
        mirrored=mirrored,
        frames=len(pictures),
        fps=rate,
        duration_s=pictures[-1][0] + 1 / rate,
        last_s=pictures[-1][0],
        pictures=pictures,
    )


def first_frame(path: str, container: InputContainer, stream: VideoStream) -> VideoFrame:
    """The first picture that decodes, with a time stamp. Raises VideoError: "no_video_stream" without any packet, else "unreadable"."""
    packets = 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            frames = []
        except ValueError:  # PyAV: "cannot decode unknown codec"
            name = stream.codec_context.name
            raise fault(f"unsupported_codec:{name}", f"{path} is in the codec {name}, which no decoder here reads.") from None
        for frame in frames:
            if frame.pts is None:
                frame.pts = frame.dts if frame.dts is not None else 0
            return frame
        if packets > FIRST_PACKETS:
            break
    if not packets and ((stream.duration or 0) > 0 or (container.duration or 0) > 0):
        raise fault("truncated", f"{path} states a length, but ends before its first frame.")
    if not packets:
        raise fault("no_video_stream", f"{path} holds no frames.")
    raise fault("unreadable", f"None of the first {packets} frames of {path} decodes.")


class _Tail:
    """The time stamps from the last key frame to the end, or of the whole file where there is no way to seek."""

    def __init__(self, container: InputContainer, stream: VideoStream, first_pts: int) -> None:
        assert stream.time_base is not None
        self.first_pts = first_pts
        self.reached_s = 0.0  # the end of whatever stream goes on the longest
        self.stamps: list[tuple[int, int]] = []  # (pts, length) of the video's packets
        end = _end_pts(container, stream)
        if end is not None and container.format.name == "mpegts":
            end -= int(max(TRANSPORT_MARGIN_S, 32 / float(stream.average_rate or DEFAULT_RATE)) / stream.time_base)
        if end is not None and end > first_pts:
            self._scan(container, stream, end)
        if not any(pts >= first_pts for pts, _ in self.stamps):
            self._scan(container, stream, None)
        shown = sorted(stamp for stamp in self.stamps if stamp[0] >= first_pts)
        self.complete = bool(shown) and shown[0][0] == first_pts  # the scan began at the first frame: its count is exact
        self.count = len(shown)
        self.last_pts, self.last_length = shown[-1] if shown else (first_pts, 0)
        self.gaps = [b[0] - a[0] for a, b in zip(shown, shown[1:], strict=False) if b[0] > a[0]]

    def _scan(self, container: InputContainer, stream: VideoStream, start: int | None) -> None:
        self.stamps.clear()
        try:
            container.seek(start if start is not None else min(self.first_pts, 0), stream=stream, backward=True)
            for packet in container.demux():
                if packet.pts is None or packet.size == 0 or packet.time_base is None:
                    continue
                length = max(packet.duration or 0, 0)
                self.reached_s = max(self.reached_s, float((packet.pts + length) * packet.time_base))
                if packet.stream_index == stream.index and not packet.is_discard:
                    self.stamps.append((packet.pts, length))
                if len(self.stamps) > MAX_FRAMES:
                    raise fault("too_large", f"A video has more than {MAX_FRAMES} frames.")
        except av.FFmpegError:
            pass  # damage ends the scan: what was seen so far is what there is


def _end_pts(container: InputContainer, stream: VideoStream) -> int | None:
    """Where the header says that the file ends, in the stream's time base."""
    assert stream.time_base is not None
    if stream.duration:
        return (stream.start_time or 0) + stream.duration
    if container.duration:
        return int((Fraction(container.duration, av.time_base) + Fraction(container.start_time or 0, av.time_base)) / stream.time_base)
    return None


def _rate(stream: VideoStream, tail: _Tail) -> float:
    """Frames a second on average: as stated, else by the time stamps seen."""
    for stated in (stream.average_rate, stream.guessed_rate):
        if stated and 0 < stated <= 1000 and math.isfinite(stated):
            return float(stated)
    assert stream.time_base is not None
    return float(len(tail.gaps) / (sum(tail.gaps) * stream.time_base)) if tail.gaps else DEFAULT_RATE


def _count(stream: VideoStream, tail: _Tail, rate: float, duration_s: float) -> int:
    """How many frames there are: counted, else as stated where that fits the length, else length x rate."""
    if tail.complete:
        return tail.count
    if stream.frames and abs(stream.frames / rate - duration_s) <= max(1.5 / rate, 0.01 * duration_s):
        return int(stream.frames)
    return max(1, round(duration_s * rate))


def _declared(container: InputContainer, stream: VideoStream, start_s: float, duration_s: float, tail: _Tail) -> tuple[float | None, float]:
    """(length that the header states, length that is there): both of the video where the header speaks of it, else of all streams."""
    assert stream.time_base is not None
    if stream.duration and stream.duration > 0:
        return float(stream.duration * stream.time_base), duration_s
    if container.duration and container.duration > 0:
        declared_s = container.duration / av.time_base
        # Matroska counts its length from second 0, not from the first frame; other streams may go on after the video's end.
        return declared_s, max(duration_s, tail.reached_s - min(start_s, 0.0))
    return None, duration_s
