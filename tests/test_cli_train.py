"""train and evaluate from the command line, on a tiny random model and a tiny drawn world."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import pytest
from tests.command_line import DATA, ROOT, TINY_VIDEO, fault, ran, ran_json, saved_tiny_model, tiny_recipe
from transformers.utils import logging as transformers_logging

from videochat_r1.config import read_recipe
from videochat_r1.errors import UsageError
from videochat_r1.evaluation.answer_cache import base_digest
from videochat_r1.evaluation.manner import manner_of
from videochat_r1.grpo.log import read_rows
from videochat_r1.policy.released import CONFIGS

RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
VIDEO = [part for name, value in TINY_VIDEO.items() for part in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture(autouse=True)
def bars_as_before():
    verbosity = transformers_logging.get_verbosity()
    yield
    transformers_logging.set_verbosity(verbosity)
    transformers_logging.enable_progress_bar()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, world, model):
    """A finished run of two steps."""
    from videochat_r1.cli import main

    folder = tmp_path_factory.mktemp("trained")
    recipe = tiny_recipe(folder, world, model)
    assert main(["train", str(recipe), "--out", str(folder / "run")]) == 0
    return recipe, folder / "run"


def test_a_run_leaves_recipe_metrics_policy_and_report(trained):
    recipe, run = trained
    names = {path.name for path in run.iterdir()}
    assert {"recipe.toml", "metrics.jsonl", "rollouts.jsonl", "checkpoints", "policy", "report.md", "report.html", "report.json"} <= names
    assert read_recipe(run / "recipe.toml") == read_recipe(recipe)
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == [1, 2]
    report = json.loads((run / "report.json").read_text())
    assert set(report["results"]) == {"base", "rft"} and report["n"] == 3
    assert set(report["baselines"]) == set(report["results"]["base"]) == set(report["results"]["rft"])
    assert (run / "policy" / "adapter_model.safetensors").is_file()
    assert len(list((run / "figures").glob("*.png"))) >= 1


def test_a_policy_carried_out_of_its_run_is_asked_as_it_was_taught(trained, tmp_path):
    _, run = trained
    own = manner_of(str(run / "policy"))
    shutil.copytree(run / "policy", tmp_path / "mine")
    carried = manner_of(str(tmp_path / "mine"))
    assert carried.said.endswith("asked.toml") and carried.path == str(tmp_path / "mine")
    assert carried.sections == own.sections
    assert tomllib.loads((run / "policy" / "asked.toml").read_text())["base"]["digest"] == base_digest(run / "policy") != ""
    assert own.sections["rollout"] == {"max_tokens": read_recipe(run / "recipe.toml").rollout.max_tokens}
    text = (tmp_path / "mine" / "asked.toml").read_text()
    for harm in ("[vide", text + "\nfps = 3", text.replace("[video]", "[clip]"), text.replace("fps = ", 'fps = "many" #')):
        (tmp_path / "mine" / "asked.toml").write_text(harm)
        with pytest.raises(UsageError, match=r"asked\.toml"):
            manner_of(str(tmp_path / "mine"))


def test_a_recipe_that_asks_the_small_model_otherwise_is_told(tmp_path):
    from videochat_r1.commands.train import _asked_otherwise
    from videochat_r1.demo import demo_recipe
    from videochat_r1.policy.config import PolicyConfig
    from videochat_r1.tasks.base import Asking

    taught = demo_recipe(tmp_path, seed=0, steps=2)
    other = taught.model_copy(update={"asking": Asking(order="text_first")})
    assert _asked_otherwise(taught) == ""
    assert _asked_otherwise(other).endswith("this recipe asks otherwise: there it is asking.order = video_first.")
    assert _asked_otherwise(other.model_copy(update={"policy": PolicyConfig(path="Qwen/Qwen2.5-VL-7B-Instruct")})) == ""
    released = other.model_copy(update={"policy": PolicyConfig(path="OpenGVLab/VideoChat-R1-thinking_7B"), "asking": Asking()})
    assert _asked_otherwise(released).endswith("there it is asking.thinking = True."), "how a release is judged is not how it was taught"


def test_a_second_run_in_the_same_folder_is_refused(trained, capsys):
    recipe, run = trained
    assert "already holds a run" in fault(capsys, 2, "train", recipe, "--out", run)


def test_a_changed_recipe_is_shown_and_refused_before_the_model_is_loaded(trained, capsys):
    recipe, run = trained
    started = time.perf_counter()
    code, out, err = ran(capsys, "train", recipe, "--out", run, "--resume", "--grpo.group-size", 3, "--train.lr", 0.5)
    assert (code, out) == (2, "") and time.perf_counter() - started < 2.0
    assert "grpo.group_size: 2 -> 3" in err and "train.lr: 0.001 -> 0.5" in err and "--resume-anyway" in err


def test_a_run_goes_on_with_resume(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model, steps=1)
    run = tmp_path / "run"
    assert ran(capsys, "train", recipe, "--out", run)[0] == 0
    asked = (run / "evaluation" / "base.predictions.jsonl").stat().st_mtime_ns
    code, _, err = ran(capsys, "train", recipe, "--out", run, "--resume", "--train.steps", 2)
    assert code == 0, err
    assert "train.steps: 1 -> 2" in err
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == [1, 2]
    assert (run / "evaluation" / "base.predictions.jsonl").stat().st_mtime_ns == asked  # the base is asked once
    written = (run / "recipe.toml").read_bytes()
    for late in (("--train.steps", 1), ("--train.steps", 2, "--train.lr", 0.5)):  # what no step would follow
        code, _, err = ran(capsys, "train", recipe, "--out", run, "--resume", *late)
        assert code == 2 and "2 steps" in err and (run / "recipe.toml").read_bytes() == written, err
    assert ran(capsys, "train", recipe, "--out", run, "--resume-anyway", "--train.steps", 3, "--grpo.group-size", 3)[0] == 0


OWN_TASK = """
from dataclasses import replace
from videochat_r1.tasks.temporal_grounding import TASK as GROUNDING
TASK = replace(GROUNDING, rewards={"always": lambda reading, sample, asking: 1.0})
"""


def test_what_lies_at_a_path_of_the_recipe_must_stay_the_same(world, model, tmp_path, capsys):
    for folder in (world, model):
        shutil.copytree(folder, tmp_path / folder.name)
    task = tmp_path / "own.py"
    task.write_text(OWN_TASK)
    recipe = tiny_recipe(tmp_path, tmp_path / world.name, tmp_path / model.name, steps=1)
    recipe.write_text(recipe.read_text().replace("limit = 3", f'limit = 3\ntask = "{task}"', 1))
    run = tmp_path / "run"
    assert ran(capsys, "train", recipe, "--out", run)[0] == 0
    again = ("train", recipe, "--out", run, "--train.steps", 2)
    weights = tmp_path / model.name / "model.safetensors"
    film = tmp_path / world.name / "videos" / next(iter(json.loads((run / "inputs.json").read_text())["videos"]["data.0"]))
    for path, said in ((weights, f"policy.path: {weights.parent}"), (task, f"data.0.task: {task}"), (film, "another size")):
        before = path.read_bytes()
        path.write_bytes(saved_tiny_model_bytes(tmp_path) if path == weights else before + b"\n")
        code, out, err = ran(capsys, *again, "--resume")
        assert (code, out) == (2, "") and said in err and "--resume-anyway" in err, err
        assert len(read_rows(run / "metrics.jsonl")) == 1
        if path != task:
            path.write_bytes(before)
    code, _, err = ran(capsys, *again, "--resume-anyway", "--grpo.group-size", 3)
    assert code == 0 and "own.py was edited" in err
    assert err.count("Changed on resume: data.0.task") == err.count("Changed on resume: grpo.group_size") == 1, err
    (run / "inputs.json").unlink()  # as a run of an earlier version
    assert ran(capsys, *again[:-1], 3, "--resume", "--grpo.group-size", 3)[0] == 0
    assert (run / "inputs.json").is_file()


def test_a_project_that_is_moved_as_a_whole_goes_on(world, model, tmp_path, capsys):
    project = tmp_path / "before"
    project.mkdir()
    for folder, name in ((world, "world"), (model, "model")):
        shutil.copytree(folder, project / name)
    recipe = tiny_recipe(project, project / "world", project / "model", steps=1)
    recipe.write_text(recipe.read_text().replace(f"{project}/", ""))
    assert ran(capsys, "train", recipe, "--out", project / "run")[0] == 0
    asked = (project / "run" / "evaluation" / "base.predictions.jsonl").stat().st_mtime_ns
    moved = project.rename(tmp_path / "after")
    again = ("train", moved / "tiny.toml", "--out", moved / "run", "--resume", "--train.steps")
    code, _, err = ran(capsys, *again, 2)
    assert code == 0 and err.count(f"Changed on resume: data.0.videos: '{project}/world/videos' -> '{moved}/world/videos'") == 1, err
    assert (moved / "run" / "evaluation" / "base.predictions.jsonl").stat().st_mtime_ns == asked
    rows = (moved / "world" / "train.jsonl").read_text()
    (moved / "other.jsonl").write_text("\n".join(reversed(rows.splitlines())))
    code, _, err = ran(capsys, *again, 3, "--data.0.annotations", moved / "other.jsonl")
    assert code == 2 and "data.0.annotations" in err, err


def saved_tiny_model_bytes(folder):
    """The weights of another tiny model of the same shapes."""
    from safetensors.torch import load_file, save

    weights = load_file(next(iter(folder.glob("model*/model.safetensors"))))
    return save({name: weight + 0.01 for name, weight in weights.items()}, metadata={"format": "pt"})


def test_sft_on_the_same_samples(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model, steps=1, method='"sft"')
    code, out, err = ran(capsys, "train", recipe, "--out", tmp_path / "run", "--policy.lora-rank", 0)
    assert code == 0, err
    assert set(json.loads((tmp_path / "run" / "report.json").read_text())["results"]) == {"base", "sft"}


def test_a_run_takes_an_unstated_duration_from_the_video_and_tells_a_wrong_one_from_a_broken_video(trained, world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model, method='"sft"')
    for split, said in (("train", {"duration_s": 80.0}), ("test", {})):
        rows = [json.loads(line) for line in (world / f"{split}.jsonl").read_text().splitlines()]
        rows = [{name: value for name, value in row.items() if name != "duration_s"} | said for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe.write_text(recipe.read_text().replace(str(world / f"{split}.jsonl"), str(tmp_path / f"{split}.jsonl")))
    code, _, err = ran(capsys, "train", recipe, "--train.steps", 1, "--out", tmp_path / "run")
    assert code == 0 and "without duration_s" not in err and "could not be used" not in err, err
    stated, found = (json.loads((run / "report.json").read_text())["baselines"] for run in (trained[1], tmp_path / "run"))
    assert found["temporal_grounding"]["whole_video"] == stated["temporal_grounding"]["whole_video"]
    [told] = [line for line in err.splitlines() if line.startswith("Videos that were used, though not as stated: duration_mismatch x ")]
    assert told.endswith(f"; listed in {tmp_path / 'run' / 'quarantine.jsonl'}.")


def test_without_a_test_set_a_run_only_trains(world, model, tmp_path, capsys, monkeypatch):
    recipe = tiny_recipe(tmp_path, world, model, steps=1)
    text = recipe.read_text()
    recipe.write_text(text[: text.index("[[test]]")] + text[text.index("[video]") :])
    monkeypatch.chdir(tmp_path)
    code, out, err = ran(capsys, "train", recipe)
    assert code == 0 and "no report" in out, err
    assert (tmp_path / "runs" / "tiny" / "policy").is_dir()


def test_ctrl_c_ends_with_5_and_the_run_goes_on(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model, steps=400)
    run = tmp_path / "run"
    command = [sys.executable, "-m", "videochat_r1.cli", "train", str(recipe), "--out", str(run)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "--resume" in err and "Traceback" not in err
    steps = len(read_rows(run / "metrics.jsonl"))
    assert 1 <= steps < 400
    code, _, err = ran(capsys, "train", recipe, "--out", run, "--resume", "--train.steps", steps + 1)
    assert code == 0, err
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == list(range(1, steps + 2))


@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-", "2>&1 | head -c 1"])
def test_a_run_outlives_whoever_reads_its_progress(world, model, tmp_path, redirect):
    recipe = tiny_recipe(tmp_path, world, model, steps=2)
    command = f"{sys.executable} -m videochat_r1.cli train {recipe} --out {tmp_path / 'run'} {redirect}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode in (0, 141)  # 141: the last words went to the closed pipe too
    assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 2 and (tmp_path / "run" / "policy").is_dir()


@pytest.mark.parametrize("name, said", [("answers.jsonl", "an evaluation"), ("model.safetensors", "a model")])
def test_a_run_is_kept_apart_from_evaluations_and_models(world, model, tmp_path, capsys, name, said):
    recipe = tiny_recipe(tmp_path, world, model)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / name).write_text('{"key":"0"}')
    assert f"is the folder of {said}" in fault(capsys, 2, "train", recipe, "--out", tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [name]


def test_an_empty_recipe_name_is_said(capsys):
    assert "name is empty" in fault(capsys, 2, "train", "")


def test_a_mistyped_folder_is_not_gone_on_with(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model)
    (tmp_path / "long-run").mkdir()
    said = fault(capsys, 2, "train", recipe, "--out", tmp_path / "long-rnu", "--resume")
    assert "no run folder" in said and f"Did you mean {tmp_path / 'long-run'}?" in said
    assert not (tmp_path / "long-rnu").exists()


def test_ctrl_c_before_the_first_step_ends_with_5(world, model, tmp_path, capsys, monkeypatch):
    from videochat_r1.commands import train

    def stopped(recipe):
        os.kill(os.getpid(), signal.SIGTERM)  # does what Ctrl-C does

    monkeypatch.setattr(train, "load", stopped)
    assert "--resume" in fault(capsys, 5, "train", tiny_recipe(tmp_path, world, model), "--out", tmp_path / "run")
    assert (tmp_path / "run").exists()  # or there would be nothing to go on with


def test_faults_of_model_and_data_end_before_any_step(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model)
    fault(capsys, 2, "train", recipe, "--out", tmp_path / "a", "--policy.path", "./nothing")
    fault(capsys, 3, "train", recipe, "--out", tmp_path / "b", "--data.0.annotations", "nothing.jsonl")
    fault(capsys, 2, "train", recipe, "--out", tmp_path / "c", "--policy.lora-targets", "q_prj")
    fault(capsys, 2, "train", recipe, "--tokenizer", tmp_path)
    assert "scripted needs more" in fault(capsys, 2, "train", recipe, "--out", tmp_path / "d", "--rollout.engine", "scripted")
    assert ran(capsys, "train", recipe, "--out", tmp_path / "a")[0] == 0  # the fault is mended: the folder is no run's


def test_the_base_answers_of_another_recipe_are_not_taken(world, model, tmp_path, capsys, monkeypatch):
    from videochat_r1.commands import train

    def stopped(*_, **__):
        raise KeyboardInterrupt

    asked = []
    answers = train.answers
    monkeypatch.setattr(train, "answers", lambda *given: asked.append(given[-1]) or answers(*given))
    monkeypatch.setattr(train, "run_steps", stopped)
    recipe = tiny_recipe(tmp_path, world, model)
    for given in ((), (), ("--rollout.max-tokens", 5)):  # the second start has the same recipe: its base answers are there
        assert ran(capsys, "train", recipe, "--out", tmp_path / "run", *given)[0] == 5
    assert asked == ["base", "base"]


def test_evaluate_writes_what_score_reads(world, model, tmp_path, capsys):
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl")
    options = [*VIDEO, "--rollout.max-tokens", 6, "--device", "cpu", "--resamples", 50]
    found = ran_json(capsys, "evaluate", "--policy", model, *where, "--videos", world / "videos", "--out", tmp_path, *options)
    tasks = [name for name in found if name != "baselines"]
    assert len(tasks) >= 2 and set(found["baselines"]) == set(tasks)
    for name in tasks:
        assert {figures["n"] for figures in found["baselines"][name].values()} == {found[name]["n"]}
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["results"] == {name: found[name] for name in tasks}
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [set(row) for row in rows] == [{"id", "task", "video", "sample", "reason", "format", "rewards", "metrics"}] * written["n"]
    scored = ran_json(capsys, "score", tmp_path / "predictions.jsonl", *where, "--resamples", 0)
    for name in tasks:
        assert {key: scored[name][key] for key in ("n", "unparsed")} == {key: found[name][key] for key in ("n", "unparsed")}


def test_a_video_that_is_not_there_is_answered_wrongly_and_counted(model, world, tmp_path, capsys):
    rows = [json.loads(line) for line in (world / "test.jsonl").read_text().splitlines()]
    lost = rows[0]["video"]
    shutil.copytree(world / "videos", tmp_path / "videos")
    (tmp_path / "videos" / lost).unlink()
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl", "--videos", tmp_path / "videos", *VIDEO)
    asked = ("evaluate", "--policy", model, *where, "--rollout.max-tokens", 4, "--resamples", 0, "--out", tmp_path / "out", "--json")
    code, out, err = ran(capsys, *asked, "--missing-limit", 1)
    assert code == 0 and "rows counted as answered wrongly" in err
    found = {name: figures for name, figures in json.loads(out).items() if name != "baselines"}
    assert sum(figures["n"] for figures in found.values()) == len(rows)
    assert sum(figures["unreadable_videos"] for figures in found.values()) == sum(row["video"] == lost for row in rows)
    assert fault(capsys, 3, *asked, "--on-missing", "stop")


def test_where_answers_cannot_be_kept_is_said_before_any_is_given(model, world, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl", "--out", tmp_path / "file" / "x")
    assert "cannot be made" in fault(capsys, 4, "evaluate", "--policy", "/none", *where)


def test_what_fits_the_constant_answers_is_read_before_any_is_given(world, tmp_path, capsys):
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl", "--videos", world / "videos")
    said = fault(capsys, 3, "evaluate", "--policy", tmp_path / "no model", *where, "--train", tmp_path / "nowhere.jsonl")
    assert "nowhere.jsonl" in said


def test_evaluate_takes_the_adapter_that_train_left(trained, world, capsys):
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl", "--videos", world / "videos", "--limit", 1)
    code, out, err = ran(capsys, "evaluate", "--policy", trained[1] / "policy", *where, *VIDEO, "--rollout.max-tokens", 4)
    assert code == 0 and "policy" in out, err


def test_evaluate_without_its_videos_ends_with_3(model, world, capsys):
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl")
    code, out, err = ran(capsys, "evaluate", "--policy", model, *where, *VIDEO)
    assert (code, out) == (3, "") and "--videos" in err and "is there" in err


def test_videos_that_are_there_and_broken_are_told_from_missing_ones(model, world, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    rows = [json.loads(line) for line in (world / "test.jsonl").read_text().splitlines()]
    for row in rows:
        (tmp_path / "videos" / row["video"]).write_bytes(b"no film" * 9)
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl", "--videos", tmp_path / "videos", "--policy", model, "--limit", 1)
    asked = ("evaluate", *where, *VIDEO, "--out", tmp_path / "out")
    for words in (asked, asked, ("data", "difficulty", *where, *VIDEO, "--out", tmp_path / "rows.jsonl")):  # the second is of the cache
        code, out, err = ran(capsys, *words)
        assert (code, out) == (3, "") and "there but broken: 1)" in err and f"{rows[0]['video']} is not an mp4" in err
        assert "Fetch the file again" in err and "--videos" not in err


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_runs_dry(path, capsys):
    options = []
    recipe = read_recipe(path)
    if recipe.policy.path not in CONFIGS:
        options = ["--policy.path", "Qwen/Qwen3-VL-4B-Instruct"]
    code, out, err = ran(capsys, "train", path, "--dry-run", *options)
    assert code == 0, err
    for part in ("# the recipe, resolved", "# the samples", "<|im_start|>user", "<|video_pad|>", "# tokens", "activations", "GiB"):
        assert part in out
    assert (recipe.grpo.group_size, recipe.rollout.temperature) == (8, 1.0) or path.stem == "real_clips"


STOPS = {
    "an overlap": (3, lambda world: ("--test.0.annotations", world / "train.jsonl"), "sample ids"),
    "a prompt that is too long": (
        3,
        lambda world: ("--video.min-pixels", 9**7, "--video.max-pixels", 9**7, "--video.total-pixels", 9**11),
        "the model takes",
    ),
    "completions that are too long": (2, lambda world: ("--rollout.max-tokens", 500_000), "rollout.max_tokens is 500,000"),
}


@pytest.mark.parametrize("code, given, said", STOPS.values(), ids=STOPS)
def test_a_dry_run_ends_as_the_run_would(world, model, tmp_path, capsys, code, given, said):
    recipe = tiny_recipe(tmp_path, world, model)
    found, out, dry = ran(capsys, "train", recipe, "--dry-run", *given(world))
    assert found == code and said in dry and len(dry.splitlines()) == 2
    assert ("A dry run:" in out) == (code == 3), "all is shown that could be told"
    found, _, err = ran(capsys, "train", recipe, "--out", tmp_path / "run", *given(world))
    assert found == code and err.endswith(dry)


def test_a_dry_run_ends_as_the_run_would_on_a_broken_list(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model)
    (tmp_path / "broken.jsonl").write_text("[")
    for table in ("data", "test"):
        given = (f"--{table}.0.annotations", tmp_path / "broken.jsonl")
        code, _, dry = ran(capsys, "train", recipe, "--dry-run", *given)
        found, _, err = ran(capsys, "train", recipe, "--out", tmp_path / table, *given)
        assert code == found == 3 and err.splitlines()[-1] == dry.splitlines()[-1]


def test_a_dry_run_reads_the_test_sets_too(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model)
    code, out, err = ran(capsys, "train", recipe, "--dry-run")
    assert code == 0 and "test.0 (jsonl): " in out and "test: 3 prompts of" in out
    code, out, err = ran(capsys, "train", recipe, "--dry-run", "--test.0.annotations", tmp_path / "nowhere.jsonl")
    assert code == 0 and "test.0 (jsonl) was not read, a run would stop here" in err
    code, out, err = ran(capsys, "train", recipe, "--dry-run", "--rollout.max-tokens", 4090)
    assert code == 0 and "The longest prompt and rollout.max_tokens are" in out


def test_a_dry_run_writes_nothing_and_loads_no_weights(world, tmp_path, capsys):
    model = saved_tiny_model(tmp_path / "model")
    (model / "model.safetensors").unlink()
    recipe = tiny_recipe(tmp_path, world, model)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = ran(capsys, "train", recipe, "--dry-run", "--out", tmp_path / "run")
    assert code == 0, err
    assert sorted(tmp_path.rglob("*")) == before
    assert "3 prompts of" in out and "2 steps of 2 prompts x 2 completions" in out
    assert "tokenizer of its own" in fault_after_output(capsys, "train", recipe, "--dry-run", "--tokenizer", tmp_path)


def test_a_dry_run_without_its_data_says_so_beside_the_output(world, model, tmp_path, capsys):
    recipe = tiny_recipe(tmp_path, world, model)
    code, out, err = ran(capsys, "train", recipe, "--dry-run", "--data.0.annotations", tmp_path / "nowhere.jsonl")
    assert code == 0 and "activations" in out
    [line] = [line for line in err.splitlines() if "nowhere.jsonl" in line]
    assert line.startswith("data.0 (jsonl) was not read")


@pytest.mark.parametrize("table", ["data", "test"])
def test_a_dry_run_without_its_videos_says_so_beside_the_output(world, model, tmp_path, capsys, table):
    recipe = tiny_recipe(tmp_path, world, model)
    code, out, err = ran(capsys, "train", recipe, "--dry-run", f"--{table}.0.videos", tmp_path / "nowhere")
    assert code == 0 and "activations" in out
    assert f"{table}.0 (jsonl): a run would stop here, no folder {tmp_path / 'nowhere'}" in err
    recipe.write_text("".join(line for line in recipe.read_text().splitlines(keepends=True) if not line.startswith("videos")))
    code, out, err = ran(capsys, "train", recipe, "--dry-run")
    assert code == 0 and f"{table}.0 (jsonl): a run would stop here, no videos named" in err
    code, out, err = ran(capsys, "train", "--help")
    assert "0 where annotations or videos are not there yet" in " ".join(out.split())


def fault_after_output(capsys, *tokens):
    code, _, err = ran(capsys, *tokens)
    assert code == 2
    return err


@pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data beside the repository")
def test_a_dry_run_counts_real_prompts_of_a_model_that_is_not_here(capsys):
    options = ["--tokenizer", DATA / "tokenizers/qwen2_5", "--data.0.annotations", DATA / "annotations/charades_sta/train.json"]
    code, out, err = ran(capsys, "train", ROOT / "recipes/paper_temporal_grounding.toml", "--dry-run", *options, "--data.0.limit", 800)
    assert code == 0, err
    assert "temporal_grounding 800" in out and "of 256 samples, evenly chosen: 256 prompts of 3," in out
    assert "100 steps of 8 prompts x 8 completions" in out


@pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data beside the repository")
def test_filmed_clips_with_their_real_annotations_end_to_end(model, tmp_path, capsys):
    sys.path.insert(0, str(ROOT / "recipes"))
    try:
        import real_clips
    finally:
        sys.path.pop(0)
    options = ["--out", str(tmp_path), "--policy.path", str(model), "--train.steps", "2", "--train.prompts-per-step", "2"]
    options += [
        "--rollout.max-tokens",
        "4",
        "--test.0.limit",
        "2",
        "--test.1.limit",
        "2",
        "--video.max-frames",
        "16",
        "--video.max-pixels",
        "1024",
    ]
    assert real_clips.run([str(DATA / "videos"), *options]) == 0, capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "data" / "car_train.jsonl").read_text().splitlines()]
    assert len(rows) == 10 and all(len(row["answer"]["boxes"]) == len(row["answer"]["times_s"]) == 8 for row in rows)
    assert all(0 <= side <= 1 for row in rows for box in row["answer"]["boxes"] for side in box)
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["results"]["rft"]) == {"temporal_grounding", "tracking"}
    assert all(figures["unreadable_videos"] == 0 for figures in report["results"]["rft"].values())
    assert real_clips.run([]) == 2
    assert real_clips.run([str(tmp_path / "none"), "--out", str(tmp_path / "other")]) == 3
    assert "none/otb_car4.boxes.json" in capsys.readouterr().err
