"""Any data set of ours as a task of lmms-eval: a folder for its --include_path.

    python -m videochat_r1.evaluation.lmms_eval.tasks --dataset got10k --annotations DIR --videos DIR --out lmms_tasks
    lmms_eval --include_path lmms_tasks --tasks videochat_r1_got10k --model videochat_r1 --model_args pretrained=DIR

lmms-eval has no tracking and no grounded question answering; so it gets ours, with our prompts, readers and figures."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from videochat_r1.commands.options import option, parse
from videochat_r1.commands.sources import SourceOptions
from videochat_r1.datasets.base.reading import read_samples
from videochat_r1.datasets.base.rows import row_of
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.errors import UserFault
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task

CALLED = ("doc_to_visual", "doc_to_text", "doc_to_target", "process_results")


def write_tasks(source: DataSource, folder: Path, asking: Asking | None = None, max_new_tokens: int = 1024) -> list[str]:
    """Write a YAML file and a file of documents for each task of a data set, and the functions they call; the names of the tasks.

    Raises what `read_samples` raises, and EnvironmentFault where the folder cannot be written."""
    from videochat_r1.evaluation.answers_file import write_jsonl
    from videochat_r1.grpo.log import write_whole

    asked = (asking or Asking()).model_dump_json()
    samples = read_samples(source, keeps_missing=True).samples
    names = []
    for task_name in dict.fromkeys(sample.task for sample in samples):
        own = [sample for sample in samples if sample.task == task_name]
        several = "" if len(own) == len(samples) else f"_{Path(task_name).stem}"
        name = re.sub(r"\W", "_", f"videochat_r1_{Path(source.name).stem}{several}")
        documents = folder / f"{name}.jsonl"
        rows = [row_of(sample) for sample in own]
        absolute = [{**row, "video": str(Path(row["video"]).absolute())} for row in rows]
        write_jsonl(documents, [{"id": row["id"], "asking": asked, "row": json.dumps(row)} for row in absolute])
        metrics = [*load_task(task_name).metrics, "readable"]
        write_whole(folder / f"{name}.yaml", _yaml(name, documents, metrics, max_new_tokens).encode())
        names.append(name)
    imported = ", ".join((*CALLED, "aggregate"))
    write_whole(folder / "utils.py", f"from videochat_r1.evaluation.lmms_eval.functions import {imported}  # noqa: F401\n".encode())
    return names


def _yaml(name: str, documents: Path, metrics: list[str], max_new_tokens: int) -> str:
    """JSON strings are YAML strings; only the functions need a tag."""
    lines = [
        f"task: {name}",
        "dataset_path: json",
        "dataset_kwargs:",
        "  data_files:",
        f"    test: {json.dumps(str(documents.absolute()))}",
    ]
    lines += ["test_split: test", "output_type: generate_until", "generation_kwargs:", f"  max_new_tokens: {max_new_tokens}"]
    lines += ["  temperature: 0", "  do_sample: false", *(f"{called}: !function utils.{called}" for called in CALLED), "metric_list:"]
    for metric in metrics:
        lines += [f"  - metric: {json.dumps(metric)}", "    aggregation: !function utils.aggregate", "    higher_is_better: true"]
    return "\n".join([*lines, "metadata:", "  - version: 1.0"]) + "\n"


class TaskOptions(SourceOptions):
    """Write a data set as tasks of lmms-eval."""

    out: str = option(..., "the folder to give to lmms_eval --include_path", "DIR", min_length=1)
    thinking: bool = option(False, "ask for a thought before the answer")


def main(tokens: list[str]) -> int:
    """The command line above; its exit code."""
    try:
        options: Any = parse(TaskOptions, tokens)[0]
        names = write_tasks(options.source(), Path(options.out), Asking(thinking=options.thinking))
    except UserFault as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code
    print("\n".join(names))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
