"""Completions by the policy's own stock model: each prompt is read once, and its G completions grow on its keys and values.

Several prompts are sampled together. Completions that have ended leave the batch; a completion's tokens depend on its prompt, its seed and
the weights, not on its company (but for the rounding of a matrix product of another shape)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from videochat_r1.policy.attention import by_layout
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.model import Policy
from videochat_r1.policy.shared_prefix import row_hidden
from videochat_r1.rollout._prefixes import SharedPromptRow, pack_shared, shared_prefixes
from videochat_r1.rollout._sampler import choose, uniforms
from videochat_r1.rollout._tails import Tails
from videochat_r1.rollout.base import Sampling, completion_seed
from videochat_r1.types import Completion, Prompt

KEPT_SHARE = 0.75
"""The batch is made smaller once that share of it, or less, would do: moving keys costs about as much as a step."""


class NativeEngine:
    """Completes prompts with a policy's weights as they are at each call. Sampled log-probabilities equal those of `shared_logprobs`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._never = [token for token in policy.forbidden_ids if token not in policy.end_ids]

    def complete(
        self,
        prompts: Sequence[Prompt],
        *,
        per_prompt: int,
        sampling: Sampling,
        seeds: Sequence[int],
        features: Sequence[VisionFeatures] | None = None,
    ) -> list[list[Completion]]:
        """per_prompt completions of each prompt; completion g is drawn with `completion_seed(seed, g)`.

        features: of each prompt's video, where they are at hand; else the tower runs once for each prompt. Neighbours given the very same
        features, whose prompts begin alike up to behind the video, have that beginning read once. Counts "prefills" in the policy's
        counters. Raises ValueError where prompts, seeds and features differ in number."""
        if len(seeds) != len(prompts) or (features is not None and len(features) != len(prompts)) or per_prompt < 1:
            given = f"{len(prompts)} prompts, {len(seeds)} seeds, {per_prompt} completions of each"
            raise ValueError(f"{given}: one seed and one video a prompt, and a completion at least")
        completions: list[list[Completion]] = []
        with torch.no_grad(), self.policy.merged():
            for start in range(0, len(prompts), sampling.batch_prompts):
                part = slice(start, start + sampling.batch_prompts)
                seen = self.policy.vision(prompts[part]) if features is None else features[part]
                completions += self._batch(prompts[part], seen, per_prompt, sampling, seeds[part])
        return completions

    def _batch(
        self, prompts: Sequence[Prompt], features: Sequence[VisionFeatures], per_prompt: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        shared = shared_prefixes(self.policy, prompts, features)
        row = SharedPromptRow(prompts, shared, self.policy.device)
        packed = pack_shared(self.policy, prompts, shared)
        hidden_LD = row_hidden(self.policy, packed, [features[group.first] for group in shared], row)
        self.policy.counters["prefills"] += len(shared)
        drawing = _Drawing(self.policy, prompts, per_prompt, sampling, seeds, self._never)
        tails = Tails(row, per_prompt)
        logits_BV = self._head(hidden_LD[row.ends_N]).repeat_interleave(per_prompt, 0)
        del hidden_LD, packed
        while drawing.draw(logits_BV):
            kept = drawing.thin(tails.count, tails.per_prompt)
            if kept is not None:
                tails.keep(*kept)
            logits_BV = self._step(tails, drawing)
        return drawing.completions(self.policy)

    def _step(self, tails: Tails, drawing: _Drawing) -> Tensor:
        base = self.policy.base
        embeds_BLD = base.get_input_embeddings()(drawing.last_B[:, None])
        positions_3BL = drawing.positions_B[None, :, None].expand(3, -1, -1)
        hidden_BLD = self.policy.family.hidden(base, embeds_BLD, positions_3BL, (), None, **by_layout(base, tails))
        tails.advance()
        return self._head(hidden_BLD[:, 0])

    def _head(self, hidden_BD: Tensor) -> Tensor:
        logits_BV: Tensor = self.policy.base.get_output_embeddings()(hidden_BD)
        return logits_BV


class _Drawing:
    """The tokens drawn so far of all completions of a batch, and which rows of the running forward they belong to."""

    def __init__(
        self, policy: Policy, prompts: Sequence[Prompt], per_prompt: int, sampling: Sampling, seeds: Sequence[int], never: Sequence[int]
    ) -> None:
        device = policy.device
        self.sampling, self.per_prompt, self.drawn = sampling, per_prompt, 0
        drawn_with = [completion_seed(seed, g) for seed in seeds for g in range(per_prompt)]
        self.uniforms_BT = uniforms(drawn_with, sampling.max_tokens if sampling.temperature else 1).to(device)
        self.rows_B = torch.arange(len(drawn_with), device=device)  # which completion each row of the running batch writes
        self.alive_B = torch.ones(len(drawn_with), dtype=torch.bool, device=device)
        self.lengths = torch.zeros(len(drawn_with), dtype=torch.int64, device=device)
        self.ids: list[Tensor] = []  # a column a step, over all completions
        self.logprobs: list[Tensor] = []
        first_free = torch.tensor([int(prompt.positions_3P.max()) + 1 for prompt in prompts], device=device)
        self.first_free_B = first_free.repeat_interleave(per_prompt)
        self.ends = torch.tensor(policy.end_ids, device=device)
        self.forbidden_V: Tensor | None = None
        self.never = list(never)

    @property
    def positions_B(self) -> Tensor:
        """Rotary position of the token drawn last; the same in time, height and width."""
        return self.first_free_B[self.rows_B] + (self.drawn - 1)

    def draw(self, logits_BV: Tensor) -> bool:
        """One token of every row. False when all completions have ended."""
        if self.forbidden_V is None and self.never:
            self.forbidden_V = torch.zeros(logits_BV.shape[1], dtype=torch.bool, device=logits_BV.device)
            self.forbidden_V[self.never] = True
        step = min(self.drawn, self.uniforms_BT.shape[1] - 1)
        self.last_B, logprobs_B = choose(logits_BV, self.uniforms_BT[self.rows_B, step], self.sampling, self.forbidden_V)
        living = self.rows_B[self.alive_B]
        ids, logprobs = torch.zeros_like(self.lengths), torch.zeros(len(self.lengths), device=logits_BV.device)
        ids[living], logprobs[living] = self.last_B[self.alive_B], logprobs_B[self.alive_B]
        self.ids.append(ids)
        self.logprobs.append(logprobs)
        self.lengths[living] += 1
        self.drawn += 1
        self.alive_B &= ~torch.isin(self.last_B, self.ends)
        return self.drawn < self.sampling.max_tokens and bool(self.alive_B.any())

    def thin(self, count: int, per_prompt: int) -> tuple[list[int], Tensor] | None:
        """The prompts and rows to go on with, where enough completions have ended to make the batch smaller; else None. A prompt keeps as
        many rows as the one with the most completions alive; where it has fewer, ended ones stay as fillers."""
        alive = self.alive_B.view(count, per_prompt).cpu()
        needed_N = alive.sum(1)
        prompts = needed_N.nonzero()[:, 0].tolist()
        widest = int(needed_N.max())
        if len(prompts) * widest > KEPT_SHARE * count * per_prompt:
            return None
        order = torch.sort(alive[prompts].int(), dim=1, descending=True, stable=True).indices[:, :widest]
        rows = (torch.tensor(prompts)[:, None] * per_prompt + order).flatten().to(self.rows_B.device)
        self.rows_B, self.alive_B, self.last_B = self.rows_B[rows], self.alive_B[rows], self.last_B[rows]
        return prompts, rows

    def completions(self, policy: Policy) -> list[list[Completion]]:
        """What was drawn, prompt by prompt."""
        ids_BT, logprobs_BT = torch.stack(self.ids, 1).cpu(), torch.stack(self.logprobs, 1).cpu()
        written: list[Completion] = []
        for ids_T, logprobs_T, length in zip(ids_BT, logprobs_BT, self.lengths.tolist(), strict=True):
            ids, logprobs = ids_T[:length].clone(), logprobs_T[:length].clone()
            text = policy.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
            stop: Literal["end", "length"] = "end" if int(ids[-1]) in policy.end_ids else "length"
            written.append(Completion(ids_T=ids, logprobs_T=logprobs, text=text, stop=stop))
        return [written[start : start + self.per_prompt] for start in range(0, len(written), self.per_prompt)]


ENGINE = NativeEngine
