"""What a policy answered, on disk: predictions that `score` reads, and what each sample earned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.errors import DataError, EnvironmentFault
from videochat_r1.tasks.base import Asking, earned, load_task
from videochat_r1.types import Reading, Sample

if TYPE_CHECKING:
    from videochat_r1.evaluation.evaluate import Answered


def write_predictions(path: Path, answered: Sequence[Answered]) -> None:
    """JSONL rows {"id", "output"}, with "tokens" and, of a video that could not be used, "reason". Raises EnvironmentFault."""
    rows = []
    for one in answered:
        row: dict[str, Any] = {"id": one.sample.id, "output": one.text, "tokens": one.tokens}
        rows.append(row | ({"reason": one.reading.reason} if one.reading.reason.startswith("video:") else {}))
    write_jsonl(path, rows)


def read_answers(path: Path, samples: Sequence[Sample], asking: Asking) -> list[Answered] | None:
    """Answers that `write_predictions` wrote about just these samples, read and rewarded anew; None where the file is about others, or is
    not there."""
    from videochat_r1.evaluation.evaluate import Answered

    try:
        rows = {row["id"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if rows.keys() != {sample.id for sample in samples}:
        return None
    found = []
    for sample in samples:
        row, task = rows[sample.id], load_task(sample.task)
        if reason := row.get("reason", ""):
            reading, rewards = Reading(answer=None, reason=reason, format_ok=False), dict.fromkeys(task.rewards, 0.0)
        else:
            reading = task.read(row["output"], sample, asking)
            rewards, _ = earned(task, sample, reading, asking)
        found.append(Answered(sample, row["output"], reading, int(row.get("tokens", 0)), rewards))
    return found


def write_scores(path: Path, answered: Sequence[Answered]) -> None:
    """JSONL rows {"id", "task", "reason", "format", "rewards"}: reason says why there is no answer. Raises EnvironmentFault."""
    write_jsonl(
        path,
        [
            {
                "id": one.sample.id,
                "task": one.sample.task,
                "reason": one.reading.reason,
                "format": one.reading.format_ok,
                "rewards": dict(one.rewards),
            }
            for one in answered
        ],
    )


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
