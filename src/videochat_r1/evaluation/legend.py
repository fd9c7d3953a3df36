"""Who is who in every table, figure and page: one name, one colour and one line style each.

The four main colours keep apart in ordinary sight and under the three colour blindnesses (simulated after Machado et al. 2009), and each
has at least 3 : 1 contrast on a white and on a dark page; line styles say the same a second time. The strokes of base and control fall
into different thirds of one period, over the tuned model's solid line: where boxes are equal, all of them are seen."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class Look:
    """How one answerer is shown. dash: lengths of strokes and gaps in turn, in multiples of the line's width; () is solid."""

    name: str
    colour: str
    dash: tuple[float, ...] = ()


TRUTH = Look("Truth", "#12A868")
ON_FRAMES = "#5BFFB0"
"""The truth's outline on frames: a thin bright line over all others."""
GIVEN = Look("Given", "#12A868", (1.0, 1.6))
TRIVIAL = Look("Best trivial answer", "#8A8F98")
MODELS = {
    "base": Look("Base", "#D07F0C", (1.5, 3.0)),
    "sft": Look("SFT control", "#C032A8", (0.0, 1.5, 1.5, 1.5)),
    "rft": Look("Tuned", "#2C6CEE"),
}
NAMED = {**MODELS, "policy": Look("Policy", MODELS["rft"].colour)}
"""All that have names of their own: an evaluation's policy never stands beside a tuned model."""
SPARE_COLOURS = ("#8C6BB1", "#00868B", "#B5495B", "#6B7A1E")  # for models of a user's own naming

TASK_NAMES = {
    "temporal_grounding": "Temporal grounding",
    "tracking": "Tracking",
    "video_qa": "Video QA",
    "grounded_qa": "Grounded QA",
    "description": "Description",
    "captioning": "Captions",
    "quality": "Quality",
}
HEADLINES = {
    "temporal_grounding": ("mIoU",),
    "tracking": ("AO",),
    "video_qa": ("accuracy",),
    "grounded_qa": ("Acc&GQA", "accuracy", "mIoU"),
    "description": ("event_recall",),
    "captioning": ("event_F1",),
    "quality": ("accuracy",),
}
"""The figures that a task is judged by, first the one that stands for it; a task not named here is judged by the first it reports."""

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def look(model: str, models: Iterable[str]) -> Look:
    """The look of one model among those of a report."""
    if model in NAMED:
        return NAMED[model]
    others = [name for name in models if name not in NAMED]
    place = others.index(model) if model in others else 0
    return Look(plain(model, 40), SPARE_COLOURS[place % len(SPARE_COLOURS)], (2.0, 1.0))


def in_order(models: Iterable[str]) -> list[str]:
    """Base, control and tuned model first, in this order; then the others as they come."""
    names = list(models)
    return [name for name in NAMED if name in names] + [name for name in names if name not in NAMED]


def drawn_order(who: Iterable[str]) -> list[str]:
    """Answerers as their outlines lie over each other, the lowest first: solid lines, broken ones, and the truth on top."""
    names = list(who)
    return sorted(names, key=lambda name: (name == "truth", bool(name != "truth" and look(name, names).dash)))


def task_name(task: str) -> str:
    """A task's name for people; that of a user's own task is made from its name or file."""
    if task in TASK_NAMES:
        return TASK_NAMES[task]
    stem = plain(PurePath(task).stem if task.endswith(".py") else task, 60)
    words = stem.replace("_", " ").strip() or "task"
    return words[0].upper() + words[1:]


def plain(text: object, longest: int | None = None) -> str:
    """A text that any screen or file can take: no control characters, lone surrogates or marks that turn the reading direction; cut
    with an ellipsis after `longest` characters."""
    words = str(text)
    if longest is not None and len(words) > 4 * longest + 64:
        words = words[: 4 * longest + 64]  # what is dropped below is bounded work on a megabyte of output
    kept = []
    for letter in words:
        kind = unicodedata.category(letter)
        if letter in "\n\t\r":
            kept.append(" " if letter != "\n" else "\n")
        elif kind in ("Cc", "Cs"):
            kept.append("\N{REPLACEMENT CHARACTER}")
        elif letter not in _BIDI:
            kept.append(letter)
    clean = "".join(kept)
    if longest is not None and (len(clean) > longest or len(words) < len(str(text))):
        return clean[: max(longest - 1, 0)] + "…"
    return clean


def one_line(text: object, longest: int | None = None) -> str:
    """`plain`, with every run of white space as one blank."""
    return plain(" ".join(plain(text, None if longest is None else 2 * longest).split()), longest)
