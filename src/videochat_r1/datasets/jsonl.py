"""Our own form, for data of your own: a row a question, JSONL or a JSON list.

{"id": "a1", "task": "temporal_grounding", "video": "kitchen/a1.mp4", "question": "someone opens the fridge",
 "answer": {"spans": [[3.2, 5.0]]}, "duration_s": 12.5, "meta": {}}

answer, by task: {"spans": [[start, end], ...]} in seconds; {"boxes": [[x0, y0, x1, y1], ...], "times_s": [...]}, normalised to 0..1;
{"choice": "C"} with options; both of choice and spans; {"label": "low quality"}; {"events": [...], "caption": "..."}.
options, duration_s and meta may be left out. The keys are those of videochat_r1.types.Sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from videochat_r1.datasets.base import Dataset, DataSource, Row, read_items


def rows(source: DataSource) -> Iterator[Row]:
    """The rows as they are."""
    for item in read_items(Path(source.annotations), "list"):
        yield Row(item.value, item.line)


DATASET = Dataset(name="jsonl", task="", rows=rows)
