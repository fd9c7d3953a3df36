"""Which passes a step makes: one prefill, a reference only where the KL weighs something, no pass for the log-probs that were sampled."""

import pytest
import torch
from tests.grpo.small_run import letters
from tests.grpo.test_trainer import run_in
from tests.tiny import tiny_policy

from videochat_r1.grpo.order import Source
from videochat_r1.policy.attention import SharedRow
from videochat_r1.rollout._tails import PromptRow


@pytest.mark.parametrize(
    "grpo, expected",
    [
        ({"kl_weight": 0.0}, ["prefill", "policy"]),
        ({"kl_weight": 0.04}, ["prefill", "reference", "policy"]),
        ({"kl_weight": 0.0, "updates_per_batch": 2}, ["prefill", "policy", "policy"]),
        ({"kl_weight": 0.04, "updates_per_batch": 2}, ["prefill", "reference", "policy", "policy"]),
    ],
    ids=["no KL", "KL", "two updates", "KL and two updates"],
)
def test_a_step_makes_these_passes_and_no_other(tmp_path, grpo, expected):
    policy = tiny_policy("qwen3_vl", lora_rank=2, keep_reference=grpo["kl_weight"] > 0)
    passes, rows = [], []

    def note(module, args, kwargs):
        layout = kwargs["layout"]
        if isinstance(layout, SharedRow):
            graph = torch.is_grad_enabled()
            adapter_is_on = not any(layer.disable_adapters for layer in policy._adapter_layers)
            assert graph == adapter_is_on  # the reference is the same pass with the adapter off, and without a graph
            passes.append("policy" if graph else "reference")
            rows.append(layout.places)
        elif isinstance(layout, PromptRow):
            passes.append("prefill")

    policy.base.model.language_model.register_forward_pre_hook(note, with_kwargs=True)
    run_in(tmp_path, policy=policy, grpo=grpo, train={"steps": 1, "prompts_per_step": 2}, sources=[Source(samples=letters(4))])
    assert passes == expected
    assert len(set(rows)) == 1  # all of them over the very same row
    assert policy.counters["vision_passes"] == policy.counters["prefills"] == 2
