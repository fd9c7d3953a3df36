"""Whether a training set and a test set share anything."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from videochat_r1.counting import counted
from videochat_r1.datasets.base.defects import printable
from videochat_r1.errors import DataError
from videochat_r1.types import Sample

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Overlap:
    """What two sets share, each sorted."""

    ids: tuple[str, ...]  # of samples
    videos: tuple[str, ...]  # by name: the file's, without folder and ending
    contents: tuple[tuple[str, str], ...]  # (training file, test file) of the same bytes under other names

    def __bool__(self) -> bool:
        return bool(self.ids or self.videos or self.contents)

    def stop(self, train: str, test: str, mend: str = "") -> None:
        """Raises DataError, naming both files, where anything is shared. mend: what else a user may do."""
        if not self:
            return
        parts = [counted(len(self.ids), "sample id"), counted(len(self.videos), "video")]
        parts += [f"{counted(len(self.contents), 'video')} under {'another name' if len(self.contents) == 1 else 'other names'}"]
        first = printable(next(iter((*self.ids, *self.videos, *(pair[0] for pair in self.contents)))))
        what = f"{train} and {test} share {', '.join(part for part in parts if not part.startswith('0 '))}; the first: {first}."
        advice = "Figures on data that were trained on say nothing: take a test set that shares no video with the training set."
        raise DataError(what, f"{advice} {mend}".rstrip())


def overlap(train: Sequence[Sample], test: Sequence[Sample], *, by_content: bool = False) -> Overlap:
    """What a training and a test set share by sample id and by the name of the video; with `by_content` also by the bytes of the video
    files that are there (only files of equal size are read)."""
    train_videos, test_videos = _by_name(train), _by_name(test)
    ids = {sample.id for sample in train} & {sample.id for sample in test}
    names = train_videos.keys() & test_videos.keys()
    contents = _same_content(train_videos.values(), test_videos.values()) if by_content else []
    others = [(a, b) for a, b in contents if Path(a).stem != Path(b).stem]
    return Overlap(tuple(sorted(ids)), tuple(sorted(names)), tuple(sorted(others)))


def _by_name(samples: Sequence[Sample]) -> dict[str, str]:
    return {Path(video).stem: video for video in {sample.video for sample in samples}}


def _same_content(train: Iterable[str], test: Iterable[str]) -> list[tuple[str, str]]:
    train_sizes, test_sizes = _by_size(train), _by_size(test)
    same = []
    for size in train_sizes.keys() & test_sizes.keys():
        hashed: dict[bytes, list[str]] = defaultdict(list)
        for path in train_sizes[size]:
            hashed[_digest(path)].append(path)
        same += [(path, other) for other in test_sizes[size] for path in hashed.get(_digest(other), [])]
    return same


def _by_size(videos: Iterable[str]) -> dict[int, list[str]]:
    """Size in bytes -> files. A folder of pictures stands for its first picture."""
    sizes: dict[int, list[str]] = defaultdict(list)
    for video in videos:
        path = _file_of(video)
        try:
            sizes[os.stat(path).st_size].append(video)
        except (OSError, ValueError):
            continue
    sizes.pop(0, None)
    return sizes


def _file_of(video: str) -> str:
    if not os.path.isdir(video):
        return video
    pictures = sorted(name for name in os.listdir(video) if name.lower().endswith((".jpg", ".jpeg", ".png")))
    return os.path.join(video, pictures[0]) if pictures else ""


def _digest(video: str) -> bytes:
    digest = hashlib.blake2b()
    try:
        with open(_file_of(video), "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return os.urandom(16)  # equal to nothing
    return digest.digest()
