"""One batch of completions becomes one gradient, in as many passes as memory asks for.

A pass holds pieces of groups: a prompt and some of its completions. Whole groups share a pass while the token budget lasts; a group that
is larger than the budget is cut between its completions. The loss is a weighted sum over tokens (loss.py), so the gradient is the same
however it is cut. Video features with a graph are cut off as leaves, and their gradients go through the tower once, at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from videochat_r1.errors import EnvironmentFault
from videochat_r1.grpo.config import GrpoConfig
from videochat_r1.grpo.log import NOTES
from videochat_r1.grpo.loss import TokenLosses, gold_loss_T, grpo_loss_T
from videochat_r1.grpo.optimizer import Optimizer
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.model import Policy
from videochat_r1.policy.shared_prefix import row_tokens, shared_logprobs
from videochat_r1.types import Completion, Prompt

Result = TypeVar("Result")

OUT_OF_MEMORY = EnvironmentFault(
    "Out of GPU memory with one completion at a time.",
    "Turn one of: video.total_pixels down, rollout.max_tokens down, policy.gradient_checkpointing on; or an adapter: policy.lora_rank.",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """A batch, ready to learn from: for each prompt its completions, and for each completion what its tokens weigh and its advantage."""

    prompts: Sequence[Prompt]
    completions: Sequence[Sequence[Completion]]
    weights: Sequence[Sequence[float]]  # of each token of a completion in the batch's loss: loss.token_weights
    advantages: Sequence[Sequence[float]] | None = None  # None: gold answers, learned as they are
    reference: Sequence[Sequence[Tensor]] | None = None  # log-probs of each token under the reference
    old: Sequence[Sequence[Tensor]] | None = None  # under the policy that sampled, where that is no longer this one


@dataclass(frozen=True, order=True)
class Piece:
    """Completions [start, stop) of one group."""

    group: int
    start: int
    stop: int


@dataclass(eq=False)
class Watched:
    """What one completion showed in its pass; (T,) float32 on the CPU each."""

    logprobs_T: Tensor
    entropies_T: Tensor
    losses: TokenLosses


@dataclass(eq=False)
class Learner:
    """Turns lessons into gradients. token_budget falls when memory does not hold it, and stays so: it is part of a run's state."""

    policy: Policy
    optimizer: Optimizer
    config: GrpoConfig
    token_budget: int
    gradients_taken: int = field(default=0)

    def reference_logprobs(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], features: Sequence[VisionFeatures]
    ) -> list[list[Tensor]]:
        """Log-probs of every completion under the reference, without a graph. A trained tower's reference looks at the videos itself."""

        def attempt(is_again: bool) -> list[list[Tensor]]:
            with torch.no_grad(), self.policy.reference():
                seen = self.policy.vision(prompts) if self.policy.trains_vision else features
                found: list[list[Tensor]] = [[] for _ in prompts]
                for pieces in micro_batches(prompts, completions, self.token_budget):
                    scored = shared_logprobs(self.policy, *_of(pieces, prompts, completions, seen))
                    for piece, scores in zip(pieces, scored, strict=True):
                        found[piece.group].extend(scores.logprobs)
                return found

        return self._within_memory(attempt, prompts, completions)

    def gradient(self, lesson: Lesson, features: Sequence[VisionFeatures] | None) -> list[list[Watched]]:
        """Add the lesson's gradient to the optimizer's; what was seen on the way. features: of the policy as it is now; None looks again.

        Raises EnvironmentFault where not even one completion at a time fits into memory.
        """

        def attempt(is_again: bool) -> list[list[Watched]]:
            self.optimizer.clear()
            look_again = features is None or (is_again and self.policy.trains_vision)
            return self._gradient(lesson, self.policy.vision(lesson.prompts) if look_again else features or [])

        self.gradients_taken += 1
        return self._within_memory(attempt, lesson.prompts, lesson.completions)

    def _gradient(self, lesson: Lesson, features: Sequence[VisionFeatures]) -> list[list[Watched]]:
        leaves = [_leaf(each) for each in features]
        watched: list[list[Watched]] = [[] for _ in lesson.prompts]
        for pieces in micro_batches(lesson.prompts, lesson.completions, self.token_budget):
            scored = shared_logprobs(self.policy, *_of(pieces, lesson.prompts, lesson.completions, leaves))
            losses: list[Tensor] = []
            for piece, scores in zip(pieces, scored, strict=True):
                for index, logprobs_T, entropies_T in zip(range(piece.start, piece.stop), scores.logprobs, scores.entropies, strict=True):
                    token_losses = self._token_losses(lesson, piece.group, index, logprobs_T)
                    losses.append(token_losses.loss_T.sum() * lesson.weights[piece.group][index])
                    seen = replace(token_losses, loss_T=token_losses.loss_T.detach())
                    watched[piece.group].append(Watched(logprobs_T=logprobs_T.detach(), entropies_T=entropies_T, losses=seen))
            torch.stack(losses).sum().backward()
            self.optimizer.collect()
        self._through_tower(features, leaves)
        return watched

    def _token_losses(self, lesson: Lesson, group: int, index: int, logprobs_T: Tensor) -> TokenLosses:
        if lesson.advantages is None:
            return gold_loss_T(logprobs_T)
        old_T = None if lesson.old is None else lesson.old[group][index].to(logprobs_T.device)
        reference_T = None if lesson.reference is None else lesson.reference[group][index]
        return grpo_loss_T(logprobs_T, old_T, reference_T, lesson.advantages[group][index], self.config)

    def _through_tower(self, features: Sequence[VisionFeatures], leaves: Sequence[VisionFeatures]) -> None:
        pairs = [
            (whole, leaf)
            for each, cut in zip(features, leaves, strict=True)
            for whole, leaf in zip(_tensors(each), _tensors(cut), strict=True)
        ]
        reached = [(whole, leaf.grad) for whole, leaf in pairs if leaf.grad is not None]
        if reached:
            torch.autograd.backward([whole for whole, _ in reached], [grad for _, grad in reached])
            self.optimizer.collect()

    def _within_memory(
        self, attempt: Callable[[bool], Result], prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]]
    ) -> Result:
        """Call attempt(False), and after each shortage of memory attempt(True) with smaller passes, down to one completion at a time."""
        is_again = False
        while True:
            try:
                return attempt(is_again)
            except torch.OutOfMemoryError:
                pass  # what the failed pass held is freed once this block is left
            is_again = True
            self.optimizer.clear()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.token_budget = _smaller_budget(prompts, completions, self.token_budget)
            NOTES.warning("Out of GPU memory: passes hold %d tokens from now on. The gradient stays the same.", self.token_budget)


def micro_batches(prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], token_budget: int) -> list[list[Piece]]:
    """Which pieces share a pass: in order, as many as the budget holds, each pass at least one completion of one group."""
    passes: list[list[Piece]] = []
    room = 0
    for piece in _pieces(prompts, completions, token_budget):
        tokens = _tokens(piece, prompts, completions)
        if passes and tokens <= room:
            passes[-1].append(piece)
            room -= tokens
        else:
            passes.append([piece])
            room = token_budget - tokens
    return passes


def _pieces(prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], token_budget: int) -> Iterator[Piece]:
    for group, own in enumerate(completions):
        start = 0
        for stop in range(1, len(own) + 1):
            if stop - 1 > start and _tokens(Piece(group, start, stop), prompts, completions) > token_budget:
                yield Piece(group, start, stop - 1)
                start = stop - 1
        if own:
            yield Piece(group, start, len(own))


def _tokens(piece: Piece, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]]) -> int:
    return row_tokens(len(prompts[piece.group]), [len(each) for each in completions[piece.group][piece.start : piece.stop]])


def _smaller_budget(prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], token_budget: int) -> int:
    """The budget halved until it cuts the batch otherwise. Raises EnvironmentFault where nothing can be cut further."""
    before = micro_batches(prompts, completions, token_budget)
    if micro_batches(prompts, completions, 1) == before:
        raise OUT_OF_MEMORY
    while micro_batches(prompts, completions, token_budget) == before:
        token_budget //= 2
    return token_budget


def _of(
    pieces: Sequence[Piece], prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], features: Sequence[VisionFeatures]
) -> tuple[list[Prompt], list[Sequence[Completion]], list[VisionFeatures]]:
    return (
        [prompts[piece.group] for piece in pieces],
        [completions[piece.group][piece.start : piece.stop] for piece in pieces],
        [features[piece.group] for piece in pieces],
    )


def _tensors(features: VisionFeatures) -> tuple[Tensor, ...]:
    return (features.embeds_VD, *features.deepstack_VD)


def _leaf(features: VisionFeatures) -> VisionFeatures:
    """The same numbers, cut off from the tower; gradients gather here where the tower is trained."""
    cut = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in _tensors(features)]
    return VisionFeatures(embeds_VD=cut[0], deepstack_VD=tuple(cut[1:]))
