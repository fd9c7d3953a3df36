"""Events in a description: which of the true ones a text tells, found by their words alone, and what a judge's findings are worth.

Two rules by words: an exact one for events told in canonical clauses (`event_recall`), and one for free text (`tells`)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from videochat_r1.rewards.choices import plain
from videochat_r1.types import Verdict

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


def judged_recall(verdict: Verdict) -> float:
    """Share of the true events that the caption entails, 0.0 .. 1.0: R_recall of VideoChat-R1 (arXiv:2504.06958, R_caption).

    Raises ValueError on a verdict without true events."""
    if not verdict.told:
        raise ValueError("A verdict on a caption has one true event at least.")
    return sum(verdict.told) / len(verdict.told)


def judged_precision(verdict: Verdict) -> float:
    """Share of the events that the caption tells which the true description entails, 0.0 .. 1.0; 1.0 for a caption that tells no event, as
    AutoDQ's released code counts (Wang et al. 2024, arXiv:2407.00634). Raises ValueError where nobody asked for it."""
    if verdict.borne_out is None:
        raise ValueError("This verdict was given without precision.")
    return sum(verdict.borne_out) / len(verdict.borne_out) if verdict.borne_out else 1.0


def harmonic(recall: float, precision: float) -> float:
    """F1 of two shares (or two percentages); 0.0 where both are."""
    return 2.0 * recall * precision / (recall + precision) if recall + precision else 0.0


TOLD_SHARE = 0.8
"""A sentence tells an event where it holds this share of the event's content words: all of up to four, one may be missing of five."""

SPREAD = 2
"""Other content words that may stand between those of an event."""

_EMPTY_WORDS = """a an the this that these those there here it its he she his her him they them their some any and or but while then also as
    of in on at to from by with into onto for is are was were be been being am do does did has have had"""
_EMPTY = frozenset(_EMPTY_WORDS.split())
_DENIALS = frozenset({"no", "not", "never", "none", "nobody", "nothing", "without", "cannot"})
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n|;")  # the last mark of a run: a repeat in front would take squared time
_WORD = re.compile(r"[^\W_]+")
_LONGEST_TEXT = 20_000  # characters that are read


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text that have a word, in their order, without white space around them; parted by . ; ! ? or a new line."""
    return tuple(part.strip().rstrip(".!?").rstrip() for part in _SENTENCE_END.split(text[:_LONGEST_TEXT]) if plain(part))


def content_words(text: str) -> tuple[str, ...]:
    """The words that carry a sentence's meaning, in their order, without the commonest endings: "a Dog\'s running" -> ("dog", "runn").

    A sentence of nothing but empty words keeps them all."""
    words = [_stem(word) for word in _WORD.findall(text.casefold().replace("n\u2019t", " not").replace("n't", " not"))]
    return tuple(word for word in words if word not in _EMPTY and len(word) > 1) or tuple(words)


def _stem(word: str) -> str:
    """ "moves", "moved" and "moving" -> "mov"; "dogs" -> "dog", "running" -> "run". Irregular forms stay apart."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and not word.endswith("ss") and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            if ending in ("ing", "ed") and word[-1] == word[-2] and word[-1] not in "aeiouls":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word


def tells(sentence: Sequence[str], event: Sequence[str]) -> bool:
    """Whether a sentence tells an event, both given as content_words: TOLD_SHARE of the event's words stand in it, in their order, with no
    more than SPREAD other words among them, and no denial among or just before them that the event does not have.

    A rule about words, without knowledge: a paraphrase is not told. Time O(words of the sentence x words of the event squared)."""
    if not event:
        return False
    needed = math.ceil(TOLD_SHARE * len(event))
    known = set(event)
    for start, first in enumerate(sentence):
        if first not in known:
            continue
        window = sentence[start : start + len(event) + SPREAD]
        there = known.intersection(window)
        if len(there) < needed - (len(event) - len(known)) or not _DENIALS & known <= there:
            continue
        end = _told_by(window, event, needed)
        if end and not (_DENIALS & set(sentence[max(0, start - SPREAD) : start + end])) - known:
            return True
    return False


def _told_by(window: Sequence[str], event: Sequence[str], needed: int) -> int:
    """How many words of the window it takes until so many of the event's stand there in their order; 0 where they never do."""
    row = [0] * (len(event) + 1)  # longest common subsequence with each beginning of the event
    for count, word in enumerate(window, start=1):
        before = 0
        for place, other in enumerate(event, start=1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
        if row[-1] >= needed:
            return count
    return 0


def borne_out(claim: Sequence[str], truths: Sequence[Sequence[str]]) -> bool:
    """Whether true sentences and events tell a claim, all given as content_words: one of them tells it, or the claim tells several of them
    and TOLD_SHARE of its words, each as often as it stands there, are theirs."""
    if any(tells(truth, claim) for truth in truths):
        return True
    theirs: Counter[str] = Counter()
    for truth in dict.fromkeys(map(tuple, truths)):
        if tells(claim, truth):
            theirs += Counter(truth)
    return bool(claim) and (Counter(claim) & theirs).total() >= TOLD_SHARE * len(claim)
