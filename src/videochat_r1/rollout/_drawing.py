"""The tokens that are drawn for all completions of a batch, on the device, in buffers that keep their addresses.

Axes: A completions of the batch, B rows that are still running, T tokens, V vocabulary, N prompts, G completions of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from videochat_r1.policy.model import Policy
from videochat_r1.rollout._sampler import choose, uniforms
from videochat_r1.rollout._stops import StopTexts
from videochat_r1.rollout.base import Sampling, completion_seed
from videochat_r1.types import Completion, Prompt

KEPT_SHARE = 0.75
"""The batch is made smaller once that share of it, or less, would do: moving keys costs about as much as a step."""


class Drawing:
    """What was drawn so far, and which rows of the running forward write which completion. most: completions of a batch at most."""

    def __init__(self, policy: Policy, most: int, sampling: Sampling) -> None:
        device, tokens = policy.device, sampling.max_tokens
        self.sampling, self.most, self.device = sampling, most, device
        self.tokenizer, self.end_ids = policy.tokenizer, policy.end_ids
        self.ends_E = torch.tensor(policy.end_ids, device=device)
        self.never = torch.tensor(
            [token for token in policy.forbidden_ids if token not in policy.end_ids], dtype=torch.int64, device=device
        )
        self.forbidden_V: Tensor | None = None
        self.uniforms_AT = torch.zeros(most, tokens if sampling.temperature else 1, dtype=torch.float64, device=device)
        self.ids_AT = torch.zeros(most, tokens, dtype=torch.int64, device=device)
        self.logprobs_AT = torch.zeros(most, tokens, device=device)
        self.lengths_A = torch.zeros(most, dtype=torch.int64, device=device)
        self.first_free_A = torch.zeros(most, dtype=torch.int64, device=device)
        self.rows = torch.zeros(most, dtype=torch.int64, device=device)  # which completion each running row writes
        self.alive = torch.zeros(most, dtype=torch.bool, device=device)
        self.last = torch.zeros(most, dtype=torch.int64, device=device)
        self.step_1 = torch.zeros(1, dtype=torch.int64, device=device)
        self.drawn = 0  # the host's count of steps
        self.running = self.per_prompt = 0
        self.stops = StopTexts(sampling.stop, policy.tokenizer)

    def begin(self, prompts: Sequence[Prompt], per_prompt: int, seeds: Sequence[int]) -> None:
        """Take up a batch."""
        drawn_with = [completion_seed(seed, g) for seed in seeds for g in range(per_prompt)]
        self.running = count = len(drawn_with)
        self.per_prompt, self.drawn = per_prompt, 0
        self.stops = StopTexts(self.sampling.stop, self.tokenizer)
        self.uniforms_AT[:count] = uniforms(drawn_with, self.uniforms_AT.shape[1]).to(self.device)
        first_free_N = torch.tensor([int(prompt.positions_3P.max()) + 1 for prompt in prompts])
        self.first_free_A[:count] = first_free_N.repeat_interleave(per_prompt).to(self.device)
        self.rows[:count] = torch.arange(count, device=self.device)
        self.alive[:count] = True
        for each in (self.ids_AT, self.logprobs_AT, self.lengths_A, self.step_1):
            each.zero_()

    @property
    def last_B(self) -> Tensor:
        """The token drawn last, of every running row."""
        return self.last[: self.running]

    @property
    def positions_B(self) -> Tensor:
        """Rotary position of the token drawn last; the same in time, height and width."""
        return self.first_free_A[self.rows[: self.running]] + (self.step_1 - 1)

    def draw(self, logits_BV: Tensor) -> None:
        """One token of every running row. Device work alone, of fixed shapes: it can be recorded."""
        if self.forbidden_V is None and len(self.never):
            self.forbidden_V = torch.zeros(logits_BV.shape[1], dtype=torch.bool, device=self.device)
            self.forbidden_V[self.never] = True
        rows_B, alive_B = self.rows[: self.running], self.alive[: self.running]
        column_1 = self.step_1 if self.sampling.temperature else torch.zeros_like(self.step_1)
        uniforms_B = self.uniforms_AT.index_select(1, column_1)[:, 0][rows_B]
        tokens_B, logprobs_B = choose(logits_BV, uniforms_B, self.sampling, self.forbidden_V)
        steps_B = self.step_1.expand(self.running)
        self.ids_AT.index_put_((rows_B, steps_B), torch.where(alive_B, tokens_B, 0))
        self.logprobs_AT.index_put_((rows_B, steps_B), torch.where(alive_B, logprobs_B, 0.0))
        self.lengths_A.index_add_(0, rows_B, alive_B.long())
        alive_B.logical_and_((tokens_B[:, None] != self.ends_E).all(1))
        self.last[: self.running] = tokens_B
        self.step_1 += 1

    def look(self, count: int) -> Tensor:
        """Which running rows still write, (N, G) on the CPU, after texts that stop a completion were looked for."""
        if self.sampling.stop:
            self._stop()
        return self.alive[: self.running].view(count, -1).cpu()

    def _stop(self) -> None:
        """Completions in which a stop text stands end behind the token that finished it, whenever that is noticed."""
        lengths = self.lengths_A.tolist()
        found = self.stops.look(self.ids_AT.cpu(), lengths)
        if found:
            places, cuts = (torch.tensor(each, device=self.device) for each in zip(*found.items(), strict=True))
            self.lengths_A[places] = cuts
            rows_B = self.rows[: self.running]
            self.alive[: self.running] &= ~torch.isin(rows_B, places)

    def keep(self, rows: Tensor) -> None:
        """Go on with these running rows alone, in this order."""
        for each in (self.rows, self.alive, self.last):
            each[: len(rows)] = each[: self.running][rows]
        self.running = len(rows)

    def completions(self, count: int) -> list[list[Completion]]:
        """What was drawn for `count` prompts."""
        if self.sampling.stop:
            self._stop()
        total = count * self.per_prompt
        ids_AT, logprobs_AT = self.ids_AT[:total].cpu(), self.logprobs_AT[:total].cpu()
        written: list[Completion] = []
        for index, length in enumerate(self.lengths_A[:total].tolist()):
            ids, logprobs = ids_AT[index, :length].clone(), logprobs_AT[index, :length].clone()
            text = self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
            ended: Literal["end", "length"] = "end" if int(ids[-1]) in self.end_ids else "length"
            stop: Literal["end", "length", "text"] = "text" if index in self.stops.found else ended
            written.append(Completion(ids_T=ids, logprobs_T=logprobs, text=text, stop=stop))
        return [written[start : start + self.per_prompt] for start in range(0, total, self.per_prompt)]


def thinned(alive_NG: Tensor, sizes: Sequence[int] = ()) -> tuple[list[int], Tensor] | None:
    """The prompts and rows (by index, prompt by prompt) to go on with, where enough completions have ended to make the batch smaller; else
    None. A prompt keeps as many rows as the one with the most completions alive; where it has fewer, ended ones stay as fillers.

    sizes: numbers of prompts and of rows of each that are gone down to; any if none are given."""
    count, per_prompt = alive_NG.shape
    needed_N = alive_NG.sum(1)
    prompts = needed_N.nonzero()[:, 0].tolist()
    fewest, widest = (_size(*each, sizes) for each in ((len(prompts), count), (int(needed_N.max()), per_prompt)))
    if fewest * widest > KEPT_SHARE * count * per_prompt:
        return None
    prompts += [index for index in range(count) if index not in prompts][: fewest - len(prompts)]
    prompts.sort()
    order = torch.sort(alive_NG[prompts].int(), dim=1, descending=True, stable=True).indices[:, :widest]
    return prompts, (torch.tensor(prompts)[:, None] * per_prompt + order).flatten()


def _size(needed: int, most: int, sizes: Sequence[int]) -> int:
    return min([size for size in sizes if needed <= size < most], default=most if sizes else needed)
