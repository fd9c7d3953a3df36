"""Several questions about one video: the shared beginning is read once, and nothing that is written changes."""

import pytest
import torch
from tests.rollout.test_native import ids, sharpened
from tests.tiny import FAMILIES, tiny_clip, tiny_prompt

from videochat_r1.rollout._prefixes import shared_prefixes
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine

QUESTIONS = ["When does it turn?", "When is it red? And where?", "What?", "When does it turn?"]


def asked(policy, order="video_first"):
    """Three questions about one clip, the first of them again about another clip, and one more about that."""
    first, second = tiny_clip(), tiny_clip(frames=6, seed=1)
    clips = [first, first, first, second, second]
    questions = [*QUESTIONS[:3], QUESTIONS[0], QUESTIONS[1]]
    prompts = [tiny_prompt(policy, text, clip=clip, order=order) for text, clip in zip(questions, clips, strict=True)]
    with torch.no_grad():
        one, two = policy.vision([prompts[0], prompts[3]])
    return prompts, [one, one, one, two, two]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_is_the_same_with_and_without_the_shared_beginning(family):
    policy = sharpened(family)
    prompts, features = asked(policy)
    sampling = Sampling(temperature=0.0, max_tokens=24, batch_prompts=8)
    policy.counters.clear()
    together = NativeEngine(policy).complete(prompts, per_prompt=2, sampling=sampling, seeds=range(5), features=features)
    assert policy.counters["prefills"] == 2 and policy.counters["vision_passes"] == 0
    apart = NativeEngine(policy).complete(prompts, per_prompt=2, sampling=sampling, seeds=range(5))
    assert policy.counters["prefills"] == 2 + 5 and policy.counters["vision_passes"] == 5
    assert ids(together) == ids(apart)
    for group, alone in zip(together, apart, strict=True):
        for one, other in zip(group, alone, strict=True):
            torch.testing.assert_close(one.logprobs_T, other.logprobs_T, atol=1e-5, rtol=0)


def test_a_question_before_its_video_shares_nothing():
    policy = sharpened("qwen3_vl")
    prompts, features = asked(policy, order="text_first")
    assert [(group.count, group.tokens) for group in shared_prefixes(policy, prompts, features)] == [(1, 0)] * 5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_question_twice_keeps_a_token_for_each(family):
    policy = sharpened(family)
    clip = tiny_clip()
    prompts = [tiny_prompt(policy, text, clip=clip, order="video_first") for text in (QUESTIONS[0], QUESTIONS[3])]
    with torch.no_grad():
        features = policy.vision(prompts[:1]) * 2
    [group] = shared_prefixes(policy, prompts, features)
    assert (group.count, group.tokens) == (2, len(prompts[0]) - 1)
    sampling = Sampling(temperature=0.0, max_tokens=8, batch_prompts=8)
    first, second = NativeEngine(policy).complete(prompts, per_prompt=1, sampling=sampling, seeds=[0, 1], features=features)
    assert ids([first]) == ids([second]) == ids(NativeEngine(policy).complete(prompts[:1], per_prompt=1, sampling=sampling, seeds=[0]))
