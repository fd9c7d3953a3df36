"""NExT-GQA: why and how questions about daily videos, five options each, and the spans in which the answer is seen.

{"id": "4882821564_1", "video": "1104/4882821564.mp4", "question": "why did the boy ...", "options": ["(A) share with the girl", ...],
 "duration": 90, "glue": [[13.8, 29.8]], "type": "CW", "answer": "(C)"}

Xiao et al. 2024, arXiv:2309.01327, in the JSON form of VideoChat-R1 ("glue" are the spans). Options keep their letters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from videochat_r1.datasets.base import Dataset, DataSource, Row, read_items

OPTIONS = 5
_KNOWN = frozenset({"id", "video", "question", "options", "duration", "glue", "type", "answer"})


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each question."""
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


DATASET = Dataset(name="nextgqa", task="grounded_qa", rows=rows, tasks=("grounded_qa", "video_qa"))
