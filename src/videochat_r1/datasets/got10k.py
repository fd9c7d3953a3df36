"""GOT-10k: one object to follow through each sequence. Read from two forms.

The JSON of VideoChat-R1: eight boxes a sequence, normalised x0 y0 x1 y1 with three decimals, no times.
    {"path": ".../GOT-10k/val/GOT-10k_Val_000010", "object": "sloth", "gt": [[0.093, 0.0, 0.8, 0.797], ...]}
The official folders, of which `annotations` names the parent (val, or the one above it):
    GOT-10k_Val_000001/{00000001.jpg ..., groundtruth.txt (x,y,w,h in pixels, a line a frame), absence.label, cover.label, meta_info.ini}
Huang et al. 2019, arXiv:1810.11981; ten annotated frames a second. Ids are the sequences' names.

When the eight boxes were taken is not said. In the released file the second lies next to the first (mean shift of the centre 0.014) and the
others lie equally far apart (0.09 to 0.11 each), so the assumption is: the first frame, the one after it, and then every sixth of the
sequence up to its last frame. Where the official folder lies under `videos`, the assumption is not needed: the boxes are looked up in
groundtruth.txt. Either way `meta` says so."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videochat_r1.datasets.base import Dataset, DataSource, Item, Row, read_items
from videochat_r1.datasets.base.videos import video_path
from videochat_r1.errors import DataError

FRAMES_PER_SECOND = 10.0
BOXES = 8
FRACTIONS = (0.0, 0.0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0)
"""Where in its sequence each box of the released JSON is assumed to lie; the second is one frame after the first."""

DECIMALS = 4
"""Of boxes that are read in pixels: a fifth of a pixel at most, and a prompt that can be read."""

_SEQUENCE = re.compile(r"GOT-10k_\w+")
_NUMBERS = re.compile(r"[,\s]+")
_PICTURES = (".jpg", ".jpeg", ".png")
_KNOWN = frozenset({"path", "object", "gt"})


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each sequence."""
    path = Path(source.annotations)
    if path.is_dir():
        yield from _official(path, source)
    else:
        for item in read_items(path, "list"):
            yield _released(item, source)


# The JSON with eight boxes ----------------------------------------------------------------------------------------------------------------


def _released(item: Item, source: DataSource) -> Row:
    entry = item.value
    if not isinstance(entry, dict):
        return Row(entry, item.line)
    findings = [("field_unknown", f"the released GOT-10k file has no field {key!r}") for key in entry if key not in _KNOWN]
    path, boxes = entry.get("path"), entry.get("gt")
    name: Any = path
    if isinstance(path, str):
        parts = [part for part in re.split(r"[\\/]", path) if part]
        name = next((part for part in reversed(parts) if _SEQUENCE.fullmatch(part)), parts[-1] if parts else "")
        if path.startswith(("/", "\\")) or path[1:2] == ":":
            findings.append(("path_foreign", f"{path[:100]!r} is read as {name}"))
    value: dict[str, Any] = {"id": name, "video": name, "question": entry.get("object"), "answer": {"boxes": boxes}, "meta": {}}
    times: dict[str, Any] = {"box_times": "assumed", "box_fractions": list(FRACTIONS)}
    folder = video_path(source.videos, name) if source.videos and isinstance(name, str) else ""
    if folder and "\0" not in folder and os.path.isdir(folder):
        sequence = _Sequence(Path(folder))
        normalised = _eight(boxes)
        frames = sequence.place(normalised) if normalised is not None else None
        if frames is None and normalised is not None and sequence.boxes_T4 is not None:
            findings.append(("boxes_unplaced", "the eight boxes do not follow each other in groundtruth.txt"))
        matched = frames is not None
        frames = frames or assumed_frames(sequence.frames)
        if frames:
            times = {"box_times": "matched" if matched else "assumed", "box_frames": frames}
            if normalised is not None:
                value["answer"]["times_s"] = [frame / FRAMES_PER_SECOND for frame in frames]
        if sequence.frames:
            value["duration_s"] = sequence.frames / FRAMES_PER_SECOND
    value["meta"] = times
    return Row(value, item.line, tuple(findings), boxes_due=BOXES)


def _eight(boxes: Any) -> NDArray[np.float64] | None:
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if array.shape == (BOXES, 4) and bool(np.isfinite(array).all()) else None


def assumed_frames(count: int) -> list[int]:
    """The frames that the eight boxes of a sequence of `count` frames are assumed to lie on; none where it is too short for that."""
    frames = [round(fraction * (count - 1)) for fraction in FRACTIONS]
    frames[1] = 1
    return frames if all(early < late for early, late in zip(frames, frames[1:], strict=False)) else []


def matched_frames(boxes_K4: NDArray[np.float64], truth_T4: NDArray[np.float64], slack_4: NDArray[np.float64]) -> list[int] | None:
    """The frames, each later than the one before, whose boxes in `truth_T4` are the given ones, to within `slack_4` in each corner.

    The least sum of errors over all rising choices, by dynamic programming in K x T steps. Where an object stands still and several frames
    fit equally, those nearest to the assumed places are taken. None where there is no such choice."""
    count = len(truth_T4)
    if count < len(boxes_K4):
        return None
    errors_KT = np.abs(boxes_K4[:, None, :] - truth_T4[None, :, :]) / slack_4
    cost_KT = np.where((errors_KT <= 1.0).all(axis=2), errors_KT.max(axis=2), np.inf)
    expected = np.linspace(0.0, count - 1, len(boxes_K4)) if len(boxes_K4) != BOXES else np.array(FRACTIONS) * (count - 1)
    cost_KT = cost_KT + 1e-6 * np.abs(np.arange(count)[None, :] - expected[:, None]) / count
    total_T, back_KT = cost_KT[0], np.zeros(cost_KT.shape, dtype=np.int64)
    for k in range(1, len(cost_KT)):
        least_T = np.minimum.accumulate(total_T)
        places_T = np.maximum.accumulate(np.where(total_T == least_T, np.arange(count), 0))
        total_T = np.concatenate(([np.inf], least_T[:-1] + cost_KT[k][1:]))
        back_KT[k, 1:] = places_T[:-1]
    last = int(np.argmin(total_T))
    if not np.isfinite(total_T[last]):
        return None
    frames = [last]
    for k in range(len(cost_KT) - 1, 0, -1):
        frames.append(int(back_KT[k, frames[-1]]))
    return frames[::-1]


# The official folders ---------------------------------------------------------------------------------------------------------------------


class _Sequence:
    """One official folder; what is not there or not readable is None, empty or 0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = sorted(name for name in os.listdir(folder) if name.lower().endswith(_PICTURES))
        self.boxes_T4 = _table(folder / "groundtruth.txt", 4)
        self.info = _info(folder / "meta_info.ini")
        self.frames = max(len(self.pictures), 0 if self.boxes_T4 is None else len(self.boxes_T4))
        self.size = _resolution(self.info.get("resolution", "")) or (_picture_size(folder / self.pictures[0]) if self.pictures else None)

    def normalised_T4(self) -> NDArray[np.float64] | None:
        """x0, y0, x1, y1 of each frame, in 0..1 of the picture."""
        if self.boxes_T4 is None or self.size is None:
            return None
        corners = np.concatenate((self.boxes_T4[:, :2], self.boxes_T4[:, :2] + self.boxes_T4[:, 2:]), axis=1)
        return corners / np.array([*self.size, *self.size], dtype=np.float64)

    def place(self, boxes_K4: NDArray[np.float64]) -> list[int] | None:
        """The frames of normalised boxes that were rounded to three decimals; a pixel of slack for whether pixels count from 0 or 1."""
        truth = self.normalised_T4()
        if truth is None or self.size is None:
            return None
        slack = 0.0005 + 1.0 / np.array([*self.size, *self.size])
        return matched_frames(boxes_K4, np.clip(truth, 0.0, 1.0), slack)

    def visible(self) -> NDArray[np.bool_]:
        """Whether the object is seen in each frame: not absent, and not wholly covered (the official toolkit leaves out cover = 0)."""
        assert self.boxes_T4 is not None
        seen = np.ones(len(self.boxes_T4), dtype=bool)
        for name, hidden in (("absence.label", 1), ("cover.label", 0)):
            labels = _table(self.folder / name, 1)
            if labels is not None and len(labels) == len(seen):
                seen &= labels[:, 0] != hidden
        return seen


def _official(root: Path, source: DataSource) -> Iterator[Row]:
    folders = _sequences(root)
    if not folders:
        raise DataError(
            f"{root} holds no sequence: no folder in it has a groundtruth.txt.",
            "Give the folder that holds GOT-10k_Val_000001 and the others.",
        )
    for folder in folders:
        yield _sequence_row(folder, folder.relative_to(root).as_posix(), source)


def _sequence_row(folder: Path, relative: str, source: DataSource) -> Row:
    sequence = _Sequence(folder)
    normalised = sequence.normalised_T4()
    if sequence.boxes_T4 is None:
        return Row(None, 0, (("row_malformed", f"{relative}/groundtruth.txt does not hold four numbers a line"),), folder.name)
    if normalised is None:
        detail = f"the size of {relative}'s pictures is not known: no resolution in meta_info.ini, and no picture that can be read"
        return Row(None, 0, (("field_missing", detail),), folder.name)
    findings = []
    if len(sequence.pictures) != len(normalised):
        findings.append(("frames_differ", f"{len(sequence.pictures)} pictures, {len(normalised)} lines in groundtruth.txt"))
    if "object_class" not in sequence.info:
        return Row(None, 0, (*findings, ("field_missing", f"{relative}/meta_info.ini names no object_class")), folder.name)
    frames = chosen_frames(sequence.visible(), source.boxes_per_sequence)
    value = {
        "id": folder.name,
        "video": relative if source.videos else str(folder),
        "question": sequence.info["object_class"],
        "answer": {"boxes": np.round(normalised[frames], DECIMALS).tolist(), "times_s": [frame / FRAMES_PER_SECOND for frame in frames]},
        "meta": {"box_times": "annotated", "box_frames": frames},
        "duration_s": sequence.frames / FRAMES_PER_SECOND,
    }
    return Row(value, 0, tuple(findings))


def chosen_frames(visible_T: NDArray[np.bool_], count: int) -> list[int]:
    """The frames whose boxes are asked for: `count` places evenly over the sequence, each moved to the nearest frame in which the object is
    seen; 0 takes every such frame. Fewer where frames fall together."""
    seen = np.flatnonzero(visible_T)
    if count == 0 or len(seen) <= count:
        return [int(frame) for frame in seen]
    places = np.linspace(0, len(visible_T) - 1, count)
    nearest = [int(seen[np.argmin(np.abs(seen - place))]) for place in places]
    return sorted(set(nearest))


def _sequences(root: Path) -> list[Path]:
    for pattern in ("*/groundtruth.txt", "*/*/groundtruth.txt"):
        found = sorted(path.parent for path in root.glob(pattern))
        if found:
            return found
    return [root] if (root / "groundtruth.txt").is_file() else []


def _table(path: Path, columns: int) -> NDArray[np.float64] | None:
    """Numbers in lines of `columns`, parted by commas or blanks."""
    try:
        lines = path.read_text("utf-8", errors="replace").split("\n")
        numbers = [[float(word) for word in _NUMBERS.split(line.strip()) if word] for line in lines if line.strip()]
        table = np.array(numbers, dtype=np.float64).reshape(-1, columns)
    except (OSError, ValueError):
        return None
    return table if len(table) == len(numbers) and len(table) > 0 else None


def _info(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    pairs = [re.split(r"[:=]", line, maxsplit=1) for line in lines if ":" in line or "=" in line]
    return {pair[0].strip().lower(): pair[1].strip() for pair in pairs}


def _resolution(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"\D*(\d{1,6})\D+(\d{1,6})\D*", text)
    size = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    return size if min(size) > 0 else None


def _picture_size(path: Path) -> tuple[int, int] | None:
    """(width, height) from the picture's header; nothing is decoded."""
    import av  # heavy, and needed only where meta_info.ini says no size

    try:
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            return (context.width, context.height) if context.width and context.height else None
    except (OSError, ValueError, IndexError, av.error.FFmpegError):
        return None


DATASET = Dataset(name="got10k", task="tracking", rows=rows, tasks=("tracking",))
