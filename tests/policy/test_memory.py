"""Parameters counted from a configuration, against models that are there; and what the parts of memory must obey."""

from __future__ import annotations

import pytest
from tests.tiny import FAMILIES, tiny_policy

from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.memory import estimate, peak, sizes_of, trained_parameters
from videochat_r1.policy.released import CONFIGS

PUBLISHED = {  # billions of parameters, as the model pages say
    "Qwen/Qwen2.5-VL-3B-Instruct": 3.75,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8.29,
    "Qwen/Qwen3-VL-4B-Instruct": 4.44,
    "Qwen/Qwen3-VL-8B-Instruct": 8.77,
}
RUN = {"prompt_tokens": 3600, "video_tokens": 3500, "completion_tokens": 256, "group_size": 8, "prompts_per_step": 8, "batch_prompts": 8}


def parts(config=None, **changes):
    run = {**RUN, "token_budget": 16384, "keeps_reference": True, **changes}
    found = estimate(sizes_of(CONFIGS["Qwen/Qwen2.5-VL-7B-Instruct"]), config or PolicyConfig(), **run)
    return {part.name: part.size for part in found} | {"peak": peak(found)}


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_equal_those_of_the_stock_model(family):
    policy = tiny_policy(family)
    sizes = sizes_of(policy.hf_config.to_dict())
    assert sizes.total == sum(weight.numel() for weight in policy.base.parameters())
    assert sizes.vision == sum(weight.numel() for weight in policy.base.model.visual.parameters())
    assert trained_parameters(sizes, policy.config) == sum(weight.numel() for weight in policy.parameters().values())
    adapted = tiny_policy(family, lora_rank=3)
    assert trained_parameters(sizes, adapted.config) == sum(weight.numel() for weight in adapted.parameters().values())


@pytest.mark.parametrize("name", CONFIGS)
def test_released_models_have_their_published_size(name):
    assert sizes_of(CONFIGS[name]).total / 1e9 == pytest.approx(PUBLISHED[name], abs=0.006)


def test_what_makes_memory_larger_and_smaller():
    full, adapter = parts(), parts(PolicyConfig(lora_rank=64))
    assert adapter["reference"] == 0 and parts(keeps_reference=False)["reference"] == 0
    assert adapter["optimizer"] < full["optimizer"] / 20
    assert parts(PolicyConfig(gradient_checkpointing=True))["activations"] < full["activations"] / 10
    assert parts(token_budget=8192)["activations"] == full["activations"] / 2
    assert parts(token_budget=1)["activations"] == full["activations"] * (3600 + 256) / 16384  # one completion at least
    assert parts(batch_prompts=4)["rollout cache"] == full["rollout cache"] / 2
    assert parts(PolicyConfig(train_vision=True))["vision activations"] > 0 and "vision activations" not in full
    assert full["weights"] + full["reference"] + full["optimizer"] < full["peak"] < sum(full.values()) - full["peak"] + 1


def test_weights_and_cache_by_hand():
    found = parts()
    assert found["weights"] == 8_292_166_656 * 2
    assert found["rollout cache"] == 8 * (3600 + 8 * 256) * 28 * 2 * 4 * 128 * 2
