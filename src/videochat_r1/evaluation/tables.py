"""The rows of a report's tables: a figure of every model with its interval, beside the trivial answers; and what they say in words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from videochat_r1.evaluation.legend import HEADLINES, TASK_NAMES, TRIVIAL, Look, in_order, look, one_line, task_name

KEPT_WITHIN = 1.0
"""Points by which a figure may fall and still counts as kept."""

SAME_WITHIN = 0.05
"""Points that a figure with one decimal does not show."""

Verdict = Literal["lifted", "kept", "same", "zero", "fell", "unclear"]
VERDICTS: dict[Verdict, str] = {
    "lifted": "lifted",
    "kept": "kept",
    "same": "unchanged",
    "zero": "nothing learned",
    "fell": "lost",
    "unclear": "lower, within intervals",
}
"""What each verdict is called on the page."""


@dataclass(frozen=True)
class Cell:
    """One figure, a percentage; low and high are the ends of its 95 % interval where it is known. What is not a number is None."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def value_text(self) -> str:
        return "–" if self.value is None else f"{self.value:.1f}"

    @property
    def interval_text(self) -> str:
        return "" if self.low is None or self.high is None else f"[{self.low:.1f}, {self.high:.1f}]"

    def __str__(self) -> str:
        return f"{self.value_text} {self.interval_text}".strip()


@dataclass(frozen=True)
class Row:
    """One metric of one task: the figure of each model and of each trivial answer."""

    task: str
    metric: str
    models: Mapping[str, Cell]
    trivial: Mapping[str, Cell]

    @property
    def best_trivial(self) -> tuple[str, Cell] | None:
        """The trivial answer with the highest figure; where several share it, the majority's for a choice, else the first named."""
        known = [(name, cell) for name, cell in self.trivial.items() if cell.value is not None]
        known.sort(key=lambda item: not (self.metric == "accuracy" and item[0] == "majority"))
        return max(known, key=lambda item: item[1].value or 0.0) if known else None

    def is_best(self, trivial: str) -> bool:
        """Whether no other trivial answer has a higher figure."""
        best = self.best_trivial
        return best is not None and trivial in self.trivial and self.trivial[trivial].value == best[1].value

    @property
    def change(self) -> tuple[str, Cell, str, Cell] | None:
        """(name, figure) before and after: the base and the tuned model, else the first and the last; None without both figures."""
        names = list(self.models)
        before = "base" if "base" in names else names[0]
        after = next((name for name in ("rft", "policy") if name in names), names[-1])
        if before == after or self.models[before].value is None or self.models[after].value is None:
            return None
        return before, self.models[before], after, self.models[after]


def cell(figures: Mapping[str, Any], metric: str) -> Cell:
    """The figure of that name with its interval."""
    ends = figures.get(f"{metric}_ci95")
    low, high = (_number(ends[0]), _number(ends[1])) if isinstance(ends, list | tuple) and len(ends) == 2 else (None, None)
    return Cell(_number(figures.get(metric)), low, high)


COSTS = {
    "looks": "looks at the video, of an answer",
    "tokens": "tokens written, of an answer",
    "prompt_tokens": "tokens read, of an answer",
    "video_tokens": "of these of the video",
    "seconds": "seconds, of an answer",
}
"""Figures that are no percentages: what an answer takes."""
VIDEO_COUNTS = {"unreadable_videos": "unreadable videos", "duration_mismatch": "videos of another length than stated"}
"""Figures that count samples by what their videos are like."""
METRICS = {
    "mIoU": "mean overlap (intersection over union) of the answered seconds with the true ones; of grounded QA the first span's",
    "mIoU_union": "the same, all spans of an answer taken as one set",
    "mIoP": "mean share of the answered seconds that are true",
    "R@": "share of answers that overlap with the truth by so much at least",
    "IoU@": "share of answers whose IoU is so much at least",
    "IoP@": "share of answers of whose seconds so many are true at least",
    "Acc&GQA": "share of answers with the right choice and an IoP of 0.5 at least",
    "AO": "mean overlap (IoU) of the boxes, the given one left out",
    "SR": "share of boxes whose overlap is above that",
    "AO_8": "AO as the paper counts: eight boxes, the given one scored too",
    "R_8@": "share of videos whose AO_8 is so much at least",
    "accuracy": "share of right choices",
    "event_recall": "share of the true events that are told",
    "event_precision": "share of the told events that are true",
    "event_F1": "the harmonic mean of both",
    "format": "share of answers in the form that was asked for",
}
"""What a metric says; a name that goes on with a number stands for all of these."""


def metrics_of(figures: Mapping[str, Any]) -> list[str]:
    """Names of the metrics among a task's figures, as they stand: percentages alone."""
    others = ("n", "unparsed", *VIDEO_COUNTS, *COSTS)
    return [name for name in figures if name not in others and not name.endswith("_ci95")]


def metric_words(table: Iterable[Row]) -> list[tuple[str, str]]:
    """(name, what it is) of the metrics of these rows, each once."""
    names = dict.fromkeys(row.metric if row.metric in METRICS else re.sub(r"[\d.]+$", "", row.metric) for row in table)
    return [(f"{name}x" if name[-1] == "@" or name == "SR" else name, METRICS[name]) for name in names if name in METRICS]


def cost_rows(results: Mapping[str, Any], task: str, models: Iterable[str]) -> list[tuple[str, list[str]]]:
    """What is counted beside the percentages, in words, with a text for each model: what an answer takes, and what could not be read."""
    of_model = [results[model][task] for model in models]
    found = [
        (words, [_cost_text(name, figures.get(name)) for figures in of_model])
        for name, words in COSTS.items()
        if any(_number(figures.get(name)) is not None for figures in of_model)
    ]
    for name, words in VIDEO_COUNTS.items():
        if any(_number(figures.get(name)) is not None for figures in of_model):
            found.append((words, [_count_text(figures, name) for figures in of_model]))
    return [*found, ("unreadable answers", [_count_text(figures, "unparsed") for figures in of_model])]


def _cost_text(name: str, value: Any) -> str:
    number = _number(value)
    return "–" if number is None else f"{number:.3g} s" if name == "seconds" else f"{number:.1f}"


def models_of(results: Mapping[str, Any]) -> list[str]:
    """Models of a report in the order they are shown; trivial answers that stand beside them are none."""
    return in_order(name for name in results if name != "baselines")


def tasks_of(results: Mapping[str, Any]) -> list[str]:
    """Tasks that any model answered: the package's own in their order, then a user's own as they come."""
    seen = {task: None for model in models_of(results) for task in results[model]}
    return [task for task in TASK_NAMES if task in seen] + [task for task in seen if task not in TASK_NAMES]


def rows(results: Mapping[str, Any], baselines: Mapping[str, Any]) -> list[Row]:
    """A row for every metric of every task, a task's headline figures first."""
    table = []
    for task in tasks_of(results):
        models = [model for model in models_of(results) if task in results[model]]
        found = list(dict.fromkeys(metric for model in models for metric in metrics_of(results[model][task])))
        first = [metric for metric in HEADLINES.get(task, ()) if metric in found]
        for metric in first + [metric for metric in found if metric not in first]:
            shown = {model: cell(results[model][task], metric) for model in models}
            trivial = {name: cell(figures, metric) for name, figures in baselines.get(task, {}).items() if metric in figures}
            table.append(Row(task, metric, shown, trivial))
    return table


def trivial_notes(baselines: Mapping[str, Any]) -> list[str]:
    """A sentence for every task about those trivial answers that could not be given for each sample, and so have no figure."""
    said = []
    for task, by_name in baselines.items():
        lacking: dict[str, list[str]] = {}
        for name, figures in by_name.items():
            if not any(value is None for value in figures.values()):
                continue
            of_these, count = ("without duration_s", "no_duration") if "no_duration" in figures else ("it cannot be given for", "unparsed")
            why = f"samples {of_these}: {_count_text(figures, count)}"
            lacking.setdefault(why, []).append(one_line(name, 40).replace("_", " "))
        for why, names in lacking.items():
            said.append(f"{task_name(task)}: no figure for the trivial answer{'s' * (len(names) > 1)} {_listing(names)} ({why}).")
    return said


def headline_rows(table: list[Row]) -> list[Row]:
    """The figures that each task is judged by; where none of them was reported, the task's first."""
    chosen = []
    for _, of_task in by_task(table):
        named = [row for row in of_task if row.metric in HEADLINES.get(row.task, ())]
        chosen.extend(named or of_task[:1])
    return chosen


def by_task(table: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each task in turn."""
    for task in dict.fromkeys(row.task for row in table):
        yield task, [row for row in table if row.task == task]


def bars_of(row: Row) -> list[tuple[str, Look, Cell, bool]]:
    """(name, look, figure, whether it is the best trivial answer) of each bar: the trivial answers, the best last, then the models."""
    best = row.best_trivial[0] if row.best_trivial else None
    trivial = sorted(row.trivial.items(), key=lambda item: item[1].value or 0.0)
    trivial.sort(key=lambda item: item[0] == best)
    bars = [(one_line(name, 40).replace("_", " "), TRIVIAL, cell, row.is_best(name)) for name, cell in trivial]
    return bars + [(look(model, row.models).name, look(model, row.models), cell, False) for model, cell in row.models.items()]


def verdict(row: Row) -> Verdict | None:
    """What became of a figure: lifted or fell where the two 95 % intervals lie apart; zero where it was 0.0 and still is, same where it has
    not moved; kept where it rose, or fell by a point at most; else unclear.

    Where an interval is missing its figure stands for both ends. Intervals that lie apart are a stricter sign than a
    test of the difference.
    """
    if row.change is None:
        return None
    _, before, _, after = row.change
    assert before.value is not None and after.value is not None
    if max(before.value, after.value) < SAME_WITHIN:
        return "zero"
    if abs(after.value - before.value) < SAME_WITHIN:
        return "same"
    if _low(after) > _high(before) and after.value - before.value > KEPT_WITHIN:
        return "lifted"
    if _high(after) < _low(before) and before.value - after.value > KEPT_WITHIN:
        return "fell"
    return "kept" if after.value >= before.value - KEPT_WITHIN else "unclear"


def change_text(row: Row) -> str:
    """The gain in points, and how many times the figure before it is where that says something."""
    if row.change is None:
        return "–"
    _, before, _, after = row.change
    assert before.value is not None and after.value is not None
    points = f"{after.value - before.value:+.1f}"
    return f"{points} ({after.value / before.value:.1f}×)" if before.value >= 1.0 and after.value >= 1.5 * before.value else points


def beats_trivial(row: Row) -> bool | None:
    """Whether the figure after (or the only one) lies above the best trivial answer with its whole interval; None without either."""
    figure = row.change[3] if row.change else next((item for item in row.models.values() if item.value is not None), None)
    best = row.best_trivial
    if figure is None or best is None or best[1].value is None:
        return None
    return _low(figure) > best[1].value


def headline(table: list[Row]) -> list[tuple[str, str]]:
    """What was learned, as (verdict, tasks and figures): in the order of VERDICTS."""
    leads = [of_task[0] for _, of_task in by_task(headline_rows(table))]
    moved = {name: [row for row in leads if verdict(row) == name] for name in VERDICTS}
    sentences = []
    for name, verb in VERDICTS.items():
        if moved[name]:
            texts = {"zero": _zero_text, "same": _still_text}
            sentences.append((verb, _listing([texts.get(name, _moved_text)(row) for row in moved[name]])))
    alone = [row for row in leads if verdict(row) is None]
    if alone:
        said = [f"{task_name(row.task)} {one_line(row.metric, 40)} {next(iter(row.models.values()))}" for row in alone]
        sentences.append(("measured", _listing(said)))
    return sentences or [("measured", "nothing yet")]


def _count_text(figures: Mapping[str, Any], name: str) -> str:
    """How many of how many."""
    count, total = _number(figures.get(name)), _number(figures.get("n"))
    return "–" if count is None else f"{count:.0f}" if total is None else f"{count:.0f} of {total:.0f}"


def sizes_text(results: Mapping[str, Any], task: str) -> str:
    """How many samples the figures of a task rest on, such as "n = 96"."""
    sizes = {_number(results[model][task].get("n")) for model in models_of(results) if task in results[model]}
    known = sorted(size for size in sizes if size is not None)
    return "" if not known else f"n = {known[0]:.0f}" if len(known) == 1 else f"n = {known[0]:.0f} to {known[-1]:.0f}"


def levels_of(payload: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Results by level, the main one first; empty where only one level was evaluated."""
    levels = payload.get("levels") or {}
    main = one_line(payload.get("level", "main"), 40)
    return (
        {main: payload.get("results", {}), **{one_line(name, 40): results for name, results in levels.items() if name != main}}
        if levels
        else {}
    )


def level_rows(payload: Mapping[str, Any]) -> list[tuple[str, Row]]:
    """(level, row) of every headline figure that more than one level has, a task's levels one below the other."""
    found = [
        (name, row) for name, results in levels_of(payload).items() for row in headline_rows(rows(results, _trivial_of(payload, results)))
    ]
    order = {key: place for place, key in enumerate(dict.fromkeys((row.task, row.metric) for _, row in found))}
    levels = Counter((row.task, row.metric) for _, row in found)
    told = [(name, row) for name, row in found if levels[row.task, row.metric] > 1]
    return sorted(told, key=lambda item: order[item[1].task, item[1].metric])


def samples_text(n: Any) -> str:
    """How many samples: one number, or by task."""
    return ", ".join(f"{task_name(task)} {one_line(count, 20)}" for task, count in n.items()) if isinstance(n, Mapping) else one_line(n, 20)


def level_notes(payload: Mapping[str, Any]) -> list[str]:
    """What to know of the levels: what each is, how many samples a figure there rests on, and which models were not asked there."""
    table, levels = level_rows(payload), levels_of(payload)
    shown = [name for name in levels if any(level == name for level, _ in table)]
    said = []
    meant = {one_line(name, 40): one_line(words, 200) for name, words in (payload.get("level_words") or {}).items()}
    if any(name in meant for name in shown):
        said.append("; ".join(f"{name}: {meant[name]}" for name in shown if name in meant) + ".")
    sizes = {name: _level_size(levels[name], [row.task for level, row in table if level == name]) for name in shown}
    if any(sizes.values()):
        said.append("Samples of a task behind each figure: " + ", ".join(f"{name} {size}" for name, size in sizes.items() if size) + ".")
    everyone = in_order(dict.fromkeys(model for _, row in table for model in row.models))
    absent = {model: [name for name in shown if not levels[name].get(model)] for model in everyone}
    if any(absent.values()):
        parts = [f"{look(model, everyone).name} at {', '.join(names)}" for model, names in absent.items() if names]
        said.append(f"–: not asked there ({'; '.join(parts)}).")
    return said


def sized_levels(payload: Mapping[str, Any]) -> list[tuple[str, Row]]:
    """`level_rows`, each level with the number of samples behind its figure."""
    levels = levels_of(payload)
    sizes = {(level, row.task): _level_size(levels[level], [row.task]) for level, row in level_rows(payload)}
    return [(f"{level} ({size})" if (size := sizes[level, row.task]) else level, row) for level, row in level_rows(payload)]


def _level_size(results: Mapping[str, Any], tasks: Iterable[str]) -> str:
    found = {_number(results[model][task].get("n")) for task in tasks for model in models_of(results) if task in results[model]}
    known = sorted(size for size in found if size is not None)
    return "" if not known else f"{known[0]:.0f}" if len(known) == 1 else f"{known[0]:.0f} to {known[-1]:.0f}"


def seconds_text(seconds: Any) -> str:
    """Seconds as one number, or by phase."""
    if isinstance(seconds, Mapping):
        return ", ".join(f"{one_line(name, 40)} {_seconds(value)}" for name, value in seconds.items())
    return _seconds(seconds)


def _trivial_of(payload: Mapping[str, Any], results: Mapping[str, Any]) -> Mapping[str, Any]:
    found = payload.get("baselines", {}) if results is payload.get("results") else results.get("baselines", {})
    assert isinstance(found, Mapping)
    return found


def _seconds(value: Any) -> str:
    number = _number(value)
    if number is None:
        return "–"
    return f"{number:.1f} s" if number < 120 else f"{number // 60:.0f} min {number % 60:.0f} s"


def _moved_text(row: Row) -> str:
    assert row.change is not None
    _, before, _, after = row.change
    return f"{_within(row)} {before.value_text} → {after.value_text} {one_line(row.metric, 40)}"


def _still_text(row: Row) -> str:
    assert row.change is not None
    return f"{_within(row)} {row.change[3].value_text} {one_line(row.metric, 40)}"


def _zero_text(row: Row) -> str:
    return f"{_within(row)} stays at 0.0 {one_line(row.metric, 40)}"


def _within(row: Row) -> str:
    """The task's name within a sentence."""
    name = task_name(row.task)
    return name if name[1:2].isupper() else name[0].lower() + name[1:]


def _listing(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _low(figure: Cell) -> float:
    found = figure.low if figure.low is not None else figure.value
    assert found is not None
    return found


def _high(figure: Cell) -> float:
    found = figure.high if figure.high is not None else figure.value
    assert found is not None
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
