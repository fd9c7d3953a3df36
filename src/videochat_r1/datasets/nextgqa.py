"""NExT-GQA: why and how questions about daily videos, five options each, and the spans in which the answer is seen.

{"id": "4882821564_1", "video": "1104/4882821564.mp4", "question": "why did the boy ...", "options": ["(A) share with the girl", ...],
 "duration": 90, "glue": [[13.8, 29.8]], "type": "CW", "answer": "(C)"}

Xiao et al. 2024, arXiv:2309.01327, in the JSON form of VideoChat-R1 ("glue" are the spans). Options keep their letters.

Or in the official form (github.com/doc-doc/NExT-GQA, datasets/nextgqa): test.csv or val.csv with the columns video_id, frame_count, width,
height, question, answer (the text of an option), qid, type, a0 .. a4; beside it gsub_test.json {"10001787725": {"duration": 34,
"location": {"1": [[1.2, 5.8]], ...}, "fps": 29.97}, ...} and, where it is there, map_vid_vidorID.json {"10001787725": "1164/10001787725"}
with the folders of the videos. Ids are VIDEO_QID in both forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base import Dataset, DataSource, Row, read_items, read_rows, row_with_choice
from videochat_r1.errors import DataError
from videochat_r1.rewards.choices import LETTERS

OPTIONS = 5
_KNOWN = frozenset({"id", "video", "question", "options", "duration", "glue", "type", "answer"})


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each question."""
    if Path(source.annotations).suffix.lower() == ".csv":
        yield from _official(Path(source.annotations))
        return
    for item in read_items(Path(source.annotations), "list"):
        entry = item.value
        if not isinstance(entry, dict):
            yield Row(entry, item.line)
            continue
        value = {
            "id": entry.get("id"),
            "video": entry.get("video"),
            "question": entry.get("question"),
            "options": entry.get("options"),
            "answer": {"choice": entry.get("answer"), "spans": entry.get("glue")},
            "duration_s": entry.get("duration"),
            "meta": {"type": entry["type"]} if "type" in entry else {},
        }
        findings = tuple(("field_unknown", f"NExT-GQA has no field {key!r}") for key in entry if key not in _KNOWN)
        yield Row(value, item.line, findings, options_due=OPTIONS, duration_due=True)


def _official(path: Path) -> Iterator[Row]:
    """The rows of an official CSV file, with the spans of the file beside it."""
    spans = path.with_name(f"gsub_{path.stem}.json")
    if not spans.is_file():
        what = f"{path}: the spans of these questions are not beside it."
        raise DataError(what, f"Put {spans.name} into the same folder; it comes with the questions.")
    located = {item.key: item.value for item in read_items(spans, "object")}
    folders = path.with_name("map_vid_vidorID.json")
    videos = {item.key: item.value for item in read_items(folders, "object")} if folders.is_file() else {}
    for item in read_rows(path):
        entry = item.value
        if not isinstance(entry, dict):
            yield Row(entry, item.line)
            continue
        video, number = entry.get("video_id"), entry.get("qid")
        texts = [entry.get(f"a{place}") for place in range(OPTIONS)]
        about = located.get(video)
        about = about if isinstance(about, dict) else {}
        locations = about.get("location")
        value: dict[str, Any] = {
            "id": f"{video}_{number}" if video and number else None,
            "video": f"{videos.get(video, video)}.mp4" if video else None,
            "question": entry.get("question"),
            "options": texts,
            "duration_s": about.get("duration"),
            "meta": {"type": entry["type"]} if entry.get("type") else {},
        }
        row = row_with_choice(value, entry.get("answer"), item.line)
        if row.value is not None:
            row.value["options"] = [f"({LETTERS[place]}) {text}" for place, text in enumerate(texts)]
            row.value["answer"]["spans"] = locations.get(number) if isinstance(locations, dict) else None
        yield Row(row.value, item.line, row.findings, row.entry, options_due=OPTIONS, duration_due=True)


DATASET = Dataset(name="nextgqa", task="grounded_qa", rows=rows, tasks=("grounded_qa", "video_qa"))
