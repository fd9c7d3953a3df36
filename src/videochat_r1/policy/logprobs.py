"""Log-probabilities of completions by the plain forward: the stock model, one row a completion, the video's patches in every row.

Slow, and plainly right. `shared_prefix.py` gives the same numbers with the prompt read once, and is held to these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videochat_r1.policy.model import Policy
from videochat_r1.types import Completion, Prompt


@dataclass(frozen=True, eq=False)
class TokenScores:
    """What a policy thinks of the completions of one prompt, in their order. T_g: tokens of completion g."""

    logprobs: list[Tensor]  # (T_g,) float32, of each token: full softmax at temperature 1
    entropies: list[Tensor]  # (T_g,) float32, of the distribution each token was one draw of, in nats; without gradients


def logprobs(policy: Policy, prompt: Prompt, completions: Sequence[Completion]) -> TokenScores:
    """Scores of each completion after the prompt, with gradients where they are on. Runs the vision tower once a completion.

    Positions go on by one from the prompt's greatest. They are given to the model and not left to it: transformers before 5.23 may round
    the seconds between patches down to whole ones."""
    scores, entropies = [], []
    grid = torch.tensor([prompt.grid_thw], device=policy.device)
    for completion in completions:
        ids_L = torch.cat([prompt.ids_P, completion.ids_T]).to(policy.device)
        logits_TV = policy.base(
            input_ids=ids_L[None],
            position_ids=row_positions(prompt, len(completion))[:, None].to(policy.device),
            pixel_values_videos=prompt.patches.to(policy.device),
            video_grid_thw=grid,
            use_cache=False,
            logits_to_keep=len(completion) + 1,
        ).logits[0, :-1]
        logprobs_TV = logits_TV.float().log_softmax(-1)
        scores.append(logprobs_TV.gather(-1, ids_L[len(prompt) :, None]).squeeze(-1))
        spread_TV = logprobs_TV.detach()
        entropies.append(-(spread_TV.exp() * spread_TV).sum(-1))
    return TokenScores(logprobs=scores, entropies=entropies)


def row_positions(prompt: Prompt, tail: int) -> Tensor:
    """Rotary positions (3, P + tail) of the prompt and `tail` tokens after it, int64."""
    start = int(prompt.positions_3P.max()) + 1
    tail_3T = torch.arange(start, start + tail, device=prompt.positions_3P.device).expand(3, -1)
    return torch.cat([prompt.positions_3P, tail_3T], dim=1)
