"""The table as Markdown, and its data-efficiency figure."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from videochat_r1.evaluation.legend import HEADLINES, MODELS, SPARE_COLOURS, TRIVIAL, task_name
from videochat_r1.evaluation.tables import metrics_of

LIMITS = """\
## What these figures cannot say

They are of the built-in model (about a million parameters) on the built-in drawn world: coloured shapes on plain ground, a few seconds
long, with exact truth. They show whether the method, as it is built here, does what it is meant to do, and what a field of the recipe
changes when nothing else does. They cannot say:

- how large an effect is for a 7B model on filmed video. Its base sees, reads and reasons; this one has learned to see six kinds of
  question, and was taught to answer the target tasks lazily: what it needs to do better is already in it, so gains are large.
- whether thinking helps. A model of this size has nothing to think with: it can only be taught the form.
- what general abilities cost. What is kept or lost here is description and multiple choice on the same world, not a benchmark of
  hundreds of unlike questions.
- what noise in annotations does. The world's truth has none; that of real training sets has.
- what long videos and large token budgets do, and anything about speed on a GPU.
"""

READING = (
    "Per cent, greedy answers to {n:,} held-out questions, mean over {seeds} seed{s} ({names}). In brackets the 95 % interval over seeds "
    "(Student's t), cut off at 0 and 100: how another training run would differ; for base and trivial answers over videos. Δ: the mean "
    "difference to the cell named in the row, taken seed by seed, with its interval over seeds; **bold** where both this interval and that "
    "over videos leave out zero; of so many differences a few are bold by chance. Intervals over videos, every other metric and the seeds "
    "one by one are in `ablation.json`."
)


def markdown(table: Mapping[str, Any], *, figure: str = "", command: str = "") -> str:
    """A page of all groups of cells. figure: the path of the data-efficiency curve as the page should name it."""
    seeds = table["seeds"]
    lines = [f"# {table['title']}", ""]
    lines += [READING.format(n=table["n"], seeds=len(seeds), s="" if len(seeds) == 1 else "s", names=", ".join(map(str, seeds))), ""]
    if command:
        lines += [f"Made by `{command}`.", ""]
    lines += [LIMITS]
    groups = dict.fromkeys(cell["group"] for cell in table["cells"].values())
    points = [cell["group"] for cell in table["cells"].values() if cell["curve"]]
    with_curve = max(groups, key=points.count)
    for group in groups:
        lines += [f"## {group or 'Cells'}", "", *_group(table, group), ""]
        if figure and group == with_curve:
            lines += [f"![Held-out figures by the number of training samples]({figure})", ""]
    lines += ["## Time", "", *_times(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def headlines(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(task, metric) of the columns: the figure that stands for each task."""
    columns = []
    for task, figures in table["base"].items():
        known = [metric for metric in HEADLINES.get(task, ()) if metric in figures]
        columns.append((task, (known or metrics_of(figures))[0]))
    return columns


def _group(table: Mapping[str, Any], group: str) -> list[str]:
    columns = headlines(table)
    head = ["", *(f"{task_name(task)} {metric}" for task, metric in columns), "unread %"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    rows.append(["best trivial answer", *(_trivial(table, task, metric) for task, metric in columns), ""])
    rows.append(["base", *(_plain(table["base"].get(task, {}), metric) for task, metric in columns), _unread(table["base"])])
    own = [name for name, cell in table["cells"].items() if cell["group"] == group]
    others = dict.fromkeys(cell["against"] for name, cell in table["cells"].items() if name in own and cell["against"])
    shown = [name for name in others if name in table["cells"] and name not in own] + own
    if "base_switched" in table and any("switched" in table["cells"][name] for name in own):
        figures = table["base_switched"]
        rows.append(["base, thinking switched", *(_plain(figures.get(task, {}), metric) for task, metric in columns), _unread(figures)])
    for name in shown:
        rows += _rows(name, table["cells"][name], columns, with_lead=name in own)
    texts = [f"| {' | '.join(row)} |" for row in rows]
    return texts + [
        "",
        *(f"- `{name}`: {table['cells'][name]['about']} ({table['cells'][name]['trained_on']:,} samples)." for name in shown),
    ]


def _rows(name: str, cell: Mapping[str, Any], columns: list[tuple[str, str]], *, with_lead: bool) -> Iterator[list[str]]:
    figures = cell["results"]
    yield [f"`{name}`", *(_seeds(figures.get(task, {}).get(metric)) for task, metric in columns), _unread_cell(figures)]
    if with_lead and cell["against"] and any("against" in one for task in figures.values() for one in task.values()):
        yield [f"Δ to `{cell['against']}`", *(_lead(figures.get(task, {}).get(metric)) for task, metric in columns), ""]
    if with_lead and "switched" in cell:
        other = cell["switched"]
        yield [f"`{name}`, thinking switched", *(_seeds(other.get(task, {}).get(metric)) for task, metric in columns), _unread_cell(other)]
        yield [f"Δ to `{name}`", *(_lead(other.get(task, {}).get(metric)) for task, metric in columns), ""]


def _seeds(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    interval = level_interval(figure)
    return f"{figure['mean']:.1f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def level_interval(figure: Mapping[str, Any]) -> tuple[float, float] | None:
    """A level's interval over seeds, cut off at 0 and 100: Student's t of a few seeds knows nothing of what a share can be. (A user's own
    metric may go beyond; it is cut off at its seeds' own values then.) None of one seed."""
    interval = figure.get("ci95_seeds")
    if not interval:
        return None
    return max(interval[0], min(0.0, *figure["by_seed"])), min(interval[1], max(100.0, *figure["by_seed"]))


def _lead(figure: Mapping[str, Any] | None) -> str:
    lead = (figure or {}).get("against")
    if not lead:
        return ""
    text = f"{lead['mean']:+.1f}"
    if not lead["ci95"]:
        return text
    low, high = lead["ci95"]
    text = f"{text} [{low:+.1f}, {high:+.1f}]"
    intervals = [lead["ci95"], lead.get("ci95_videos") or [0.0, 0.0]]
    return f"**{text}**" if all(low > 0 for low, _ in intervals) or all(high < 0 for _, high in intervals) else text


def _plain(figures: Mapping[str, Any], metric: str) -> str:
    if metric not in figures:
        return ""
    interval = figures.get(f"{metric}_ci95")
    return f"{figures[metric]:.1f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def _trivial(table: Mapping[str, Any], task: str, metric: str) -> str:
    known = {name: figures for name, figures in table["baselines"].get(task, {}).items() if figures.get(metric) is not None}
    if not known:
        return ""
    best = max(known, key=lambda name: known[name][metric])
    return f"{_plain(known[best], metric)} ({best.replace('_', ' ')})"


def _unread(figures: Mapping[str, Mapping[str, Any]]) -> str:
    asked = sum(one["n"] for one in figures.values())
    return f"{100 * sum(one['unparsed'] for one in figures.values()) / asked:.1f}" if asked else ""


def _unread_cell(figures: Mapping[str, Mapping[str, Any]]) -> str:
    return _unread({task: {"n": one["n"]["mean"], "unparsed": one["unparsed"]["mean"]} for task, one in figures.items()})


def _times(table: Mapping[str, Any]) -> list[str]:
    rows = ["| cell | training, seconds a seed | last reward |", "| --- | ---: | ---: |"]
    for name, cell in table["cells"].items():
        seconds = sum(cell["seconds"]) / len(cell["seconds"])
        rewards = [reward for reward in cell["reward"] if reward is not None]
        rows.append(f"| `{name}` | {seconds:.0f} | {sum(rewards) / len(rewards):.2f} |" if rewards else f"| `{name}` | {seconds:.0f} | |")
    return rows


def draw_curve(path: Path, table: Mapping[str, Any]) -> bool:
    """Held-out figures by the number of samples, a panel for each task's headline, as a PNG. False, and nothing written, where no line of
    the table has two points."""
    lines: dict[str, dict[int, str]] = {}
    for name, cell in table["cells"].items():
        if cell["curve"]:
            lines.setdefault(cell["curve"], {})[cell["trained_on"]] = name
    lines = {label: dict(sorted(points.items())) for label, points in lines.items() if len(points) > 1}
    if not lines:
        return False
    import matplotlib
    from matplotlib.figure import Figure

    from videochat_r1.evaluation.plots import STYLE

    columns = headlines(table)
    per_row = min(3, len(columns))
    rows = -(-len(columns) // per_row)
    style: Any = STYLE
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.4 * per_row, 2.5 * rows), layout="constrained")
        panels = figure.subplots(rows, per_row, squeeze=False)
        for place, axis in enumerate(panels.flat):
            if place < len(columns):
                _draw_panel(axis, table, *columns[place], lines)
            else:
                axis.set_axis_off()
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=7)
        figure.supxlabel(textwrap.fill(_what_is_shown(table), 58 * per_row), fontsize=7)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    return True


def _what_is_shown(table: Mapping[str, Any]) -> str:
    """What points and bars are."""
    seeds = len(table["seeds"])
    if seeds < 2:
        return "Points: held-out questions, greedy answers, per cent; one training run."
    bars = "bars: 95 % interval over seeds (Student's t), cut off at 0 and 100"
    return f"Points: mean of {seeds} training runs (seeds), per cent of held-out questions; {bars}."


def _colours(lines: Mapping[str, Any]) -> list[str]:
    """A line that a report has a model for has its colour there; the others have the spare ones in turn."""
    known = {"GRPO": MODELS["rft"].colour, "SFT": MODELS["sft"].colour}
    spare = itertools.cycle(SPARE_COLOURS)
    return [known.get(label) or next(spare) for label in lines]


def _draw_panel(axis: Any, table: Mapping[str, Any], task: str, metric: str, lines: Mapping[str, Mapping[int, str]]) -> None:
    import numpy as np

    for place, ((label, points), colour) in enumerate(zip(lines.items(), _colours(lines), strict=True)):
        figures = [table["cells"][name]["results"].get(task, {}).get(metric) for name in points.values()]
        known = [(count, one) for count, one in zip(points, figures, strict=True) if one]
        means = [one["mean"] for _, one in known]
        lows, highs = zip(*(level_interval(one) or (one["mean"], one["mean"]) for _, one in known), strict=True)
        reach = np.abs(np.array([lows, highs]) - np.array(means))
        counts = [count * 1.04 ** (place - (len(lines) - 1) / 2) for count, _ in known]  # side by side, or intervals hide each other
        axis.errorbar(counts, means, yerr=reach, marker="o", markersize=3.5, linewidth=1.4, capsize=2.5, color=colour, label=label)
    ticks = sorted({count for points in lines.values() for count in points})
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, labels=[f"{count:,}" for count in ticks])
    axis.minorticks_off()
    if metric in table["base"].get(task, {}):
        axis.axhline(table["base"][task][metric], color=MODELS["base"].colour, linewidth=1.0, linestyle="--", label="base")
    known_trivial = [figures[metric] for figures in table["baselines"].get(task, {}).values() if figures.get(metric) is not None]
    if known_trivial:
        axis.axhline(max(known_trivial), color=TRIVIAL.colour, linewidth=1.0, linestyle=":", label="best trivial")
    axis.set_title(f"{task_name(task)}, {metric}")
    axis.set_xlabel("training samples")
