"""Answers of multiple-choice benchmarks -> rows: published as an option's text, as its number, or as its letter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base.defects import printable
from videochat_r1.datasets.base.examine import Finding, Row
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.errors import DataError
from videochat_r1.rewards.choices import LETTERS
from videochat_r1.rewards.numbers import LARGEST


def row_with_choice(
    value: dict[str, Any], answer: Any, line: int, findings: Sequence[Finding] = (), *, counted_from_0: bool = False
) -> Row:
    """The row with its answer as a letter; where the answer is none of the options, that finding alone.

    answer: the text of one of value["options"] or, with counted_from_0, its number. Of what is neither a text nor a number, nothing is
    said here: the row's own examination does."""
    options = value.get("options")
    if not isinstance(options, list | tuple):
        return Row(value | {"answer": {"choice": answer}}, line, tuple(findings))
    index = _number(answer) if counted_from_0 else (list(options).index(answer) if isinstance(answer, str) and answer in options else None)
    if index is None and not (isinstance(answer, str) or counted_from_0):
        return Row(value | {"answer": {"choice": answer}}, line, tuple(findings))
    if answer is None:
        return Row(value | {"answer": {}}, line, tuple(findings))
    if index is None or not 0 <= index < min(len(options), len(LETTERS)):
        detail = f"the answer is {printable(answer, 40)!r}; {len(options)} options are offered"
        name = value.get("id")
        return Row(None, line, (*findings, ("answer_not_offered", detail)), name if isinstance(name, str) else "")
    return Row(value | {"answer": {"choice": f"({LETTERS[index]})"}}, line, tuple(findings))


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 3:
        return int(value)
    return value if isinstance(value, int) else None


def text_id(value: Any) -> Any:
    """A whole number as the text of it: ids are texts. Anything else stays as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18 else value


def positive(value: Any) -> float | None:
    """The number above 0 that a field holds, or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LARGEST
    return float(value) if is_number else None


def first_folder(source: DataSource, folders: Sequence[str]) -> str:
    """The first of these folders that lies in the source's folder of videos, with a slash at its end; "" where none does."""
    there = (folder for folder in folders if folder and source.videos and os.path.isdir(os.path.join(source.videos, folder)))
    return next((f"{folder}/" for folder in there), "")


def files_of(source: DataSource, names: Sequence[str]) -> list[Path]:
    """The annotation file, or those of these names that the folder of annotations holds, in this order. Raises DataError for none."""
    path = Path(source.annotations)
    if not path.is_dir():
        return [path]
    found = [path / name for name in names if (path / name).is_file()]
    if not found:
        raise DataError(f"{path} holds none of the files that {source.name} has.", f"Looked for: {', '.join(names[:4])}, ...")
    return found


def named_groups(**names: Any) -> dict[str, Any]:
    """The groups of a sample by family (evaluation/groups.py); a name that is no text, or empty, is left out."""
    kept = {}
    for family, name in names.items():
        listed = [text for text in (name if isinstance(name, list | tuple) else [name]) if isinstance(text, str) and text.strip()]
        if listed:
            kept[family] = listed[0] if len(listed) == 1 else listed
    return kept
