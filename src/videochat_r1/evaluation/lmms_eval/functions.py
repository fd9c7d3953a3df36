"""What the YAML files of our tasks call: a document is a row {"id", "asking", "row"}, the last two JSON texts that `tasks.py` wrote.

Aggregation is ours: a figure is 100 x the sum of numerators over the sum of denominators."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from videochat_r1.datasets.base.examine import Row, examine
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Sample

Doc = Mapping[str, Any]


@lru_cache(maxsize=4096)
def _sample(row: str) -> Sample:
    actions = DataSource(name="jsonl", annotations="-", split="test").actions()
    sample, _ = examine(Row(json.loads(row)), "", actions)
    if sample is None:
        raise ValueError(f"no sample can be made of {row[:200]}")
    return sample


def _asking(doc: Doc) -> Asking:
    return Asking.model_validate_json(doc["asking"])


def doc_to_visual(doc: Doc) -> list[str]:
    return [_sample(doc["row"]).video]


def doc_to_text(doc: Doc, lmms_eval_specific_kwargs: Mapping[str, Any] | None = None) -> str:
    """The prompt of the sample's own task."""
    sample = _sample(doc["row"])
    return load_task(sample.task).ask(sample, _asking(doc))


def doc_to_target(doc: Doc) -> str:
    """The true answer as the task writes it."""
    sample = _sample(doc["row"])
    return load_task(sample.task).write(sample.truth, _asking(doc))


def process_results(doc: Doc, results: Sequence[str]) -> dict[str, list[float]]:
    """{METRIC: [numerator, denominator]} of one answer, with "readable" among them."""
    from videochat_r1.evaluation.figures import shares

    sample = _sample(doc["row"])
    task = load_task(sample.task)
    reading = task.read(str(results[0]), sample, _asking(doc))
    return {**shares(task, sample, reading), "readable": [float(reading.answer is not None), 1.0]}


def aggregate(results: Sequence[Sequence[float]]) -> float:
    """A figure in per cent."""
    total = sum(of for _, of in results)
    return 100.0 * sum(part for part, _ in results) / total if total else float("nan")
