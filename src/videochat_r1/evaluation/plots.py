"""The report's figures as PNG, drawn with matplotlib's Agg canvas alone: no pyplot, so no global state, and the same bytes every time.

matplotlib is imported on the first figure and not with this module."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.evaluation.curves import Series
from videochat_r1.evaluation.example_plots import FAINT, INK, WIDTH_IN, example_figure, text_in
from videochat_r1.evaluation.examples import Example
from videochat_r1.evaluation.legend import TRIVIAL, Look, in_order, look, one_line, task_name
from videochat_r1.evaluation.strata import Histogram
from videochat_r1.evaluation.tables import Cell, Row, bars_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = "#E6E8EC"
STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a question is a dollar
    "axes.edgecolor": "#C9CDD4",
    "axes.labelcolor": FAINT,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "grid.color": GRID,
    "figure.facecolor": "white",
    "figure.dpi": 130.0,
    "savefig.facecolor": "white",
    "path.simplify": True,
    "agg.path.chunksize": 0,
}
OWN = re.compile(r"(reward_curves|training|before_after|levels|overlaps|strata|example_\d+)\.png")
"""The files that write_figures writes."""


def write_figures(
    folder: Path,
    *,
    rewards: Sequence[Series],
    health: Sequence[Series],
    headlines: Sequence[Row],
    levels: Sequence[tuple[str, Row]],
    examples: Sequence[Example],
    strata: Sequence[tuple[str, Row]] = (),
    histograms: Sequence[Histogram] = (),
) -> dict[str, str]:
    """Draw what there is something of into folder, and return {figure: file name}: "rewards", "training", "before_after", "levels",
    "overlaps", "strata" and "example 1" onwards. Figures of these names that an earlier report left, and this one has not, are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, tuple[str, Callable[[], Figure]]] = {}
    if rewards:
        drawn["rewards"] = ("reward_curves.png", lambda: curves_figure(rewards, "reward"))
    if health:
        drawn["training"] = ("training.png", lambda: curves_figure(health, ""))
    if headlines:
        drawn["before_after"] = ("before_after.png", lambda: bars_figure(headlines))
    if levels:
        drawn["levels"] = ("levels.png", lambda: levels_figure(levels))
    if histograms:
        drawn["overlaps"] = ("overlaps.png", lambda: histograms_figure(histograms))
    if strata:
        drawn["strata"] = ("strata.png", lambda: levels_figure(strata))
    for number, example in enumerate(examples, start=1):
        if example.clip is not None:
            drawn[f"example {number}"] = (f"example_{number:02d}.png", partial(example_figure, example))
    with _style():
        for file_name, draw in drawn.values():
            draw().savefig(folder / file_name, metadata={"Software": None})
    current = {file_name for file_name, _ in drawn.values()}
    for old in folder.glob("*.png"):
        if old.name not in current and OWN.fullmatch(old.name):
            old.unlink(missing_ok=True)
    return {figure: file_name for figure, (file_name, _) in drawn.items()}


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    style: Any = STYLE
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from", category=UserWarning
        )  # a letter of a script without a font is a box
        yield


def _panels(count: int, height_in: float, per_row: int = 3, below_in: float = 0.1) -> tuple[Figure, list[Axes]]:
    """A figure of `count` equal panels, three beside each other, placed by hand: quicker and steadier than a layout engine. below_in: room
    under the last row."""
    from matplotlib.figure import Figure

    per_row = min(per_row, count)
    rows = -(-count // per_row)
    width_in = WIDTH_IN if per_row == 3 else 3.6 * per_row
    total_in = rows * height_in + below_in
    figure = Figure(figsize=(width_in, total_in))
    axes = []
    for place in range(count):
        column, row = place % per_row, place // per_row
        cell_in = width_in / per_row
        left, bottom = column * cell_in + 0.45, total_in - (row + 1) * height_in + 0.32
        axes.append(figure.add_axes((left / width_in, bottom / total_in, (cell_in - 0.85) / width_in, (height_in - 0.62) / total_in)))
    return figure, axes


def curves_figure(found: Sequence[Series], quantity: str) -> Figure:
    """One panel a series: the raw values as points and their running mean as a line."""
    figure, panels = _panels(len(found), 1.95)
    colour = look("rft", ()).colour
    for axes, item in zip(panels, found, strict=True):
        axes.scatter(item.steps, item.values, s=5, color=colour, alpha=0.28, linewidths=0)
        axes.plot(item.steps, item.smooth, color=colour, linewidth=1.8, solid_capstyle="round")
        axes.annotate(
            item.text(item.smooth[-1]),
            (item.steps[-1], item.smooth[-1]),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            fontweight="bold",
            color=colour,
            annotation_clip=False,
        )
        axes.set_title(item.name)
        low, high = min(0.0, *item.values), max(0.0, *item.values)
        axes.set_ylim(low, high + 0.06 * (high - low or 1.0))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.locator_params(axis="both", nbins=5)
        if item.power:
            axes.ticklabel_format(axis="y", style="sci", scilimits=(item.power, item.power))
        axes.set_ylabel(quantity, fontsize=7)
    for axes in panels[-3:]:
        axes.set_xlabel("step", fontsize=7, labelpad=1)
    return figure


def bars_figure(table: Sequence[Row]) -> Figure:
    """One panel a figure: every trivial answer, then every model with its 95 % interval."""
    longest = max(len(row.models) + len(row.trivial) for row in table)
    figure, panels = _panels(len(table), 0.72 + 0.24 * longest)
    for axes, row in zip(panels, table, strict=True):
        bars = bars_of(row)
        for place, (_, look_, cell, best) in enumerate(bars):
            _bar(axes, place, look_, cell, trivial=look_ is TRIVIAL, best=best)
        axes.set_yticks(range(len(bars)), [_short(name, 17) for name, *_ in bars], fontsize=7)
        for label, (_, look_, _, best) in zip(axes.get_yticklabels(), bars, strict=True):
            label.set_color(FAINT if look_ is TRIVIAL and not best else INK)
        axes.set_ylim(longest - 0.4, -0.6)
        axes.set_xlim(0, 118)
        axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"{_short(task_name(row.task), 24)} · {_short(row.metric, 14)}")
        box = axes.get_position()
        axes.set_position((box.x0 + 0.062, box.y0, box.width - 0.062, box.height))
    return figure


def _bar(axes: Axes, place: int, look_: Look, cell: Cell, *, trivial: bool, best: bool) -> None:
    if cell.value is None:
        axes.text(1.5, place, "–", va="center", color=FAINT)
        return
    axes.barh(place, cell.value, height=0.62, color=look_.colour, alpha=0.45 if trivial and not best else 1.0, linewidth=0)
    reach = cell.value
    if cell.low is not None and cell.high is not None and not trivial:
        axes.plot([cell.low, cell.high], [place, place], color=INK, linewidth=1.1, solid_capstyle="butt")
        axes.plot([cell.low, cell.high], [place, place], color=INK, linewidth=0, marker="|", markersize=4.5, markeredgewidth=1.1)
        reach = max(reach, cell.high)
    axes.text(reach + 2, place, cell.value_text, va="center", fontsize=7, fontweight="bold")


def levels_figure(table: Sequence[tuple[str, Row]]) -> Figure:
    """One panel a figure: its value at each level for each model, with its 95 % interval and the best trivial answer."""
    keys = list(dict.fromkeys((row.task, row.metric) for _, row in table))
    figure, panels = _panels(len(keys), 2.1, below_in=0.25)
    for axes, key in zip(panels, keys, strict=True):
        of_key = [(level, row) for level, row in table if (row.task, row.metric) == key]
        models = in_order(dict.fromkeys(model for _, row in of_key for model in row.models))
        for place, (_, row) in enumerate(of_key):
            if row.best_trivial and row.best_trivial[1].value is not None:
                axes.plot(
                    [place - 0.36, place + 0.36],
                    [row.best_trivial[1].value] * 2,
                    color=TRIVIAL.colour,
                    linewidth=1.6,
                    linestyle=(0, (1.5, 1)),
                )
            for number, model in enumerate(models):
                cell = row.models.get(model, Cell())
                x = place + (number - (len(models) - 1) / 2) * 0.22
                if cell.value is not None:
                    axes.plot(x, cell.value, marker="o", markersize=5, color=look(model, models).colour, zorder=3)
                if cell.low is not None and cell.high is not None:
                    axes.plot([x, x], [cell.low, cell.high], color=look(model, models).colour, linewidth=1.4)
        axes.set_xticks(range(len(of_key)), [_short(level, 16) for level, _ in of_key], va="baseline")
        axes.tick_params(axis="x", pad=11)
        axes.set_xlim(-0.6, len(of_key) - 0.4)
        axes.set_ylim(-3, 103)  # a dot at either end is whole
        axes.set_ylabel("%", fontsize=7, labelpad=0)
        axes.set_xlabel("(samples)", fontsize=7, labelpad=3)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    _fitting_titles(figure, panels, [f"{_short(task_name(task), 24)} · {_short(metric, 40)}" for task, metric in keys])
    everyone = in_order(dict.fromkeys(model for _, row in table for model in row.models))
    _legend_below(figure, [look(model, everyone) for model in everyone], trivial=any(row.trivial for _, row in table))
    return figure


def _fitting_titles(figure: Figure, panels: Sequence[Axes], titles: Sequence[str]) -> None:
    """The panels' titles, in letters as large as their width allows."""
    room_in = panels[0].get_position().width * figure.get_size_inches()[0]
    size = min(8.5, *(8.5 * room_in / (1.2 * text_in(title, 8.5)) for title in titles))  # bold letters are broader
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=size)


def histograms_figure(found: Sequence[Histogram]) -> Figure:
    """One panel a task: the share of each model's answers in every bin of overlap."""
    figure, panels = _panels(len(found), 2.1)
    models = in_order(dict.fromkeys(model for item in found for model in item.counts))
    for axes, item in zip(panels, found, strict=True):
        own = [model for model in models if model in item.counts]
        for place, model in enumerate(own):
            counts = item.counts[model]
            width = 0.9 / len(own)
            places = [number + 0.05 + (place + 0.5) * width for number in range(len(counts))]
            shares = [100 * count / max(sum(counts), 1) for count in counts]
            axes.bar(places, shares, width=width, color=look(model, models).colour, linewidth=0)
        bins = len(next(iter(item.counts.values())))
        axes.set_xticks([bins * part / 5 for part in range(6)], [f"{part / 5:.1f}" for part in range(6)])
        axes.set_xlim(0, bins)
        axes.set_ylabel("% of answers", fontsize=7)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_title(f"{_short(task_name(item.task), 24)} · IoU with the truth")
    _legend_below(figure, [look(model, models) for model in models], trivial=False, bars=True)
    return figure


def _legend_below(figure: Figure, looks: Sequence[Look], *, trivial: bool = True, bars: bool = False) -> None:
    from matplotlib.lines import Line2D

    mark: dict[str, Any] = {"marker": "s", "linewidth": 0, "markersize": 6} if bars else {"marker": "o", "linewidth": 1.4, "markersize": 5}
    marks: list[Line2D] = [Line2D([], [], color=item.colour, label=item.name, **mark) for item in looks]
    if trivial:
        marks.append(Line2D([], [], color=TRIVIAL.colour, linewidth=1.6, linestyle=(0, (1.5, 1)), label=TRIVIAL.name))
    figure.legend(handles=marks, loc="lower center", ncols=len(marks), frameon=False, fontsize=7, bbox_to_anchor=(0.5, -0.01))


def _short(text: str, longest: int) -> str:
    return one_line(text, longest)
