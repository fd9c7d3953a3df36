"""The Samples of a source: its rows read, judged and counted, missing videos and defects dealt with as the source says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from videochat_r1 import plugins
from videochat_r1.counting import counted
from videochat_r1.datasets.base.defects import Defect, DefectReport
from videochat_r1.datasets.base.difficulty import chosen
from videochat_r1.datasets.base.examine import Row, examine
from videochat_r1.datasets.base.formats import fitting, hint
from videochat_r1.datasets.base.json_text import OtherFormat
from videochat_r1.datasets.base.source import Dataset, DataSource, load_dataset
from videochat_r1.datasets.base.videos import likely_causes, likely_folder, video_path
from videochat_r1.errors import DataError, UsageError
from videochat_r1.types import Sample


@dataclass(frozen=True)
class Loaded:
    """A data set, read."""

    samples: list[Sample]
    defects: DefectReport
    chosen: str = ""  # what was kept by difficulty, in a line


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
        raise DataError(f"{source.annotations}: no sample is left of {counted(report.rows, 'row')}.", mend)
    if source.difficulty:
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
