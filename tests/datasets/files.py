"""Annotation files for tests: the official ones beside the repository, and small clean ones that are written on the spot."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from videochat_r1.datasets.base import DataSource, Loaded, read_samples

ANNOTATIONS = Path(__file__).parents[2] / "../shared/data/annotations"

OFFICIAL = {
    "charades_sta/train.json": ("charades_sta", "train"),
    "charades_sta/test.json": ("charades_sta", "test"),
    "activitynet_captions/train.json": ("activitynet_captions", "train"),
    "activitynet_captions/test.json": ("activitynet_captions", "test"),
    "nextgqa/val.json": ("nextgqa", "test"),
    "got10k/val.json": ("got10k", "test"),
    "quality_access/train_100shot.json": ("quality_access", "train"),
    "quality_access/test.json": ("quality_access", "test"),
}


def official(file: str, **fields: Any) -> DataSource:
    """The source of an official file; skips the test where it is not there."""
    path = ANNOTATIONS / file
    if not path.is_file():
        pytest.skip(f"the official annotation file {file} is not beside the repository")
    name, split = OFFICIAL[file]
    return DataSource(**{"name": name, "annotations": str(path), "split": split, **fields})


@cache
def read_official(file: str) -> Loaded:
    """An official file, read once for all tests of a session."""
    return read_samples(official(file))


def source(name: str, path: Path, **fields: Any) -> DataSource:
    return DataSource(**{"name": name, "annotations": str(path), **fields})


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def captions(count: int = 3) -> dict[str, Any]:
    """A clean file of the Charades-STA form."""
    return {
        f"VID{number:02}": {
            "duration": 30.5,
            "timestamps": [[0.0, 6.9], [7.25, 30.5]],
            "sentences": [f"a person opens door {number}.", f"a person closes door {number}."],
        }
        for number in range(count)
    }


def questions(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the NExT-GQA form."""
    return [
        {
            "id": f"{number}_1",
            "video": f"0001/{number}.mp4",
            "question": "why did the boy run to the sofa",
            "options": ["(A) to sit", "(B) to hide", "(C) he was called", "(D) to find a toy", "(E) to sleep"],
            "duration": 90,
            "glue": [[13.8, 29.8], [40, 52.5]],
            "type": "CW",
            "answer": "(C)",
        }
        for number in range(count)
    ]


def tracks(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the released GOT-10k form."""
    return [
        {
            "path": f"GOT-10k/train/GOT-10k_Train_{number:06}",
            "object": "duck",
            "gt": [[round(0.05 * k, 3), 0.2, round(0.05 * k + 0.3, 3), 0.613] for k in range(8)],
        }
        for number in range(count)
    ]


def qualities(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the Quality Access form."""
    labels = ("low quality", "high quality")
    return [{"video": f"{number:04}.mp4", "instruction": "How about the quality?", "answer": labels[number % 2]} for number in range(count)]


def canonical(count: int = 2) -> list[dict[str, Any]]:
    """Clean rows of every task in our own form."""
    rows: list[dict[str, Any]] = []
    for n in range(count):
        common = {"video": f"a/{n}.mp4", "duration_s": 12.5, "meta": {"level": "easy", "n": n}}
        rows += [
            {"id": f"t{n}", "task": "temporal_grounding", "question": "a door opens", "answer": {"spans": [[3.2, 5]]}, **common},
            {
                "id": f"b{n}",
                "task": "tracking",
                "question": "cup",
                "answer": {"boxes": [[0, 0, 0.5, 1], [0.1, 0, 0.4, 1]], "times_s": [0, 2.5]},
                **common,
            },
            {"id": f"c{n}", "task": "video_qa", "question": "what", "options": ["red", "blue"], "answer": {"choice": "B"}, **common},
            {
                "id": f"g{n}",
                "task": "grounded_qa",
                "question": "what now",
                "options": ["(A) x", "(B) y"],
                "answer": {"choice": "A", "spans": [[0, 1]]},
                **common,
            },
            {"id": f"q{n}", "task": "quality", "question": "how good", "answer": {"label": "low quality"}, **common},
            {
                "id": f"d{n}",
                "task": "description",
                "question": "",
                "answer": {"events": ["a cup falls"], "caption": "A cup falls."},
                **common,
            },
        ]
    return rows


CLEAN = {
    "charades_sta": captions,
    "activitynet_captions": captions,
    "nextgqa": questions,
    "got10k": tracks,
    "quality_access": qualities,
    "jsonl": canonical,
}


def timelens(count: int = 3) -> dict[str, Any]:
    """A clean file of the TimeLens-Bench form."""
    return {
        f"v_{number:02}": {
            "duration": 40.5,
            "spans": [[0.0, 9.5], [12.25, 40.5]],
            "queries": [f"A man in red opens crate {number}.", f"A man in red closes crate {number}."],
        }
        for number in range(count)
    }


def highlights(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the QVHighlights form."""
    return [
        {
            "qid": 8700 + number,
            "query": f"Someone pours drink number {number}.",
            "duration": 150,
            "vid": f"Abc{number}_60.0_210.0",
            "relevant_windows": [[0, 16], [20, 50], [60, 148]],
            "relevant_clip_ids": [0, 1, 2],
            "saliency_scores": [[4, 1, 1], [4, 2, 1], [3, 3, 3]],
        }
        for number in range(count)
    ]


def clips_of_a_task(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the MVBench form, of a task with bounds."""
    return [
        {
            "video": f"ZS{number}XR.mp4",
            "question": "What happened after the person took the food?",
            "candidates": ["Ate the medicine.", "Tidied up the blanket.", "Put down the cup.", "C"],
            "answer": "Put down the cup." if number % 2 else "C",
            "start": 11.1,
            "end": 19.6,
        }
        for number in range(count)
    ]


def by_length(count: int = 3) -> list[dict[str, Any]]:
    """Clean rows with the columns of Video-MME."""
    lengths, domains = ("short", "medium", "long"), ("Knowledge", "Sports Competition")
    return [
        {
            "video_id": f"{number:03}",
            "duration": lengths[number % 3],
            "domain": domains[number % 2],
            "sub_category": "Geography",
            "url": f"https://host/{number}",
            "videoID": f"yt_{number}",
            "question_id": f"{number:03}-1",
            "task_type": "Counting Problem",
            "question": "How many lamps are lit at the end?",
            "options": ["A. Two.", "B. Three.", "C. Five.", "D. Eight."],
            "answer": "ABCD"[number % 4],
        }
        for number in range(count)
    ]


def perceived(count: int = 3) -> dict[str, Any]:
    """A clean file of the Perception Test form."""
    return {
        f"video_{number}": {
            "metadata": {
                "split": "valid",
                "video_id": f"video_{number}",
                "num_frames": 900,
                "frame_rate": 30.0,
                "resolution": [1080, 1920],
            },
            "mc_question": [
                {
                    "id": index,
                    "question": "Is the lamp of the room lit when the game ends?",
                    "options": ["no, it is not", "it cannot be seen", f"yes, as at the start {index}"],
                    "answer_id": 2 - index,
                    "area": "physics",
                    "reasoning": ("descriptive", "predictive")[index],
                    "tag": ["motion", "occlusion"],
                }
                for index in range(2)
            ],
        }
        for number in range(count)
    }


def referred(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the LongVideoBench form."""
    return [
        {
            "video_id": f"86Cx{number}",
            "question": "A man with a hat stands before a map. What does he do next?",
            "question_wo_referring_query": "What does he do next?",
            "candidates": ["He leaves", "He sits down", "He folds the map", "He waves", "He turns round"],
            "correct_choice": number % 5,
            "position": [854],
            "topic_category": "NP-News-Programs",
            "question_category": "E3E",
            "level": "L2-Relation",
            "id": f"86Cx{number}_0",
            "video_path": f"86Cx{number}.mp4",
            "subtitle_path": f"86Cx{number}_en.json",
            "duration_group": (15, 60, 600, 3600)[number % 4],
            "starting_timestamp_for_subtitles": 0,
            "duration": 190.16,
            "view_count": 17,
        }
        for number in range(count)
    ]


def plots(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the MLVU form."""
    return [
        {
            "video": f"movie{number}.mp4",
            "duration": 480.5,
            "question": "What color is the coat of the man at the gate?",
            "candidates": ["Yellow", "Red", "Green", "Blue"],
            "answer": ("Red", "Blue")[number % 2],
            "question_type": "plotQA",
        }
        for number in range(count)
    ]


def hours(count: int = 3) -> list[dict[str, Any]]:
    """Clean lines of the LVBench form."""
    return [
        {
            "key": f"Cm73{number}",
            "type": "cartoon",
            "video_info": {"duration_minutes": 31, "resolution": {"width": 1920, "height": 1080}, "fps": 25},
            "qa": [
                {
                    "uid": str(10 * number + index),
                    "question": "What year stands in the first caption?\n(A) 1636\n(B) 1366\n(C) 1363\n(D) 1633",
                    "answer": "AD"[index],
                    "question_type": ["key information retrieval", "reasoning"][: index + 1],
                    "time_reference": "00:15-00:19",
                }
                for index in range(2)
            ],
        }
        for number in range(count)
    ]


def described(count: int = 3) -> list[dict[str, Any]]:
    """A clean file of the DREAM-1K form."""
    return [
        {
            "idx": number,
            "video_file": f"video/{number}.mp4",
            "source": ("movie_animation", "stock")[number % 2],
            "duration": 5.09,
            "description": "A cup falls from the table. A cat jumps away.",
            "events": ["A cup falls from the table.", "A cat jumps away."],
            "n_subjects": 2,
            "n_shots": 1,
            "n_events": 2,
        }
        for number in range(count)
    ]


CLEAN |= {
    "timelens_bench": timelens,
    "qvhighlights": highlights,
    "mvbench": clips_of_a_task,
    "videomme": by_length,
    "perception_test": perceived,
    "longvideobench": referred,
    "mlvu": plots,
    "lvbench": hours,
    "dream1k": described,
}
