"""videochat-r1 report: the pages of a run or an evaluation, made again from what is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from videochat_r1.commands.options import Command, Given, Options, argument, option
from videochat_r1.errors import DataError


class ReportOptions(Options):
    """Make report.html, report.md, report.json and the figures of a folder again, from its answers, scores and metrics: a run of `train` or
    `demo`, or an evaluation of `evaluate --out`. No model is loaded."""

    folder: str = argument("the folder of a run or of an evaluation", "RUN_OR_EVALUATION")
    out: str = option("", "write into this folder in place of the same one", "DIR")


def run(options: ReportOptions, out: TextIO, fields: Given) -> int:
    from videochat_r1.commands.quiet import quiet_libraries
    from videochat_r1.evaluation.report import write_report
    from videochat_r1.evaluation.run_report import rebuilt_evaluation, rebuilt_run

    folder = Path(options.folder)
    quiet_libraries()
    if (folder / "figures.json").is_file():
        report = rebuilt_evaluation(folder)
    elif (folder / "recipe.toml").is_file():
        report = rebuilt_run(folder)
    else:
        raise DataError(f"{folder} is neither a run nor an evaluation: no recipe.toml and no figures.json.", "Give the folder of one.")
    target = Path(options.out or folder)
    write_report(target, report)
    out.write(f"{target / 'report.html'}  {target / 'report.md'}  {target / 'report.json'}\n")
    return 0


COMMAND = Command(ReportOptions, run)
