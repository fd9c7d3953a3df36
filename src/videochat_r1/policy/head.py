"""The language-model head on the tokens that are scored, in tiles: never more than a tile x vocabulary is held.

With z = W h the log-probability of token y is z_y - log sum_j exp(z_j), and its gradient with respect to h is W_y - sum_j p_j W_j. That
row does not depend on what comes from above but for one factor, so with a frozen head it is taken while the tile is at hand and nothing is
computed twice. A trained head needs each tile's probabilities again in the backward pass, and computes them again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

CPU_TILE_BYTES = 4 << 20  # stays in the processor's cache
GPU_TILE_BYTES = 256 << 20


def score_tokens(head: nn.Module, hidden_ND: Tensor, targets_N: Tensor, *, tile_bytes: int | None = None) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the targets and entropies of the distributions they come from, both (N,) float32, in nats.

    head: maps (n, D) to logits (n, V). hidden_ND: last hidden states, each before the token in targets_N. The softmax is float32 and
    over the whole vocabulary, at temperature 1. Log-probabilities carry gradient to hidden_ND and the head; entropies carry none.
    tile_bytes: bytes of float32 logits at a time."""
    vocabulary = getattr(head, "out_features", None) or head(hidden_ND[:1].detach()).shape[-1]
    budget = tile_bytes or (CPU_TILE_BYTES if hidden_ND.device.type == "cpu" else GPU_TILE_BYTES)
    rows = max(1, budget // (4 * vocabulary))
    # A plain linear head has the short way; one that is wrapped (an adapter, a quantised or sharded weight) is called as it is.
    if (
        type(head) is nn.Linear
        and type(head.weight.data) is Tensor
        and head.bias is None
        and not head._forward_hooks
        and not torch.is_autocast_enabled(hidden_ND.device.type)
    ):
        logprobs_N, entropies_N = _PlainHead.apply(hidden_ND, head.weight, targets_N, rows, torch.is_grad_enabled())
        return logprobs_N, entropies_N
    logprobs: list[Tensor] = []
    entropies: list[Tensor] = []
    for tile in _tiles(len(targets_N), rows):
        scored = checkpoint(_score_through, head, hidden_ND[tile], targets_N[tile], use_reentrant=False)
        logprobs.append(scored[0])
        entropies.append(scored[1])
    return torch.cat(logprobs or [hidden_ND.new_zeros(0).float()]), torch.cat(entropies or [hidden_ND.new_zeros(0).float()])


def _tiles(count: int, rows: int) -> Iterator[slice]:
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def _score_through(head: nn.Module, hidden_nD: Tensor, targets_n: Tensor) -> tuple[Tensor, Tensor]:
    logprobs_nV = F.log_softmax(head(hidden_nD).float(), -1)
    with torch.no_grad():
        entropies_n = -(logprobs_nV.exp() * logprobs_nV.clamp(min=-1e30)).sum(-1)
    return logprobs_nV.gather(1, targets_n[:, None])[:, 0], entropies_n


class _PlainHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, rows: int, with_grad: bool) -> tuple[Tensor, Tensor]:
        logprobs_N = torch.empty(len(targets_N), dtype=torch.float32, device=hidden_ND.device)
        entropies_N = torch.empty_like(logprobs_N)
        frozen = with_grad and hidden_ND.requires_grad and not weight_VD.requires_grad
        slopes_ND = torch.empty_like(hidden_ND) if frozen else None
        for tile in _tiles(len(targets_N), rows):
            targets_n1 = targets_N[tile, None]
            shifted_nV, exps_nV, sums_n1 = _exponentials(hidden_ND[tile], weight_VD)
            log_sums_n1 = sums_n1.log()
            logprobs_N[tile] = (shifted_nV.gather(1, targets_n1) - log_sums_n1)[:, 0]
            probs_nV = exps_nV.div_(sums_n1)
            entropies_N[tile] = log_sums_n1[:, 0] - torch.linalg.vecdot(probs_nV, shifted_nV)
            if slopes_ND is not None:
                slopes_ND[tile] = weight_VD[targets_n1[:, 0]] - probs_nV.to(weight_VD.dtype) @ weight_VD
        ctx.mark_non_differentiable(entropies_N)
        ctx.frozen, ctx.rows = frozen, rows
        if frozen:
            ctx.save_for_backward(slopes_ND)
        else:
            ctx.save_for_backward(hidden_ND, weight_VD, targets_N)
        return logprobs_N, entropies_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_N1 = grads[0][:, None]
        if ctx.frozen:
            (slopes_ND,) = ctx.saved_tensors
            return (slopes_ND * grad_N1).to(slopes_ND.dtype), None, None, None, None
        hidden_ND, weight_VD, targets_N = ctx.saved_tensors
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)  # summed over tiles in float32 whatever the weight is kept in
        for tile in _tiles(len(targets_N), ctx.rows):
            _, exps_nV, sums_n1 = _exponentials(hidden_ND[tile], weight_VD)
            grad_logits_nV = exps_nV.mul_(-grad_N1[tile] / sums_n1)
            grad_logits_nV.scatter_add_(1, targets_N[tile, None], grad_N1[tile])
            low_nV = grad_logits_nV.to(weight_VD.dtype)
            grad_hidden_ND[tile] = low_nV @ weight_VD
            if weight_VD.dtype == torch.float32:
                grad_weight_VD.addmm_(low_nV.T, hidden_ND[tile])
            else:
                grad_weight_VD += low_nV.T @ hidden_ND[tile]
        return grad_hidden_ND, grad_weight_VD.to(weight_VD.dtype), None, None, None


def _exponentials(hidden_nD: Tensor, weight_VD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits less their row's greatest, the exponentials of that, and their sums, all float32."""
    logits_nV = (hidden_nD @ weight_VD.T).float()
    shifted_nV = logits_nV.sub_(logits_nV.amax(1, keepdim=True))
    exps_nV = shifted_nV.exp()
    return shifted_nV, exps_nV, exps_nV.sum(1, keepdim=True)
