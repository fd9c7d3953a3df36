"""A data set as a recipe names it, and the Samples in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import field_validator, model_validator

from videochat_r1 import plugins
from videochat_r1.datasets.base.defects import KINDS, Action, Defect, DefectReport, default_action
from videochat_r1.datasets.base.examine import Row, examine
from videochat_r1.datasets.base.json_text import OtherFormat
from videochat_r1.datasets.base.videos import likely_causes, likely_folder, video_path
from videochat_r1.errors import DataError, UsageError
from videochat_r1.section import Section, refused
from videochat_r1.types import Sample


class DataSource(Section):
    """One data set of a recipe: its format, where it lies, and what is done about its defects."""

    name: str = refused(..., "the format: a data set's name, or the path of a .py file that assigns DATASET", min_length=1)
    annotations: str = refused(..., "the annotation file; for official GOT-10k the folder that holds the sequences", min_length=1)
    videos: str = refused(
        "", "the folder that the annotations' video paths start from; empty: the paths are taken as they are and not looked for"
    )
    split: Literal["train", "test"] = refused(
        "train", "what the data serve for: it decides what is done about a defect where on_defect says nothing"
    )
    task: str = refused("", "ask this task in place of the data set's own, such as video_qa for nextgqa")
    limit: int = refused(0, "use the first so many samples; 0: all", ge=0)
    weight: float = refused(1.0, "how often a sample of this source is drawn, against those of other sources", gt=0.0, allow_inf_nan=False)
    video_ext: str = refused("", "the ending of the video files, such as mkv, where it is not what the annotations say")
    boxes_per_sequence: int = refused(
        8, "official GOT-10k folders: how many boxes are asked for, evenly over the sequence; 0: every frame", ge=0
    )
    subtitles: str = refused("", "the folder of the subtitle files, where the data set has some: they go before the question; empty: none")
    subtitle_lines: int = refused(0, "of subtitles: the lines spoken at so many moments, evenly over the video; 0: all", ge=0)
    box_scale: Literal["unit", "thousand"] = refused("unit", "what the annotated boxes are counted in: 0..1, or 0..1000")
    on_missing: Literal["quarantine", "stop"] = refused(
        "quarantine", "a video that is not there: leave its samples out and count them, or stop"
    )
    missing_limit: float = refused(0.2, "stop where more than this share of the videos is not there", ge=0.0, le=1.0)
    on_defect: dict[str, Action] = refused(dict, "what is done about a defect, by its code: keep, clip, swap, drop or refuse")
    difficulty: str = refused("", "a file of `data difficulty` over these samples: they are filtered by it; empty: all are used")
    keep_spread_above: float = refused(
        0.0, "difficulty: the rewards of a sample that is kept spread by more than this; -1 keeps all", ge=-1.0
    )
    difficulty_mean: float = refused(0.75, "difficulty_width: samples this hard are all kept; 0 is always right, 1 never", ge=0.0, le=1.0)
    difficulty_width: float = refused(0.0, "difficulty: keep others by a Gaussian of this width; 0: all alike", ge=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _difficulties_come_from_a_file(self) -> DataSource:
        named = [name for name in ("keep_spread_above", "difficulty_mean", "difficulty_width") if name in self.model_fields_set]
        changed = [name for name in named if getattr(self, name) != type(self).model_fields[name].default]
        if changed and not self.difficulty:
            raise ValueError(f"{changed[0]} needs difficulty, a file of `videochat-r1 data difficulty`")
        return self

    @field_validator("on_defect")
    @classmethod
    def _known(cls, actions: dict[str, Action]) -> dict[str, Action]:
        for code, action in actions.items():
            if code not in KINDS:
                raise ValueError(f"no defect is called {code!r}. {plugins.nearest(code, sorted(KINDS))}")
            if action not in KINDS[code].choices:
                raise ValueError(f"{code} can be {', '.join(KINDS[code].choices)}, not {action}")
        return actions

    def actions(self) -> dict[str, Action]:
        """What is done about each kind of defect in this source."""
        return {code: self.on_defect.get(code, default_action(code, self.split)) for code in KINDS}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A format of annotations: what one file of this folder assigns as DATASET."""

    name: str
    task: str  # what is asked where a source says nothing; "": each row says
    rows: Callable[[DataSource], Iterable[Row]]  # the file's entries in the canonical form, in their order, unjudged
    tasks: tuple[str, ...] = ()  # of the package's own, those that its truth can serve; empty: any


@dataclass(frozen=True)
class Loaded:
    """A data set, read."""

    samples: list[Sample]
    defects: DefectReport
    chosen: str = ""  # what was kept by difficulty, in a line


def load_dataset(name: str) -> Dataset:
    """The data set of that name, or of the .py file at that path. Raises UsageError on an unknown one."""
    dataset = plugins.load("datasets", name, "DATASET")
    if not isinstance(dataset, Dataset):
        raise UsageError(f"{name} assigns a DATASET that is no Dataset.", "See videochat_r1/datasets/charades_sta.py for an example.")
    return dataset


def read_samples(source: DataSource, *, keeps_missing: bool = False) -> Loaded:
    """The samples of a source, in the file's order, with every defect that was found and what was done about it.

    keeps_missing: samples whose video is not there stay, as they must where answers are counted: they are answered wrongly.

    Raises DataError for a file that cannot be read, a defect whose action is "refuse", missing videos where they stop a run, and where no
    sample is left; UsageError for an unknown data set or task."""
    loaded = _scan(source, keeps_missing)
    report = loaded.defects
    report.stop_if_refused()
    _stop_if_missing(source, report)
    if not loaded.samples:
        mend = report.hint or "`videochat-r1 data check` tells why."
        raise DataError(f"{source.annotations}: no sample is left of {report.rows:,} rows.", mend)
    if source.difficulty:
        from videochat_r1.datasets.base.difficulty import chosen

        kept = chosen(loaded.samples, source)
        return Loaded(kept.samples, report, f"{kept.line(source)}.")
    return loaded


def check(source: DataSource) -> DefectReport:
    """Every defect of a source, counted and with examples; nothing found in a row stops it.

    Raises DataError for a file that cannot be read, and UsageError as read_samples."""
    return _scan(source.model_copy(update={"limit": 0})).defects


def _scan(source: DataSource, keeps_missing: bool = False) -> Loaded:
    dataset = load_dataset(source.name)
    task = _task(source, dataset)
    if source.videos and not os.path.isdir(source.videos):
        meant = likely_folder(source.videos, source.annotations)
        mend = "Set videos (--videos) to the folder that the annotations' video paths start from."
        raise DataError(f"No folder {source.videos} to take videos from.", f"Did you mean {meant}?" if meant else mend)
    if source.subtitles and not os.path.isdir(source.subtitles):
        raise DataError(f"No folder {source.subtitles} to take subtitles from.", "Set subtitles to the folder of the subtitle files.")
    actions = source.actions()
    report = DefectReport(file=source.annotations, actions={}, missing_fate="counted as answered wrongly" if keeps_missing else "left out")
    samples: list[Sample] = []
    ids: set[str] = set()
    contents: set[tuple[object, ...]] = set()
    there: dict[str, bool] = {}  # video -> whether it is there
    missing: dict[str, str] = {}
    for row in _rows(dataset, source):
        report.rows += 1
        sample, found = examine(row, task, actions, source.box_scale)
        if sample is not None:
            part = str(sample.meta.get("window_s"))
            content = (sample.task, sample.video, part, sample.question, sample.options, sample.truth)
            if sample.id in ids:
                found.append(("id_duplicate", f"the id {sample.id} stands in an earlier row"))
            if content in contents:
                found.append(("row_duplicate", "video, question and truth stand in an earlier row"))
            ids.add(sample.id)
            contents.add(content)
        for code, detail in found:
            report.add(Defect(code, _row_id(row), row.line, detail, actions[code]))
        if sample is None or any(actions[code] in ("drop", "refuse") for code, _ in found):
            report.dropped += 1
            continue
        path = video_path(source.videos, sample.video, source.video_ext)
        if source.videos and path not in there:
            there[path] = os.path.exists(path)
        if source.videos and not there[path]:
            missing[path] = sample.video
            report.missing_rows += 1
            if not keeps_missing:
                continue
        samples.append(sample if path == sample.video else replace(sample, video=path))
        if source.limit and len(samples) == source.limit:
            break
    if report.rows and report.dropped == report.rows:
        report.hint = _hint(source)
    report.samples, report.videos = len(samples), len({sample.video for sample in samples} - missing.keys())
    report.missing = tuple(missing.values())
    report.missing_causes = likely_causes(source.videos, missing) if missing else {}
    return Loaded(samples, report)


def _rows(dataset: Dataset, source: DataSource) -> Iterator[Row]:
    """The rows of the source. Raises DataError, which names the data set that the file seems to be of, where it is another's."""
    try:
        yield from dataset.rows(source)
    except OtherFormat as fault:
        raise DataError(fault.what, _hint(source) or fault.mend) from None


def _hint(source: DataSource) -> str:
    from videochat_r1.datasets.base.formats import fitting, hint

    return hint(fitting(source))


def _task(source: DataSource, dataset: Dataset) -> str:
    task = source.task
    if not task or task.endswith(".py"):
        return task or dataset.task
    known = plugins.names("tasks")
    if task not in known:
        raise UsageError(f"Nothing named {task!r} in tasks.", plugins.nearest(task, known))
    if dataset.tasks and task not in dataset.tasks:
        raise UsageError(f"The truth of {dataset.name} cannot serve the task {task}.", f"It serves: {', '.join(dataset.tasks)}.")
    return task


def _stop_if_missing(source: DataSource, report: DefectReport) -> None:
    if not report.missing:
        return
    share = len(report.missing) / (len(report.missing) + report.videos)
    if source.on_missing == "stop" or share > source.missing_limit:
        count = len(report.missing) + report.videos
        cause = "; ".join(f"{count:,}: {cause}" for cause, count in report.missing_causes.items())
        what = f"{len(report.missing):,} of {count:,} videos are not in {source.videos}, the first: {', '.join(report.missing[:5])}."
        raise DataError(what, f"{cause}. To go on without them: on_missing = quarantine, missing_limit = 1.")


def _row_id(row: Row) -> str:
    name = row.value.get("id") if isinstance(row.value, dict) else None
    return name if isinstance(name, str) else row.entry
