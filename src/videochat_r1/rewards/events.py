"""Events in a description: which of the true ones a text tells, found by their words alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from videochat_r1.rewards.choices import plain

_CLAUSE_END = re.compile(r"[.;!?\n]+")


def check_events(events: Sequence[str] | None) -> tuple[str, ...]:
    """The events of a truth, as plain words. Raises ValueError where there are none or one has no words."""
    return _words(tuple(events or ()))


@lru_cache(maxsize=4096)
def _words(events: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(plain(event) for event in events)
    if not words or not all(words):
        raise ValueError("The truth of a description has one event at least, each of some words.")
    return words


def event_recall(text: str, events: Sequence[str]) -> float:
    """Share of the true events whose words stand in the text in a row, 0.0 .. 1.0; case, punctuation and white space do not count.

    Raises ValueError on a truth at fault. An exact rule for events told in canonical clauses; event recall after AutoDQ in
    Wang et al. 2024 (Tarsier), arXiv:2407.00634, where a language model judges instead."""
    words = check_events(events)
    told = f" {plain(text)} "
    return sum(f" {event} " in told for event in words) / len(words)


def event_precision(text: str, events: Sequence[str]) -> float:
    """Share of the text's clauses (parted by . ; ! ? or a new line) that tell a true event, 0.0 .. 1.0; 0.0 for a text without words.

    Raises ValueError on a truth at fault."""
    words = check_events(events)
    clauses = [f" {clause} " for part in _CLAUSE_END.split(text) if (clause := plain(part))]
    if not clauses:
        return 0.0
    return sum(any(f" {event} " in clause for event in words) for clause in clauses) / len(clauses)
