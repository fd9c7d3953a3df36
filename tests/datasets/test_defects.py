"""A corpus of bad rows: in a clean file one thing is made wrong, and that thing, and nothing else, must be found."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.datasets.files import CLEAN, captions, questions, source, tracks, write_json

from videochat_r1.datasets.base import KINDS, check, read_samples
from videochat_r1.datasets.base.defects import default_action
from videochat_r1.errors import DataError, UserFault
from videochat_r1.evaluation.figures import figures
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Reading

NAN = float("nan")

Spoil = Callable[[Any], Any]


def set_at(*path: Any) -> Callable[[Any], Spoil]:
    """A spoiler that puts a value at a path of a file's content."""

    def with_value(value: Any) -> Spoil:
        def spoil(content: Any) -> None:
            inner = content
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = value

        return spoil

    return with_value


def delete(*path: Any) -> Spoil:
    def spoil(content: Any) -> None:
        inner = content
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]

    return spoil


def span(value: Any) -> Spoil:
    return set_at("VID01", "timestamps", 0)(value)


def glue(value: Any) -> Spoil:
    return set_at(1, "glue")(value)


def box(value: Any) -> Spoil:
    return set_at(1, "gt", 3)(value)


def row(field: str, value: Any, index: int = 1) -> Spoil:
    return set_at(index, field)(value)


# jsonl rows: 0 temporal_grounding, 1 tracking, 2 video_qa, 3 grounded_qa, 4 quality, 5 description, and again
CORPUS: list[tuple[str, Spoil, dict[str, int]]] = [
    ("charades_sta", set_at("VID01")([1, 2]), {"row_malformed": 1}),
    ("charades_sta", set_at("VID01")(None), {"row_malformed": 1}),
    ("charades_sta", delete("VID01", "timestamps"), {"row_malformed": 1}),
    ("charades_sta", delete("VID01", "timestamps", 1), {"lengths_differ": 1}),
    ("activitynet_captions", set_at("VID01", "sentences")([]), {"lengths_differ": 1}),
    ("charades_sta", delete("VID01", "duration"), {"duration_invalid": 2}),
    ("charades_sta", set_at("VID01", "duration")(0), {"duration_invalid": 2}),
    ("charades_sta", set_at("VID01", "duration")(-30.5), {"duration_invalid": 2}),
    ("charades_sta", set_at("VID01", "duration")("30.5"), {"number_as_string": 2}),
    ("charades_sta", set_at("VID01", "duration")(NAN), {"number_not_finite": 2}),
    ("charades_sta", set_at("VID01", "sentences", 0)(" "), {"question_empty": 1}),
    ("charades_sta", set_at("VID01", "sentences", 0)(7), {"field_type": 1}),
    ("charades_sta", set_at("VID01", "sentences", 0)(None), {"field_missing": 1}),
    ("charades_sta", set_at("VID01", "sentences", 0)("caf\ud800"), {"text_not_unicode": 1}),
    (
        "charades_sta",
        lambda c: (c["VID01"]["timestamps"].append([0.0, 6.9]), c["VID01"]["sentences"].append("a person opens door 1.")),
        {"row_duplicate": 1},
    ),
    ("charades_sta", span([5.0, 31.0]), {"span_past_end": 1}),
    ("charades_sta", span([30.5, 31.0]), {"span_past_end": 1, "span_starts_past_end": 1}),
    ("charades_sta", span([-2.0, 5.0]), {"span_negative": 1}),
    ("charades_sta", span([6.9, 2.0]), {"span_reversed": 1}),
    ("charades_sta", span([6.9, 6.9]), {"span_empty": 1}),
    ("charades_sta", span([NAN, 6.9]), {"number_not_finite": 1}),
    ("charades_sta", span([0.0, float("inf")]), {"number_not_finite": 1}),
    ("charades_sta", span([0.0, 10**400]), {"number_not_finite": 1}),
    ("charades_sta", span(["0.5", 6.9]), {"number_as_string": 1}),
    ("charades_sta", span(["soon", 6.9]), {"field_type": 1}),
    ("charades_sta", span([True, 6.9]), {"field_type": 1}),
    ("charades_sta", span([1.0, 2.0, 3.0]), {"field_type": 1}),
    ("charades_sta", span(3.0), {"field_type": 1}),
    ("activitynet_captions", span([5.0, 30.51]), {"span_past_end": 1}),
    ("activitynet_captions", span([5.0, 30.5 + 1e-13]), {}),  # a sum of decimals
    ("nextgqa", row("options", ["(A) to sit", "(B) to hide", "(C) he was called", "(D) to find a toy"]), {"options_count": 1}),
    ("nextgqa", row("options", ["to sit", "(B) to hide", "(C) he was called", "(D) a toy", "(E) e"]), {"options_letters": 1}),
    ("nextgqa", row("options", ["(B) to sit", "(A) to hide", "(C) he was called", "(D) a toy", "(E) e"]), {"options_letters": 1}),
    ("nextgqa", row("options", ["(A) to sit", "(B) To sit.", "(C) he was called", "(D) a toy", "(E) e"]), {"options_duplicate": 1}),
    ("nextgqa", row("options", "to sit"), {"field_type": 1}),
    ("nextgqa", row("answer", "(F)"), {"answer_not_offered": 1}),
    ("nextgqa", row("answer", "nothing"), {"answer_not_offered": 1}),
    ("nextgqa", row("answer", 2), {"field_type": 1}),
    ("nextgqa", row("answer", None), {"field_missing": 1}),
    ("nextgqa", row("question", "he was called to the sofa: why"), {"answer_in_question": 1}),
    ("nextgqa", glue([]), {"spans_none": 1}),
    ("nextgqa", glue(None), {"field_missing": 1}),
    ("nextgqa", glue([[13.8, 29.8], [60, 40]]), {"span_reversed": 1}),
    ("nextgqa", glue([[13.8, 29.8], [60, 91]]), {"span_past_end": 1}),
    ("nextgqa", delete(1, "video"), {"field_missing": 1}),
    ("nextgqa", row("video", "https://host/video.mp4"), {"video_path": 1}),
    ("nextgqa", row("video", "a\0b.mp4"), {"video_path": 1}),
    ("nextgqa", row("anwser", "(C)"), {"field_unknown": 1}),
    ("nextgqa", row("id", "0_1"), {"id_duplicate": 1}),
    ("nextgqa", row("id", 17), {"field_type": 1}),
    ("nextgqa", row("id", ""), {"field_missing": 1}),
    ("nextgqa", set_at(1)("row"), {"row_malformed": 1}),
    ("nextgqa", lambda c: c.append(dict(c[0])), {"id_duplicate": 1, "row_duplicate": 1}),
    ("got10k", box([-0.1, 0.2, 0.5, 0.6]), {"box_outside": 1}),
    ("got10k", box([0.1, 0.2, 1.2, 0.6]), {"box_outside": 1}),
    ("got10k", box([0.5, 0.2, 0.1, 0.6]), {"box_reversed": 1}),
    ("got10k", box([0.1, 0.6, 0.5, 0.2]), {"box_reversed": 1}),
    ("got10k", box([0.5, 0.2, 0.5, 0.6]), {"box_empty": 1}),
    ("got10k", box([1.1, 0.2, 1.3, 0.6]), {"box_outside": 1, "box_empty": 1}),
    ("got10k", delete(1, "gt", 3), {"boxes_count": 1}),
    ("got10k", row("gt", [[150, 200, 450, 613]] * 8), {"boxes_scale": 1}),
    ("got10k", row("gt", [[150, 200, 1450, 613]] * 8), {"boxes_scale": 1}),
    ("got10k", box([0.1, 0.2, 0.5]), {"field_type": 1}),
    ("got10k", box([0.1, 0.2, 0.5, NAN]), {"number_not_finite": 1}),
    ("got10k", box(["0.1", 0.2, 0.5, 0.6]), {"number_as_string": 1}),
    ("got10k", row("gt", {"0": [0, 0, 1, 1]}), {"field_type": 1}),
    ("got10k", row("path", "/mnt/petrelfs/data/GOT-10k/train/GOT-10k_Train_000001"), {"path_foreign": 1}),
    ("got10k", row("object", ""), {"question_empty": 1}),
    ("quality_access", row("answer", "poor quality"), {"label_unknown": 1}),
    ("quality_access", row("answer", 1), {"field_type": 1}),
    ("quality_access", row("answer", None), {"field_missing": 1}),
    ("quality_access", row("video", "0000.mp4"), {"id_duplicate": 1}),
    ("timelens_bench", set_at("v_01")([1]), {"row_malformed": 1}),
    ("timelens_bench", delete("v_01", "spans", 1), {"lengths_differ": 1}),
    ("timelens_bench", set_at("v_01", "spans", 0)([9.5, 0.0]), {"span_reversed": 1}),
    ("timelens_bench", delete("v_01", "duration"), {"duration_invalid": 2}),
    ("qvhighlights", row("relevant_windows", [[0, 16], [140, 152]]), {"span_past_end": 1}),
    ("qvhighlights", row("relevant_windows", []), {"spans_none": 1}),
    ("qvhighlights", delete(1, "relevant_windows"), {"field_missing": 1}),  # as in the test file
    ("qvhighlights", row("qid", 8700), {"id_duplicate": 1}),
    ("qvhighlights", row("vid", None), {"field_missing": 1}),
    ("mvbench", row("answer", "Nothing."), {"answer_not_offered": 1}),
    ("mvbench", row("answer", "A"), {"answer_not_offered": 1}),  # a letter is no text of an option
    ("mvbench", row("answer", 3), {"field_type": 1}),
    ("mvbench", row("candidates", "Ate"), {"field_type": 1}),
    ("mvbench", row("end", 3.0), {"window_invalid": 1}),
    ("mvbench", delete(1, "end"), {"window_invalid": 1}),
    ("mvbench", row("video", 7), {"field_type": 1}),
    ("videomme", row("answer", "E"), {"answer_not_offered": 1}),
    ("videomme", row("options", ["A. Two.", "B. Three.", "C. Two", "D. Eight."]), {}),  # letters in another form are not compared
    ("videomme", row("question_id", "000-1"), {"id_duplicate": 1}),
    ("videomme", delete(1, "videoID"), {"field_missing": 1}),
    ("videomme", set_at(1)([]), {"row_malformed": 1}),
    ("perception_test", set_at("video_1")(3), {"row_malformed": 1}),
    ("perception_test", set_at("video_1", "mc_question", 0)("?"), {"row_malformed": 1}),
    ("perception_test", set_at("video_1", "mc_question", 0, "answer_id")(3), {"answer_not_offered": 1}),
    ("perception_test", set_at("video_1", "mc_question", 0, "answer_id")(-1), {"answer_not_offered": 1}),
    ("perception_test", delete("video_1", "mc_question", 0, "answer_id"), {"field_missing": 1}),  # as in the test file
    ("perception_test", delete("video_1", "mc_question", 0, "id"), {"field_missing": 1}),
    ("longvideobench", row("correct_choice", 5), {"answer_not_offered": 1}),
    ("longvideobench", row("correct_choice", True), {"answer_not_offered": 1}),
    ("longvideobench", row("candidates", None), {"field_type": 1}),
    ("longvideobench", row("duration", 0), {"duration_invalid": 1}),
    ("longvideobench", row("video_path", "a\0"), {"video_path": 1}),
    ("mlvu", row("answer", "Pink"), {"answer_not_offered": 1}),
    ("mlvu", row("duration", "480"), {"number_as_string": 1}),
    ("lvbench", delete(1, "qa"), {"row_malformed": 1}),
    ("lvbench", set_at(1, "qa", 0, "answer")("E"), {"answer_not_offered": 1}),
    ("lvbench", set_at(1, "qa", 0, "question")("What year?"), {"answer_not_offered": 1}),
    ("lvbench", set_at(1, "qa", 0, "uid")("0"), {"id_duplicate": 1}),
    ("dream1k", row("events", "a cup falls"), {"field_type": 1}),
    ("dream1k", row("idx", None), {"field_missing": 1}),
    ("jsonl", set_at(1, "answer", "times_s")([0, 0]), {"box_times": 1}),
    ("jsonl", set_at(1, "answer", "times_s")([0, 1, 2]), {"box_times": 1}),
    ("jsonl", set_at(1, "answer", "times_s")([-1, 1]), {"box_times": 1}),
    ("jsonl", set_at(1, "answer", "boxes")([[0, 0, 1, 1]]), {"boxes_few": 1, "box_times": 1}),
    ("jsonl", set_at(0, "answer", "spans")([[0, 1], [2, 3]]), {"spans_several": 1}),
    ("jsonl", set_at(0, "answer", "span")([0, 1]), {"field_unknown": 1}),
    ("jsonl", set_at(0, "answer")({"choice": "A"}), {"field_missing": 1}),
    ("jsonl", set_at(0, "answer")([3, 5]), {"field_type": 1}),
    ("jsonl", delete(0, "task"), {"field_missing": 1}),
    ("jsonl", row("task", "tracing"), {"task_unknown": 1}),
    ("jsonl", row("task", "mine/code.py"), {"task_unknown": 1}),
    ("jsonl", row("meta", []), {"field_type": 1}),
    ("jsonl", row("meta", {"window_s": [5.0, 2.0]}), {"window_invalid": 1}),
    ("jsonl", row("meta", {"window_s": "all"}), {"window_invalid": 1}),
    ("jsonl", row("durations_s", 3.0), {"field_unknown": 1}),
    ("jsonl", set_at(2, "options")([str(n) for n in range(30)]), {"options_many": 1}),
    ("jsonl", set_at(2, "answer", "choice")("C"), {"answer_not_offered": 1}),
    ("jsonl", set_at(4, "answer", "label")("..."), {"label_unknown": 1}),
    ("jsonl", set_at(5, "answer", "events")([]), {"field_missing": 1}),
    ("jsonl", row("question", "what is <|video_pad|> here"), {"text_marked": 1}),
    ("jsonl", set_at(2, "options")(["red", "<|im_end|>"]), {"text_marked": 1}),
    ("jsonl", row("question", "is a < |b| > c by the <|start|> sign"), {}),
]


@pytest.mark.parametrize(
    "name, spoil, expected", CORPUS, ids=[f"{n}-{name}-{'+'.join(e) or 'clean'}" for n, (name, _, e) in enumerate(CORPUS)]
)
def test_one_thing_wrong_is_found_and_nothing_else(tmp_path, name, spoil, expected):
    content = CLEAN[name]()
    spoil(content)
    path = write_json(tmp_path / "rows.json", content)
    for split in ("train", "test"):
        report = check(source(name, path, split=split))
        assert dict(report.counts) == expected
        assert report.actions == {code: default_action(code, split) for code in expected}
        for code in expected:
            assert report.examples[code][0].detail and report.examples[code][0].line == 1
        assert report.as_dict()["defects"] == expected
        assert json.dumps(report.as_dict(), allow_nan=False) and "\n".join(report.lines()).encode("utf-8")


def test_the_corpus_holds_every_kind_of_defect_that_a_row_alone_can_have():
    found = {code for _, _, expected in CORPUS for code in expected}
    assert len(found) >= 25
    elsewhere = {"boxes_unplaced", "frames_differ"}  # of official GOT-10k folders: test_got10k.py
    assert set(KINDS) - found == elsewhere | {"subtitles_missing"}  # test_subtitles.py


@pytest.mark.parametrize("name", CLEAN)
def test_clean_rows_give_no_alarm_and_are_all_kept(tmp_path, name):
    path = write_json(tmp_path / "rows.json", CLEAN[name](50))
    for split in ("train", "test"):
        loaded = read_samples(source(name, path, split=split))
        assert loaded.defects.clean and loaded.defects.lines()[-1].strip() == "no defect found"
        assert len(loaded.samples) == loaded.defects.rows == loaded.defects.samples > 0


def read(tmp_path, content, name="charades_sta", **fields):
    return read_samples(source(name, write_json(tmp_path / "rows.json", content), **fields))


def test_training_clips_and_drops_where_a_test_set_is_kept_as_published(tmp_path):
    content = captions(1)
    content["VID00"]["timestamps"] = [[5.0, 32.0], [7.25, 30.5]]
    assert read(tmp_path, content, split="train").samples[0].truth.spans == ((5.0, 30.5),)
    assert read(tmp_path, content, split="test").samples[0].truth.spans == ((5.0, 32.0),)
    assert [s.id for s in read(tmp_path, content, on_defect={"span_past_end": "drop"}).samples] == ["VID00/1"]


@pytest.mark.parametrize(
    "code, raw, action, kept",
    [
        ("span_reversed", [6.9, 2.0], "swap", (2.0, 6.9)),
        ("span_reversed", [6.9, 2.0], "drop", None),
        ("span_negative", [-2.0, 5.0], "clip", (0.0, 5.0)),
        ("span_past_end", [5.0, 31.0], "keep", (5.0, 31.0)),
        ("span_past_end", [5.0, 31.0], "clip", (5.0, 30.5)),
        ("number_as_string", ["0.5", "6.9"], "keep", (0.5, 6.9)),
        ("span_starts_past_end", [31.0, 32.0], "keep", (31.0, 32.0)),
    ],
)
def test_what_is_done_about_a_span(tmp_path, code, raw, action, kept):
    content = captions(1)
    content["VID00"]["timestamps"][0] = raw
    for split in ("train", "test"):
        loaded = read(tmp_path, content, split=split, on_defect={code: action})
        found = {sample.id: sample.truth.spans for sample in loaded.samples}
        assert found.get("VID00/0") == (None if kept is None else (kept,)) and "VID00/1" in found


def test_what_is_done_about_a_box(tmp_path):
    content = tracks(1)
    content[0]["gt"][2] = [-0.1, 0.2, 0.5, 0.6]
    content[0]["gt"][3] = [0.5, 0.6, 0.1, 0.2]
    (sample,) = read(tmp_path, content, "got10k", on_defect={"box_reversed": "swap"}).samples
    assert sample.truth.boxes[2:4] == ((0.0, 0.2, 0.5, 0.6), (0.1, 0.2, 0.5, 0.6))


def test_a_scale_is_guessed_and_offered_but_never_applied_unasked(tmp_path):
    content = tracks(1)
    content[0]["gt"] = [[1000 * side for side in corners] for corners in content[0]["gt"]]
    with pytest.raises(DataError, match="0 to 1000 .then set box_scale = thousand.*boxes_scale"):
        read(tmp_path, content, "got10k")
    (sample,) = read(tmp_path, content, "got10k", box_scale="thousand").samples
    assert sample.truth.boxes[0] == pytest.approx((0.0, 0.2, 0.3, 0.613))
    content[0]["gt"][0] = [0, 0, 1900, 900]
    with pytest.raises(DataError, match="in pixels"):
        read(tmp_path, content, "got10k")


def test_a_test_set_with_a_truth_that_cannot_be_scored_is_refused_with_place_and_mend(tmp_path):
    content = questions(3)
    content[1]["answer"] = content[2]["answer"] = "(G)"
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(content, indent=1))
    with pytest.raises(DataError) as fault:
        read_samples(source("nextgqa", path, split="test"))
    line = next(number for number, text in enumerate(path.read_text().split("\n"), 1) if '"1_1"' in text) - 1
    assert f"rows.json:{line} (1_1): the answer is '(G)'" in fault.value.what and "1 more" in fault.value.what
    assert "on_defect.answer_not_offered = drop" in fault.value.mend
    loaded = read_samples(source("nextgqa", path, split="test", on_defect={"answer_not_offered": "drop"}))
    assert (len(loaded.samples), loaded.defects.dropped) == (1, 2)


def test_an_answer_may_be_the_option_itself(tmp_path):
    content = questions(1)
    content[0]["answer"] = "(D) to find a toy"
    assert read(tmp_path, content, "nextgqa").samples[0].truth.choice == "D"


def test_grounding_is_not_asked_of_video_qa(tmp_path):
    content = questions(1)
    content[0]["glue"] = []
    (sample,) = read(tmp_path, content, "nextgqa", task="video_qa", split="test").samples
    assert sample.task == "video_qa" and sample.truth.choice == "C"


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"on_defect": {"span_passed_end": "clip"}}, "Did you mean 'span_past_end'"),
        ({"on_defect": {"span_empty": "keep"}}, "span_empty can be drop, refuse, not keep"),
        ({"on_defect": {"span_empty": "delete"}}, "span_empty"),
        ({"limit": -1}, "limit"),
        ({"weight": 0.0}, "weight"),
        ({"spilt": "test"}, "spilt"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(tmp_path, fields, said):
    with pytest.raises(ValidationError, match=said):
        source("charades_sta", tmp_path / "rows.json", **fields)


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"name": "charade_sta"}, "Did you mean 'charades_sta'"),
        ({"task": "tracking"}, "cannot serve the task tracking"),
        ({"task": "temporal_groundin"}, "Did you mean 'temporal_grounding'"),
        ({"videos": "no/such/folder"}, "No folder no/such/folder"),
    ],
)
def test_a_source_that_names_what_is_not_there(tmp_path, fields, said):
    with pytest.raises(UserFault, match=said):
        read_samples(source(**{"name": "charades_sta", "path": write_json(tmp_path / "rows.json", captions()), **fields}))


def test_a_limit_takes_the_first_samples(tmp_path):
    assert [sample.id for sample in read(tmp_path, captions(5), limit=3).samples] == ["VID00/0", "VID00/1", "VID01/0"]
    assert check(source("charades_sta", tmp_path / "rows.json", limit=3)).rows == 10


def test_a_file_without_a_usable_row_stops(tmp_path):
    with pytest.raises(DataError, match="no sample is left of 0 rows"):
        read(tmp_path, {})


def test_a_data_set_of_ones_own_is_one_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n"
        "from videochat_r1.datasets.base import Dataset, Row, read_items\n"
        "def rows(source):\n"
        "    for item in read_items(Path(source.annotations), 'list'):\n"
        "        start, end = item.value['at']\n"
        "        yield Row({'id': item.value['n'], 'video': 'v.mp4', 'question': 'x', 'answer': {'spans': [[start, end]]}}, item.line)\n"
        "DATASET = Dataset(name='mine', task='temporal_grounding', rows=rows)\n"
    )
    (tmp_path / "rows.jsonl").write_text('{"n": "a", "at": [1, 2]}\n{"n": "b", "at": [2, 1]}\n')
    loaded = read_samples(source(str(tmp_path / "mine.py"), tmp_path / "rows.jsonl"))
    assert [sample.id for sample in loaded.samples] == ["a"]
    assert loaded.defects.counts == {"span_reversed": 1} and loaded.defects.examples["span_reversed"][0].line == 2


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["(C)", "1.5", "nan", "\ud800", 1e12, -1, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(content: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything within."""
    if isinstance(content, dict):
        inner = list(content.items())
    elif isinstance(content, list):
        inner = list(enumerate(content))
    else:
        return []
    return [(content, key) for key, _ in inner] + list(itertools.chain.from_iterable(places(value) for _, value in inner))


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_mutated_rows_give_samples_that_can_be_scored_or_a_data_error(tmp_path_factory, data):
    name = data.draw(st.sampled_from(sorted(CLEAN)))
    content = copy.deepcopy(CLEAN[name](2))
    for _ in range(data.draw(st.integers(1, 3))):
        where = places(content)
        if not where:
            break
        container, key = where[data.draw(st.integers(0, len(where) - 1))]
        if data.draw(st.booleans()):
            container[key] = data.draw(JUNK)
        else:
            del container[key]
    path = write_json(tmp_path_factory.mktemp("mutated") / "rows.json", content)
    split = data.draw(st.sampled_from(["train", "test"]))
    report = check(source(name, path, split=split))
    assert "\n".join(report.lines()).encode("utf-8") and json.dumps(report.as_dict(), allow_nan=False)
    swaps = {code: action for code, kind in KINDS.items() for action in kind.choices if action in ("keep", "swap")}
    try:
        samples = read_samples(source(name, path, split=split, on_defect=data.draw(st.sampled_from([{}, swaps])))).samples
    except DataError as fault:
        assert fault.what and fault.mend
        return
    for sample in samples:  # what is kept can be scored: a truth at fault would raise
        task = load_task(sample.task)
        gold = task.read(task.write(sample.truth, Asking()), sample, Asking())
        assert figures(task, [sample], [gold], resamples=0)["n"] == 1
        assert figures(task, [sample], [Reading(answer=None, reason="none", format_ok=False)], resamples=0)["unparsed"] == 1
