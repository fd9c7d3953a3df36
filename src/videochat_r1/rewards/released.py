"""Answers as the code released with the paper reads them, and the format as it pays it, so that its figures can be compared with.

What is kept, each a trap: the FIRST answer block counts (the last for temporal grounding), thoughts included; format is paid for a lazy
match, so that two answers or an empty thought pass; the first capital A to G anywhere is the choice; text may surround a span; a tracking
list may hold pixels or words. Where the released code would crash, run on without end, or pay NaN or a value left over from another
completion, nothing is read here. Time is linear and bounded, and only the last 64 kB are read, as everywhere.

Source: src/open_r1/grpo_tasks.py of github.com/OpenGVLab/VideoChat-R1 (April 2025), whose behaviour this follows; not its text."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from videochat_r1.types import Box, Span

_TO_NUMBER = re.compile(r" (?:to|and) (\d{1,400}(?:\.\d{0,400})?)", re.IGNORECASE)
_PAIR = re.compile(r"\(([0-9]+(?:\.[0-9]+)?),[ \t\n\r\f]*([0-9]+(?:\.[0-9]+)?)\)")
_COMMA = re.compile(r",[ \t\n\r\f]*")
_LETTER = re.compile(r"[ABCDEFG]")
_THOUGHT_END = re.compile(r"</think>\s*<answer>")
_ANSWER_END = re.compile(r"</answer>\s*<glue>")
_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:Best option:",  # a comma is missing in the released code, so its last two prefixes are one
)
_ROW = re.compile(r"\[([^\[\]]*)\]")
_ITEM_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,9})?")
_ITEM_OTHER = re.compile(r"True|False|None|'[^'\"\\\\]*'|\"[^'\"\\\\]*\"")

LONGEST_RUN = 400
"""Digits in a row that are read as a number; more of them overflow a float."""


def first_block(text: str, name: str) -> str | None:
    """What stands between the first opening tag of that name and the first closing one after it, or None."""
    _, opening, rest = text.partition(f"<{name}>")
    content, closing, _ = rest.partition(f"</{name}>")
    return content if opening and closing else None


def last_of_all_blocks(text: str, name: str) -> str | None:
    """The last of the blocks that a lazy search from left to right gives, or None: an unclosed tag before a closed one is content."""
    opening, closing, content, at = f"<{name}>", f"</{name}>", None, 0
    while (start := text.find(opening, at)) >= 0 and (end := text.find(closing, start)) >= 0:
        content = text[start + len(opening) : end]
        at = end + len(closing)
    return content


def has_form(text: str, *, thinking: bool, glue: bool) -> bool:
    """Whether `<think>.*?</think>\\s*<answer>.*?</answer>(\\s*<glue>.*?</glue>)` matches the whole stripped text, any text within the
    blocks. Without thinking it begins at <answer>."""
    text = text.strip()
    end = len(text) - len("</glue>" if glue else "</answer>")
    if not text.endswith("</glue>" if glue else "</answer>"):
        return False
    if thinking:
        begin = _THOUGHT_END.search(text, len("<think>")) if text.startswith("<think>") else None
        at = begin.end() if begin else end + 1
    else:
        at = len("<answer>") if text.startswith("<answer>") else end + 1
    if at > end:
        return False
    return not glue or ((seam := _ANSWER_END.search(text, at)) is not None and seam.end() <= end)


def read_span(text: str) -> Span | None:
    """The last "x to y" or "x and y" of the last answer block, or None."""
    block = last_of_all_blocks(text, "answer")
    start_s = end_s = math.inf
    read_up_to = 0
    for match in _TO_NUMBER.finditer(block or ""):
        number = _number_before(block or "", match.start(), read_up_to)
        if number:  # a number belongs to one span only: of "1 to 2 to 3" the first two are one, and the third is alone
            start_s, end_s, read_up_to = float(number), float(match[1]), match.end()
    return (start_s, end_s) if math.isfinite(start_s) and math.isfinite(end_s) else None


def _number_before(text: str, end: int, first: int) -> str:
    """The longest `\\d+\\.?\\d*` that ends there and does not start before `first`; "" for none. A pattern for it would take cubic time."""
    first = max(first, end - 2 * LONGEST_RUN)
    start = end
    while start > first and text[start - 1].isdecimal():
        start -= 1
    whole = start - 1
    if start > first and text[whole] == ".":
        while whole > first and text[whole - 1].isdecimal():
            whole -= 1
        if whole < start - 1:
            return text[whole:end]
    return text[start:end]


def read_spans(text: str) -> tuple[Span, ...] | None:
    """The spans of the first <glue> block where it is exactly `[(s, e), ...]`, `[]` included, with no start after its end; or None."""
    block = first_block(text, "glue")
    if block is None:
        return None
    block = block.removesuffix("\n")
    if block in ("[]", "[,]"):
        return () if block == "[]" else None
    if not (block.startswith("[") and block.endswith("]")):
        return None
    spans: list[Span] = []
    at, end = 1, len(block) - 1
    while pair := _PAIR.match(block, at, end):
        start_s, end_s = _literal(pair[1]), _literal(pair[2])
        if start_s is None or end_s is None or start_s > end_s:
            return None
        spans.append((start_s, end_s))
        at = pair.end()
        comma = _COMMA.match(block, at, end)
        if comma is None:
            break
        if comma.end() == end:
            return tuple(spans) if comma.group() == "," else None
        at = comma.end()
    return tuple(spans) if spans and at == end else None


def _literal(text: str) -> float | None:
    """A number as Python writes one: no zero before another digit of a whole number; None where it is none, or not finite."""
    if len(text) > LONGEST_RUN or ("." not in text and len(text) > 1 and text[0] == "0" and text.strip("0")):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def read_choice(text: str) -> str | None:
    """The first of the capitals A to G in the first answer block, wherever it stands, once seven openings are cut out; or None."""
    block = first_block(text, "answer")
    if block is None:
        return None
    block = block.strip()
    for prefix in _PREFIXES:
        block = block.replace(prefix, "")
    letter = _LETTER.search(block)
    return letter.group() if letter else None


def read_label(text: str) -> str | None:
    """The first answer block in lower case without white space around it, or None."""
    block = first_block(text, "answer")
    return None if block is None else block.strip().lower()


def read_boxes(text: str) -> tuple[tuple[Box, ...] | None, bool]:
    """The boxes of the first answer block where it is a list of eight lists of four, and whether it is one: a list of eight lists of four
    words is, and has no boxes. Containers within the lists are not followed."""
    block = first_block(text.replace("\n", ""), "answer")
    if block is None:
        return None, False
    block = block.strip(" \t")
    rows = list(_ROW.finditer(block))
    if len(rows) != 8 or not (block.startswith("[") and block.endswith("]")):
        return None, False
    between = [block[row.end() : following.start()].strip() for row, following in pairwise(rows)]
    if block[1 : rows[0].start()].strip() or any(seam != "," for seam in between) or block[rows[-1].end() : -1].strip() not in ("", ","):
        return None, False
    boxes: list[Box] = []
    numeric = True
    for row in rows:
        items = [item.strip() for item in row[1].removesuffix(",").split(",")]
        if len(items) != 4 or not all(_ITEM_NUMBER.fullmatch(item) or _ITEM_OTHER.fullmatch(item) for item in items):
            return None, False
        numeric = numeric and all(_ITEM_NUMBER.fullmatch(item) for item in items)
        if numeric:
            boxes.append((float(items[0]), float(items[1]), float(items[2]), float(items[3])))
    finite = numeric and all(math.isfinite(side) for box in boxes for side in box)
    return (tuple(boxes) if finite else None), True
