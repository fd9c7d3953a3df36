"""Log-probabilities of groups' completions, with each video and prompt read once.

The G completions of a group share a long prefix (video, question) and differ in a short tail. The prefix runs through the model once and
every tail attends to it: P + sum(T_g) tokens instead of sum(P + T_g). `logprobs.py` is the plain forward; the two must agree, and
tests/policy/test_shared_prefix.py holds them to it.

Several groups stand in one row, `[prompt | c_1 | ... | c_G | prompt | c_1 | ...]`, never padded. A completion's last token predicts
nothing that is scored, so it is left out of the row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videochat_r1.policy.attention import Backend, Layout, SharedRow, by_layout
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.fastest import Geometry, fastest
from videochat_r1.policy.head import score_tokens
from videochat_r1.policy.logprobs import TokenScores
from videochat_r1.policy.model import Policy
from videochat_r1.types import Completion, Prompt


def row_tokens(prompt_tokens: int, completion_tokens: Sequence[int]) -> int:
    """Tokens that a group takes in a row: what a token budget is spent in."""
    return prompt_tokens + sum(max(tokens - 1, 0) for tokens in completion_tokens)


def shared_logprobs(
    policy: Policy,
    prompts: Sequence[Prompt],
    completions: Sequence[Sequence[Completion]],
    features: Sequence[VisionFeatures],
    *,
    backend: Backend | None = None,
) -> list[TokenScores]:
    """Scores of each prompt's completions under the policy as it is now, in the order given: one forward over one packed row.

    features: of each prompt's video; with a graph they carry the gradient of the whole group back to the tower. No vision pass is made
    here. Log-probabilities are of the full softmax at temperature 1, forbidden ids included, as completions record them.
    backend: of the attention; the policy's setting if none is given.
    Raises ValueError where lengths, features or placeholders do not fit together."""
    if not prompts or len(completions) != len(prompts) or len(features) != len(prompts):
        given = f"{len(prompts)} prompts, {len(completions)} groups of completions, {len(features)} videos"
        raise ValueError(f"{given}: one of each for a group, and a group at least")
    row = pack(policy, prompts, completions)
    lengths = [len(prompt) for prompt in prompts]
    layout = SharedRow(lengths, row.tails, policy.device, backend or _backend(policy, lengths, row.tails))
    hidden_LD = row_hidden(policy, row, features, layout)
    head, compiled = policy.base.get_output_embeddings(), policy.config.compile_head
    logprobs_N, entropies_N = score_tokens(head, rows_at(hidden_LD, row.readers_N), row.targets_N, compiled=compiled)
    counts = [len(completion) for group in completions for completion in group]
    logprobs, entropies = iter(logprobs_N.split(counts)), iter(entropies_N.split(counts))
    return [TokenScores(logprobs=[next(logprobs) for _ in group], entropies=[next(entropies) for _ in group]) for group in completions]


def _backend(policy: Policy, prompts: Sequence[int], tails: Sequence[Sequence[int]]) -> Backend:
    """The policy's setting, or what is fastest for such a row."""
    if policy.config.attention != "auto":
        return policy.config.attention
    text = policy.hf_config.get_text_config()
    heads, kv_heads = text.num_attention_heads, text.num_key_value_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    geometry = Geometry(heads=heads, kv_heads=kv_heads, size=size, dtype=policy.dtype, device=policy.device)
    return fastest(prompts, tails, geometry, with_grad=torch.is_grad_enabled())


@dataclass(frozen=True, eq=False)
class Row:
    """What goes through the model, and which of its tokens predict which."""

    ids_L: Tensor
    positions_3L: Tensor
    video_L: Tensor  # true at a video's placeholders
    video_V: Tensor  # where they stand
    tails: tuple[tuple[int, ...], ...]  # tokens of each completion that stand in the row
    readers_N: Tensor  # for each completion token, group by group, the place in the row that predicts it
    targets_N: Tensor


def pack(policy: Policy, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]]) -> Row:
    """One row of all groups, on the policy's device. A prompt without completions stands alone."""
    ids: list[Tensor] = []
    positions: list[Tensor] = []
    video: list[Tensor] = []
    readers: list[Tensor] = []
    targets: list[Tensor] = []
    start = 0
    for prompt, group in zip(prompts, completions, strict=True):
        ids.append(prompt.ids_P)
        positions.append(prompt.positions_3P)
        video.append(prompt.ids_P == policy.hf_config.video_token_id)
        last = start + len(prompt) - 1
        first_free = int(prompt.positions_3P.max()) + 1
        start = last + 1
        for completion in group:
            tail = completion.ids_T[:-1].cpu()
            steps_T = torch.arange(len(tail))
            ids.append(tail)
            positions.append((first_free + steps_T).expand(3, -1))
            video.append(torch.zeros(len(tail), dtype=torch.bool))
            readers.append(torch.cat([torch.tensor([last]), start + steps_T])[: len(completion)])
            targets.append(completion.ids_T.cpu())
            start += len(tail)
    nothing = torch.zeros(0, dtype=torch.int64)
    tails = tuple(tuple(max(len(completion) - 1, 0) for completion in group) for group in completions)
    video_L = torch.cat(video)
    video_V = video_L.nonzero()[:, 0]  # here, where nobody waits for a device
    found = (torch.cat(ids), torch.cat(positions, 1), video_L, video_V, torch.cat([nothing, *readers]), torch.cat([nothing, *targets]))
    ids_L, positions_3L, video_L, video_V, readers_N, targets_N = (tensor.to(policy.device) for tensor in found)
    return Row(ids_L, positions_3L, video_L, video_V, tails, readers_N, targets_N)


def rows_at(x_LD: Tensor, places_N: Tensor) -> Tensor:
    """x_LD[places_N] whose gradients add up in one order wherever a place is read more than once, as a prompt's last token is by all of
    its completions: runs are then equal to the last bit. On a processor the gradient of plain indexing adds by several threads at once, in
    whichever order they come; on a GPU that of index_select does."""
    return x_LD.index_select(0, places_N) if x_LD.device.type == "cpu" else x_LD[places_N]


def row_hidden(policy: Policy, row: Row, features: Sequence[VisionFeatures], layout: Layout) -> Tensor:
    """Last hidden states (L, D) of a row through the stock language model, its attention taken by the layout.

    Raises ValueError where the videos have more or fewer tokens than the prompts have placeholders."""
    embeds_LD = policy.base.get_input_embeddings()(row.ids_L)
    tokens = sum(len(each.embeds_VD) for each in features)
    if tokens != len(row.video_V):
        raise ValueError(f"{len(row.video_V)} placeholders for {tokens} video tokens: these features are not of these prompts")
    if tokens:
        embeds_LD = embeds_LD.index_copy(0, row.video_V, torch.cat([each.embeds_VD for each in features]).to(embeds_LD.dtype))
    video_1L, seen = (row.video_L[None], features) if tokens else (None, ())
    forward = by_layout(policy.base, layout)
    hidden_1LD = policy.family.hidden(policy.base, embeds_LD[None], row.positions_3L[:, None], seen, video_1L, **forward)
    return hidden_1LD[0]
