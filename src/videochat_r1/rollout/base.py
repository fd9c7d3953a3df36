"""What an engine does: prompts in, G completions of each out."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pydantic import field_validator

from videochat_r1 import plugins
from videochat_r1.errors import UsageError
from videochat_r1.section import Section, free, refused, warned
from videochat_r1.types import Completion, Prompt

if TYPE_CHECKING:
    from videochat_r1.policy.families.base import VisionFeatures
    from videochat_r1.policy.model import Policy


class Sampling(Section):
    """How tokens are drawn."""

    temperature: float = refused(1.0, "0 takes the likeliest token", ge=0.0, le=100.0)
    top_k: int = refused(0, "keep the k likeliest tokens; 0 keeps all (the released code had 50 by accident)", ge=0)
    top_p: float = refused(1.0, "keep the smallest set of tokens with this mass", gt=0.0, le=1.0)
    max_tokens: int = refused(1024, "tokens of one completion at most", ge=1, le=2**20)
    stop: tuple[str, ...] = refused((), "texts that end a completion once one of them is written; it stays part of the completion")
    batch_prompts: int = warned(8, "prompts whose tails are sampled together", ge=1, le=2**16)
    cuda_graphs: bool = free(True, "on a GPU: record decode steps and replay them; off where memory is short")
    graph_sizes: tuple[int, ...] = free(
        (1, 2, 4, 8, 16, 32), "cuda_graphs: numbers of prompts, and of completions of each, that a batch is made smaller to"
    )

    @field_validator("stop")
    @classmethod
    def _a_text_is_not_empty(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if not all(stop):
            raise ValueError("an empty text would stop every completion at once")
        return stop


class RolloutConfig(Sampling):
    """How tokens are drawn, and by which engine."""

    engine: str = refused("native", "what completes prompts: an engine's name, or the path of a .py file that assigns ENGINE", min_length=1)


class Engine(Protocol):
    """Completes prompts. The result does not depend on which prompts are completed together."""

    def complete(
        self,
        prompts: Sequence[Prompt],
        *,
        per_prompt: int,
        sampling: Sampling,
        seeds: Sequence[int],
        features: Sequence[VisionFeatures] | None = None,
    ) -> list[list[Completion]]:
        """per_prompt completions of each prompt. seeds: one a prompt; completion g of it is drawn with `completion_seed(seed, g)`.
        features: what the policy's tower made of each video, for an engine that can use it."""
        ...


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything with a stable repr: the same on every machine and in every process."""
    digest = hashlib.sha256("\x1f".join(repr(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def completion_seed(seed: int, index: int) -> int:
    """The seed of one completion of a prompt, from the prompt's seed and the completion's index."""
    return seed_of(seed, "completion", index)


def load_engine(name: str) -> type:
    """The engine class of that name, or of the .py file at that path. Raises UsageError on an unknown one."""
    engine = plugins.load("rollout", name, "ENGINE")
    assert isinstance(engine, type)
    return engine


def make_engine(name: str, policy: Policy) -> Engine:
    """An engine for a policy. Raises UsageError on an unknown one, and on one that needs more than a policy."""
    kind = load_engine(name)
    try:
        inspect.signature(kind).bind(policy)
    except TypeError:
        mend = "Give an engine that is made from a policy alone, such as native."
        raise UsageError(f"The engine {name} needs more than a policy: it serves programs, not recipes.", mend) from None
    engine: Engine = kind(policy)
    return engine
