"""Samples as rows of the canonical JSONL, as a file of them, and as a short hash of what they say."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from videochat_r1.errors import EnvironmentFault
from videochat_r1.types import Sample


def row_of(sample: Sample, videos: str = "") -> dict[str, Any]:
    """A sample as a row of the canonical form; its video relative to the folder `videos` where it lies below it."""
    video = sample.video
    if videos:
        prefix = os.path.join(videos, "")
        video = video.removeprefix(prefix)
    row: dict[str, Any] = {"id": sample.id, "task": sample.task, "video": video, "question": sample.question}
    if sample.options:
        row["options"] = list(sample.options)
    truth = sample.truth
    answer = {
        "spans": None if truth.spans is None else [list(span) for span in truth.spans],
        "boxes": None if truth.boxes is None else [list(box) for box in truth.boxes],
        "times_s": None if truth.times_s is None else list(truth.times_s),
        "choice": truth.choice,
        "label": truth.label,
        "events": None if truth.events is None else list(truth.events),
        "caption": truth.caption,
    }
    row["answer"] = {name: value for name, value in answer.items() if value is not None}
    if sample.duration_s is not None:
        row["duration_s"] = sample.duration_s
    if sample.meta:
        row["meta"] = dict(sample.meta)
    return row


def write_rows(samples: Iterable[Sample], path: Path, videos: str = "") -> None:
    """Writes samples as canonical JSONL: whole or not at all; a link stays, and what it leads to is replaced. Raises EnvironmentFault where
    it cannot, and for a device or a pipe, which a rename would put an end to."""
    if path.exists() and not path.is_file():
        raise EnvironmentFault(f"Cannot write {path}: it is not a file.", "Choose the name of a file; what is there stays as it is.")
    path = Path(os.path.realpath(path))
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "w", encoding="utf-8", newline="\n") as file:
            for sample in samples:
                file.write(json.dumps(row_of(sample, videos)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # of a disk that is read-only
            unfinished.unlink(missing_ok=True)
        raise EnvironmentFault(
            f"Cannot write {path}: {error.strerror or error}.", "Choose a folder that exists and can be written."
        ) from None


def fingerprint(samples: Iterable[Sample]) -> str:
    """A short hash of what the samples say, in their order: the same data give the same one, wherever their files lie."""
    digest = hashlib.blake2b(digest_size=16)
    for sample in samples:
        row = row_of(sample)
        row["video"] = os.path.basename(sample.video)
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
