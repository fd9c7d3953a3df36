"""MVBench: twenty tasks about time, 200 questions each, on clips of eleven data sets.

{"video": "166583.webm", "question": "What is the action performed by the person in the video?", "candidates": ["Not sure", ...],
 "answer": "Not sure"}; of clips out of a longer video also "start" and "end" in seconds, of folders of frames "fps".

Li et al. 2024, arXiv:2311.17005; files, folders and which of them have bounds as in the data_list of mvbench.ipynb
(github.com/OpenGVLab/Ask-Anything, video_chat2). `annotations` is one of the twenty files, such as action_sequence.json, or their folder;
`videos` the folder "video" of the data set. Where the clips are there already cut (star/Charades_segment and such, as the hub has them),
those are taken, and no window is cut. The published figure is the mean over the tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from videochat_r1.datasets.base import Dataset, DataSource, Item, Row, files_of, named_groups, positive, read_items, row_with_choice

FRAMES_PER_SECOND = 3.0
"""Of the folders of frames of tvqa/frames_fps3_hq, where a row does not say."""

_CHARADES = (("star/Charades_v1_480", True), ("star/Charades_segment", False), ("data0613/star/Charades_v1_480", True))
_CLEVRER = (("clevrer/video_validation", False), ("data0613/clevrer/video_validation", False))
_PERCEPTION = (("perception/videos", False),)

FOLDERS: dict[str, tuple[tuple[str, bool], ...]] = {
    "action_sequence": _CHARADES,
    "action_prediction": _CHARADES,
    "action_antonym": (("ssv2_video", False), ("ssv2_video_mp4", False)),
    "fine_grained_action": (("Moments_in_Time_Raw/videos", False),),
    "unexpected_action": (("FunQA_test/test", False),),
    "object_existence": _CLEVRER,
    "object_interaction": _CHARADES,
    "object_shuffle": _PERCEPTION,
    "moving_direction": _CLEVRER,
    "action_localization": (("sta/sta_video", True), ("sta/sta_video_segment", False)),
    "scene_transition": (("scene_qa/video", False),),
    "action_count": _PERCEPTION,
    "moving_count": _CLEVRER,
    "moving_attribute": _CLEVRER,
    "state_change": _PERCEPTION,
    "fine_grained_pose": (("nturgbd", False), ("nturgbd_convert", False)),
    "character_order": _PERCEPTION,
    "egocentric_navigation": (("vlnqa", False),),
    "episodic_reasoning": (("tvqa/frames_fps3_hq", True), ("tvqa/video_fps3_hq_segment", False)),
    "counterfactual_inference": _CLEVRER,
}
"""Task -> the folders that its videos may lie in, the official one first, and whether the rows' start and end are to be cut out there."""


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each question."""
    for path in files_of(source, tuple(f"{task}.json" for task in FOLDERS)):
        task = path.stem
        folder, has_bounds = _folder(source, task)
        for index, item in enumerate(read_items(path, "list")):
            yield _row(item, f"{task}/{index}", task, folder, has_bounds)


def _folder(source: DataSource, task: str) -> tuple[str, bool]:
    known = FOLDERS.get(task)
    if known is None:
        return "", True
    there = (each for each in known if source.videos and os.path.isdir(os.path.join(source.videos, each[0])))
    folder, has_bounds = next(there, known[0])
    return f"{folder}/", has_bounds


def _row(item: Item, name: str, task: str, folder: str, has_bounds: bool) -> Row:
    entry = item.value
    if not isinstance(entry, dict):
        return Row(entry, item.line, entry=name)
    video, bounds = entry.get("video"), (entry.get("start"), entry.get("end"))
    meta: dict[str, Any] = {"groups": named_groups(task=task)}
    if has_bounds and bounds != (None, None):
        meta["window_s"] = list(bounds)
    if folder.startswith("tvqa/frames"):
        meta["picture_fps"] = positive(entry.get("fps")) or FRAMES_PER_SECOND
    value = {
        "id": name,
        "video": f"{folder}{video}" if isinstance(video, str) and video.strip() else video,
        "question": entry.get("question"),
        "options": entry.get("candidates"),
        "meta": meta,
    }
    return row_with_choice(value, entry.get("answer"), item.line)


DATASET = Dataset(name="mvbench", task="video_qa", rows=rows, tasks=("video_qa",))
