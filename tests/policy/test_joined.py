"""Layers of one input as one product, against the layers one by one."""

import logging

import pytest
import torch
from tests.rollout.tape import tape_capture
from tests.rollout.test_native import asked, hold_alike, ids, sharpened
from tests.tiny import FAMILIES, tiny_policy
from torch import nn
from torch.nn import functional as F

from videochat_r1.policy.joined import Joined
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine


class Block(nn.Module):
    def __init__(self, bias=True, trained=False):
        super().__init__()
        torch.manual_seed(0)
        for name, width in (("q_proj", 6), ("k_proj", 2), ("v_proj", 2)):
            setattr(self, name, nn.Linear(4, width, bias=bias).requires_grad_(trained))

    def forward(self, x):
        return [layer(x) for layer in (self.q_proj, self.k_proj, self.v_proj)]


def products_of(monkeypatch):
    """Rows of the matrix of each product that is taken from now on."""
    taken = []

    def linear(x, weight, bias=None, plain=F.linear):
        taken.append(len(weight))
        return plain(x, weight, bias)

    monkeypatch.setattr(F, "linear", linear)
    return taken


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 4), (2, 1, 4)], ids=str)
def test_one_product_gives_what_the_layers_give(shape, bias, monkeypatch):
    block, x = Block(bias), torch.randn(*shape)
    expected = block(x)
    joined = Joined(block)
    taken = products_of(monkeypatch)
    apart = block(x)
    with joined.on():
        for _ in range(2):  # the same input again is a product of its own
            torch.testing.assert_close(block(x), expected)
    assert taken == [6, 2, 2, 10, 10]
    torch.testing.assert_close(apart, expected, atol=0, rtol=0)
    torch.testing.assert_close(block(x), expected, atol=0, rtol=0)
    assert taken[5:] == [6, 2, 2]


def test_a_layer_asked_alone_or_of_another_input_is_right(monkeypatch):
    block, x, other = Block(), torch.randn(3, 4), torch.randn(3, 4)
    wanted, of_other = block(x), block(other)
    with Joined(block).on():
        torch.testing.assert_close(block.k_proj(x), wanted[1])
        torch.testing.assert_close(block.k_proj(x), wanted[1])
        torch.testing.assert_close(block.v_proj(other), of_other[2])
        torch.testing.assert_close(block.q_proj(x), wanted[0])


def test_weights_are_rows_of_one_matrix_and_changes_of_them_count():
    block = Block()
    kept = {name: weight.clone() for name, weight in block.named_parameters()}
    joined = Joined(block)
    assert len({weight.untyped_storage().data_ptr() for name, weight in block.named_parameters() if "weight" in name}) == 1
    assert all(torch.equal(weight, kept[name]) and weight.is_contiguous() for name, weight in block.named_parameters())
    x = torch.randn(3, 4)
    with torch.no_grad():
        block.k_proj.weight.mul_(3.0)
        block.v_proj.bias.add_(1.0)
    expected = block(x)
    with joined.on():
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_weight_that_was_put_elsewhere_is_the_one_that_counts(name, monkeypatch):
    block, x = Block(), torch.randn(3, 4)
    joined = Joined(block)
    moved = getattr(block.v_proj, name)
    row = moved.data
    moved.data = torch.randn_like(row)
    expected, taken = block(x), products_of(monkeypatch)
    with joined.on():
        torch.testing.assert_close(block(x), expected, atol=0, rtol=0)
        assert taken == [6, 2, 2]
        moved.data = row
        block(x)
        assert taken[3:] == [10]


def test_layers_that_are_trained_or_differ_stay_as_they_are():
    assert not Joined(Block(trained=True)).siblings
    mixed = Block()
    mixed.k_proj = nn.Linear(4, 2, bias=False).requires_grad_(False)
    assert not Joined(mixed).siblings
    half = Block()
    half.q_proj = half.q_proj.bfloat16()
    assert not Joined(half).siblings
    assert not Joined(nn.Linear(4, 4)).siblings


@pytest.mark.parametrize("joined_s, apart_s, pays", [(1.0, 2.0, True), (0.94, 1.0, True), (0.97, 1.0, False), (2.0, 1.0, False)])
def test_one_product_is_taken_where_it_is_clearly_faster(joined_s, apart_s, pays, monkeypatch):
    joined, taken, times = Joined(Block()), products_of(monkeypatch), []

    def timing(work):
        before = len(taken)
        work()
        times.append(tuple(taken[before:]))
        return {(10,): joined_s, (6, 2, 2): apart_s}[times[-1]]

    assert joined.pays(8, timing) is pays
    assert set(times) == {(10,), (6, 2, 2)}
    assert joined.pays(15, None) is pays  # measured once for 8 to 15 rows
    assert joined.pays(16, timing) is pays and len(times) == 4


def test_wrong_numbers_and_faults_are_said_and_not_taken(caplog):
    joined = Joined(Block())
    with caplog.at_level(logging.WARNING):
        assert not joined.pays(1, lambda work: 1 / 0)
        joined.siblings[0].weight_OD = joined.siblings[0].weight_OD + 1.0
        assert not joined.pays(8, lambda work: 0.0)
    assert "division by zero" in caplog.text and "off theirs" in caplog.text and len(caplog.records) == 2


@pytest.mark.parametrize("settings", [{}, {"lora_targets": ("q_proj", "down_proj")}], ids=["all", "some"])
@pytest.mark.parametrize("family", FAMILIES)
def test_joined_steps_write_what_steps_with_layers_apart_write(family, settings, monkeypatch):
    policy = sharpened(family, lora_rank=4, **settings)
    prompts, seeds = asked(policy, 3), [11, 12, 13]
    sampling = Sampling(max_tokens=24, graph_sizes=(1, 2, 4))
    expected = NativeEngine(policy, capture=tape_capture).complete(prompts, per_prompt=3, sampling=sampling, seeds=seeds)
    before = {name: weight.clone() for name, weight in policy.base.named_parameters()}
    policy.joined = Joined(policy.base.model.language_model)
    assert len(policy.joined.siblings) == 2 * len(policy.base.model.language_model.layers)
    engine, taken = NativeEngine(policy, capture=tape_capture, joins=True), products_of(monkeypatch)
    for _ in range(2):
        got = engine.complete(prompts, per_prompt=3, sampling=sampling, seeds=seeds)
        hold_alike(got, expected)
    assert engine._kept.graphs.captured and {len(each.weight_OD) for each in policy.joined.siblings} <= set(taken)
    assert all(torch.equal(weight, before[name]) for name, weight in policy.base.named_parameters())
    with torch.no_grad():
        for weight in policy.parameters().values():
            weight.mul_(1.5)  # as an optimizer's step: the next call merges the adapter anew, into the same rows
    expected = NativeEngine(policy, capture=tape_capture, joins=False).complete(prompts, per_prompt=3, sampling=sampling, seeds=seeds)
    assert ids(engine.complete(prompts, per_prompt=3, sampling=sampling, seeds=seeds)) == ids(expected)


def test_an_adapter_is_saved_as_before(tmp_path):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    policy.save(tmp_path / "before")
    policy.joined = Joined(policy.base.model.language_model)
    policy.save(tmp_path / "after")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_both_ways_are_measured_as_recorded_steps_on_a_cuda_device(caplog):
    from videochat_r1.policy.joined import recorded_seconds
    from videochat_r1.rollout._graphs import cuda_capture

    joined, stream = Joined(Block().cuda()), torch.cuda.current_stream()
    with caplog.at_level(logging.WARNING):
        for rows in (8, 32):
            joined.pays(rows, recorded_seconds(cuda_capture))
    assert not caplog.records and torch.cuda.current_stream() == stream
