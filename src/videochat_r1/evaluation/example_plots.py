"""Examples as pictures: frames with boxes, timelines with spans, options and answers, on a sheet that is measured in inches.

matplotlib is imported on the first picture and not with this module; plots.py writes the files."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from videochat_r1.evaluation.examples import Example, Picture, Strip, StripFrame, Timeline, answer_words, filmstrip, strip, timeline
from videochat_r1.evaluation.legend import GIVEN, ON_FRAMES, TRUTH, Look, drawn_order, in_order, look, one_line, task_name
from videochat_r1.rewards.choices import LETTERS, lettered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, TRACK, WASH = "#1C2026", "#646B76", "#F1F3F6", "#D9F2E6"
WIDTH_IN = 10.0
Dash = tuple[float, ...]


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
        x -= text_in(name, 7.5)
        sheet.words(x, 0.18, name, fontsize=7.5)
        x -= 0.36
        if boxes:
            sheet.key(x, 0.18, "truth" if who == "truth" else "", item)
        else:
            sheet.rectangle(x + 0.06, 0.12, 0.22, 0.12, color=item.colour)
        x -= 0.16
    about = " · ".join(filter(None, (task_name(example.sample.task), example.sample.id, example.why)))
    sheet.words(sheet.MARGIN_IN, 0.18, one_line(about, int((x - sheet.MARGIN_IN) / text_in("n", 7.5))), color=FAINT, fontsize=7.5)
    for number, line in enumerate(title):
        sheet.words(sheet.MARGIN_IN, 0.42 + 0.17 * number, line, fontsize=9, fontweight="bold")
    return 0.4 + 0.17 * len(title)


def text_in(text: str, size: float) -> float:
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
