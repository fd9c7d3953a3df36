import math

import pytest
import torch
from tests.policy.stock import filmed_clip, stock_inputs
from tests.tiny import FAMILIES, tiny_clip, tiny_completion, tiny_policy, tiny_prompt

from videochat_r1.policy.logprobs import logprobs, row_positions

QUESTION = "When does the car turn?"
TEXTS = ["<answer>0.5 to 1.5</answer>", "Perhaps <answer>1 to 2</answer> or not"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source", ["drawn", "filmed"])
def test_scores_equal_the_stock_model_on_the_stock_processors_output(family, source):
    """Nothing of ours in the expected numbers: the stock processor's ids, patches and seconds, the stock model's own positions and loop."""
    clip = tiny_clip() if source == "drawn" else filmed_clip("otb_car4.mp4", frames=8, height=48, width=64, every=15)
    if source == "filmed":
        assert clip.times_s[1] * 2 == pytest.approx(1.0, abs=0.2)
    policy, stock = tiny_policy(family, vision_path="fast"), tiny_policy(family, vision_path="stock")
    prompt = tiny_prompt(policy, QUESTION, clip=clip)
    completions = [tiny_completion(policy, text) for text in TEXTS]
    with torch.no_grad():
        scores = logprobs(policy, prompt, completions)
        for completion, logprobs_T in zip(completions, scores.logprobs, strict=True):
            given = stock_inputs(policy, QUESTION, clip)
            ids_1L = torch.cat([given["input_ids"], completion.ids_T[None]], dim=1)
            kinds_1L = torch.cat([given["mm_token_type_ids"], torch.zeros(1, len(completion), dtype=torch.long)], dim=1)
            given |= {"input_ids": ids_1L, "mm_token_type_ids": kinds_1L, "attention_mask": torch.ones_like(ids_1L)}
            logits_LV = stock.base(**given).logits[0]
            expected_L = logits_LV[:-1].log_softmax(-1).gather(-1, ids_1L[0, 1:, None])[:, 0]
            torch.testing.assert_close(logprobs_T, expected_L[-len(completion) :], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_depend_on_the_video(family):
    policy = tiny_policy(family)
    completions = [tiny_completion(policy)]
    with torch.no_grad():
        one, other = (logprobs(policy, tiny_prompt(policy, clip=tiny_clip(seed=seed)), completions).logprobs[0] for seed in (0, 1))
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_entropy_is_that_of_the_distribution_before_each_token(family):
    policy = tiny_policy(family)
    prompt, completion = tiny_prompt(policy), tiny_completion(policy)
    scores = logprobs(policy, prompt, [completion])
    entropies_T = scores.entropies[0]
    assert not entropies_T.requires_grad and scores.logprobs[0].requires_grad and scores.logprobs[0].dtype == torch.float32
    assert len(entropies_T) == len(completion) and float(entropies_T.min()) > 0 and float(entropies_T.max()) < math.log(352)
    with torch.no_grad():
        policy.base.lm_head.weight.zero_()  # tied to the embedding: every token is as likely as any other
        even = logprobs(policy, prompt, [completion])
    torch.testing.assert_close(even.entropies[0], torch.full_like(entropies_T, math.log(352)))
    torch.testing.assert_close(even.logprobs[0], torch.full_like(entropies_T, -math.log(352)))


def test_positions_go_on_from_the_prompts_greatest():
    policy = tiny_policy("qwen2_5_vl")
    prompt = tiny_prompt(policy, clip=tiny_clip(frames=24, fps=0.5), order="text_first")
    positions_3L = row_positions(prompt, 3)
    greatest = int(prompt.positions_3P.max())
    assert greatest > int(prompt.positions_3P[:, -1].max())  # long steps in time run ahead of the words after the video
    assert positions_3L[:, -3:].tolist() == [[greatest + 1, greatest + 2, greatest + 3]] * 3
