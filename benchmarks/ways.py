"""Three ways to take one GRPO step on the same policy, the same prompts and, where lengths matter, the same completions.

    D   ours: each prompt once in vision, rollout, reference and policy
    C   ours with sharing off: one row a completion, its prompt in front of it and the tower run on its own copy of the video, but our
        kernels, our head on completion tokens only, our packing
    A   the R1-V style loop: prompt and pixels repeated G times in every pass, one `generate` of the stock class with the adapter as it
        is, logits of every token, one prompt at a time

A is written from the description of the released VideoChat-R1 trainer: sampling at temperature 1 with the stock top-k of 50; advantages
(r - mean) / (std + 1e-4); ratio exp(lp - lp.detach()); k3 KL; mean over a completion's tokens, then over completions. It gets our faster
vision tower and, where all its rows at once do not fit in memory, as many rows as do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.bench import Clock
from videochat_r1.grpo.config import GrpoConfig, TrainConfig
from videochat_r1.grpo.loss import token_weights
from videochat_r1.grpo.optimizer import Optimizer
from videochat_r1.grpo.update import Learner, Lesson
from videochat_r1.policy import cost
from videochat_r1.policy.fused import stock_layers
from videochat_r1.policy.logprobs import row_positions
from videochat_r1.policy.memory import OptimizerName, Sizes
from videochat_r1.policy.model import Policy
from videochat_r1.rollout.base import Sampling, seed_of
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.types import Completion, Prompt

PHASES = ("vision", "rollout", "reference", "policy", "optimizer")
STOCK_TOP_K = 50  # of the released code, by accident: the stock generation settings have it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a step is made of besides its prompts."""

    group: int = 8
    tokens: int = 256  # of a completion at most; with random weights exactly
    kl_weight: float = 0.04
    token_budget: int = 16384
    seed: int = 0
    optimizer: OptimizerName = "adamw"
    lr: float = 1e-6


class Shared:
    """D: the parts of videochat_r1's own trainer."""

    name, title = "D", "ours"
    prompts_at_once = True

    def __init__(self, policy: Policy, settings: Settings) -> None:
        self.policy, self.settings = policy, settings
        self.optimizer = Optimizer(policy.parameters(), TrainConfig(optimizer=settings.optimizer))
        self.learner = Learner(policy, self.optimizer, GrpoConfig(kl_weight=settings.kl_weight), settings.token_budget)
        self.engine = NativeEngine(policy)
        self.steps = 0

    def step(self, prompts: Sequence[Prompt], clock: Clock, given: Sequence[Sequence[Completion]] | None = None) -> list[list[Completion]]:
        """One step, each phase on the clock. given: completions to learn from in the place of those that it samples."""
        with clock("vision"):
            features = self.policy.vision(prompts)
        if given is None:
            with clock("rollout"):
                completions = self.sample(prompts, features)
        else:
            completions = [list(group) for group in given]
        reference = None
        if self.settings.kl_weight:
            with clock("reference"):
                reference = self.learner.reference_logprobs(prompts, completions, features)
        with clock("policy"):
            self.learner.gradient(lesson_of(prompts, completions, reference, self.settings), features)
        with clock("optimizer"):
            self.norm = self.optimizer.step(self.settings.lr)
        return completions

    def sample(self, prompts: Sequence[Prompt], features: Any) -> list[list[Completion]]:
        self.steps += 1
        seeds = [seed_of(self.settings.seed, self.steps, k) for k in range(len(prompts))]
        sampling = Sampling(max_tokens=self.settings.tokens, batch_prompts=max(len(prompts), 1))
        return self.engine.complete(prompts, per_prompt=self.settings.group, sampling=sampling, seeds=seeds, features=features)


class Repeated(Shared):
    """C: every completion is a group of its own, so that the same code shares nothing."""

    name, title = "C", "ours, sharing off"
    rows_at_once = 1 << 30  # in a rollout; halved where memory does not hold them

    def step(self, prompts: Sequence[Prompt], clock: Clock, given: Sequence[Sequence[Completion]] | None = None) -> list[list[Completion]]:
        if given is None:
            with clock("rollout"):
                groups = self.repeatedly(prompts)
        else:
            groups = [list(group) for group in given]
        rows = [prompt for prompt, group in zip(prompts, groups, strict=True) for _ in group]
        completions = [[each] for group in groups for each in group]
        reference = None
        if self.settings.kl_weight:
            with clock("reference"):
                reference = self.learner.reference_logprobs(rows, completions, self._look(prompts))
        with clock("policy"):
            self.learner.gradient(lesson_of(rows, completions, reference, self.settings), self._look(prompts))
        with clock("optimizer"):
            self.norm = self.optimizer.step(self.settings.lr)
        return groups

    def repeatedly(self, prompts: Sequence[Prompt]) -> list[list[Completion]]:
        """G completions of each prompt, every one after a prefill of its own."""
        self.steps += 1
        group = self.settings.group
        rows = [prompt for prompt in prompts for _ in range(group)]
        seeds = [seed_of(self.settings.seed, self.steps, k) for k in range(len(rows))]
        features, flat = self._look(prompts), None
        while flat is None:
            sampling = Sampling(max_tokens=self.settings.tokens, batch_prompts=min(len(rows), self.rows_at_once))
            try:
                flat = self.engine.complete(rows, per_prompt=1, sampling=sampling, seeds=seeds, features=features)
            except torch.OutOfMemoryError:
                if self.rows_at_once == 1:
                    raise
            if flat is None:
                torch.cuda.empty_cache()
                self.rows_at_once = max(1, min(len(rows), self.rows_at_once) // 2)
        return [[row[0] for row in flat[k * group : (k + 1) * group]] for k in range(len(prompts))]

    def _look(self, prompts: Sequence[Prompt]) -> list[Any]:
        """The tower on every copy, a prompt's copies in one call."""
        return [seen for prompt in prompts for seen in self.policy.vision([prompt] * self.settings.group)]


class Stock:
    """A: the R1-V style loop."""

    name, title = "A", "R1-V style loop"
    prompts_at_once = False

    def __init__(self, policy: Policy, settings: Settings) -> None:
        self.policy, self.settings = policy, settings
        self.optimizer = Optimizer(policy.parameters(), TrainConfig(optimizer=settings.optimizer))
        self.rows = settings.group  # in a training pass; halved where memory does not hold them

    def step(self, prompts: Sequence[Prompt], clock: Clock, given: Sequence[Sequence[Completion]] | None = None) -> list[list[Completion]]:
        """One step, a prompt at a time; the gradients of the prompts add up to one update."""
        with stock_layers(self.policy):
            return self._step(prompts, clock, given)

    def _step(self, prompts: Sequence[Prompt], clock: Clock, given: Sequence[Sequence[Completion]] | None) -> list[list[Completion]]:
        sampled: list[list[Completion]] = []
        for index, prompt in enumerate(prompts):
            if given is None:
                with clock("rollout"):
                    completions = self.sample(prompt)
            else:
                completions = list(given[index])
            sampled.append(completions)
            reference: list[Tensor] | None = None
            if self.settings.kl_weight:
                with clock("reference"), torch.no_grad(), self.policy.reference():
                    reference = self._halving(lambda own=completions, one=prompt: self._scores(one, own))
            with clock("policy"):
                weight = 1.0 / len(prompts)
                self._halving(lambda own=completions, one=prompt, ref=reference, w=weight: self._gradient(one, own, ref, w))
        with clock("optimizer"):
            self.norm = self.optimizer.step(self.settings.lr)
        return sampled

    def sample(self, prompt: Prompt, tokens: int | None = None) -> list[Completion]:
        """One call of the stock `generate` on G copies of prompt and pixels."""
        with stock_layers(self.policy):
            sampled_BL = generate(self.policy, [prompt] * self.settings.group, tokens or self.settings.tokens)
        return [self._completion(row[len(prompt) :]) for row in sampled_BL]

    def _completion(self, ids_T: Tensor) -> Completion:
        ends = [k for k, token in enumerate(ids_T.tolist()) if token in self.policy.end_ids]
        ids_T = ids_T[: ends[0] + 1] if ends else ids_T
        return Completion(ids_T=ids_T.cpu(), logprobs_T=torch.zeros(len(ids_T)), text="", stop="end" if ends else "length")

    def _scores(self, prompt: Prompt, completions: Sequence[Completion]) -> list[Tensor]:
        """Log-probabilities (T_g,) of the completions' tokens, from logits of whole rows."""
        scores: list[Tensor] = []
        for start in range(0, len(completions), self.rows):
            scores += self._rows(prompt, completions[start : start + self.rows])
        return scores

    def _rows(self, prompt: Prompt, completions: Sequence[Completion]) -> list[Tensor]:
        """Rows padded at their end to the longest; every token's logits are made, as the released code does."""
        device, longest = self.policy.device, max(len(each) for each in completions)
        ids_BL = torch.zeros(len(completions), len(prompt) + longest, dtype=torch.int64)
        seen_BL = torch.ones_like(ids_BL)
        for row, each in enumerate(completions):
            ids_BL[row, : len(prompt)] = prompt.ids_P
            ids_BL[row, len(prompt) : len(prompt) + len(each)] = each.ids_T
            seen_BL[row, len(prompt) + len(each) :] = 0
        ids_BL = ids_BL.to(device)
        positions_3L = row_positions(prompt, longest).to(device)
        logits_BLV = self.policy.base(
            input_ids=ids_BL,
            attention_mask=seen_BL.to(device) if int(seen_BL.min()) == 0 else None,
            position_ids=positions_3L[:, None].expand(-1, len(completions), -1),
            **pixels(prompt, len(completions), device),
            use_cache=False,
        ).logits
        scores = []
        for logits_LV, ids_L, each in zip(logits_BLV[:, :-1], ids_BL[:, 1:], completions, strict=True):
            logprobs_L = logits_LV.log_softmax(-1).gather(-1, ids_L[:, None])[:, 0]
            scores.append(logprobs_L[len(prompt) - 1 :][: len(each)].float())
        return scores

    def _gradient(self, prompt: Prompt, completions: Sequence[Completion], reference: list[Tensor] | None, weight: float) -> list[Tensor]:
        advantages = advantages_of(len(completions), self.settings.seed)
        for start in range(0, len(completions), self.rows):
            losses = []
            for index, logprobs_T in enumerate(self._rows(prompt, completions[start : start + self.rows]), start=start):
                loss_T = -(logprobs_T - logprobs_T.detach()).exp() * advantages[index]
                if reference is not None:
                    delta_T = reference[index] - logprobs_T
                    loss_T = loss_T + self.settings.kl_weight * (delta_T.exp() - delta_T - 1)
                losses.append(loss_T.mean())
            (torch.stack(losses).sum() * weight / len(completions)).backward()
            self.optimizer.collect()
        return []

    def _halving(self, work: Callable[[], list[Tensor]]) -> list[Tensor]:
        """The work, with half as many rows a pass after each shortage of memory."""
        while True:
            try:
                return work()
            except torch.OutOfMemoryError:
                if self.rows == 1:
                    raise
            self.optimizer.clear()
            torch.cuda.empty_cache()
            self.rows //= 2


WAYS: dict[str, type[Shared] | type[Repeated] | type[Stock]] = {"D": Shared, "C": Repeated, "A": Stock}


def pixels(prompt: Prompt, rows: int, device: torch.device) -> dict[str, Tensor]:
    """A prompt's patches and grid, so many times."""
    return {
        "pixel_values_videos": prompt.patches.to(device).repeat(rows, 1),
        "video_grid_thw": torch.tensor([prompt.grid_thw] * rows, device=device),
    }


@torch.no_grad()
def generate(policy: Policy, prompts: Sequence[Prompt], tokens: int, *, top_k: int = STOCK_TOP_K) -> Tensor:
    """The stock class's own `generate` on a batch of prompts of one length, one row each, with their pixels: (B, P + T) ids."""
    ids_BP = torch.stack([prompt.ids_P for prompt in prompts]).to(policy.device)
    kinds_BP = (ids_BP == policy.hf_config.video_token_id).long() * 2
    each = [pixels(prompt, 1, policy.device) for prompt in prompts]
    exact = {"min_new_tokens": tokens} if min(policy.end_ids) < 0 else {}
    generated: Tensor = policy.base.generate(
        input_ids=ids_BP,
        attention_mask=torch.ones_like(ids_BP),
        mm_token_type_ids=kinds_BP,
        pixel_values_videos=torch.cat([one["pixel_values_videos"] for one in each]),
        video_grid_thw=torch.cat([one["video_grid_thw"] for one in each]),
        do_sample=True,
        temperature=1.0,
        top_k=top_k,
        max_new_tokens=tokens,
        suppress_tokens=[
            policy.hf_config.image_token_id,
            policy.hf_config.video_token_id,
        ],  # one of these sampled ends the loop in an error
        pad_token_id=policy.tokenizer.pad_token_id,
        **exact,
    )
    return generated


def advantages_of(count: int, seed: int) -> list[float]:
    """(r - mean) / (std + 1e-4) of random rewards."""
    rewards_G = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return ((rewards_G - rewards_G.mean()) / (rewards_G.std() + 1e-4)).tolist() if count > 1 else [1.0]


def lesson_of(
    prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], reference: list[list[Tensor]] | None, settings: Settings
) -> Lesson:
    """A batch with random rewards, the same for the same place in a group however its rows stand."""
    flat = [each for group in completions for each in group]
    weights = token_weights([len(each) for each in flat], [True] * len(flat), "sequence_mean")
    drawn = advantages_of(settings.group, settings.seed)
    split_weights, advantages, at = [], [], 0
    for group in completions:
        split_weights.append(weights[at : at + len(group)])
        advantages.append([drawn[(at + k) % settings.group] for k in range(len(group))])
        at += len(group)
    return Lesson(prompts=prompts, completions=completions, weights=split_weights, advantages=advantages, reference=reference)


# -- arithmetic -----------------------------------------------------------------------------------------------------------------------


def forward_flops(sizes: Sizes, prompts: Sequence[int], completions: Sequence[Sequence[int]]) -> float:
    """Floating point operations of one forward over each prompt once and its completions once, whatever their lengths: policy/cost.py's
    count, which takes completions of one length, is a sum over completions."""
    total = 0.0
    for prompt, tails in zip(prompts, completions, strict=True):
        alone = cost.forward_flops(sizes, prompt, 0, 0)
        total += alone + sum(cost.forward_flops(sizes, prompt, 1, tail) - alone for tail in tails)
    return total


def useful_passes(*, has_reference: bool, is_adapter: bool, recomputes: bool) -> dict[str, float]:
    """Forward passes that a reference and a policy pass amount to: `counted` takes a backward for two, and one more where layers are
    computed again, as the target of 45 % does; `needed` leaves out that one and, where an adapter is trained, the frozen weights'."""
    return {"counted": has_reference + 3.0 + recomputes, "needed": has_reference + (2.0 if is_adapter else 3.0)}


def decode_bytes(sizes: Sizes, prompts: Sequence[int], group: int, tokens: int, bytes_each: int) -> float:
    """Bytes that `tokens` decode steps of all prompts together must read at least: weights and prompts' keys and values once a step, and
    what the tails have written by then."""
    load = cost.Load(
        prompt_tokens=round(sum(prompts) / len(prompts)),
        video_tokens=0,
        completion_tokens=tokens,
        group_size=group,
        prompts=len(prompts),
        batch_prompts=len(prompts),
        has_reference=False,
        bytes_each=bytes_each,
    )
    return tokens * cost.decode_bytes(sizes, load, len(prompts))
