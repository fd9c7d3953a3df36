"""DREAM-1K: 1,000 short clips with several events each, a description of each and its list of events.

Two forms. metadata.json of the hub (omni-research/DREAM-1K): {"idx": 1, "video_file": "video/1.mp4", "source": "movie_animation",
"duration": 5.09, "description": "A character emerges ...", "events": ["A character emerges from smoke.", ...], "n_events": 5, ...}.
DREAM-1k.jsonl of the judge's code (github.com/bytedance/tarsier, data/annotations): {"idx": 1, "dataset": "DREAM/movie_animation",
"text": {"prompt": "...", "response": "A character emerges ..."}, "video_file": "<placeholder>", "extra_info": {"duration": 5.09,
"events": [...], ...}, "vid": 1}.

Wang et al. 2024 (Tarsier), arXiv:2407.00634. A row that names no file is taken to mean IDX.mp4. Figures by source, as published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base import Dataset, DataSource, Row, named_groups, read_items, text_id


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each clip."""
    for item in read_items(Path(source.annotations), "list"):
        entry = item.value
        if not isinstance(entry, dict):
            yield Row(entry, item.line)
            continue
        is_judges = isinstance(entry.get("extra_info"), dict) and isinstance(entry.get("text"), dict)
        about = entry["extra_info"] if is_judges else entry
        collection = entry.get("dataset") if is_judges else entry.get("source")
        name, video = text_id(entry.get("idx")), entry.get("video_file")
        if video is None or video == "<placeholder>":
            video = f"{text_id(entry.get('vid', entry.get('idx')))}.mp4" if isinstance(name, str) else video
        value = {
            "id": name,
            "video": video,
            "question": "",
            "answer": {
                "events": _events(about.get("events")),
                "caption": entry["text"].get("response") if is_judges else entry.get("description"),
            },
            "duration_s": about.get("duration"),
            "meta": {"groups": named_groups(source=collection.rpartition("/")[2] if isinstance(collection, str) else collection)},
        }
        yield Row(value, item.line)


def _events(value: Any) -> Any:
    """The list of events; a text that spells one as JSON, as a table of texts would hold it, is read."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


DATASET = Dataset(name="dream1k", task="captioning", rows=rows, tasks=("captioning", "description"))
