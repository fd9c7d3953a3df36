"""Drawing tokens: the distribution, the cut-offs against transformers' own, and the numbers that decide."""

import pytest
import torch
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from videochat_r1.rollout._sampler import choose, cut, uniforms
from videochat_r1.rollout.base import Sampling, completion_seed


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.6), Sampling(top_k=3), Sampling(top_p=0.8, temperature=1.5)],
    ids=["plain", "cool", "top-k", "hot top-p"],
)
def test_draws_follow_the_softmax(sampling):
    draws = 20_000
    logits_V = torch.tensor([1.0, -0.5, 2.0, 0.3, -3.0, 1.1, 9.0])
    forbidden_V = torch.tensor([False] * 6 + [True])
    uniforms_B = uniforms([completion_seed(5, g) for g in range(draws)], 1)[:, 0]
    tokens_B, logprobs_B = choose(logits_V.expand(draws, -1), uniforms_B, sampling, forbidden_V)
    expected_V = cut(logits_V.masked_fill(forbidden_V, float("-inf"))[None] / sampling.temperature, sampling).softmax(-1)[0].double()
    counts_V = torch.bincount(tokens_B, minlength=7).double()
    possible = expected_V > 0
    assert not counts_V[~possible].any()
    assert chisquare(counts_V[possible].numpy(), (expected_V[possible] * draws / expected_V[possible].sum()).numpy()).pvalue > 1e-3
    torch.testing.assert_close(logprobs_B, logits_V.log_softmax(-1)[tokens_B])  # the full softmax, whatever was cut off


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k, top_p", [(0, 0.9), (5, 1.0), (5, 0.6), (1, 1.0), (0, 0.01), (400, 0.5)])
def test_cut_offs_equal_transformers(temperature, top_k, top_p):
    logits_BV = 3 * torch.randn(64, 200, generator=torch.Generator().manual_seed(0))
    expected = TemperatureLogitsWarper(temperature)(None, logits_BV) if temperature != 1.0 else logits_BV
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1.0:
        expected = TopPLogitsWarper(top_p)(None, expected)
    got = cut(logits_BV / temperature, Sampling(top_k=top_k, top_p=top_p))
    assert torch.equal(got.isneginf(), expected.isneginf())
    torch.testing.assert_close(got, expected)


def test_the_ends_of_the_uniform_range():
    logits_BV = torch.tensor([[float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")]]).expand(3, -1)
    tokens_B, _ = choose(logits_BV, torch.tensor([0.0, 0.5, 1.0 - 2**-53], dtype=torch.float64), Sampling())
    assert tokens_B.tolist() == [1, 3, 3]


def test_greedy_takes_the_likeliest_that_is_allowed():
    logits_BV = torch.tensor([[5.0, 1.0, 3.0], [0.0, 2.0, 2.0]])
    tokens_B, logprobs_B = choose(logits_BV, torch.zeros(2).double(), Sampling(temperature=0.0), torch.tensor([True, False, False]))
    assert tokens_B.tolist() == [2, 1]
    torch.testing.assert_close(logprobs_B, logits_BV.log_softmax(-1)[[0, 1], [2, 1]])


def test_uniforms_are_a_completions_own():
    few, many = uniforms([3, 4], 5), uniforms([9, 4, 3], 50)
    assert few[0].tolist() == many[2, :5].tolist() and few[1].tolist() == many[1, :5].tolist()
    assert few[0].tolist() != few[1].tolist()
    assert many.dtype == torch.float64 and many.min() >= 0 and many.max() < 1
    assert uniforms([7], 1).item() == 0.8720734548204873  # pinned: a seed means the same in every later version
    assert len({completion_seed(seed, g) for seed in range(30) for g in range(30)}) == 900
