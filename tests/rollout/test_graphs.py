"""Recorded steps: the same completions from fixed shapes and replays as from steps that read exactly what is there."""

import logging

import pytest
import torch
from tests.rollout.tape import tape_capture
from tests.rollout.test_native import asked, hold_alike, ids, sharpened
from tests.tiny import FAMILIES

from videochat_r1.policy.attention import SharedRow
from videochat_r1.policy.products import wide_product
from videochat_r1.rollout._drawing import thinned
from videochat_r1.rollout._graphs import Graphs
from videochat_r1.rollout._tails import FIXED_TAIL, Tails
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine

LONG = FIXED_TAIL + 20


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4}], ids=["full", "LoRA"])
@pytest.mark.parametrize("family", FAMILIES)
def test_replayed_steps_write_what_plain_steps_write(family, settings):
    policy = sharpened(family, **settings)
    with torch.no_grad():
        policy.base.get_input_embeddings().weight[policy.end_ids[0]] *= 1.2  # many end early: the batch gets smaller
    prompts, seeds = asked(policy, 4), [11, 12, 13, 14]
    sampling = Sampling(max_tokens=LONG, graph_sizes=(1, 2, 3, 4))
    expected = NativeEngine(policy).complete(prompts, per_prompt=4, sampling=sampling, seeds=seeds)
    engine = NativeEngine(policy, capture=tape_capture)
    for turn in range(2):
        got = engine.complete(prompts, per_prompt=4, sampling=sampling, seeds=seeds)
        hold_alike(got, expected)
        graphs = engine._kept.graphs
        if turn == 0:
            captured = graphs.captured
            shapes = set(graphs._ready)
            assert {shape[3] for shape in shapes} == {FIXED_TAIL, LONG} and len({shape[:2] for shape in shapes}) > 1
    assert graphs.captured == captured and graphs.capture is tape_capture  # the second call replayed what the first recorded


def test_recorded_steps_follow_the_weights_the_prompts_and_the_seeds():
    policy = sharpened("qwen3_vl", lora_rank=4)
    prompts = asked(policy, 4)
    sampling = Sampling(max_tokens=12, batch_prompts=2)
    engine = NativeEngine(policy, capture=tape_capture)
    engine.complete(prompts[:2], per_prompt=3, sampling=sampling, seeds=[1, 2])
    buffers = engine._kept
    with torch.no_grad():
        for weight in policy.parameters().values():
            weight.mul_(1.5)  # as an optimizer's step: in place
    for chosen, seeds, per_prompt in [(prompts[2:], [5, 6], 3), (prompts[:1], [1], 2), (prompts[1:], [7, 8, 9], 3)]:
        expected = NativeEngine(policy).complete(chosen, per_prompt=per_prompt, sampling=sampling, seeds=seeds)
        assert ids(engine.complete(chosen, per_prompt=per_prompt, sampling=sampling, seeds=seeds)) == ids(expected)
        assert engine._kept is buffers
    cool = sampling.model_copy(update={"temperature": 0.5})
    expected = NativeEngine(policy).complete(prompts, per_prompt=3, sampling=cool, seeds=[1, 2, 3, 4])
    assert ids(engine.complete(prompts, per_prompt=3, sampling=cool, seeds=[1, 2, 3, 4])) == ids(expected)
    assert engine._kept is not buffers  # what is frozen in a recorded step has changed


def test_a_step_that_cannot_be_recorded_is_done_as_it_comes(caplog):
    policy = sharpened("qwen2_5_vl")
    prompts, sampling = asked(policy), Sampling(max_tokens=10)

    def refuses(work):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    expected = NativeEngine(policy).complete(prompts, per_prompt=2, sampling=sampling, seeds=[1, 2, 3])
    engine = NativeEngine(policy, capture=refuses)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert ids(engine.complete(prompts, per_prompt=2, sampling=sampling, seeds=[1, 2, 3])) == ids(expected)
    assert len(caplog.records) == 1 and "not permitted" in caplog.text and "more" not in caplog.text


def test_without_graphs_nothing_is_kept():
    policy = sharpened("qwen2_5_vl")
    engine = NativeEngine(policy, capture=tape_capture)
    engine.complete(asked(policy), per_prompt=2, sampling=Sampling(max_tokens=5, cuda_graphs=False), seeds=[1, 2, 3])
    assert engine._kept is None


def test_a_shape_is_recorded_the_second_time_it_is_seen():
    done, recorded = [], []

    def capture(work):
        recorded.append(work)
        return lambda: done.append("replayed")

    graphs = Graphs(capture)
    for shape in ("a", "a", "b", "a", "b"):
        graphs.run(shape, lambda: done.append("done"))
    assert done == ["done", "replayed", "done", "replayed", "replayed"] and graphs.captured == len(recorded) == 2


ALIVE = [[True, False, False, False], [False] * 4, [True, True, False, True], [False] * 4]


@pytest.mark.parametrize(
    "sizes, prompts, rows",
    [
        ((), [0, 2], [0, 1, 2, 8, 9, 11]),
        ((1, 2, 4), [0, 2], [0, 1, 2, 3, 8, 9, 11, 10]),
        ((3, 4), [0, 1, 2], [0, 1, 2, 4, 5, 6, 8, 9, 11]),
        ((4,), None, None),
    ],
    ids=["any size", "powers of two", "three or four", "no smaller size"],
)
def test_ended_completions_leave_the_batch(sizes, prompts, rows):
    kept = thinned(torch.tensor(ALIVE), sizes)
    assert kept is None if prompts is None else (kept[0], kept[1].tolist()) == (prompts, rows)


def test_a_batch_that_loses_one_completion_stays():
    alive = torch.ones(2, 4, dtype=torch.bool)
    alive[0, 1] = False
    assert thinned(alive) is None and thinned(alive, (1, 2, 4)) is None


def test_buffers_that_are_too_small_are_named():
    with pytest.raises(ValueError, match="buffers"):
        Tails(1, 4, 100, 10, torch.device("cpu"), fixed=True).begin([600], 2)


def test_products_are_float32_whatever_the_states_are():
    a, b = torch.randn(3, 4, 64), torch.randn(3, 64, 5)
    assert torch.equal(wide_product(a, b), a @ b)
    low = wide_product(a.bfloat16(), b.bfloat16())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, a @ b, atol=0.3, rtol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_cuda_graphs_write_what_plain_steps_write(family):
    policy = sharpened(family, lora_rank=4)
    policy.model.to("cuda")
    prompts, seeds = asked(policy, 4), [11, 12, 13, 14]
    plain, recorded = (Sampling(max_tokens=LONG, cuda_graphs=on, graph_sizes=(1, 2, 3, 4)) for on in (False, True))
    expected = NativeEngine(policy).complete(prompts, per_prompt=4, sampling=plain, seeds=seeds)
    engine = NativeEngine(policy)
    for _ in range(2):
        assert ids(engine.complete(prompts, per_prompt=4, sampling=recorded, seeds=seeds)) == ids(expected)
    assert engine._kept.graphs.captured > 1 and engine._kept.graphs.capture is not None


def test_the_plain_way_is_plain_in_a_rollout_too(monkeypatch):
    """policy.attention and policy.kernels hold for the prefill and for steps of fixed shapes, as they do in training."""
    wanted, backends = [], []
    monkeypatch.setattr("videochat_r1.rollout._tails.decode_kernel", lambda device: wanted.append(device))
    plain = SharedRow.__init__
    monkeypatch.setattr(SharedRow, "__init__", lambda row, *given: (backends.append(given[3]), plain(row, *given))[1])
    given = {"per_prompt": 2, "sampling": Sampling(max_tokens=4), "seeds": [1, 2, 3]}
    for attention, kernels, backend, asks in (("portable", "stock", "portable", 0), ("auto", "auto", "segments", 1)):
        policy = sharpened("qwen2_5_vl", attention=attention, kernels=kernels)
        wanted.clear()
        backends.clear()
        NativeEngine(policy, capture=tape_capture).complete(asked(policy), **given)
        assert backends and set(backends) == {backend} and len(wanted) == asks
