"""What a policy answered, on disk: predictions that `score` reads, and what each sample earned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.errors import DataError, EnvironmentFault
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Sample

if TYPE_CHECKING:
    from videochat_r1.evaluation.evaluate import Answered


def write_predictions(path: Path, answered: Sequence[Answered]) -> None:
    """JSONL rows {"id", "output"}, with "tokens" and, of a video that could not be used, "reason". Raises EnvironmentFault."""
    rows = []
    for one in answered:
        row: dict[str, Any] = {"id": one.sample.id, "output": one.text, "tokens": one.tokens}
        rows.append(row | ({"reason": one.reading.reason} if one.reading.reason.startswith("video:") else {}))
    write_jsonl(path, rows)


def read_answers(path: Path, samples: Sequence[Sample], asking: Asking, *, among_others: bool = False) -> list[Answered] | None:
    """Answers that `write_predictions` wrote about just these samples, read and rewarded anew; None where the file is about others, or is
    not there. among_others: it may hold answers about others too."""
    from videochat_r1.evaluation.evaluate import Reply, judged

    try:
        rows = {row["id"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        ids = {sample.id for sample in samples}
        if not ids <= rows.keys() or (not among_others and ids != rows.keys()):
            return None
        found = [rows[sample.id] for sample in samples]
        replies = [Reply(row["output"], int(row.get("tokens", 0)), fault=row.get("reason", "").removeprefix("video:")) for row in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return judged(samples, replies, asking)


def write_scores(path: Path, answered: Sequence[Answered]) -> None:
    """A JSONL row a sample: {"id", "task", "video", "sample", "reason", "format", "rewards", "metrics"}. Raises EnvironmentFault.

    sample: a digest of what was asked and of its truth. reason: why there is no answer. metrics: {METRIC: [numerator, denominator]}; a
    figure is 100 x the sum of numerators over the sum of denominators, so any part of the samples can be compared and plotted from here."""
    from videochat_r1.evaluation.figures import shares

    tasks = {name: load_task(name) for name in {one.sample.task for one in answered}}
    write_jsonl(
        path,
        [
            {
                "id": one.sample.id,
                "task": one.sample.task,
                "video": one.sample.video,
                "sample": content_of(one.sample),
                "reason": one.reading.reason,
                "format": one.reading.format_ok,
                "rewards": dict(one.rewards),
                "metrics": shares(tasks[one.sample.task], one.sample, one.reading),
            }
            for one in answered
        ],
    )


def content_of(sample: Sample) -> str:
    """Sixteen digits that two samples share only where task, question, options and truth are the same."""
    said = [sample.task, sample.question, list(sample.options), repr(sample.truth)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Whole or not at all. Raises EnvironmentFault where the disk refuses."""
    from videochat_r1.grpo.log import json_line, write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise EnvironmentFault(f"{path.parent} cannot be made: {fault.strerror}.", "Choose another folder with --out.") from None
    write_whole(path, b"".join(map(json_line, rows)))


def require_different_ids(samples: Sequence[Sample]) -> None:
    """Predictions are keyed by id: raises DataError where two samples share one."""
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"The id {sample.id} stands for two samples.", "Give each row of the data sets an id of its own.")
        seen.add(sample.id)
