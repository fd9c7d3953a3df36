"""The page's charts as inline SVG: small, in CSS classes instead of colours, and readable without a mouse or a script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from videochat_r1.evaluation.curves import Series
from videochat_r1.evaluation.legend import NAMED, SPARE_COLOURS, TRIVIAL, look, one_line
from videochat_r1.evaluation.markup import Markup, element
from videochat_r1.evaluation.strata import Histogram
from videochat_r1.evaluation.tables import Cell, Row, bars_of

WIDTH = 340.0
LETTER = 7.0
"""Width of a bold figure at the page's 11 pixels, in the widest of its fonts."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def css_name(model: str, models: Sequence[str]) -> str:
    """The class suffix of a model: its own name for the known three, else its place among the others. Never a text from outside."""
    if model in NAMED:
        return model
    others = [name for name in models if name not in NAMED]
    return f"spare{others.index(model) % len(SPARE_COLOURS) if model in others else 0}"


def drawing(width: float, height: float, *content: Markup | Sequence[Markup], label: str, **attributes: object) -> Markup:
    """An SVG picture with a name for those who do not see it."""
    return element("svg", *content, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label, **attributes)


def words(x: float, y: float, text: str, anchor: str = "start", strong: bool = False) -> Markup:
    """A line of text; y is its baseline."""
    return element("text", text, x=x, y=y, text_anchor=anchor, class_="strong" if strong else None)


def wide(text: str) -> float:
    """The room that a short text may take."""
    return LETTER * len(text)


def bars(row: Row) -> Markup:
    """Trivial answers, then models, as bars from 0 to 100 with their 95 % intervals and their figures."""
    found, left, right, step = bars_of(row), 96.0, 40.0, 21.0
    scale = (WIDTH - left - right) / 100
    models = list(row.models)
    css = [
        "trivial" if item is TRIVIAL else css_name(model, models)
        for (_, item, _, _), model in zip(found, [""] * len(row.trivial) + models, strict=True)
    ]
    parts = []
    for place, ((name, item, cell, best), class_) in enumerate(zip(found, css, strict=True)):
        top, quiet = place * step, item is TRIVIAL and not best
        parts.append(words(left - 8, top + 13, one_line(name, 17), "end", strong=item is not TRIVIAL))
        parts.append(element("rect", x=left, y=top + 2, width=100 * scale, height=14.0, rx=3.0, class_="track"))
        if cell.value is not None:
            width = max(cell.value * scale, 1.0)
            parts.append(
                element("rect", x=left, y=top + 2, width=width, height=14.0, rx=3.0, class_=f"fill-{class_}{' dim' if quiet else ''}")
            )
        if cell.low is not None and cell.high is not None and item is not TRIVIAL:
            low, high = left + cell.low * scale, left + cell.high * scale
            parts.append(
                element("path", d=f"M{low:.1f} {top + 9:g}H{high:.1f}M{low:.1f} {top + 6:g}v6M{high:.1f} {top + 6:g}v6", class_="whisker")
            )
        parts.append(words(WIDTH, top + 13, cell.value_text, "end", strong=item is not TRIVIAL or best))
    label = "; ".join(f"{name} {cell}" for name, _, cell, _ in found)
    return drawing(WIDTH, len(found) * step, parts, label=label)


def curve(item: Series) -> Markup:
    """Raw values as points, their running mean as a line, its last value written at its end."""
    height, top, bottom = 170.0, 20.0 if item.power else 12.0, 22.0
    marks = nice_marks(min(0.0, *item.values), max(0.0, *item.values))
    low, high = marks[0], marks[-1]
    named, ends = [f"{mark / 10.0**item.power:.4g}" for mark in marks], item.text(item.smooth[-1])
    left, right = max(map(wide, named)) + 8, wide(ends) + 8
    first, last = item.steps[0], item.steps[-1]

    def x_of(step: float) -> float:
        return left + (step - first) / ((last - first) or 1.0) * (WIDTH - left - right)

    def y_of(value: float) -> float:
        return top + (high - value) / ((high - low) or 1.0) * (height - top - bottom)

    parts = [words(0, 9, f"× 10{str(item.power).translate(RAISED)}")] if item.power else []
    for mark, name in zip(marks, named, strict=True):
        parts.append(element("path", d=f"M{left:g} {y_of(mark):.1f}H{WIDTH - right:g}", class_="rule"))
        parts.append(words(left - 6, y_of(mark) + 4, name, "end"))
    for step in sorted({first, last}):
        parts.append(
            words(x_of(step), height - 6, f"step {step:.0f}" if step == first else f"{step:.0f}", "start" if step == first else "end")
        )
    # A thousand points are all that 300 pixels show; the line is thinned alike.
    stride = max(1, len(item.steps) // 1000)
    points = "".join(f"M{x_of(step):.1f} {y_of(value):.1f}h0" for step, value in list(zip(item.steps, item.values, strict=True))[::stride])
    kept = sorted({*range(0, len(item.steps), stride), len(item.steps) - 1})
    line = "M" + "L".join(f"{x_of(item.steps[index]):.1f} {y_of(item.smooth[index]):.1f}" for index in kept)
    parts.append(element("path", d=points, class_="line-rft raw", stroke_width=3.2, stroke_linecap="round"))
    parts.append(element("path", d=line, class_="line-rft smooth"))
    parts.append(words(x_of(last) + 6, y_of(item.smooth[-1]) + 4, ends, strong=True))
    return drawing(
        WIDTH, height, parts, label=f"{item.name}: {item.smooth[0]:.3g} at step {first:.0f}, {item.smooth[-1]:.3g} at step {last:.0f}"
    )


def levels(table: Sequence[tuple[str, Row]], models: Sequence[str]) -> Markup:
    """One metric at each level: a dot with its interval for each model, a dashed line for the best trivial answer."""
    height, left, top, bottom = 180.0, 30.0, 8.0, 24.0
    room = (WIDTH - left) / len(table)

    def y_of(value: float) -> float:
        return top + (100 - value) / 100 * (height - top - bottom)

    parts = []
    for mark in (0.0, 50.0, 100.0):
        parts.append(element("path", d=f"M{left:g} {y_of(mark):.1f}H{WIDTH:g}", class_="rule"))
        parts.append(words(left - 6, y_of(mark) + 4, f"{mark:.0f}", "end"))
    for place, (level, row) in enumerate(table):
        middle = left + (place + 0.5) * room
        parts.append(words(middle, height - 6, one_line(level, max(6, int(room / 6.2))), "middle"))
        if row.best_trivial and row.best_trivial[1].value is not None:
            y = y_of(row.best_trivial[1].value)
            parts.append(element("path", d=f"M{middle - 0.38 * room:.1f} {y:.1f}h{0.76 * room:.1f}", class_="mark line-trivial"))
        for number, model in enumerate(models):
            cell, x = row.models.get(model, Cell()), middle + (number - (len(models) - 1) / 2) * min(20.0, room / (len(models) + 1))
            class_ = css_name(model, models)
            if cell.low is not None and cell.high is not None:
                parts.append(
                    element("path", d=f"M{x:.1f} {y_of(cell.low):.1f}V{y_of(cell.high):.1f}", class_=f"line-{class_}", stroke_width=2)
                )
            if cell.value is not None:
                parts.append(element("circle", cx=x, cy=y_of(cell.value), r=4.0, class_=f"fill-{class_}"))
    label = "; ".join(
        f"{level}: " + ", ".join(f"{look(model, models).name} {cell}" for model, cell in row.models.items()) for level, row in table
    )
    return drawing(WIDTH, height, parts, label=label)


def histogram(item: Histogram) -> Markup:
    """Overlaps from 0 to 1 in equal bins: for each model a bar beside the others' in every bin, as a share of all answers."""
    height, left, right, top, bottom = 170.0, 46.0, 6.0, 10.0, 24.0
    models = list(item.counts)
    bins = len(next(iter(item.counts.values())))
    shares = {model: [100.0 * count / max(sum(counts), 1) for count in counts] for model, counts in item.counts.items()}
    marks = nice_marks(0.0, max(max(own) for own in shares.values()))
    room = (WIDTH - left - right) / bins

    def y_of(value: float) -> float:
        return top + (marks[-1] - value) / marks[-1] * (height - top - bottom)

    parts = []
    for mark in marks:
        parts.append(element("path", d=f"M{left:g} {y_of(mark):.1f}H{WIDTH - right:g}", class_="rule"))
        parts.append(words(left - 6, y_of(mark) + 4, f"{mark:.0f} %", "end"))
    for place, model in enumerate(models):
        width = (room - 3) / len(models)
        for number, share in enumerate(shares[model]):
            if share:
                x, y = left + number * room + 1.5 + place * width, y_of(share)
                parts.append(element("rect", x=x, y=y, width=width, height=y_of(0) - y, class_=f"fill-{css_name(model, models)}"))
    for edge in range(0, bins + 1, max(bins // 5, 1)):
        parts.append(
            words(left + edge * room, height - 6, f"{edge / bins:.1f}", "middle" if 0 < edge < bins else "start" if not edge else "end")
        )
    label = "; ".join(f"{look(model, models).name}: " + ", ".join(map(str, counts)) for model, counts in item.counts.items())
    return drawing(WIDTH, height, parts, label=f"Answers by overlap, in {bins} bins from 0 to 1: {label}")


def phases(seconds: Mapping[str, float]) -> Markup:
    """What share of the time each phase took, as a table of bars."""
    total = sum(seconds.values()) or 1.0
    lines = []
    for name, value in seconds.items():
        bar = drawing(
            100,
            10,
            element("rect", x=0, y=0, width=max(100 * value / total, 0.3), height=10, class_="fill-trivial"),
            label=f"{100 * value / total:.0f} %",
            preserveAspectRatio="none",
        )
        lines.append(
            [element("span", one_line(name, 30)), element("span", bar, class_="lane"), element("span", f"{value:.1f} s", class_="score")]
        )
    return element("div", lines, class_="time")


def nice_marks(low: float, high: float) -> list[float]:
    """Four to seven round values from at most `low` to at least `high`."""
    span = (high - low) or 1.0
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if span / (size * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil((high if high > low else low + span) / step - 1e-9)
    return [index * step for index in range(first, last + 1)]
