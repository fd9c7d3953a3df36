"""The course of a run from its metrics.jsonl: one series a metric, with its smoothed line."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videochat_r1.evaluation.legend import TASK_NAMES, one_line, task_name


@dataclass(frozen=True)
class Series:
    """One metric by step. smooth: the raw values' running mean (see `smoothed`)."""

    key: str
    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    smooth: tuple[float, ...]

    @property
    def power(self) -> int:
        """The power of ten that its numbers are written without: 0 but for very small and very large ones."""
        largest = max(map(abs, self.values), default=0.0)
        return 0 if largest == 0.0 or 1e-3 <= largest < 1e5 else math.floor(math.log10(largest))

    def text(self, value: float) -> str:
        """A value without the power of ten, with decimals by the series' largest: two where it lies from 0.2 to 1, else three digits."""
        largest = max(map(abs, self.values), default=0.0) / 10.0**self.power
        decimals = 2 if largest == 0.0 or 0.2 <= largest < 1.0 else min(max(2 - math.floor(math.log10(largest)), 0), 5)
        return f"{value / 10.0**self.power:.{decimals}f}"


HEALTH = {
    "kl": "KL to the reference",
    "entropy": "Entropy of a token",
    "completions/mean_length": "Tokens of a completion",
    "frac_reward_zero_std": "Share of groups with equal rewards",
    "reward_std": "Reward spread in a group",
    "grad_norm": "Gradient norm",
    "rollout_logprob_gap/mean": "Log-prob gap, rollout to policy",
}


REWARDS_WORDS = (
    "Mean reward of a step's completions: the sum of a task's named rewards, each 1 at most. So tasks differ in what they can earn, and "
    "the mean of all tasks moves with the mix of tasks in a step."
)
NOT_TASKS = ("rewards/", "seconds/", "completions/", "memory/", "throughput/")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The finite numbers of each row that has a step, in order of steps. A row that is no JSON object is left out: the last one is cut
    short when a run is killed. A step that stands twice (after a resume) counts as written last."""
    found: dict[float, dict[str, float]] = {}
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(row, dict):
                continue
            numbers = {
                key: float(value)
                for key, value in row.items()
                if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
            }
            if "step" in numbers:
                found[numbers["step"]] = numbers
    return [found[step] for step in sorted(found)]


def smoothed(steps: Sequence[float], values: Sequence[float], half_life: float) -> list[float]:
    """Exponential running mean of (steps, values), each past value at half the weight after `half_life` steps; the weights sum to one from
    the first step on, so that the line starts at the first value and not at zero. Gaps between steps count as long as they are."""
    line: list[float] = []
    total = weight = 0.0
    for place, value in enumerate(values):
        fade = 0.5 ** ((steps[place] - steps[place - 1]) / half_life) if place else 0.0
        total, weight = total * fade + value, weight * fade + 1.0
        line.append(total / weight)
    return line


def series(rows: Sequence[dict[str, float]], key: str, name: str) -> Series | None:
    """One metric as a series; None where no row has it."""
    points = [(row["step"], row[key]) for row in rows if key in row]
    if not points:
        return None
    steps, values = zip(*points, strict=True)
    half_life = max(1.0, (rows[-1]["step"] - rows[0]["step"]) / 15)
    return Series(key, name, steps, values, tuple(smoothed(steps, values, half_life)))


def reward_series(rows: Sequence[dict[str, float]]) -> list[Series]:
    """The total reward of all tasks, then of each task."""
    tasks = [key.removesuffix("/reward") for key in _keys(rows) if key.endswith("/reward") and not key.startswith(NOT_TASKS)]
    tasks = [task for task in TASK_NAMES if task in tasks] + [task for task in tasks if task not in TASK_NAMES]
    found = [series(rows, "reward", "All tasks, in each step's mix")] if len(tasks) != 1 else []
    found += [series(rows, f"{task}/reward", task_name(task)) for task in tasks]
    return [item for item in found if item is not None]


def health_series(rows: Sequence[dict[str, float]]) -> list[Series]:
    """What shows whether a run is sound: each named reward, then KL, entropy, lengths and groups without a lesson."""
    named = [key for key in _keys(rows) if key.startswith("rewards/") and key.count("/") == 1]
    found = [series(rows, key, f"Reward: {one_line(key.removeprefix('rewards/'), 40)}") for key in named]
    found += [series(rows, key, name) for key, name in HEALTH.items()]
    return [item for item in found if item is not None]


def phase_seconds(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Seconds spent in each phase over the whole run, longest first; what "seconds/step" has beyond its phases is "other"."""
    totals = {key.removeprefix("seconds/"): sum(row.get(key, 0.0) for row in rows) for key in _keys(rows) if key.startswith("seconds/")}
    whole = totals.pop("step", 0.0)
    if whole > sum(totals.values()):
        totals["other"] = totals.get("other", 0.0) + whole - sum(totals.values())
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _keys(rows: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))
