"""TimeLens-Bench: Charades-STA, ActivityNet Captions and QVHighlights with their sentences and spans corrected by hand.

{"v_uqiMw7tQ1Cc": {"duration": 55.15, "spans": [[0.0, 4.0], ...], "queries": ["Two men in athletic gear ...", ...]}}

Zhang et al. 2025, arXiv:2512.14698; the fields are those that timelens/dataset/timelens_data.py of github.com/TencentARC/TimeLens reads.
`annotations` is one of charades-timelens.json, activitynet-timelens.json and qvhighlights-timelens.json, or the folder of all three.
Videos are VIDEO.mp4, in a folder of the set's name where `videos` has one (videos/charades, as published). The published figures are those
of each set, given as groups."""

from __future__ import annotations

from collections.abc import Iterator

from videochat_r1.datasets.base import Dataset, DataSource, Row, files_of, first_folder, read_items
from videochat_r1.datasets.charades_sta import captioned

SETS = ("charades", "activitynet", "qvhighlights")


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each sentence."""
    for path in files_of(source, tuple(f"{name}-timelens.json" for name in SETS)):
        stem = path.name.removesuffix("-timelens.json")
        name = stem if stem in SETS else ""
        meta = {"groups": {"set": name}} if name else {}
        yield from captioned(read_items(path, "object"), times="spans", texts="queries", folder=first_folder(source, (name,)), meta=meta)


DATASET = Dataset(name="timelens_bench", task="temporal_grounding", rows=rows, tasks=("temporal_grounding",))
