"""The report's figures as PNG, drawn with matplotlib's Agg canvas alone: no pyplot, so no global state, and the same bytes every time.

matplotlib is imported on the first figure and not with this module."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.evaluation.curves import Series
from videochat_r1.evaluation.examples import Example, Picture, Strip, StripFrame, Timeline, answer_words, filmstrip, strip, timeline
from videochat_r1.evaluation.legend import GIVEN, ON_FRAMES, TRIVIAL, TRUTH, Look, drawn_order, in_order, look, one_line, task_name
from videochat_r1.evaluation.strata import Histogram
from videochat_r1.evaluation.tables import Cell, Row, bars_of
from videochat_r1.rewards.choices import LETTERS, lettered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, TRACK, WASH = "#1C2026", "#646B76", "#E6E8EC", "#F1F3F6", "#D9F2E6"
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
WIDTH_IN = 10.0
Dash = tuple[float, ...]
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
    size = min(8.5, *(8.5 * room_in / (1.2 * _text_in(title, 8.5)) for title in titles))  # bold letters are broader
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


class Sheet:
    """A page measured in inches from its upper left corner: frames, bars and words are put where they belong, and no layout is guessed."""

    MARGIN_IN, LEFT_IN, RIGHT_IN = 0.15, 1.15, 0.7
    THIN, BROAD, EDGE = 1.0, 2.2, 1.0  # outlines of the truth and of models, in points, and how much broader their dark edges are

    def __init__(self, height_in: float) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(WIDTH_IN, height_in))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, WIDTH_IN)
        self.axes.set_ylim(height_in, 0)

    def words(self, x: float, y: float, text: str, **look_: Any) -> None:
        self.axes.text(x, y, one_line(text), **{"va": "center", "fontsize": 8, **look_})

    def picture(self, picture: Picture, x: float, y: float, width_in: float, height_in: float) -> None:
        """A frame in its cell, never stretched; small ones show their pixels."""
        small = max(picture.pixels_HWC.shape[:2]) < 160
        self.axes.imshow(
            picture.pixels_HWC,
            extent=(x, x + width_in, y + height_in, y),
            aspect="auto",
            interpolation="nearest" if small else "antialiased",
            zorder=1,
        )

    def rectangle(self, x: float, y: float, width_in: float, height_in: float, **look_: Any) -> None:
        from matplotlib.patches import Rectangle

        self.axes.add_patch(Rectangle((x, y), width_in, height_in, **{"linewidth": 0, **look_}))

    def key(self, x: float, y: float, who: str, item: Look) -> None:
        """A piece of an outline with its dark edge, a third of an inch wide."""
        width, colour = (self.THIN, ON_FRAMES) if who == "truth" else (self.BROAD, item.colour)
        style: Any = (0, item.dash) if item.dash else "-"
        self.axes.plot([x, x + 0.3], [y, y], color="#000000", alpha=0.55, linewidth=width + self.EDGE, solid_capstyle="butt")
        self.axes.plot([x, x + 0.3], [y, y], color=colour, linewidth=width, linestyle=style, solid_capstyle="butt", dash_capstyle="butt")

    def outline(
        self, x: float, y: float, width_in: float, height_in: float, *, colour: str, width: float, dash: Dash = (), alpha: float = 1.0
    ) -> None:
        style: Any = (0, dash) if dash else "-"
        look_ = {"fill": False, "zorder": 3, "joinstyle": "miter", "capstyle": "butt", "linestyle": style, "linewidth": width}
        self.rectangle(x, y, width_in, height_in, edgecolor=colour, alpha=alpha, **look_)


def example_figure(example: Example) -> Figure:
    """One example: what was asked, the frames with boxes or spans, and what each model answered."""
    models = in_order(example.answers)
    title = textwrap.wrap(one_line(example.sample.question, 330) or task_name(example.sample.task), 122)
    options = [one_line(option, 130) for option in lettered(example.sample.options)]
    tracked, timed = strip(example), timeline(example)
    said = 0 if options or tracked or timed else len(models) + 1
    picture_in = _strip_height(tracked, models) if tracked else _timeline_height(timed, models) if timed else _row_height(example)
    sheet = Sheet(0.42 + 0.17 * len(title) + picture_in + 0.2 * len(options) + 0.2 * said + 0.12)
    y = _heading(sheet, example, models, title, boxes=tracked is not None)
    if tracked:
        _draw_strip(sheet, y, tracked, models)
    elif timed:
        _draw_timeline(sheet, y, timed, models)
    else:
        _draw_row(sheet, y, filmstrip(example))
    y += picture_in
    if options:
        _draw_options(sheet, y, example, options, models)
    elif said:
        _draw_answers(sheet, y, example, models)
    return sheet.figure


def _heading(sheet: Sheet, example: Example, models: Sequence[str], title: Sequence[str], *, boxes: bool) -> float:
    """What it is about, and who is who as the picture shows them: by outlines, or by bars and squares."""
    keys = [("truth", TRUTH), *((model, look(model, models)) for model in models)]
    x = WIDTH_IN - sheet.MARGIN_IN
    for who, item in reversed(keys):
        name = one_line(item.name, 16)
        x -= _text_in(name, 7.5)
        sheet.words(x, 0.18, name, fontsize=7.5)
        x -= 0.36
        if boxes:
            sheet.key(x, 0.18, "truth" if who == "truth" else "", item)
        else:
            sheet.rectangle(x + 0.06, 0.12, 0.22, 0.12, color=item.colour)
        x -= 0.16
    about = " · ".join(filter(None, (task_name(example.sample.task), example.sample.id, example.why)))
    sheet.words(sheet.MARGIN_IN, 0.18, one_line(about, int((x - sheet.MARGIN_IN) / _text_in("n", 7.5))), color=FAINT, fontsize=7.5)
    for number, line in enumerate(title):
        sheet.words(sheet.MARGIN_IN, 0.42 + 0.17 * number, line, fontsize=9, fontweight="bold")
    return 0.4 + 0.17 * len(title)


def _text_in(text: str, size: float) -> float:
    """The width in inches of a line of text, as it is drawn."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans")).get_extents().width) / 72


def _cell_size(pictures: Sequence[Picture], room_in: float, widest_in: float = 1.9, tallest_in: float = 1.8) -> tuple[float, float]:
    """Width and height in inches of the cells of a row of frames; all frames of a clip have one shape."""
    height, width = pictures[0].pixels_HWC.shape[:2]
    cell_in = min(room_in / len(pictures), widest_in)
    scale = min((cell_in - 0.06) / width, tallest_in / height)
    return width * scale, height * scale


def _strip_room() -> float:
    return WIDTH_IN - Sheet.LEFT_IN - Sheet.RIGHT_IN - Sheet.MARGIN_IN


def _strip_height(found: Strip, models: Sequence[str]) -> float:
    return _cell_size([frame.picture for frame in found.frames], _strip_room())[1] + 0.27 + 0.17 * len(models)


def _draw_strip(sheet: Sheet, y: float, found: Strip, models: Sequence[str]) -> None:
    width_in, height_in = _cell_size([frame.picture for frame in found.frames], _strip_room())
    sheet.words(sheet.MARGIN_IN, y + height_in + 0.14, "second", color=FAINT, fontsize=7.5)
    for number, model in enumerate(models):
        line = y + height_in + 0.32 + 0.17 * number
        sheet.words(sheet.MARGIN_IN, line, f"{one_line(look(model, models).name, 13)} IoU", fontsize=7.5, color=look(model, models).colour)
        mean_x = sheet.LEFT_IN + len(found.frames) * (width_in + 0.06) + 0.12
        sheet.words(mean_x, line, f"mean {found.overlaps[model]:.2f}", fontsize=7.5, fontweight="bold", color=look(model, models).colour)
    for place, frame in enumerate(found.frames):
        x = sheet.LEFT_IN + place * (width_in + 0.06)
        sheet.picture(frame.picture, x, y, width_in, height_in)
        _draw_boxes(sheet, frame, (x, y, width_in, height_in), models)
        label = f"{frame.picture.time_s:.1f} s" + (" given" if frame.given else "")
        sheet.words(x + width_in / 2, y + height_in + 0.14, label, ha="center", fontsize=7.5, fontweight="bold")
        for number, model in enumerate(models):
            if not frame.given:
                line = y + height_in + 0.32 + 0.17 * number
                sheet.words(
                    x + width_in / 2, line, f"{frame.overlaps[model]:.2f}", ha="center", fontsize=7.5, color=look(model, models).colour
                )


def _draw_boxes(sheet: Sheet, frame: StripFrame, cell: tuple[float, float, float, float], models: Sequence[str]) -> None:
    """Every box's dark edge first, then their outlines, the truth last: none hides another."""
    x, y, width_in, height_in = cell
    places = {}
    for who, box in frame.boxes.items():
        x0, y0, x1, y1 = (min(max(side, -0.02), 1.02) for side in box)
        if x1 > x0 and y1 > y0:
            places[who] = (x + x0 * width_in, y + y0 * height_in, (x1 - x0) * width_in, (y1 - y0) * height_in)
    for who, place in places.items():
        sheet.outline(*place, colour="#000000", width=(Sheet.THIN if who == "truth" else Sheet.BROAD) + Sheet.EDGE, alpha=0.55)
    for who in drawn_order(places):
        if who == "truth":
            sheet.outline(*places[who], colour=ON_FRAMES, width=Sheet.THIN, dash=GIVEN.dash if frame.given else ())
        else:
            sheet.outline(*places[who], colour=look(who, models).colour, width=Sheet.BROAD, dash=look(who, models).dash)


def _slot_size(found: Timeline) -> tuple[float, float]:
    return _cell_size(found.pictures, _strip_room(), widest_in=9.9, tallest_in=1.5) if found.pictures else (0.0, 0.0)


def _timeline_height(found: Timeline, models: Sequence[str]) -> float:
    return _slot_size(found)[1] + 0.12 + 0.24 * (len(models) + 1) + 0.26


def _draw_timeline(sheet: Sheet, y: float, found: Timeline, models: Sequence[str]) -> None:
    room_in, (width_in, height_in) = _strip_room(), _slot_size(found)

    def x_of(time_s: float) -> float:
        return sheet.LEFT_IN + time_s / found.duration_s * room_in

    for place, picture in enumerate(found.pictures):
        middle = sheet.LEFT_IN + (place + 0.5) * room_in / len(found.pictures)
        sheet.picture(picture, middle - width_in / 2, y, width_in, height_in)
    top = y + height_in + 0.12
    lines = [(TRUTH, found.truth, "IoU")] + [(look(model, models), found.spans[model], f"{found.overlaps[model]:.2f}") for model in models]
    for start, end in found.truth:
        sheet.rectangle(x_of(start), top - 0.05, x_of(end) - x_of(start), 0.07 + 0.24 * len(lines), color=WASH, zorder=-1)
    for number, model in enumerate(models, start=1):
        if model in found.empty:
            sheet.words(sheet.LEFT_IN + 0.08, top + 0.24 * number + 0.115, one_line(found.empty[model], 90), fontsize=7, color=FAINT)
    for number, (item, spans, score) in enumerate(lines):
        line = top + 0.24 * number
        sheet.rectangle(sheet.LEFT_IN, line + 0.03, room_in, 0.17, color=TRACK, zorder=0)
        sheet.words(sheet.MARGIN_IN, line + 0.115, one_line(item.name, 16), fontsize=8)
        for start, end in spans:
            sheet.rectangle(x_of(start), line + 0.03, max(x_of(end) - x_of(start), 0.02), 0.17, color=item.colour, zorder=3)
        sheet.words(
            sheet.LEFT_IN + room_in + 0.1,
            line + 0.115,
            score,
            fontsize=8,
            fontweight="bold" if number else "normal",
            color=INK if number else FAINT,
        )
    axis = top + 0.24 * len(lines) + 0.02
    for part in range(5):
        time_s = found.duration_s * part / 4
        sheet.axes.plot([x_of(time_s)] * 2, [axis, axis + 0.05], color="#C9CDD4", linewidth=0.8)
        sheet.words(x_of(time_s), axis + 0.13, f"{time_s:.1f} s", ha="center", fontsize=7, color=FAINT)


def _row_height(example: Example) -> float:
    found = filmstrip(example)
    return _cell_size(found, WIDTH_IN - 2 * Sheet.MARGIN_IN)[1] + 0.35 if found else 0.1


def _draw_row(sheet: Sheet, y: float, found: Sequence[Picture]) -> None:
    if not found:
        return
    width_in, height_in = _cell_size(found, WIDTH_IN - 2 * sheet.MARGIN_IN)
    for place, picture in enumerate(found):
        x = sheet.MARGIN_IN + place * (width_in + 0.06)
        sheet.picture(picture, x, y, width_in, height_in)
        sheet.words(x + width_in / 2, y + height_in + 0.13, f"{picture.time_s:.1f} s", ha="center", fontsize=7.5)


def _draw_options(sheet: Sheet, y: float, example: Example, options: Sequence[str], models: Sequence[str]) -> None:
    picked: Mapping[str, str | None] = {
        "truth": example.sample.truth.choice,
        **{model: answer.reading.answer.choice if answer.reading.answer else None for model, answer in example.answers.items()},
    }
    for number, (letter, option) in enumerate(zip(LETTERS, options, strict=False)):
        line = y + 0.1 + 0.2 * number
        right = letter == picked["truth"]
        chosen_by = [(TRUTH if who == "truth" else look(who, models)) for who in ("truth", *models) if picked.get(who) == letter]
        for place, item in enumerate(chosen_by):
            sheet.rectangle(sheet.MARGIN_IN + 0.2 * place, line - 0.06, 0.14, 0.12, color=item.colour)
        sheet.words(sheet.LEFT_IN, line, option, fontweight="bold" if right else "normal")


def _draw_answers(sheet: Sheet, y: float, example: Example, models: Sequence[str]) -> None:
    said = [(TRUTH, answer_words(example.sample.truth))]
    said += [
        (look(model, models), answer_words(example.answers[model].reading.answer, example.answers[model].reading.reason))
        for model in models
    ]
    for number, (item, words) in enumerate(said):
        line = y + 0.1 + 0.2 * number
        sheet.words(sheet.MARGIN_IN, line, one_line(item.name, 16), color=item.colour, fontweight="bold")
        sheet.words(sheet.LEFT_IN, line, one_line(words, 125))


def _short(text: str, longest: int) -> str:
    return one_line(text, longest)
