"""Completions by the policy's own stock model: each prompt is read once, and its G completions grow on its keys and values.

Several prompts are sampled together. Completions that have ended leave the batch; a completion's tokens depend on its prompt, its seed and
the weights, not on its company (but for the rounding of a matrix product of another shape).

On a GPU the steps of one shape are recorded as a CUDA graph and replayed; shapes are few, the host looks at the batch every few steps, and
all buffers stay where they are from one call to the next. On a CPU every step reads exactly what is there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from videochat_r1.policy.attention import by_layout
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.head import logits_of
from videochat_r1.policy.joined import recorded_seconds
from videochat_r1.policy.model import Policy
from videochat_r1.policy.shared_prefix import row_hidden
from videochat_r1.rollout._drawing import Drawing, thinned
from videochat_r1.rollout._graphs import Capture, Graphs, cuda_capture
from videochat_r1.rollout._prefixes import SharedPromptRow, pack_shared, shared_prefixes
from videochat_r1.rollout._tails import Tails
from videochat_r1.rollout.base import Sampling
from videochat_r1.types import Completion, Prompt

LOOK_EVERY = 8
"""Steps between two looks at which completions have ended, where a look holds up a device."""


@dataclass(frozen=True, eq=False)
class Buffers:
    """What a call works in, with the addresses of the weights that its recorded steps read."""

    sampling: Sampling
    weights: tuple[int, ...]
    tails: Tails
    drawing: Drawing
    graphs: Graphs
    joins: bool  # layers of one input are one product in each step

    def hold(self, most: tuple[int, ...]) -> bool:
        """Whether a batch of so many prompts, rows, prompt tokens and tokens fits."""
        return all(number <= room for number, room in zip(most, self.tails.most, strict=True))


class NativeEngine:
    """Completes prompts with a policy's weights as they are at each call. Sampled log-probabilities equal those of `shared_logprobs`.

    capture: what records a step; CUDA graphs on a GPU if none is given, and nothing elsewhere. joins: whether recorded steps take layers of
    one input as one product; what is faster, measured, if not given."""

    def __init__(self, policy: Policy, *, capture: Capture | None = None, joins: bool | None = None) -> None:
        self.policy = policy
        self._capture = capture
        self._joins = joins
        self._kept: Buffers | None = None

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
        if not prompts:
            return []
        completions: list[list[Completion]] = []
        try:
            with torch.no_grad(), self.policy.merged():
                buffers = self._buffers_for(prompts, per_prompt, sampling)
                for start in range(0, len(prompts), sampling.batch_prompts):
                    part = slice(start, start + sampling.batch_prompts)
                    seen = self.policy.vision(prompts[part]) if features is None else features[part]
                    completions += self._batch(buffers, prompts[part], seen, per_prompt, seeds[part])
        except torch.OutOfMemoryError:
            self._kept = None  # a smaller batch is tried next: let go of the buffers of this one
            raise
        return completions

    def _buffers_for(self, prompts: Sequence[Prompt], per_prompt: int, sampling: Sampling) -> Buffers:
        """Buffers that hold batches of these prompts; those of the last call where its recorded steps can be replayed."""
        records = sampling.cuda_graphs and (self._capture is not None or self.policy.device.type == "cuda")
        at_once = min(sampling.batch_prompts, len(prompts))
        most = (at_once, at_once * per_prompt, max(map(len, prompts)), sampling.max_tokens)
        weights = tuple(weight.data_ptr() for weight in self.policy.base.parameters())
        kept = self._kept
        if kept is not None and records and kept.sampling == sampling:
            if kept.weights == weights and kept.hold(most):
                return kept
            room = kept.tails.most  # batches of two kinds in turn find room from the second turn on
            most = (max(most[0], room[0]), max(most[1], room[1]), max(most[2], room[2]), max(most[3], room[3]))
        self._kept = kept = None
        # A pool of memory ends with its last graph: new graphs need a new one.
        capture = (self._capture or cuda_capture()) if records else None
        # On a GPU without recorded steps too: a product of another shape in every step costs more than what is read in vain.
        fixed = records or self.policy.device.type == "cuda"
        tails = Tails(*most, self.policy.device, fixed=fixed, by_kernel=self.policy.config.kernels == "auto")
        joins = capture is not None and self._joins_pay(most[1])
        buffers = Buffers(sampling, weights, tails, Drawing(self.policy, most[1], sampling), Graphs(capture), joins)
        if records:
            self._kept = buffers
        return buffers

    def _joins_pay(self, rows: int) -> bool:
        joined = self.policy.joined
        if joined is None or self._joins is not None:
            return bool(joined and self._joins)
        follows_the_clock = self.policy.config.attention == "auto" and self.policy.device.type == "cuda"
        return follows_the_clock and joined.pays(rows, recorded_seconds(cuda_capture))

    def _batch(
        self, buffers: Buffers, prompts: Sequence[Prompt], features: Sequence[VisionFeatures], per_prompt: int, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        tails, drawing, sampling = buffers.tails, buffers.drawing, buffers.sampling
        drawing.begin(prompts, per_prompt, seeds)
        drawing.draw(self._prefill(tails, prompts, features, per_prompt))
        drawing.drawn = 1
        every = 1 if self.policy.device.type == "cpu" and not tails.fixed else LOOK_EVERY
        while drawing.drawn < sampling.max_tokens:
            if drawing.drawn % every == 0:
                alive_NG = drawing.look(tails.count)
                if not alive_NG.any():
                    break
                if (kept := thinned(alive_NG, sampling.graph_sizes if tails.fixed else ())) is not None:
                    rows = kept[1].to(self.policy.device)
                    tails.keep(kept[0], rows)
                    drawing.keep(rows)
            buffers.graphs.run(tails.shape, lambda: self._step(tails, drawing, joins=buffers.joins))
            tails.filled += 1
            drawing.drawn += 1
        return drawing.completions(len(prompts))

    def _prefill(self, tails: Tails, prompts: Sequence[Prompt], features: Sequence[VisionFeatures], per_prompt: int) -> Tensor:
        """Read the prompts into the buffers; the logits (B, V) of each completion's first token."""
        shared = shared_prefixes(self.policy, prompts, features)
        chosen = self.policy.config.attention
        row = SharedPromptRow(prompts, shared, self.policy.device, "segments" if chosen == "auto" else chosen)
        tails.begin(row.lengths, per_prompt)
        row.into = tails
        packed = pack_shared(self.policy, prompts, shared)
        hidden_LD = row_hidden(self.policy, packed, [features[group.first] for group in shared], row)
        self.policy.counters["prefills"] += len(shared)
        return self._head(hidden_LD[row.ends_N]).repeat_interleave(per_prompt, 0)

    def _step(self, tails: Tails, drawing: Drawing, *, joins: bool) -> None:
        """One token of every running row. With fixed shapes it is device work alone."""
        base = self.policy.base
        tails.look()
        embeds_BLD = base.get_input_embeddings()(drawing.last_B[:, None])
        positions_3BL = drawing.positions_B[None, :, None].expand(3, -1, -1)
        with self.policy.joined.on() if joins and self.policy.joined else nullcontext():
            hidden_BLD = self.policy.family.hidden(base, embeds_BLD, positions_3BL, (), None, **by_layout(base, tails))
        tails.advance()
        drawing.draw(self._head(hidden_BLD[:, 0]))

    def _head(self, hidden_BD: Tensor) -> Tensor:
        return logits_of(self.policy.base.get_output_embeddings(), hidden_BD)


ENGINE = NativeEngine
