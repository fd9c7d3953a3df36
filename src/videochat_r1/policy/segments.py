"""Where the prompts and completions of a row stand: `[prompt | c_1 | ... | c_G | prompt | c_1 | ...]`.

Numbers and index tensors alone; attention over them is in attention.py. Axes: L row, S tokens of a group's tails, G tails, T the longest
tail, H heads, D head size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where one group stands in a row: its prompt, then its tails one after another."""

    start: int
    prompt: int  # tokens, one at least
    tails: tuple[int, ...]  # tokens of each, 0 allowed

    @property
    def split(self) -> int:
        return self.start + self.prompt

    @property
    def end(self) -> int:
        return self.split + sum(self.tails)


class Segments:
    """One row of groups.

    prompts: tokens of each prompt. tails: for each prompt the tokens of each of its completions; the numbers may differ. A group without
    tails is a prompt alone. Raises ValueError on an empty prompt."""

    def __init__(self, prompts: Sequence[int], tails: Sequence[Sequence[int]], device: torch.device) -> None:
        if not prompts or min(prompts) < 1:
            raise ValueError("a row needs at least one prompt, and each prompt a token")
        places: list[Place] = []
        for prompt, lengths in zip(prompts, tails, strict=True):
            places.append(Place(places[-1].end if places else 0, prompt, tuple(lengths)))
        self.places = tuple(places)
        self.length = places[-1].end
        self.device = device

    @cached_property
    def labels_2L(self) -> Tensor:
        """For each token of the row its group, and its segment within the group (0 is the prompt), int64."""
        group, segment = [], []
        for index, place in enumerate(self.places):
            for number, length in enumerate((place.prompt, *place.tails)):
                group += [index] * length
                segment += [number] * length
        return torch.tensor([group, segment], device=self.device)

    @cached_property
    def mask_LL(self) -> Tensor:
        """True where a row's token (first axis) sees another: causal within its segment, and all of its prompt."""
        group_L, segment_L = self.labels_2L
        order_L = torch.arange(self.length, device=self.device)
        same_segment_LL = (segment_L[:, None] == segment_L) | (segment_L == 0)
        return (group_L[:, None] == group_L) & same_segment_LL & (order_L[:, None] >= order_L)

    @cached_property
    def segment_bounds(self) -> tuple[Tensor, int]:
        """Cumulative lengths (int32) of all segments of the row that hold tokens, and the longest."""
        return _bounds([length for place in self.places for length in (place.prompt, *place.tails) if length], self.device)

    @cached_property
    def tail_bounds(self) -> tuple[Tensor, int]:
        """Cumulative lengths (int32) of the tails' tokens of each group that has any, and the longest."""
        return _bounds([sum(place.tails) for place in self.places if sum(place.tails)], self.device)

    @cached_property
    def prompt_bounds(self) -> tuple[Tensor, int]:
        """The same of the prompts of these groups."""
        return _bounds([place.prompt for place in self.places if sum(place.tails)], self.device)

    @cached_property
    def tail_index(self) -> Tensor:
        """Where in the row the tails' tokens stand."""
        return torch.cat([torch.arange(place.split, place.end) for place in self.places]).to(self.device)

    @cached_property
    def prompt_index(self) -> Tensor:
        """Where in the row the tokens of those prompts stand that have tails."""
        return torch.cat([torch.arange(place.start, place.split) for place in self.places if sum(place.tails)] or [torch.arange(0)]).to(
            self.device
        )

    @cached_property
    def paddings(self) -> tuple[Padding | None, ...]:
        """How each group's tails become a rectangle; None where a group has no tail tokens."""
        return tuple(Padding(place.tails, self.device) if sum(place.tails) else None for place in self.places)


class Padding:
    """The tails of one group as a rectangle (G, T): copied where lengths differ, viewed where they do not."""

    def __init__(self, tails: Sequence[int], device: torch.device) -> None:
        lengths = [length for length in tails if length]
        self.count, self.longest = len(lengths), max(lengths)
        self.even = min(lengths) == self.longest
        if not self.even:
            lengths_G = torch.tensor(lengths)
            starts_G = lengths_G.cumsum(0) - lengths_G
            steps_T = torch.arange(self.longest)
            valid_GT = steps_T < lengths_G[:, None]
            # A slot past the end of its tail repeats the tail's first token. No valid token sees it: it comes later in a causal square.
            self.index = torch.where(valid_GT, starts_G[:, None] + steps_T, starts_G[:, None]).flatten().to(device)
            self.kept = valid_GT.flatten().nonzero()[:, 0].to(device)

    def spread(self, x_HSD: Tensor) -> Tensor:
        """(H, S, D) -> (G, H, T, D)."""
        wide = x_HSD if self.even else x_HSD.index_select(1, self.index)
        return wide.unflatten(1, (self.count, self.longest)).transpose(0, 1)

    def gather(self, x_GHTD: Tensor) -> Tensor:
        """(G, H, T, D) -> (H, S, D), the slots past each end dropped."""
        flat = x_GHTD.transpose(0, 1).flatten(1, 2)
        return flat if self.even else flat.index_select(1, self.kept)

    def place(self, x_HSD: Tensor, fill: float) -> Tensor:
        """As spread, with `fill` in the slots past each end."""
        if self.even:
            return self.spread(x_HSD)
        wide = x_HSD.new_full((x_HSD.shape[0], self.count * self.longest, *x_HSD.shape[2:]), fill)
        wide[:, self.kept] = x_HSD
        return wide.unflatten(1, (self.count, self.longest)).transpose(0, 1)


def _bounds(lengths: Sequence[int], device: torch.device) -> tuple[Tensor, int]:
    edges = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    edges[1:] = torch.tensor(lengths, dtype=torch.int32).cumsum(0)
    return edges.to(device), max(lengths, default=0)
