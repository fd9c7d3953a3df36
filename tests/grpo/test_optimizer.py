"""The learning rate's course, clipping, and an optimizer whose state is plain tensors."""

from __future__ import annotations

import math
import sys

import pytest
import torch
import torch._dynamo
from torch import nn

from videochat_r1.errors import EnvironmentFault
from videochat_r1.grpo import optimizer as optimizers
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


# -- moments in 8 bits


def large(dtype=torch.float32, seed=0):
    """One weight that is large enough for 8-bit moments, and one that is not."""
    draw = torch.Generator().manual_seed(seed)
    return {"a": nn.Parameter(torch.randn(64, 128, generator=draw).to(dtype)), "b": nn.Parameter(torch.randn(7, generator=draw).to(dtype))}


def descend(own, optimizer, steps, first=1):
    """Down the square of each weight, whose least is at 0."""
    for step in range(first, first + steps):
        for weight in own.values():
            weight.grad = (weight.detach() * (1 + 0.1 * math.sin(step))).to(weight.dtype)
        optimizer.collect()
        optimizer.step(lr=0.01)


@pytest.mark.parametrize(
    "name, dtype", [("adamw_8bit", torch.float32), ("adamw_8bit", torch.bfloat16), ("adamw_8bit_bf16", torch.bfloat16)]
)
def test_8_bit_moments_go_where_adamw_goes_and_go_on_to_the_bit(name, dtype):
    pytest.importorskip("torchao", reason="needs the extra 8bit")
    config = TrainConfig(optimizer=name, grad_clip=1.0)
    exact, own = large(dtype), large(dtype)
    descend(exact, Optimizer(exact, TrainConfig(grad_clip=1.0)), 6)
    torch.manual_seed(3)
    optimizer = Optimizer(own, config)
    descend(own, optimizer, 3)
    state = {key: tensor.clone() for key, tensor in optimizer.tensors().items()}
    kept, generator = {key: weight.detach().clone() for key, weight in own.items()}, torch.get_rng_state()
    descend(own, optimizer, 3, first=4)
    moved = (exact["a"].detach() - large(dtype)["a"].detach()).float()
    off = (own["a"].detach() - exact["a"].detach()).float()
    assert off.norm() < 0.05 * moved.norm() + (0.25 * moved.norm() if name == "adamw_8bit_bf16" else 0)
    assert state["exp_avg_codes.a"].dtype == torch.uint8 and state["exp_avg_scale.a"].shape == (64 * 128 // 256,)
    assert ("master.a" in state) == (name == "adamw_8bit" and dtype == torch.bfloat16)
    assert state["exp_avg.b"].dtype in (torch.float32, dtype)  # too small for blocks

    resumed = {key: nn.Parameter(weight) for key, weight in kept.items()}
    again = Optimizer(resumed, config)
    again.load(state)
    torch.set_rng_state(generator)
    descend(resumed, again, 3, first=4)
    assert all(torch.equal(resumed[key], own[key]) for key in own)
    assert all(torch.equal(again.tensors()[key], tensor) for key, tensor in optimizer.tensors().items())


def test_steps_too_small_for_bfloat16_add_up_on_average_where_rounding_is_random():
    pytest.importorskip("torchao", reason="needs the extra 8bit")
    torch.manual_seed(0)
    low = nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
    optimizer = Optimizer({"w": low}, TrainConfig(optimizer="adamw_8bit_bf16", grad_clip=0.0))
    for _ in range(100):
        low.grad = torch.ones_like(low)
        optimizer.collect()
        optimizer.step(lr=1e-4)  # far under bfloat16's spacing of 2^-8 below 1
    assert low.float().mean().item() == pytest.approx(0.99, abs=1e-3)
    assert "master.w" not in optimizer.tensors()


def test_the_8_bit_step_is_compiled_once_for_each_kind_of_weight_and_gives_what_it_gives_uncompiled(monkeypatch, caplog):
    """As on a GPU, but for the last stage: graphs are taken whole, and no learning rate makes another one."""
    pytest.importorskip("torchao", reason="needs the extra 8bit")
    plain, own = large(), large()
    descend(plain, Optimizer(plain, TrainConfig(optimizer="adamw_8bit")), 3)
    monkeypatch.setattr(optimizers, "kernels_work", lambda device: True)
    compile_whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda work, **options: compile_whole(work, backend="aot_eager", **options))
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]
    before, optimizer = graphs["unique_graphs"], Optimizer(own, TrainConfig(optimizer="adamw_8bit"))
    for step in (1, 2, 3):
        descend(own, optimizer, 1, first=step)
        assert graphs["unique_graphs"] == before + 2
    assert [record.getMessage() for record in caplog.records if record.name == "videochat_r1"] == [
        "torchao compiles its step for 2 kinds of weights now; that can take minutes."
    ]
    for name, weight in own.items():
        torch.testing.assert_close(weight, plain[name])
    caplog.clear()
    resumed = large()
    again = Optimizer(resumed, TrainConfig(optimizer="adamw_8bit"))
    again.load(optimizer.tensors())
    descend(resumed, again, 1, first=4)
    assert "compiles its step" in caplog.text  # another process would


def test_8_bit_moments_without_their_library_are_refused_with_the_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(EnvironmentFault, match="torchao") as caught:
        Optimizer(weights(), TrainConfig(optimizer="adamw_8bit"))
    assert "videochat-r1[8bit]" in caught.value.mend
