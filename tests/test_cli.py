"""The command line: help, faults, exit codes, and the commands that need no model."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.command_line import DATA, fault, ran, ran_json, tiny_recipe

from videochat_r1 import cli
from videochat_r1.cli import COMMANDS, main
from videochat_r1.counting import counted
from videochat_r1.errors import EnvironmentFault, NumericalStop
from videochat_r1.world.files import write_world

HEAVY = ("torch", "transformers", "numpy", "scipy", "matplotlib", "av", "rich", "peft")
SECONDS = 0.5


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, clips=8)
    return folder


def children_s():
    """Processor seconds of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_quick_and_loads_nothing_heavy(command):
    code = (
        "import sys; from videochat_r1.cli import main; code = main(sys.argv[1:]);"
        f"print(sorted(name for name in {HEAVY} if name in sys.modules), file=sys.stderr); sys.exit(code)"
    )
    took = []
    for _ in range(3):  # the quickest of three, in processor time: others may be at work on the machine
        started = children_s()
        done = subprocess.run([sys.executable, "-c", code, *command.split(), "--help"], capture_output=True, text=True)
        took.append(children_s() - started)
        assert (done.returncode, done.stderr.strip()) == (0, "[]")
        assert done.stdout.startswith("usage: videochat-r1")
        if took[-1] < SECONDS:
            return
    raise AssertionError(f"--help took {min(took):.2f} s")


def test_help_tells_a_commands_own_options_before_those_of_its_sections(capsys):
    for command in ("chat", "evaluate"):
        listed = [line.split()[0] for line in ran(capsys, command, "--help")[1].splitlines() if line.startswith("  --")]
        assert listed[-2:] == ["--debug", "--help"] and "--policy" in listed
        of_sections = [any(name.startswith(f"--{part}.") for part in ("asking", "video", "looks", "rollout")) for name in listed[:-2]]
        assert any(of_sections) and of_sections == sorted(of_sections), command


def test_help_of_train_lists_every_field_of_a_recipe(capsys):
    from videochat_r1 import checking
    from videochat_r1.config import Recipe

    code, out, _ = ran(capsys, "train", "--help")
    assert code == 0
    for path, _ in checking.fields_below(Recipe):
        assert "--" + checking.dotted(path).replace("_", "-") in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize(
    "tokens, said",
    [
        (["trian"], "Did you mean train?"),
        (["data"], "data check, data convert or data difficulty"),
        (["data", "chek"], "data check, data convert or data difficulty"),
        (["score", "p.jsonl", "--datset", "x"], "Did you mean --dataset?"),
        (["train", "r.toml", "--dry-runn"], "Did you mean --dry-run?"),
        (["train"], "RECIPE.toml is missing"),
        (["train", "a.toml", "b.toml"], "Not expected here: 'b.toml'"),
        (["train", "none.toml"], "cannot be read"),
        (["baselines", "--dataset", "charades_sta"], "--annotations is missing"),
        (["baselines", "--dataset", "charades", "--annotations", "x"], "Did you mean 'charades_sta'"),
        (["baselines", "--dataset", "jsonl", "--annotations", "x", "--limit", "few"], "--limit must be a whole number, at least 0"),
        (["baselines", "--dataset", "jsonl", "--annotations", "x", "--limit", "-1"], "--limit must be a whole number, at least 0"),
        (["baselines", "--dataset", "jsonl", "--annotations", "x", "--split", "tset"], "Did you mean test?"),
        (["baselines", "--dataset", "jsonl", "--annotations"], "--annotations needs a value"),
        (["baselines", "--dataset", "jsonl", "--dataset", "got10k"], "--dataset is given twice"),
        (["baselines", "--dataset", "jsonl", "--annotations", "x", "--on-defect.span_past_end", "swap"], "span_past_end can be"),
        (["baselines", "--dataset", "jsonl", "--annotations", "x", "--task", "tracing"], "tracking"),
        (["evaluate", "--policy", "x", "--max-tokens", "3"], "--video.max-tokens, --rollout.max-tokens"),
        (["evaluate", "--policy", "x", "--video.fsp", "3"], "--video.fps"),
        (["world", "--out", "w", "--levels", "hard"], "no level 'hard'"),
        (["world", "--clips", "3"], "--out is missing"),
        (["demo", "now"], "Not expected here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_refused_with_the_right_one(capsys, tokens, said):
    assert said in fault(capsys, 2, *tokens)


@pytest.mark.parametrize("command", ["baselines", "chat", "compare", "data difficulty", "demo", "evaluate", "score", "world"])
def test_a_negative_seed_is_refused_before_any_work(capsys, command):
    options = importlib.import_module(f"videochat_r1.commands.{command.replace(' ', '_')}").COMMAND.options
    needed = [(name, field) for name, field in options.model_fields.items() if field.is_required()]
    rest = [part for name, field in needed for part in (["x"] if field.json_schema_extra.get("positional") else [f"--{name}", "x"])]
    for seed in (-1, 2**63):
        said = fault(capsys, 2, *command.split(), *rest, "--seed", seed)
        assert said.startswith("--seed must be a whole number, at least 0, at most ") and f", not {seed}." in said


def test_a_negative_seed_among_several_is_refused_too(capsys, tmp_path):
    assert "a seed is at least 0" in fault(capsys, 2, "ablate", "--seeds", "0,-1", "--out", tmp_path / "out")


def test_data_faults_end_with_3(capsys, tmp_path):
    assert "none.jsonl" in fault(capsys, 3, "baselines", "--dataset", "jsonl", "--annotations", tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"id": "a"')
    fault(capsys, 3, "baselines", "--dataset", "jsonl", "--annotations", tmp_path / "bad.jsonl")


@pytest.mark.parametrize("content, said", [("[]", "holds no prediction"), ("", "the file is empty")])
def test_a_file_without_a_prediction_is_no_score(capsys, tmp_path, world, content, said):
    (tmp_path / "p.json").write_text(content)
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl")
    assert said in fault(capsys, 3, "score", tmp_path / "p.json", *where)


def test_samples_without_a_prediction_are_told_beside_the_table(capsys, tmp_path, world):
    first, second = [json.loads(line)["id"] for line in (world / "test.jsonl").read_text().splitlines()][:2]
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": first, "output": "x"}) + "\n")
    code, out, err = ran(capsys, "score", tmp_path / "p.jsonl", "--dataset", "jsonl", "--annotations", world / "test.jsonl", "--limit", 2)
    assert code == 0 and ", 1 sample\n" in out
    assert f"Without a prediction, and counted as wrong: 1 of 2 samples, {second!r} the first." in err


def test_a_task_without_trivial_answers_says_so(capsys, tmp_path):
    task = tmp_path / "bare.py"
    task.write_text(
        "from videochat_r1.tasks.base import Task\nfrom videochat_r1.types import Reading\n"
        "TASK = Task(ask=lambda s, a: 'How many?', read=lambda t, s, a: Reading(answer=None, reason='none', format_ok=True), "
        "write=lambda a, b: '', rewards={'format': lambda r, s, a: 1.0}, metrics={'all': lambda r, s: (1.0, 1.0)})\n"
    )
    (tmp_path / "one.jsonl").write_text('{"id": "a", "task": "video_qa", "video": "a.mp4", "question": "q", "answer": {"label": "3"}}\n')
    code, out, err = ran(capsys, "baselines", "--dataset", "jsonl", "--annotations", tmp_path / "one.jsonl", "--task", task)
    assert code == 0 and "1 sample: the task has no trivial answers" in out and "---" not in out, err


def test_one_is_not_told_as_many():
    assert [counted(count, "row") for count in (0, 1, 2, 1024)] == ["0 rows", "1 row", "2 rows", "1,024 rows"]
    assert [counted(count, "box", "boxes") for count in (1, 3)] == ["1 box", "3 boxes"]


def test_a_place_that_cannot_be_written_ends_with_4(capsys, tmp_path, world):
    (tmp_path / "file").write_text("")
    fault(capsys, 4, "world", "--out", tmp_path / "file", "--clips", 1)
    where = ("--dataset", "jsonl", "--annotations", world / "test.jsonl", "--out", tmp_path / "none" / "x.jsonl")
    fault(capsys, 4, "data", "convert", *where)


def test_convert_ends_no_device_and_no_pipe_and_follows_a_link(capsys, tmp_path, world):
    where = ("data", "convert", "--dataset", "jsonl", "--annotations", world / "test.jsonl", "--out")
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in fault(capsys, 4, *where, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo() and os.listdir(tmp_path) == ["pipe"]
    (tmp_path / "link").symlink_to("whole.jsonl")
    assert ran(capsys, *where, tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "whole.jsonl").stat().st_size > 0


def test_convert_replaces_its_input_by_no_path(capsys, tmp_path, monkeypatch, world):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_bytes((world / "test.jsonl").read_bytes())
    before = Path("rows.jsonl").read_bytes()
    Path("link").symlink_to("rows.jsonl")
    for source, out in (("rows.jsonl", tmp_path / "rows.jsonl"), ("rows.jsonl", "link"), (tmp_path / "link", "./rows.jsonl")):
        said = fault(capsys, 2, "data", "convert", "--dataset", "jsonl", "--annotations", source, "--out", out)
        assert "is the annotation file itself" in said and "--out" in said
    assert Path("rows.jsonl").read_bytes() == before and Path("link").is_symlink()


def test_an_empty_place_is_refused(capsys, tmp_path, monkeypatch, world):
    monkeypatch.chdir(tmp_path)
    assert "--out must be a text, not empty" in fault(capsys, 2, "data", "convert", "--dataset", "jsonl", "--annotations", "x", "--out", "")
    assert "--out must be a text, not empty" in fault(capsys, 2, "world", "--out", "")
    assert "--levels must be" in fault(capsys, 2, "world", "--out", "w", "--levels", "")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name, said", [("run.json", "a run"), ("answers.jsonl", "an evaluation"), ("model.safetensors", "a model")])
def test_a_world_is_kept_apart_from_runs_evaluations_and_models(capsys, tmp_path, name, said):
    (tmp_path / name).write_text('{"key":"0"}')
    told = fault(capsys, 2, "world", "--out", tmp_path, "--clips", 1)
    assert f"{tmp_path} is the folder of {said}" in told and str(tmp_path / "world") in told
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_level_that_is_named_twice_is_drawn_once(capsys, tmp_path):
    found = ran_json(capsys, "world", "--out", tmp_path, "--clips", 1, "--levels", "easy,easy")
    rows = (tmp_path / "test.jsonl").read_text().splitlines()
    assert len(set(rows)) == len(rows) == found["samples"]["test"] > 0


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full")
@pytest.mark.parametrize("redirect, code, said", [("> /dev/full", 4, "No space left"), (">&-", 0, "")])
def test_an_output_that_takes_nothing_is_no_fault_of_the_programs_own(redirect, code, said):
    command = f"{sys.executable} -m videochat_r1.cli --version {redirect}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == code and said in done.stderr and len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    "raised, code", [(EnvironmentFault("Full.", "Make room."), 4), (NumericalStop("NaN.", "Lower it."), 6), (KeyboardInterrupt(), 130)]
)
def test_what_ends_a_command_gives_its_exit_code(capsys, monkeypatch, raised, code):
    def stopped(*_):
        raise raised

    monkeypatch.setattr(cli, "_run", stopped)
    fault(capsys, code, "demo")


def test_a_fault_of_the_programs_own_shows_its_place_with_debug_alone(capsys, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(cli, "_run", broken)
    assert "ZeroDivisionError: oh" in fault(capsys, 1, "demo")
    code, out, err = ran(capsys, "demo", "--debug")
    assert (code, out) == (1, "") and "Traceback" in err


def test_a_reader_that_goes_away_is_no_fault(world):
    command = f"{sys.executable} -m videochat_r1.cli baselines --dataset jsonl --annotations {world / 'test.jsonl'} --json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stdout == "{" and done.stderr == "" and done.returncode in (0, 141)


def test_version_and_overview(capsys):
    assert ran(capsys, "--version")[1].startswith("videochat-r1 ")
    code, out, _ = ran(capsys)
    assert code == 0 and all(name in out for name in COMMANDS)
    assert ran(capsys, "data", "--help")[0] == 0


def test_world_writes_files_that_every_reader_takes(capsys, tmp_path):
    found = ran_json(capsys, "world", "--out", tmp_path / "w", "--clips", 6, "--levels", "easy,alike", "--seed", 3)
    assert found["samples"]["train"] > found["samples"]["test"] > 0
    for name, splits in found["annotations"].items():
        # The released GOT-10k rows name the sequence's folder below the data's root.
        code, out, err = ran(capsys, "data", "check", "--dataset", name, "--annotations", splits["train"], "--split", "train", "--json")
        assert code in (0, 3), err
        assert json.loads(out)["samples"] > 0, name


def test_score_of_the_truth_is_full(capsys, tmp_path, world):
    from videochat_r1.datasets.base import DataSource, read_samples
    from videochat_r1.tasks.base import Asking
    from videochat_r1.tasks.base.loading import load_task

    samples = read_samples(DataSource(name="charades_sta", annotations=str(world / "charades_sta_train.json"))).samples
    rows = [{"id": one.id, "output": load_task(one.task).write(one.truth, Asking())} for one in samples]
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = ("--dataset", "charades_sta", "--annotations", world / "charades_sta_train.json")
    found = ran_json(capsys, "score", file, *where)
    assert found["mIoU"] > 99.0 and found["missing"] == 0 and found["n"] == len(samples)
    code, out, _ = ran(capsys, "score", file, *where, "--resamples", 0)
    assert code == 0 and "mIoU" in out
    file.write_text(json.dumps({"id": "none", "output": ""}) + "\n")
    fault(capsys, 3, "score", file, *where)


def test_score_reads_a_list_where_r1_5_was_asked_and_refuses_what_does_not_go_together(capsys, tmp_path):
    truth = {"id": "a", "task": "temporal_grounding", "video": "a.mp4", "question": "it rains", "answer": {"spans": [[1.0, 3.0]]}}
    (tmp_path / "truth.jsonl").write_text(json.dumps({**truth, "duration_s": 9.0}) + "\n")
    (tmp_path / "said.jsonl").write_text(json.dumps({"id": "a", "output": "<answer>[(1.0, 2.0), (2.5, 3.0)]</answer>"}) + "\n")
    command = ["score", tmp_path / "said.jsonl", "--dataset", "jsonl", "--annotations", tmp_path / "truth.jsonl", "--json"]
    for prompts, expected in (("r1_5", 75.0), ("released", 0.0)):
        code, out, _ = ran(capsys, *command, "--prompts", prompts)
        assert code == 0 and json.loads(out)["mIoU"] == pytest.approx(expected)
    assert "with prompts r1_5 it is strict" in fault(capsys, 2, *command, "--prompts", "r1_5", "--reading", "released")


def test_baselines_with_and_without_training_data(capsys, world):
    where = ("--dataset", "nextgqa", "--annotations", world / "nextgqa_test.json", "--resamples", 0)
    assert {"whole_video", "constant", "majority"} <= set(ran_json(capsys, "baselines", *where))
    assert ran_json(capsys, "baselines", *where, "--train", world / "nextgqa_train.json")["majority"]["n"] > 0
    several = ran_json(capsys, "baselines", "--dataset", "jsonl", "--annotations", world / "test.jsonl", "--resamples", 0)
    assert "copy_first_box" in several["tracking"] and "majority" in several["video_qa"]
    assert "whole_video" in ran(capsys, "baselines", *where)[1]
    # by hand: 0 and 0.45 of the duration, SPEC's constant on Charades-STA
    grounding = ("--dataset", "charades_sta", "--annotations", world / "charades_sta_test.json", "--resamples", 0)
    assert "constant: 0.00 to 0.45 of each video, as it was fitted" in ran(capsys, "baselines", *grounding)[1]
    assert "fitted with --train." in ran(capsys, "baselines", *grounding, "--train", world / "charades_sta_train.json")[1]


def test_baselines_of_videos_of_unknown_length_are_told_and_not_taken_for_wrong_ones(capsys, tmp_path, world):
    rows = [json.loads(line) for line in (world / "test.jsonl").read_text().splitlines()]
    grounding = [{key: value for key, value in row.items() if key != "duration_s"} for row in rows if row["task"] == "temporal_grounding"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in grounding))
    command = ("baselines", "--dataset", "jsonl", "--annotations", tmp_path / "rows.jsonl")
    code, out, err = ran(capsys, *command)
    count = len(grounding)
    assert code == 0 and f"(samples without duration_s: {count} of {count})" in err
    assert [line.split() for line in out.splitlines() if "mIoU" in line] == [["mIoU", "–", "–"]]
    found = ran_json(capsys, *command)
    assert found["whole_video"]["mIoU"] is None and found["constant"]["no_duration"] == count


def test_data_check_ends_with_3_where_there_are_defects(capsys, tmp_path, world):
    where = ("--dataset", "charades_sta", "--annotations", world / "charades_sta_test.json")
    code, out, _ = ran(capsys, "data", "check", *where, "--videos", world / "videos", "--train", world / "charades_sta_train.json")
    assert code == 0 and "no defect found" in out and "shared with" in out
    code, out, _ = ran(capsys, "data", "check", *where, "--train", world / "charades_sta_test.json", "--json")
    assert code == 3 and json.loads(out)["overlap"]["ids"] > 0
    (tmp_path / "c.json").write_text('{"A": {"duration": 5.0, "timestamps": [[1.0, 9.0]], "sentences": ["he runs."]}}')
    code, out, _ = ran(capsys, "data", "check", "--dataset", "charades_sta", "--annotations", tmp_path / "c.json", "--json")
    assert code == 3 and json.loads(out)["defects"] == {"span_past_end": 1}


def test_data_convert_gives_the_same_samples(capsys, tmp_path, world):
    where = ("--dataset", "charades_sta", "--annotations", world / "charades_sta_train.json", "--videos", world / "videos")
    found = ran_json(capsys, "data", "convert", *where, "--out", tmp_path / "c.jsonl")
    rows = (tmp_path / "c.jsonl").read_text().splitlines()
    assert len(rows) == found["samples"] > 0
    code, out, _ = ran(capsys, "data", "check", "--dataset", "jsonl", "--annotations", tmp_path / "c.jsonl", "--videos", world / "videos")
    assert code == 0, out


@pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data beside the repository")
def test_every_charades_prompt_is_written_with_the_real_tokenizer_in_ten_seconds_of_cpu(capsys):
    started = time.process_time()
    code, out, err = ran(
        capsys,
        *("data", "check", "--dataset", "charades_sta", "--annotations", DATA / "annotations/charades_sta/train.json"),
        *("--split", "train", "--on-defect.span_reversed", "swap", "--on-defect.span_starts_past_end", "keep"),
        *("--prompts", "--tokenizer", DATA / "tokenizers/qwen2_5", "--json"),
    )
    took = time.process_time() - started
    found = json.loads(out)
    assert code == 3, err
    assert found["rows"] == 12_408 and found["defects"]["span_past_end"] == 1_789 and found["defects"]["span_reversed"] == 4
    prompts = found["prompts"]
    assert prompts["prompts"] + found["dropped"] == 12_408 and found["dropped"] <= 4 and prompts["refused"] == []
    assert prompts["most_video"] <= 3_584 < prompts["most"]  # the paper's budget, and the words around it
    assert took < 10.0


def test_prompts_need_a_tokenizer(capsys, world):
    where = ("--dataset", "charades_sta", "--annotations", world / "charades_sta_test.json", "--prompts")
    assert "--tokenizer" in fault(capsys, 4, "data", "check", *where)
    assert "tokenizer.json" in fault(capsys, 4, "data", "check", *where, "--tokenizer", world)
    assert "Qwen/Qwen2.5-VL-7B-Instruct" in fault(capsys, 2, "data", "check", *where, "--policy", "Qwen/Qwen2.5-VL-7B")


TOKENS = [
    "--dataset",
    "jsonl",
    "--limit",
    "--limit=-3",
    "--on-defect.x",
    "--video.fps",
    "--json",
    "--no-json",
    "--",
    "-",
    "--=",
    "--.",
    "--a.b.c",
]
TOKENS += [
    "--split",
    "--missing-limit",
    "nan",
    "1e999",
    "",
    "[1",
    "{",
    "\x00",
    "--data.0",
    "--on-defect",
    "--seed",
    "9" * 50,
    "--annotations",
    "x",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command=st.sampled_from(["score", "baselines", "data check", "train", "evaluate"]), tokens=st.lists(st.sampled_from(TOKENS), max_size=6)
)
def test_no_command_line_is_a_fault_of_the_programs_own(capsys, tmp_path, monkeypatch, command, tokens):
    monkeypatch.chdir(tmp_path)
    assert ran(capsys, *command.split(), *tokens)[0] in (2, 3)


def test_main_reads_the_process_own_command_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["videochat-r1", "scoer"])
    assert main() == 2


def test_a_data_check_says_which_splits_actions_it_shows(capsys, tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"a": {"duration": 5.0, "timestamps": [[1.0, 9.0]], "sentences": ["a dog barks."]}}))
    words = ("data", "check", "--dataset", "activitynet_captions", "--annotations", path)
    code, out, _ = ran(capsys, *words)
    assert code == 3 and "done with it in a test set; --split train" in out.splitlines()[1]
    code, out, _ = ran(capsys, *words, "--split", "train")
    assert code == 3 and "in a test set" not in out


@pytest.mark.parametrize("command", ["plan", "train", "data check"])
def test_the_built_in_model_is_known_by_its_name_and_by_a_slip_of_it(world, tmp_path, capsys, command):
    recipe = tiny_recipe(tmp_path, world, "small")
    data = ["--dataset", "jsonl", "--annotations", world / "test.jsonl", "--videos", world / "videos", "--prompts"]
    words = {"plan": [recipe], "train": [recipe, "--dry-run"], "data check": data}[command]
    name = "--policy" if command == "data check" else "--policy.path"
    assert ran(capsys, *command.split(), *words, name, "small")[0] == 0
    assert "Did you mean small?" in fault(capsys, 2, *command.split(), *words, name, "smal")


def test_prompts_of_the_built_in_model_are_counted_as_it_is_asked(world, capsys):
    data = ["--dataset", "jsonl", "--annotations", world / "test.jsonl", "--videos", world / "videos", "--prompts", "--policy", "small"]
    code, out, err = ran(capsys, "data", "check", *data)
    assert code == 0 and "Asked as the built-in model says: video.min_frames 2" in err and "(128 of video)" in out
    code, fewer, err = ran(capsys, "data", "check", *data, "--video.max-frames", 8)
    assert code == 0 and "max_frames" not in err and fewer != out, "what the command line says goes first"
