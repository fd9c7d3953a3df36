"""QVHighlights: sentences about clips of vlogs and news, each with all the windows in which it happens.

{"qid": 8737, "query": "A family is playing basketball together on a green court outside.", "duration": 126,
 "vid": "bP5KfdFJzC4_660.0_810.0", "relevant_windows": [[0, 16]], "relevant_clip_ids": [0, 1, ...], "saliency_scores": [[4, 1, 1], ...]}

Lei et al. 2021, arXiv:2107.09609; the fields are those of data/README.md in github.com/jayleicn/moment_detr (highlight_val_release.jsonl).
Saliency is not used: no highlights are asked for. The test file has no windows; its server scores it. Videos are VID.mp4."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from videochat_r1.datasets.base import Dataset, DataSource, Row, read_items, text_id


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each query."""
    for item in read_items(Path(source.annotations), "list"):
        entry = item.value
        if not isinstance(entry, dict):
            yield Row(entry, item.line)
            continue
        video = entry.get("vid")
        value = {
            "id": text_id(entry.get("qid")),
            "video": f"{video}.mp4" if isinstance(video, str) else video,
            "question": entry.get("query"),
            "answer": {"spans": entry.get("relevant_windows")},
            "duration_s": entry.get("duration"),
        }
        yield Row(value, item.line, duration_due=True)


DATASET = Dataset(name="qvhighlights", task="moment_retrieval", rows=rows, tasks=("moment_retrieval", "temporal_grounding"))
