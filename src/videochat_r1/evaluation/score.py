"""A file of predictions, scored without a model.

Predictions are JSONL rows {"id": ..., "output": the model's raw text}. Every sample counts: one without a prediction is wrong, and counted
as missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base import read_items
from videochat_r1.datasets.base.defects import printable
from videochat_r1.errors import DataError
from videochat_r1.evaluation.figures import figures
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.tasks.base.scoring import consulted
from videochat_r1.types import Reading, Sample

MISSING = Reading(answer=None, reason="missing", format_ok=False)


@dataclass(frozen=True)
class Score:
    """Figures by task, and what did not fit."""

    by_task: dict[str, dict[str, Any]]  # {TASK: {METRIC: value, METRIC_ci95: [low, high], "n", "unparsed", "missing", "format"}}
    reasons: dict[str, dict[str, int]]  # {TASK: {why a text has no answer, or no judgement: how many}}
    missing: tuple[str, ...]  # ids of samples without a prediction
    unknown: tuple[str, ...]  # ids of predictions without a sample

    def as_dict(self) -> dict[str, Any]:
        """One task's figures alone, or {TASK: figures} for several, with what did not fit."""
        whole = dict(next(iter(self.by_task.values()))) if len(self.by_task) == 1 else dict(self.by_task)
        return {**whole, "missing": len(self.missing), "unknown": len(self.unknown)}


def read_predictions(path: Path) -> dict[str, str]:
    """{sample id: raw text}. Raises DataError, with the line, for a file or row that cannot be used, for an id that stands twice, and for
    a file without a row."""
    outputs: dict[str, str] = {}
    for item in read_items(path, "list"):
        row = item.value
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not isinstance(row.get("output"), str):
            raise DataError(
                f'{path}:{item.line}: a prediction is {{"id": text, "output": text}}, not {printable(row, 80)}.', "Mend the row."
            )
        if row["id"] in outputs:
            raise DataError(
                f"{path}:{item.line}: the id {printable(row['id'])!r} stands in an earlier row.", "Keep one prediction a sample."
            )
        outputs[row["id"]] = row["output"]
    if not outputs:
        raise DataError(f"{path} holds no prediction.", 'Write a row {"id": text, "output": text} for each sample that was answered.')
    return outputs


def read_outputs(samples: Sequence[Sample], outputs: Mapping[str, str], asking: Asking) -> list[Reading]:
    """What each sample's task makes of its text; MISSING where there is none."""
    tasks = {name: load_task(name) for name in {sample.task for sample in samples}}
    return [tasks[sample.task].read(outputs[sample.id], sample, asking) if sample.id in outputs else MISSING for sample in samples]


def score(
    samples: Sequence[Sample], outputs: Mapping[str, str], asking: Asking | None = None, *, resamples: int = 1000, seed: int = 0
) -> Score:
    """Figures of texts against the truth of their samples, by task.

    outputs: {sample id: text}. Beside the metrics each task has "missing", how many of its samples have no text (they count as wrong, and
    are among "unparsed"), and "format", the share of texts in the form that was asked for, in per cent of all samples.
    Raises DataError where no id of the predictions is known, and as `figures` does."""
    readings = read_outputs(samples, outputs, asking or Asking())
    known = {sample.id for sample in samples}
    unknown = tuple(name for name in outputs if name not in known)
    if outputs and len(unknown) == len(outputs):
        example = printable(samples[0].id) if samples else "none"
        what = f"No prediction has the id of a sample: predictions have {printable(unknown[0])!r}, samples {example!r}."
        raise DataError(what, "Check that the annotation file is the one that the predictions are about.")
    readings = consulted(list(zip(readings, samples, strict=True)), precision=True)
    by_task: dict[str, dict[str, Any]] = {}
    reasons: dict[str, dict[str, int]] = {}
    for name, (asked, read) in by_task_of(samples, readings).items():
        found = figures(load_task(name), asked, read, resamples=resamples, seed=seed)
        found["missing"] = sum(sample.id not in outputs for sample in asked)
        found["format"] = 100.0 * sum(reading.format_ok for reading in read) / len(read)
        by_task[name] = found
        reasons[name] = {}
        for reading in read:
            if reading.answer is None:
                reasons[name][reading.reason] = reasons[name].get(reading.reason, 0) + 1
            elif reading.verdict is not None and reading.verdict.failure:
                reason = f"judge:{reading.verdict.failure}"
                reasons[name][reason] = reasons[name].get(reason, 0) + 1
    missing = tuple(sample.id for sample in samples if sample.id not in outputs)
    return Score(by_task, reasons, missing, unknown)


def by_task_of(samples: Sequence[Sample], readings: Sequence[Reading]) -> dict[str, tuple[list[Sample], list[Reading]]]:
    """Samples and their readings, apart by task, in their order."""
    apart: dict[str, tuple[list[Sample], list[Reading]]] = {}
    for sample, reading in zip(samples, readings, strict=True):
        asked, read = apart.setdefault(sample.task, ([], []))
        asked.append(sample)
        read.append(reading)
    return apart
