"""Train the small model for a few steps on filmed clips with their real annotations, and evaluate it on them.

    python recipes/real_clips.py VIDEOS [--out DIR] [any option of `videochat-r1 train`]

VIDEOS: a folder with v_TpB_zMG3XBA.mp4 and its ActivityNet captions (v_TpB_zMG3XBA.activitynet.json), read as they are, and otb_car4.mp4
with one true box a frame (otb_car4.boxes.json), cut here into tracking samples of eight boxes, half a second apart."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from videochat_r1.cli import main
from videochat_r1.errors import DataError

BOXES, STEP_S, EVERY_S = 8, 0.5, 1.0
TEST_FROM_S = 13.0  # windows that end before it are trained on, windows that start after it are tested on


def tracking_rows(boxes: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Canonical rows: a window of eight boxes every second, each box at the second of its frame, as a share of the picture.

    boxes: {"video", "fps", "width", "height", "objects": {NAME: [[x0, y0, x1, y1] in pixels, one a frame]}}."""
    fps, size = boxes["fps"], (boxes["width"], boxes["height"])
    rows = []
    for thing, found in boxes["objects"].items():
        start_s = 0.0
        while (start_s + (BOXES - 1) * STEP_S) * fps < len(found):
            frames = [round((start_s + k * STEP_S) * fps) for k in range(BOXES)]
            shares = [[round(side / size[place % 2], 3) for place, side in enumerate(found[frame])] for frame in frames]
            rows.append(
                {
                    "id": f"{name}/{thing}/{start_s:g}",
                    "task": "tracking",
                    "video": boxes["video"],
                    "question": thing,
                    "answer": {"boxes": shares, "times_s": [round(frame / fps, 4) for frame in frames]},
                    "duration_s": round(boxes["num_frames"] / fps, 3),
                }
            )
            start_s += EVERY_S
    return rows


def write_data(videos: Path, folder: Path) -> None:
    """The car's windows as two files of canonical JSONL: car_train.jsonl and car_test.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = tracking_rows(json.loads((videos / "otb_car4.boxes.json").read_text(encoding="utf-8")), "otb_car4")
    train = [row for row in rows if row["answer"]["times_s"][-1] <= TEST_FROM_S]
    test = [row for row in rows if row["answer"]["times_s"][0] >= TEST_FROM_S]
    for name, part in (("car_train", train), ("car_test", test)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")


def run(arguments: list[str]) -> int:
    """The exit code of the training."""
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    videos, rest = Path(arguments[0]), arguments[1:]
    out = Path(rest[rest.index("--out") + 1]) if "--out" in rest[:-1] else Path("runs/real_clips")
    try:
        write_data(videos, out / "data")
    except OSError as fault:
        print(f"{fault.filename}: {fault.strerror}.\nGive the folder with the two clips and their annotations.", file=sys.stderr)
        return DataError.exit_code
    options = ["--out", str(out)] if "--out" not in rest else []
    for kind, car in (("data", "car_train"), ("test", "car_test")):
        options += [f"--{kind}.0.annotations", str(videos / "v_TpB_zMG3XBA.activitynet.json")]
        options += [f"--{kind}.1.annotations", str(out / "data" / f"{car}.jsonl")]
        options += [part for place in (0, 1) for part in (f"--{kind}.{place}.videos", str(videos))]
    return main(["train", str(Path(__file__).with_name("real_clips.toml")), *options, *rest])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
