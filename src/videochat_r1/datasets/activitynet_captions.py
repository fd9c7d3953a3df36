"""ActivityNet Captions: long videos of activities, each with sentences that cover it in order, and the span of each.

{"v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0, 4.14], ...], "sentences": ["Two men both dressed in athletic gear ...", ...]}}

Krishna et al. 2017, arXiv:1705.00754. The format is that of Charades-STA; a "phrases" field, where there is one, is not used. The test file
of VideoChat-R1 is val_2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from videochat_r1.datasets.base import Dataset, DataSource, Row, read_items
from videochat_r1.datasets.charades_sta import captioned


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each sentence."""
    return captioned(read_items(Path(source.annotations), "object"))


DATASET = Dataset(name="activitynet_captions", task="temporal_grounding", rows=rows, tasks=("temporal_grounding",))
