"""What a step learns from: batches that were sampled and scored, and which of their groups are taken.

Groups of equal rewards teach nothing. With `grpo.refill` further batches are sampled until there are as many groups with a gradient as a
batch has, as DAPO does (dynamic sampling: Yu et al. 2025, arXiv:2503.14476, section 3.2), but at most so many. The order of samples decides
which, so a run still goes on from its position alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from videochat_r1.grpo.batches import Batch
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.types import Completion, Group


@dataclass(frozen=True, eq=False)
class Drawn:
    """One batch with its completions and what they earned. groups: empty where gold answers are learned."""

    batch: Batch
    features: Sequence[VisionFeatures]
    completions: Sequence[Sequence[Completion]]
    groups: Sequence[Group]


def teaches(group: Group) -> bool:
    """Whether its rewards differ: only then is there a lead to learn from."""
    return len(set(group.scored)) > 1


def lacking(every: Sequence[Drawn], size: int) -> int:
    """Groups with a gradient that are missing to fill a batch."""
    return max(0, size - sum(teaches(group) for drawn in every for group in drawn.groups))


def taken(groups: Sequence[Group], size: int) -> list[int]:
    """Places of the groups that a step learns from, in their order: the first `size` that teach, and where there are fewer, the first of
    the others beside them, so that every step weighs alike."""
    teaching = [place for place, group in enumerate(groups) if teaches(group)][:size]
    others = [place for place, group in enumerate(groups) if not teaches(group)]
    return sorted(teaching + others[: size - len(teaching)])


def joined(every: Sequence[Drawn], places: Sequence[int]) -> Drawn:
    """One batch of the groups at these places, counted through all that were drawn; the next step begins where the last of them ended."""
    whole = [
        (turn, prompt, features, completions, group)
        for drawn in every
        for turn, prompt, features, completions, group in zip(
            drawn.batch.turns, drawn.batch.prompts, drawn.features, drawn.completions, drawn.groups, strict=True
        )
    ]
    turns, prompts, features, completions, groups = zip(*(whole[place] for place in places), strict=True)
    batch = replace(every[-1].batch, turns=list(turns), prompts=list(prompts), unusable=sum(drawn.batch.unusable for drawn in every))
    return Drawn(batch, list(features), list(completions), list(groups))
