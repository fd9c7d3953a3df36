"""Replayed texts as completions."""

import pytest
import torch
from tests.tiny import tiny_policy, tiny_prompt

from videochat_r1.errors import DataError
from videochat_r1.policy.logprobs import logprobs
from videochat_r1.rollout.base import Sampling, load_engine
from videochat_r1.rollout.scripted import ScriptedEngine


@pytest.fixture(scope="module")
def policy():
    return tiny_policy("qwen2_5_vl", keep_reference=False)


def replayed(policy, texts, *, per_prompt=2, max_tokens=100, **options):
    prompts = [tiny_prompt(policy, "When?", sample_id=sample_id) for sample_id in texts]
    return prompts, ScriptedEngine(policy, texts, **options).complete(
        prompts, per_prompt=per_prompt, sampling=Sampling(max_tokens=max_tokens), seeds=[0] * len(prompts)
    )


def test_texts_come_back_in_order_with_an_end_token(policy):
    texts = {"a": ["<answer>1.0 to 2.0</answer>", "B"], "b": ["only one", ""]}
    _, groups = replayed(policy, texts, per_prompt=3)
    assert [[each.text for each in group] for group in groups] == [
        ["<answer>1.0 to 2.0</answer>", "B"] + texts["a"][:1],
        ["only one", "", "only one"],
    ]
    for group in groups:
        for each in group:
            assert each.stop == "end" and each.ids_T[-1] == policy.end_ids[0]
            assert policy.tokenizer.decode(each.ids_T[:-1].tolist()) == each.text
            assert each.logprobs_T.tolist() == [0.0] * len(each)


def test_scored_texts_carry_the_policys_log_probabilities(policy):
    prompts, groups = replayed(policy, {"a": ["12.5", "one second"], "b": ["C", "D"]}, scored=True)
    with torch.no_grad():
        for prompt, group in zip(prompts, groups, strict=True):
            for each, expected_T in zip(group, logprobs(policy, prompt, group).logprobs, strict=True):
                torch.testing.assert_close(each.logprobs_T, expected_T, atol=1e-5, rtol=0)


def test_long_texts_are_cut(policy):
    _, ((cut, short),) = replayed(policy, {"a": ["a long thought", "B"]}, max_tokens=3)
    assert (len(cut), cut.stop, short.stop) == (3, "length", "end")
    assert "a long thought".startswith(cut.text) and len(cut.logprobs_T) == 3


def test_a_sample_without_a_text_is_named(policy):
    assert load_engine("scripted") is ScriptedEngine
    with pytest.raises(DataError, match="charades/7"):
        ScriptedEngine(policy, {}).complete([tiny_prompt(policy, sample_id="charades/7")], per_prompt=1, sampling=Sampling(), seeds=[0])
