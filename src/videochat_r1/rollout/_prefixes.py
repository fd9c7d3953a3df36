"""The prefill of several questions about one video: what their prompts share is read once.

With the video before the question (asking.order = "video_first") prompts about the same clip differ in their last words alone. The row
`[prefix | question 1 | question 2 | ...]` has the layout of a group of completions, so the attention of training serves here too. Every
prompt then has its own keys and values, as if it had been read alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videochat_r1.policy.attention import Backend, SharedRow
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.model import Policy
from videochat_r1.policy.shared_prefix import Row, pack
from videochat_r1.rollout._tails import PromptRow
from videochat_r1.types import Completion, Prompt


@dataclass(frozen=True)
class Shared:
    """Prompts first ... first + count - 1 begin with the same `tokens` tokens, the whole video among them; 0: each stands alone."""

    first: int
    count: int
    tokens: int


def shared_prefixes(policy: Policy, prompts: Sequence[Prompt], features: Sequence[VisionFeatures]) -> list[Shared]:
    """The prompts in their order, neighbours that show the same video (the very same features) and begin alike taken together."""
    found: list[Shared] = []
    first = 0
    while first < len(prompts):
        last = first + 1
        while last < len(prompts) and features[last] is features[first]:
            last += 1
        tokens = _common(policy, prompts[first:last]) if last - first > 1 else 0
        if tokens:
            found.append(Shared(first, last - first, tokens))
        else:
            found += [Shared(index, 1, 0) for index in range(first, last)]
        first = last
    return found


def _common(policy: Policy, prompts: Sequence[Prompt]) -> int:
    """Tokens that all of them begin with, of which each keeps one at least for itself; 0 where a video, or a position that is not the next
    one, comes after them."""
    tokens = min(len(prompt) for prompt in prompts) - 1
    head = prompts[0].ids_P
    for prompt in prompts[1:]:
        differs = (prompt.ids_P[:tokens] != head[:tokens]).nonzero()
        tokens = int(differs[0]) if len(differs) else tokens
    if tokens < 1:
        return 0
    for prompt in prompts:
        tail_3T = prompt.positions_3P[:, tokens:]
        free = int(prompt.positions_3P[:, :tokens].max()) + 1
        has_video = bool((prompt.ids_P[tokens:] == policy.hf_config.video_token_id).any())
        if has_video or not torch.equal(tail_3T, (free + torch.arange(tail_3T.shape[1])).expand(3, -1)):
            return 0
    return tokens


class SharedPromptRow(PromptRow):
    """A layout for the prefill in which some prompts share what they begin with. `ends_N` is each prompt's last token in the row."""

    def __init__(self, prompts: Sequence[Prompt], shared: Sequence[Shared], device: torch.device, backend: Backend = "segments") -> None:
        super().__init__([len(prompt) for prompt in prompts], device, backend)
        heads, tails = _lengths(prompts, shared)
        self.row = SharedRow(heads, tails, device, backend)
        index_NP = self.index_NP  # as if each prompt stood alone
        ends = []
        for place, group in zip(self.row.places, shared, strict=True):
            start = place.split
            for number in range(group.first, group.first + group.count):
                own = len(prompts[number]) - place.prompt
                index_NP[number] = place.start  # padding is masked; any token of the row serves
                index_NP[number, : place.prompt] = place.start + torch.arange(place.prompt)
                index_NP[number, place.prompt : place.prompt + own] = start + torch.arange(own)
                start += own
                ends.append(start - 1 if own else place.split - 1)
        self.ends_N = torch.tensor(ends, device=device)


def _lengths(prompts: Sequence[Prompt], shared: Sequence[Shared]) -> tuple[list[int], list[list[int]]]:
    heads = [group.tokens or len(prompts[group.first]) for group in shared]
    tails = [
        [len(prompts[number]) - group.tokens for number in range(group.first, group.first + group.count)] if group.tokens else []
        for group in shared
    ]
    return heads, tails


def pack_shared(policy: Policy, prompts: Sequence[Prompt], shared: Sequence[Shared]) -> Row:
    """One row of all prompts, on the policy's device: the beginnings that are shared once, and what follows them."""
    heads, tails = [], []
    for group in shared:
        head = prompts[group.first]
        own = prompts[group.first : group.first + group.count] if group.tokens else ()
        if group.tokens:
            head = replace(head, ids_P=head.ids_P[: group.tokens], positions_3P=head.positions_3P[:, : group.tokens])
        heads.append(head)
        tails.append([_as_tail(prompt.ids_P[group.tokens :]) for prompt in own])
    return pack(policy, heads, tails)


def _as_tail(ids_T: Tensor) -> Completion:
    """A packed row leaves out a completion's last token; here all of the question belongs to it."""
    filled = torch.cat([ids_T, ids_T[-1:]])
    return Completion(ids_T=filled, logprobs_T=torch.zeros(len(filled)), text="", stop="end")
