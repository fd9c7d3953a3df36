"""Samples -> Clips, ahead of their use: planning, decoding in threads, and an account of every video that could not be used."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from videochat_r1.background import helpers_begin
from videochat_r1.errors import VideoError
from videochat_r1.types import Clip, Sample
from videochat_r1.video.decode import decode
from videochat_r1.video.probe import probe
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import FramePlan, VideoConfig, VideoInfo, plan_frames, window_of

if TYPE_CHECKING:
    from videochat_r1.tasks.base import Task

Item = tuple["Task", Sample]
PROBES_KEPT = 2**16
DURATION_MISMATCH = "duration_mismatch"
"""Why a sample is listed and used all the same: its video is of another length than its annotation says."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why one sample's video is not used as it should be."""

    sample_id: str
    path: str
    reason: str
    what: str
    kept: bool  # the sample is used all the same


class Quarantine:
    """The samples whose videos could not be used, each once, with a reason code."""

    def __init__(self) -> None:
        self._faults: dict[tuple[str, str], Fault] = {}
        self._lock = threading.Lock()

    def add(self, sample: Sample, reason: str, what: str, *, kept: bool = False) -> None:
        """Note a fault; a sample met again with the same reason counts once."""
        with self._lock:
            self._faults.setdefault((sample.id, reason), Fault(sample_id=sample.id, path=sample.video, reason=reason, what=what, kept=kept))

    def __len__(self) -> int:
        """Samples that are left out."""
        return len({fault.sample_id for fault in self.left_out})

    @property
    def faults(self) -> tuple[Fault, ...]:
        with self._lock:
            return tuple(self._faults.values())

    @property
    def left_out(self) -> tuple[Fault, ...]:
        """Of the samples that could not be used."""
        return tuple(fault for fault in self.faults if not fault.kept)

    @property
    def used(self) -> tuple[Fault, ...]:
        """What is odd about samples that were used all the same."""
        lost = {fault.sample_id for fault in self.left_out}
        return tuple(fault for fault in self.faults if fault.kept and fault.sample_id not in lost)

    def counts(self) -> dict[str, int]:
        """Samples by reason, kept ones included, the most frequent first."""
        return by_reason(self.faults)

    def rows(self) -> list[dict[str, Any]]:
        """A row a fault: sample, path, reason, what, kept."""
        return [
            {"sample": fault.sample_id, "path": fault.path, "reason": fault.reason, "what": fault.what, "kept": fault.kept}
            for fault in self.faults
        ]

    def write(self, path: str) -> None:
        """The rows as JSON, one a line."""
        with open(path, "w", encoding="utf-8") as file:
            for row in self.rows():
                file.write(json.dumps(row, ensure_ascii=True) + "\n")


def by_reason(faults: Iterable[Fault]) -> dict[str, int]:
    """How many there are of each reason, the most frequent first."""
    return dict(Counter(fault.reason for fault in faults).most_common())


class ClipLoader:
    """Plans and decodes the clips of samples. Safe in several threads at once.

    counters: "probes", "decodes", "unreadable", "truncated_kept", "duration_mismatch".
    """

    def __init__(self, config: VideoConfig, geometry: Geometry) -> None:
        self.config = config
        self.geometry = geometry
        self.counters: Counter[str] = Counter()
        self.quarantine = Quarantine()
        self._known: dict[tuple[object, ...], VideoInfo | VideoError] = {}
        self._lock = threading.Lock()

    def info(self, path: str, picture_fps: float | None = None) -> VideoInfo:
        """What is known of a video; each file is probed once as long as its size and time of change stay. Raises VideoError.

        picture_fps: the rate of a folder of numbered pictures, where it is not the configuration's."""
        picture_fps = picture_fps or self.config.picture_fps
        key = (*_signature(path), picture_fps)
        with self._lock:
            known = self._known.get(key)
        if known is None:
            try:
                known = probe(path, picture_fps=picture_fps)
            except VideoError as error:
                known = error
            with self._lock:
                if len(self._known) >= PROBES_KEPT:
                    self._known.clear()
                self._known[key] = known
                self.counters["probes"] += 1
        if isinstance(known, VideoError):
            raise VideoError(known.reason, known.what, known.mend)
        return known

    def duration_s(self, sample: Sample) -> float | None:
        """The length of what the sample is about: as annotated, else that of its video or window; None where neither is known."""
        if sample.duration_s is not None:
            return sample.duration_s
        try:
            whole_s = self._info_of(sample).duration_s
        except VideoError:
            return None
        start_s, end_s = window_of(sample) or (0.0, whole_s)
        return max(0.0, min(end_s, whole_s) - start_s)

    def plan(self, task: Task, sample: Sample) -> FramePlan:
        """The frames that the sample's task needs; nothing is decoded but what a probe looks at. Raises VideoError."""
        return self._plan(self._info_of(sample), task, sample)

    def _info_of(self, sample: Sample) -> VideoInfo:
        return self.info(sample.video, picture_fps_of(sample))

    def _plan(self, info: VideoInfo, task: Task, sample: Sample) -> FramePlan:
        return plan_frames(info, self.config, self.geometry, task.seconds(sample), window_of(sample))

    def load(self, task: Task, sample: Sample) -> Clip:
        """The sample's clip. A video that cannot be used is noted in `quarantine` and raised as VideoError."""
        try:
            info = self._info_of(sample)
            plan = self._plan(info, task, sample)
            self.note(sample, info)
            with self._lock:
                self.counters["decodes"] += 1
            return decode(info, plan, threads=self.config.decoder_threads, keep_truncated=self.config.on_truncated == "keep")
        except VideoError as error:
            with self._lock:
                self.counters["unreadable"] += 1
            self.quarantine.add(sample, error.reason, error.what)
            raise

    def note(self, sample: Sample, info: VideoInfo | None = None) -> None:
        """Lists what is odd about a sample's video and used all the same. info: what is known of it. Raises VideoError without that."""
        info = info or self._info_of(sample)
        if info.truncated and self.config.on_truncated == "keep":
            with self._lock:
                self.counters["truncated_kept"] += 1
            self.quarantine.add(sample, "truncated", f"{info.path} ends at {info.duration_s:.1f} s of {info.declared_s:.1f} s.", kept=True)
        stated_s = None if window_of(sample) else sample.duration_s  # that of a window is its own
        if stated_s is not None and abs(stated_s - info.duration_s) > max(0.5, 0.1 * info.duration_s):
            with self._lock:
                self.counters[DURATION_MISMATCH] += 1
            what = f"{info.path} is {info.duration_s:.1f} s long, its annotation says {stated_s:.1f} s."
            self.quarantine.add(sample, DURATION_MISMATCH, what, kept=True)


def picture_fps_of(sample: Sample) -> float | None:
    """The rate of a sample's folder of pictures, where the data set states it (meta "picture_fps"); None where it does not."""
    rate = sample.meta.get("picture_fps")
    return float(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) and 0.0 < rate < 1e4 else None


def _signature(path: str) -> tuple[object, ...]:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return (path,)
    return path, stat.st_size, stat.st_mtime_ns, stat.st_ino


def prefetch(loader: ClipLoader, items: Iterable[Item], ahead: int, threads: int) -> Iterator[tuple[Item, Clip | VideoError]]:
    """Each (task, sample) with its clip, or with the reason why there is none; in order, at most `ahead` clips decoded early.

    Raises VideoError where the configuration says to stop at the first video that cannot be used. The threads end with the iterator,
    whether it is read to its end, closed or dropped; items are taken as they are needed.
    """
    waiting: deque[tuple[Item, Future[Clip]]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="decode", initializer=helpers_begin())
    try:
        while True:
            while len(waiting) < max(1, ahead):
                item = next(source, None)
                if item is None:
                    break
                waiting.append((item, pool.submit(loader.load, *item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            try:
                result: Clip | VideoError = future.result()
            except VideoError as error:
                if loader.config.on_unreadable == "stop":
                    raise
                result = error
            yield item, result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
