"""LongVideoBench: questions that refer to a moment of a video of 8 s to an hour, with its subtitles.

lvb_val.json: {"video_id": "86CxyhFV9MI", "question": "In the video, which subtitles appear at the same time as ...?",
"candidates": ["...", ...], "correct_choice": 1, "position": [854], "topic_category": "NP-News-Programs", "question_category": "TOS",
"level": "L2-Relation", "id": "86CxyhFV9MI_0", "video_path": "86CxyhFV9MI.mp4", "subtitle_path": "86CxyhFV9MI_en.json",
"duration_group": 600, "starting_timestamp_for_subtitles": 0, "duration": 190.16, ...}. The Parquet table on the hub has the candidates as
option0 .. option4, "N/A" where there are fewer.

Wu et al. 2024, arXiv:2407.15754 (longvideobench/LongVideoBench on the hub; github.com/longvideobench/LongVideoBench). The official prompt
puts each subtitle between the frames that it covers; here they stand before the question, in order. Figures by duration_group (15, 60, 600
and 3600 seconds at most), level and category, as published. The test file has no answers; its server scores it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base import Dataset, DataSource, Row, named_groups, positive, read_rows, row_with_choice, subtitles_of, text_id

NO_OPTION = "N/A"
OPTIONS = 5


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each question."""
    for item in read_rows(Path(source.annotations)):
        if isinstance(item.value, dict):
            yield _row(source, item.value, item.line)
        else:
            yield Row(item.value, item.line)


def _row(source: DataSource, entry: dict[str, Any], line: int) -> Row:
    start_s = positive(entry.get("starting_timestamp_for_subtitles")) or 0.0
    spoken, findings = subtitles_of(source, entry.get("subtitle_path"), start_s)
    groups = named_groups(duration=text_id(entry.get("duration_group")), level=entry.get("level"), category=entry.get("question_category"))
    value = {
        "id": entry.get("id"),
        "video": entry.get("video_path"),
        "question": entry.get("question"),
        "options": entry.get("candidates", _columns(entry)),
        "duration_s": entry.get("duration"),
        "meta": {"groups": groups} | ({"subtitles": spoken} if spoken else {}),
    }
    return row_with_choice(value, entry.get("correct_choice"), line, findings, counted_from_0=True)


def _columns(entry: dict[str, Any]) -> list[Any] | None:
    """option0 .. option4 up to the first that is not there."""
    options = []
    for number in range(OPTIONS):
        option = entry.get(f"option{number}")
        if option is None or option == NO_OPTION:
            break
        options.append(option)
    return options or None


DATASET = Dataset(name="longvideobench", task="video_qa", rows=rows, tasks=("video_qa",))
