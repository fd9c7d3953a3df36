"""The judge of a command: named by --judge, and what it did told at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.commands.display import say
from videochat_r1.errors import DataError

if TYPE_CHECKING:
    from videochat_r1.judge.base import Judge
    from videochat_r1.judge.config import JudgeConfig

JUDGE = "who judges captions: offline, by their words, or the [judge] table of a TOML file, such as a recipe (docs/judge.md)"

MOST_UNJUDGED = 0.05
"""The share of a task's answers that may be unjudged before a command that gives figures ends with exit code 3."""


def judge_config(named: str) -> JudgeConfig:
    """The [judge] section that --judge names. Raises UsageError for a file that cannot be read, or a field that is wrong."""
    from videochat_r1.config import read_section
    from videochat_r1.judge.config import JudgeConfig

    return JudgeConfig() if named == "offline" else read_section(named, "judge", JudgeConfig)


def judge_of(named: str, folder: Path | None = None) -> Judge:
    """The judge that --judge names. folder: where it keeps its judgements if the file says nothing.

    Raises UsageError and EnvironmentFault."""
    from videochat_r1.judge import make_judge

    return make_judge(judge_config(named), folder)


def told(judge: Judge, by_task: Mapping[str, Mapping[str, Any]]) -> int:
    """Tell who judged and what could not be judged, where anything was; 0, or the exit code of figures that rest on too few judgements.

    by_task: {TASK: figures}."""
    found = judge.figures()
    judged = {task: figures for task, figures in by_task.items() if "unjudged" in figures}
    if not judged:
        return 0
    say(f"Judged by: {judge.name}; {_told(found)}.")
    code = 0
    for task, figures in judged.items():
        share = figures["unjudged"] / max(1, figures["n"])
        if figures["unjudged"]:
            say(f"{task}: {figures['unjudged']:,} of {figures['n']:,} answers ({share:.1%}) are unjudged and left out of the figures.")
        if share > MOST_UNJUDGED:
            say(f"More than {MOST_UNJUDGED:.0%} unjudged: these figures are not to be relied on (exit code {DataError.exit_code}).")
            code = DataError.exit_code
    return code


def _told(found: Mapping[str, float]) -> str:
    parts = [f"{found['captions']:,.0f} captions"]
    parts += [f"{found[name]:,.0f} {name.replace('_', ' ')}" for name in ("calls", "cache_hits", "retries", "tokens") if name in found]
    if found.get("canaries"):
        parts.append(f"{found['canaries_wrong']:,.0f} of {found['canaries']:,.0f} canaries wrong")
    parts += [f"{name.removeprefix('failed/')} x {count:,.0f}" for name, count in found.items() if name.startswith("failed/")]
    return ", ".join(parts)
