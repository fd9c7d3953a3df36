"""`evaluate` as people start it: killed and started again, by several processes, stopped, asked as a recipe says; `compare`, `report`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.command_line import ROOT, TINY_VIDEO, fault, ran, ran_json, saved_tiny_model

from videochat_r1.commands.folders import require_room_for_evaluation
from videochat_r1.world.files import write_world

VIDEO = [str(part) for name, value in TINY_VIDEO.items() for part in (f"--{name.replace('_', '-')}", value)]


class Server:
    """Lives of a command, each in a child of a process that has imported everything."""

    def __init__(self):
        command = [sys.executable, "-m", "tests.evaluation.eval_server"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)

    def lives(self, *argv, processes=1, end=None):
        """[(exit code, stdout, stderr)] of each process. end: (signal, after how many batches, before | torn | after)."""
        command = {"argv": [str(word) for word in argv], "processes": processes, "end": end}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return [tuple(each) for each in json.loads(self.process.stdout.readline())]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A drawn world and two tiny models."""
    folder = tmp_path_factory.mktemp("place")
    write_world(folder / "world", clips=4)
    saved_tiny_model(folder / "model")
    return folder


def asked(place, *more, model="model", annotations="world/test.jsonl"):
    world = place / "world"
    words = [
        "evaluate",
        "--policy",
        place / model,
        "--dataset",
        "jsonl",
        "--annotations",
        place / annotations,
        "--videos",
        world / "videos",
    ]
    return [
        *words,
        *VIDEO,
        "--rollout.max-tokens",
        6,
        "--batch-prompts",
        3,
        "--device",
        "cpu",
        "--resamples",
        20,
        "--order",
        "video_first",
        *more,
    ]


def untimed(value):
    """The same without what a clock decides."""
    if isinstance(value, dict):
        return {key: untimed(item) for key, item in value.items() if key != "seconds"}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def kept(folder):
    """The files of an evaluation, bit for bit but for the clock."""
    figures = untimed(json.loads((folder / "figures.json").read_text()))
    return (folder / "predictions.jsonl").read_bytes(), (folder / "scores.jsonl").read_bytes(), figures


@pytest.fixture(scope="module")
def whole(server, place):
    """An evaluation that nobody disturbed."""
    out = place / "whole"
    [(code, said, err)] = server.lives(*asked(place, "--out", out))
    assert code == 0, err
    assert "Written to" in err and "samples" in said
    return out


def test_killed_again_and_again_it_ends_with_the_same_files(server, place, whole, tmp_path):
    words = asked(place, "--out", tmp_path / "out", "--no-report")
    for when, after in (("before", 1), ("torn", 2), ("after", 1), ("torn", 1)):
        [(code, _, _)] = server.lives(*words, end=(int(signal.SIGKILL), after, when))
        assert code == -signal.SIGKILL
        assert not (tmp_path / "out" / "predictions.jsonl").exists()
    [(code, _, err)] = server.lives(*words)
    assert code == 0, err
    assert kept(tmp_path / "out") == kept(whole)


def test_ctrl_c_ends_with_5_says_what_was_done_and_the_same_command_goes_on(server, place, whole, tmp_path):
    words = asked(place, "--out", tmp_path / "out", "--no-report")
    [(code, said, err)] = server.lives(*words, end=(int(signal.SIGINT), 2, "after"))
    assert (code, said) == (5, "") and "Traceback" not in err
    assert "Stopped after" in err and "goes on" in err
    rows = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert 0 < len(rows) < len((whole / "predictions.jsonl").read_text().splitlines())
    [(code, _, err)] = server.lives(*words)
    assert code == 0 and kept(tmp_path / "out")[:2] == kept(whole)[:2]


def test_two_processes_give_the_file_of_one(server, place, whole, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.md").write_text("of an earlier evaluation")
    found = server.lives(*asked(place, "--out", tmp_path / "out", "--no-report"), processes=2)
    assert not (tmp_path / "out" / "report.md").exists()
    assert [code for code, _, _ in found] == [0, 0], found
    assert found[0][1] and not found[1][1], "the first process alone prints"
    assert kept(tmp_path / "out")[:2] == kept(whole)[:2]
    counts = [len((tmp_path / "out" / name).read_text().splitlines()) for name in ("answers.jsonl", "answers.1.jsonl")]
    assert min(counts) > 0 and sum(counts) == len((whole / "predictions.jsonl").read_text().splitlines())
    [(code, _, err)] = server.lives(*asked(place, "--out", tmp_path / "out", "--no-report"))  # one process takes what two answered
    assert code == 0 and len((tmp_path / "out" / "answers.jsonl").read_text().splitlines()) == counts[0]


def test_report_and_compare_read_what_evaluate_wrote(place, whole, tmp_path, capsys):
    for name in ("report.html", "report.md", "report.json", "figures/overlaps.png"):
        assert (whole / name).is_file(), name
    page = (whole / "report.html").read_bytes()
    stale = whole / "figures" / "example_77.png"
    stale.write_bytes(b"old")
    own = whole / "figures" / "mine.png"
    own.write_bytes(b"not ours")
    code, out, err = ran(capsys, "report", whole)
    assert code == 0, err
    assert not stale.exists() and own.exists()
    assert (whole / "report.html").read_bytes() == page
    found = ran_json(capsys, "compare", whole, whole)
    for task in found["tasks"].values():
        assert all(one["difference"] == 0.0 and one["p"] == 1.0 for one in task["metrics"].values())
    source = ("--dataset", "jsonl", "--annotations", place / "world" / "test.jsonl")
    again = ran_json(capsys, "compare", whole / "predictions.jsonl", whole, *source, "--videos", place / "world" / "videos")
    assert again["tasks"] == found["tasks"]
    assert "no folder of an evaluation" in fault(capsys, 2, "compare", whole / "predictions.jsonl", whole)
    assert "There is no" in fault(capsys, 2, "compare", whole, whole / "nowhere")
    assert "it has no scores.jsonl" in fault(capsys, 2, "compare", whole, whole.parent)
    assert "neither a run nor an evaluation" in fault(capsys, 3, "report", tmp_path)


def with_durations(place, folder, duration_s):
    """The annotations of the world's test split with another duration in each row; None leaves it out."""
    rows = [json.loads(line) for line in (place / "world" / "test.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("duration_s")
        row |= {} if duration_s is None else {"duration_s": duration_s}
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


def test_trivial_answers_take_an_unstated_duration_from_the_video(server, place, whole, tmp_path):
    words = asked(place, "--out", tmp_path / "out", "--no-report", annotations=with_durations(place, tmp_path, None))
    [(code, _, err)] = server.lives(*words)
    assert code == 0 and "duration_s" not in err, err
    assert kept(tmp_path / "out")[2]["baselines"] == kept(whole)[2]["baselines"]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    task = "temporal_grounding"
    [first, *_] = [row for row in rows if row["task"] == task]
    first["video"] = "nowhere.mp4"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = asked(place, "--out", tmp_path / "lost", "--missing-limit", 1, annotations=tmp_path / "rows.jsonl")
    [(code, _, err)] = server.lives(*words)
    assert code == 0 and "no figure for the trivial answers" not in err, err
    lost, known = (kept(folder)[2]["baselines"][task]["whole_video"] for folder in (tmp_path / "lost", whole))
    assert lost["unparsed"] == 1 and 0.0 <= lost["mIoU"] < known["mIoU"], "wrong where the policy could not be shown the video either"


def test_videos_at_fault_are_told_and_listed_each_time(server, place, tmp_path):
    annotations = with_durations(place, tmp_path, 8.0)
    rows = [json.loads(line) for line in annotations.read_text().splitlines()]
    wrong = next(row for row, before in zip(rows[1:], rows, strict=False) if row["video"] == before["video"])  # not its clip's first
    wrong["duration_s"] = 80.0
    broken = next(row["video"] for row in rows if row["video"] != wrong["video"])
    annotations.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(place / "world" / "videos", tmp_path / "videos")
    (tmp_path / "videos" / broken).write_bytes(b"no film")
    words = asked(place, "--out", tmp_path / "out", annotations=annotations)
    words[words.index("--videos") + 1] = tmp_path / "videos"
    listed = tmp_path / "out" / "quarantine.jsonl"
    lost = [row["id"] for row in rows if row["video"] == broken]
    for _ in range(2):  # the second time every answer is there already
        [(code, _, err)] = server.lives(*words)
        assert code == 0, err
        assert f"{wrong['id']}: {tmp_path / 'videos' / wrong['video']} is 8.0 s long, its annotation says 80.0 s." in err
        assert all(f"{name}: {tmp_path / 'videos' / broken}" in err for name in lost[:5])
        assert f"Videos that could not be used: not_a_video x {len(lost)}; listed in {listed}." in err
        assert f"Videos that were used, though not as stated: duration_mismatch x 1; listed in {listed}." in err
        said = {(row["sample"], row["reason"], row["kept"]) for row in map(json.loads, listed.read_text().splitlines())}
        assert said == {(wrong["id"], "duration_mismatch", True), *((name, "not_a_video", False) for name in lost)}
        results = kept(tmp_path / "out")[2]["results"]
        assert {task: own["duration_mismatch"] for task, own in results.items() if "duration_mismatch" in own} == {wrong["task"]: 1}
        assert "videos of another length than stated" in (tmp_path / "out" / "report.md").read_text()
    [(code, _, err)] = server.lives(*asked(place, "--out", tmp_path / "out", "--no-report"))
    assert code == 0 and not listed.exists() and "Videos that" not in err


OTHERS = {
    "another model": (("--policy", "other"), "policy: "),
    "asked otherwise": (("--rollout.max-tokens", 5), "rollout.max_tokens: 6 -> 5"),
    "fewer samples": (("--limit", 2), "of its"),
    "other samples": (("--annotations", "train.jsonl"), "of its"),
}


@pytest.mark.parametrize("given, said", OTHERS.values(), ids=OTHERS)
def test_another_evaluation_is_not_replaced(place, whole, tmp_path, capsys, given, said):
    saved_tiny_model(tmp_path / "other", "qwen2_5_vl")
    replaced = {"other": tmp_path / "other", "train.jsonl": place / "world" / "train.jsonl"}
    words = asked(place, "--out", whole)
    name, value = given
    if name in words:
        words[words.index(name) + 1] = replaced.get(value, value)
    else:
        words += given
    before = kept(whole)
    told = fault(capsys, 2, *words)
    assert said in told and f"remove {whole} first" in told
    assert kept(whole) == before


def test_a_policy_that_was_trained_on_is_told_before_its_evaluation_is_replaced(server, place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "model")
    model, out = tmp_path / "model", tmp_path / "out"
    words = asked(place, "--out", out, "--no-report", "--limit", 2, "--base", model, model=model)
    for _ in range(2):  # the same model again: nothing to tell
        [(code, _, err)] = server.lives(*words)
        assert code == 0 and "another model" not in err, err
    texts = {json.loads(line)["key"] for line in (out / "answers.jsonl").read_text().splitlines()}
    saved_tiny_model(model, "qwen2_5_vl")
    [(code, _, err)] = server.lives(*words)
    assert code == 0, err
    told = [line for line in err.splitlines() if line.startswith(f"{model} is another model than when it was evaluated: its 2 answers")]
    assert len(told) == 2 and f"in {out} are" in told[0] and f"in {out / 'base'} are" in told[1]
    assert err.index(told[0]) < err.index("Evaluating")
    assert texts < {json.loads(line)["key"] for line in (out / "answers.jsonl").read_text().splitlines()}


def test_a_run_keeps_its_report(place, tmp_path, capsys):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("{}")
    assert str(tmp_path / "evaluated") in fault(capsys, 2, *asked(place, "--out", tmp_path))


KEPT_APART = {
    "a model": ("config.json", "is a model's folder"),
    "an adapter": ("adapter_model.safetensors", "is a model's folder"),
    "annotations": ("train.json", "holds train.json, and is no evaluation's"),
    "films": ("a.MP4", "holds a.MP4, and is no evaluation's"),
    "a folder of films": ("videos/a.mp4", "holds videos, and is no evaluation's"),
    "another's predictions": ("predictions.jsonl", "holds predictions.jsonl, and is no evaluation's"),
    "a list of that name": ("answers.jsonl", "holds answers.jsonl, and is no evaluation's"),
    "a model called base": ("base/config.json", "holds base, and is no evaluation's"),
}


@pytest.mark.parametrize("name, said", KEPT_APART.values(), ids=KEPT_APART)
def test_answers_are_kept_apart_from_what_is_no_evaluations(place, tmp_path, capsys, name, said):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"id": "mine"}\n')
    before = sorted(tmp_path.rglob("*"))
    told = fault(capsys, 2, *asked(place, "--out", tmp_path))
    assert f"{tmp_path} {said}" in told and "Give --out a new or empty folder, or one of an earlier evaluation" in told
    assert sorted(tmp_path.rglob("*")) == before


def test_logs_and_the_beginnings_of_an_evaluation_are_in_no_ones_way(tmp_path):
    for name in ("slurm-1.out", "log.txt", "report.json", "answers.1.jsonl", ".hidden.json"):
        (tmp_path / name).touch()
    (tmp_path / "answers.jsonl").write_text('{"key')  # as a kill leaves it
    require_room_for_evaluation(tmp_path)
    (tmp_path / "answers.jsonl").write_text('{"key":"0","text":""}\n')
    (tmp_path / "predictions.jsonl").touch()  # it ended before its figures were written
    require_room_for_evaluation(tmp_path)
    require_room_for_evaluation(tmp_path / "new")


def test_more_samples_and_a_base_go_on_from_an_evaluation(server, place, whole, tmp_path):
    out = tmp_path / "out"
    for more in (("--limit", 2), ("--limit", 2, "--base", place / "model"), ()):
        [(code, _, err)] = server.lives(*asked(place, "--out", out, "--no-report", *more))
        assert code == 0, err
    assert kept(out)[:2] == kept(whole)[:2]


def test_a_base_is_asked_in_the_same_way_and_logs_are_written(server, place, whole, tmp_path):
    saved_tiny_model(tmp_path / "other", "qwen2_5_vl")
    out = tmp_path / "out"
    [(code, said, err)] = server.lives(*asked(place, "--base", tmp_path / "other", "--out", out, "--no-report", "--log-samples", "--json"))
    assert code == 0, err
    found = json.loads(said)
    assert {"baselines", "base", "compared"} <= found.keys()
    figures = json.loads((out / "figures.json").read_text())
    assert figures["base"] == json.loads((out / "base" / "figures.json").read_text())["results"]
    assert kept(out)[:2] == kept(whole)[:2]
    [results] = out.glob("results_*.json")
    logged = json.loads(results.read_text())
    for task, own in logged["results"].items():
        rows = [json.loads(line) for line in (out / f"samples_{task}.jsonl").read_text().splitlines()]
        assert len(rows) == own["samples"] == logged["n-samples"][task]["effective"]
        assert [row["doc_id"] for row in rows] == list(range(len(rows)))
        texts = {json.loads(line)["id"]: json.loads(line)["output"] for line in (out / "predictions.jsonl").read_text().splitlines()}
        assert all(texts[row["id"]] == row["filtered_resps"] for row in rows)
        if task == "temporal_grounding":
            assert own["mIoU,none"] == pytest.approx(100 * sum(row["mIoU"] for row in rows) / len(rows))


def test_a_run_is_asked_as_its_recipe_says(server, place, whole, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copytree(place / "model", run / "policy")
    world = place / "world"
    lines = ["[policy]", f'path = "{place / "model"}"', "[[data]]", 'name = "jsonl"', f'annotations = "{world / "train.jsonl"}"']
    lines += ["[video]", *(f"{name} = {value}" for name, value in TINY_VIDEO.items())]
    lines += ["[asking]", 'order = "video_first"', "[rollout]", "max_tokens = 6"]
    (run / "recipe.toml").write_text("\n".join(lines) + "\n")
    source = ["--dataset", "jsonl", "--annotations", world / "test.jsonl", "--videos", world / "videos", "--no-report"]
    common = [*source, "--batch-prompts", 3, "--device", "cpu", "--resamples", 0]
    [(code, _, err)] = server.lives("evaluate", "--policy", run, *common, "--out", tmp_path / "out")
    assert code == 0, err
    assert f"Asked as {run / 'recipe.toml'} says:" in err and "asking.order video_first" in err and "rollout.max_tokens 6" in err
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()
    argv = ["evaluate", "--policy", run / "policy", *common, "--rollout.max-tokens", 2, "--out", tmp_path / "short"]
    [(code, _, err)] = server.lives(*argv)
    assert code == 0 and "max_tokens" not in err, "what the command line says goes first"
    options = json.loads((tmp_path / "short" / "figures.json").read_text())["options"]
    assert options["rollout"]["max_tokens"] == 2 and options["asking"]["order"] == "video_first"
    assert Path(options["policy"]) == run / "policy"
