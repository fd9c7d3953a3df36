from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.datasets.files import captions, questions, source, write_json

from videochat_r1.datasets.base import check, convert, overlap, read_samples
from videochat_r1.datasets.base.rows import write_rows
from videochat_r1.datasets.base.videos import likely_causes
from videochat_r1.errors import DataError, EnvironmentFault


def place(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" + name.encode())
    return str(folder)


def test_missing_videos_are_left_out_counted_and_listed(tmp_path):
    videos = place(tmp_path / "v", *(f"VID{number:02}.mp4" for number in range(10) if number != 4))
    taken = source("charades_sta", write_json(tmp_path / "rows.json", captions(10)), videos=videos)
    loaded = read_samples(taken)
    assert len(loaded.samples) == 18 and loaded.samples[0].video == os.path.join(videos, "VID00.mp4")
    report = loaded.defects
    assert (report.missing, report.missing_rows, report.videos) == (("VID04.mp4",), 2, 9)
    assert report.missing_causes == {"not found (never fetched, or taken down)": 1} and not report.clean
    assert report.as_dict()["missing"] == ["VID04.mp4"] and any("VID04.mp4" in line for line in report.lines())
    with pytest.raises(DataError, match=r"1 of 10 videos are not in .*VID04\.mp4"):
        read_samples(taken.model_copy(update={"on_missing": "stop"}))


def test_too_many_missing_videos_stop_and_the_cause_is_told(tmp_path):
    videos = place(tmp_path / "v", *(f"VID{number:02}.mkv" for number in range(3)))
    taken = source("charades_sta", write_json(tmp_path / "rows.json", captions(4)), videos=videos)
    with pytest.raises(DataError) as fault:
        read_samples(taken)
    assert "4 of 4 videos" in fault.value.what and "3: found as .mkv (set video_ext = .mkv)" in fault.value.mend
    assert check(taken).missing_rows == 8  # a check never stops
    loaded = read_samples(taken.model_copy(update={"video_ext": "mkv", "missing_limit": 0.5}))
    assert {Path(sample.video).name for sample in loaded.samples} == {"VID00.mkv", "VID01.mkv", "VID02.mkv"}


@pytest.mark.parametrize(
    "there, cause",
    [
        ("vid00.mp4", "found in another case"),
        ("sub/deep/VID00.mp4", "set videos = {videos}/sub/deep"),
        ("../other/VID00.mp4", "set videos = {root}/other"),
        ("VID00.webm", "set video_ext = .webm"),
        ("VID000.mp4", "not found"),
    ],
)
def test_the_likely_cause_of_a_missing_video(tmp_path, there, cause):
    (tmp_path / "v").mkdir()
    videos = place(tmp_path / "v", there)
    report = check(source("charades_sta", write_json(tmp_path / "rows.json", captions(1)), videos=videos))
    (found,) = report.missing_causes
    assert cause.format(videos=videos, root=tmp_path) in found


def test_a_folder_of_videos_that_is_not_there_and_the_one_that_was_meant(tmp_path):
    rows = write_json(tmp_path / "rows.json", captions(1))

    def told(videos: Path) -> str:
        with pytest.raises(DataError, match="No folder .* to take videos from") as fault:
            read_samples(source("charades_sta", rows, videos=str(videos)))
        return fault.value.mend

    assert told(tmp_path / "elsewhere").startswith("Set videos (--videos) to the folder that")
    (tmp_path / "films").mkdir()
    assert told(tmp_path / "flims") == told(tmp_path / "runs" / "films") == f"Did you mean {tmp_path / 'films'}?"
    (tmp_path / "videos").mkdir()
    assert told(tmp_path / "elsewhere") == f"Did you mean {tmp_path / 'videos'}?"


def test_a_name_without_an_ending_is_found_where_it_lies(tmp_path):
    """As of GOT-10k's sequences beside the films of the same scenes: video_ext would change no such name."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "easy-1.mp4").write_bytes(b"x")
    missing = [str(tmp_path / "videos" / "easy-1")]
    assert likely_causes(str(tmp_path / "videos"), missing) == {"found as .mp4 (write the ending into the annotations)": 1}
    folder = tmp_path / "got10k" / "train"
    (folder / "easy-1").mkdir(parents=True)
    assert likely_causes(str(tmp_path / "videos"), missing) == {f"found under {folder} (set videos = {folder})": 1}


def test_another_layout_than_the_annotations(tmp_path):
    videos = place(tmp_path / "v", "0.mp4", "1.mp4")
    report = check(source("nextgqa", write_json(tmp_path / "rows.json", questions(2)), videos=videos))
    assert report.missing_causes == {f"found in {videos} (the layout differs from the annotations')": 2}


def test_without_a_folder_no_video_is_looked_for(tmp_path):
    (sample, *_) = read_samples(source("charades_sta", write_json(tmp_path / "rows.json", captions(1)))).samples
    assert sample.video == "VID00.mp4"


def test_conversion_keeps_paths_relative_and_writes_whole_files_only(tmp_path):
    videos = place(tmp_path / "v", "VID00.mkv")
    taken = source("charades_sta", write_json(tmp_path / "rows.json", captions(1)), videos=videos, video_ext=".mkv")
    convert(taken, tmp_path / "rows.jsonl")
    back = read_samples(source("jsonl", tmp_path / "rows.jsonl", videos=videos))
    assert back.samples == read_samples(taken).samples and '"VID00.mkv"' in (tmp_path / "rows.jsonl").read_text()
    with pytest.raises(EnvironmentFault, match="Cannot write"):
        convert(taken, tmp_path / "none/rows.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.json", "rows.jsonl", "v"]


def samples_of(tmp_path: Path, folder: str, names: list[str], prefix: str = ""):
    place(tmp_path / folder, *names)
    content = {Path(name).stem: captions(1)["VID00"] for name in names}
    return read_samples(source("charades_sta", write_json(tmp_path / f"{folder}.json", content), videos=str(tmp_path / folder))).samples


def test_a_disk_that_refuses_the_draft_and_its_removal_is_said(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(EnvironmentFault, match="Read-only file system"):
        write_rows([], tmp_path / "x.jsonl")


def test_overlap_by_id_by_name_and_by_content(tmp_path):
    train = samples_of(tmp_path, "train", ["A.mp4", "B.mp4", "C.mp4"])
    test = samples_of(tmp_path, "test", ["B.mp4", "D.mp4", "E.mp4"])
    found = overlap(train, test)
    assert found.ids == ("B/0", "B/1") and found.videos == ("B",) and found.contents == ()
    (tmp_path / "test/D.mp4").write_bytes((tmp_path / "train/A.mp4").read_bytes())
    found = overlap(train, test, by_content=True)
    assert found.contents == ((str(tmp_path / "train/A.mp4"), str(tmp_path / "test/D.mp4")),)
    with pytest.raises(
        DataError, match=r"train\.json and test\.json share 2 sample ids, 1 video, 1 video under another name; the first: B/0"
    ):
        found.stop("train.json", "test.json")
    alone = overlap(train[:2], test[2:4], by_content=False)
    assert not alone
    alone.stop("train.json", "test.json")


def test_overlap_of_folders_of_pictures_and_of_files_that_are_gone(tmp_path):
    train, test = samples_of(tmp_path, "train", ["A.mp4"]), samples_of(tmp_path, "test", ["D.mp4"])
    for folder, name in (("train", "A.mp4"), ("test", "D.mp4")):
        (tmp_path / folder / name).unlink()
        place(tmp_path / folder / name, "00000001.jpg")
    assert len(overlap(train, test, by_content=True).contents) == 1
    for folder, name in (("train", "A.mp4"), ("test", "D.mp4")):
        (tmp_path / folder / name / "00000001.jpg").unlink()
    assert not overlap(train, test, by_content=True)
