"""What can be wrong with an annotation: a code for each kind, what may be done about it, and what is done where a recipe says nothing.

The defaults keep a published test set as published, so that figures compare with the papers', and clip or drop in training, so that
noise is not taught. A defect that leaves no truth to score against (an empty span, an answer that is not offered) cannot be kept: it is
dropped in training and refused in a test set, where a denominator never changes silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from videochat_r1.counting import counted
from videochat_r1.errors import DataError

Action = Literal["keep", "clip", "swap", "drop", "refuse"]
"""keep: as published (a repair that loses nothing, such as reading "12.5" as 12.5, is made). clip: cut to what exists. swap: put the two
ends in order. drop: leave the row out, counted. refuse: stop."""


@dataclass(frozen=True)
class Kind:
    """One kind of defect."""

    what: str
    train: Action  # what is done in a training set where the recipe says nothing
    test: Action
    also: tuple[Action, ...] = ()  # what else may be chosen; "drop" and "refuse" always may

    @property
    def choices(self) -> tuple[Action, ...]:
        return tuple(dict.fromkeys((self.train, self.test, *self.also, "drop", "refuse")))


EXAMPLES = 5  # of each kind, in a report

KINDS: dict[str, Kind] = {
    # the row
    "row_malformed": Kind("the row, or the entry it comes from, does not have the format's shape", "drop", "refuse"),
    "field_missing": Kind("a field that the task needs is not there", "drop", "refuse"),
    "field_type": Kind("a field has another type than the format says", "drop", "refuse"),
    "field_unknown": Kind("a field that the format does not have: perhaps a misspelt one", "keep", "keep"),
    "lengths_differ": Kind("not as many times as sentences; rows are made of the pairs there are", "drop", "refuse", ("keep",)),
    "number_as_string": Kind("a number in quotes; it is read as the number", "keep", "keep"),
    "number_not_finite": Kind("NaN, infinite, or a milliard and more", "drop", "refuse"),
    "task_unknown": Kind("a task that the package does not have; a file of your own is named in the recipe, as task", "drop", "refuse"),
    "text_not_unicode": Kind("half of a surrogate pair in a text; it is read as U+FFFD", "keep", "keep"),
    "text_marked": Kind("question or options hold a mark of the models' own, such as <|im_end|>, which no prompt may", "drop", "refuse"),
    "question_empty": Kind("no question", "drop", "keep"),
    "row_duplicate": Kind("video, question and truth all stand in an earlier row", "drop", "keep"),
    "id_duplicate": Kind("the id stands in an earlier row; groups and predictions are keyed by it", "drop", "refuse"),
    "duration_invalid": Kind("the length of the video is missing, zero or negative; it is taken as unknown", "keep", "keep"),
    # spans
    "span_past_end": Kind("a span ends after the stated end of the video", "clip", "keep"),
    "span_starts_past_end": Kind("a span starts at or after the stated end of the video", "drop", "keep"),
    "span_negative": Kind("a span reaches to before 0", "clip", "refuse"),
    "span_reversed": Kind("a span ends before it starts", "drop", "refuse", ("swap",)),
    "span_empty": Kind("a span ends where it starts", "drop", "refuse"),
    "spans_none": Kind("an empty list of spans", "drop", "refuse"),
    "spans_several": Kind("more than one span for a task that asks for one", "drop", "refuse"),
    # boxes
    "box_outside": Kind("a box reaches out of the picture; clipping is what the official toolkit does, too", "clip", "clip"),
    "box_reversed": Kind("a box whose second corner lies left of or above its first", "drop", "refuse", ("swap",)),
    "box_empty": Kind("a box without area", "drop", "refuse"),
    "boxes_count": Kind("not as many boxes as the format says", "drop", "refuse", ("keep",)),
    "boxes_few": Kind("fewer than two boxes: nothing is left to find", "drop", "refuse"),
    "boxes_scale": Kind("boxes that are not normalised to 0..1", "refuse", "refuse"),
    "box_times": Kind("the seconds of the boxes do not rise, or are not one a box", "drop", "refuse"),
    "boxes_unplaced": Kind("the boxes are not found in groundtruth.txt; their seconds stay assumed", "keep", "keep"),
    "frames_differ": Kind("the sequence's pictures, boxes and labels are not equally many", "keep", "keep"),
    "path_foreign": Kind("a path of the machine where the file was made; its last part is used", "keep", "keep"),
    # choices and labels
    "options_count": Kind("not as many options as the format says", "keep", "keep"),
    "options_many": Kind("more options than there are letters", "drop", "refuse"),
    "options_letters": Kind("the options are not lettered (A), (B), (C) ... in order", "keep", "keep"),
    "options_duplicate": Kind("two options say the same", "keep", "keep"),
    "answer_not_offered": Kind("the answer is none of the options' letters", "drop", "refuse"),
    "answer_in_question": Kind("the question gives the right option away: it alone stands there word for word", "keep", "keep"),
    "label_unknown": Kind("a label that the question does not offer, or that has no words", "drop", "refuse"),
    # videos
    "window_invalid": Kind("the part of the video that a row is about is not [start, end] in seconds; the whole is shown", "drop", "keep"),
    "subtitles_missing": Kind("no subtitles that can be read; the prompt says that there are none", "keep", "keep"),
    "video_path": Kind("not the path of a local file: an address, or a name with a NUL", "drop", "refuse"),
}


def default_action(code: str, split: str) -> Action:
    """What is done about a kind of defect in a "train" or a "test" set where nothing else is said."""
    kind = KINDS[code]
    return kind.train if split == "train" else kind.test


@dataclass(frozen=True)
class Defect:
    """One defect of one row."""

    code: str
    sample_id: str
    line: int  # of the row in its file, from 1; 0 where it has none
    detail: str
    action: Action


@dataclass
class DefectReport:
    """Every defect found in one data set, counted by kind, with the first few of each. Nothing found is left out of the counts."""

    file: str = ""
    rows: int = 0  # in the file
    samples: int = 0  # that are left
    videos: int = 0  # that they are about
    counts: Counter[str] = field(default_factory=Counter)
    actions: dict[str, Action] = field(default_factory=dict)  # what was done, by code
    examples: dict[str, list[Defect]] = field(default_factory=dict)
    dropped: int = 0  # rows left out for a defect
    missing: tuple[str, ...] = ()  # videos that are not there, as the annotations name them
    missing_rows: int = 0  # rows whose video is not there
    missing_fate: str = "left out"  # what becomes of them
    missing_causes: dict[str, int] = field(default_factory=dict)  # likely cause, with its mend: how many videos
    hint: str = ""  # where no row was of use: which data set the file seems to be of

    def add(self, defect: Defect) -> None:
        self.counts[defect.code] += 1
        self.actions[defect.code] = defect.action
        examples = self.examples.setdefault(defect.code, [])
        if len(examples) < EXAMPLES:
            examples.append(defect)

    @property
    def clean(self) -> bool:
        return not self.counts and not self.missing

    def place(self, defect: Defect) -> str:
        """Where a defect stands: file:line (id)."""
        line = f":{defect.line}" if defect.line else ""
        return f"{self.file}{line} ({printable(defect.sample_id)})" if defect.sample_id else f"{self.file}{line}"

    def stop_if_refused(self) -> None:
        """Raises DataError, naming the first of them, where a defect was found whose action is "refuse"."""
        for code, action in self.actions.items():
            if action != "refuse":
                continue
            first, count = self.examples[code][0], self.counts[code]
            others = f" {count - 1:,} more such." if count > 1 else ""
            other_way = " or ".join(choice for choice in KINDS[code].choices if choice != "refuse")
            mend = f"Mend the row, or set on_defect.{code} = {other_way}; `videochat-r1 data check` lists every defect."
            raise DataError(f"{self.place(first)}: {first.detail} [{code}].{others}", self.hint or mend)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return {
            "file": self.file,
            "rows": self.rows,
            "samples": self.samples,
            "videos": self.videos,
            "defects": {code: count for code, count in sorted(self.counts.items())},
            "actions": {code: self.actions[code] for code in sorted(self.counts)},
            "dropped": self.dropped,
            "missing_videos": len(self.missing),
            "missing_rows": self.missing_rows,
            "missing_causes": dict(self.missing_causes),
            "missing": list(self.missing[:100]),
            "hint": self.hint,
            "examples": {
                code: [{"id": printable(e.sample_id), "line": e.line, "detail": e.detail} for e in found]
                for code, found in sorted(self.examples.items())
            },
        }

    def lines(self) -> list[str]:
        """The report in words, a line for each kind and each example."""
        kept = f"{counted(self.samples, 'sample')} of {counted(self.videos, 'video')} kept"
        found = [f"{self.file}: {counted(self.rows, 'row')}, {kept}, {counted(self.dropped, 'row')} dropped"]
        for code, count in self.counts.most_common():
            found.append(f"  {code} x {count:,} ({self.actions[code]}): {KINDS[code].what}")
            found += [f"    {self.place(example)}: {example.detail}" for example in self.examples[code]]
        if self.missing:
            first = ", ".join(map(printable, self.missing[:5]))
            fate = f"{counted(self.missing_rows, 'row')} {self.missing_fate}"
            found.append(f"  video_missing x {len(self.missing):,}, {fate}; the first: {first}")
            found += [f"    {count:,}: {cause}" for cause, count in self.missing_causes.items()]
        if self.clean:
            found.append("  no defect found")
        if self.hint:
            found.append(f"  {self.hint}")
        return found


def printable(text: object, limit: int = 120) -> str:
    """A text from a file, safe and short enough to print."""
    shown = str(text).encode("utf-8", "replace").decode("utf-8")
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in shown[: limit + 1])
    return shown if len(shown) <= limit else shown[:limit] + "..."
