"""The report as Markdown, for a repository's page or a terminal: the tables and figures of the HTML page, linked instead of embedded."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from videochat_r1.evaluation.curves import REWARDS_WORDS, phase_seconds
from videochat_r1.evaluation.examples import Example, answer_words, chosen_text
from videochat_r1.evaluation.legend import TRUTH, in_order, look, one_line, plain, task_name
from videochat_r1.evaluation.strata import strata_rows
from videochat_r1.evaluation.tables import (
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
    sizes_text,
    trivial_notes,
)

if TYPE_CHECKING:
    from videochat_r1.evaluation.content import Report

_WEB = re.compile(r"(www)\.", re.IGNORECASE)
_SPECIAL = re.compile(r"([\\`*_\[\]#|~$@]|:(?=//))")  # an unescaped @ makes a mail address of R@0.5
_START = re.compile(r"^(\d*)([-+.)])")  # would begin a list


def escaped(text: object, longest: int = 400) -> str:
    """A text on one line that Markdown shows as it is: no markup, link, mention, cell or HTML can be made of it."""
    safe = _SPECIAL.sub(r"\\\1", html.escape(one_line(text, longest), quote=False))
    return _START.sub(r"\1\\\2", _WEB.sub(r"\1\\.", safe))


def render_markdown(report: Report, metrics: Sequence[Mapping[str, float]], figures: Mapping[str, str]) -> str:
    """The whole page as text. figures: what `plots.write_figures` gave, file names relative to the page."""
    results = report.payload.get("results", {})
    table = rows(results, report.payload.get("baselines", {}))
    parts = [f"# {escaped(report.title)}", *(f"**{escaped(name.capitalize())}:** {escaped(said, 4000)}" for name, said in headline(table))]
    if table:
        parts += [
            "## Results",
            _headlines(headline_rows(table), models_of(results)),
            _figure("before_after", "Figures before and after with 95 % intervals, beside the trivial answers", figures),
        ]
        parts.append(
            "Percentages with 95 % intervals. The best trivial answer never looks at the video; † marks a figure that is not above it. "
            "An unreadable answer counts as wrong."
        )
        parts += [escaped(note, 1000) for note in trivial_notes(report.payload.get("baselines", {}))]
    parts += ["## Notes", *(escaped(note, 4000) for note in report.notes)] if report.notes else []
    parts += _examples(report.examples, figures)
    if "rewards" in figures or "training" in figures:
        parts += [
            "## Training",
            REWARDS_WORDS,
            _figure("rewards", "Reward by step and task", figures),
            _figure("training", "Rewards by name, KL, entropy, lengths", figures),
        ]
        spent = phase_seconds([dict(row) for row in metrics])
        parts.append(
            "Seconds by phase: " + ", ".join(f"{escaped(name, 40)} {value:.1f}" for name, value in spent.items()) + "." if spent else ""
        )
    if "overlaps" in figures or "strata" in figures:
        parts += ["## Where it works", _figure("overlaps", "Answers by their overlap with the truth", figures)]
        parts += [_figure("strata", "Figures by length of video and of event", figures), *_strata_tables(report.payload)]
    leveled = level_rows(report.payload)
    if leveled:
        about = " ".join([*level_notes(report.payload), "Intervals are 95 % ones."])
        parts += ["## Harder levels", escaped(about, 4000), _level_table(leveled), _figure("levels", "Figures by level", figures)]
    if table:
        explained = "\n".join(f"- {escaped(name)}: {escaped(words)}" for name, words in metric_words(table))
        parts += [
            "## All figures",
            "Percentages, but for the rows in italics.",
            explained,
            *(_task_table(of_task, results) for of_task in by_task(table)),
        ]
    parts += _published(report.payload)
    parts += _run(report)
    return "\n\n".join(part for part in parts if part) + "\n"


def _figure(figure: str, caption: str, figures: Mapping[str, str]) -> str:
    return f"![{caption}]({figures[figure]})" if figure in figures else ""


def _grid(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table whose first `left` columns are words and whose others are figures."""
    rule = ["---" if place < left else "---:" for place in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body))


def _headlines(table: Sequence[Row], models: Sequence[str]) -> str:
    head = ["Task", "Metric", "Best trivial answer", *(escaped(look(model, models).name) for model in models), "Change"]
    body = []
    for row in table:
        figures = [f"{row.models[model]}" if model in row.models else "–" for model in models]
        if beats_trivial(row) is False and figures:
            place = models.index(row.change[2]) if row.change else 0
            figures[place] += " †"
        body.append([escaped(task_name(row.task)), escaped(row.metric, 40), _best(row), *figures, change_text(row)])
    return _grid(head, body, left=2)


def _best(row: Row) -> str:
    if row.best_trivial is None:
        return "–"
    name, cell = row.best_trivial
    return f"{cell.value_text} ({escaped(name.replace('_', ' '), 40)})"


def _task_table(of_task: tuple[str, Sequence[Row]], results: Mapping[str, Any]) -> str:
    task, table = of_task
    trivial = list(dict.fromkeys(name for row in table for name in row.trivial))
    models = list(table[0].models)
    head = ["Metric", *(escaped(name.replace("_", " "), 40) for name in trivial), *(escaped(look(model, models).name) for model in models)]
    body = []
    for row in table:
        beside = [
            (f"**{row.trivial[name].value_text}**" if row.is_best(name) else row.trivial[name].value_text) if name in row.trivial else ""
            for name in trivial
        ]
        body.append([escaped(row.metric, 60), *beside, *(str(row.models[model]) for model in models)])
    body += [[f"*{escaped(name)}*", *("" for _ in trivial), *texts] for name, texts in cost_rows(results, task, models)]
    title = " · ".join(filter(None, (escaped(task_name(task)), sizes_text(results, task))))
    return f"### {title}\n\n{_grid(head, body)}" + ("\n\nThe best trivial answer of each metric is in bold." if trivial else "")


def _level_table(table: Sequence[tuple[str, Row]]) -> str:
    models = in_order(dict.fromkeys(model for _, row in table for model in row.models))
    head = ["Task", "Metric", "Level", "Best trivial answer", *(escaped(look(model, models).name) for model in models), "Change"]
    body = [
        [
            escaped(task_name(row.task)),
            escaped(row.metric, 40),
            escaped(level, 40),
            _best(row),
            *(str(row.models[model]) if model in row.models else "–" for model in models),
            change_text(row),
        ]
        for level, row in table
    ]
    return _grid(head, body, left=3)


def _examples(examples: Sequence[Example], figures: Mapping[str, str]) -> list[str]:
    parts = ["## Examples", escaped(chosen_text(examples), 2000)] if examples else []
    for number, example in enumerate(examples, start=1):
        models = in_order(example.answers)
        parts.append(f"### {escaped(task_name(example.sample.task))}: {escaped(example.why or example.sample.id)}")
        parts.append(f"> {escaped(example.sample.question, 600)}" if example.sample.question.strip() else "")
        parts.append(_figure(f"example {number}", f"Example {number}", figures))
        body = [[TRUTH.name, escaped(answer_words(example.sample.truth), 300), "", ""]]
        for model in models:
            answer = example.answers[model]
            earned = ", ".join(f"{escaped(name, 40)} {value:.2f}" for name, value in answer.rewards.items())
            read = answer_words(answer.reading.answer, answer.reading.reason)
            body.append([escaped(look(model, models).name), escaped(read, 300), earned, escaped(answer.text, 160)])
        parts.append(_grid(["", "Read as", "Earned", "Written"], body, left=4))
    return parts


def _strata_tables(payload: Mapping[str, Any]) -> list[str]:
    """A table for each task: its figure in every part."""
    table = strata_rows(payload)
    if not table:
        return []
    models = in_order(dict.fromkeys(model for _, row in table for model in row.models))
    head = ["Task", "Figure", "Part (samples)", *(escaped(look(model, models).name) for model in models)]
    body = [
        [
            escaped(task_name(row.task)),
            escaped(row.metric, 60),
            escaped(part, 40),
            *(str(row.models[model]) if model in row.models else "–" for model in models),
        ]
        for part, row in table
    ]
    return [_grid(head, body, left=3)]


def _published(payload: Mapping[str, Any]) -> list[str]:
    found = payload.get("published") or ()
    if not found:
        return []
    metrics = list(dict.fromkeys(one["metric"] for one in found))
    body = []
    for system, source in dict.fromkeys((one["system"], one["source"]) for one in found):
        own = {one["metric"]: one["value"] for one in found if (one["system"], one["source"]) == (system, source)}
        body.append([escaped(system, 60), escaped(source, 90), *(f"{own[name]:.1f}" if name in own else "–" for name in metrics)])
    head = ["System", "Printed in", *(escaped(name, 30) for name in metrics)]
    return ["## Published figures", "As their authors printed them, on the whole data set; not measured here.", _grid(head, body, left=2)]


def _run(report: Report) -> list[str]:
    parts = ["## This run"]
    if report.commands:
        parts.append("\n".join(f"    {line}" for command in report.commands for line in plain(command).splitlines()))
    facts = [f"- Seconds: {escaped(seconds_text(report.payload['seconds']))}"] if report.payload.get("seconds") is not None else []
    facts += [f"- Samples: {escaped(samples_text(report.payload['n']), 400)}"] if report.payload.get("n") is not None else []
    facts += [f"- {escaped(name, 60)}: {escaped(value, 300)}" for name, value in report.environment.items()]
    parts.append("\n".join(facts))
    return parts if any(parts[1:]) else []
