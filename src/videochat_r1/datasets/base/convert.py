"""Any data set as canonical JSONL."""

from __future__ import annotations

import os
from pathlib import Path

from videochat_r1.datasets.base.defects import DefectReport
from videochat_r1.datasets.base.reading import read_samples
from videochat_r1.datasets.base.rows import write_rows
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.errors import UsageError


def convert(source: DataSource, out: Path) -> DefectReport:
    """Any data set -> canonical JSONL, repaired as the source says; read back as `jsonl` with the same videos it gives equal samples.

    Returns what was found and done. Raises UsageError where `out` is the annotation file itself, by whatever path or link, what
    `read_samples` raises, and EnvironmentFault where `out` cannot be written."""
    if out.exists() and os.path.exists(source.annotations) and os.path.samefile(out, source.annotations):
        what = f"{out} is the annotation file itself ({source.annotations})."
        raise UsageError(what, "Choose another file with --out: what the readers repair or leave out would be lost.")
    loaded = read_samples(source)
    write_rows(loaded.samples, out, source.videos)
    return loaded.defects
