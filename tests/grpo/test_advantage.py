"""Advantages against numbers worked by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videochat_r1.grpo.advantage import TaskScales, advantages, leads, scaled_by_group, scaled_by_task
from videochat_r1.grpo.config import GrpoConfig


def test_scaled_by_group_by_hand():
    # mean 0.75; leads -0.75, -0.25, 0.25, 0.75; their squares sum to 1.25; 1.25 / 3 under the root with ddof 1 = 0.6454972
    expected = [lead / (math.sqrt(1.25 / 3) + 1e-4) for lead in (-0.75, -0.25, 0.25, 0.75)]
    assert scaled_by_group(torch.tensor([0.0, 0.5, 1.0, 1.5])).tolist() == pytest.approx(expected, rel=1e-6)


def test_leads_by_hand():
    assert leads(torch.tensor([0.0, 0.5, 1.0, 1.5])).tolist() == [-0.75, -0.25, 0.25, 0.75]


def test_scaled_by_task_by_hand():
    assert scaled_by_task(torch.tensor([0.0, 1.0]), 0.3999).tolist() == pytest.approx([-1.25, 1.25])


def test_a_task_whose_rewards_hardly_vary_does_not_blow_up_one_group():
    # 0.5 / 0.0101 = 49.5 would be far beyond 5; the group's own std (0.7071) gives 0.7070
    assert scaled_by_task(torch.tensor([0.0, 1.0]), 0.01).tolist() == pytest.approx([-0.70701, 0.70701], abs=1e-5)


@given(reward=st.floats(-10, 10, width=32), size=st.integers(2, 16))
def test_equal_rewards_teach_nothing(reward, size):
    rewards_G = torch.full((size,), reward)
    for advantages_G in (leads(rewards_G), scaled_by_group(rewards_G), scaled_by_task(rewards_G, 0.0)):
        assert advantages_G.dtype == torch.float32
        assert (advantages_G == 0).all()


@pytest.mark.parametrize("rewards", [[1.0], [], [0.0, math.nan], [0.0, math.inf]], ids=["one", "none", "nan", "inf"])
def test_what_is_no_group_is_refused(rewards):
    with pytest.raises(ValueError):
        leads(torch.tensor(rewards))


@pytest.mark.parametrize("size", [1, 0, -3])
def test_a_group_of_one_is_refused_by_the_recipe(size):
    with pytest.raises(ValueError, match="a group needs 2 completions at least"):
        GrpoConfig(group_size=size)


def test_moving_std_of_each_task_by_hand():
    scales = TaskScales(decay=0.9)
    scales.take("a", [0.0, 1.0])  # moments 0.5, 0.5
    assert scales.std("a") == pytest.approx(0.5)
    scales.take("a", [1.0, 1.0])  # 0.9 * 0.5 + 0.1 = 0.55, 0.9 * 0.5 + 0.1 = 0.55
    scales.take("b", [2.0, 4.0])  # 3, 10
    assert scales.std("a") == pytest.approx(math.sqrt(0.55 - 0.55**2))
    assert scales.std("b") == pytest.approx(1.0)


def test_task_scales_survive_json_to_the_last_bit():
    scales = TaskScales(decay=0.99)
    for step in range(20):
        scales.take("a", [math.sin(step), math.cos(step)])
    again = TaskScales(0.99, json.loads(json.dumps(scales.moments)))
    for each in (scales, again):
        each.take("a", [0.1, 0.7])
    assert again.moments == scales.moments


def test_a_batch_of_two_tasks_by_each_kind():
    tasks = ["a", "b", "a"]
    rewards = [torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0])]
    by_group = advantages(tasks, rewards, GrpoConfig(advantage="group_std"), TaskScales(0.5))
    assert torch.cat(by_group).tolist() == pytest.approx([-0.7070, 0.7070, -0.70706, 0.70706, 0.0, 0.0], abs=1e-4)
    centred = advantages(tasks, rewards, GrpoConfig(advantage="centred"), TaskScales(0.5))
    assert torch.cat(centred).tolist() == [-0.5, 0.5, -1.0, 1.0, 0.0, 0.0]
    scales = TaskScales(0.5)
    by_task = advantages(tasks, rewards, GrpoConfig(advantage="task_std"), scales)
    std_a = math.sqrt(0.75 - 0.75**2)  # rewards 0, 1, 1, 1 of task a
    assert torch.cat(by_task).tolist() == pytest.approx([-0.5 / (std_a + 1e-4), 0.5 / (std_a + 1e-4), -1 / 1.0001, 1 / 1.0001, 0.0, 0.0])
    assert set(scales.moments) == {"a", "b"}
