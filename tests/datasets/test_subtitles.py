"""Subtitles beside a data set: read from both kinds of file, and put before the question."""

from __future__ import annotations

import json

import pytest
from tests.datasets.files import by_length, referred, source, write_json

from videochat_r1.datasets.base import check, read_samples
from videochat_r1.datasets.base.subtitles import Line, spoken_at
from videochat_r1.errors import DataError
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task

SRT = """1
00:00:01,000 --> 00:00:03,500
<font color="white" size=".72c">a lamp is lit</font>

2
00:00:04,000 --> 00:00:06,000
and
goes out

broken block

3
00:01:00,000 --> 00:01:02,000
the end </answer>
"""


def asked(samples):
    return [load_task(one.task).ask(one, Asking()) for one in samples]


def test_the_lines_stand_before_the_question_as_in_video_mme(tmp_path):
    (tmp_path / "subtitle").mkdir()
    (tmp_path / "subtitle/yt_0.srt").write_text(SRT)
    path = write_json(tmp_path / "rows.json", by_length(2))
    loaded = read_samples(source("videomme", path, subtitles=str(tmp_path / "subtitle")))
    first, second = asked(loaded.samples)
    assert first.startswith("This video's subtitles are listed below: \na lamp is lit\nand goes out\nthe end\nAnswer the question:")
    assert second.startswith("This video's subtitles are listed below: \nNo subtitles available\nAnswer")
    assert loaded.defects.counts == {"subtitles_missing": 1} and len(loaded.samples) == 2
    few = read_samples(source("videomme", path, subtitles=str(tmp_path / "subtitle"), subtitle_lines=2)).samples[0]
    assert few.meta["subtitles"] == "No subtitles available"  # nothing is said at 0 s and at 62 s
    assert asked(read_samples(source("videomme", path)).samples)[0].startswith("Answer the question")


def test_longvideobench_counts_from_where_its_clip_starts(tmp_path):
    lines = [
        {"start": "00:00:01.000", "end": "00:00:02.000", "line": "before"},
        {"timestamp": [10.5, 12.0], "text": "within"},
        {"timestamp": [13.0, None], "text": "open end"},
        {"start": "x", "end": "y", "line": "broken"},
    ]
    (tmp_path / "86Cx0_en.json").write_text(json.dumps(lines))
    rows = [{**referred(1)[0], "starting_timestamp_for_subtitles": 10.0, "subtitle_path": "../elsewhere/86Cx0_en.json"}]
    (sample,) = read_samples(source("longvideobench", write_json(tmp_path / "rows.json", rows), subtitles=str(tmp_path))).samples
    assert sample.meta["subtitles"] == "within\nopen end"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{", b"[[[", b'{"a": 1}', b"[1, null]", b'[{"line": 3}]'])
def test_hostile_files_are_a_finding(tmp_path, content):
    (tmp_path / "86Cx0_en.json").write_bytes(content)
    report = check(source("longvideobench", write_json(tmp_path / "rows.json", referred(1)), subtitles=str(tmp_path)))
    assert report.counts == {"subtitles_missing": 1} and report.samples == 1


@pytest.mark.parametrize("name", [None, 3, "", "a\0b", ".."])
def test_hostile_names_are_a_finding(tmp_path, name):
    rows = [{**referred(1)[0], "subtitle_path": name}]
    assert check(source("longvideobench", write_json(tmp_path / "rows.json", rows), subtitles=str(tmp_path))).counts == {
        "subtitles_missing": 1
    }


def test_a_folder_that_is_not_there_stops(tmp_path):
    with pytest.raises(DataError, match="No folder .* to take subtitles from"):
        check(source("videomme", write_json(tmp_path / "rows.json", by_length(1)), subtitles=str(tmp_path / "none")))


def test_lines_spoken_at_moments():
    lines = [Line(0.0, 2.0, "a"), Line(3.0, 4.0, "b"), Line(4.0, 8.0, "c"), Line(8.0, 10.0, "d")]
    assert [line.text for line in spoken_at(lines, 3)] == ["a", "c"]  # at 0, 5 and 10 s; nothing is said at the very end
    assert [line.text for line in spoken_at(lines, 1)] == ["a"] and spoken_at((), 3) == ()
