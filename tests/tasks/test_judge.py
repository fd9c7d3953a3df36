"""Judging: each completion on its own, and a reward that misbehaves is named."""

from dataclasses import replace

import numpy as np
import pytest
from tests.tasks.samples import SAMPLES, TASKS, said

from videochat_r1.errors import Unscorable, UsageError
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.tasks.base.scoring import judge

TASK, SAMPLE = TASKS["video_qa"], SAMPLES["video_qa"]


def test_a_group_may_hold_any_number_of_completions():
    texts = ["<answer>C</answer>", "C", "<answer>A</answer>"]
    assert [rollout.total for rollout in judge(TASK, SAMPLE, map(said, texts), Asking())] == [2.0, 0.0, 1.0]  # type: ignore[arg-type]
    assert judge(TASK, SAMPLE, [], Asking()) == ()


def test_a_reward_may_be_a_numpy_number():
    task = replace(TASK, rewards={"half": lambda *_: np.float32(0.5)})
    assert judge(task, SAMPLE, [said("")], Asking())[0].rewards == {"half": 0.5}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1, None, [1.0], np.zeros(2), "much"], ids=repr)
def test_a_reward_that_is_no_number_from_0_to_1_leaves_the_completion_without_a_score(value):
    task = replace(TASK, rewards={"mine": lambda *_: value, "sound": lambda *_: 1.0})
    (rollout,) = judge(task, SAMPLE, [said("")], Asking())
    assert rollout.total is None
    assert rollout.unscorable.startswith("mine: ")
    assert rollout.rewards == {"sound": 1.0}


def test_a_reward_may_say_that_it_cannot_tell():
    def asked(reading, sample, asking):
        if reading.answer is None:
            raise Unscorable("the judge does not reply")
        return 1.0

    rollouts = judge(replace(TASK, rewards={"judged": asked}), SAMPLE, [said("<answer>C</answer>"), said("none")], Asking())
    assert [rollout.total for rollout in rollouts] == [1.0, None]
    assert rollouts[1].unscorable == "judged: the judge does not reply"


def test_a_reward_that_raises_is_shown_once_with_where(caplog):
    task = replace(TASK, rewards={"mine that divides": lambda *_: 1 / 0})
    rollouts = judge(task, SAMPLE, [said("a"), said("b")], Asking())
    assert [rollout.unscorable for rollout in rollouts] == ["mine that divides: ZeroDivisionError: division by zero"] * 2
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert SAMPLE.id in caplog.records[0].getMessage()


def test_a_value_error_over_a_text_is_the_rewards_and_over_an_empty_reading_the_truths():
    def reads_itself(reading, sample, asking):
        return float("much") if reading.answer else 0.0

    (rollout,) = judge(replace(TASK, rewards={"reads": reads_itself}), SAMPLE, [said("<answer>C</answer>")], Asking())
    assert rollout.total is None
    with pytest.raises(ValueError):
        judge(TASK, replace(SAMPLE, truth=replace(SAMPLE.truth, choice=None)), [said("<answer>C</answer>")], Asking())


def test_a_task_sees_all_answers_before_its_rewards_are_asked():
    seen = []
    task = replace(TASK, prepare=lambda pairs, asking: seen.extend(reading.answer is None for reading, _ in pairs))
    task = replace(task, rewards={"order": lambda *_: float(len(seen) == 2)})
    assert [rollout.total for rollout in judge(task, SAMPLE, [said("<answer>C</answer>"), said("")], Asking())] == [1.0, 1.0]
    assert seen == [False, True]


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'temporal_grounding'"):
        load_task("temporal_groundin")


def test_a_task_in_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from videochat_r1.tasks.video_qa import TASK\n")
    assert load_task(str(path)).ask(SAMPLE, Asking()) == TASK.ask(SAMPLE, Asking())
