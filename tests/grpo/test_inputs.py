"""What a run reads beside its recipe and rows: known again by content, and told where it is another."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
from tests.grpo.small_run import letters

from videochat_r1.errors import UsageError
from videochat_r1.evaluation import answer_cache
from videochat_r1.grpo.inputs import INPUTS, differences, inputs_of, keep_inputs, kept_inputs, require_same_inputs


@pytest.fixture
def place(tmp_path):
    """A model of one small file, a task's file, a data set's, and two videos."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "videos").mkdir()
    for name in ("0.mp4", "1.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"film")
    for name in ("task.py", "tested.py"):
        (tmp_path / name).write_text("TASK = 1")
    return tmp_path


def named(place):
    return {
        "data.0.name": "jsonl",
        "data.0.task": str(place / "task.py"),
        "test.0.task": str(place / "tested.py"),
        "rollout.engine": "native",
    }


def found_in(place):
    samples = [replace(sample, video=str(place / "videos" / f"{index}.mp4")) for index, sample in enumerate(letters(2))]
    return inputs_of(str(place / "model"), named(place), {"data.0": (str(place / "videos"), samples)})


def told(place, then):
    return [(each.what, each.is_refused) for each in differences(then, found_in(place), {**named(place), "policy.path": "model"})]


def test_the_same_content_is_known_again_wherever_and_whenever_it_was_copied(place, tmp_path_factory):
    keep_inputs(place, found_in(place))
    moved = tmp_path_factory.mktemp("moved") / "all"
    shutil.copytree(place, moved)
    for path in moved.rglob("*.*"):
        os.utime(path, (1, 1))
    assert kept_inputs(place) == found_in(place) == found_in(moved)
    assert told(moved, kept_inputs(place)) == []


def test_each_other_content_is_told(place):
    then = found_in(place)
    (place / "model" / "model.safetensors").write_bytes(b"Weights")
    (place / "videos" / "1.mp4").write_bytes(b"another film")
    for name in ("task.py", "tested.py"):
        (place / name).write_text("TASK = 2")
    assert told(place, then) == [
        (f"data.0.task: {place / 'task.py'} was edited", True),
        ("data.0.videos: 1 of 2 files have another size, the first: 1.mp4", True),
        ("policy.path: model holds another model", True),
        (f"test.0.task: {place / 'tested.py'} was edited", False),
    ]
    found = differences(then, found_in(place), {**named(place), "policy.path": "model"})
    with pytest.raises(UsageError, match=r"was edited\n(.*\n)+Put back .*--resume-anyway"):
        require_same_inputs(found, anyway=False)
    require_same_inputs(found, anyway=True)
    require_same_inputs(found[-1:], anyway=False)


def test_a_large_model_is_read_in_parts(place, monkeypatch):
    monkeypatch.setattr(answer_cache, "WHOLE_BYTES", 4)
    monkeypatch.setattr(answer_cache, "BLOCK_BYTES", 1)
    then = found_in(place)
    (place / "model" / "model.safetensors").write_bytes(b"weightS")
    assert told(place, then) == [("policy.path: model holds another model", True)]


def test_a_run_of_an_earlier_version_has_none_and_damage_is_said(place, caplog):
    assert kept_inputs(place) is None and not caplog.records
    (place / INPUTS).write_text("{}")
    assert kept_inputs(place) is None
    assert "damaged" in caplog.text
