"""The loop on a tiny policy: what it counts, skips, stops for and writes."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tests.grpo.small_run import DrawnLoader, letters, run_in, small_trainer, spans, timeless
from tests.tiny import tiny_policy
from tests.video.films import write_film

from videochat_r1.errors import DataError, EnvironmentFault, Interrupted, NumericalStop, UsageError
from videochat_r1.grpo import checkpoint, update
from videochat_r1.grpo.log import RunFolder, read_rows
from videochat_r1.grpo.order import Source
from videochat_r1.grpo.signals import StopSignal
from videochat_r1.grpo.state import plateau
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.types import Sample
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.sampling import VideoConfig


def weights_of(policy):
    return {name: weight.detach().clone() for name, weight in policy.parameters().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_one_decode_one_vision_pass_one_prefill(tmp_path):
    trainer = run_in(tmp_path, train={"steps": 3, "prompts_per_step": 2}, sources=[Source(samples=letters(6))])
    assert trainer.policy.counters == {"vision_passes": 6, "prefills": 6}
    assert 6 <= trainer.loader.counters["decodes"] <= 11  # a batch is rendered ahead, one prompt in work, two clips decoded ahead
    for row in timeless(tmp_path):
        assert row["counts/vision_passes"] == row["counts/prefills"] == 2


def test_a_reward_that_can_be_learned_is_learned(tmp_path):
    policy = tiny_policy("qwen2_5_vl", lora_rank=4, adapter_noise=0.0)
    train = {"steps": 30, "prompts_per_step": 2, "lr": 3e-2, "schedule": "constant", "checkpoint_every": 100}
    run_in(
        tmp_path,
        policy=policy,
        sources=[Source(samples=letters(4))],
        train=train,
        grpo={"group_size": 8, "kl_weight": 0.0},
        sampling={"max_tokens": 4},
    )
    rewards = [row["reward"] for row in timeless(tmp_path)]
    assert sum(rewards[-5:]) / 5 > 1.5 * sum(rewards[:5]) / 5


def test_the_rows_that_are_written(tmp_path):
    shown = []
    run_in(tmp_path, on_step=shown.append, sources=[Source(samples=letters(2)), Source(samples=spans(2))])
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert rows == json.loads(json.dumps(shown))
    expected = {
        "step",
        "reward",
        "reward_std",
        "rewards/vowels",
        "rewards/form",
        "rewards/tiou",
        "frac_reward_zero_std",
        "completions/mean_length",
    }
    expected |= {
        "completions/max_length",
        "completions/truncated",
        "kl",
        "entropy",
        "grad_norm",
        "lr",
        "loss",
        "clip_ratio",
        "tokens",
        "unparsed",
    }
    expected |= {"rollout_logprob_gap/mean", "rollout_logprob_gap/max", "throughput/tokens_per_second", "memory/rss_mb", "epoch"}
    expected |= {
        f"seconds/{phase}" for phase in ("data", "vision", "rollout", "reward", "reference", "policy", "optimizer", "checkpoint", "step")
    }
    expected |= {f"counts/{name}" for name in ("decodes", "vision_passes", "prefills", "quarantined", "skipped_updates")}
    expected |= {"letters_task/reward", "temporal_grounding/reward", "temporal_grounding/kl", "letters_task/completions/mean_length"}
    assert expected <= set().union(*rows)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row["rollout_logprob_gap/max"] < 1e-4 for row in rows)
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-9)
    assert rows[-1]["kl"] > 0
    rollouts = read_rows(tmp_path / "rollouts.jsonl")
    assert len(rollouts) == 4 * 2 * 2
    for row in rollouts:
        assert row["reward"] == pytest.approx(sum(row["rewards"].values()))
        assert {"step", "sample", "task", "index", "text", "advantage", "reason", "tokens", "stop"} <= set(row)
    assert rows[0]["reward"] == pytest.approx(sum(row["reward"] for row in rollouts if row["step"] == 1) / 4)


def test_the_policy_that_is_written_loads_as_a_stock_adapter(tmp_path):
    trainer = run_in(tmp_path)
    saved = load_file(tmp_path / "policy" / "adapter_model.safetensors")
    assert len(saved) == len(trainer.policy.parameters())
    own = {name.replace(".default.", "."): weight for name, weight in weights_of(trainer.policy).items()}
    assert same(saved, own)


def test_equal_rewards_and_no_kl_leave_every_byte(tmp_path):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    before = weights_of(policy)
    run_in(tmp_path, policy=policy, sources=[Source(samples=spans(4))], grpo={"kl_weight": 0.0})  # random text never reads as a span
    assert same(before, weights_of(policy))
    assert {row["frac_reward_zero_std"] for row in timeless(tmp_path)} == {1.0}
    assert {row["grad_norm"] for row in timeless(tmp_path)} == {0.0}


def test_no_kl_weight_uses_no_reference(tmp_path):
    policy = tiny_policy("qwen2_5_vl", keep_reference=False)
    run_in(tmp_path / "without", policy=policy, grpo={"kl_weight": 0.0}, train={"lr": 1e-3})
    assert "kl" not in timeless(tmp_path / "without")[0]
    with pytest.raises(UsageError, match="without a reference"):
        run_in(tmp_path / "with", policy=policy, grpo={"kl_weight": 0.04})


def test_samples_without_a_video_are_passed_over_counted_and_told_at_first_and_at_a_fifth(tmp_path, caplog):
    trainer = run_in(tmp_path, sources=[Source(samples=letters(6, broken=(1, 3)))], train={"steps": 4, "prompts_per_step": 2})
    assert {row["sample"] for row in read_rows(tmp_path / "rollouts.jsonl")} == {f"letters/{index}" for index in (0, 2, 4, 5)}
    assert timeless(tmp_path)[-1]["counts/quarantined"] == trainer.progress.quarantined > 0
    told = [line for line in caplog.messages if line.startswith("Left out")]
    assert [line.split(":")[0] for line in told] == ["Left out, 1 of 6 samples so far", "Left out, 2 of 6 samples so far"]
    assert "letters/" in told[0] and "cannot be read" in told[0]


@pytest.mark.parametrize("seed", range(4))
def test_one_usable_video_of_many_keeps_a_run_going(tmp_path, seed):
    """In the order of shuffled epochs the broken ones may come more often in a row than there are samples."""
    run_in(tmp_path, sources=[Source(samples=letters(4, broken=(0, 1, 2)))], train={"steps": 6, "prompts_per_step": 1, "seed": seed})
    assert {row["sample"] for row in read_rows(tmp_path / "rollouts.jsonl")} == {"letters/3"} and len(timeless(tmp_path)) == 6


def test_no_video_at_all_is_a_clean_stop(tmp_path):
    with pytest.raises(DataError, match="Not one of the 3 samples has a usable video"):
        run_in(tmp_path, sources=[Source(samples=letters(3, broken=range(3)))])


def test_a_truth_at_fault_names_its_sample(tmp_path):
    bad = spans(1)[0].__class__(**{**spans(1)[0].__dict__, "truth": spans(1)[0].truth.__class__(spans=((0.6, 0.1),))})
    with pytest.raises(DataError, match="spans/0"):
        run_in(tmp_path, sources=[Source(samples=[bad])], train={"prompts_per_step": 1, "method": "sft"})


@pytest.mark.parametrize("updates", [1, 3])
def test_several_updates_on_one_batch(tmp_path, updates):
    train = {"steps": 2, "lr": 5e-2}
    trainer = run_in(tmp_path, grpo={"updates_per_batch": updates, "kl_weight": 0.0}, train=train, sources=[Source(samples=letters(4))])
    steps = {int(each) for name, each in trainer.optimizer.tensors().items() if name.startswith("step.")}
    assert steps == {2 * updates}
    clipped = [row["clip_ratio"] for row in timeless(tmp_path)]
    assert (max(clipped) > 0) == (updates > 1)
    assert trainer.policy.counters["vision_passes"] == 4


def test_the_gold_answers_become_likely(tmp_path):
    policy = tiny_policy("qwen3_vl")
    trainer = run_in(
        tmp_path,
        policy=policy,
        train={"method": "sft", "steps": 12, "lr": 5e-3, "schedule": "constant"},
        sources=[Source(samples=spans(2))],
    )
    rows = timeless(tmp_path)
    assert rows[0]["loss"] > 3
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert "reward" not in rows[0]
    assert rows[0]["completions/mean_length"] == len(policy.tokenizer.encode("<answer>0.10 to 0.60</answer>")) + 1
    assert policy.counters == {"vision_passes": 24}
    assert trainer.outcome.step == 12


def test_masked_truncated_completions_teach_nothing(tmp_path):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    before = weights_of(policy)
    run_in(tmp_path, policy=policy, grpo={"mask_truncated": True}, sources=[Source(samples=letters(4))])
    assert {row["completions/truncated"] for row in timeless(tmp_path)} == {1.0}
    assert same(before, weights_of(policy))


def poison(monkeypatch, at):
    """Make the log-probs of the calls numbered in `at` NaN."""
    real, calls = update.shared_logprobs, []

    def scored(*args):
        calls.append(None)
        scores = real(*args)
        if len(calls) in at:
            scores[0].logprobs[0] = scores[0].logprobs[0] * math.nan
        return scores

    monkeypatch.setattr(update, "shared_logprobs", scored)


def test_numbers_that_are_not_finite_skip_the_update(tmp_path, monkeypatch, caplog):
    seen = []
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    poison(monkeypatch, at={2})
    run_in(
        tmp_path,
        policy=policy,
        grpo={"kl_weight": 0.0},
        sources=[Source(samples=letters(4))],
        on_step=lambda row: seen.append(weights_of(policy)),
    )
    assert same(seen[0], seen[1])
    assert not same(seen[1], seen[2])
    rows = timeless(tmp_path)
    assert [row["counts/skipped_updates"] for row in rows] == [0, 1, 1, 1]
    assert [row["loss"] is None for row in rows] == [False, True, False, False]
    about = json.loads((tmp_path / "nonfinite" / "step-00000002.json").read_text())
    assert about["samples"] == [row["sample"] for row in read_rows(tmp_path / "rollouts.jsonl")[4:8:2]]
    kept = load_file(tmp_path / "nonfinite" / "step-00000002.safetensors")
    assert kept["0.0.logprobs"].isnan().all()
    assert kept["0.1.logprobs"].isfinite().all()
    assert "skipped" in caplog.text


def test_three_in_a_row_stop_the_run(tmp_path, monkeypatch):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    poison(monkeypatch, at={2, 3, 4})
    with pytest.raises(NumericalStop, match="3 steps in a row; the last was step 4") as stop:
        run_in(tmp_path, policy=policy, grpo={"kl_weight": 0.0}, sources=[Source(samples=letters(4))], train={"steps": 9})
    assert stop.value.exit_code == 6
    assert len(list((tmp_path / "nonfinite").glob("*.safetensors"))) == 3


def test_out_of_memory_while_sampling_samples_fewer_prompts_at_once(tmp_path, caplog):
    class Scarce(NativeEngine):
        def complete(self, prompts, *, sampling, **options):
            if sampling.batch_prompts > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().complete(prompts, sampling=sampling, **options)

    policy = tiny_policy("qwen2_5_vl", lora_rank=2, adapter_noise=0.0)
    trainer = run_in(tmp_path / "scarce", policy=policy, engine=Scarce(policy), train={"steps": 2})
    run_in(tmp_path / "plenty", train={"steps": 2})
    assert trainer.sampling.batch_prompts == 1
    assert "Out of GPU memory: from now on 1 prompt at a time." in caplog.text
    texts = [[row["text"] for row in read_rows(tmp_path / name / "rollouts.jsonl")] for name in ("scarce", "plenty")]
    assert texts[0] == texts[1]


def test_no_memory_for_one_prompt_is_a_clean_stop(tmp_path):
    class Nothing(NativeEngine):
        def complete(self, prompts, **options):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    with pytest.raises(EnvironmentFault, match="grpo.group_size down"):
        run_in(tmp_path, policy=policy, engine=Nothing(policy))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_finishes_the_step_and_saves(tmp_path, number):
    def at_two(row):
        if row["step"] == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"Stopped by {signal.Signals(number).name} after step 2 of 4") as stop:
        run_in(tmp_path / "stopped", on_step=at_two, train={"checkpoint_every": 100})
    assert stop.value.exit_code == 5
    after = signal.signal(number, before)
    assert after == (signal.SIG_IGN if number == signal.SIGHUP else before)  # a shell passes that one on once more
    assert [path.name[:13] for path in (tmp_path / "stopped" / "checkpoints").iterdir()] == ["step-00000002"]
    run_in(tmp_path / "stopped", resume=True, train={"checkpoint_every": 100})
    run_in(tmp_path / "straight", train={"checkpoint_every": 100})
    assert timeless(tmp_path / "stopped") == timeless(tmp_path / "straight")


TWO_SIGNALS = """
import os, signal
from videochat_r1.grpo.signals import StopSignal
with StopSignal():
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
print("on")
"""


def test_a_second_signal_stops_at_once():
    done = subprocess.run([sys.executable, "-c", TWO_SIGNALS], capture_output=True, check=False, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stdout == ""


@pytest.mark.parametrize("ignored", [False, True], ids=["a terminal's", "under nohup"])
def test_a_closed_terminal_is_heeded_unless_it_is_to_be_ignored(ignored):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with StopSignal() as stop:
            for _ in range(2):  # a shell sends it twice
                os.kill(os.getpid(), signal.SIGHUP) if not ignored else None
        assert (stop.received == signal.SIGHUP) != ignored
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, "what comes after the first ends nothing"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_disk_that_is_full_for_a_while_costs_only_checkpoints(tmp_path, monkeypatch, caplog):
    real = os.fsync
    full = []

    def fsync(descriptor):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    def on_step(row):
        full[:] = [True] if row["step"] in (2, 3) else []

    run_in(tmp_path, on_step=on_step)
    assert [record.message for record in caplog.records if "checkpoint of step" in record.message][0].startswith(
        "The checkpoint of step 2 was not written"
    )
    assert len(timeless(tmp_path)) == 4
    assert sorted(path.name[:13] for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000001", "step-00000004"]


def test_a_disk_that_stays_full_stops_the_run(tmp_path, monkeypatch):
    def on_step(row):
        if row["step"] == 2:
            monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))

    with pytest.raises(EnvironmentFault, match="3 checkpoints in a row could not be written") as told:
        run_in(tmp_path, on_step=on_step, train={"steps": 9})
    assert told.value.mend == "Make room on the disk; --resume goes on from step 1."
    monkeypatch.undo()
    run_in(tmp_path, resume=True, train={"steps": 9})
    assert [row["step"] for row in timeless(tmp_path)] == list(range(1, 10))


def test_a_disk_that_was_full_from_the_start_promises_no_checkpoint(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9 << 10))
    with pytest.raises(EnvironmentFault) as told:
        run_in(tmp_path, train={"steps": 9})
    assert "--resume begins at the first step" in told.value.mend
    said = "\n".join(record.message for record in caplog.records)
    assert "There is none before it." in said and "untouched" not in said
    assert "Checkpoints will take about" in said and "9 kB free" in said and "0.0" not in said


def test_a_policy_that_the_disk_refuses_says_where_a_resumed_run_goes_on(tmp_path, monkeypatch):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)

    def refuse(*_, **__):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(policy.model, "save_pretrained", refuse)
    with pytest.raises(EnvironmentFault, match="The policy could not be written") as told:
        run_in(tmp_path, policy=policy)
    assert "--resume goes on from step 4" in told.value.mend
    assert not (tmp_path / ".tmp-policy").exists()


def test_rows_that_could_not_be_written_to_the_last_are_told_at_the_end(tmp_path):
    (tmp_path / "elsewhere").mkdir()

    def on_step(row):
        if row["step"] == 1:
            log = tmp_path / "run" / "metrics.jsonl"
            log.rename(tmp_path / "elsewhere" / log.name)
            log.mkdir()
            log_of_run.close()

    with pytest.raises(EnvironmentFault, match=r"Not written, and lost: 3 rows of .*metrics\.jsonl \(Is a directory\)") as told:
        with RunFolder(tmp_path / "run") as folder:
            log_of_run = folder.logs["metrics.jsonl"]
            small_trainer(folder, on_step=on_step, train={"checkpoint_every": 100}).run()
    assert "The policy of step 4 is in" in told.value.mend and "begins at the first step" in told.value.mend
    assert (tmp_path / "run" / "policy").is_dir()


def test_a_folder_removed_under_the_run_is_a_clean_stop(tmp_path):
    def on_step(row):
        if row["step"] == 1:
            (tmp_path / "run").rename(tmp_path / "elsewhere")

    with pytest.raises(EnvironmentFault):
        run_in(tmp_path / "run", on_step=on_step, train={"checkpoint_every": 100})


@pytest.mark.parametrize(
    "rewards, steps, gain, stops",
    [
        ([0.1, 0.2, 0.3, 0.4], 2, 0.0, False),
        ([0.4, 0.4, 0.4, 0.4], 2, 0.0, True),
        ([0.1, 0.2, 0.3, 0.4], 2, 0.3, True),
        ([0.4, 0.3, 0.2], 2, 0.0, False),
        ([0.4, 0.3], 0, 0.0, False),
    ],
    ids=["rises", "level", "rises too little", "too early", "off"],
)
def test_plateau(rewards, steps, gain, stops):
    assert plateau(rewards, steps, gain) is stops


def test_a_plateau_ends_the_run_and_is_saved(tmp_path):
    trainer = run_in(tmp_path, sources=[Source(samples=spans(4))], train={"steps": 50, "plateau_steps": 2, "checkpoint_every": 100})
    assert (trainer.outcome.step, trainer.outcome.reason) == (4, "plateau")
    assert [path.name[:13] for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]
    assert (tmp_path / "policy").is_dir()


def test_epochs_count_steps(tmp_path):
    with RunFolder(tmp_path) as folder:
        trainer = small_trainer(folder, train={"steps": 0, "epochs": 2.0, "prompts_per_step": 3}, sources=[Source(samples=letters(7))])
        assert trainer.steps == 5


def test_a_changed_recipe_is_refused_on_resume(tmp_path):
    run_in(tmp_path, train={"steps": 2})
    with pytest.raises(UsageError, match="grpo.group_size: 2 -> 3"):
        run_in(tmp_path, resume=True, grpo={"group_size": 3})
    with pytest.raises(UsageError, match="samples are not those"):
        run_in(tmp_path, resume=True, sources=[Source(samples=letters(3))])
    assert run_in(tmp_path, resume=True, train={"steps": 3, "lr": 1e-3}).outcome.step == 3
    assert run_in(tmp_path, resume=True, grpo={"group_size": 3}, resume_anyway=True, train={"steps": 4}).outcome.step == 4


def test_one_seed_one_run(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_in(tmp_path / name, train={"steps": 2, "seed": seed})
    assert timeless(tmp_path / "a") == timeless(tmp_path / "b") != timeless(tmp_path / "c")


def test_decoding_runs_ahead_of_the_step(tmp_path):
    """While a step runs, the next clips are decoded: the loader has been asked for more than the steps so far have used."""
    asked = []

    class Watching(DrawnLoader):
        def load(self, task, sample):
            asked.append(sample.id)
            return super().load(task, sample)

    with RunFolder(tmp_path) as folder:
        trainer = small_trainer(folder, train={"steps": 2, "prompts_per_step": 1})
        trainer.loader = Watching(trainer.loader.config, trainer.loader.geometry)
        counts = []
        trainer.on_step = lambda row: counts.append(len(asked))
        trainer.run()
    assert counts[0] >= 2


def test_another_model_is_refused_on_resume(tmp_path):
    run_in(tmp_path, train={"steps": 2})
    with pytest.raises(UsageError, match="not those that this policy trains"):
        run_in(tmp_path, resume=True, resume_anyway=True, policy=tiny_policy("qwen2_5_vl", lora_rank=3))


def test_a_run_on_films(tmp_path):
    """Real files through the real loader, one of them broken."""
    samples = []
    for index in range(3):
        write_film(tmp_path / f"{index}.mp4", 10)
        sample = spans(3)[index]
        samples.append(
            Sample(id=sample.id, task=sample.task, video=str(tmp_path / f"{index}.mp4"), question="it turns", truth=sample.truth)
        )
    (tmp_path / "1.mp4").write_bytes(b"no film")
    policy = tiny_policy("qwen3_vl", lora_rank=2, adapter_noise=0.0)
    with RunFolder(tmp_path / "run") as folder:
        trainer = small_trainer(folder, policy=policy, sources=[Source(samples=samples)])
        trainer.loader = ClipLoader(VideoConfig(min_pixels=64, max_pixels=1024), policy.geometry)
        trainer.run()
    assert {row["sample"] for row in read_rows(tmp_path / "run" / "rollouts.jsonl")} == {"spans/0", "spans/2"}
    assert trainer.loader.quarantine.counts() == {"not_a_video": 1}
    assert timeless(tmp_path / "run")[-1]["counts/quarantined"] >= 3


def test_an_interrupted_run_whose_disk_is_full_says_so(tmp_path, monkeypatch):
    def at_two(row):
        if row["step"] == 2:
            monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="could not be saved"):
        run_in(tmp_path, on_step=at_two)


def test_no_memory_for_one_video_is_a_clean_stop(tmp_path, monkeypatch):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    looked = []

    def vision(prompts):
        looked.append(len(prompts))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(policy, "vision", vision)
    with pytest.raises(EnvironmentFault, match="one video at a time"):
        run_in(tmp_path, policy=policy)
    assert looked == [2, 1]
