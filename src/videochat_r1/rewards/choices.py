"""Answers that are one of several: the letter of an option, or a label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

LONGEST_CHOICE_TEXT = 1_000
"""Characters of an answer that is to be one choice, at most."""

_LETTERED = re.compile(r"[(\[]?([A-Z])[)\].:](?:\s|$)")
_LETTER_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:,;]?")
_LETTER_AND_TEXT = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:,]?\s")
_ASKED_LETTER = re.compile(r"(?:[A-Z]|\([A-Z]\))\.?")
_STANDING_ALONE = re.compile(r"(?<![A-Za-z0-9'])[A-Z](?![A-Za-z0-9'])")
_NAMED = re.compile(r"\b(?:answer|option|choice)\b\s{0,4}(?:is\b)?\s{0,4}[:=]?\s{0,4}[(\[]?([A-Za-z])\b", re.IGNORECASE)
_MARKED = re.compile(r"^[(\[]?([A-Z])[)\].:]|[(\[]([A-Z])[)\]]")
_NOT_A_WORD = re.compile(r"[\W_]+")


def plain(text: str) -> str:
    """A text for comparison: words in lower case, one space between them, no punctuation."""
    return _NOT_A_WORD.sub(" ", text.casefold()).strip()


def lettered(options: Sequence[str]) -> list[str]:
    """The options with their letters: "(A) red" for "red" where the data gives none; options that have them in order stay as they are."""
    matches = [_LETTERED.match(option) for option in options]
    if all(match is not None and match[1] == letter for match, letter in zip(matches, LETTERS, strict=False)):
        return list(options)
    return [f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False)]


@lru_cache(maxsize=4096)
def option_words(options: tuple[str, ...]) -> tuple[str, ...]:
    """What each option says, without its letter, for comparison."""
    return tuple(plain(option[match.end() :] if (match := _LETTERED.match(option)) else option) for option in lettered(options))


def offered_letters(options: Sequence[str]) -> str:
    """The letters that an answer may name: one an option, or all where the options are not known. Raises ValueError on more than 26."""
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options are more than there are letters.")
    return LETTERS[: len(options)] if options else LETTERS


def check_choice(choice: str | None, options: Sequence[str]) -> str:
    """The letter of a truth. Raises ValueError where there is none or where it is not the letter of an option."""
    if choice is None or len(choice) != 1 or choice not in offered_letters(options):
        raise ValueError(f"The truth's choice {choice!r} is not the letter of one of {len(options)} options.")
    return choice


def read_choice(text: str, options: Sequence[str]) -> tuple[str | None, str]:
    """The letter that an answer names and "", or None and the reason why: too_long, no_choice, several_choices, not_offered.

    Read are a letter alone in any case ("C", "(c)", "C."), a letter with its option's text, an option's text alone, and a sentence that
    names one letter ("The answer is C", "Option (C)"). A capital inside a word is no letter, and two letters are no choice."""
    if len(text) > LONGEST_CHOICE_TEXT:
        return None, "too_long"
    answer = text.strip().strip("*`\"'").strip()
    letter, reason = _letter(answer, options)
    if letter is None:
        return None, reason
    return (letter, "") if letter in offered_letters(options) else (None, "not_offered")


def _letter(answer: str, options: Sequence[str]) -> tuple[str | None, str]:
    if alone := _LETTER_ALONE.fullmatch(answer):
        return alone[1].upper(), ""
    texts = option_words(tuple(options))
    said = plain(answer)
    if said and texts.count(said) == 1:
        return LETTERS[texts.index(said)], ""
    if start := _LETTER_AND_TEXT.match(answer):
        index = LETTERS.index(start[1].upper())
        if index < len(texts) and plain(answer[start.end() :]) == texts[index]:
            return LETTERS[index], ""
    named = {letter for letter in _NAMED.findall(answer) if letter.isupper()}
    named |= {first or second for first, second in _MARKED.findall(answer)}
    alone_letters = {letter for letter in _STANDING_ALONE.findall(answer) if letter in offered_letters(options)}
    if len(named | alone_letters) > 1:
        return None, "several_choices"
    return (named.pop(), "") if named else (None, "no_choice")


def is_asked_letter(text: str, options: Sequence[str]) -> bool:
    """Whether an answer is the letter of an option and nothing else: "C", "(C)" or "C."."""
    match = _ASKED_LETTER.fullmatch(text.strip()) if len(text) <= LONGEST_CHOICE_TEXT else None
    return match is not None and match.group().strip("().") in offered_letters(options)


def read_label(text: str, labels: Sequence[str]) -> tuple[str | None, str]:
    """The label that an answer says and "", or None and the reason why: too_long, no_label, not_offered. Case and punctuation do not count.

    labels: those that are offered; where they are not known any words are a label, in lower case."""
    if len(text) > LONGEST_CHOICE_TEXT:
        return None, "too_long"
    said = plain(text)
    if not said:
        return None, "no_label"
    if not labels:
        return said, ""
    return next(((label, "") for label in labels if plain(label) == said), (None, "not_offered"))
