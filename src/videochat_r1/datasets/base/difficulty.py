"""How hard each training sample is for a policy, read from a file of `data difficulty`, and which samples are kept for it.

A sample's difficulty is 1 - the mean of its rewards, the format's left out: 0.0 where every answer of the policy was right, 1.0 where none
was worth anything. Its spread is the standard deviation of the summed rewards (ddof 1): a group of equal rewards has none, and no gradient.

What is kept depends on the file and on each sample alone, not on its place or on a random state: a run resumes with the same samples."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base.rows import fingerprint
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.errors import DataError, EnvironmentFault, UsageError
from videochat_r1.types import Sample

BINS = 10
ROW_BEGINS = b'{"key":'
"""How grpo/difficulty.py's rows begin."""
LONGEST_ROW = 1 << 20
MEND = "`videochat-r1 data difficulty` with the same --out adds what is missing."


@dataclass(frozen=True)
class Chosen:
    """What a source keeps of its samples, each with its difficulty in its meta, and why the others were left out."""

    samples: list[Sample]
    without_spread: int
    by_chance: int  # left out by the Gaussian
    unreadable: int

    def line(self, source: DataSource) -> str:
        count = len(self.samples) + self.without_spread + self.by_chance + self.unreadable
        left_out = {
            f"spread of at most {source.keep_spread_above:g}": self.without_spread,
            f"away from a difficulty of {source.difficulty_mean:g}": self.by_chance,
            "no readable video": self.unreadable,
        }
        parts = [f"{number:,} left out: {why}" for why, number in left_out.items() if number]
        return "; ".join([f"{source.annotations}: {len(self.samples):,} of {count:,} samples kept by difficulty", *parts])


def read_measured(path: str | Path) -> dict[str, Mapping[str, Any]]:
    """The rows of a file of `data difficulty`, by the fingerprint of their sample; of several of one sample the last. A last line that was
    cut short is left out. Raises DataError for a file that cannot be read, or that is something else."""
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as fault:
        raise DataError(
            f"The difficulties {path} cannot be read: {fault.strerror}.", "Write it with `videochat-r1 data difficulty`."
        ) from None
    rows: dict[str, Mapping[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows[row["sample"]] = row
            float(row["difficulty"] or 0.0), float(row["reward_std"] or 0.0)
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                what = f"{path}:{number}: this is no row of difficulties."
                raise DataError(what, "Give the file that `videochat-r1 data difficulty` wrote.") from None
    return rows


def require_own_file(path: Path) -> None:
    """Before rows are appended: raises UsageError for a file that holds something else, such as annotations; it is left as it is. One that
    is empty, not there, or was cut short within its first row may be appended to. Raises EnvironmentFault where it cannot be read, or
    written."""
    holder = path if path.exists() else next(folder for folder in path.absolute().parents if folder.exists())
    if not os.access(holder, os.W_OK):
        raise EnvironmentFault(f"{path} cannot be written.", "Choose another file with --out.")
    if not path.is_file():
        return
    try:
        with open(path, "rb") as file:
            first = file.readline(LONGEST_ROW)
    except OSError as fault:
        raise EnvironmentFault(f"{path} cannot be read: {fault.strerror}.", "Choose another file with --out.") from None
    try:
        row = json.loads(first)
    except ValueError:
        begins = first[: len(ROW_BEGINS)]
        if not first.endswith(b"\n") and ROW_BEGINS.startswith(begins):
            return
        row = None
    if not isinstance(row, dict) or not {"key", "sample", "difficulty", "reward_std"} <= row.keys():
        what = f"{path} is no file of `data difficulty`: its first row is something else."
        raise UsageError(what, "Rows would be appended to it; choose another file with --out.")


def chosen(samples: Sequence[Sample], source: DataSource) -> Chosen:
    """The samples that a source keeps, in their order. Raises DataError where some were not measured, and where none is left."""
    rows = read_measured(source.difficulty)
    of_samples = [rows.get(fingerprint([sample])) for sample in samples]
    missing = [sample for sample, row in zip(samples, of_samples, strict=True) if row is None]
    if missing:
        what = f"{len(missing):,} of {len(samples):,} samples of {source.annotations} have no row in {source.difficulty}"
        raise DataError(f"{what}; the first: {missing[0].id}.", MEND)
    kept: list[Sample] = []
    without_spread = by_chance = unreadable = 0
    for sample, row in zip(samples, of_samples, strict=True):
        assert row is not None
        if row["difficulty"] is None:
            unreadable += 1
        elif (row["reward_std"] or 0.0) <= source.keep_spread_above:
            without_spread += 1
        elif _luck(sample) >= gaussian(row["difficulty"], source.difficulty_mean, source.difficulty_width):
            by_chance += 1
        else:
            kept.append(replace(sample, meta={**sample.meta, "difficulty": float(row["difficulty"])}))
    found = Chosen(kept, without_spread, by_chance, unreadable)
    if not kept:
        raise DataError(f"{found.line(source)}.", "Lower keep_spread_above, or widen difficulty_width.")
    return found


def gaussian(difficulty: float, mean: float, width: float) -> float:
    """The chance that a sample is kept, 0.0 .. 1.0: 1.0 at the mean; 1.0 everywhere where the width is 0. The difficulty-based sampling of
    TimeLens, Zhang et al. 2025, arXiv:2512.14698."""
    off = (difficulty - mean) / width if width > 0 else 0.0
    return math.exp(-off * off / 2)


def _luck(sample: Sample) -> float:
    """A number from 0.0 to below 1.0 that is a sample's own."""
    digest = hashlib.sha256(f"difficulty\x1f{sample.task}\x1f{sample.id}".encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """{TASK: figures} of measured rows: "n", "unreadable", "unscorable" (completions), "reward_mean", "difficulty_mean", shares in per cent
    ("with_gradient": groups whose rewards differ; "never_right": all answers worth nothing; "always_right"), and "histogram": how many
    samples in each tenth of difficulty."""
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    found = {}
    for task, own in by_task.items():
        told = [row for row in own if row["difficulty"] is not None]
        figures: dict[str, Any] = {"n": len(own), "unreadable": sum(bool(row["fault"]) for row in own)}
        figures["unscorable"] = sum(row["unscorable"] for row in own)
        if told:
            shares = {
                "with_gradient": [(row["reward_std"] or 0.0) > 0 for row in told],
                "never_right": [row["difficulty"] == 1.0 for row in told],
                "always_right": [row["difficulty"] == 0.0 for row in told],
            }
            figures |= {name: 100.0 * sum(flags) / len(told) for name, flags in shares.items()}
            figures["reward_mean"] = math.fsum(row["reward_mean"] for row in told) / len(told)
            figures["difficulty_mean"] = math.fsum(row["difficulty"] for row in told) / len(told)
        bins = [min(BINS - 1, int(row["difficulty"] * BINS)) for row in told]
        figures["histogram"] = [bins.count(place) for place in range(BINS)]
        found[task] = figures
    return found
