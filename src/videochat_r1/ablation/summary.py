"""From the answers of a table's cells to its figures, each with two intervals.

Over seeds: Student's t with n - 1 degrees of freedom over the seeds' own figures. It tells how a new training run would differ on these
videos. Over videos: the bootstrap of all seeds' answers, clustered by video. It tells how these policies would differ on new videos.
A difference between cells is taken seed by seed, so what a seed does to both cancels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from videochat_r1.ablation.cells import Base, Scenes, Trained
from videochat_r1.ablation.table import AblationTable
from videochat_r1.evaluation.baselines import baselines
from videochat_r1.evaluation.compare import Scored, compare, scored
from videochat_r1.evaluation.evaluate import Answered, results
from videochat_r1.evaluation.figures import figures
from videochat_r1.tasks.base.loading import load_task

Figures = dict[str, Any]


def summary(table: AblationTable, scenes: Scenes, base: Base, trained: Sequence[Trained], *, resamples: int = 1000) -> dict[str, Any]:
    """The whole table as JSON: {"title", "seeds", "n", "base": {TASK: figures}, "baselines", "cells": {NAME: {"about", ..., "results":
    {TASK: {METRIC: {"mean", "ci95_seeds", "ci95_videos", "by_seed", "against"}}}}}}. Figures are per cent; `against` is the mean difference
    to the cell that it is compared with, with its interval over seeds."""
    by_cell: dict[str, list[Trained]] = {}
    for one in trained:
        by_cell.setdefault(one.cell.name, []).append(one)
    by_seed = {name: [results(run.answered, resamples=0) for run in runs] for name, runs in by_cell.items()}
    found: dict[str, Any] = {
        "title": table.title,
        "seeds": [run.seed for run in next(iter(by_cell.values()))] if by_cell else [],
        "n": len(scenes.test),
        "world": table.world.model_dump(mode="json"),
        "recipe": table.recipe,
        "base": results(base.answered, resamples=resamples),
        "baselines": baselines(scenes.test, scenes.train, resamples=resamples),
        "cells": {},
    }
    if base.switched is not None:
        found["base_switched"] = results(base.switched, resamples=resamples)
    for name, runs in by_cell.items():
        cell = runs[0].cell
        row = cell.model_dump(mode="json", include={"group", "about", "against", "curve", "set", "tasks"})
        row |= {"trained_on": runs[0].samples, "seconds": [run.seconds for run in runs], "reward": [run.reward for run in runs]}
        answered = [run.answered for run in runs]
        row["results"] = cell_figures(answered, by_seed[name], resamples=resamples)
        if cell.against in by_cell:
            others = [run.answered for run in by_cell[cell.against]]
            add_leads(row["results"], answered, others, by_seed[name], by_seed[cell.against], resamples=resamples)
        switched = [run.switched for run in runs if run.switched is not None]
        if len(switched) == len(runs):
            own = [results(answers, resamples=0) for answers in switched]
            row["switched"] = cell_figures(switched, own, resamples=resamples)
            add_leads(row["switched"], switched, answered, own, by_seed[name], resamples=resamples)
        found["cells"][name] = row
    return found


def cell_figures(answered: Sequence[Sequence[Answered]], by_seed: Sequence[Mapping[str, Figures]], *, resamples: int) -> dict[str, Figures]:
    """{TASK: {METRIC: {"mean", "by_seed", "ci95_seeds", "ci95_videos"}}} of one cell. answered, by_seed: one a seed."""
    found: dict[str, Figures] = {}
    for name, first in by_seed[0].items():
        own = [one for answers in answered for one in answers if one.sample.task == name]
        pooled = figures(load_task(name), [one.sample for one in own], [one.reading for one in own], resamples=resamples)
        figures_of_task: Figures = {}
        for metric, value in pooled.items():
            values = [one for seed in by_seed if isinstance(one := seed[name].get(metric), float)]
            if not isinstance(value, float) or len(values) < len(by_seed):
                continue  # an interval, a count, or a figure that not every seed has
            figures_of_task[metric] = {"mean": statistics.fmean(values), "by_seed": values, "ci95_seeds": t_interval(values)}
            figures_of_task[metric]["ci95_videos"] = pooled.get(f"{metric}_ci95")
        for metric in ("unparsed", "tokens"):
            figures_of_task[metric] = {"mean": statistics.fmean(seed[name][metric] for seed in by_seed)}
        found[name] = {**figures_of_task, "n": {"mean": first["n"]}}
    return found


def add_leads(
    found: dict[str, Figures],
    answered: Sequence[Sequence[Answered]],
    others: Sequence[Sequence[Answered]],
    by_seed: Sequence[Mapping[str, Figures]],
    others_by_seed: Sequence[Mapping[str, Figures]],
    *,
    resamples: int,
) -> None:
    """Put "against" into the figures of a cell: {"mean", "ci95" (over seeds), "ci95_videos", "p" (permutation over videos)}, the difference
    to another cell that was trained with the same seeds."""
    paired = compare(_by_seed(answered), _by_seed(others), resamples=resamples)
    for task, metrics in found.items():
        for metric, figure in metrics.items():
            if "by_seed" not in figure or metric not in others_by_seed[0].get(task, {}):
                continue
            leads = [own[task][metric] - other[task][metric] for own, other in zip(by_seed, others_by_seed, strict=True)]
            over_videos = paired[task]["metrics"].get(metric, {})
            figure["against"] = {"mean": statistics.fmean(leads), "ci95": t_interval(leads)}
            figure["against"] |= {"ci95_videos": over_videos.get("difference_ci95"), "p": over_videos.get("p")}


def _by_seed(answered: Sequence[Sequence[Answered]]) -> Scored:
    """All seeds' answers beside each other: one video's answers of every seed stand or fall together."""
    found: Scored = {}
    for seed, answers in enumerate(answered):
        for name, one in scored([one.sample for one in answers], [one.reading for one in answers]).items():
            found[f"{name}#{seed}"] = one
    return found


def t_interval(values: Sequence[float]) -> list[float] | None:
    """The 95 % interval of a mean of few values, by Student's t: [low, high]; None of a single value, which has none."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return [mean - half, mean + half]
