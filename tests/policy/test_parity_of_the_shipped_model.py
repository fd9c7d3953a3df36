"""The shared prompt on the shipped small model: as near to the truth, a float64 forward, as the plain forward is.

A trained model's activations are larger than random weights', and it passes rounding on magnified: the stock forward differs from itself by
more than 1e-5 when another of PyTorch's attention kernels serves it. So the two float32 ways are held to the truth, not to each other."""

import pytest
import torch
from tests.tiny import tiny_clip

from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.logprobs import logprobs, row_positions
from videochat_r1.policy.model import load_policy
from videochat_r1.policy.prompt import render_text
from videochat_r1.policy.shared_prefix import shared_logprobs
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.small import SMALL_MODEL


def in_float64(policy, prompts, completions):
    """The stock forward with all weights and states in float64, and the head's softmax too."""
    base = policy.base.double()
    found = []
    for prompt, group in zip(prompts, completions, strict=True):
        for each in group:
            logits_TV = base(
                input_ids=torch.cat([prompt.ids_P, each.ids_T])[None],
                position_ids=row_positions(prompt, len(each))[:, None],
                pixel_values_videos=prompt.patches.double(),
                video_grid_thw=torch.tensor([prompt.grid_thw]),
                use_cache=False,
                logits_to_keep=len(each) + 1,
            ).logits[0, :-1]
            assert logits_TV.dtype == torch.float64
            found.append(logits_TV.log_softmax(-1).gather(-1, each.ids_T[:, None])[:, 0])
    return torch.cat(found)


def flat(scores):
    return torch.cat([each for group in scores for each in group.logprobs]).double()


@pytest.fixture(scope="module")
def found():
    policy = load_policy(PolicyConfig(path=str(SMALL_MODEL), device="cpu"), keep_reference=False)
    clips = [tiny_clip(frames=8, height=64, width=64, seed=seed) for seed in range(3)]
    questions = ("When does it turn?", "Where is the red circle?", "What happens?")
    prompts = [render_text(policy, text, clip, order="video_first", sample_id=text) for text, clip in zip(questions, clips, strict=True)]
    with torch.no_grad():
        completions = NativeEngine(policy).complete(prompts, per_prompt=8, sampling=Sampling(max_tokens=48), seeds=[1, 2, 3])
        ways = {"plain": flat([logprobs(policy, prompt, group) for prompt, group in zip(prompts, completions, strict=True)])}
        features = policy.vision(prompts)
        for backend in ("segments", "portable", "dense"):
            ways[backend] = flat(shared_logprobs(policy, prompts, completions, features, backend=backend))
        ways["rollout"] = torch.cat([each.logprobs_T for group in completions for each in group]).double()
        truth = in_float64(policy, prompts, completions)
    return {way: (each - truth).abs() for way, each in ways.items()}


@pytest.mark.parametrize("way", ["segments", "portable", "dense", "rollout"])
def test_no_way_is_farther_from_the_truth_than_the_plain_forward(found, way):
    root_mean_square, plain = (each.square().mean().sqrt() for each in (found[way], found["plain"]))
    assert len(found[way]) > 200
    assert root_mean_square <= 1.5 * plain
    assert found[way].max() <= 2.5 * found["plain"].max() + 1e-6
    assert root_mean_square < 1e-5 and found[way].max() < 1e-4
