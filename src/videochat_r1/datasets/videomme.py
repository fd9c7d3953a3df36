"""Video-MME: 900 videos of 11 s to an hour, three questions each, with and without subtitles.

Parquet columns (or the same keys in JSON): video_id "001", duration "short" | "medium" | "long", domain, sub_category, url, videoID (the
name of the file), question_id "001-1", task_type, question, options ["A. ...", ...], answer "A".

Fu et al. 2024, arXiv:2405.21075; the columns are those of lmms-lab/Video-MME on the hub. Videos are VIDEOID.mp4; subtitles, where the
source names their folder, VIDEOID.srt. Figures by length (`accuracy/short` and so on), by domain and by type of task, as published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base import Dataset, DataSource, Row, named_groups, read_rows, subtitles_of


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each question."""
    for item in read_rows(Path(source.annotations)):
        entry = item.value
        if not isinstance(entry, dict):
            yield Row(entry, item.line)
            continue
        video = entry.get("videoID")
        spoken, findings = subtitles_of(source, f"{video}.srt" if isinstance(video, str) else video)
        groups = named_groups(duration=entry.get("duration"), domain=entry.get("domain"), type=entry.get("task_type"))
        meta: dict[str, Any] = {"groups": groups} | ({"subtitles": spoken} if spoken else {})
        value = {
            "id": entry.get("question_id"),
            "video": f"{video}.mp4" if isinstance(video, str) and video.strip() else video,
            "question": entry.get("question"),
            "options": entry.get("options"),
            "answer": {"choice": entry.get("answer")},
            "meta": meta,
        }
        yield Row(value, item.line, findings)


DATASET = Dataset(name="videomme", task="video_qa", rows=rows, tasks=("video_qa",))
