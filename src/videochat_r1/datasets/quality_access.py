"""Quality Access of VidTAB: is the video of low or of high quality?

{"video": "1378.mp4", "instruction": "How about the quality of the video ...", "answer": "low quality"}

VideoEval, arXiv:2407.06491, in the JSON form of VideoChat-R1. Ids are the file's name without its ending."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from videochat_r1.datasets.base import Dataset, DataSource, Row, read_items

LABELS = ("low quality", "high quality")
_KNOWN = frozenset({"video", "instruction", "answer"})


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each video."""
    for item in read_items(Path(source.annotations), "list"):
        entry = item.value
        if not isinstance(entry, dict):
            yield Row(entry, item.line)
            continue
        video = entry.get("video")
        value = {
            "id": PurePosixPath(video).stem if isinstance(video, str) else video,
            "video": video,
            "question": entry.get("instruction"),
            "answer": {"label": entry.get("answer")},
        }
        findings = tuple(("field_unknown", f"Quality Access has no field {key!r}") for key in entry if key not in _KNOWN)
        yield Row(value, item.line, findings, labels_due=LABELS)


DATASET = Dataset(name="quality_access", task="quality", rows=rows, tasks=("quality",))
