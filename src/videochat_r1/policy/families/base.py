"""What differs between families of video language models, and nothing else. A family is one file in this folder that assigns FAMILY."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videochat_r1 import plugins
from videochat_r1.errors import UsageError


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """What the vision tower makes of one video: a vector for each video token, and what deeper layers add (Qwen3-VL's deepstack)."""

    embeds_VD: Tensor
    deepstack_VD: tuple[Tensor, ...] = ()


class Family(ABC):
    """How one family writes a video into a prompt, numbers its positions and runs its towers. All methods use stock transformers models."""

    model_types: tuple[str, ...]  # config.model_type of the stock classes it serves
    chat_template: str  # as the family's released models write a conversation, for models that are built from nothing

    @abstractmethod
    def video_text(self, grid_thw: tuple[int, int, int], times_s: Sequence[float], config: Any) -> tuple[str, list[int]]:
        """What the stock processor writes in place of the chat template's one placeholder: (text, tokens). The text has one placeholder for
        each run of video tokens, tokens the length of each run. A text, not ids: tokenisers join written times to the words before them."""

    @abstractmethod
    def positions(self, ids_P: Tensor, grid_thw: tuple[int, int, int], times_s: Sequence[float], config: Any) -> Tensor:
        """Rotary positions (3, P), equal to the stock model's get_rope_index for a prompt with one video (times_s: one a frame)."""

    @abstractmethod
    def vision(
        self, model: Any, patches: Tensor, grids_thw: Sequence[tuple[int, int, int]], *, use_tables: bool = True
    ) -> list[VisionFeatures]:
        """The vision tower over the patches of several videos, in one call. use_tables: take what depends on the grids alone from
        vision_tables, instead of letting the tower compute it again."""

    @abstractmethod
    def hidden(
        self,
        model: Any,
        embeds_BLD: Tensor,
        positions_3BL: Tensor,
        features: Sequence[VisionFeatures],
        video_mask_BL: Tensor | None,
        **forward: Any,
    ) -> Tensor:
        """Last hidden states (B, L, D) of the stock language model. embeds_BLD already holds the video's vectors where video_mask_BL is
        true; features (in reading order) are passed for what deeper layers add. forward: attention_mask, past_key_values and what an
        attention function takes."""


def family_of(config: Any) -> Family:
    """The family that serves a model's config. Raises UsageError where none does, naming those that are known."""
    known: list[str] = []
    for name in plugins.names("policy.families"):
        family = plugins.load("policy.families", name, "FAMILY")
        if config.model_type in family.model_types:
            assert isinstance(family, Family)
            return family
        known.extend(family.model_types)
    raise UsageError(f"No model family serves models of type {config.model_type!r}.", f"Known types: {', '.join(sorted(known))}.")
