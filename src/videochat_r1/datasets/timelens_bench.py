"""TimeLens-Bench: Charades-STA, ActivityNet Captions and QVHighlights with their sentences and spans corrected by hand.

{"v_uqiMw7tQ1Cc": {"duration": 55.15, "spans": [[0.0, 4.0], ...], "queries": ["Two men in athletic gear ...", ...]}}

Zhang et al. 2025, arXiv:2512.14698; the fields are those that timelens/dataset/timelens_data.py of github.com/TencentARC/TimeLens reads.
`annotations` is one of charades-timelens.json, activitynet-timelens.json and qvhighlights-timelens.json, or the folder of all three.
Videos are VIDEO.mp4, in a folder of the set's name where `videos` has one (videos/charades, as published). The published figures are those
of each set, given as groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from videochat_r1.datasets.base import Dataset, DataSource, Row, files_of, first_folder, read_items

SETS = ("charades", "activitynet", "qvhighlights")


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each sentence."""
    for path in files_of(source, tuple(f"{name}-timelens.json" for name in SETS)):
        name = path.name.removesuffix("-timelens.json")
        yield from _rows(source, path, name if name in SETS else "")


def _rows(source: DataSource, path: Path, name: str) -> Iterator[Row]:
    folder = first_folder(source, (name,))
    for item in read_items(path, "object"):
        entry = item.value if isinstance(item.value, dict) else {}
        spans, queries = entry.get("spans"), entry.get("queries")
        if not isinstance(spans, list) or not isinstance(queries, list):
            detail = "an entry has duration, spans (a list of [start, end]) and queries (a list of texts)"
            yield Row(None, item.line, (("row_malformed", detail),), item.key or "")
            continue
        findings: tuple[tuple[str, str], ...] = ()
        if len(spans) != len(queries):
            findings = (("lengths_differ", f"{len(spans)} spans for {len(queries)} queries"),)
        for index, (span, query) in enumerate(zip(spans, queries, strict=False)):
            value = {
                "id": f"{item.key}/{index}",
                "video": f"{folder}{item.key}.mp4",
                "question": query,
                "answer": {"spans": [span]},
                "duration_s": entry.get("duration"),
                "meta": {"groups": {"set": name}} if name else {},
            }
            yield Row(value, item.line, findings, duration_due=True)
        if findings and not (spans and queries):
            yield Row(None, item.line, findings, item.key or "")


DATASET = Dataset(name="timelens_bench", task="temporal_grounding", rows=rows, tasks=("temporal_grounding",))
