"""The report as one self-contained page: no scripts, nothing fetched, light and dark, wide and narrow.

Charts are drawn as inline SVG in the page's own colours, so that they follow the reader's theme; frames are embedded pictures with their
boxes as SVG on top. Every text goes through `markup.element`, which escapes it; the page's policy forbids scripts and all other origins,
and allows the one style sheet by its hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from videochat_r1.evaluation import charts, legend
from videochat_r1.evaluation.curves import REWARDS_WORDS, health_series, phase_seconds, reward_series
from videochat_r1.evaluation.example_cards import example_card
from videochat_r1.evaluation.examples import chosen_text
from videochat_r1.evaluation.legend import NAMED, TRIVIAL, TRUTH, look, one_line, plain, task_name
from videochat_r1.evaluation.markup import Markup, element, join
from videochat_r1.evaluation.strata import histograms, strata_rows
from videochat_r1.evaluation.tables import (
    VERDICTS,
    Row,
    beats_trivial,
    by_task,
    change_text,
    cost_rows,
    headline,
    headline_rows,
    level_notes,
    level_rows,
    metric_words,
    models_of,
    rows,
    samples_text,
    seconds_text,
    sized_levels,
    sizes_text,
    trivial_notes,
    verdict,
)

if TYPE_CHECKING:
    from videochat_r1.evaluation.content import Report


def render_page(report: Report, metrics: Sequence[Mapping[str, float]]) -> str:
    """The whole page as text. metrics: rows of metrics.jsonl, as `curves.read_metrics` gives them."""
    results = report.payload.get("results", {})
    table = rows(results, report.payload.get("baselines", {}))
    models = models_of(results)
    sections = [
        ("results", "Results", _results(table, results, trivial_notes(report.payload.get("baselines", {})))),
        ("notes", "Notes", _notes(report.notes)),
        ("examples", "Examples", _examples(report, models)),
        ("training", "Training", _training(metrics)),
        ("strata", "Where it works", _strata(report.payload)),
        ("levels", "Harder levels", _levels(report.payload)),
        ("published", "Published figures", _published(report.payload)),
        ("run", "This run", _run(report)),
    ]
    shown = [(key, name, content) for key, name, content in sections if content]
    links = element("nav", [element("a", name, href=f"#{key}") for key, name, _ in shown], aria_label="Contents")
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Template(_resource("page.html")).substitute(
        title=join(one_line(report.title, 200)),
        headline=_lead(table),
        style_hash=f"sha256-{digest}",
        style=style,
        contents=links,
        body=join([element("section", element("h2", name), content, id=key) for key, name, content in shown]),
        footer=join(
            "Figures are percentages with 95 % intervals in brackets, but for rewards and for what has a unit or says what it counts; an "
            "unreadable answer counts as wrong. "
            "This page loads nothing from elsewhere."
        ),
    )


def _lead(table: list[Row]) -> Markup:
    """What was learned, the strongest line first."""
    return join(
        [
            element("p", element("strong", name.capitalize()), f" {said}.", class_="lead minor" if place else "lead")
            for place, (name, said) in enumerate(headline(table))
        ]
    )


def _resource(name: str) -> str:
    return resources.files("videochat_r1.evaluation").joinpath(name).read_text(encoding="utf-8")


def _style() -> str:
    """The style sheet, with the legend's colours: a class `fill-`, `line-` and a swatch for each answerer."""
    colours = {"truth": TRUTH.colour, "trivial": TRIVIAL.colour, **{name: item.colour for name, item in NAMED.items()}}
    colours |= {f"spare{place}": colour for place, colour in enumerate(legend.SPARE_COLOURS)}
    variables = "".join(f"--{name}:{colour};" for name, colour in colours.items())
    rules = "".join(
        f".fill-{name}{{fill:var(--{name})}}.line-{name}{{stroke:var(--{name})}}.swatch.of-{name}{{background:var(--{name})}}"
        f"main:has(#show-{name}:not(:checked)) .of-{name}:not(.swatch){{display:none}}"
        for name in colours
    )
    variables += f"--on-frames:{legend.ON_FRAMES};"
    return f":root{{{variables}}}\n{_resource('page.css')}\n{rules}"


def _results(table: Sequence[Row], results: Mapping[str, Any], notes: Sequence[str]) -> Markup | None:
    if not table:
        return None
    about = (
        "Bars: trivial answers that never look at the video (grey; the best one full), then each model; thin lines are 95 % intervals. "
        "Lifted or lost: the intervals before and after lie apart. Kept: risen, or fallen by one point at most."
    )
    tiles = [_tile(of_task, results) for _, of_task in by_task(headline_rows(list(table)))]
    details = element(
        "details",
        element("summary", "All figures"),
        _metrics(table),
        element("div", [_table(of_task, results) for of_task in by_task(list(table))], class_="tables"),
    )
    said = [element("p", note, class_="about") for note in (about, *notes)]
    return join([*said, element("div", tiles, class_="grid"), element("div", details, class_="card")])


def _metrics(table: Sequence[Row]) -> Markup | None:
    explained = [[element("dt", name), element("dd", words)] for name, words in metric_words(table)]
    return element("dl", explained, class_="metrics") if explained else None


def _tile(of_task: Sequence[Row], results: Mapping[str, Any]) -> Markup:
    """A task's first figure large, before and after; its other headline figures small."""
    row = of_task[0]
    known = [cell for cell in row.models.values() if cell.value is not None]
    if row.change is not None:
        _, before, _, after = row.change
        big = [
            element("span", f"{before.value_text} → ", class_="from"),
            after.value_text,
            element("span", change_text(row), class_="change"),
        ]
        interval = f"{before.interval_text} → {after.interval_text}" if after.interval_text else ""
    else:
        big = [known[0].value_text if known else "–"]
        interval = known[0].interval_text if known else ""
    best = row.best_trivial
    figure = row.change[3] if row.change else known[0] if known else None
    higher = best and figure and (figure.value or 0.0) > (best[1].value or 0.0)
    lies = "Not clearly above" if higher else "Not above"
    warning = f"{lies} the best trivial answer, {best[1].value_text}." if best and beats_trivial(row) is False else None
    also = [f"{one_line(other.metric, 40)} {_before_after(other)}" for other in of_task[1:]]
    size = sizes_text(results, row.task)
    return element(
        "article",
        element(
            "div",
            element("h3", task_name(row.task), element("div", " · ".join(filter(None, (one_line(row.metric, 40), size))), class_="metric")),
            _badge(row),
            class_="what",
        ),
        element("p", big, class_="big"),
        element("p", interval, class_="interval"),
        element("p", warning, class_="warning") if warning else None,
        charts.bars(row),
        element("p", "Also ", "; ".join(also), class_="also") if also else None,
        class_="card tile",
    )


def _badge(row: Row) -> Markup | None:
    found = verdict(row)
    return None if found is None else element("span", VERDICTS[found], class_=f"badge {found}")


def _before_after(row: Row) -> str:
    if row.change is None:
        return str(next(iter(row.models.values())))
    return f"{row.change[1].value_text} → {row.change[3]}"


def _table(of_task: tuple[str, Sequence[Row]], results: Mapping[str, Any]) -> Markup:
    """All figures of a task: a row a metric, trivial answers first (the best in bold), then the models with their intervals."""
    task, table = of_task
    trivial = list(dict.fromkeys(name for row in table for name in row.trivial))
    models = list(table[0].models)
    head = [element("th", "Metric", scope="col")]
    head += [element("th", one_line(name, 40).replace("_", " "), class_="figure", scope="col") for name in trivial]
    head += [element("th", _who(model, models), class_="figure", scope="col") for model in models]
    body = []
    for row in table:
        cells = [element("th", one_line(row.metric, 60), scope="row")]
        for name in trivial:
            text = row.trivial[name].value_text if name in row.trivial else ""
            cells.append(element("td", element("span", text, class_="best") if row.is_best(name) else text, class_="figure quiet"))
        for model in models:
            last = row.change is not None and model == row.change[2]
            cells.append(
                element(
                    "td",
                    row.models[model].value_text,
                    element("small", row.models[model].interval_text),
                    class_="figure after" if last else "figure",
                )
            )
        body.append(element("tr", cells))
    for name, texts in cost_rows(results, task, models):
        beside = [element("td", "", class_="figure") for _ in trivial]
        shown = [element("td", text, class_="figure quiet") for text in texts]
        body.append(element("tr", element("th", name, scope="row"), beside, shown, class_="cost"))
    title = " · ".join(filter(None, (task_name(task), sizes_text(results, task))))
    return element(
        "div", element("h3", title), _scrolling(element("table", element("thead", element("tr", head)), element("tbody", body)), title)
    )


def _scrolling(table: Markup, label: str) -> Markup:
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def _who(model: str, models: Sequence[str]) -> Markup:
    return element("span", element("span", class_=f"swatch of-{charts.css_name(model, models)}"), look(model, models).name, class_="who")


def _examples(report: Report, models: Sequence[str]) -> Markup | None:
    if not report.examples:
        return None
    answered = legend.in_order(dict.fromkeys(model for example in report.examples for model in example.answers))
    everyone = [*models, *(model for model in answered if model not in models)]
    keys = [("truth", TRUTH.name), *((charts.css_name(model, everyone), look(model, everyone).name) for model in answered)]
    toggles = [
        [
            element("input", type="checkbox", class_="toggle", id=f"show-{key}", checked=True),
            element("label", element("span", class_=f"swatch of-{key}"), name, for_=f"show-{key}"),
        ]
        for key, name in keys
    ]
    about = f"{chosen_text(report.examples)} Press a name to hide or show it."
    cards = [example_card(example, everyone) for example in report.examples]
    return join([element("p", about, class_="about"), element("div", toggles, class_="legend"), cards])


def _training(metrics: Sequence[Mapping[str, float]]) -> Markup | None:
    rows_ = [dict(row) for row in metrics]
    rewards, health, phases = reward_series(rows_), health_series(rows_), phase_seconds(rows_)
    if not rewards and not health:
        return None
    about = (
        f"{REWARDS_WORDS} Points are steps; the line is their running mean, which halves a step's weight after every fifteenth of the run."
    )
    parts: list[Markup] = [element("p", about, class_="about"), element("div", [_curve(item) for item in rewards], class_="grid")]
    if health:
        grid = element("div", [_curve(item) for item in health], class_="grid")
        parts.append(element("details", element("summary", "Rewards by name, and the run's health"), grid, class_="card"))
    if phases:
        parts.append(element("div", element("h3", "Seconds by phase"), charts.phases(phases), class_="card"))
    return join(parts)


def _curve(item: Any) -> Markup:
    return element("article", element("h3", item.name), charts.curve(item), class_="card panel")


def _strata(payload: Mapping[str, Any]) -> Markup | None:
    """Overlaps as histograms, then each task's figure by length of video and of event."""
    table, spread = strata_rows(payload), histograms(payload)
    if not table and not spread:
        return None
    models = legend.in_order(
        dict.fromkeys([*(name for _, row in table for name in row.models), *(name for one in spread for name in one.counts)])
    )
    about = (
        "How the answers' overlap with the truth (IoU of spans as sets, mean IoU of boxes that were not given) is spread; one that could "
        "not be read counts at 0. Then a task's figure by length, with 95\u00a0% intervals and the number of samples of each part."
    )
    drawn = [
        element(
            "article",
            element("h3", task_name(one.task), element("div", "answers by IoU", class_="metric")),
            charts.histogram(one),
            class_="card panel",
        )
        for one in spread
    ]
    return join(
        [
            element("p", about, class_="about"),
            _keys(models),
            element("div", drawn, class_="grid") if drawn else None,
            element("div", _level_panels(table, models), class_="grid") if table else None,
        ]
    )


def _published(payload: Mapping[str, Any]) -> Markup | None:
    """What others printed, a row a system and source."""
    found = payload.get("published") or ()
    if not found:
        return None
    metrics = list(dict.fromkeys(one["metric"] for one in found))
    head = [element("th", "System", scope="col"), *(element("th", one_line(name, 30), class_="figure", scope="col") for name in metrics)]
    head.append(element("th", "Printed in", scope="col", class_="after-figures"))
    body = []
    for system, source in dict.fromkeys((one["system"], one["source"]) for one in found):
        own = {one["metric"]: one["value"] for one in found if (one["system"], one["source"]) == (system, source)}
        cells = [element("td", f"{own[name]:.1f}" if name in own else "–", class_="figure") for name in metrics]
        body.append(
            element(
                "tr", element("th", one_line(system, 60), scope="row"), cells, element("td", one_line(source, 90), class_="after-figures")
            )
        )
    about = (
        "As their authors printed them, on the whole data set; not measured here. The same model's figure moves by tens of points with "
        "frames, pixels and the way answers are read: only figures of one command compare."
    )
    table = element("table", element("thead", element("tr", head)), element("tbody", body))
    return join([element("p", about, class_="about"), element("div", _scrolling(table, "Published figures"), class_="card")])


def _keys(models: Sequence[str], *, trivial: bool = False) -> Markup:
    named = [
        element("span", element("span", class_=f"swatch of-{charts.css_name(model, models)}"), look(model, models).name, class_="key")
        for model in models
    ]
    if trivial:
        named.append(element("span", element("span", class_="swatch dashed"), TRIVIAL.name, class_="key"))
    return element("div", named, class_="legend")


def _level_panels(table: Sequence[tuple[str, Row]], models: Sequence[str]) -> list[Markup]:
    """One chart a task and metric."""
    return [
        element(
            "article",
            element("h3", task_name(task), element("div", one_line(metric, 40), class_="metric")),
            charts.levels([(level, row) for level, row in table if (row.task, row.metric) == (task, metric)], models),
            class_="card panel",
        )
        for task, metric in dict.fromkeys((row.task, row.metric) for _, row in table)
    ]


def _levels(payload: Mapping[str, Any]) -> Markup | None:
    table = level_rows(payload)
    if not table:
        return None
    models = legend.in_order(dict.fromkeys(model for _, row in table for model in row.models))
    head = [
        element("th", "Task", scope="col"),
        element("th", "Level", scope="col"),
        element("th", "Best trivial", class_="figure", scope="col"),
    ]
    head += [element("th", _who(model, models), class_="figure", scope="col") for model in models] + [
        element("th", "Change", class_="figure", scope="col")
    ]
    body = []
    for level, row in table:
        best = row.best_trivial
        cells = [element("th", f"{task_name(row.task)}, {one_line(row.metric, 40)}", scope="row"), element("td", level)]
        cells.append(
            element(
                "td",
                best[1].value_text if best else "–",
                element("small", one_line(best[0], 40).replace("_", " ") if best else None),
                class_="figure quiet",
            )
        )
        for model in models:
            cell = row.models.get(model)
            cells.append(
                element("td", cell.value_text if cell else "–", element("small", cell.interval_text if cell else None), class_="figure")
            )
        body.append(element("tr", cells, element("td", change_text(row), class_="figure")))
    about = (
        "The same models at each level of difficulty: dots with 95 % intervals. The dashed line is the best trivial answer at that level, "
        "where it was scored. " + " ".join(level_notes(payload))
    )
    listing = element("table", element("thead", element("tr", head)), element("tbody", body))
    details = element("details", element("summary", "Figures by level"), _scrolling(listing, "Figures by level"))
    return join(
        [
            element("p", about, class_="about"),
            _keys(models, trivial=any(row.trivial for _, row in table)),
            element("div", _level_panels(sized_levels(payload), models), class_="grid"),
            element("div", details, class_="card"),
        ]
    )


def _notes(notes: Sequence[str]) -> Markup | None:
    return element("div", [element("p", note) for note in notes], class_="card notes") if notes else None


def _run(report: Report) -> Markup | None:
    facts = {"Seconds": seconds_text(report.payload["seconds"])} if report.payload.get("seconds") is not None else {}
    if report.payload.get("n") is not None:
        facts["Samples"] = samples_text(report.payload["n"])
    facts |= {one_line(name, 60): one_line(value, 300) for name, value in report.environment.items()}
    parts: list[Markup] = []
    if report.commands:
        parts.append(
            element(
                "div", element("h3", "Commands"), element("pre", "\n".join(plain(command) for command in report.commands)), class_="card"
            )
        )
    if facts:
        parts.append(
            element("div", element("dl", [[element("dt", name), element("dd", value)] for name, value in facts.items()]), class_="card")
        )
    return element("div", parts, class_="tables") if parts else None
