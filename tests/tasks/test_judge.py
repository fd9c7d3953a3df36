"""Judging: each completion on its own, and a reward that misbehaves is named."""

from dataclasses import replace

import numpy as np
import pytest
from tests.tasks.samples import SAMPLES, TASKS, said

from videochat_r1.errors import UsageError
from videochat_r1.tasks.base import Asking, judge, load_task

TASK, SAMPLE = TASKS["video_qa"], SAMPLES["video_qa"]


def test_a_group_may_hold_any_number_of_completions():
    texts = ["<answer>C</answer>", "C", "<answer>A</answer>"]
    assert [rollout.total for rollout in judge(TASK, SAMPLE, map(said, texts), Asking())] == [2.0, 0.0, 1.0]  # type: ignore[arg-type]
    assert judge(TASK, SAMPLE, [], Asking()) == ()


def test_a_reward_may_be_a_numpy_number():
    task = replace(TASK, rewards={"half": lambda *_: np.float32(0.5)})
    assert judge(task, SAMPLE, [said("")], Asking())[0].rewards == {"half": 0.5}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1, None, [1.0], np.zeros(2)], ids=repr)
def test_a_reward_that_is_no_number_from_0_to_1_is_named(value):
    task = replace(TASK, rewards={"mine": lambda *_: value})
    with pytest.raises(UsageError, match=f"'mine'.*{SAMPLE.id}"):
        judge(task, SAMPLE, [said("")], Asking())


def test_a_reward_that_raises_is_named():
    task = replace(TASK, rewards={"mine": lambda *_: 1 / 0})
    with pytest.raises(UsageError, match="'mine' failed on sample 4882821564_2: ZeroDivisionError"):
        judge(task, SAMPLE, [said("")], Asking())


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'temporal_grounding'"):
        load_task("temporal_groundin")


def test_a_task_in_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from videochat_r1.tasks.video_qa import TASK\n")
    assert load_task(str(path)) is TASK
