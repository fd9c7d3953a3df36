"""A file on disk -> a Clip: the frames of a plan, each with its true second.

The frame of a wanted second is the one whose presentation time is nearest to it, of two equally near the earlier. So on a file of
constant rate it is the frame that qwen-vl-utils takes by index, and on any file its time is within half a gap of the wanted one.
The second that travels with a frame is its own time stamp less the first frame's, whatever was wanted.

A file is read from its start, or by seeking to the key frame before each wanted second, whichever decodes fewer frames; both give the
same frames."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videochat_r1.types import Clip
from videochat_r1.video.display import RgbReader
from videochat_r1.video.faults import fault
from videochat_r1.video.pictures import frames_at
from videochat_r1.video.probe import probe as probe
from videochat_r1.video.resize import resize_frame
from videochat_r1.video.sampling import FramePlan, VideoInfo
from videochat_r1.video.source import MAX_FRAMES, check_size, open_video

__all__ = ["decode", "probe"]

SEEK_WORTH_FRAMES = 12  # a seek costs about as much as decoding so many frames forward
MARGIN_FRAMES = 4  # key frames are indexed by decoding time, which runs ahead of display by the depth of reordering
SEEKABLE = ("mov", "matroska", "mpegts")  # time stamps after a seek are those of a reading from the start; in avi they may not be
TIE_S = 1e-6


def decode(info: VideoInfo, plan: FramePlan, *, threads: int = 1, keep_truncated: bool = False) -> Clip:
    """The frames of a plan: uint8 RGB (N, 3, height_px, width_px), with the second of each; of a plan with a window, from its start.

    keep_truncated: use what is there of a file that ends before 0.9 of its stated length, its last frame repeated, instead of refusing it.
    Raises VideoError (codes in source.py). Safe in several threads at once: each call has its own container and decoder.
    """
    import torch

    if info.truncated and not keep_truncated:
        raise fault("truncated", f"{info.path} ends at {info.duration_s:.1f} s of {info.declared_s:.1f} s.")
    frames_NCHW = torch.empty((len(plan.times_s), 3, plan.height_px, plan.width_px), dtype=torch.uint8)
    times_s: list[float] = []
    rgb = RgbReader()
    previous: VideoFrame | None = None
    start_s, end_s = plan.window_s or (0.0, info.duration_s)
    with closing(_chosen(info, [start_s + second for second in plan.times_s], threads)) as chosen:
        for row, (second, frame) in enumerate(chosen):
            if frame is previous:
                frames_NCHW[row] = frames_NCHW[row - 1]
            else:
                check_size(info.path, frame.width, frame.height)
                frames_NCHW[row] = resize_frame(rgb(frame), plan.height_px, plan.width_px)
            times_s.append(max(second - start_s, 0.0))
            previous = frame
    size = (info.width, info.height)
    return Clip(frames_NCHW=frames_NCHW, times_s=tuple(times_s), duration_s=end_s - start_s, source_size=size, path=info.path)


def _chosen(info: VideoInfo, wanted_s: Sequence[float], threads: int) -> Generator[tuple[float, VideoFrame]]:
    """(second, frame) for each wanted second, in order."""
    if info.pictures:
        yield from frames_at(info.pictures, info.path, wanted_s)
        return
    with open_video(info.path, threads) as (container, stream):
        yield from _Reader(info, container, stream).nearest(wanted_s)


class _Reader:
    """One pass over an open file, forward, with jumps to key frames where they save work."""

    def __init__(self, info: VideoInfo, container: InputContainer, stream: VideoStream) -> None:
        assert stream.time_base is not None
        self.info, self.container, self.stream = info, container, stream
        self.time_base = stream.time_base
        self.gap_s = 1 / info.fps
        self.decoded = 0
        self.ended = ""  # why the frames ran out, once they did
        self.jumps = info.container in SEEKABLE
        self.index_read = False
        self.reach_s = 1.0  # how far before a wanted second an unindexed jump aims
        self.frames = self._from_here(jumped=False)
        self.before: tuple[float, VideoFrame] | None = None  # the last frame not after the wanted second
        self.after: tuple[float, VideoFrame] | None = None  # and the one that follows it

    def nearest(self, wanted_s: Sequence[float]) -> Iterator[tuple[float, VideoFrame]]:
        for second in wanted_s:
            self._skip_to(second)
            while (self.after is None or self.after[0] <= second + TIE_S) and self._advance():
                pass
            yield self._nearer(second)

    def _nearer(self, second: float) -> tuple[float, VideoFrame]:
        if self.after is None and self.before is not None:
            self._check_end(second)
            return self.before
        if self.before is None:
            if self.after is None:
                raise fault("unreadable", f"{self.info.path}: no frame decodes ({self.ended}).")
            return self.after
        assert self.after is not None
        return self.before if second - self.before[0] <= self.after[0] - second + TIE_S else self.after

    def _check_end(self, second: float) -> None:
        """The frames ended before a wanted second: fine at the end of the file, a fault elsewhere."""
        assert self.before is not None
        if self.before[0] + self.gap_s < 0.9 * self.info.duration_s and second > self.before[0] + self.gap_s:
            lengths = f"{self.before[0]:.1f} s of {self.info.duration_s:.1f} s"
            raise fault("corrupt", f"{self.info.path}: frames end at {lengths} ({self.ended}).")

    def _advance(self) -> bool:
        """One frame further; False where there are none."""
        following = next(self.frames, None)
        if self.after is not None:
            self.before = self.after
        self.after = following
        return following is not None

    # -- jumps ---------------------------------------------------------------------------------------------------------------------

    def _skip_to(self, second: float) -> None:
        """Jump to a key frame before `second` where that saves decoding what lies between."""
        at_s = self.after[0] if self.after is not None else 0.0
        worth_s = SEEK_WORTH_FRAMES * self.gap_s
        before_s = second - MARGIN_FRAMES * self.gap_s
        if self.ended or not self.jumps or before_s - at_s <= worth_s:
            return
        if self.info.container == "mpegts":  # no index: aim a little ahead of the wanted second, as far as proves to be needed
            if before_s - self.reach_s - at_s > max(worth_s, self.reach_s):
                self._jump(second, before_s - self.reach_s)
            return
        key_s = self._key_before(before_s)
        if key_s is not None and key_s - at_s > worth_s:
            self._jump(second, before_s)

    def _key_before(self, second: float) -> float | None:
        """The second of the last indexed key frame not after `second`."""
        entries = self.stream.index_entries
        if not self.index_read:
            self.index_read = True
            if self.info.container == "matroska":  # its index is read at the first seek
                self._restart()
                entries = self.stream.index_entries
        row = entries.search_timestamp(self._pts(second), backward=True)
        return None if row < 0 else self._second(entries[row].timestamp)

    def _jump(self, second: float, to_s: float) -> None:
        """Go on from the key frame before `to_s`, or from an earlier one until a frame not after `second` comes out."""
        at_s = self.after[0] if self.after is not None else 0.0
        for _ in range(6):
            self.container.seek(self._pts(to_s), stream=self.stream, backward=True)
            self._reset(jumped=True)
            if self._advance() and self.after is not None and self.after[0] <= second + TIE_S:
                return
            self.reach_s *= 2
            to_s = min(to_s, second) - self.reach_s
            if to_s <= at_s:
                break
        self.jumps = False
        self._restart()

    def _restart(self) -> None:
        self.container.seek(min(self._pts(0.0), 0), stream=self.stream, backward=True)
        self._reset(jumped=False)

    def _reset(self, *, jumped: bool) -> None:
        self.frames, self.before, self.after, self.ended = self._from_here(jumped), None, None, ""

    # -- frames --------------------------------------------------------------------------------------------------------------------

    def _pts(self, second: float) -> int:
        return round((second + self.info.start_s) / self.time_base)

    def _second(self, pts: int) -> float:
        return float(pts * self.time_base) - self.info.start_s

    def _from_here(self, jumped: bool) -> Iterator[tuple[float, VideoFrame]]:
        """(second, frame) as displayed, from the container's position to the end or to the first error.

        jumped: reading starts at the first key frame, and frames shown before it are left out: they may lack what they are built on.
        """
        last_s, key_s = -1.0, None
        for packet in self.container.demux(self.stream):
            if jumped and key_s is None and packet.size:
                if not packet.is_keyframe or packet.pts is None:
                    continue
                key_s = self._second(packet.pts)
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if last_s < 0:
                    continue  # nothing came out yet: the stream may start before its first key frame
                self.ended = f"at {last_s:.1f} s: {error.strerror}"
                return
            for frame in frames:
                self.decoded += 1
                if self.decoded > MAX_FRAMES:
                    raise fault("too_large", f"{self.info.path} has more than {MAX_FRAMES} frames.")
                pts = frame.pts if frame.pts is not None else frame.dts
                second = self._second(pts) if pts is not None else last_s + self.gap_s
                if second <= last_s or second < -TIE_S or frame.is_corrupt or (key_s is not None and second < key_s - TIE_S):
                    continue
                last_s = second
                yield second, frame
        self.ended = self.ended or "end of file"
