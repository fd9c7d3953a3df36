"""The language-model head on the tokens that are scored, in tiles: never more than a tile x vocabulary is held.

With z = W h / temperature the log-probability of token y is z_y - log sum_j exp(z_j), and its gradient with respect to h is
(W_y - sum_j p_j W_j) / temperature. That row does not depend on what comes from above but for one factor, so with a frozen head it is taken
while the tile is at hand and nothing is computed twice. The gradient of a trained head's weight is a sum over tokens that the factors
weigh one by one, and they are known only after the loss: the backward pass computes each tile's probabilities again, one product of four.
The entropy comes from the same pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from videochat_r1.policy.products import wide_product

CPU_TILE_BYTES = 4 << 20  # stays in the processor's cache
GPU_TILE_BYTES = 256 << 20


def score_tokens(
    head: nn.Module,
    hidden_ND: Tensor,
    targets_N: Tensor,
    *,
    temperature: float = 1.0,
    tile_bytes: int | None = None,
    compiled: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the targets and entropies of the distributions they come from, both (N,) float32, in nats.

    head: maps (n, D) to logits (n, V). hidden_ND: last hidden states, each before the token in targets_N. The softmax is float32 and
    over the whole vocabulary, at the temperature given. Log-probabilities carry gradient to hidden_ND and the head; entropies carry none.
    tile_bytes: bytes of float32 logits at a time. compiled: on a GPU, compile what a plain linear head does with a tile.
    Raises ValueError for a temperature that is not above 0."""
    if not temperature > 0:
        raise ValueError(f"a softmax needs a temperature above 0, got {temperature}")
    vocabulary = getattr(head, "out_features", None) or head(hidden_ND[:1].detach()).shape[-1]
    budget = tile_bytes or (CPU_TILE_BYTES if hidden_ND.device.type == "cpu" else GPU_TILE_BYTES)
    rows = max(1, budget // (4 * vocabulary))
    if is_plain(head) and not torch.is_autocast_enabled(hidden_ND.device.type):
        score = compiled_tile() if compiled and hidden_ND.device.type == "cuda" else score_tile
        logprobs_N, entropies_N = _PlainHead.apply(hidden_ND, head.weight, targets_N, rows, temperature, score, torch.is_grad_enabled())
        return logprobs_N, entropies_N
    logprobs: list[Tensor] = []
    entropies: list[Tensor] = []
    for tile in _tiles(len(targets_N), rows):
        scored = checkpoint(_score_through, head, hidden_ND[tile], targets_N[tile], temperature, use_reentrant=False)
        logprobs.append(scored[0])
        entropies.append(scored[1])
    return torch.cat(logprobs or [hidden_ND.new_zeros(0).float()]), torch.cat(entropies or [hidden_ND.new_zeros(0).float()])


def is_plain(head: nn.Module) -> bool:
    """Whether a head is its weight's product and no more; one that is wrapped (an adapter, a quantised or sharded weight) is not."""
    return type(head) is nn.Linear and type(head.weight.data) is Tensor and head.bias is None and not head._forward_hooks


def logits_of(head: nn.Module, hidden_BD: Tensor) -> Tensor:
    """(B, V) float32 logits, as `score_tokens` has them: what samples is what is scored."""
    if is_plain(head):
        assert isinstance(head.weight, Tensor)
        return _product(hidden_BD, head.weight)
    logits_BV: Tensor = head(hidden_BD)
    return logits_BV.float()


def _product(hidden_nD: Tensor, weight_VD: Tensor) -> Tensor:
    """Logits in float32. Rounded to bfloat16 on their way, a logit of 20 would be off by up to 0.06, and so would its log-probability."""
    return wide_product(hidden_nD, weight_VD.T)


def _tiles(count: int, rows: int) -> Iterator[slice]:
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def _score_through(head: nn.Module, hidden_nD: Tensor, targets_n: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logprobs_nV = F.log_softmax(head(hidden_nD).float() / temperature, -1)
    with torch.no_grad():
        entropies_n = -(logprobs_nV.exp() * logprobs_nV.clamp(min=-1e30)).sum(-1)
    return logprobs_nV.gather(1, targets_n[:, None])[:, 0], entropies_n


def score_tile(
    hidden_nD: Tensor, weight_VD: Tensor, targets_n: Tensor, temperature: float, with_slopes: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log-probabilities (n,), entropies (n,), and with_slopes the gradient (n, D) of each log-probability with respect to its state."""
    shifted_nV, exps_nV, sums_n1 = _exponentials(hidden_nD, weight_VD, temperature)
    log_sums_n1 = sums_n1.log()
    logprobs_n = (shifted_nV.gather(1, targets_n[:, None]) - log_sums_n1)[:, 0]
    probs_nV = exps_nV.div_(sums_n1)
    entropies_n = log_sums_n1[:, 0] - torch.linalg.vecdot(probs_nV, shifted_nV)
    slopes_nD = (weight_VD[targets_n] - probs_nV.to(weight_VD.dtype) @ weight_VD) / temperature if with_slopes else None
    return logprobs_n, entropies_n, slopes_nD


@functools.cache
def compiled_tile() -> Callable[..., Any]:
    """score_tile as a few kernels: one pass over the logits for the greatest, the sum, the entropy and the probabilities."""
    return torch.compile(score_tile, dynamic=True)


class _PlainHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        rows: int,
        temperature: float,
        score: Callable[..., tuple[Tensor, Tensor, Tensor | None]],
        with_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        logprobs_N = torch.empty(len(targets_N), dtype=torch.float32, device=hidden_ND.device)
        entropies_N = torch.empty_like(logprobs_N)
        frozen = with_grad and hidden_ND.requires_grad and not weight_VD.requires_grad
        slopes_ND = torch.empty_like(hidden_ND) if frozen else None
        for tile in _tiles(len(targets_N), rows):
            logprobs_N[tile], entropies_N[tile], slopes_nD = score(hidden_ND[tile], weight_VD, targets_N[tile], temperature, frozen)
            if slopes_ND is not None and slopes_nD is not None:
                slopes_ND[tile] = slopes_nD
        ctx.mark_non_differentiable(entropies_N)
        ctx.frozen, ctx.rows, ctx.temperature = frozen, rows, temperature
        if frozen:
            ctx.save_for_backward(slopes_ND)
        else:
            ctx.save_for_backward(hidden_ND, weight_VD, targets_N)
        return logprobs_N, entropies_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_N1 = grads[0][:, None]
        rest = (None, None, None, None, None)
        if ctx.frozen:
            (slopes_ND,) = ctx.saved_tensors
            return (slopes_ND * grad_N1).to(slopes_ND.dtype), None, *rest
        hidden_ND, weight_VD, targets_N = ctx.saved_tensors
        grad_N1 = grad_N1 / ctx.temperature
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)  # summed over tiles in float32 whatever the weight is kept in
        for tile in _tiles(len(targets_N), ctx.rows):
            _, exps_nV, sums_n1 = _exponentials(hidden_ND[tile], weight_VD, ctx.temperature)
            grad_logits_nV = exps_nV.mul_(-grad_N1[tile] / sums_n1)
            grad_logits_nV.scatter_add_(1, targets_N[tile, None], grad_N1[tile])
            low_nV = grad_logits_nV.to(weight_VD.dtype)
            grad_hidden_ND[tile] = low_nV @ weight_VD
            if weight_VD.dtype == torch.float32:
                grad_weight_VD.addmm_(low_nV.T, hidden_ND[tile])
            else:
                grad_weight_VD += low_nV.T @ hidden_ND[tile]
        return grad_hidden_ND, grad_weight_VD.to(weight_VD.dtype), *rest


def _exponentials(hidden_nD: Tensor, weight_VD: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits less their row's greatest, the exponentials of that, and their sums, all float32."""
    logits_nV = _product(hidden_nD, weight_VD)
    if temperature != 1.0:
        logits_nV = logits_nV.div_(temperature)
    shifted_nV = logits_nV.sub_(logits_nV.amax(1, keepdim=True))
    exps_nV = shifted_nV.exp()
    return shifted_nV, exps_nV, exps_nV.sum(1, keepdim=True)
