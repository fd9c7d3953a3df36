"""The native engine: greedy equals the stock generate, sampled log-probabilities equal the policy's, and company changes nothing."""

import pytest
import torch
from tests.tiny import FAMILIES, tiny_clip, tiny_policy, tiny_prompt

from videochat_r1.policy.shared_prefix import shared_logprobs
from videochat_r1.rollout._tails import FIXED_TAIL
from videochat_r1.rollout.base import Sampling, load_engine
from videochat_r1.rollout.native import NativeEngine


def sharpened(family, **settings):
    """A tiny policy whose answers end, at different times: the end token's embedding points along a common hidden direction."""
    policy = tiny_policy(family, keep_reference=False, **settings)
    with torch.no_grad():
        table = policy.base.get_input_embeddings().weight
        table[policy.end_ids[0]] *= 1.6
    return policy


def asked(policy, count=3):
    clips = [tiny_clip(), tiny_clip(frames=6, seed=1), tiny_clip(height=16, width=24, seed=2), tiny_clip(frames=8, seed=3)]
    return [tiny_prompt(policy, "When does it turn?" * (k + 1), clip=clips[k], sample_id=f"tiny/{k}") for k in range(count)]


def ids(completions):
    return [[each.ids_T.tolist() for each in group] for group in completions]


def hold_alike(found, expected):
    """The same tokens, their log-probabilities but for rounding."""
    assert ids(found) == ids(expected)
    for group, wanted in zip(found, expected, strict=True):
        for each, other in zip(group, wanted, strict=True):
            torch.testing.assert_close(each.logprobs_T, other.logprobs_T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4}], ids=["full", "LoRA"])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_the_stock_generate(family, settings):
    policy = sharpened(family, **settings)
    prompts = asked(policy)
    tokens = FIXED_TAIL + 10
    completions = NativeEngine(policy).complete(
        prompts, per_prompt=2, sampling=Sampling(temperature=0.0, max_tokens=tokens), seeds=[1, 2, 3]
    )
    for prompt, group in zip(prompts, completions, strict=True):
        expected = policy.base.generate(
            input_ids=prompt.ids_P[None],
            attention_mask=torch.ones_like(prompt.ids_P[None]),
            position_ids=None,
            pixel_values_videos=prompt.patches,
            video_grid_thw=torch.tensor([prompt.grid_thw]),
            mm_token_type_ids=2 * (prompt.ids_P == policy.hf_config.video_token_id).int()[None],
            **({"second_per_grid_ts": torch.tensor([1.0])} if family == "qwen2_5_vl" else {}),
            do_sample=False,
            max_new_tokens=tokens,
            eos_token_id=list(policy.end_ids),
            suppress_tokens=list(policy.forbidden_ids),
        )[0, len(prompt) :].tolist()
        assert group[0].ids_T.tolist() == group[1].ids_T.tolist() == expected
        assert group[0].stop == ("end" if expected[-1] in policy.end_ids else "length")


@pytest.mark.parametrize("cuts", [{}, {"top_k": 5}, {"top_p": 0.7, "temperature": 1.7}], ids=["plain", "top-k", "hot top-p"])
@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4}], ids=["full", "LoRA"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sampled_logprobs_are_the_policys(family, settings, cuts):
    policy = sharpened(family, **settings)
    prompts = asked(policy)
    completions = NativeEngine(policy).complete(prompts, per_prompt=4, sampling=Sampling(max_tokens=30, **cuts), seeds=[1, 2, 3])
    with torch.no_grad():
        scores = shared_logprobs(policy, prompts, completions, policy.vision(prompts))
    for group, scored in zip(completions, scores, strict=True):
        for completion, logprobs_T in zip(group, scored.logprobs, strict=True):
            torch.testing.assert_close(completion.logprobs_T, logprobs_T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_completions_do_not_depend_on_company(family):
    policy = sharpened(family)
    prompts, seeds = asked(policy, 4), [11, 12, 13, 14]
    engine = NativeEngine(policy)
    together = engine.complete(prompts, per_prompt=4, sampling=Sampling(max_tokens=80), seeds=seeds)
    lengths = {len(each) for group in together for each in group}
    assert len(lengths) > 4 and 80 in lengths and min(lengths) < 20  # they ended at different times: the batch was thinned on the way
    in_pairs = engine.complete(prompts, per_prompt=4, sampling=Sampling(max_tokens=80, batch_prompts=2), seeds=seeds)
    backwards = engine.complete(prompts[::-1], per_prompt=4, sampling=Sampling(max_tokens=80, batch_prompts=3), seeds=seeds[::-1])[::-1]
    fewer = [
        engine.complete([prompt], per_prompt=2, sampling=Sampling(max_tokens=80), seeds=[seed])[0]
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    assert ids(together) == ids(in_pairs) == ids(backwards)
    assert [group[:2] for group in ids(together)] == ids(fewer)
    flat = [tuple(each) for group in ids(together) for each in group]
    assert len(set(flat)) > len(flat) // 2  # seeds differ, and so do completions
    assert ids(engine.complete(prompts, per_prompt=4, sampling=Sampling(max_tokens=80), seeds=[s + 100 for s in seeds])) != ids(together)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_vision_pass_and_one_prefill_a_prompt(family):
    policy = sharpened(family, lora_rank=4)
    prompts = asked(policy)
    before = {name: weight.clone() for name, weight in policy.base.named_parameters()}
    engine = NativeEngine(policy)
    engine.complete(prompts, per_prompt=5, sampling=Sampling(max_tokens=4, batch_prompts=2), seeds=[1, 2, 3])
    assert policy.counters == {"vision_passes": 3, "prefills": 3}
    features = policy.vision(prompts)
    policy.counters.clear()
    engine.complete(prompts, per_prompt=5, sampling=Sampling(max_tokens=4), seeds=[1, 2, 3], features=features)
    assert policy.counters == {"prefills": 3}
    assert all(torch.equal(weight, before[name]) for name, weight in policy.base.named_parameters())


def test_one_completion_and_one_token():
    policy = sharpened("qwen2_5_vl")
    prompts = asked(policy)
    completions = NativeEngine(policy).complete(prompts, per_prompt=1, sampling=Sampling(max_tokens=1), seeds=[1, 2, 3])
    assert [[len(each) for each in group] for group in completions] == [[1], [1], [1]]
    assert NativeEngine(policy).complete([], per_prompt=1, sampling=Sampling(), seeds=[]) == []


def test_ends_text_and_forbidden_tokens():
    policy = sharpened("qwen3_vl")
    with torch.no_grad():
        policy.base.get_input_embeddings().weight[policy.hf_config.video_token_id] *= 4.0  # what it would like best to say
    groups = NativeEngine(policy).complete(asked(policy), per_prompt=8, sampling=Sampling(max_tokens=60), seeds=[1, 2, 3])
    completions = [each for group in groups for each in group]
    assert {each.stop for each in completions} == {"end", "length"}
    for each in completions:
        ends = [token in policy.end_ids for token in each.ids_T.tolist()]
        assert ends[-1] == (each.stop == "end") and not any(ends[:-1])
        assert not set(each.ids_T.tolist()) & set(policy.forbidden_ids)
        assert len(each.logprobs_T) == len(each) and each.ids_T.dtype == torch.int64 and each.logprobs_T.dtype == torch.float32
        assert each.text == policy.tokenizer.decode([token for token in each.ids_T.tolist() if token not in policy.end_ids])


def test_wrong_numbers_are_refused_and_the_engine_is_found_by_name():
    assert load_engine("native") is NativeEngine
    policy = sharpened("qwen2_5_vl")
    engine, prompts = NativeEngine(policy), asked(policy)
    with pytest.raises(ValueError, match="one seed"):
        engine.complete(prompts, per_prompt=2, sampling=Sampling(), seeds=[1])
    with pytest.raises(ValueError, match="one seed"):
        engine.complete(prompts, per_prompt=0, sampling=Sampling(), seeds=[1, 2, 3])
