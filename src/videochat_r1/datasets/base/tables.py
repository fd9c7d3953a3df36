"""Rows of annotation files by their ending: Parquet and CSV beside JSON and JSONL, each row with its number or line.

Parquet takes pyarrow, an extra: benchmarks on the Hugging Face hub come in it. Whatever the bytes, a file gives rows or a DataError."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from videochat_r1.datasets.base.json_text import Item, check_file, read_items, read_text
from videochat_r1.errors import DataError, EnvironmentFault

BATCH_ROWS = 1024


def read_rows(path: Path, outermost: Literal["list", "object"] = "list") -> Iterator[Item]:
    """The rows of a .parquet, .csv or .tsv file; those of any other as read_items reads them.

    Raises DataError for a file that cannot be read, and EnvironmentFault for a Parquet file where pyarrow is not installed."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _parquet(path)
    if ending in (".csv", ".tsv"):
        return _separated(path, "," if ending == ".csv" else "\t")
    return read_items(path, outermost)


def _parquet(path: Path) -> Iterator[Item]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        mend = "Install it: pip install 'videochat-r1[parquet]', or save the file as JSON lines."
        raise EnvironmentFault(f"{path} is a Parquet file, and pyarrow, which reads them, is not installed.", mend) from None
    check_file(path)
    with open(path, "rb") as file:
        head = file.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: this is a Git LFS pointer, not the file itself.", "Fetch the file's content with: git lfs pull")
    number = 0
    try:
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield Item(None, row, number)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: this is no Parquet file that can be read: {said}.", "Fetch it again, or check that it is whole."
        ) from None


def _separated(path: Path, delimiter: str) -> Iterator[Item]:
    """Rows by the names in the first line; a row with more or fewer cells comes as the list of its cells, which no format takes."""
    lines = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(lines, [])
        if not names:
            raise DataError(f"{path}: the file is empty.", "Fetch or write it again, or give another.")
        for cells in lines:
            if cells:
                row: Any = dict(zip(names, cells, strict=True)) if len(cells) == len(names) else cells
                yield Item(None, row, lines.line_num)
    except csv.Error as error:
        raise DataError(f"{path}:{lines.line_num}: {error}.", "Mend the file there, or save it as JSON.") from None
