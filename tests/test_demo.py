"""The demo at a small size: it runs end to end, what it writes is whole, and a second run in its folder goes on, not over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.command_line import ran
from transformers import AutoModelForImageTextToText, AutoProcessor

from videochat_r1.config import read_recipe
from videochat_r1.datasets.base import read_samples
from videochat_r1.demo import HARDER, Size, run_demo
from videochat_r1.small import SMALL_MODEL

OUT = Path("runs/demo")  # relative, as the command's default is
SMALL = Size(train=(("temporal_grounding", 8), ("tracking", 8), ("description", 4)), test=4, harder=2, steps=2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    place = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run_demo(OUT, seed=3, size=SMALL)
    return place / OUT


def test_the_report_holds_every_model_level_and_baseline(demo):
    report = json.loads((demo / "report.json").read_text())
    assert set(report["results"]) == {"base", "sft", "rft"}
    assert set(report["levels"]) == set(HARDER)
    for model in report["results"].values():
        assert set(model) == {"temporal_grounding", "tracking", "description"}
        assert model["temporal_grounding"]["n"] == 4
        low, high = model["temporal_grounding"]["mIoU_ci95"]
        assert low <= model["temporal_grounding"]["mIoU"] <= high
    assert {"whole_video", "constant"} <= set(report["baselines"]["temporal_grounding"])
    assert "lazy by design" in (demo / "report.md").read_text()
    for name in (
        "report.html",
        "recipe.toml",
        "metrics.jsonl",
        "rollouts.jsonl",
        "policy/model.safetensors",
        "sft/policy/model.safetensors",
    ):
        assert (demo / name).stat().st_size > 0, name


def test_the_tuned_policy_is_an_ordinary_folder_that_differs_from_the_base(demo):
    tuned = AutoModelForImageTextToText.from_pretrained(demo / "policy")
    base = AutoModelForImageTextToText.from_pretrained(SMALL_MODEL)
    assert (
        AutoProcessor.from_pretrained(demo / "policy").tokenizer.get_vocab()
        == AutoProcessor.from_pretrained(SMALL_MODEL).tokenizer.get_vocab()
    )
    changed = [name for name, weight in tuned.state_dict().items() if not torch.equal(weight, base.state_dict()[name])]
    assert changed
    assert not any("visual" in name for name in changed), "the vision tower is frozen"


def test_a_second_run_in_the_folder_goes_on(demo, monkeypatch):
    monkeypatch.chdir(demo.parents[1])
    before = (demo / "metrics.jsonl").read_bytes(), (demo / "policy/model.safetensors").read_bytes()
    results = untimed(demo)
    run_demo(OUT, seed=3, size=SMALL)
    assert ((demo / "metrics.jsonl").read_bytes(), (demo / "policy/model.safetensors").read_bytes()) == before
    assert untimed(demo) == results


def test_a_run_that_was_moved_as_a_whole_is_still_reported(demo, tmp_path, capsys):
    shutil.copytree(demo, tmp_path / "moved")
    for name in ("recipe.toml", "sft/recipe.toml"):
        recipe = read_recipe(tmp_path / "moved" / name)
        assert recipe.data[0].annotations == str(tmp_path / "moved" / "world" / "train.jsonl")
        assert recipe.test[0].videos == str(tmp_path / "moved" / "world" / "videos")
        assert read_samples(recipe.test[0]).samples
    code, printed, err = ran(capsys, "report", tmp_path / "moved", "--out", tmp_path / "again")
    assert code == 0, err
    again, first = untimed(tmp_path / "again"), untimed(demo)
    assert again.keys() == first.keys()
    for model, tasks in again.items():
        for task, figures in tasks.items():
            assert figures["n"] == 4 and figures.items() <= first[model][task].items(), (model, task)


def untimed(demo):
    """The report's results without the seconds that answers took."""
    results = json.loads((demo / "report.json").read_text())["results"]
    return {
        model: {task: {k: v for k, v in own.items() if k != "seconds"} for task, own in tasks.items()} for model, tasks in results.items()
    }
