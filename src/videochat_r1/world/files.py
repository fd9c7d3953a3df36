"""The built-in world on disk: real video files, and the annotation files of the official data sets, so that every reader can be tried."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from torch import Tensor

from videochat_r1.background import helpers_begin
from videochat_r1.datasets.base.rows import write_rows
from videochat_r1.datasets.got10k import FRAMES_PER_SECOND, assumed_frames
from videochat_r1.errors import UsageError
from videochat_r1.types import Sample
from videochat_r1.world.questions import TASKS, fits, sample
from videochat_r1.world.render import render
from videochat_r1.world.scenes import LEVELS, Scene, draw

FPS = 8
FORMATS = ("charades_sta", "activitynet_captions", "nextgqa", "got10k", "quality_access")
GOT_FPS = int(FRAMES_PER_SECOND)  # of GOT-10k's picture folders
SPLITS = ("train", "test")
SCENE = re.compile(rf"(?:{'|'.join(LEVELS)})-(?:{'|'.join(SPLITS)})-\d+-\d{{6}}-(?:whole|part)")
SEQUENCE_FILE = re.compile(r"\d{8}\.jpg|groundtruth\.txt|absence\.label|cover\.label|meta_info\.ini")
"""The names that scenes, and the files of their GOT-10k folders, have: what a world may replace."""


@dataclass(frozen=True)
class World:
    """What `write_world` wrote: the samples of each split, and the annotation files by data set and split.

    A data set has no file for a split without a scene that fits it. GOT-10k comes in both of its forms: `annotations` names the released
    JSON, and `sequences` the official folders, where the JSON's pictures are too."""

    samples: dict[str, list[Sample]]
    annotations: dict[str, dict[str, Path]]
    videos: Path
    sequences: dict[str, Path]


def write_video(path: Path, frames_NCHW: Tensor, fps: int = FPS) -> None:
    """An mp4 of uint8 frames: H.264 where the library has it, else MPEG-4. Written under a temporary name, so that no half file is ever
    read."""
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    partial = path.with_name(f".{path.name}.partial")
    with av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "18", "preset": "ultrafast"} if codec == "libx264" else {})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames_NCHW.shape[2], frames_NCHW.shape[3], "yuv420p"
        if codec == "mpeg4":
            _at_best_scale(stream.codec_context)
        stream.codec_context.thread_count = 1
        for index, picture in enumerate(frames_NCHW.permute(0, 2, 3, 1).contiguous().numpy()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    partial.rename(path)


def _at_best_scale(context: av.VideoCodecContext) -> None:
    """A fixed quantiser of 2: without it MPEG-4 and JPEG aim at a bit rate, and grain costs them the shapes."""
    context.qmin = context.qmax = 2


def film(scene: Scene, path: Path) -> None:
    write_video(path, render(scene, [k / FPS for k in range(int(scene.duration_s * FPS))]))


def series(split: str, seed: int) -> str:
    return f"{split}-{seed}"


def scenes_for(tasks: Iterable[str], level: str, split: str, seed: int, each: int) -> list[tuple[Scene, str]]:
    """`each` (scene, task) pairs of every task, tasks taking turns; every pair has a scene of its own."""
    pairs, number = [], 0
    for _ in range(each):
        for task in tasks:
            whole = {"tracking": True, "temporal_grounding": False, "grounded_qa": False}.get(task)
            pairs.append((draw(level, series(split, seed), number, whole=whole), task))
            number += 1
    return pairs


def film_samples(pairs: Sequence[tuple[Scene, str]], videos: Path) -> list[Sample]:
    """Writes the video of each scene that has none yet, and gives the samples; their `video` is a full path."""
    videos.mkdir(parents=True, exist_ok=True)
    paths = {scene.id: videos / f"{scene.id}.mp4" for scene, _ in pairs}
    missing = {scene.id: scene for scene, _ in pairs if not paths[scene.id].exists()}
    with ThreadPoolExecutor(max_workers=os.cpu_count(), initializer=helpers_begin()) as pool:
        for done in [pool.submit(film, scene, paths[scene.id]) for scene in missing.values()]:
            done.result()
    return [sample(task, scene, str(paths[scene.id])) for scene, task in pairs]


def write_world(out: Path, *, clips: int, seed: int = 0, levels: Sequence[str] = ("easy",)) -> World:
    """`clips` training scenes and a quarter as many held-out ones (two at least) at each level, in every official format that fits them.
    In two of five the target stays from beginning to end, as tracking needs. Lists and GOT-10k folders that an earlier world left there and
    this one has not are removed; its videos stay. Raises UsageError where a list has the name of one of ours and is somebody's own."""
    for path in (out / name for split in SPLITS for name in (f"{split}.jsonl", *(f"{each}_{split}.json" for each in FORMATS))):
        if path.exists() and not _is_list_of_scenes(path):
            raise UsageError(
                f"{path} is there, and it is no list of this world's scenes.", "Choose another folder with --out, or move the file."
            )
    videos = out / "videos"
    samples: dict[str, list[Sample]] = {}
    annotations: dict[str, dict[str, Path]] = {}
    sequences: dict[str, Path] = {}
    for split in SPLITS:
        count = clips if split == "train" else max(clips // 4, 2)
        scenes = [draw(level, series(split, seed), number, whole=number % 5 in (1, 3)) for level in levels for number in range(count)]
        pairs = [(scene, task) for scene in scenes for task in TASKS if fits(task, scene)]
        samples[split] = film_samples(pairs, videos)
        for name, path in _write_annotations(out, split, pairs, samples[split]).items():
            annotations.setdefault(name, {})[split] = path
        write_jsonl(out / f"{split}.jsonl", samples[split], videos)
        annotations.setdefault("jsonl", {})[split] = out / f"{split}.jsonl"
        if split in annotations.get("got10k", {}):
            sequences[split] = out / "got10k" / split
        _clear_earlier(out, split, {name for name, paths in annotations.items() if split in paths}, {scene.id for scene in scenes})
    return World(samples=samples, annotations=annotations, videos=videos, sequences=sequences)


def write_jsonl(path: Path, samples: Sequence[Sample], videos: Path) -> None:
    """Samples as rows of the canonical form, each video relative to the folder of the videos."""
    write_rows(samples, path, str(videos))


def _write_annotations(out: Path, split: str, pairs: Sequence[tuple[Scene, str]], samples: Sequence[Sample]) -> dict[str, Path]:
    """The official files by the data set's name, of those that have a row."""
    by_task: dict[str, list[tuple[Scene, Sample]]] = {task: [] for task in TASKS}
    for (scene, task), made in zip(pairs, samples, strict=True):
        by_task[task].append((scene, made))
    files: dict[str, Sized] = {
        "charades_sta": _spans(by_task["temporal_grounding"]),
        "activitynet_captions": _spans(by_task["temporal_grounding"]),
        "nextgqa": [_grounded(made) for _, made in by_task["grounded_qa"]],
        "got10k": [_tracked(scene, made, out / "got10k" / split) for scene, made in by_task["tracking"]],
        "quality_access": [
            {"video": Path(made.video).name, "instruction": made.question, "answer": made.truth.label} for _, made in by_task["quality"]
        ],
    }
    paths = {}
    for name, content in files.items():
        if len(content) > 0:
            paths[name] = out / f"{name}_{split}.json"
            paths[name].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return paths


def _clear_earlier(out: Path, split: str, written: set[str], scenes: set[str]) -> None:
    """Removes what an earlier world left of a split: lists of scenes alone, and folders that hold nothing but a scene's own files."""
    for name in FORMATS:
        path = out / f"{name}_{split}.json"
        if name not in written and _is_list_of_scenes(path):
            path.unlink()
    for folder in (out / "got10k" / split).glob("*"):
        if folder.name in scenes or not SCENE.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        if all(SEQUENCE_FILE.fullmatch(path.name) and path.is_file() for path in folder.iterdir()):
            shutil.rmtree(folder)


def _is_list_of_scenes(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
        return bool(rows) and all(
            SCENE.fullmatch(Path(row if isinstance(rows, dict) else row.get("video") or row["path"]).stem) for row in rows
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _spans(made: Sequence[tuple[Scene, Sample]]) -> dict[str, dict[str, object]]:
    return {
        Path(one.video).stem: {"duration": one.duration_s, "timestamps": [list(one.truth.spans[0])], "sentences": [f"{one.question}."]}
        for _, one in made
        if one.truth.spans
    }


def _grounded(made: Sample) -> dict[str, object]:
    spans = [list(span) for span in made.truth.spans or ()]
    row = {"id": made.id, "video": Path(made.video).name, "question": made.question, "options": list(made.options)}
    return {**row, "duration": made.duration_s, "glue": spans, "type": "TC", "answer": f"({made.truth.choice})"}


def _tracked(scene: Scene, made: Sample, folder: Path) -> dict[str, object]:
    """A GOT-10k folder as the official ones are, with a box a picture in pixels (x, y, width, height); and the released row of its eight
    boxes, on the frames that the released file's lie on."""
    sequence = folder / scene.id
    sequence.mkdir(parents=True, exist_ok=True)
    times_s = [k / GOT_FPS for k in range(int(scene.duration_s * GOT_FPS))]
    frames = render(scene, times_s)
    _write_pictures(sequence, frames)
    side = frames.shape[-1]
    lines = []
    for second in times_s:
        x0, y0, x1, y1 = (v * side for v in scene.target.box(second, scene.duration_s))
        lines.append(f"{x0:.4f},{y0:.4f},{x1 - x0:.4f},{y1 - y0:.4f}")
    texts = {
        "groundtruth.txt": lines,
        "absence.label": ["0"] * len(times_s),
        "cover.label": ["8"] * len(times_s),  # eighths of it that are seen
        "meta_info.ini": [
            "[METAINFO]",
            f"anno_fps: {GOT_FPS}Hz",
            f"object_class: {scene.target.name}",
            f"resolution: ({side}, {side})",
        ],
    }
    for name, rows in texts.items():
        (sequence / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    boxes = [[round(v, 3) for v in scene.target.box(times_s[k], scene.duration_s)] for k in assumed_frames(len(times_s))]
    return {"path": f"GOT-10k/{folder.name}/{scene.id}", "object": made.question, "gt": boxes}


def _write_pictures(folder: Path, frames_NCHW: Tensor) -> None:
    """00000001.jpg and so on, with colour at full resolution."""
    with av.open(str(folder / "%08d.jpg"), "w", format="image2") as container:
        stream = container.add_stream("mjpeg", rate=GOT_FPS)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames_NCHW.shape[2], frames_NCHW.shape[3], "yuvj444p"
        _at_best_scale(stream.codec_context)
        for picture in frames_NCHW.permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
