"""Rewards that misbehave: raise, hang, end their process, or give no number. Such completions are left out and counted, never paid 0."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import textwrap
import time
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests.grpo.small_run import letters, run_in, small_trainer, timeless
from tests.tiny import tiny_policy

from videochat_r1.commands.train import _show
from videochat_r1.errors import EnvironmentFault
from videochat_r1.grpo.advantage import TaskScales, advantages, leads, scaled_by_group
from videochat_r1.grpo.config import GrpoConfig
from videochat_r1.grpo.log import RunFolder, read_rows
from videochat_r1.grpo.order import Source
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.apart import Apart
from videochat_r1.types import Answer, Completion, Sample

MISBEHAVES = """
import os, time
from videochat_r1.errors import Unscorable
from videochat_r1.tasks.base import Task
from videochat_r1.types import Answer, Reading

def reward(reading, sample, asking):
    if not sample.truth.label:
        raise ValueError("no label")
    text = reading.answer.label
    print("a task may print")
    if "raise" in text:
        return 1 / 0
    if "exit" in text:
        raise SystemExit(0)
    if "ctrl-c" in text:
        raise KeyboardInterrupt
    if "hang" in text:
        while True:
            pass
    if "end" in text:
        os._exit(3)
    if "none" in text:
        return None
    if "judge" in text:
        raise Unscorable("no reply")
    return float("nan") if "nan" in text else len(text) / 100

TASK = Task(
    ask=lambda sample, asking: sample.question,
    read=lambda text, sample, asking: Reading(answer=Answer(label=text, spans=((0.0, 1.5),)), reason="", format_ok=True),
    write=lambda answer, asking: answer.label,
    rewards={"mine": reward, "sound": lambda *_: 0.5},
    metrics={},
)
"""


@pytest.fixture
def task_file(tmp_path):
    path = tmp_path / "misbehaves.py"
    path.write_text(MISBEHAVES)
    return str(path)


@pytest.fixture
def process(task_file):
    process = Apart(task_file)
    yield process
    process.close()


def asked(process, text, *, label="a", deadline_s=20.0):
    sample = Sample(id="mine/0", task=process.path, video="v", question="q", truth=Answer(label=label), options=("(A) x",), meta={"k": 1})
    completion = Completion(ids_T=torch.tensor([1]), logprobs_T=torch.zeros(1), text=text, stop="end")
    return process.rollout(sample, completion, Asking(), deadline_s)


def test_each_way_to_misbehave_leaves_one_completion_without_a_score(process):
    found = {text: asked(process, text) for text in ("fine", "raise", "exit", "ctrl-c", "none", "judge", "nan", "end", "fine too")}
    assert {text: rollout.unscorable for text, rollout in found.items()} == {
        "fine": "",
        "raise": "mine: ZeroDivisionError: division by zero",
        "exit": "mine: SystemExit: 0",
        "ctrl-c": "mine: KeyboardInterrupt",
        "none": "mine: no score",
        "judge": "mine: no reply",
        "nan": "mine: gave nan, which is not from 0 to 1",
        "end": "the process of the rewards ended",
        "fine too": "",
    }
    assert found["fine"].total == pytest.approx(0.54)
    assert found["fine"].reading.answer == Answer(label="fine", spans=((0.0, 1.5),))
    assert all(rollout.total is None for text, rollout in found.items() if not text.startswith("fine"))


def test_each_way_to_misbehave_is_told_once_for_a_reward(process, capfd, caplog):
    for text in ("raise", "none", "nan", "hang", "end", "exit", "ctrl-c", "judge") * 2:
        asked(process, text, deadline_s=0.5 if text == "hang" else 20.0)
    apart = [line for line in capfd.readouterr().err.splitlines() if "such completions are left out and counted" in line]
    assert [line.split(";")[0] for line in apart] == [
        "The reward 'mine' failed on sample mine/0",
        "The reward 'mine' cannot score a text of mine/0: no score",
        "The reward 'mine' cannot score a text of mine/0: gave nan, which is not from 0 to 1",
        "The reward 'mine' failed on sample mine/0",
        "The reward 'mine' failed on sample mine/0",
        "The reward 'mine' cannot score a text of mine/0: no reply",
    ]
    ended = [f"{process.path} took longer than 0.5 s over a text of mine/0", f"{process.path} ended its process over a text of mine/0"]
    assert [message.split(";")[0] for message in caplog.messages] == ended


def test_a_reward_that_hangs_is_ended_at_its_deadline(process):
    asked(process, "started")
    before = time.monotonic()
    assert asked(process, "hang", deadline_s=0.2).unscorable == "took longer than 0.2 s"
    assert time.monotonic() - before < 3.0
    assert asked(process, "fine").unscorable == ""


def test_a_truth_at_fault_is_still_the_datas(process):
    with pytest.raises(ValueError, match="no label"):
        asked(process, "fine", label="")


def test_a_task_that_cannot_be_imported_is_named(tmp_path, capfd):
    path = tmp_path / "broken.py"
    path.write_text("1 / 0")
    with pytest.raises(EnvironmentFault, match=r"broken\.py cannot be imported"):
        asked(Apart(str(path)), "x")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_hanging_process_does_not_outlive_its_parent(task_file):
    script = f"""
        from videochat_r1.tasks.base.apart import Apart
        from videochat_r1.tasks.base import Asking
        from videochat_r1.types import Answer, Completion, Sample
        process = Apart({task_file!r})
        sample = Sample(id="mine/0", task="", video="v", question="q", truth=Answer(label="a"))
        for text in ("fine", "hang"):
            process.rollout(sample, Completion(ids_T=None, logprobs_T=None, text=text, stop="end"), Asking(), 100.0)
            print(process.process.pid, flush=True)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        try:
            state = Path(f"/proc/{worker}/stat").read_text(encoding="ascii").split(")")[1].split()[0]
        except OSError:
            return
        if state == "Z":  # ended; whoever adopted it has not looked yet
            return
        time.sleep(0.05)
    pytest.fail("the process of the rewards is still there")


@pytest.mark.parametrize("kind", ["group_std", "centred", "task_std"])
def test_the_others_advantages_are_those_of_a_group_without_it(kind):
    config = GrpoConfig(advantage=kind)
    with_nan = advantages(["t"], [torch.tensor([0.0, math.nan, 1.0, 0.5])], config, TaskScales(0.9))
    without = advantages(["t"], [torch.tensor([0.0, 1.0, 0.5])], config, TaskScales(0.9))
    assert with_nan[0][[0, 2, 3]].tolist() == without[0].tolist()
    assert with_nan[0][1] == 0.0


def test_one_score_or_none_is_no_group():
    rewards = [torch.tensor([1.0, math.nan]), torch.tensor([math.nan, math.nan]), torch.tensor([0.0, 1.0])]
    first, second, third = advantages(["t"] * 3, rewards, GrpoConfig(), TaskScales(0.9))
    assert first.tolist() == second.tolist() == [0.0, 0.0]
    assert third.tolist() == scaled_by_group(rewards[2]).tolist()
    with pytest.raises(ValueError, match="finite"):
        leads(rewards[0])


def broken_letters(path, broken):
    """The letters task, but texts of which `broken` is true have no score."""
    path.write_text(
        "from dataclasses import replace\nfrom tests.grpo.letters_task import TASK as LETTERS, vowels\n"
        f"broken = {broken}\n"
        "TASK = replace(LETTERS, rewards={'vowels': lambda r, s, a: None if broken(r.answer.label) else vowels(r, s, a)})\n"
    )
    return [Sample(id=one.id, task=str(path), video=one.video, question=one.question, truth=one.truth) for one in letters(4)]


def test_a_run_leaves_them_out_of_the_loss_and_counts_them(tmp_path, capfd):
    samples = broken_letters(tmp_path / "task.py", "lambda text: len(text.encode()) % 2 == 1")
    seen = []
    with RunFolder(tmp_path / "run") as folder:
        grpo = {"group_size": 4, "unscorable_limit": 1.0, "reward_deadline_s": 20.0}
        trainer = small_trainer(folder, sources=[Source(samples=samples)], grpo=grpo, train={"steps": 3})
        gradient = trainer.learner.gradient
        trainer.learner.gradient = lambda lesson, features: seen.append(lesson) or gradient(lesson, features)
        outcome = trainer.run()
    rows = list(read_rows(tmp_path / "run" / "rollouts.jsonl"))
    lost = [row for row in rows if "unscorable" in row]
    assert 0 < len(lost) < len(rows)
    assert outcome.unscorable == len(lost)
    assert capfd.readouterr().err.count("cannot score a text of letters/") == 1
    assert all(row["reward"] is None and row["advantage"] == 0.0 for row in lost)
    metrics = timeless(tmp_path / "run")
    assert sum(row["unscorable"] * 8 for row in metrics) == pytest.approx(len(lost))
    weights = [weight for lesson in seen for group in lesson.weights for weight in group]
    assert [weight > 0 for weight in weights] == [_is_told(rows, index) for index in range(len(rows))]


def _is_told(rows, index):
    group = rows[index - index % 4 : index - index % 4 + 4]
    return "unscorable" not in rows[index] and sum("unscorable" not in row for row in group) > 1


def test_a_run_stops_where_most_have_no_score_and_goes_on_once_they_have(tmp_path):
    path = tmp_path / "task.py"
    sources = [Source(samples=broken_letters(path, "lambda text: True"))]
    told = rf"4 of 4 .* cannot be scored; the first, of sample letters/\d by {path}: vowels: no score.\nMend {path} and go on"
    with pytest.raises(EnvironmentFault, match=told):
        run_in(tmp_path / "run", sources=sources, grpo={"reward_deadline_s": 20.0})
    broken_letters(path, "lambda text: False")
    from videochat_r1.tasks.base.apart import apart

    apart(str(path)).close()
    run_in(tmp_path / "run", sources=sources, grpo={"reward_deadline_s": 20.0}, resume=True)
    steps = [row["step"] for row in timeless(tmp_path / "run")]
    assert all(after == before + 1 for before, after in pairwise(steps))
    assert steps[-1] == 4


def test_the_last_line_of_a_run_counts_them(tmp_path):
    lines = []
    for unscorable in (0, 1234):
        out = StringIO()
        _show(None, tmp_path, unscorable, out)
        lines.append(out.getvalue())
    assert lines[1] == lines[0].replace("no report.", "no report; 1,234 completions could not be scored (unscorable in metrics.jsonl).")


def test_a_count_goes_on_with_its_run(tmp_path):
    sources = [Source(samples=broken_letters(tmp_path / "task.py", "lambda text: True"))]
    grpo = {"unscorable_limit": 1.0, "kl_weight": 0.0}
    assert run_in(tmp_path / "run", sources=sources, grpo=grpo, train={"steps": 1}).outcome.unscorable == 4
    assert run_in(tmp_path / "run", sources=sources, grpo=grpo, train={"steps": 2}, resume=True).outcome.unscorable == 8


def test_a_step_without_any_score_has_no_reward_and_moves_nothing(tmp_path):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2, adapter_noise=0.0)
    before = {name: weight.detach().clone() for name, weight in policy.parameters().items()}
    sources = [Source(samples=broken_letters(tmp_path / "task.py", "lambda text: True"))]
    grpo = {"unscorable_limit": 1.0, "kl_weight": 0.0, "reward_deadline_s": 20.0}
    run_in(tmp_path / "run", policy=policy, sources=sources, grpo=grpo, train={"steps": 2})
    assert all("reward" not in row and row["unscorable"] == 1.0 for row in timeless(tmp_path / "run"))
    assert all(torch.equal(weight, before[name]) for name, weight in policy.parameters().items())
