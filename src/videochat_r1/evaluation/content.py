"""What a report shows; the pages are made of it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videochat_r1.evaluation.examples import Example


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What a run has to show.

    payload is what report.json holds: {"results": {MODEL: {TASK: figures}}, "baselines": {TASK: {NAME: figures}}, "seconds": number or
    {PHASE: number}, "n": ...}, where figures are {METRIC: percentage, METRIC_ci95: [low, high], "n": samples, "unparsed": samples}; the
    models "base", "sft" and "rft" have names and colours of their own, and any other is shown by its name. Optional: "levels": {LEVEL: like
    results, with "baselines" in it where there are any} for harder levels, and "level": what to call the main one, "level_words": {LEVEL:
    what it is}; "strata", as strata.strata gives it; "published": rows of published.Published; "compared": as compare.compare gives it."""

    title: str
    payload: Mapping[str, Any]
    notes: tuple[str, ...] = ()  # a paragraph each
    commands: tuple[str, ...] = ()  # how to get the same run again
    environment: Mapping[str, str] = field(default_factory=dict)
    metrics: Path | None = None  # metrics.jsonl of the training; None or a missing file: no curves
    examples: tuple[Example, ...] = ()  # as choose_examples gives them
