"""Annotation files for tests: the official ones beside the repository, and small clean ones that are written on the spot."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from videochat_r1.datasets.base import DataSource, Loaded, read_samples

ANNOTATIONS = Path(__file__).parents[2] / "../shared/data/annotations"

OFFICIAL = {
    "charades_sta/train.json": ("charades_sta", "train"),
    "charades_sta/test.json": ("charades_sta", "test"),
    "activitynet_captions/train.json": ("activitynet_captions", "train"),
    "activitynet_captions/test.json": ("activitynet_captions", "test"),
    "nextgqa/val.json": ("nextgqa", "test"),
    "got10k/val.json": ("got10k", "test"),
    "quality_access/train_100shot.json": ("quality_access", "train"),
    "quality_access/test.json": ("quality_access", "test"),
}


def official(file: str, **fields: Any) -> DataSource:
    """The source of an official file; skips the test where it is not there."""
    path = ANNOTATIONS / file
    if not path.is_file():
        pytest.skip(f"the official annotation file {file} is not beside the repository")
    name, split = OFFICIAL[file]
    return DataSource(**{"name": name, "annotations": str(path), "split": split, **fields})


@cache
def read_official(file: str) -> Loaded:
    """An official file, read once for all tests of a session."""
    return read_samples(official(file))


def source(name: str, path: Path, **fields: Any) -> DataSource:
    return DataSource(**{"name": name, "annotations": str(path), **fields})


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def captions(count: int = 3) -> dict[str, Any]:
    """A clean file of the Charades-STA form."""
    return {
        f"VID{number:02}": {
            "duration": 30.5,
            "timestamps": [[0.0, 6.9], [7.25, 30.5]],
            "sentences": [f"a person opens door {number}.", f"a person closes door {number}."],
        }
        for number in range(count)
    }


def questions(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the NExT-GQA form."""
    return [
        {
            "id": f"{number}_1",
            "video": f"0001/{number}.mp4",
            "question": "why did the boy run to the sofa",
            "options": ["(A) to sit", "(B) to hide", "(C) he was called", "(D) to find a toy", "(E) to sleep"],
            "duration": 90,
            "glue": [[13.8, 29.8], [40, 52.5]],
            "type": "CW",
            "answer": "(C)",
        }
        for number in range(count)
    ]


def tracks(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the released GOT-10k form."""
    return [
        {
            "path": f"GOT-10k/train/GOT-10k_Train_{number:06}",
            "object": "duck",
            "gt": [[round(0.05 * k, 3), 0.2, round(0.05 * k + 0.3, 3), 0.613] for k in range(8)],
        }
        for number in range(count)
    ]


def qualities(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the Quality Access form."""
    labels = ("low quality", "high quality")
    return [{"video": f"{number:04}.mp4", "instruction": "How about the quality?", "answer": labels[number % 2]} for number in range(count)]


def canonical(count: int = 2) -> list[dict[str, Any]]:
    """Clean rows of every task in our own form."""
    rows: list[dict[str, Any]] = []
    for n in range(count):
        common = {"video": f"a/{n}.mp4", "duration_s": 12.5, "meta": {"level": "easy", "n": n}}
        rows += [
            {"id": f"t{n}", "task": "temporal_grounding", "question": "a door opens", "answer": {"spans": [[3.2, 5]]}, **common},
            {
                "id": f"b{n}",
                "task": "tracking",
                "question": "cup",
                "answer": {"boxes": [[0, 0, 0.5, 1], [0.1, 0, 0.4, 1]], "times_s": [0, 2.5]},
                **common,
            },
            {"id": f"c{n}", "task": "video_qa", "question": "what", "options": ["red", "blue"], "answer": {"choice": "B"}, **common},
            {
                "id": f"g{n}",
                "task": "grounded_qa",
                "question": "what now",
                "options": ["(A) x", "(B) y"],
                "answer": {"choice": "A", "spans": [[0, 1]]},
                **common,
            },
            {"id": f"q{n}", "task": "quality", "question": "how good", "answer": {"label": "low quality"}, **common},
            {
                "id": f"d{n}",
                "task": "description",
                "question": "",
                "answer": {"events": ["a cup falls"], "caption": "A cup falls."},
                **common,
            },
        ]
    return rows


CLEAN = {
    "charades_sta": captions,
    "activitynet_captions": captions,
    "nextgqa": questions,
    "got10k": tracks,
    "quality_access": qualities,
    "jsonl": canonical,
}
