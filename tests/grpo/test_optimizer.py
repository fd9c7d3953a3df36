"""The learning rate's course, clipping, and an optimizer whose state is plain tensors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from videochat_r1.grpo.config import TrainConfig
from videochat_r1.grpo.optimizer import Optimizer, learning_rate


@pytest.mark.parametrize(
    "schedule, warmup, expected",
    [
        ("linear", 0, [1.0, 0.75, 0.5, 0.25]),
        ("linear", 2, [0.5, 1.0, 1.0, 0.5]),
        ("constant", 0, [1.0, 1.0, 1.0, 1.0]),
        ("constant", 3, [1 / 3, 2 / 3, 1.0, 1.0]),
        ("cosine", 0, [1.0, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2]),
    ],
)
def test_learning_rate_of_four_steps(schedule, warmup, expected):
    config = TrainConfig(lr=1.0, schedule=schedule, warmup=warmup)
    assert [learning_rate(step, 4, config) for step in (1, 2, 3, 4)] == pytest.approx(expected)


def test_a_warmup_that_never_ends_is_refused():
    with pytest.raises(ValueError, match="must end before the run"):
        TrainConfig(steps=10, warmup=10)


def weights(dtype=torch.float32):
    return {"a": nn.Parameter(torch.tensor([1.0, 2.0], dtype=dtype)), "b": nn.Parameter(torch.tensor([3.0], dtype=dtype))}


def test_one_step_of_adamw_by_hand():
    own = weights()
    optimizer = Optimizer(own, TrainConfig(grad_clip=0.0))
    own["a"].grad = torch.tensor([3.0, 0.0])
    own["b"].grad = torch.tensor([-4.0])
    assert optimizer.step(lr=0.1) == pytest.approx(5.0)
    # the first step of Adam is lr x sign(gradient)
    assert own["a"].tolist() == pytest.approx([0.9, 2.0])
    assert own["b"].tolist() == pytest.approx([3.1])
    assert own["a"].grad is None


def test_the_gradient_is_clipped_to_its_norm():
    own = weights()
    optimizer = Optimizer(own, TrainConfig(grad_clip=1.0, betas=(0.0, 0.0)))
    own["a"].grad, own["b"].grad = torch.tensor([3.0, 0.0]), torch.tensor([-4.0])
    assert optimizer.step(lr=0.0) == pytest.approx(5.0)
    assert optimizer.tensors()["exp_avg.a"].tolist() == pytest.approx([0.6, 0.0], rel=1e-5)
    assert optimizer.tensors()["exp_avg.b"].tolist() == pytest.approx([-0.8], rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_no_byte(bad):
    own = weights()
    optimizer = Optimizer(own, TrainConfig())
    own["a"].grad, own["b"].grad = torch.tensor([1.0, bad]), torch.tensor([1.0])
    assert not math.isfinite(optimizer.step(lr=0.1))
    assert own["a"].tolist() == [1.0, 2.0]
    assert own["b"].tolist() == [3.0]
    assert optimizer.tensors() == {}


def test_small_steps_of_bfloat16_weights_add_up():
    low = nn.Parameter(torch.tensor([1.0], dtype=torch.bfloat16))
    optimizer = Optimizer({"w": low}, TrainConfig(grad_clip=0.0))
    for _ in range(1000):
        low.grad = torch.tensor([1.0], dtype=torch.bfloat16)
        optimizer.collect()
        optimizer.step(lr=1e-4)  # far under bfloat16's spacing of 2^-8 below 1
    assert low.item() == pytest.approx(0.9, abs=4e-3)
    assert optimizer.tensors()["master.w"].item() == pytest.approx(0.9, abs=1e-4)


def test_gradients_of_micro_batches_are_summed_in_float32():
    low = nn.Parameter(torch.tensor([1.0], dtype=torch.bfloat16))
    optimizer = Optimizer({"w": low}, TrainConfig(grad_clip=0.0))
    for _ in range(512):
        low.grad = torch.tensor([1.0], dtype=torch.bfloat16)  # in bfloat16 the sum would stop at 256
        optimizer.collect()
    assert optimizer.step(lr=0.0) == pytest.approx(512.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_goes_on_to_the_bit(dtype):
    def gradients(own, step):
        for name, weight in own.items():
            weight.grad = torch.sin(weight.detach().float() * step + len(name)).to(dtype)

    config = TrainConfig(weight_decay=0.01)
    straight = weights(dtype)
    optimizer = Optimizer(straight, config)
    for step in range(1, 7):
        if step == 4:
            kept = {name: weight.detach().clone() for name, weight in straight.items()}
            state = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
        gradients(straight, step)
        optimizer.collect()
        optimizer.step(lr=0.01 * step)
    resumed = {name: nn.Parameter(weight) for name, weight in kept.items()}
    again = Optimizer(resumed, config)
    again.load(state)
    for step in range(4, 7):
        gradients(resumed, step)
        again.collect()
        again.step(lr=0.01 * step)
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in optimizer.tensors().items())


def test_state_of_other_parameters_is_refused():
    with pytest.raises(KeyError, match="not trained"):
        Optimizer(weights(), TrainConfig()).load({"exp_avg.c": torch.zeros(1)})
