"""Losses against numbers worked by hand, and against TRL's on a text-only batch of the same numbers."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from videochat_r1.grpo.config import GrpoConfig
from videochat_r1.grpo.loss import clipped_objective_T, gold_loss_T, grpo_loss_T, kl_k3_T, sequence_ratio_T, token_ratio_T, token_weights

LN2 = math.log(2.0)


def test_token_ratio_by_hand():
    assert token_ratio_T(torch.tensor([LN2, 0.0]), torch.tensor([0.0, LN2])).tolist() == pytest.approx([2.0, 0.5])


def test_sequence_ratio_is_the_geometric_mean():
    # token ratios 8 and 2: the root of 16
    assert sequence_ratio_T(torch.tensor([3 * LN2, LN2]), torch.zeros(2)).tolist() == pytest.approx([4.0, 4.0])


@pytest.mark.parametrize(
    "ratio, advantage, expected",
    [(1.0, 2.0, 2.0), (1.5, 2.0, 2.4), (0.5, 2.0, 1.0), (1.5, -2.0, -3.0), (0.5, -2.0, -1.6)],
    ids=["on policy", "held from above", "not held from below", "not held from above", "held from below"],
)
def test_clip_by_hand(ratio, advantage, expected):
    assert clipped_objective_T(torch.tensor([ratio]), advantage, low=0.2, high=0.2).item() == pytest.approx(expected)


def test_clip_higher_by_hand():
    assert clipped_objective_T(torch.tensor([1.5]), 2.0, low=0.2, high=0.28).item() == pytest.approx(2.56)


def test_k3_by_hand():
    # d = ln 2: 2 - ln 2 - 1; d = -ln 2: 0.5 + ln 2 - 1; d = 0: 0
    kl_T = kl_k3_T(torch.tensor([0.0, LN2, 1.0]), torch.tensor([LN2, 0.0, 1.0]))
    assert kl_T.tolist() == pytest.approx([1 - LN2, LN2 - 0.5, 0.0])


def test_on_policy_loss_and_gradient_by_hand():
    logprobs_T = torch.tensor([-1.0, -2.0], requires_grad=True)
    losses = grpo_loss_T(logprobs_T, None, torch.tensor([-1.0 + LN2, -2.0]), 3.0, GrpoConfig(kl_weight=0.04))
    assert losses.loss_T.tolist() == pytest.approx([-3.0 + 0.04 * (1 - LN2), -3.0])
    assert losses.kl_T.tolist() == pytest.approx([1 - LN2, 0.0])
    losses.loss_T.sum().backward()
    # d/dlp of -A exp(lp - old) = -A; of the k3 KL = 1 - exp(d) = -1 at d = ln 2
    assert logprobs_T.grad.tolist() == pytest.approx([-3.0 - 0.04, -3.0])


@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_on_policy_nothing_is_clipped_whatever_the_bounds(advantage, ratio):
    logprobs_T = torch.tensor([-1.0, -2.0], requires_grad=True)
    losses = grpo_loss_T(logprobs_T, None, None, advantage, GrpoConfig(clip_low=0.0, clip_high=0.0, kl_weight=0.0, ratio=ratio))
    losses.loss_T.sum().backward()
    assert logprobs_T.grad.tolist() == [-advantage, -advantage]


def test_no_kl_weight_needs_no_reference():
    assert grpo_loss_T(torch.tensor([-1.0]), None, None, 1.0, GrpoConfig(kl_weight=0.0)).kl_T is None


def test_what_is_held_is_counted():
    far_T = torch.tensor([1.0, -1.0])
    old_T = torch.zeros(2)
    assert grpo_loss_T(far_T, old_T, None, 1.0, GrpoConfig()).clipped_T.tolist() == [1.0, 0.0]
    assert grpo_loss_T(far_T, old_T, None, -1.0, GrpoConfig()).clipped_T.tolist() == [0.0, 1.0]
    assert grpo_loss_T(far_T, old_T, None, 0.0, GrpoConfig()).clipped_T.tolist() == [0.0, 0.0]


def test_gold_loss_is_minus_the_log_probability():
    logprobs_T = torch.tensor([-0.5, -1.5], requires_grad=True)
    (gold_loss_T(logprobs_T).loss_T.sum() * token_weights([2], [True], "token_mean")[0]).backward()
    assert gold_loss_T(logprobs_T).loss_T.mean().item() == pytest.approx(1.0)
    assert logprobs_T.grad.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize(
    "aggregation, kept, expected",
    [
        ("sequence_mean", [True, True], [1 / 4, 1 / 12]),
        ("sequence_mean", [True, False], [1 / 4, 0.0]),
        ("token_mean", [True, True], [1 / 8, 1 / 8]),
        ("token_mean", [True, False], [1 / 2, 0.0]),
        ("token_mean", [False, False], [0.0, 0.0]),
        ("constant_length", [True, True], [1 / 20, 1 / 20]),
        ("constant_length", [False, True], [0.0, 1 / 20]),
    ],
)
def test_token_weights_of_two_and_six_tokens(aggregation, kept, expected):
    assert token_weights([2, 6], kept, aggregation, constant_length=10) == pytest.approx(expected)


@pytest.mark.parametrize("lengths, aggregation, constant", [([0], "token_mean", 1), ([2], "constant_length", 0), ([2], "median", 1)])
def test_weights_that_mean_nothing_are_refused(lengths, aggregation, constant):
    with pytest.raises(ValueError):
        token_weights(lengths, [True] * len(lengths), aggregation, constant)


TRL_NAMES = {
    "grpo": GrpoConfig(aggregation="sequence_mean"),
    "bnpo": GrpoConfig(aggregation="token_mean"),
    "dapo": GrpoConfig(aggregation="token_mean", clip_high=0.28),
    "dr_grpo": GrpoConfig(aggregation="constant_length", constant_length=16, advantage="centred"),
    "gspo": GrpoConfig(aggregation="sequence_mean", ratio="sequence", clip_low=3e-4, clip_high=4e-4),
    "no kl": GrpoConfig(kl_weight=0.0),
    "masked": GrpoConfig(aggregation="token_mean", mask_truncated=True),
    "masked grpo": GrpoConfig(mask_truncated=True),
}


def trl_loss(name, config, batch):
    """TRL's own `_compute_loss` on given log-probabilities, its trainer reduced to the numbers that the method reads."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    kind = {"gspo": "grpo", "no kl": "grpo", "masked": "bnpo", "masked grpo": "grpo"}.get(name, name)
    metrics = {"train": defaultdict(list)}
    accelerator = SimpleNamespace(num_processes=1, reduce=lambda tensor, reduction: tensor, gather=lambda tensor: tensor)
    trainer = SimpleNamespace(
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, beta=config.kl_weight, loss_type=kind,
        importance_sampling_level=config.ratio, epsilon_low=config.clip_low, epsilon_high=config.clip_high,
        max_completion_length=config.constant_length,
        use_vllm=False, _entropy_bonus_enabled=False, current_gradient_accumulation_steps=1, accelerator=accelerator, _metrics=metrics,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1), model=SimpleNamespace(training=True),
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (batch["logprobs_BT"], torch.ones_like(batch["logprobs_BT"]), None),
    )  # fmt: skip
    ones_BP = torch.ones(batch["mask_BT"].size(0), 3, dtype=torch.long)
    inputs = {
        "prompt_ids": ones_BP, "prompt_mask": ones_BP, "completion_ids": batch["mask_BT"], "completion_mask": batch["mask_BT"],
        "advantages": batch["advantages_B"], "old_per_token_logps": batch["old_BT"], "ref_per_token_logps": batch["reference_BT"],
        "num_items_in_batch": batch["mask_BT"].sum(),
    }  # fmt: skip
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    return loss, metrics["train"]


@pytest.mark.parametrize("on_policy", [True, False], ids=["on policy", "several updates"])
@pytest.mark.parametrize("name", TRL_NAMES)
def test_loss_and_gradients_equal_trl(name, on_policy):
    config = TRL_NAMES[name]
    generator = torch.Generator().manual_seed(7)
    lengths = [3, 7, 1, 5, 4, 7]
    truncated = [index in (1, 5) for index in range(6)]
    kept = [not (config.mask_truncated and cut) for cut in truncated]
    mask_BT = torch.stack([(torch.arange(7) < length) * keep for length, keep in zip(lengths, kept, strict=True)]).long()
    batch = {
        "logprobs_BT": (-2 * torch.rand(6, 7, generator=generator)).requires_grad_(),
        "reference_BT": -2 * torch.rand(6, 7, generator=generator),
        "mask_BT": mask_BT,
        "advantages_B": torch.tensor([1.5, -0.7, 0.3, -1.1, 0.0, 0.9]),
    }
    shift = 0.5 if name != "gspo" else 5e-4
    batch["old_BT"] = None if on_policy else batch["logprobs_BT"].detach() + shift * torch.randn(6, 7, generator=generator)
    theirs, their_metrics = trl_loss(name, config, batch)
    (their_gradient,) = torch.autograd.grad(theirs, batch["logprobs_BT"])

    weights = token_weights(lengths, kept, config.aggregation, config.constant_length)
    losses = [
        grpo_loss_T(
            batch["logprobs_BT"][row, :length],
            None if on_policy else batch["old_BT"][row, :length],
            batch["reference_BT"][row, :length],
            float(batch["advantages_B"][row]),
            config,
        )
        for row, length in enumerate(lengths)
    ]
    ours = torch.stack([weight * each.loss_T.sum() for weight, each in zip(weights, losses, strict=True)]).sum()
    (our_gradient,) = torch.autograd.grad(ours, batch["logprobs_BT"])
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-6, atol=1e-8)
    assert our_gradient.abs().max() > 1e-3
    if not on_policy and name != "gspo":
        kept_tokens = [each for each, keep in zip(losses, kept, strict=True) if keep]
        share = torch.cat([each.clipped_T for each in kept_tokens]).mean().item()
        assert share == pytest.approx(their_metrics["clip_ratio/region_mean"][0])
        assert share > 0
