"""An evaluation in the log format of lmms-eval 0.7, so that answers and figures can be diffed with other people's.

results_DATASET.json has the keys of its results file ("METRIC,none", "METRIC_stderr,none", configs, versions, ...); samples_TASK.jsonl
a row a document: doc_id, target, filtered_resps, token_counts, doc_hash, its metrics, input. Its own names carry a date, these do not."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.evaluation.tables import VIDEO_COUNTS
from videochat_r1.strict_json import finite

if TYPE_CHECKING:
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.evaluation.record import Record

HALF_WIDTH = 1.96
"""Standard errors in half of a 95 % interval."""


def write_logs(folder: Path, record: Record) -> list[Path]:
    """Write the logs of the policy's answers into the folder; the paths. Raises EnvironmentFault where the disk refuses."""
    from videochat_r1.evaluation.answers_file import write_jsonl
    from videochat_r1.grpo.log import write_whole
    from videochat_r1.tasks.base import Asking

    asking = Asking.model_validate(record.options["asking"])
    by_task: dict[str, list[Answered]] = {}
    for one in record.answered["policy"]:
        by_task.setdefault(one.sample.task, []).append(one)
    written = []
    for task, answered in by_task.items():
        path = folder / f"samples_{Path(task).stem}.jsonl"
        write_jsonl(path, [sample_row(number, one, asking) for number, one in enumerate(answered)])
        written.append(path)
    path = folder / f"results_{Path(str(record.source['name'])).stem}.json"
    write_whole(path, json.dumps(finite(results_of(record, by_task)), indent=2, ensure_ascii=False).encode())
    return [*written, path]


def sample_row(number: int, one: Answered, asking: Any) -> dict[str, Any]:
    """One document as lmms-eval logs it: a metric is its numerator where its denominator is 1, else [numerator, denominator]."""
    from videochat_r1.datasets.base.rows import row_of
    from videochat_r1.evaluation.figures import shares
    from videochat_r1.tasks.base.loading import load_task

    task, row = load_task(one.sample.task), row_of(one.sample)
    try:
        target = task.write(one.sample.truth, asking)
    except ValueError:
        target = json.dumps(row["answer"])
    metrics = {name: num if den == 1.0 else [num, den] for name, (num, den) in shares(task, one.sample, one.reading).items()}
    return {
        "doc_id": number,
        "id": one.sample.id,
        "target": target,
        "filtered_resps": one.text,
        "token_counts": [{"output_tokens": one.tokens}],
        "doc_hash": hashlib.sha256(json.dumps(row, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")).hexdigest(),
        **metrics,
        "input": task.ask(one.sample, asking),
    }


def results_of(record: Record, by_task: dict[str, list[Answered]]) -> dict[str, Any]:
    """The results file. A standard error is taken from the 95 % interval, which is clustered by video."""
    results: dict[str, dict[str, Any]] = {}
    for task, figures in record.results["policy"].items():
        of_task: dict[str, Any] = {"alias": task}
        for name, value in figures.items():
            if name in ("n", "unparsed", *VIDEO_COUNTS) or name.endswith("_ci95"):
                continue
            of_task[f"{name},none"] = value
            interval = figures.get(f"{name}_ci95")
            of_task[f"{name}_stderr,none"] = (interval[1] - interval[0]) / (2 * HALF_WIDTH) if interval else "N/A"
        results[task] = {**of_task, "samples": figures["n"]}
    names = list(results)
    config = {"dataset_path": record.source["annotations"], "output_type": "generate_until", "generation_kwargs": record.options["rollout"]}
    return {
        "results": results,
        "group_subtasks": {name: [] for name in names},
        "configs": {name: {"task": name, **config} for name in names},
        "versions": dict.fromkeys(names, version("videochat-r1")),
        "n-shot": dict.fromkeys(names, 0),
        "higher_is_better": {name: {key.removesuffix(",none"): True for key in results[name] if key.endswith(",none")} for name in names},
        "n-samples": {name: {"original": len(by_task[name]), "effective": len(by_task[name])} for name in names},
        "config": {
            "model": "videochat_r1",
            "model_args": f"pretrained={record.options['policy']}",
            "limit": record.source["limit"] or None,
        },
    }
