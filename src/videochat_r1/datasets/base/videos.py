"""Where the videos of a data set lie, which are not there, and why they probably are not."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from videochat_r1.spelling import near

EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts")
WALK_LIMIT = 200_000  # names looked at when missing videos are searched for in other folders


def video_path(folder: str, name: str, extension: str = "") -> str:
    """Where a video lies: `name` under `folder`, with its ending replaced where `extension` says so ("mkv" and ".mkv" are the same)."""
    if extension and PurePosixPath(name).suffix.lower() in EXTENSIONS:
        name = str(PurePosixPath(name).with_suffix("." + extension.lstrip(".")))
    return os.path.join(folder, name) if folder else name


def likely_folder(folder: str, annotations: str) -> str:
    """The folder that was probably meant by one that is not there: a name beside it that a slip of the fingers turns into it, or the folder
    of that name, or of videos, beside the annotations; "" for none."""
    parent, name = os.path.split(folder.rstrip(os.sep))
    beside = [entry for entry in _names(parent or ".") if os.path.isdir(os.path.join(parent, entry))]
    own = os.path.dirname(annotations)
    likely = [os.path.join(parent, close) for close in near(name, beside, 1)]
    likely += [os.path.join(own, other) for other in (name, "videos") if other]
    return next((path for path in likely if os.path.isdir(path)), "")


def likely_causes(folder: str, missing: Iterable[str]) -> dict[str, int]:
    """Why videos are missing: cause and mend -> how many, the commonest first.

    missing: paths as `video_path` gave them. Looks for the same name with another ending, in another case, and in other folders below
    `folder` and beside it."""
    listed: dict[str, dict[str, str]] = {}  # folder -> lower-case stem -> name
    elsewhere: dict[str, str] | None = None
    causes: Counter[str] = Counter()
    for path in missing:
        parent, name = os.path.split(path)
        stem = Path(name).stem
        if parent not in listed:
            listed[parent] = {Path(entry).stem.lower(): entry for entry in _names(parent)}
        other = listed[parent].get(stem.lower())
        has_ending = Path(name).suffix.lower() in EXTENSIONS  # only then does video_ext change it
        if other is not None and (has_ending or Path(other).stem != stem):
            ending = Path(other).suffix
            causes[
                f"found as {ending} (set video_ext = {ending})" if Path(other).stem == stem else "found in another case (rename the files)"
            ] += 1
            continue
        if elsewhere is None:
            elsewhere = _below(folder) | _below(os.path.dirname(os.path.abspath(folder)), levels=3)
        found = elsewhere.get(name)
        if found is None and other is not None:
            causes[f"found as {Path(other).suffix} (write the ending into the annotations)"] += 1
        elif found is None:
            causes["not found (never fetched, or taken down)"] += 1
        else:
            tail = os.path.relpath(path, folder)
            base = found[: -len(tail) - 1] if found.endswith(os.sep + tail) else ""
            causes[
                f"found under {base} (set videos = {base})"
                if base
                else f"found in {os.path.dirname(found)} (the layout differs from the annotations')"
            ] += 1
    return dict(causes.most_common())


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (OSError, ValueError):
        return []


def _below(folder: str, levels: int = 4) -> dict[str, str]:
    """Name -> path of what lies in `folder` and, breadth first, some levels below."""
    found: dict[str, str] = {}
    level = [folder]
    for _ in range(levels):
        deeper = []
        for parent in level:
            try:
                with os.scandir(parent) as entries:
                    for entry in entries:
                        found.setdefault(entry.name, entry.path)
                        if entry.is_dir(follow_symlinks=False):
                            deeper.append(entry.path)
            except (OSError, ValueError):
                continue
            if len(found) > WALK_LIMIT:
                return found
        level = deeper
    return found
