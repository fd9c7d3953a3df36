"""Perception Test, multiple-choice questions: what happens to objects in scripted home videos, three options each.

mc_question_valid.json: {"video_10909": {"metadata": {"video_id": "video_10909", "num_frames": 1052, "frame_rate": 29.97, ...},
"mc_question": [{"id": 0, "question": "...", "options": ["...", "...", "..."], "answer_id": 2, "area": "physics",
"reasoning": "descriptive", "tag": ["motion"]}, ...]}}. Or the table on the hub, with columns video_name, question, question_id, options,
answer_id, area, reasoning, tag.

Patraucean et al. 2023, arXiv:2305.13786 (github.com/google-deepmind/perception_test; lmms-lab/PerceptionTest_Val on the hub). Videos are
VIDEO.mp4. The test file has no answers; its server scores it. Figures by area and by kind of reasoning, as published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base import Dataset, DataSource, Row, named_groups, positive, read_items, read_rows, row_with_choice


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each question."""
    path = Path(source.annotations)
    if path.suffix.lower() in (".parquet", ".csv", ".tsv"):
        for item in read_rows(path):
            entry = item.value
            if not isinstance(entry, dict):
                yield Row(entry, item.line)
            else:
                yield _row(entry, entry.get("video_name"), entry.get("question_id"), None, item.line)
        return
    for item in read_items(path, "object"):
        entry = item.value if isinstance(item.value, dict) else {}
        questions = entry.get("mc_question")
        if not isinstance(questions, list) or not all(isinstance(question, dict) for question in questions):
            detail = "an entry has mc_question, a list of questions, and metadata"
            yield Row(None, item.line, (("row_malformed", detail),), item.key or "")
            continue
        for question in questions:
            yield _row(question, item.key, question.get("id"), _duration_s(entry.get("metadata")), item.line)


def _row(entry: dict[str, Any], video: Any, number: Any, duration_s: float | None, line: int) -> Row:
    is_named = isinstance(video, str) and video.strip() and isinstance(number, int | str) and not isinstance(number, bool)
    value = {
        "id": f"{video}/{number}" if is_named else None,
        "video": f"{video}.mp4" if isinstance(video, str) and video.strip() else video,
        "question": entry.get("question"),
        "options": entry.get("options"),
        "duration_s": duration_s,
        "meta": {"groups": named_groups(area=entry.get("area"), reasoning=entry.get("reasoning"))},
    }
    return row_with_choice(value, entry.get("answer_id"), line, counted_from_0=True)


def _duration_s(metadata: Any) -> float | None:
    """Frames over frames a second; None where the file does not say."""
    about = metadata if isinstance(metadata, dict) else {}
    frames, rate = positive(about.get("num_frames")), positive(about.get("frame_rate"))
    return frames / rate if frames and rate else None


DATASET = Dataset(name="perception_test", task="video_qa", rows=rows, tasks=("video_qa",))
