"""One row -> one Sample, and everything that is wrong with it.

Total: whatever a JSON file can hold gives a Sample or a list of findings, never an exception."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from videochat_r1 import plugins
from videochat_r1.counting import counted
from videochat_r1.datasets.base.defects import Action, printable
from videochat_r1.rewards.choices import LETTERS, plain
from videochat_r1.rewards.numbers import LARGEST
from videochat_r1.types import Answer, Box, Sample, Span

Finding = tuple[str, str]
"""(code, detail): a key of KINDS, and the defect in words."""

NOISE_S = 1e-6
"""A span ends past the end of the video where end > duration + this. Sums of decimals exceed a duration by some 1e-14 s in hundreds of
ActivityNet rows; the smallest true excess in the official files is 0.01 s."""

NEEDS: dict[str, tuple[str, ...]] = {
    "temporal_grounding": ("spans",),
    "moment_retrieval": ("spans",),
    "tracking": ("boxes",),
    "video_qa": ("choice",),
    "grounded_qa": ("choice", "spans"),
    "quality": ("label",),
    "description": ("events",),
}
"""What the truth of each task holds. A task that is not named here (a user's own) takes what the row has."""

NO_QUESTION = frozenset({"description", "captioning"})
"""Tasks that ask the same of every video."""

_FIELDS = frozenset({"id", "task", "video", "question", "options", "answer", "duration_s", "meta"})
_ANSWERS = frozenset({"spans", "boxes", "times_s", "choice", "label", "events", "caption"})
_LETTER = re.compile(r"\(([A-Z])\)\s*")
_MODEL_MARK = re.compile(r"<\|(?:im_start|im_end|endoftext|(?:vision|object_ref|box|quad)_(?:start|end)|(?:vision|image|video)_pad)\|>")
"""Of Qwen2.5-VL and Qwen3-VL; a prompt refuses what else a model's own tokenizer holds (policy/prompt.py)."""
_MARKED = re.compile(r"\(?([A-Z])\)?\.?")


@dataclass(frozen=True)
class Row:
    """A row in the canonical form (docs: the keys of `_FIELDS`), before anything is judged. A reader makes it from its official format and
    adds what only it can see as findings."""

    value: Any  # None with findings: no row could be made of the entry
    line: int = 0
    findings: tuple[Finding, ...] = ()
    entry: str = ""  # what to call the row where it has no id
    options_due: int = 0  # how many options the format says; 0: it says nothing
    boxes_due: int = 0  # how many boxes the format says; 0: it says nothing
    labels_due: tuple[str, ...] = ()  # the labels that the format has; empty: those of the options, or any
    duration_due: bool = False  # the format gives every video's length


def examine(
    row: Row, task: str, actions: Mapping[str, Action], box_scale: Literal["unit", "thousand"] = "unit"
) -> tuple[Sample | None, list[Finding]]:
    """The row as a Sample, repaired as `actions` say, and its findings. None where no sample can be made of it.

    task: the task to ask, over what the row says where it is not empty."""
    examiner = _Examiner(row, task, actions, box_scale)
    return examiner.sample(), examiner.found


class _Examiner:
    def __init__(self, row: Row, task: str, actions: Mapping[str, Action], box_scale: str) -> None:
        self.row, self.task, self.actions, self.box_scale = row, task, actions, box_scale
        self.found: list[Finding] = list(row.findings)
        self.duration_s: float | None = None

    def note(self, code: str, detail: str) -> None:
        self.found.append((code, detail))

    def clips(self, code: str) -> bool:
        return self.actions.get(code) == "clip"

    def swaps(self, code: str) -> bool:
        return self.actions.get(code) == "swap"

    # the row -------------------------------------------------------------------------------------------------------------------------

    def sample(self) -> Sample | None:
        value = self.row.value
        if value is None and self.row.findings:
            return None  # the reader has said what is wrong
        if not isinstance(value, dict):
            self.note("row_malformed", f"a row is an object, not {_kind(value)}")
            return None
        if not _FIELDS.issuperset(value):
            self.unknown(value, _FIELDS)
        name = self.text(value, "id")
        video = self.text(value, "video")
        question = self.text(value, "question", may_be_empty=True)
        task = self.task or self.text(value, "task")
        if not self.task and task is not None and task not in _tasks():
            self.note("task_unknown", f"the task {printable(task, 40)!r} is none of {', '.join(sorted(_tasks()))}")
        self.duration_s = self.duration(value.get("duration_s"))
        meta = value.get("meta", {})
        if not isinstance(meta, dict):
            self.note("field_type", f"meta is an object, not {_kind(meta)}")
            return None
        meta = self.window(meta)
        options = self.options(value.get("options"))
        if options is None:
            return None
        truth = self.answer(value.get("answer"), task or "", options, question or "")
        if mark := next((found.group() for text in (question or "", *options) if (found := _MODEL_MARK.search(text))), None):
            self.note("text_marked", f"{mark} stands in the question or its options")
        if name is None or video is None or question is None or task is None or truth is None:
            return None
        if not question.strip() and task not in NO_QUESTION:
            self.note("question_empty", "the question is empty")
        if "\0" in video or "://" in video:
            self.note("video_path", f"{printable(video)!r} is not the path of a local file")
        return Sample(
            id=name, task=task, video=video, question=question, truth=truth, options=options, duration_s=self.duration_s, meta=meta
        )

    def unknown(self, value: Mapping[Any, Any], known: frozenset[str]) -> None:
        for key in value:
            if key not in known:
                self.note("field_unknown", f"no field is named {printable(key)!r}; there are {', '.join(sorted(known))}")

    def window(self, meta: dict[str, Any]) -> dict[str, Any]:
        """The same, without a "window_s" that is none."""
        if meta.get("window_s") is None:
            return meta
        pair = meta["window_s"]
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2 and all(type(second) in (int, float) for second in pair)
        if is_pair and 0 <= pair[0] < pair[1] < LARGEST:
            return meta
        self.note("window_invalid", f"window_s is {printable(pair, 60)}")
        return {name: entry for name, entry in meta.items() if name != "window_s"}

    def text(self, value: Mapping[str, Any], field: str, *, may_be_empty: bool = False) -> str | None:
        if field not in value or value[field] is None:
            self.note("field_missing", f"{field} is missing")
            return None
        text = value[field]
        if not isinstance(text, str):
            self.note("field_type", f"{field} is a text, not {_kind(text)}")
            return None
        if not text.strip() and not may_be_empty:
            self.note("field_missing", f"{field} is empty")
            return None
        return self.unicode(text, field)

    def unicode(self, text: str, field: str) -> str:
        if text.isascii():
            return text
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            self.note("text_not_unicode", f"{field} holds half of a surrogate pair")
            return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
        return text

    def number(self, value: Any, field: str) -> float | None:
        kind = type(value)
        if kind is str:
            try:
                read = float(value)
            except ValueError:
                self.note("field_type", f"{field} holds {printable(value, 40)!r}, which is no number")
                return None
            self.note("number_as_string", f"{field} holds {printable(value, 40)!r} in quotes")
        elif kind is float:
            read = value
        elif kind is int:
            try:
                read = float(value)
            except OverflowError:
                read = math.inf
        else:
            self.note("field_type", f"{field} holds {_kind(value)} where a number is due")
            return None
        if not abs(read) < LARGEST:  # NaN is not, either
            self.note("number_not_finite", f"{field} holds {read}")
            return None
        return read

    def duration(self, value: Any) -> float | None:
        if value is None:
            if self.row.duration_due:
                self.note("duration_invalid", "the video has no duration")
            return None
        seconds = self.number(value, "duration")
        if seconds is not None and seconds <= 0.0:
            self.note("duration_invalid", f"the video's duration is {seconds:g} s")
            return None
        return seconds

    # the answer ----------------------------------------------------------------------------------------------------------------------

    def answer(self, value: Any, task: str, options: tuple[str, ...], question: str) -> Answer | None:
        if not isinstance(value, dict):
            self.note("field_missing" if value is None else "field_type", f"answer is an object, not {_kind(value)}")
            return None
        if not _ANSWERS.issuperset(value):
            self.unknown(value, _ANSWERS)
        needs = NEEDS.get(task, ())
        missing = [field for field in needs if value.get(field) is None]
        if missing or not any(value.get(field) is not None for field in _ANSWERS):
            self.note("field_missing", f"the answer has no {' and no '.join(missing) or 'field that is known'}")
            return None
        spans = self.spans(value.get("spans"), needed="spans" in needs, one=task == "temporal_grounding")
        boxes = self.boxes(value.get("boxes"))
        times = self.times(value.get("times_s"), boxes)
        choice = self.choice(value.get("choice"), options, question)
        label = self.label(value.get("label"), self.row.labels_due or options)
        events = self.texts(value.get("events"), "events")
        if events is not None and "events" in needs and not (events and all(plain(event) for event in events)):
            self.note("field_missing", "there is no event, or one without words")
        caption = None if value.get("caption") is None else self.text(value, "caption", may_be_empty=True)
        truth = Answer(spans=spans, boxes=boxes, times_s=times, choice=choice, label=label, events=events, caption=caption)
        lost = any(getattr(truth, field) is None and value.get(field) is not None for field in _ANSWERS)
        return None if lost else truth

    def spans(self, value: Any, *, needed: bool, one: bool) -> tuple[Span, ...] | None:
        if value is None:
            return None
        if not isinstance(value, (list, tuple)):
            self.note("field_type", f"spans are a list of [start, end], not {_kind(value)}")
            return None
        if not value and needed:
            self.note("spans_none", "there is no span")
        if len(value) > 1 and one:
            self.note("spans_several", f"{counted(len(value), 'span')} where one is due")
        spans = []
        for pair in value:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                self.note("field_type", f"a span is [start, end] in seconds, not {printable(pair, 60)}")
                return None
            start, end = self.number(pair[0], "a span"), self.number(pair[1], "a span")
            if start is None or end is None:
                return None
            spans.append(self.span(start, end))
        return tuple(spans)

    def span(self, start: float, end: float) -> Span:
        """Judged as it came, then repaired; one finding for each thing that is wrong with it."""
        duration = math.inf if self.duration_s is None else self.duration_s
        shown = f"span [{start:g}, {end:g}]"
        past, outside, negative, reverse = end > duration + NOISE_S, start >= duration, min(start, end) < 0.0, end < start
        if reverse:
            self.note("span_reversed", f"{shown} ends before it starts")
        elif end == start:
            self.note("span_empty", f"{shown} is empty")
        if negative:
            self.note("span_negative", f"{shown} reaches to before 0")
        if past:
            self.note("span_past_end", f"{shown} ends after the video, which has {duration:g} s")
        if outside:
            self.note("span_starts_past_end", f"{shown} starts when the video is over, which has {duration:g} s")
        if reverse and self.swaps("span_reversed"):
            start, end = end, start
        if past and self.clips("span_past_end") and start < duration:
            end = min(end, duration)
        if negative and start < end and self.clips("span_negative"):
            start = 0.0
            if end <= start:
                self.note("span_empty", f"{shown} lies wholly before 0")
        return start, end

    def boxes(self, value: Any) -> tuple[Box, ...] | None:
        if value is None:
            return None
        if not isinstance(value, (list, tuple)):
            self.note("field_type", f"boxes are a list of [x0, y0, x1, y1], not {_kind(value)}")
            return None
        due = self.row.boxes_due
        if len(value) < 2:
            self.note("boxes_few", f"boxes: {len(value)}")
        elif due and len(value) != due:
            self.note("boxes_count", f"{counted(len(value), 'box', 'boxes')} where {due} are due")
        boxes = []
        for corners in value:
            if not isinstance(corners, (list, tuple)) or len(corners) != 4:
                self.note("field_type", f"a box is [x0, y0, x1, y1], not {printable(corners, 60)}")
                return None
            read = [self.number(corner, "a box") for corner in corners]
            if any(corner is None for corner in read):
                return None
            x0, y0, x1, y1 = (corner for corner in read if corner is not None)
            boxes.append((x0, y0, x1, y1))
        if self.box_scale == "thousand":
            boxes = [(x0 / 1000, y0 / 1000, x1 / 1000, y1 / 1000) for x0, y0, x1, y1 in boxes]
        scale = guessed_scale(boxes)
        if scale:
            self.note("boxes_scale", f"boxes reach {max(max(box) for box in boxes):g}: {scale}")
            return tuple(boxes)
        return tuple(self.box(box) for box in boxes)

    def box(self, box: Box) -> Box:
        x0, y0, x1, y1 = box
        shown = f"box [{x0:g}, {y0:g}, {x1:g}, {y1:g}]"
        if min(box) < 0.0 or max(box) > 1.0:
            self.note("box_outside", f"{shown} reaches out of 0..1")
            if self.clips("box_outside"):
                x0, y0, x1, y1 = (min(max(corner, 0.0), 1.0) for corner in box)
        if x1 < x0 or y1 < y0:
            self.note("box_reversed", f"{shown} has its corners in the wrong order")
            if self.swaps("box_reversed"):
                x0, y0, x1, y1 = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
        if x1 == x0 or y1 == y0:
            self.note("box_empty", f"{shown} has no area" if (x0, y0, x1, y1) == box else f"{shown} lies outside the picture")
        return x0, y0, x1, y1

    def times(self, value: Any, boxes: Sequence[Box] | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        if not isinstance(value, (list, tuple)):
            self.note("field_type", f"times_s is a list of seconds, not {_kind(value)}")
            return None
        times = [self.number(second, "times_s") for second in value]
        seconds = tuple(second for second in times if second is not None)
        if len(seconds) != len(times):
            return None
        rising = all(early < late for early, late in zip(seconds, seconds[1:], strict=False))
        if not rising or (seconds and seconds[0] < 0.0):
            self.note("box_times", f"the boxes' seconds do not rise from 0 on: {printable(list(seconds), 80)}")
        elif boxes is not None and len(seconds) != len(boxes):
            self.note("box_times", f"{counted(len(seconds), 'second')} for {counted(len(boxes), 'box', 'boxes')}")
        return seconds

    # choices and labels --------------------------------------------------------------------------------------------------------------

    def texts(self, value: Any, field: str) -> tuple[str, ...] | None:
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
            self.note("field_type", f"{field} is a list of texts, not {printable(value, 60)}")
            return None
        return tuple(self.unicode(text, field) for text in value)

    def options(self, value: Any) -> tuple[str, ...] | None:
        options = self.texts(value, "options") if value is not None else ()
        if options is None:
            return None
        due = self.row.options_due
        if due and len(options) != due:
            self.note("options_count", f"{len(options)} options where {due} are due")
        if not options:
            return options
        if len(options) > len(LETTERS):
            self.note("options_many", f"{len(options)} options; there are {len(LETTERS)} letters")
            return options
        marks = [_LETTER.match(option) for option in options]
        if any(marks) or due:
            letters = [mark.group(1) if mark else "none" for mark in marks]
            if letters != list(LETTERS[: len(options)]):
                self.note("options_letters", f"the options are lettered {', '.join(letters)[:80]}")
        said = [_bare(option) for option in options]
        if len(set(said)) < len(said):
            self.note("options_duplicate", f"the options are {printable(list(options), 200)}")
        return options

    def choice(self, value: Any, options: tuple[str, ...], question: str) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            self.note("field_type", f"the answer is the letter of an option, not {_kind(value)}")
            return None
        marked = _MARKED.fullmatch(value.strip())
        index = LETTERS.index(marked.group(1)) if marked else options.index(value) if options.count(value) == 1 else -1
        if not 0 <= index < min(len(options), len(LETTERS)):
            self.note("answer_not_offered", f"the answer is {printable(value, 40)!r}; {len(options)} options are offered")
            return None
        asked = question.casefold()
        right, others = _bare(options[index]), [_bare(option) for place, option in enumerate(options) if place != index]
        if right in asked and _stands_in(right, asked) and not any(_stands_in(other, asked) for other in others):
            self.note("answer_in_question", f"the question holds {printable(right, 60)!r}, the right option, and no other")
        return LETTERS[index]

    def label(self, value: Any, known: tuple[str, ...]) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            self.note("field_type", f"the answer is a label, not {_kind(value)}")
            return None
        if known and value not in known:
            self.note("label_unknown", f"the label is {printable(value, 40)!r}; there are {printable(', '.join(known))}")
        elif not plain(value) or "<" in value:
            self.note("label_unknown", f"the label is {printable(value, 40)!r}")
        return self.unicode(value, "label")


@cache
def _tasks() -> frozenset[str]:
    """What a row may name. Not a file: annotations are data, and must not say what code runs."""
    return frozenset(plugins.names("tasks"))


def guessed_scale(boxes: Sequence[Box]) -> str:
    """What boxes that are clearly not normalised seem to be counted in, with the mend; "" where they seem normalised.

    A box that hangs over the edge by half the picture is still taken for normalised."""
    reach = max((max(box) for box in boxes), default=0.0)
    if reach <= 1.5:
        return ""
    pixels = "in pixels (then divide by the video's width and height)"
    return (
        f"they seem to be on a scale of 0 to 1000 (then set box_scale = thousand), or {pixels}"
        if reach <= 1000.0
        else f"they seem to be {pixels}"
    )


def _bare(option: str) -> str:
    return _LETTER.sub("", option, count=1).strip(" .").casefold()


def _stands_in(words: str, text: str) -> bool:
    return bool(words) and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }
    return names.get(type(value), type(value).__name__)
