"""data difficulty and what training does with it, and the refusal of test sets that were trained on: from the command line."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from tests.command_line import TINY_VIDEO, fault, ran, ran_json, tiny_recipe

from videochat_r1.datasets.base.difficulty import require_own_file
from videochat_r1.errors import EnvironmentFault

VIDEO = [part for name, value in TINY_VIDEO.items() for part in (f"--video.{name.replace('_', '-')}", value)]


def scan(world, model, out):
    source = ["--dataset", "jsonl", "--annotations", world / "train.jsonl", "--videos", world / "videos", "--limit", 3]
    return [
        "data",
        "difficulty",
        "--policy",
        model,
        *source,
        "--out",
        out,
        "--group-size",
        2,
        "--rollout.max-tokens",
        4,
        "--device",
        "cpu",
        *VIDEO,
    ]


def test_the_built_in_model_is_asked_as_it_was_taught(world, tmp_path, capsys):
    source = ["--dataset", "jsonl", "--annotations", world / "train.jsonl", "--videos", world / "videos", "--limit", 1]
    line = ["data", "difficulty", "--policy", "small", *source, "--out", tmp_path / "d.jsonl", "--group-size", 2, "--rollout.max-tokens", 4]
    code, _, told = ran(capsys, *line)
    assert code == 0 and "Asked as the built-in model says" in told and "asking.order video_first" in told


def test_a_scan_reports_by_task_and_goes_on_where_it_was_cut(world, model, tmp_path, capsys):
    out = tmp_path / "d.jsonl"
    found = ran_json(capsys, *scan(world, model, out))
    whole = out.read_bytes()
    assert found["group_size"] == 2 and sum(task["n"] for task in found["tasks"].values()) == 3
    for task in found["tasks"].values():
        assert 0.0 <= task["with_gradient"] <= 100.0 and sum(task["histogram"]) == task["n"]
    out.write_bytes(whole[:-20])
    assert ran_json(capsys, *scan(world, model, out)) == found
    assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    code, printed, _ = ran(capsys, *scan(world, model, out))
    assert code == 0 and "with gradient" in printed and "groups of 2" in printed
    assert out.read_bytes().count(b"\n") == 3, "nothing is measured twice"


@pytest.mark.parametrize("end", ["\n", ""], ids=["whole rows", "no end of line"])
def test_rows_are_appended_to_no_file_of_another_kind(world, tmp_path, capsys, end):
    other = tmp_path / "train.jsonl"
    other.write_text((world / "train.jsonl").read_text().splitlines()[0] + end)
    before = other.read_bytes()
    said = fault(capsys, 2, *scan(world, tmp_path / "no model", other))  # so nothing was loaded before
    assert "no file of `data difficulty`" in said and "--out" in said
    assert other.read_bytes() == before


@pytest.mark.parametrize("begun", [b"", b'{"k', b'{"key":"5f0', None], ids=["empty", "cut early", "cut late", "not there"])
def test_a_file_that_was_cut_in_its_first_row_may_be_appended_to(tmp_path, begun):
    if begun is not None:
        (tmp_path / "d.jsonl").write_bytes(begun)
    require_own_file(tmp_path / "d.jsonl")


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, monkeypatch):
    require_own_file(tmp_path / "new" / "d.jsonl")
    with monkeypatch.context() as patched, pytest.raises(EnvironmentFault, match="cannot be written"):
        patched.setattr(os, "access", lambda path, mode: False)  # a test may run as one who may write everywhere
        require_own_file(tmp_path / "new" / "d.jsonl")
    assert not (tmp_path / "new").exists()


def test_training_filters_by_the_file_and_may_go_from_easy_to_hard(world, model, tmp_path, capsys):
    out = tmp_path / "d.jsonl"
    ran_json(capsys, *scan(world, model, out))
    recipe = tiny_recipe(tmp_path, world, model)
    options = ["--data.0.difficulty", out, "--data.0.keep-spread-above", -1, "--train.order", "easy_first"]
    code, _, err = ran(capsys, "train", recipe, "--out", tmp_path / "run", *options)
    assert code == 0, err
    assert "3 of 3 samples kept by difficulty" in err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    out.write_text("".join(json.dumps({**row, "reward_std": 0.0}) + "\n" for row in rows))
    said = fault(capsys, 3, "train", recipe, "--out", tmp_path / "none", "--data.0.difficulty", out)
    assert "0 of 3 samples kept by difficulty; 3 left out: spread of at most 0" in said
    said = fault(capsys, 2, "train", recipe, "--out", tmp_path / "order", "--train.order", "easy_first")
    assert "train.order = easy_first needs data.0.difficulty" in said


def test_a_test_set_that_was_trained_on_is_refused(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model)
    said = fault(capsys, 3, "train", recipe, "--out", tmp_path / "run", "--test.0.annotations", world / "train.jsonl")
    assert "3 sample ids" in said and "videos" in said and "train.allow_overlap = true" in said


def test_the_same_video_under_another_name_is_refused_and_may_be_allowed(world, model, tmp_path, capsys):
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()][:3]
    copies = tmp_path / "copies"
    copies.mkdir()
    for number, row in enumerate(rows):
        shutil.copy(world / "videos" / row["video"], copies / f"other{number}.mp4")
        row |= {"id": f"other/{number}", "video": f"other{number}.mp4"}
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tiny_recipe(tmp_path, world, model)
    options = ["--test.0.annotations", tmp_path / "test.jsonl", "--test.0.videos", copies]
    said = fault(capsys, 3, "train", recipe, "--out", tmp_path / "run", *options)
    assert "videos under other names" in said
    code, _, err = ran(capsys, "train", recipe, "--out", tmp_path / "run", *options, "--train.allow-overlap")
    assert code == 0, err
    assert "their figures say little" in err
