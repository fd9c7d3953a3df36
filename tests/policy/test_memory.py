"""Parameters counted from a configuration, against models that are there; and what the parts of memory must obey."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import FAMILIES, tiny_clip, tiny_completion, tiny_policy, tiny_prompt

from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.memory import (
    Part,
    estimate,
    kept_by_layer,
    kept_by_tower,
    peak,
    peaks,
    sizes_of,
    trained_parameters,
    trained_tensors,
)
from videochat_r1.policy.released import CONFIGS
from videochat_r1.policy.shared_prefix import row_tokens, shared_logprobs

PUBLISHED = {  # billions of parameters, as the model pages say
    "Qwen/Qwen2.5-VL-3B-Instruct": 3.75,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8.29,
    "Qwen/Qwen2.5-VL-32B-Instruct": 33.45,
    "Qwen/Qwen2.5-VL-72B-Instruct": 73.41,
    "Qwen/Qwen3-VL-2B-Instruct": 2.13,
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
    for lora_rank in (0, 3):
        for train_vision in (False, True):
            trained = tiny_policy(family, lora_rank=lora_rank, train_vision=train_vision)
            assert trained_parameters(sizes, trained.config) == sum(weight.numel() for weight in trained.parameters().values())
            assert trained_tensors(sizes, trained.config) == len(trained.parameters())


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
    assert adapter["adapter"] == adapter["optimizer"] / 8 * 6 and "adapter" not in full
    stock, on_cpu = (parts(PolicyConfig(lora_rank=64, **choice)) for choice in ({"kernels": "stock"}, {"device": "cpu"}))
    assert stock["activations"] > on_cpu["activations"] > adapter["activations"]
    eight, least = parts(optimizer="adamw_8bit"), parts(optimizer="adamw_8bit_bf16")
    trained = full["optimizer"] / 12
    assert eight["optimizer"] == pytest.approx(trained * (4 + 2 * (1 + 4 / 256))) and eight["gradients"] == full["gradients"]
    assert least["optimizer"] == pytest.approx(trained * 2 * (1 + 4 / 256)) and least["gradients"] == trained * 2
    assert parts(prompts_per_step=16)["features"] == 2 * full["features"]
    assert adapter["merged weights"] > 0.7 * adapter["weights"] and "merged weights" not in full


def test_weights_and_cache_by_hand():
    found = parts()
    assert found["weights"] == 8_292_166_656 * 2
    assert found["rollout cache"] == 8 * (3600 + 8 * 256) * 28 * 2 * 4 * 128 * 2


def kept_for_backward(policy, work):
    """Bytes that PyTorch keeps for the backward pass of what work gives, weights and their lowered copies apart: each storage once."""
    work()  # makes these copies
    lowered = [copy for layer in policy.model.modules() for copy in layer.__dict__.get("_lowered", ())[1:]]
    held, weights = {}, {weight.untyped_storage().data_ptr() for weight in (*policy.model.parameters(), *lowered)}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = (storage.nbytes(), tensor)  # alive, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        assert work().requires_grad
    return sum(size for size, _ in held.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lora_rank", [0, 8], ids=["all weights", "LoRA"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kernels", ["auto", "stock"])
def test_activations_are_what_pytorch_keeps_within_20_percent(family, lora_rank, dtype, kernels):
    policy = tiny_policy(family, lora_rank=lora_rank, kernels=kernels)
    hold_kept_to_account(policy, dtype, fused=False)


def test_of_head_and_layer_only_one_is_there_at_a_time():
    def update(head, layer):
        return peaks([Part("weights", 5, ""), Part("activations", 10, ""), Part("head", head, ""), Part("one layer", layer, "")])["update"]

    assert update(3, 4) == 19 and update(6, 4) == 21


def hold_kept_to_account(policy, dtype, *, fused, frames=16, words=36):
    """The formula of what layers keep against PyTorch's account, the base in the type given and adapters in float32."""
    lower(policy, dtype)
    prompt = tiny_prompt(policy, clip=tiny_clip(frames=frames, height=64, width=64))
    completions = [tiny_completion(policy, "a long completion " * (words // 3)) for _ in range(4)]
    tokens = row_tokens(len(prompt), [len(each) for each in completions])
    sizes, width = sizes_of(policy.hf_config.to_dict()), dtype.itemsize
    [features] = policy.vision([prompt])
    kept = kept_for_backward(policy, lambda: shared_logprobs(policy, [prompt], [completions], [features])[0].logprobs[0])
    planned = tokens * sizes.layers * kept_by_layer(sizes, policy.config, width, fused=fused)
    assert planned == pytest.approx(kept, rel=0.2), f"{kept / tokens / sizes.layers:.0f} bytes a token and layer"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lora_rank", [0, 8], ids=["all weights", "LoRA"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_trained_tower_keeps_what_pytorch_says_within_20_percent(family, lora_rank, dtype):
    hold_tower_to_account(tiny_policy(family, lora_rank=lora_rank, train_vision=True), dtype, fused=False)


def hold_tower_to_account(policy, dtype, *, fused, frames=4):
    lower(policy, dtype)
    prompt = tiny_prompt(policy, clip=tiny_clip(frames=frames, height=32, width=32))
    sizes = sizes_of(policy.hf_config.to_dict())
    kept = kept_for_backward(policy, lambda: policy.vision([prompt])[0].embeds_VD) / len(prompt.patches)
    assert kept_by_tower(sizes, policy.config, dtype.itemsize, fused=fused) == pytest.approx(kept, rel=0.2)


def lower(policy, dtype):
    """The base in the type given; adapters stay float32."""
    for name, weight in policy.model.named_parameters():
        weight.data = weight.data if "lora_" in name else weight.data.to(dtype)
