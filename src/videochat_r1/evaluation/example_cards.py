"""One example as a card of the page: the question, frames with boxes or spans, the options, and what each model answered."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from videochat_r1.evaluation.charts import css_name, drawing
from videochat_r1.evaluation.examples import Example, Picture, Strip, StripFrame, Timeline, answer_words, filmstrip, strip, timeline
from videochat_r1.evaluation.legend import TRUTH, drawn_order, in_order, look, one_line, plain, task_name
from videochat_r1.evaluation.markup import Markup, element, join
from videochat_r1.rewards.choices import LETTERS, lettered
from videochat_r1.types import Box

LONGEST_SIDE_PX = 320
"""Frames in the page are no larger than this: they are shown at 100 to 220 pixels."""
OUTLINE_PX = 3.0
"""Of a model's box; as in page.css."""
SMALL_PX = 160
"""Frames below this are shown with their pixels, not blurred."""


def example_card(example: Example, models: Sequence[str]) -> Markup:
    """models: all of the report, for their colours."""
    about = " · ".join(filter(None, (task_name(example.sample.task), one_line(example.sample.id, 80), example.why)))
    tracked, timed = strip(example), timeline(example)
    if tracked:
        shown = _strip(tracked, models)
    elif timed:
        shown = _timeline(timed, models)
    else:
        shown = element("div", [_frame(picture) for picture in filmstrip(example)], class_="frames")
    return element(
        "article",
        element("p", about, class_="about"),
        element("p", one_line(example.sample.question, 600), class_="question") if example.sample.question.strip() else None,
        shown,
        _options(example, models),
        _said(example, models) if not (tracked or timed or example.sample.options) else None,
        _answers(example, models),
        class_="card example",
    )


def picture_uri(picture: Picture) -> str:
    """A frame as a data URI: PNG where it is small and drawn, JPEG above that."""
    from PIL import Image

    image = Image.fromarray(picture.pixels_HWC)
    image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX))
    kind = "PNG" if max(image.size) < SMALL_PX else "JPEG"
    stream = io.BytesIO()
    image.save(stream, kind, **({"optimize": False} if kind == "PNG" else {"quality": 84}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _strip(found: Strip, models: Sequence[str]) -> Markup:
    means = [_score(model, models, f"{look(model, models).name} {found.overlaps[model]:.2f}") for model in in_order(found.overlaps)]
    given = any(frame.given for frame in found.frames)
    words = "Mean IoU of all boxes but the given one" if given else "Mean IoU of all boxes"
    frames = element("div", [_strip_frame(frame, models) for frame in found.frames], class_="frames")
    return join([frames, element("p", element("span", words, class_="what"), means, class_="means")])


def _score(model: str, models: Sequence[str], text: str) -> Markup:
    class_ = css_name(model, models)
    return element("span", element("span", class_=f"swatch of-{class_}"), text, class_=f"who of-{class_}")


def _strip_frame(frame: StripFrame, models: Sequence[str]) -> Markup:
    boxes = [
        ("truth" if who == "truth" else css_name(who, models), frame.boxes[who], _dash(who, frame.given, models))
        for who in drawn_order(frame.boxes)
    ]
    scores = [] if frame.given else [_score(model, models, f"{frame.overlaps[model]:.2f}") for model in in_order(frame.overlaps)]
    return _frame(frame.picture, boxes, scores, given=frame.given)


def _frame(picture: Picture, boxes: Sequence[tuple[str, Box, str]] = (), scores: Sequence[Markup] = (), given: bool = False) -> Markup:
    height, width = picture.pixels_HWC.shape[:2]
    places = [(class_, _place(box, width, height), dash) for class_, box, dash in boxes]
    shown = [(class_, place, dash) for class_, place, dash in places if place]
    edges = [element("rect", class_=f"casing{' thin' if class_ == 'truth' else ''} of-{class_}", **place) for class_, place, _ in shown]
    outlines = [
        element("rect", class_=f"box line-{class_} of-{class_}", stroke_dasharray=dash or None, **place) for class_, place, dash in shown
    ]
    svg = drawing(width, height, _image(picture), edges, outlines, label=f"Frame at {picture.time_s:.1f} s")
    second = element("b", f"{picture.time_s:.1f} s", element("span", " given", class_="given") if given else None)
    return element("figure", svg, element("figcaption", second, scores))


def _image(picture: Picture) -> Markup:
    height, width = picture.pixels_HWC.shape[:2]
    return element(
        "image", href=picture_uri(picture), width=width, height=height, class_="small" if max(height, width) < SMALL_PX else None
    )


def _place(box: Box, width: int, height: int) -> dict[str, float]:
    """Where a box lies on the picture; nothing of one that is empty."""
    x0, y0, x1, y1 = (min(max(side, -0.02), 1.02) for side in box)
    if x1 <= x0 or y1 <= y0:
        return {}
    return {"x": x0 * width, "y": y0 * height, "width": (x1 - x0) * width, "height": (y1 - y0) * height}


def _dash(who: str, given: bool, models: Sequence[str]) -> str:
    if who == "truth":
        return "3 3" if given else ""
    return " ".join(f"{OUTLINE_PX * length:g}" for length in look(who, models).dash)


def _timeline(found: Timeline, models: Sequence[str]) -> Markup:
    """Rows of three columns: a name, a lane from 0 to the clip's end, the IoU; the filmstrip stands over the lanes."""
    parts: list[Markup | list[Markup]] = []
    if found.pictures:
        parts.append(element("div", [_film_picture(picture) for picture in found.pictures], class_="film"))
    parts.append([_name("truth", TRUTH.name), _lane("truth", found.truth, found), element("span", "IoU", class_="unit of-truth")])
    for model in in_order(found.spans):
        class_ = css_name(model, models)
        score = element("span", f"{found.overlaps[model]:.2f}", class_=f"score of-{class_}")
        lane = _lane(class_, found.spans[model], found, one_line(found.empty.get(model, ""), 90))
        parts.append([_name(class_, look(model, models).name), lane, score])
    anchors = ("start", "middle", "middle", "middle", "end")
    ticks = [
        element("text", f"{found.duration_s * part / 4:.1f} s", x=f"{25 * part}%", y=12, text_anchor=anchors[part]) for part in range(5)
    ]
    parts.append(element("svg", ticks, class_="ticks", aria_hidden="true"))
    return element("div", parts, class_="time")


def _film_picture(picture: Picture) -> Markup:
    height, width = picture.pixels_HWC.shape[:2]
    label = f"Frame at {picture.time_s:.1f} s"
    return element("span", drawing(width, height, element("title", label), _image(picture), label=label))


def _key(class_: str, name: str) -> Markup:
    return element("span", element("span", class_=f"swatch of-{class_}"), name, class_="who")


def _name(class_: str, name: str) -> Markup:
    return element("span", element("span", class_=f"swatch of-{class_}"), name, class_=f"who of-{class_}")


def _lane(class_: str, spans: Sequence[tuple[float, float]], found: Timeline, why_empty: str = "") -> Markup:
    scale = 1000 / found.duration_s
    drawn = [
        element("rect", x=start * scale, y=0, width=1000.0 * (end - start) / found.duration_s, height=16, class_="wash")
        for start, end in found.truth
    ]
    drawn += [
        element("rect", x=start * scale, y=3, width=max((end - start) * scale, 3.0), height=10, class_=f"fill-{class_}")
        for start, end in spans
    ]
    label = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in spans) or why_empty
    lane = drawing(
        1000,
        16,
        element("title", label),
        element("rect", width=1000, height=16, class_="track"),
        drawn,
        label=label,
        preserveAspectRatio="none",
    )
    return element("span", lane, element("span", why_empty, class_="why") if why_empty else None, class_=f"lane of-{class_}")


def _options(example: Example, models: Sequence[str]) -> Markup | None:
    if not example.sample.options:
        return None
    lines = []
    for letter, option in zip(LETTERS, lettered(example.sample.options), strict=False):
        picks = [
            element(
                "span",
                element("span", class_=f"swatch of-{css_name(model, models)}"),
                look(model, models).name,
                class_=f"pick of-{css_name(model, models)}",
            )
            for model in in_order(example.answers)
            if (answer := example.answers[model].reading.answer) is not None and answer.choice == letter
        ]
        right = letter == example.sample.truth.choice
        lines.append(element("li", element("span", one_line(option, 300), class_="words"), picks, class_="right" if right else None))
    return element("ol", lines, class_="options")


def _said(example: Example, models: Sequence[str]) -> Markup:
    """Each answer as it was read, where no picture and no option shows it."""
    lines = [("truth", TRUTH.name, answer_words(example.sample.truth))]
    for model in in_order(example.answers):
        reading = example.answers[model].reading
        lines.append((css_name(model, models), look(model, models).name, answer_words(reading.answer, reading.reason)))
    rows = [[_name(class_, name), element("span", one_line(words, 400), class_=f"of-{class_}")] for class_, name, words in lines]
    return element("div", rows, class_="said")


def _answers(example: Example, models: Sequence[str]) -> Markup:
    """What was read, what it earned, and the raw text, folded away: it can be long."""
    head = element("tr", [element("th", name, scope="col") for name in ("", "Read as", "Earned", "Written")])
    body = [
        element(
            "tr",
            element("th", _key("truth", TRUTH.name), scope="row"),
            element("td", one_line(answer_words(example.sample.truth), 400)),
            element("td"),
            element("td"),
        )
    ]
    for model in in_order(example.answers):
        answer = example.answers[model]
        earned = ", ".join(f"{one_line(name, 40)} {value:.2f}" for name, value in answer.rewards.items())
        body.append(
            element(
                "tr",
                element("th", _key(css_name(model, models), look(model, models).name), scope="row"),
                element("td", one_line(answer_words(answer.reading.answer, answer.reading.reason), 400)),
                element("td", earned),
                element("td", element("code", plain(answer.text.strip(), 1200))),
            )
        )
    table = element(
        "div",
        element("table", element("thead", head), element("tbody", body)),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Answers",
    )
    return element("details", element("summary", "Answers in words"), table, class_="answers")
