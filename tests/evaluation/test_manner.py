"""How a policy wants to be asked, by its name or folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from videochat_r1.config import read_recipe
from videochat_r1.errors import UsageError
from videochat_r1.evaluation.manner import manner_of, settled, told, with_manner
from videochat_r1.rollout.base import RolloutConfig
from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO
from videochat_r1.tasks.base import Asking
from videochat_r1.video.sampling import VideoConfig


@pytest.mark.parametrize("name", ["small", str(SMALL_MODEL)])
def test_the_built_in_model_is_asked_as_it_was_trained(name):
    manner = manner_of(name)
    assert manner.path == str(SMALL_MODEL)
    assert with_manner(VideoConfig(), manner.sections["video"]) == SMALL_VIDEO
    assert with_manner(Asking(), manner.sections["asking"]) == Asking(order="video_first")
    line = told(manner, {"video": VideoConfig(), "asking": Asking(), "rollout": RolloutConfig()})
    assert "built-in model" in line and "asking.order video_first" in line and "fps" not in line, "what is the default is not told"


@pytest.mark.parametrize(
    "name, thinking, order, prompts, reading",
    [
        ("OpenGVLab/VideoChat-R1_7B", False, "text_first", "released_evaluation", "released_evaluation"),
        ("OpenGVLab/VideoChat-R1-thinking_7B", True, "text_first", "released_evaluation", "released_evaluation"),
        ("OpenGVLab/VideoChat-R1_5-7B", False, "video_first", "r1_5", "strict"),
    ],
)
def test_released_checkpoints_get_their_prompts(name, thinking, order, prompts, reading):
    asking = with_manner(Asking(), manner_of(name).sections["asking"])
    assert asking == Asking(thinking=thinking, order=order, prompts=prompts, reading=reading)


def test_a_folder_of_a_release_is_known_by_its_name_and_any_other_by_nothing(tmp_path):
    (tmp_path / "VideoChat-R1_7B").mkdir()
    assert manner_of(str(tmp_path / "VideoChat-R1_7B")).sections["asking"]["reading"] == "released_evaluation"
    (tmp_path / "mine").mkdir()
    assert manner_of(str(tmp_path / "mine")).sections == {}
    assert manner_of("Qwen/Qwen2.5-VL-7B-Instruct").sections == {}


def test_an_empty_name_is_no_policy():
    with pytest.raises(UsageError, match="name is empty"):
        manner_of(" ")


def test_the_command_line_goes_first_and_what_does_not_fit_is_said():
    given = VideoConfig(min_frames=10)
    assert with_manner(given, {"max_frames": 12}).min_frames == 10
    with pytest.raises(UsageError, match="min_frames"):
        with_manner(given, {"max_frames": 8})


def test_a_recipe_may_name_the_built_in_model(tmp_path):
    (tmp_path / "r.toml").write_text('[policy]\npath = "small"\n[[data]]\nname = "jsonl"\nannotations = "a.jsonl"\n')
    assert read_recipe(tmp_path / "r.toml").policy.path == str(SMALL_MODEL)
    (tmp_path / "small").mkdir()
    assert read_recipe(tmp_path / "r.toml").policy.path == str(tmp_path / "small"), "a folder of that name goes first"


@pytest.mark.parametrize("made", [Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["a folder", "a link to nothing"])
def test_how_a_policy_was_asked_is_not_passed_over_where_it_is_no_file(tmp_path, made):
    made(tmp_path / "asked.toml")
    with pytest.raises(UsageError, match=r"asked\.toml' cannot be read: .*\n.*remove the file, and say on the command line how to ask"):
        manner_of(str(tmp_path))


def test_an_adapter_over_another_base_than_it_was_trained_on_is_told(tmp_path):
    from videochat_r1.evaluation.answer_cache import base_digest

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
    (base / "model.safetensors").write_bytes(b"weights")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    asked = "[video]\n[asking]\n[rollout]\n"
    (adapter / "asked.toml").write_text(f'{asked}[base]\ndigest = "{base_digest(adapter)}"\n')
    given = {"video": VideoConfig(), "asking": Asking(), "rollout": RolloutConfig()}
    lines = []
    settled(str(adapter), given, lines.append)
    assert lines == []
    (base / "model.safetensors").write_bytes(b"Weights")
    settled(str(adapter), given, lines.append)
    assert lines == [f"{base} is another model than the adapter {adapter} was trained on: its answers are not the trained policy's."]
    (adapter / "asked.toml").write_text(asked)  # of an earlier version
    settled(str(adapter), given, lines.append)
    shutil.rmtree(base)  # loading it will tell
    settled(str(adapter), given, lines.append)
    assert len(lines) == 1
