"""The options that name a data set, the same for every command that reads one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from videochat_r1.commands.options import Options, option
from videochat_r1.datasets.base.defects import Action
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.errors import DataError, VideoError
from videochat_r1.tasks.base.loading import load_task

if TYPE_CHECKING:
    from videochat_r1.types import Sample


class SourceOptions(Options):
    """A data set of one command."""

    dataset: str = option(..., "a data set of docs/evaluation.md such as charades_sta or videomme, jsonl, or a .py file", "NAME")
    annotations: str = option(..., "the annotation file; the folder of them where a data set has several", "FILE")
    videos: str = option("", "the folder that the annotations' video paths start from", "DIR")
    split: Literal["train", "test"] = option("test", "what the data serve for, which decides what is done about a defect")
    task: str = option("", "ask this task in place of the data set's own", "NAME")
    limit: int = option(0, "use the first so many samples; 0: all", ge=0)
    video_ext: str = option("", "the ending of the video files where the annotations have another", "EXT")
    boxes_per_sequence: int = option(8, "official GOT-10k folders: boxes asked for, evenly spread; 0: every frame", ge=0)
    subtitles: str = option("", "the folder of the subtitle files: they go before the question", "DIR")
    subtitle_lines: int = option(0, "of subtitles the lines spoken at so many moments, evenly over the video; 0: all", ge=0)
    box_scale: Literal["unit", "thousand"] = option("unit", "what the annotated boxes are counted in: 0..1, or 0..1000")
    on_missing: Literal["quarantine", "stop"] = option("quarantine", "a video that is not there: leave its samples out, or stop")
    missing_limit: float = option(0.2, "stop where more than this share of the videos is not there", ge=0.0, le=1.0)
    on_defect: dict[str, Action] = option(dict, "what is done about a kind of defect: keep, clip, swap, drop or refuse")

    def source(self) -> DataSource:
        """The data set as the readers take it. Raises UsageError for a defect that cannot be treated so, and for a file of the user's own
        that holds no task."""
        source = source_of(self.dataset, self.annotations, self)
        if self.task.endswith(".py"):
            load_task(self.task)
        return source

    def training_source(self, annotations: str) -> DataSource:
        """Another file of the same data set, read as training data."""
        return source_of(self.dataset, annotations, self).model_copy(update={"split": "train", "limit": 0, "videos": ""})


def source_of(name: str, annotations: str, options: SourceOptions) -> DataSource:
    from videochat_r1.checking import checked

    shared = options.model_dump(include=set(DataSource.model_fields) & set(SourceOptions.model_fields), exclude={"annotations"})
    return checked(DataSource, {"name": name, "annotations": annotations, **shared})


def none_usable(samples: Sequence[Sample], reasons: Sequence[str]) -> DataError:
    """What to say where not one video could be used: they are not there, or they are there and the first of them is named with why.
    reasons: the code of each sample's video."""
    codes = dict(zip((sample.video for sample in samples), reasons, strict=True))
    there = [path for path, code in codes.items() if code != "missing"]
    if not there:
        return DataError(f"No video is there, the first of {len(codes):,}: {next(iter(codes))}.", "Give their folder: --videos DIR.")
    fault = _why(there[0], codes[there[0]])
    lost = f", not there: {len(codes) - len(there):,}" if len(there) < len(codes) else ""
    return DataError(f"No video can be used (there but broken: {len(there):,}{lost}). The first broken one: {fault.what}", fault.mend)


def _why(path: str, code: str) -> VideoError:
    """Why a video cannot be used, in words where a look at the file gives them."""
    from videochat_r1.video.faults import fault
    from videochat_r1.video.probe import probe

    try:
        probe(path)
    except VideoError as error:
        return error
    return fault(code, f"{path} ({code}).")
