"""MLVU: seven multiple-choice tasks on videos of three minutes to two hours.

{"video": "movie101_66.mp4", "duration": 480, "question": "What color is the main male character in the video?",
 "candidates": ["Yellow", "Red", "Green", "Blue"], "answer": "Yellow", "question_type": "plotQA"}

Zhou et al. 2024, arXiv:2406.04264; files and fields as choice_bench.py reads them (github.com/JUNJIE99/MLVU). `annotations` is one of the
files (1_plotQA.json ... 7_topic_reasoning.json) or their folder; the two generation tasks are not multiple choice and not read. Videos lie
in a folder of the file's name (1_plotQA) or of the task's (plotQA) where there is one. The published figure M-Avg is the mean over the
tasks."""

from __future__ import annotations

from collections.abc import Iterator

from videochat_r1.datasets.base import Dataset, DataSource, Item, Row, files_of, first_folder, named_groups, read_items, row_with_choice

TASKS = ("plotQA", "needle", "ego", "count", "order", "anomaly_reco", "topic_reasoning")
FILES = tuple(f"{number}_{task}.json" for number, task in enumerate(TASKS, start=1))


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each question."""
    for path in files_of(source, FILES):
        task = path.stem.partition("_")[2] if path.name in FILES else ""
        folder = first_folder(source, (path.stem, task)) if task else ""
        for index, item in enumerate(read_items(path, "list")):
            yield _row(item, f"{path.stem}/{index}", task, folder)


def _row(item: Item, name: str, task: str, folder: str) -> Row:
    entry = item.value
    if not isinstance(entry, dict):
        return Row(entry, item.line, entry=name)
    video = entry.get("video")
    value = {
        "id": name,
        "video": f"{folder}{video}" if isinstance(video, str) and video.strip() else video,
        "question": entry.get("question"),
        "options": entry.get("candidates"),
        "duration_s": entry.get("duration"),
        "meta": {"groups": named_groups(task=entry.get("question_type", task))},
    }
    return row_with_choice(value, entry.get("answer"), item.line)


DATASET = Dataset(name="mlvu", task="video_qa", rows=rows, tasks=("video_qa",))
