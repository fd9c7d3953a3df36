"""Any data set as canonical JSONL."""

from __future__ import annotations

from pathlib import Path

from videochat_r1.datasets.base.defects import DefectReport
from videochat_r1.datasets.base.reading import read_samples
from videochat_r1.datasets.base.rows import write_rows
from videochat_r1.datasets.base.source import DataSource


def convert(source: DataSource, out: Path) -> DefectReport:
    """Any data set -> canonical JSONL, repaired as the source says; read back as `jsonl` with the same videos it gives equal samples.

    Returns what was found and done. Raises what `read_samples` raises, and EnvironmentFault where `out` cannot be written."""
    loaded = read_samples(source)
    write_rows(loaded.samples, out, source.videos)
    return loaded.defects
