"""Answers as the code released with the paper reads them, and the format as it pays it, so that its figures can be compared with.

What is kept, each a trap: the FIRST answer block counts (the last for temporal grounding), thoughts included; format is paid for a lazy
match, so that two answers or an empty thought pass; the first capital A to G anywhere is the choice; text may surround a span; a tracking
list may hold pixels or words. Where the released code would crash, run on without end, or pay NaN or a value left over from another
completion, nothing is read here. Time is linear and bounded, and only the last 64 kB are read, as everywhere.

Source: src/open_r1/grpo_tasks.py of github.com/OpenGVLab/VideoChat-R1 (April 2025), whose behaviour this follows; not its text. Its
evaluation code (src_eval) reads as it trains, but for temporal grounding (`read_span_anywhere`)."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from videochat_r1.types import Box, Span

# The released patterns, but for two things: numbers are bounded, and begin where a run of digits does; else they take cubic time.
_SPAN_TEXT = r"(?<!\d)(\d{1,400}(?:\.\d{0,400})?) (?:to|and) (\d{1,400}(?:\.\d{0,400})?)"
_SPAN, _SPAN_EVALUATED = re.compile(_SPAN_TEXT, re.IGNORECASE), re.compile(_SPAN_TEXT)
_PAIR_TEXT = r"\([0-9]{1,400}(?:\.[0-9]{1,400})?,[ \t\n\r\f]*[0-9]{1,400}(?:\.[0-9]{1,400})?\)"
_LIST = re.compile(rf"\[(?:{_PAIR_TEXT}(?:,[ \t\n\r\f]*{_PAIR_TEXT})*,?)?\]")
_PAIR = re.compile(r"\(([0-9.]+),\s*([0-9.]+)\)")
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

LONGEST_LIST_TEXT = 16_000
"""Characters of a list of spans, at most."""


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
    return _last_span(_SPAN, last_of_all_blocks(text, "answer") or "")


def read_span_anywhere(text: str) -> Span | None:
    """The last "x to y" or "x and y" of the whole text, thoughts and what follows the answer included, in lower case: what the released
    evaluation code takes for the answer (src_eval/evaluate_tg_c8.py); or None."""
    return _last_span(_SPAN_EVALUATED, text)


def _last_span(pattern: re.Pattern[str], text: str) -> Span | None:
    spans = pattern.findall(text)
    if not spans:
        return None
    start_s, end_s = (float(second) for second in spans[-1])
    return (start_s, end_s) if math.isfinite(start_s) and math.isfinite(end_s) else None


def read_spans(text: str) -> tuple[Span, ...] | None:
    """The spans of the first <glue> block where it is exactly `[(s, e), ...]`, `[]` included, with no start after its end; or None."""
    block = first_block(text, "glue")
    if block is None:
        return None
    block = block.removesuffix("\n")
    if len(block) > LONGEST_LIST_TEXT or not _LIST.fullmatch(block):
        return None
    spans = []
    for start, end in _PAIR.findall(block):
        start_s, end_s = _literal(start), _literal(end)
        if start_s is None or end_s is None or start_s > end_s:
            return None
        spans.append((start_s, end_s))
    return tuple(spans)


def _literal(text: str) -> float | None:
    """A number as Python writes one: no zero before another digit of a whole number; None where it is none, or not finite."""
    if text.isdecimal() and text[0] == "0" and text.strip("0"):
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
    inner = block[1:-1].strip().removesuffix(",")
    rows = list(_ROW.finditer(inner))
    if len(rows) != 8 or block[:1] + block[-1:] != "[]" or rows[0].start() > 0 or inner[rows[-1].end() :].strip():
        return None, False
    if any(inner[row.end() : following.start()].strip() != "," for row, following in pairwise(rows)):
        return None, False
    boxes: list[Box] = []
    for row in rows:
        items = [item.strip() for item in row[1].removesuffix(",").split(",")]
        if len(items) != 4 or not all(_is_number(item) or _ITEM_OTHER.fullmatch(item) for item in items):
            return None, False
        if all(_is_number(item) for item in items):
            x0, y0, x1, y1 = (float(item) for item in items)
            boxes.append((x0, y0, x1, y1))
    if len(boxes) < 8 or not all(math.isfinite(side) for box in boxes for side in box):
        return None, True
    return tuple(boxes), True


def _is_number(text: str) -> bool:
    whole = text.lstrip("+-")
    return _ITEM_NUMBER.fullmatch(text) is not None and not (whole.isdecimal() and whole[0] == "0" and whole.strip("0"))
