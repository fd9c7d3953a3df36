"""What commands print: one JSON object, or tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from videochat_r1.strict_json import finite


def print_json(value: Mapping[str, Any], out: TextIO) -> None:
    """One object, strict: null where JSON has no number."""
    out.write(json.dumps(finite(value), indent=1, allow_nan=False) + "\n")


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


def figures_table(title: str, columns: Mapping[str, Mapping[str, Any]], out: TextIO) -> None:
    """Figures side by side: a row a metric with its 95 % interval, a column for each of `columns` ({NAME: figures}); a dash where a figure
    could not be told, nothing where there is none of that name."""
    names = list(dict.fromkeys(key for figures in columns.values() for key in figures if not key.endswith("_ci95")))
    rows = [["", *columns]]
    for name in names:
        rows.append([name, *(_figure(figures, name) for figures in columns.values())])
    print_table(title, rows, out)


def print_table(title: str, rows: Sequence[Sequence[str]], out: TextIO) -> None:
    """Plain text, the first row as head, columns as wide as they must be."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    out.write(f"{title}\n")
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        out.write(f"  {'   '.join(cells)}".rstrip() + "\n")
        if number == 0:
            out.write(f"  {'   '.join('-' * width for width in widths)}\n")


def _figure(figures: Mapping[str, Any], name: str) -> str:
    if name not in figures:
        return ""
    value = figures[name]
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    interval = figures.get(f"{name}_ci95")
    return f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else f"{value:.1f}"
