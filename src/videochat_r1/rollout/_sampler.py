"""One token of each completion from its logits: temperature, then top-k, then top-p, then inverse of the cumulative distribution.

A completion brings its own uniform numbers, drawn from its own seed, so that what it samples does not depend on what is sampled beside it.
Axes: B completions, V vocabulary, T tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videochat_r1.rollout.base import Sampling


def uniforms(seeds: Sequence[int], tokens: int) -> Tensor:
    """Uniform numbers in [0, 1), one row a seed: (B, T) float64. A longer row begins with the shorter one. The generator is
    counter-based (Philox, Salmon et al. 2011, doi:10.1145/2063384.2063405), so making one for each completion costs nothing."""
    rows = [np.random.Generator(np.random.Philox(key=seed)).random(tokens) for seed in seeds]
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, tokens, dtype=torch.float64)


def choose(logits_BV: Tensor, uniforms_B: Tensor, sampling: Sampling, forbidden_V: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Tokens (B,) int64, and their log-probabilities (B,) float32 as the policy scores them: full softmax of logits_BV at temperature 1,
    before any cut-off and with the forbidden tokens' mass in it, so that they equal `shared_logprobs` of the same tokens.

    forbidden_V: true for tokens that are never chosen. uniforms_B: in [0, 1), on the logits' device; unused at temperature 0, which takes
    the likeliest token, the first of equals."""
    logits_BV = logits_BV.float()
    allowed_BV = logits_BV if forbidden_V is None else logits_BV.masked_fill(forbidden_V, float("-inf"))
    if sampling.temperature == 0.0:
        tokens_B = allowed_BV.argmax(-1)
    else:
        tokens_B = _invert(cut(allowed_BV / sampling.temperature, sampling).softmax(-1), uniforms_B)
    chosen_B = logits_BV.gather(1, tokens_B[:, None])[:, 0]
    return tokens_B, chosen_B - logits_BV.logsumexp(-1)


def cut(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """Logits with -inf at what top-k and then top-p leave out. Equals of the k-th stay, and so does the likeliest token always."""
    if 0 < sampling.top_k < logits_BV.shape[-1]:
        least_B1 = logits_BV.topk(sampling.top_k, -1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least_B1, float("-inf"))
    if sampling.top_p < 1.0:
        sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
        probs_BV = sorted_BV.softmax(-1)
        before_BV = probs_BV.cumsum(-1) - probs_BV  # mass of the likelier tokens
        out_BV = before_BV >= sampling.top_p
        out_BV[:, 0] = False
        logits_BV = logits_BV.masked_fill(torch.zeros_like(out_BV).scatter_(1, order_BV, out_BV), float("-inf"))
    return logits_BV


PART = 512
"""Tokens of a vocabulary whose masses are summed together: a running sum over 150,000 tokens in one go keeps one processor of a GPU busy
and leaves the others idle."""


def _invert(masses_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """The first token whose cumulative mass exceeds u of the whole: first the part of the vocabulary in which it is, then the token.
    Float64: a sum over 150,000 tokens must not drown the rare ones."""
    parts_BNX = F.pad(masses_BV, (0, -masses_BV.shape[1] % PART)).unflatten(1, (-1, PART))
    ends_BN = parts_BNX.sum(-1, dtype=torch.float64).cumsum(-1)
    part_B, aimed_B = _above(ends_BN, uniforms_B * ends_BN[:, -1])
    before_B = torch.where(part_B > 0, ends_BN.gather(1, (part_B - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    within_BX = parts_BNX.gather(1, part_B[:, None, None].expand(-1, 1, PART))[:, 0].double().cumsum(-1)
    return part_B * PART + _above(within_BX, aimed_B - before_B)[0]


def _above(cumulative_BN: Tensor, aimed_B: Tensor) -> tuple[Tensor, Tensor]:
    """The first place whose cumulative mass exceeds what is aimed at, and what was aimed at: just below the whole at most, so that a place
    of no mass, which stands at the level of the one before it, is never the first above."""
    total_B = cumulative_BN[:, -1]
    aimed_B = torch.minimum(aimed_B, torch.nextafter(total_B, torch.zeros_like(total_B)))
    return torch.searchsorted(cumulative_BN, aimed_B[:, None], right=True)[:, 0], aimed_B
