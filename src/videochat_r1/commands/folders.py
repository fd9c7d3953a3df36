"""What a folder holds before a command writes into it: no command lays its files among a model's, a run's or somebody's data."""

from __future__ import annotations

import os
import re
from pathlib import Path

from videochat_r1.errors import DataError, UsageError

MODEL = re.compile(r"(?:adapter_)?config\.json|.*\.safetensors")
ANSWERS = re.compile(r"answers(?:\.\d+)?\.jsonl")
ANSWERS_BEGIN = b'{"key":"'
LISTS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
PAGES = re.compile(r"report\.json|quarantine\.jsonl|results_.*\.json|samples_.*\.jsonl")
"""Lists that an evaluation makes anew each time; its predictions, scores and figures may be all that somebody has."""


def require_room_for_evaluation(folder: Path) -> None:
    """Raises UsageError where answers would be kept in a run's folder, a model's, or among data or predictions that are no evaluation's.
    Logs and notes may lie there."""
    if is_run(folder):
        raise UsageError(
            f"{folder} is a run: its own report would be replaced.", f"Give a folder of its own, such as --out {folder / 'evaluated'}."
        )
    if is_evaluation(folder):
        return
    if is_model(folder):
        what = f"{folder} is a model's folder"
    elif held := sorted(entry.name for entry in _entries(folder) if _is_data(entry)):
        what = f"{folder} holds {held[0]}{f' and {len(held) - 1:,} more' if len(held) > 1 else ''}, and is no evaluation's"
    else:
        return
    raise UsageError(f"{what}: answers are kept apart from it.", "Give --out a new or empty folder, or one of an earlier evaluation.")


def require_room_for_run(folder: Path) -> None:
    """Raises UsageError where a run would begin in the folder of an evaluation, whose pages it would replace, or of a model."""
    for what, is_that in (("an evaluation", is_evaluation), ("a model", is_model)):
        if is_that(folder):
            raise UsageError(f"{folder} is the folder of {what}: a run is kept apart from it.", "Give --out a new or empty folder.")


def require_room_for_world(folder: Path) -> None:
    """Raises UsageError where a world would be drawn into the folder of a run, an evaluation or a model."""
    for what, is_that in (("a run", is_run), ("an evaluation", is_evaluation), ("a model", is_model)):
        if is_that(folder):
            mend = f"Give --out a new or empty folder, such as {folder / 'world'}, or one of an earlier world."
            raise UsageError(f"{folder} is the folder of {what}: a world is kept apart from it.", mend)


def is_run(folder: Path) -> bool:
    return (folder / "run.json").exists()


def is_model(folder: Path) -> bool:
    return any(MODEL.fullmatch(entry.name) for entry in _entries(folder))


def is_evaluation(folder: Path) -> bool:
    """Whether an evaluation was kept or begun there."""
    from videochat_r1.evaluation.record import read_record

    try:
        return bool(read_record(folder))
    except DataError:
        return any(ANSWERS.fullmatch(entry.name) and _begins(entry) == ANSWERS_BEGIN for entry in _entries(folder))


def _is_data(entry: os.DirEntry[str]) -> bool:
    from videochat_r1.datasets.base.videos import EXTENSIONS

    name = entry.name.lower()
    if entry.is_dir():
        inside = _entries(Path(entry.path))
        return bool(inside) and (name == "base" or any(each.name.lower().endswith(EXTENSIONS) for each in inside))
    if ANSWERS.fullmatch(name):
        return not ANSWERS_BEGIN.startswith(_begins(entry))  # one that a kill cut short is ours too
    return name.endswith((*LISTS, *EXTENSIONS)) and not PAGES.fullmatch(name)


def _begins(entry: os.DirEntry[str]) -> bytes:
    try:
        with open(entry.path, "rb") as file:
            return file.read(len(ANSWERS_BEGIN))
    except OSError:
        return b""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies there, hidden files left out; nothing where there is no such folder, or it cannot be looked into."""
    try:
        return [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:
        return []
