"""Of which data set a file is, where no row of it reads as one of the data set that was named."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from videochat_r1 import plugins
from videochat_r1.datasets.base.defects import default_action
from videochat_r1.datasets.base.examine import examine
from videochat_r1.datasets.base.source import Dataset, DataSource, load_dataset
from videochat_r1.errors import UserFault

ROWS = 8  # of a file, that are tried
LIMIT_BYTES = 256 << 20  # larger files are not read again for a hint


def fitting(source: DataSource) -> list[str]:
    """The other data sets of the package that more than half of the file's first rows read as, those with the fewest defects alone, by
    name; empty for a folder, for a very large file, and where none fits."""
    path = Path(source.annotations)
    if not path.is_file() or path.stat().st_size > LIMIT_BYTES:
        return []
    found: dict[str, tuple[float, int]] = {}
    for name in plugins.names("datasets"):
        if name != source.name and (tried := _tried(load_dataset(name), source)) is not None:
            found[name] = tried
    best = min(found.values(), default=None)
    return [name for name, tried in found.items() if tried == best]


def hint(names: Sequence[str]) -> str:
    """What to do about it, in a sentence; "" for no names."""
    if not names:
        return ""
    return f"The first rows read as {' or '.join(names)}: give --dataset {' or --dataset '.join(names)} (in a recipe, that name)."


def _tried(dataset: Dataset, source: DataSource) -> tuple[float, int] | None:
    """The share of the first rows that do not read as this data set, and how many defects they have; None where it is not of them."""
    fields = {"name": dataset.name, "task": "", "difficulty": "", "on_defect": {}}
    other = source.model_copy(update=fields)
    actions = other.actions()
    rows = lost = defects = 0
    try:
        for row in islice(dataset.rows(other), ROWS):
            sample, findings = examine(row, dataset.task, actions, source.box_scale)
            rows += 1
            # Judged as training rows are: one that a test set would refuse for a value alone is still of the format.
            lost += sample is None or any(default_action(code, "train") in ("drop", "refuse") for code, _ in findings)
            defects += len(findings)
    except UserFault:
        return None
    return (lost / rows, defects) if rows and lost / rows < 0.5 else None
