"""The report of a run: report.json for programs, report.md and figures for a repository, report.html for people.

`write_report` writes all four from one Report. Nothing heavy is imported before it is called: figures need matplotlib, and only frames
need torch."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.errors import EnvironmentFault
from videochat_r1.evaluation.content import Report
from videochat_r1.evaluation.curves import health_series, read_metrics, reward_series
from videochat_r1.evaluation.examples import Example, ModelAnswer, choose_examples
from videochat_r1.evaluation.legend import look, one_line, task_name
from videochat_r1.evaluation.strata import histograms, strata_rows
from videochat_r1.evaluation.tables import Row, by_task, change_text, headline_rows, models_of, rows, sized_levels
from videochat_r1.strict_json import finite

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Example", "ModelAnswer", "Report", "choose_examples", "console_table", "describe_environment", "write_report"]

FIGURES = "figures"
"""The folder of the PNG files, beside report.md."""


def write_report(folder: Path, report: Report) -> None:
    """Write report.json, report.md, report.html and figures/*.png into folder, which is made where it is missing.

    Each page replaces an older one in one move. Raises EnvironmentFault where the folder cannot be written."""
    from videochat_r1.evaluation.markdown import render_markdown
    from videochat_r1.evaluation.page import render_page
    from videochat_r1.evaluation.plots import write_figures

    folder = Path(folder)
    metrics = read_metrics(report.metrics) if report.metrics is not None and report.metrics.is_file() else []
    table = rows(report.payload.get("results", {}), report.payload.get("baselines", {}))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "report.json", json.dumps(finite(report.payload), indent=2, allow_nan=False) + "\n")
        drawn = write_figures(
            folder / FIGURES,
            rewards=reward_series(metrics),
            health=health_series(metrics),
            headlines=headline_rows(table),
            levels=sized_levels(report.payload),
            strata=strata_rows(report.payload),
            histograms=histograms(report.payload),
            examples=report.examples,
        )
        linked = {figure: f"{FIGURES}/{file_name}" for figure, file_name in drawn.items()}
        _replace(folder / "report.md", render_markdown(report, metrics, linked))
        _replace(folder / "report.html", render_page(report, metrics))
    except OSError as fault:
        raise EnvironmentFault(
            f"The report cannot be written to {folder}: {fault.strerror or fault}.",
            "Give a folder that can be written, with room for about 10 MB.",
        ) from fault


def console_table(report: Report) -> Table:
    """The headline table for a terminal of 80 columns: best trivial answer, each model with its 95 % interval below, the change."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    results = report.payload.get("results", {})
    models = models_of(results)
    table = Table(
        title=one_line(report.title, 78), title_style="bold", title_justify="left", header_style="dim", box=SIMPLE_HEAD, padding=0
    )
    table.add_column("Task", no_wrap=True)
    table.add_column("Best trivial", justify="right", min_width=11, max_width=14)
    for model in models:
        table.add_column(one_line(look(model, models).name, 14), justify="right", no_wrap=True, style="bold" if model == "rft" else "")
    table.add_column("Change", justify="right", no_wrap=True)
    for task, of_task in by_task(headline_rows(rows(results, report.payload.get("baselines", {})))):
        for row in of_task:
            table.add_row(*_console_row(row, task, models))
    return table


def describe_environment() -> dict[str, str]:
    """Versions and machine, without names of people or hosts and without importing anything heavy."""
    names = ("videochat-r1", "torch", "transformers", "peft", "av", "numpy", "scipy", "matplotlib")
    found = {"Python": platform.python_version(), "System": f"{platform.system()} {platform.machine()}"}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found["Processor"] = f"{_processor()}, {cores} cores for this process"
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _narrow(interval: str) -> str:
    """An interval in eleven places at most: three of them stand in a line of 80."""
    return interval.strip("[]").replace(", ", "–")


def _console_row(row: Row, task: str, models: list[str]) -> list[Any]:
    from rich.text import Text

    best = row.best_trivial
    name = Text.assemble(task_name(task), "\n", (one_line(row.metric, 20), "dim"))
    beside = Text.assemble(best[1].value_text, "\n", (one_line(best[0], 18).replace("_", " "), "dim")) if best else "–"
    figures = [
        Text.assemble(row.models[model].value_text, "\n", (_narrow(row.models[model].interval_text), "dim")) if model in row.models else "–"
        for model in models
    ]
    return [name, beside, *figures, change_text(row).replace(" (", "\n(")]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return one_line(line.partition(":")[2], 80)
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8", errors="replace")
    os.replace(unfinished, path)
