"""The shared prompt against the plain forward: the same log-probabilities and gradients, with each prompt and video read once."""

import pytest
import torch
from tests.tiny import FAMILIES, tiny_clip, tiny_completion, tiny_policy, tiny_prompt

from videochat_r1.policy.logprobs import logprobs
from videochat_r1.policy.shared_prefix import pack, row_tokens, rows_at, shared_logprobs

TEXTS = [
    ["<answer>0.5 to 1.5</answer>", "?", "It turns at once. <answer>1.0 to 2.0</answer>"],
    ["A"],
    ["<answer>3</answer>", "no", "<answer>12.5</answer>", ""],
]
TRAINED = {
    "full": {},
    "full, tower too": {"train_vision": True},
    "LoRA": {"lora_rank": 4},
    "LoRA, tower too": {"lora_rank": 4, "train_vision": True},
    "LoRA, layers computed again": {"lora_rank": 4, "gradient_checkpointing": True},
    "full, tower too, layers computed again": {"train_vision": True, "gradient_checkpointing": True},
}


def groups(policy):
    """Three groups of 3, 1 and 4 completions; one has a single token, and one prompt is another length."""
    clips = [tiny_clip(), tiny_clip(frames=6, seed=1), tiny_clip(height=16, width=24, seed=2)]
    prompts = [tiny_prompt(policy, "When?" * (k + 1), clip=clip, sample_id=f"tiny/{k}") for k, clip in enumerate(clips)]
    return prompts, [[tiny_completion(policy, text, ended=text != "A") for text in texts] for texts in TEXTS]


def weighted_sum(scores):
    """A scalar to which every token counts differently, as in a policy gradient."""
    tokens = torch.cat([each for group in scores for each in group.logprobs])
    weights = torch.randn(len(tokens), generator=torch.Generator().manual_seed(3))
    return (tokens * weights).sum() / len(tokens)


def gradients(policy, loss):
    named = policy.parameters()
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: grad for name, grad in zip(named, found, strict=True) if grad is not None}


@pytest.mark.parametrize("trained", TRAINED, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_gradients_equal_the_plain_forward(family, trained):
    policy = tiny_policy(family, keep_reference=False, **TRAINED[trained])
    prompts, completions = groups(policy)
    expected = [logprobs(policy, prompt, group) for prompt, group in zip(prompts, completions, strict=True)]
    expected_grads = gradients(policy, weighted_sum(expected))
    assert any("visual" in name for name in expected_grads) == TRAINED[trained].get("train_vision", False)
    for backend in ("segments", "portable", "dense"):
        policy.counters.clear()
        scores = shared_logprobs(policy, prompts, completions, policy.vision(prompts), backend=backend)
        assert policy.counters["vision_passes"] == len(prompts)
        for got, wanted in zip(scores, expected, strict=True):
            for got_T, wanted_T in zip(got.logprobs + got.entropies, wanted.logprobs + wanted.entropies, strict=True):
                assert got_T.dtype == torch.float32
                torch.testing.assert_close(got_T, wanted_T, atol=1e-5, rtol=0)
            assert not any(entropies.requires_grad for entropies in got.entropies)
        grads = gradients(policy, weighted_sum(scores))
        assert grads.keys() == expected_grads.keys()
        whole = torch.cat([grad.flatten() for grad in expected_grads.values()]).norm()
        for name, wanted in expected_grads.items():
            assert (grads[name] - wanted).norm() <= 1e-4 * wanted.norm() + 1e-7 * whole, (backend, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_scores_the_same_in_any_company(family):
    policy = tiny_policy(family, keep_reference=False)
    prompts, completions = groups(policy)
    with torch.no_grad():
        features = policy.vision(prompts)
        together = shared_logprobs(policy, prompts, completions, features)
        for index in range(3):
            (alone,) = shared_logprobs(policy, prompts[index : index + 1], completions[index : index + 1], features[index : index + 1])
            for got_T, wanted_T in zip(alone.logprobs, together[index].logprobs, strict=True):
                torch.testing.assert_close(got_T, wanted_T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_is_scored_in_the_same_way(family):
    policy = tiny_policy(family, lora_rank=4, adapter_noise=0.2)
    prompts, completions = groups(policy)
    with torch.no_grad():
        features = policy.vision(prompts)
        trained = shared_logprobs(policy, prompts, completions, features)
        with policy.reference():
            reference = shared_logprobs(policy, prompts, completions, features)
            expected = logprobs(policy, prompts[0], completions[0])
    assert (trained[0].logprobs[0] - reference[0].logprobs[0]).abs().max() > 1e-3
    torch.testing.assert_close(reference[0].logprobs[2], expected.logprobs[2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stock_forward_stays_what_it_was(family):
    policy = tiny_policy(family, keep_reference=False)
    prompts, completions = groups(policy)
    padded = {"input_ids": torch.tensor([[7, 7, 5, 6], [1, 2, 3, 4]]), "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])}
    with torch.no_grad():
        before, padded_before = logprobs(policy, prompts[0], completions[0]), policy.base(**padded).logits
        shared_logprobs(policy, prompts, completions, policy.vision(prompts))
        after, padded_after = logprobs(policy, prompts[0], completions[0]), policy.base(**padded).logits
    assert all(torch.equal(a, b) for a, b in zip(before.logprobs, after.logprobs, strict=True))
    assert torch.equal(padded_before[0, 2:], padded_after[0, 2:]) and torch.equal(padded_before[1], padded_after[1])


def test_attention_dropout_is_refused():
    policy = tiny_policy("qwen3_vl", keep_reference=False)
    prompts, completions = groups(policy)
    for layer in policy.base.model.language_model.layers:
        layer.self_attn.attention_dropout, layer.self_attn.training = 0.1, True
    with pytest.raises(ValueError, match="dropout"):
        shared_logprobs(policy, prompts, completions, policy.vision(prompts))


def test_a_row_is_prompts_and_tails_without_their_last_tokens():
    policy = tiny_policy("qwen2_5_vl", keep_reference=False)
    prompts, completions = groups(policy)
    row = pack(policy, prompts, completions)
    assert len(row.ids_L) == sum(
        row_tokens(len(prompt), [len(each) for each in group]) for prompt, group in zip(prompts, completions, strict=True)
    )
    written = [token for group in completions for each in group for token in each.ids_T.tolist()]
    assert row.targets_N.tolist() == written
    first, second = prompts[0], len(completions[0][0])
    assert row.readers_N[0] == row.readers_N[second] == len(first) - 1  # both completions begin after the prompt's last token
    assert row.positions_3L[:, len(first)].tolist() == [int(first.positions_3P.max()) + 1] * 3
    assert row_tokens(10, [0, 1, 5]) == 14


def test_features_of_another_prompt_are_refused():
    policy = tiny_policy("qwen2_5_vl", keep_reference=False)
    prompts, completions = groups(policy)
    features = policy.vision(prompts)
    with pytest.raises(ValueError, match="placeholders"):
        shared_logprobs(policy, prompts[:1], completions[:1], features[1:2])
    with pytest.raises(ValueError, match="one of each"):
        shared_logprobs(policy, prompts, completions[:2], features)


def test_gradients_of_a_place_that_all_completions_read_add_up_in_one_order():
    """With several threads too: plain indexing gave tens of different last bits here."""
    draw, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    hidden_LD = torch.randn(4000, 128, generator=draw, requires_grad=True)
    places_N = torch.cat([torch.tensor([0, *range(1 + k * 100, 100 + k * 100)]) for k in range(20)])
    upstream_ND = torch.randn(len(places_N), 128, generator=draw)
    torch.set_num_threads(4)
    try:
        grads = [torch.autograd.grad(rows_at(hidden_LD, places_N), hidden_LD, upstream_ND)[0] for _ in range(30)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(grad, grads[0]) for grad in grads[1:])
    expected_D = upstream_ND[places_N == 0].sum(0)
    assert torch.allclose(grads[0][0], expected_D, atol=1e-5) and torch.equal(grads[0][1], upstream_ND[1])
