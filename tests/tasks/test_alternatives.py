"""Rewards chosen by the recipe: each is paid under its own name, the truth earns full marks, and a wrong name lists the right ones."""

from dataclasses import replace

import pytest
from tests.tasks.samples import SAMPLES, TASKS, said

from videochat_r1.errors import UsageError
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.scoring import judge

CHOICES = [(name, chosen) for name, task in TASKS.items() for chosen in task.alternatives]


@pytest.mark.parametrize("name, chosen", CHOICES)
def test_the_truth_earns_full_marks_and_nothing_earns_more(name, chosen):
    task, sample, asking = TASKS[name], SAMPLES[name], Asking(rewards={name: chosen})
    (right, nothing) = judge(task, sample, [said(task.write(sample.truth, asking)), said("I do not know")], asking)
    assert right.rewards.keys() == task.alternatives[chosen].keys() == nothing.rewards.keys()
    assert right.total == pytest.approx(len(right.rewards))
    assert nothing.total == 0.0


def test_there_are_alternatives_for_spans_and_boxes():
    assert {("temporal_grounding", "timestamp_tiou"), ("temporal_grounding", "tiou_wasserstein"), ("tracking", "box_giou")} < set(CHOICES)


def test_grounding_paid_three_ways():
    sample = replace(SAMPLES["temporal_grounding"], duration_s=40.0)  # the truth is 10 to 20
    paid = {
        chosen: judge(TASKS[sample.task], sample, [said("<answer>15.00 to 25.00</answer>")], Asking(rewards={sample.task: chosen}))[
            0
        ].rewards
        for chosen in ("tiou", "timestamp_tiou", "tiou_wasserstein")
    }
    assert paid["tiou"] == {"format": 1.0, "tiou": pytest.approx(1 / 3)}
    assert paid["timestamp_tiou"] == {"format": 1.0, "timestamp_tiou": pytest.approx(1 / 3 * 0.875**2)}
    assert paid["tiou_wasserstein"] == {"format": 1.0, "tiou": pytest.approx(1 / 3), "wasserstein": pytest.approx(0.716531, abs=1e-6)}


def test_a_sample_without_a_duration_cannot_be_paid_by_it():
    sample = replace(SAMPLES["temporal_grounding"], duration_s=None)
    with pytest.raises(ValueError, match="no duration"):
        judge(TASKS[sample.task], sample, [said("<answer>1 to 2</answer>")], Asking(rewards={sample.task: "timestamp_tiou"}))


def test_the_choice_for_one_task_leaves_another_as_it_is():
    rollout = judge(TASKS["tracking"], SAMPLES["tracking"], [said("")], Asking(rewards={"temporal_grounding": "wasserstein"}))[0]
    assert set(rollout.rewards) == {"format", "box_iou"}


def test_a_mistyped_reward_names_the_right_ones():
    with pytest.raises(UsageError, match=r"no reward 'timestamp_iou'.\nDid you mean 'timestamp_tiou'\? Known: .*wasserstein"):
        judge(
            TASKS["temporal_grounding"], SAMPLES["temporal_grounding"], [said("")], Asking(rewards={"temporal_grounding": "timestamp_iou"})
        )
