"""Completions that were written beforehand: gold answers, recorded runs, tests of a training loop without a model's luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from videochat_r1.errors import DataError
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.model import Policy
from videochat_r1.policy.prompt import encode_text
from videochat_r1.policy.shared_prefix import shared_logprobs
from videochat_r1.rollout.base import Sampling
from videochat_r1.types import Completion, Prompt


class ScriptedEngine:
    """Replays texts by sample id. Nothing is drawn, so seeds and temperature mean nothing here.

    texts: for each sample id its texts in order; completion g is text g, and they start over where there are fewer than are asked for.
    scored: give each token the log-probability that the policy gives it now, as if the policy had sampled it; else they are zeros."""

    def __init__(self, policy: Policy, texts: Mapping[str, Sequence[str]], *, scored: bool = False) -> None:
        self.policy, self.texts, self.scored = policy, texts, scored

    def complete(
        self,
        prompts: Sequence[Prompt],
        *,
        per_prompt: int,
        sampling: Sampling,
        seeds: Sequence[int],
        features: Sequence[VisionFeatures] | None = None,
    ) -> list[list[Completion]]:
        """per_prompt completions of each prompt, each with an end token, cut at sampling.max_tokens. Raises DataError for a sample that the
        script has no text for."""
        groups = [[self._written(prompt.sample_id, index, sampling.max_tokens) for index in range(per_prompt)] for prompt in prompts]
        if not self.scored or not prompts:
            return groups
        with torch.no_grad():
            seen = self.policy.vision(prompts) if features is None else features
            scores = shared_logprobs(self.policy, prompts, groups, seen)
        return [
            [
                Completion(ids_T=completion.ids_T, logprobs_T=logprobs_T.cpu(), text=completion.text, stop=completion.stop)
                for completion, logprobs_T in zip(group, scored.logprobs, strict=True)
            ]
            for group, scored in zip(groups, scores, strict=True)
        ]

    def _written(self, sample_id: str, index: int, max_tokens: int) -> Completion:
        texts = self.texts.get(sample_id, ())
        if not texts:
            raise DataError(f"The script has no text for sample {sample_id}.", "Add one under this id, or leave the sample out.")
        whole = encode_text(self.policy, texts[index % len(texts)])
        if len(whole) <= max_tokens:
            return whole
        ids_T = whole.ids_T[:max_tokens]
        text = self.policy.tokenizer.decode(ids_T.tolist(), skip_special_tokens=True)
        return Completion(ids_T=ids_T, logprobs_T=whole.logprobs_T[:max_tokens], text=text, stop="length")


ENGINE = ScriptedEngine
