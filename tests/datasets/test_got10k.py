from __future__ import annotations

import json
import random
from pathlib import Path

import av
import numpy as np
import pytest
from tests.datasets.files import ANNOTATIONS, official, source, write_json

from videochat_r1.datasets.base import check, convert, read_samples
from videochat_r1.datasets.got10k import FRACTIONS, assumed_frames, chosen_frames, matched_frames
from videochat_r1.errors import DataError

WIDTH, HEIGHT = 320, 180


def path_of(frames: int, seed: int = 0) -> np.ndarray:
    """A box that wanders: (frames, 4) x, y, width, height in pixels."""
    random_numbers = np.random.default_rng(seed)
    centre = np.cumsum(random_numbers.normal(0, 2.5, (frames, 2)), axis=0)
    centre = (WIDTH / 2, HEIGHT / 2) + np.clip(centre, -60, 60)
    size = 30 + np.cumsum(random_numbers.normal(0, 0.3, (frames, 2)), axis=0)
    return np.concatenate((centre - size / 2, size), axis=1)


def picture(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), dtype=np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def sequence(root: Path, name: str, boxes: np.ndarray, *, info: bool = True, pictures: int | None = None, absent=(), covered=()) -> Path:
    """An official folder; its pictures are empty files but for the first."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "groundtruth.txt").write_text("\n".join(",".join(f"{number:.4f}" for number in row) for row in boxes) + "\n")
    (folder / "absence.label").write_text("".join(f"{int(frame in absent)}\n" for frame in range(len(boxes))))
    (folder / "cover.label").write_text("".join(f"{0 if frame in covered else 8}\n" for frame in range(len(boxes))))
    if info:
        text = f"[METAINFO]\nurl: https://youtu.be/x\nanno_fps: 10Hz\nobject_class: duck\nresolution: ({WIDTH}, {HEIGHT})\n"
        (folder / "meta_info.ini").write_text(text)
    for frame in range(len(boxes) if pictures is None else pictures):
        (folder / f"{frame + 1:08}.jpg").write_bytes(b"")
    return folder


def eight(boxes: np.ndarray, frames: list[int]) -> list[list[float]]:
    """What the released file holds of these frames: normalised, three decimals."""
    corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
    return np.round(corners[frames], 3).tolist()


def test_official_folders(tmp_path):
    boxes = path_of(100)
    for number in (2, 1):
        sequence(tmp_path / "val", f"GOT-10k_Val_{number:06}", boxes)
    for root, videos in ((tmp_path / "val", ""), (tmp_path, ""), (tmp_path / "val", str(tmp_path / "val"))):
        loaded = read_samples(source("got10k", root, videos=videos, split="test"))
        assert loaded.defects.clean and [sample.id for sample in loaded.samples] == ["GOT-10k_Val_000001", "GOT-10k_Val_000002"]
        sample = loaded.samples[0]
        assert Path(sample.video) == tmp_path / "val/GOT-10k_Val_000001"
        assert (sample.question, sample.duration_s, sample.task) == ("duck", 10.0, "tracking")
        assert sample.meta == {"box_times": "annotated", "box_frames": [0, 14, 28, 42, 57, 71, 85, 99]}
        assert sample.truth.times_s == pytest.approx([frame / 10 for frame in sample.meta["box_frames"]])
        assert sample.truth.boxes[3] == pytest.approx(eight(boxes, [42])[0], abs=6e-4)
    one = read_samples(source("got10k", tmp_path / "val/GOT-10k_Val_000001")).samples
    assert [sample.id for sample in one] == ["GOT-10k_Val_000001"]


def test_every_frame_can_be_asked_for_and_hidden_ones_are_left_out(tmp_path):
    sequence(tmp_path, "GOT-10k_Val_000001", path_of(30), absent={3, 29}, covered={10})
    (sample,) = read_samples(source("got10k", tmp_path, boxes_per_sequence=0)).samples
    assert sample.meta["box_frames"] == [frame for frame in range(30) if frame not in (3, 10, 29)]
    (sample,) = read_samples(source("got10k", tmp_path, boxes_per_sequence=4)).samples
    assert sample.meta["box_frames"] == [0, 9, 19, 28]


def test_chosen_frames_move_to_where_the_object_is_seen():
    seen = np.ones(15, dtype=bool)
    assert chosen_frames(seen, 8) == list(range(0, 15, 2))
    seen[4:7] = False
    assert chosen_frames(seen, 8) == [0, 2, 3, 7, 8, 10, 12, 14]
    assert chosen_frames(np.array([True, False, True]), 8) == [0, 2]


def test_the_size_is_read_from_a_picture_where_nothing_else_says_it(tmp_path):
    folder = sequence(tmp_path, "GOT-10k_Val_000001", path_of(20), info=False)
    (folder / "meta_info.ini").write_text("[METAINFO]\nobject_class: duck\n")
    report = check(source("got10k", tmp_path))
    assert dict(report.counts) == {"field_missing": 1} and "no picture that can be read" in report.lines()[2]
    picture(folder / "00000001.jpg", 640, 360)
    (sample,) = read_samples(source("got10k", tmp_path)).samples
    assert sample.truth.boxes[0] == pytest.approx([side / 2 for side in eight(path_of(20), [0])[0]], abs=1e-3)


@pytest.mark.parametrize(
    "spoil, code",
    [
        (lambda folder: (folder / "groundtruth.txt").write_text("1,2,3\n"), "row_malformed"),
        (lambda folder: (folder / "groundtruth.txt").write_text("1,2,three,4\n"), "row_malformed"),
        (lambda folder: (folder / "groundtruth.txt").write_text("1,2,3,4\n"), "boxes_few"),
        (lambda folder: (folder / "groundtruth.txt").write_text("1,2,3,nan\n" * 20), "number_not_finite"),
        (lambda folder: (folder / "groundtruth.txt").write_text("-5,2,30,40\n" * 20), "box_outside"),
        (lambda folder: (folder / "groundtruth.txt").write_text("5,2,0,40\n" * 20), "box_empty"),
        (lambda folder: (folder / "00000020.jpg").unlink(), "frames_differ"),
        (lambda folder: (folder / "meta_info.ini").write_text(f"resolution: {WIDTH}x{HEIGHT}\n"), "field_missing"),
    ],
)
def test_what_is_wrong_with_a_folder_is_found(tmp_path, spoil, code):
    folder = sequence(tmp_path, "GOT-10k_Val_000001", path_of(20))
    spoil(folder)
    report = check(source("got10k", tmp_path, boxes_per_sequence=8))
    assert code in report.counts and report.rows == 1


def test_a_folder_without_sequences_is_told(tmp_path):
    with pytest.raises(DataError, match="holds no sequence"):
        check(source("got10k", tmp_path))


def released(tmp_path: Path, boxes: list[list[float]], videos: str = "", name: str = "GOT-10k_Train_000001"):
    content = [{"path": f"/mnt/petrelfs/share/GOT-10k/train/{name}", "object": "duck", "gt": boxes}]
    return source("got10k", write_json(tmp_path / "got.json", content), videos=videos)


@pytest.mark.parametrize("seed", range(20))
def test_the_released_boxes_are_found_again_in_groundtruth(tmp_path, seed):
    random.seed(seed)
    boxes = path_of(90, seed)
    frames = sorted(random.sample(range(90), 8))
    sequence(tmp_path / "v", "GOT-10k_Train_000001", boxes)
    loaded = read_samples(released(tmp_path, eight(boxes, frames), str(tmp_path / "v")))
    (sample,) = loaded.samples
    assert sample.meta == {"box_times": "matched", "box_frames": frames}
    assert sample.truth.times_s == tuple(frame / 10 for frame in frames) and sample.duration_s == 9.0
    assert sample.video == str(tmp_path / "v/GOT-10k_Train_000001") and "boxes_unplaced" not in loaded.defects.counts


def test_of_an_object_that_stands_still_the_frames_nearest_to_the_assumed_are_taken():
    still = np.tile([0.1, 0.2, 0.3, 0.4], (91, 1))
    assert matched_frames(still[:8], still, np.full(4, 0.002)) == [0, 1, 15, 30, 45, 60, 75, 90]


def test_matching_agrees_with_trying_every_choice():
    """Against brute force: the least sum of errors over all rising choices of 3 of 7 frames."""
    from itertools import combinations

    for seed in range(50):
        random_numbers = np.random.default_rng(seed)
        truth = random_numbers.integers(0, 4, (7, 4)) / 10
        asked = np.clip(truth[sorted(random_numbers.choice(7, 3, replace=False))] + random_numbers.normal(0, 0.05, (3, 4)), 0, 1)
        slack = np.full(4, 0.25)

        def cost(frames, asked=asked, truth=truth, slack=slack):
            errors = np.abs(asked - truth[list(frames)]) / slack
            expected = np.linspace(0, 6, 3)
            return (errors.max(axis=1) + 1e-6 * np.abs(np.array(frames) - expected) / 7).sum() if (errors <= 1).all() else np.inf

        best = min(combinations(range(7), 3), key=cost)
        found = matched_frames(asked, truth, slack)
        assert (found is None) == (cost(best) == np.inf)
        if found is not None:
            assert cost(found) == pytest.approx(cost(best), abs=1e-12)


def test_boxes_that_are_not_in_groundtruth_keep_assumed_seconds_and_are_counted(tmp_path):
    boxes = path_of(61)
    sequence(tmp_path / "v", "GOT-10k_Train_000001", boxes)
    loaded = read_samples(released(tmp_path, eight(boxes + 20, list(range(8))), str(tmp_path / "v")))
    assert loaded.defects.counts["boxes_unplaced"] == 1
    (sample,) = loaded.samples
    assert sample.meta == {"box_times": "assumed", "box_frames": [0, 1, 10, 20, 30, 40, 50, 60]}
    assert sample.truth.times_s == (0.0, 0.1, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def test_seconds_come_from_the_number_of_pictures_where_there_is_no_groundtruth(tmp_path):
    folder = sequence(tmp_path / "v", "GOT-10k_Train_000001", path_of(61))
    (folder / "groundtruth.txt").unlink()
    loaded = read_samples(released(tmp_path, eight(path_of(61), list(range(0, 56, 7))), str(tmp_path / "v")))
    assert loaded.samples[0].truth.times_s == (0.0, 0.1, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert loaded.samples[0].meta["box_times"] == "assumed" and set(loaded.defects.counts) == {"path_foreign"}


def test_without_the_folder_the_seconds_are_not_known_and_that_is_said(tmp_path):
    (sample,) = read_samples(released(tmp_path, eight(path_of(61), list(range(8))))).samples
    assert sample.truth.times_s is None and sample.duration_s is None
    assert sample.meta == {"box_times": "assumed", "box_fractions": list(FRACTIONS)}


def test_assumed_frames():
    assert assumed_frames(100) == [0, 1, 16, 33, 50, 66, 82, 99]
    assert assumed_frames(9) == [] and assumed_frames(0) == []


def test_the_released_file_bears_the_assumption_out():
    """The second box lies next to the first; the others lie equally far apart."""
    if not (ANNOTATIONS / "got10k/val.json").is_file():
        pytest.skip("the official annotation file is not beside the repository")
    boxes_S84 = np.array([row["gt"] for row in json.loads((ANNOTATIONS / "got10k/val.json").read_text())])
    centres = (boxes_S84[..., :2] + boxes_S84[..., 2:]) / 2
    shifts_7 = np.linalg.norm(np.diff(centres, axis=1), axis=-1).mean(axis=0)
    assert shifts_7[0] < 0.015 and (shifts_7[1:] > 0.088).all() and (shifts_7[1:] < 0.107).all()


def test_folders_convert_to_rows_and_back(tmp_path):
    sequence(tmp_path / "val", "GOT-10k_Val_000001", path_of(40))
    taken = source("got10k", tmp_path / "val", videos=str(tmp_path / "val"))
    convert(taken, tmp_path / "rows.jsonl")
    assert json.loads((tmp_path / "rows.jsonl").read_text())["video"] == "GOT-10k_Val_000001"
    back = read_samples(source("jsonl", tmp_path / "rows.jsonl", videos=str(tmp_path / "val")))
    assert back.samples == read_samples(taken).samples


def test_official_reader_is_used_for_the_released_val_file():
    assert len(read_samples(official("got10k/val.json")).samples) == 180
