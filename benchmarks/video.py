"""Decoding and sampling alone, on the CPU: seconds a clip and frames a second, ours against qwen-vl-utils and torchcodec where they are.

    python -m benchmarks.video FILE ...                 # the released budget: 2 frames a second, 3,584 x 28 x 28 pixels
    python -m benchmarks.video --long                   # 32 frames of a 3-hour film, which is made first (under a minute, 190 MB) and kept
    python -m benchmarks.video FILE ... --clips 16 --threads 1,2,4,8    # many clips at once in so many threads

Ours is probe, plan, decode and resize, as training does them; the others take the same number of frames by their own rules and give
frames of the same size. One warm-up a file; best and median of the runs, and processor seconds, which other jobs disturb least."""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from benchmarks.bench import OUT, Record, among, arguments, begin, command, numbers, positive, say
from benchmarks.step import vars_of
from videochat_r1.video.decode import decode, probe
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import VideoConfig, plan_frames

GEOMETRY = Geometry(patch=14, merge=2, temporal_patch=2)
LONG_FRAMES = 32
COLUMNS = {
    "clip": lambda row: row["clip"],
    "way": lambda row: row["way"],
    "frames": lambda row: row["frames"],
    "size (h x w)": lambda row: row["size"],
    "threads": lambda row: row["threads"],
    "best ms": lambda row: row["best_s"] * 1e3,
    "median ms": lambda row: row["median_s"] * 1e3,
    "CPU ms": lambda row: row["cpu_s"] * 1e3,
    "frames/s": lambda row: row["frames_per_s"],
    "not run": lambda row: row.get("not_run", ""),
}
Decoder = Callable[[str, VideoConfig], "tuple[int, tuple[int, int]]"]


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "video", threads=1)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--runs", type=positive, default=5)
    parser.add_argument("--frames", type=int, default=0, help="just so many frames, evenly spread; 0 samples 2 a second")
    parser.add_argument("--long", action="store_true", help="a film of --long-seconds too, 32 frames of it")
    parser.add_argument("--long-seconds", type=positive, default=3 * 3600)
    parser.add_argument("--long-size", type=numbers, default=[640, 272], help="width,height")
    parser.add_argument("--clips", type=int, default=0, help="so many clips in threads at once, the files in turn; 0 leaves that out")
    parser.add_argument("--in-threads", type=numbers, default=[1, 2, 4, 8], help="with --clips: threads, comma list")
    parser.add_argument("--only", type=among(*DECODERS), default=list(DECODERS), help=", ".join(DECODERS))
    chosen = parser.parse_args(argv)
    if not chosen.files and not chosen.long:
        parser.error("give video files, or --long")
    begin(chosen)
    device = torch.device("cpu")
    record = Record("video", chosen, device, "long" if chosen.long and not chosen.files else "clips", vars_of(chosen))
    end = time.perf_counter() + chosen.budget_seconds
    jobs = [(path, VideoConfig(frames=chosen.frames)) for path in chosen.files]
    if chosen.long:
        width, height = chosen.long_size
        film = OUT / f"film-{chosen.long_seconds}s-{width}x{height}.mp4"
        record.note(film_made_in_s=long_film(film, chosen.long_seconds, width, height))
        jobs.append((str(film), VideoConfig(frames=LONG_FRAMES)))
    for path, config in jobs:
        for name in chosen.only:
            record.add({"clip": Path(path).stem, "way": name, **one_clip(name, path, config, chosen.runs, end)})
    if chosen.clips and jobs:
        for count in chosen.in_threads:
            record.add({"clip": f"{chosen.clips} clips", "way": "ours", **many_clips(jobs, chosen.clips, count, chosen.runs, end)})
    record.end(COLUMNS)
    return record


# -- ways to get a clip ---------------------------------------------------------------------------------------------------------------


def ours(path: str, config: VideoConfig) -> tuple[int, tuple[int, int]]:
    """Frames and their size (height, width), through the package's own road."""
    info = probe(path)
    plan = plan_frames(info, config, GEOMETRY)
    clip = decode(info, plan, threads=config.decoder_threads)
    return len(clip.times_s), (clip.frames_NCHW.shape[2], clip.frames_NCHW.shape[3])


def qwen_vl_utils(path: str, config: VideoConfig) -> tuple[int, tuple[int, int]]:
    """fetch_video of the stock package, with whichever reader it finds (torchcodec, decord or torchvision)."""
    from qwen_vl_utils.vision_process import fetch_video

    asked: dict[str, Any] = {
        "video": path,
        "total_pixels": config.total_pixels,
        "min_pixels": config.min_pixels,
        "max_pixels": config.max_pixels,
    }
    asked |= {"nframes": config.frames} if config.frames else {"fps": config.fps}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = fetch_video(asked, image_patch_size=GEOMETRY.patch)
    return frames.shape[0], (frames.shape[2], frames.shape[3])


def torchcodec(path: str, config: VideoConfig) -> tuple[int, tuple[int, int]]:
    """torchcodec's decoder in its approximate mode, one thread, the frames of our plan in one call; resized by our own function."""
    from torchcodec.decoders import VideoDecoder

    from videochat_r1.video.resize import resize_frame

    decoder = VideoDecoder(path, seek_mode="approximate", num_ffmpeg_threads=config.decoder_threads)
    plan = plan_frames(probe(path), config, GEOMETRY)
    batch = decoder.get_frames_played_at(seconds=list(plan.times_s)).data
    resized = torch.stack([resize_frame(frame, plan.height_px, plan.width_px) for frame in batch])
    return resized.shape[0], (resized.shape[2], resized.shape[3])


DECODERS: dict[str, Decoder] = {"ours": ours, "qwen-vl-utils": qwen_vl_utils, "torchcodec": torchcodec}
NEEDS = {"qwen-vl-utils": "qwen_vl_utils", "torchcodec": "torchcodec"}


def one_clip(name: str, path: str, config: VideoConfig, runs: int, end: float) -> dict[str, Any]:
    """Best and median of so many runs after a warm-up, fewer past the instant `end`."""
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        return {"not_run": f"{NEEDS[name]} is not installed"}
    if time.perf_counter() > end:
        return {"not_run": "no time left in the budget"}
    work = DECODERS[name]
    try:
        frames, size = work(path, config)
    except Exception as fault:  # another package's: what it cannot read is a result, not our fault
        if name == "ours":
            raise
        return {"not_run": f"{type(fault).__name__}: {str(fault).splitlines()[0][:80] if str(fault) else ''}"}
    walls, cpus = [], []
    while len(walls) < runs and (not walls or time.perf_counter() < end):
        wall, cpu = time.perf_counter(), time.process_time()
        work(path, config)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"frames": frames, "size": f"{size[0]}x{size[1]}", "threads": 1, **figures(walls, cpus, frames)}


def many_clips(jobs: Sequence[tuple[str, VideoConfig]], clips: int, threads: int, runs: int, end: float) -> dict[str, Any]:
    """So many clips decoded by so many threads at once: what a training step's clips take."""
    todo = [jobs[k % len(jobs)] for k in range(clips)]
    walls, cpus, frames = [], [], 0
    with ThreadPoolExecutor(threads) as pool:
        while len(walls) < max(1, runs // 2) and (not walls or time.perf_counter() < end):
            wall, cpu = time.perf_counter(), time.process_time()
            frames = sum(found[0] for found in pool.map(lambda job: ours(*job), todo))
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    return {"frames": frames, "size": "", "threads": threads, **figures(walls, cpus, frames)}


def figures(walls: Sequence[float], cpus: Sequence[float], frames: int) -> dict[str, Any]:
    return {
        "best_s": min(walls),
        "median_s": statistics.median(walls),
        "cpu_s": min(cpus),
        "runs": len(walls),
        "frames_per_s": frames / min(walls),
    }


# -- a long film ----------------------------------------------------------------------------------------------------------------------

MINUTE_FPS = 25
KEY_EVERY_S = 10


def long_film(path: Path, seconds: int, width: int, height: int) -> float:
    """Make a film of so many seconds where there is none, and say in how many: a minute of moving shapes in H.264, encoded once, whose
    packets are written again and again under later time stamps, as an editor joins takes."""
    if path.exists():
        return 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    say(f"making {path.name}")
    minute = path.with_suffix(".minute.mp4")
    _encode_minute(minute, min(60, seconds), width, height)
    draft = path.with_suffix(".draft.mp4")
    with av.open(str(minute)) as source, av.open(str(draft), "w") as target:
        read = source.streams.video[0]
        written = target.add_stream_from_template(read)
        packets = [packet for packet in source.demux(read) if packet.size]
        assert read.time_base is not None
        length = round(min(60, seconds) / read.time_base)
        stamps = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(-(-seconds // 60)):
            for packet, (pts, dts) in zip(packets, stamps, strict=True):
                packet.stream = written
                packet.pts, packet.dts = (pts or 0) + turn * length, (dts or 0) + turn * length
                target.mux(packet)
    os.replace(draft, path)
    minute.unlink()
    return time.perf_counter() - began


def _encode_minute(path: Path, seconds: int, width: int, height: int) -> None:
    """Noise that drifts behind a disc that circles: pictures that an encoder cannot reduce to nothing."""
    draw = np.random.default_rng(0)
    ground = draw.integers(60, 196, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)[:height, :width]
    rows, columns = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=MINUTE_FPS, options={"preset": "ultrafast", "crf": "30"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = KEY_EVERY_S * MINUTE_FPS
        stream.codec_context.max_b_frames = 0
        stream.time_base = Fraction(1, MINUTE_FPS)
        for number in range(seconds * MINUTE_FPS):
            picture = np.roll(ground, (number // 2, number), (0, 1))
            angle = number / 40
            y, x = height / 2 + np.sin(angle) * height / 3, width / 2 + np.cos(angle) * width / 3
            picture[(rows - y) ** 2 + (columns - x) ** 2 < (height / 8) ** 2] = (230, 40, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
