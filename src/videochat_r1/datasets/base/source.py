"""A data set as a recipe names it, and a format of annotations as a file of this folder gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import field_validator, model_validator

from videochat_r1 import plugins
from videochat_r1.datasets.base.defects import KINDS, Action, default_action
from videochat_r1.datasets.base.examine import Row
from videochat_r1.errors import UsageError
from videochat_r1.section import Section, refused


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
    weight: float = refused(1.0, "how often a sample of this source is drawn, against those of other sources", gt=0.0, le=1000.0)
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


def load_dataset(name: str) -> Dataset:
    """The data set of that name, or of the .py file at that path. Raises UsageError on an unknown one."""
    dataset = plugins.load("datasets", name, "DATASET")
    if not isinstance(dataset, Dataset):
        raise UsageError(f"{name} assigns a DATASET that is no Dataset.", "See videochat_r1/datasets/charades_sta.py for an example.")
    return dataset
