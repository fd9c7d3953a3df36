"""Every benchmark at toy size: it runs to its end, checks what it measures, and leaves a file that says all that is claimed of it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging as notes
import math
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from benchmarks import bench, decode, figures, kernels, logprobs, memory, models, scaling, step, trl_images, video, vision, ways
from tests.command_line import ROOT
from tests.video.films import write_film

from videochat_r1.commands.quiet import PYTREE_LOG
from videochat_r1.policy.released import CONFIGS

# a budget that even a busy machine keeps
TOY = ["--device", "cpu", "--threads", "1", "--budget-seconds", "3000"]


def run(module, tmp_path, *words, geometry="toy"):
    """The benchmark's main; what is then on disk."""
    where = ["--geometry", geometry] if geometry else []
    module.main([*where, *TOY, "--out", str(tmp_path / "out.json"), *words])
    return json.loads((tmp_path / "out.json").read_text())


@pytest.mark.parametrize("geometry", ["toy", "toy-qwen3"])
def test_step_times_three_ways_that_agree(tmp_path, geometry, capsys):
    content = run(step, tmp_path, "--prompts", "1", "--group", "2", "--runs", "1", geometry=geometry)
    assert [row["way"] for row in content["rows"]] == ["D", "C", "A"]
    (check,) = content["checked"]
    assert check["D_max_logprob_gap"] < 1e-5 and check["A_gradient_norm"] == pytest.approx(check["D_gradient_norm"], rel=1e-3)
    for row in content["rows"]:
        assert row["mean_completion_tokens"] == row["completion_tokens"] == 6
        assert ("vision" in row["seconds"]) == (row["way"] == "D")  # the others look again in every phase
        assert row["step_s"] == pytest.approx(sum(row["seconds"].values())) and row["useful_mfu_counted"] > row["useful_mfu_needed"] > 0
    printed = capsys.readouterr().out
    assert "| D | " in printed and "step D against A" in printed
    assert content["ratios"] and content["ceilings"]["matmul_tflops"] > 0 and content["versions"]["torch"] == torch.__version__


def test_a_way_that_differs_from_the_plain_forward_is_refused(tmp_path, monkeypatch):
    wrong = step.shared_logprobs

    def shifted(*args, **kwargs):
        scores = wrong(*args, **kwargs)
        scores[0].logprobs[0] += 0.01
        return scores

    monkeypatch.setattr(step, "shared_logprobs", shifted)
    with pytest.raises(AssertionError, match="differs from the plain forward"):
        run(step, tmp_path, "--prompts", "1", "--group", "2", "--only", "D", "--runs", "1")


def test_a_budget_that_is_spent_leaves_rows_that_say_so(tmp_path):
    content = run(step, tmp_path, "--prompts", "1", "--group", "2", "--only", "D", "--budget-seconds", "1e-9")
    assert content["rows"] == [
        {"way": "D", "geometry": "toy", "completion_tokens": 6, "prompts": 1, "group": 2, "not_run": "no time left in the budget"}
        | {"asked_prompt_tokens": 40}
    ]


def test_what_takes_prompts_one_by_one_is_timed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "is_quick", lambda supply: False)
    content = run(step, tmp_path, "--prompts", "1,3", "--group", "2", "--only", "A", "--runs", "1")
    one, three = content["rows"]
    assert three["prompts"] == 3 and three["timed_prompts"] == 1
    assert three["seconds"]["policy"] == 3 * one["seconds"]["policy"] and three["seconds"]["optimizer"] == one["seconds"]["optimizer"]
    assert three["step_s"] == pytest.approx(sum(three["seconds"].values()))


@pytest.mark.parametrize("geometry", ["toy", "toy-qwen3"])
def test_logprobs_takes_every_backend_and_the_plain_forward(tmp_path, geometry):
    content = run(
        logprobs, tmp_path, "--group", "4", "--completion-tokens", "20", "--uneven", "--runs", "1", "--lora-rank", "0", geometry=geometry
    )
    by_way = {row["way"]: row for row in content["rows"]}
    assert {"segments", "dense", "one row a completion", "plain"} <= set(by_way)
    for row in by_way.values():
        assert row["max_gap"] < 1e-5 and row["forward"]["median_s"] > 0
        assert "not_run" in row or (row["backward"]["median_s"] > 0 and row["kept_mib"] > 0)
    # four completions behind one prompt keep less than four prompts do
    assert by_way["segments"]["kept_mib"] < by_way["one row a completion"]["kept_mib"]
    assert len(set(content["completion_tokens"][0])) > 1


def test_vision_holds_every_path_to_the_stock_tower(tmp_path):
    content = run(vision, tmp_path, "--videos", "1,2", "--runs", "1", "--train")
    assert content["rows"][0]["path"] == "stock" and {"fast"} < {row["path"] for row in content["rows"]}
    for row in content["rows"]:
        assert row["relative_gap"] < 1e-5 and row["video_tokens"] == 28 * row["videos"] and row["backward"]["median_s"] > 0


def test_decode_takes_ours_and_the_stock_generate(tmp_path):
    content = run(decode, tmp_path, "--prompts", "2", "--group", "2", "--tokens", "12", "--runs", "1")
    assert [row["way"] for row in content["rows"]] == ["ours", "stock merged", "stock unmerged"]
    assert content["checked"]["max_logprob_gap"] < 1e-5
    assert all(row["tails"] == 4 and math.isfinite(row["ms_a_token"]) and row["long_s"] > 0 for row in content["rows"])


def test_scaling_fits_and_draws(tmp_path):
    words = ["--groups", "2,3", "--group", "2", "--completion-tokens", "4,6", "--prompt-tokens", "40,56", "--prompts", "1,2", "--runs", "1"]
    content = run(scaling, tmp_path, *words)
    assert [row["changed"] for row in content["rows"]] == ["centre", "G", "C", "P", "prompts"]
    assert set(content["fits"]) == {"vision", "rollout", "reference", "policy", "optimizer"}
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_a_fit_finds_the_coefficients_that_made_the_seconds():
    rows = []
    for prompts, prompt, group, tokens in ((1, 100, 2, 10), (1, 200, 2, 10), (1, 100, 8, 10), (1, 100, 2, 40), (4, 100, 2, 10)):
        sizes = {"prompts": prompts, "prompt_tokens": prompt, "video_tokens": prompt, "group": group, "mean_completion_tokens": tokens}
        size = scaling.size_of(sizes)
        seconds = 0.01 + 2e-5 * scaling.TRAINING["n(P+GC)"](size) + 3e-8 * scaling.TRAINING["n(P²/2+GCP+GC²/2)"](size)
        rows.append({**sizes, "seconds": {"policy": seconds, "optimizer": 0.5}})
    found = scaling.fit("policy", rows)
    assert list(found["coefficients"].values()) == pytest.approx([0.01, 2e-5, 3e-8], rel=1e-6) and found["largest_miss"] < 1e-9
    assert scaling.fit("optimizer", rows)["coefficients"] == {"1": pytest.approx(0.5)}
    assert scaling.fit("vision", rows) == {}


def test_a_fit_has_no_coefficient_below_zero():
    draw = np.random.default_rng(0)
    rows = [
        {"prompts": n, "prompt_tokens": 100, "video_tokens": 90, "group": 8, "mean_completion_tokens": 20, "seconds": {"policy": 1 / n}}
        for n in draw.integers(1, 9, 6).tolist()
    ]
    assert min(scaling.fit("policy", rows)["coefficients"].values()) >= 0


def test_video_decodes_in_every_way_that_is_here(tmp_path):
    path = write_film(tmp_path / "a.mp4", 20)
    words = [str(path), "--frames", "4", "--runs", "1", "--clips", "2", "--in-threads", "1,2", "--out", str(tmp_path / "out.json")]
    video.main([*words, "--budget-seconds", "3000"])
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["way"] for row in rows] == ["ours", "qwen-vl-utils", "torchcodec", "ours", "ours"]
    assert rows[0]["frames"] == 4 and rows[0]["best_s"] <= rows[0]["median_s"]
    assert rows[1].get("size") == rows[0]["size"] or "not_run" in rows[1]
    assert [row["threads"] for row in rows[3:]] == [1, 2] and rows[4]["frames"] == 8


def test_a_long_film_is_as_long_as_it_says(tmp_path):
    path = tmp_path / "long.mp4"
    assert video.long_film(path, 180, 64, 48) > 0
    assert video.long_film(path, 180, 64, 48) == 0.0  # it is there
    assert video.probe(str(path)).duration_s == pytest.approx(180, abs=0.1)
    assert video.one_clip("ours", str(path), video.VideoConfig(frames=8), 1, math.inf)["frames"] == 8


@pytest.mark.filterwarnings("ignore")  # of TRL, PEFT and transformers about each other
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
def test_trl_takes_a_step_on_as_many_image_tokens(tmp_path):
    content = run(trl_images, tmp_path, "--group", "2", "--prompts", "1")
    assert [row["beta"] for row in content["rows"]] == [0.0, 0.04]
    for row in content["rows"]:
        assert row["image_tokens"] == 28 and row["prompt_tokens"] > 28 and row["completion_tokens"] == 6
        assert row["seconds"]["policy"] > 0 and row["seconds"]["rollout"] > 0
    assert [row["no_grad_passes"] for row in content["rows"]] == [0, 1]


def test_images_make_a_prompt_as_long_as_the_video_does():
    geometry = models.GEOMETRIES["3b"]
    processing = models.processing_of(geometry, models.hf_config(geometry))
    marks = trl_images.marks_of(processing.tokenizer, processing.family.chat_template, 28)
    assert 2 * 28 < marks < geometry.text_tokens  # what is left of the text is the question: 28 images x 128 tokens + text are 3,756


@pytest.mark.parametrize("name", models.LARGE)
def test_true_geometries_are_the_published_ones(name):
    sizes = models.GEOMETRIES[name].sizes
    published = {"3b": 3.75, "7b": 8.29, "qwen3-4b": 4.44, "qwen3-8b": 8.77}[name]
    assert sizes.total / 1e9 == pytest.approx(published, abs=0.006)
    config = models.hf_config(models.GEOMETRIES[name])
    sections = config.text_config.rope_parameters["mrope_section"]
    head = getattr(config.text_config, "head_dim", None) or config.text_config.hidden_size // config.text_config.num_attention_heads
    assert 2 * sum(sections) == head
    assert config.video_token_id == models.stand_in_tokenizer(151_936).convert_tokens_to_ids("<|video_pad|>")
    assert models.GEOMETRIES[name].config["model_type"] in {each["model_type"] for each in CONFIGS.values()}


def test_operations_and_bytes_by_hand():
    sizes = models.GEOMETRIES["3b"].sizes
    matrices = 36 * 2048 * (2048 + 2 * 256 + 2048 + 3 * 11_008)  # queries, keys and values, output; gate, up, down
    assert ways.forward_flops(sizes, [1000], [[0]]) == 2 * matrices * 1000 + 2 * 36 * 2048 * 1000**2
    uneven = ways.forward_flops(sizes, [1000], [[10, 30]])
    assert uneven == pytest.approx(
        2 * (matrices * 1040 + 36 * 2048 * (1000**2 + 2 * 1000 * 40 + 10**2 + 30**2) + 2048 * 151_936 * 40), rel=1e-12
    )
    assert ways.forward_flops(sizes, [3756], [[256] * 8]) / 1e12 == pytest.approx(36, abs=2)  # 5,804 tokens of 5.55 GFLOP, and heads
    weights = (sizes.layers * sizes.layer + sizes.embeddings) * 2
    assert ways.decode_bytes(sizes, [3756], 8, 1, 2) == weights + (3756 + 4) * 36 * 2 * 256 * 2
    assert ways.useful_passes(has_reference=True, is_adapter=True, recomputes=True) == {"counted": 5.0, "needed": 3.0}


def test_kernels_of_each_phase_add_up_to_what_the_phase_did(tmp_path, capsys):
    content = run(kernels, tmp_path, "--prompts", "1", "--group", "2", "--tokens", "3", "--top", "4")
    phases = {}
    for row in content["rows"]:
        phases.setdefault(row["phase"], []).append(row)
    assert list(phases) == ["vision", "decode", "reference", "policy"] and content["checked"]["D_max_logprob_gap"] < 1e-5
    for rows in phases.values():
        *parts, whole = rows
        assert len(parts) == 5 and sorted((row["ms"] for row in parts[:4]), reverse=True) == [row["ms"] for row in parts[:4]]
        assert sum(row["ms"] for row in parts) == pytest.approx(whole["ms"]) and sum(row["share"] for row in parts) == pytest.approx(1.0)
        assert sum(row["launches"] for row in parts) == whole["launches"] > 20 and whole["phase_s"] > 0
    assert any("mm" in row["kernel"] for row in content["rows"])
    assert "| policy | all; the phase takes" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--only", "decoding"], ["--chunks", "128"]])
def test_what_cannot_be_looked_at_is_refused(tmp_path, words, capsys):
    with pytest.raises(SystemExit):
        run(kernels, tmp_path, *words)
    assert words[0] in capsys.readouterr().err


def test_the_decode_attention_of_the_small_model_alone_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(kernels, tmp_path, "--chunks", "128", geometry="small")
    assert "--chunks: of one of the geometries 3b, 7b" in capsys.readouterr().err


def test_processor_time_does_not_count_waiting():
    parser = bench.arguments("", "none")
    bench.begin(parser.parse_args(["--device", "cpu", "--threads", "1", "--clock", "processor"]))
    try:
        (waited,) = bench.seconds_of(lambda: time.sleep(0.2), torch.device("cpu"), runs=1, warmups=0)
        assert waited < 0.1
    finally:
        bench.begin(parser.parse_args(["--device", "cpu", "--threads", "1"]))
    (waited,) = bench.seconds_of(lambda: time.sleep(0.2), torch.device("cpu"), runs=1, warmups=0)
    assert waited >= 0.2


def test_a_table_leaves_a_cell_empty_where_a_row_has_nothing():
    columns = {"a": lambda row: row["a"], "b": lambda row: row["b"]["c"]}
    assert bench.table([{"a": 1, "b": {"c": 2.5}}, {"a": 2}], columns).splitlines()[2:] == ["| 1 | 2.5 |", "| 2 |  |"]


def test_the_page_holds_what_the_files_say(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- video-clips -->\nold\n<!-- end -->\n<!-- step-3b -->\nnot run\n<!-- end -->\n")
    chosen = argparse.Namespace(out=tmp_path / "results/video-clips.json", threads=1, clock="wall")
    record = bench.Record("video", chosen, torch.device("cpu"), "clips", {})
    record.add({"clip": "a", "way": "ours", "frames": 4, "best_s": 0.25})
    words = ["--page", str(page), "--results", str(tmp_path / "results"), "--picture", str(tmp_path / "phases.png")]
    assert figures.main([*words, "--check"]) == 1
    assert figures.main(words) == 0 and figures.main([*words, "--check"]) == 0
    assert "| a | ours | 4 | 250 |" in page.read_text() and "not run" in page.read_text()


def test_bars_by_phase_are_drawn(tmp_path):
    rows = [
        {"way": way, "geometry": "3b", "prompt_tokens": 3756, "completion_tokens": 256, "prompts": 1, "step_s": 3 * seconds}
        | {"seconds": {"rollout": seconds, "policy": 2 * seconds}}
        for way, seconds in (("D", 1.0), ("C", 3.0), ("A", 9.0))
    ]
    figures.draw_phases([{"card": "a card", "rows": rows}], tmp_path / "phases.png")
    assert (tmp_path / "phases.png").stat().st_size > 10_000


def test_the_published_page_is_what_the_published_files_give():
    assert figures.main(["--check"]) == 0


def test_in_bfloat16_ways_are_held_to_float32_by_what_the_plain_forward_is_off():
    supply = models.Supply("toy", torch.device("cpu"), lora_rank=0)
    for weight in supply.policy.base.parameters():
        weight.data = weight.data.bfloat16()
    before = {name: weight.clone() for name, weight in supply.policy.base.state_dict().items()}
    prompts = supply.prompts(2)
    completions = logprobs.random_completions(prompts, 2, 6, False, 0)
    oracle = step.Oracle(supply.policy, prompts, completions)
    assert all(torch.equal(weight, before[name]) for name, weight in supply.policy.base.state_dict().items())
    found = oracle.hold(oracle.plain)
    assert 0 < found["plain_mean_from_float32"] == found["mean_from_float32"]
    assert oracle.hold(oracle.exact)["mean_from_float32"] == 0.0
    with pytest.raises(AssertionError, match="differs from the plain forward"):
        oracle.hold(oracle.exact + 3 * (oracle.plain - oracle.exact))


@pytest.mark.parametrize("module", [step, decode, logprobs, kernels, video], ids=lambda module: module.__name__)
@pytest.mark.parametrize("only", ["ours,theirs", ","])
def test_a_way_that_there_is_not_is_named(module, only, capsys):
    with pytest.raises(SystemExit) as stopped:
        module.main(["--only", only])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "of: " in said and ("'theirs'" in said or "'ours'" in said or only == ",")


WRONG = [
    (step, ("--prompts", "0"), "no whole number above 0"),
    (step, ("--runs", "0"), "no whole number above 0"),
    (step, ("--set", "nonsense"), "not FIELD=VALUE"),
    (decode, ("--tokens", "1"), "2 at least"),
    (video, (), "give video files, or --long"),
    (step, ("--budget-seconds", "0"), "no number above 0"),
    (step, ("--geometry", "toy", "--device", "cpu", "--set", "attention=flex"), "no gradients on a CPU"),
    (memory, ("--geometry", "toy", "--set", "attention=portable"), "what is counted here is segments"),
    (figures, ("--results", "/nowhere/at/all"), "no folder"),
    (figures, ("--page", "/nowhere/at/all"), "no file"),
]


@pytest.mark.parametrize("module, words, said", WRONG, ids=lambda part: getattr(part, "__name__", None))
def test_a_wrong_option_is_said_in_a_line(module, words, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        module.main(list(words))
    assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_a_benchmark_that_is_interrupted_ends_with_5_and_keeps_its_rows(tmp_path, capsys, monkeypatch):
    def interrupted(self, row, add=bench.Record.add):
        add(self, row)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.Record, "add", interrupted)
    out = tmp_path / "out.json"
    assert "Interrupted" in refused(capsys, 5, vision, "--geometry", "toy", *TOY, "--runs", "1", "--out", str(out)).splitlines()[-1]
    assert len(json.loads(out.read_text())["rows"]) == 1


UNUSABLE = {
    "a setting that there is not": (2, ("--set", "attention=foo"), "attention"),
    "no device": (2, ("--device", "foo"), "'foo' is no device"),
    "a device that nothing runs on": (2, ("--device", "meta"), "'meta' is no device"),
}


@pytest.mark.parametrize("code, words, said", UNUSABLE.values(), ids=UNUSABLE)
def test_what_a_file_held_is_there_until_something_is_measured(code, words, said, tmp_path, capsys):
    file = tmp_path / "out.json"
    file.write_text("measured before")
    assert said in refused(capsys, code, step, "--geometry", "toy", "--device", "cpu", "--out", str(file), *words)
    assert file.read_text() == "measured before" and list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_said_before_anything_is_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out, said in ((tmp_path, "cannot be written: Is a directory"), (tmp_path / "file" / "out.json", "cannot be written")):
        assert said in refused(capsys, 4, step, "--geometry", "toy", "--device", "cpu", "--out", str(out))


TIMED = [step, decode, logprobs, vision, scaling, kernels, trl_images, video]


@pytest.mark.parametrize("module", TIMED, ids=lambda module: module.__name__)
def test_what_the_machine_lacks_ends_with_4(module, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trl_images, "NEEDED", ())
    words = ("--out", str(tmp_path / "out.json"), *(["--long"] if module is video else []), "--device", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no GPU can be used here" in refused(capsys, 4, module, *words)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert "there is no cuda:1 here" in refused(capsys, 4, module, *words[:-1], "cuda:1")


@pytest.mark.parametrize("asked, made", [("cuda", []), ("cuda:1", [1])])
def test_what_runs_on_another_gpu_is_timed_there(asked, made, monkeypatch):
    chosen = bench.arguments("", "none").parse_args(["--device", asked])
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    # after the stock function's own reading of its argument, which takes a device with its number alone
    monkeypatch.setattr(torch._C, "_cuda_setDevice", current.append, raising=False)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
    assert bench.begin(chosen) == torch.device(asked)
    assert current == made


def test_a_library_that_is_not_here_ends_with_4(capsys, monkeypatch):
    monkeypatch.setattr(trl_images, "NEEDED", ("torch", "trl_of_nowhere"))
    assert "needs trl_of_nowhere, not installed" in refused(capsys, 4, trl_images, "--device", "cpu", "--geometry", "toy")


def test_a_film_that_is_not_there_ends_with_3(tmp_path, capsys):
    assert "nowhere.mp4" in refused(capsys, 3, video, str(tmp_path / "nowhere.mp4"), "--only", "ours", "--out", str(tmp_path / "out.json"))


def test_a_command_says_nothing_of_torchao():
    """Which transformers loads wherever it is installed: in a process of its own, as people start it."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.step", "--device", "foo"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--device: 'foo' is no device.\nGive cpu, cuda or cuda:N.\n"


def test_other_notes_of_that_log_are_heard(caplog):
    log = notes.getLogger(PYTREE_LOG)
    log.warning("%s is an Enum subclass and is now natively supported", "one")
    log.warning("another note")
    assert [record.message for record in caplog.records] == ["another note"]


def refused(capsys, code, module, *words):
    """The one or two lines of a fault that ends a benchmark with that exit code."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        module.main(list(words))
    out, err = capsys.readouterr()
    assert stopped.value.code == code and out == "" and 1 <= len(err.splitlines()) <= 2, err
    return err


def test_gradients_that_point_elsewhere_are_seen(monkeypatch):
    """Turned round, so that the norm hardly changes."""
    supply = models.Supply("toy", torch.device("cpu"), prompt_tokens=None)
    settings = ways.Settings(tokens=8)
    assert step.checked(supply, settings)["A_gradient_gap"] < 1e-4
    straight = ways.advantages_of

    class Turned(ways.Stock):
        def _gradient(self, *given):
            with monkeypatch.context() as patch:
                patch.setattr(ways, "advantages_of", lambda count, seed: [-each for each in straight(count, seed)])
                return super()._gradient(*given)

    monkeypatch.setitem(step.WAYS, "A", Turned)
    with pytest.raises(AssertionError, match="A's gradient"):
        step.checked(supply, settings)
