"""LVBench: questions about 103 videos of half an hour to two hours.

A line a video: {"key": "Cm73ma6Ibcs", "type": "cartoon", "video_info": {"duration_minutes": 31, ...}, "qa": [{"uid": "0",
"question": "What year appears in the opening caption of the video?\\n(A) 1636\\n(B) 1366\\n(C) 1363\\n(D) 1633", "answer": "A",
"question_type": ["key information retrieval"], "time_reference": "00:15-00:19"}, ...]}

Wang et al. 2024, arXiv:2406.08035; video_info.meta.jsonl of THUDM/LVBench on the hub, its fields as github.com/THUDM/LVBench counts them: a
question belongs to each of its question_type. Videos are KEY.mp4. Figures by question_type, as published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base import Dataset, DataSource, Row, named_groups, positive, read_items, text_id

_OPTION = re.compile(r"\n[ \t]*(?=\([A-Z]\))")


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each question."""
    for item in read_items(Path(source.annotations), "list"):
        entry = item.value if isinstance(item.value, dict) else {}
        questions = entry.get("qa")
        if not isinstance(questions, list) or not all(isinstance(question, dict) for question in questions):
            detail = "a line has key, and qa: a list of questions"
            name = entry.get("key")
            yield Row(None, item.line, (("row_malformed", detail),), name if isinstance(name, str) else "")
            continue
        for question in questions:
            yield _row(entry, question, item.line)


def _row(entry: dict[str, Any], asked: dict[str, Any], line: int) -> Row:
    video = entry.get("key")
    question, options = _parted(asked.get("question"))
    value = {
        "id": text_id(asked.get("uid")),
        "video": f"{video}.mp4" if isinstance(video, str) and video.strip() else video,
        "question": question,
        "options": options,
        "answer": {"choice": asked.get("answer")},
        "duration_s": _duration_s(entry.get("video_info")),
        "meta": {"groups": named_groups(type=asked.get("question_type")), "time_reference": asked.get("time_reference")},
    }
    return Row(value, line)


def _parted(question: Any) -> tuple[Any, list[str] | None]:
    """The question and its options, which stand on lines of their own below it."""
    if not isinstance(question, str):
        return question, None
    asked, *options = _OPTION.split(question)
    return asked.strip(), [option.strip() for option in options] or None


def _duration_s(info: Any) -> float | None:
    minutes = positive(info.get("duration_minutes")) if isinstance(info, dict) else None
    return 60.0 * minutes if minutes else None


DATASET = Dataset(name="lvbench", task="video_qa", rows=rows, tasks=("video_qa",))
