"""The loss of one batch, token by token, and how the tokens add up.

Everything here is for one completion of T tokens; a batch's loss is the plain sum over its completions of `weight * sum over tokens`.
`token_weights` holds every average that a loss takes over a batch, so the sum can be cut into any micro-batches with the same gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videochat_r1.grpo.config import GrpoConfig

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "GrpoConfig",
    "TokenLosses",
    "clipped_objective_T",
    "gold_loss_T",
    "grpo_loss_T",
    "kl_k3_T",
    "sequence_ratio_T",
    "token_ratio_T",
    "token_weights",
]


@dataclass(frozen=True, eq=False)
class TokenLosses:
    """The loss of each token of one completion, and what is worth watching; all (T,) float32, only loss_T with a graph."""

    loss_T: Tensor
    kl_T: Tensor | None
    clipped_T: Tensor  # 1.0 where the clip holds the ratio


def token_ratio_T(logprobs_T: Tensor, old_T: Tensor) -> Tensor:
    """pi / pi_old of each token."""
    return (logprobs_T - old_T).exp()


def sequence_ratio_T(logprobs_T: Tensor, old_T: Tensor) -> Tensor:
    """(pi / pi_old of the sequence)^(1/T), the same for each token. GSPO: Zheng et al. 2025, arXiv:2507.18071, eq. 7."""
    return (logprobs_T - old_T).mean().exp().expand_as(logprobs_T)


def clipped_objective_T(ratio_T: Tensor, advantage: float, low: float, high: float) -> Tensor:
    """min(ratio x A, clip(ratio, 1 - low, 1 + high) x A): no gain from a ratio beyond the clip. Schulman et al. 2017, arXiv:1707.06347."""
    return (ratio_T * advantage).minimum(ratio_T.clamp(1 - low, 1 + high) * advantage)


def kl_k3_T(logprobs_T: Tensor, reference_T: Tensor) -> Tensor:
    """The k3 estimate of KL(policy || reference) at each token, never negative: exp(d) - d - 1 with d = log ref - log pi. Schulman 2020."""
    delta_T = reference_T - logprobs_T
    return delta_T.exp() - delta_T - 1


def grpo_loss_T(logprobs_T: Tensor, old_T: Tensor | None, reference_T: Tensor | None, advantage: float, config: GrpoConfig) -> TokenLosses:
    """-(clipped ratio x A) + kl_weight x KL of each token of one completion.

    old_T: log-probs under the policy that sampled; None where that is this very policy (the ratio is 1, carries the gradient and needs no
    clip: at a bound of 1 the clip would halve it).
    reference_T: log-probs under the reference; None leaves the KL out, as kl_weight 0 does.
    """
    is_on_policy = old_T is None
    old_T = logprobs_T.detach() if old_T is None else old_T
    ratio_T = sequence_ratio_T(logprobs_T, old_T) if config.ratio == "sequence" else token_ratio_T(logprobs_T, old_T)
    loss_T = -(ratio_T * advantage if is_on_policy else clipped_objective_T(ratio_T, advantage, config.clip_low, config.clip_high))
    kl_T = None
    if reference_T is not None and config.kl_weight:
        kl_T = kl_k3_T(logprobs_T, reference_T)
        loss_T = loss_T + config.kl_weight * kl_T
    ratio_T = ratio_T.detach()
    clipped_T = ratio_T < 1 - config.clip_low if advantage < 0 else ratio_T > 1 + config.clip_high
    if advantage == 0:
        clipped_T = clipped_T & False
    return TokenLosses(loss_T=loss_T, kl_T=None if kl_T is None else kl_T.detach(), clipped_T=clipped_T.float())


def gold_loss_T(logprobs_T: Tensor) -> TokenLosses:
    """-log p of each token of a gold answer: supervised fine-tuning."""
    return TokenLosses(loss_T=-logprobs_T, kl_T=None, clipped_T=logprobs_T.detach() * 0)


def token_weights(lengths: Sequence[int], kept: Sequence[bool], aggregation: str, constant_length: int = 0) -> list[float]:
    """What each token of each completion of a batch weighs in the batch's loss, one number a completion.

    lengths: tokens of every completion of the whole batch. kept: False gives a completion no part (a masked truncated one).
    sequence_mean: the mean over completions of the mean over their tokens (GRPO, arXiv:2402.03300). token_mean: the mean over all kept
    tokens (DAPO, arXiv:2503.14476). constant_length: the sum over tokens by completions x constant_length (Dr.GRPO, arXiv:2503.20783).
    Masked completions still count among the completions, as in TRL. Raises ValueError on an unknown aggregation or a length of 0.
    """
    if min(lengths) < 1 or (aggregation == "constant_length" and constant_length < 1):
        raise ValueError("lengths are 1 token at least")
    if aggregation == "sequence_mean":
        weights = [1.0 / (len(lengths) * length) for length in lengths]
    elif aggregation == "token_mean":
        weights = [1.0 / max(1, sum(length for length, keep in zip(lengths, kept, strict=True) if keep))] * len(lengths)
    elif aggregation == "constant_length":
        weights = [1.0 / (len(lengths) * constant_length)] * len(lengths)
    else:
        raise ValueError(f"unknown aggregation {aggregation!r}")
    return [weight if keep else 0.0 for weight, keep in zip(weights, kept, strict=True)]
