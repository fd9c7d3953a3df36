"""The built-in world on disk: real video files, and the annotation files of the official data sets, so that every reader can be tried."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from torch import Tensor

from videochat_r1.types import Sample
from videochat_r1.world.questions import TASKS, fits, sample
from videochat_r1.world.render import render
from videochat_r1.world.scenes import Scene, draw

FPS = 8
GOT_FPS = 10  # of GOT-10k's picture folders
SPLITS = ("train", "test")


@dataclass(frozen=True)
class World:
    """What `write_world` wrote: the samples of each split, and the annotation files by data set and split."""

    samples: dict[str, list[Sample]]
    annotations: dict[str, dict[str, Path]]
    videos: Path


def write_video(path: Path, frames_NCHW: Tensor, fps: int = FPS) -> None:
    """An mp4 of uint8 frames: H.264 where the library has it, else MPEG-4. Written under a temporary name, so that no half file is ever read."""
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    partial = path.with_name(f".{path.name}.partial")
    with av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "18", "preset": "ultrafast"} if codec == "libx264" else {"qscale": "2"})
        stream.height, stream.width, stream.pix_fmt = frames_NCHW.shape[2], frames_NCHW.shape[3], "yuv420p"
        stream.codec_context.thread_count = 1
        for index, picture in enumerate(frames_NCHW.permute(0, 2, 3, 1).contiguous().numpy()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    partial.rename(path)


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
    made = []
    for scene, task in pairs:
        path = videos / f"{scene.id}.mp4"
        if not path.exists():
            film(scene, path)
        made.append(sample(task, scene, str(path)))
    return made


def write_world(out: Path, *, clips: int, seed: int = 0, levels: Sequence[str] = ("easy",)) -> World:
    """`clips` training scenes and a quarter as many held-out ones at each level, in every official format that fits them."""
    videos = out / "videos"
    samples: dict[str, list[Sample]] = {}
    annotations: dict[str, dict[str, Path]] = {}
    for split in SPLITS:
        count = clips if split == "train" else max(clips // 4, 1)
        scenes = [draw(level, series(split, seed), number) for level in levels for number in range(count)]
        pairs = [(scene, task) for scene in scenes for task in TASKS if fits(task, scene)]
        samples[split] = film_samples(pairs, videos)
        for name, path in _write_annotations(out, videos, split, pairs, samples[split]).items():
            annotations.setdefault(name, {})[split] = path
    return World(samples=samples, annotations=annotations, videos=videos)


def _write_annotations(out: Path, videos: Path, split: str, pairs: Sequence[tuple[Scene, str]], samples: Sequence[Sample]) -> dict[str, Path]:
    by_task: dict[str, list[tuple[Scene, Sample]]] = {task: [] for task in TASKS}
    for (scene, task), made in zip(pairs, samples, strict=True):
        by_task[task].append((scene, made))
    files = {
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
        paths[name] = out / f"{name}_{split}.json"
        paths[name].write_text(json.dumps(content, indent=1), encoding="utf-8")
    paths["jsonl"] = out / f"{split}.jsonl"
    paths["jsonl"].write_text("".join(json.dumps(canonical(made, videos)) + "\n" for made in samples), encoding="utf-8")
    return paths


def canonical(made: Sample, videos: Path) -> dict[str, object]:
    """A sample as a row of the canonical JSONL, its video relative to the folder of the videos."""
    truth = made.truth
    answer: dict[str, object] = {}
    for name in ("spans", "boxes", "times_s", "choice", "label", "events", "caption"):
        if getattr(truth, name) is not None:
            answer[name] = getattr(truth, name)
    row: dict[str, object] = {"id": made.id, "task": made.task, "video": str(Path(made.video).relative_to(videos)), "question": made.question}
    if made.options:
        row["options"] = list(made.options)
    return {**row, "answer": answer, "duration_s": made.duration_s, "meta": dict(made.meta)}


def _spans(made: Sequence[tuple[Scene, Sample]]) -> dict[str, dict[str, object]]:
    return {
        Path(one.video).stem: {"duration": one.duration_s, "timestamps": [list(one.truth.spans[0])], "sentences": [f"{one.question}."]}
        for _, one in made
        if one.truth.spans
    }


def _grounded(made: Sample) -> dict[str, object]:
    answer = next(option for option in made.options if option.startswith(f"({made.truth.choice})"))
    spans = [list(span) for span in made.truth.spans or ()]
    row = {"id": made.id, "video": Path(made.video).name, "question": made.question, "options": list(made.options)}
    return {**row, "duration": made.duration_s, "glue": spans, "type": "TC", "answer": answer}


def _tracked(scene: Scene, made: Sample, folder: Path) -> dict[str, object]:
    """A GOT-10k folder: numbered pictures, a box a picture in pixels (x, y, width, height), and the released row of eight boxes."""
    sequence = folder / scene.id
    sequence.mkdir(parents=True, exist_ok=True)
    times_s = [k / GOT_FPS for k in range(int(scene.duration_s * GOT_FPS))]
    frames = render(scene, times_s)
    side = frames.shape[-1]
    with av.open(str(sequence / "%08d.jpg"), "w", format="image2") as container:
        stream = container.add_stream("mjpeg", rate=GOT_FPS, options={"qscale": "2"})
        stream.height, stream.width, stream.pix_fmt = side, side, "yuvj444p"
        for picture in frames.permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    lines = []
    for second in times_s:
        x0, y0, x1, y1 = (v * side for v in scene.target.box(second, scene.duration_s))
        lines.append(f"{x0:.4f},{y0:.4f},{x1 - x0:.4f},{y1 - y0:.4f}")
    (sequence / "groundtruth.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    count = len(times_s)
    picked = [round(k * (count - 1) / 7) for k in range(8)]
    boxes = [[round(v, 3) for v in scene.target.box(times_s[k], scene.duration_s)] for k in picked]
    return {"path": f"GOT-10k/{folder.name}/{scene.id}", "object": scene.target.name, "gt": boxes}
