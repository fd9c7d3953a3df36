"""Which sample comes when: sources mixed by weight, each epoch in another order, and the whole state is one integer.

Nothing is drawn from a random state that must be kept: the order of an epoch is a pure function of (seed, epoch), so a run resumes from
its position alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from videochat_r1.errors import DataError
from videochat_r1.rollout.base import seed_of
from videochat_r1.types import Sample


@dataclass(frozen=True, kw_only=True)
class Source:
    """Samples of one data set, and how often an epoch visits each of them: 1.0 once, 0.5 every second one, 2.0 twice."""

    samples: Sequence[Sample]
    weight: float = 1.0
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One sample at its place in the order. visit: how often it was seen before, so another visit draws other completions."""

    position: int
    sample: Sample
    visit: int


@dataclass
class Order:
    """The endless order of samples. `turns(position)` goes on from any place in it."""

    sources: Sequence[Source]
    seed: int
    easy_first: bool = False
    _epoch: int = field(default=-1, init=False)
    _turns: list[tuple[int, int, int]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not any(source.samples for source in self.sources):
            raise DataError("There is no sample to train on.", "Look at what `videochat-r1 data check` says of the recipe's data sets.")
        if any(source.weight <= 0 for source in self.sources):
            raise DataError("The weight of a data set must be above 0.", "Leave the data set out of the recipe instead.")
        if self.easy_first:
            unknown = next((one for source in self.sources for one in source.samples if "difficulty" not in one.meta), None)
            if unknown is not None:
                what = f"train.order = easy_first: the difficulty of sample {unknown.id} is not known."
                raise DataError(what, "Give each [[data]] table a difficulty, the file that `videochat-r1 data difficulty` writes.")
        self.counts = [max(1, round(source.weight * len(source.samples))) if source.samples else 0 for source in self.sources]

    def __len__(self) -> int:
        """Turns in one epoch."""
        return sum(self.counts)

    def turns(self, position: int) -> Iterator[Turn]:
        """From a position on, without end."""
        while True:
            yield self.at(position)
            position += 1

    def at(self, position: int) -> Turn:
        """The turn at a position, counted from the run's start."""
        epoch, place = divmod(position, len(self))
        if epoch != self._epoch:
            self._turns, self._epoch = self._mixed(epoch), epoch
        source, index, visit = self._turns[place]
        return Turn(position=position, sample=self.sources[source].samples[index], visit=visit)

    def _mixed(self, epoch: int) -> list[tuple[int, int, int]]:
        """(source, index, visit) of one epoch. Each source is spread evenly over it, jittered: every batch has each in its share."""
        random_of_epoch = random.Random(seed_of("mix", self.seed, epoch))
        keyed: list[tuple[float, int, int, int]] = []
        for source, count in enumerate(self.counts):
            drawn = self._drawn(source, epoch * count, count)
            keyed.extend(((place + random_of_epoch.random()) / count, source, index, visit) for place, (index, visit) in enumerate(drawn))
        return [(source, index, visit) for _, source, index, visit in sorted(keyed)]

    def _drawn(self, source: int, start: int, count: int) -> list[tuple[int, int]]:
        """(index, visit) of `count` turns of one source: its samples in one shuffled order after another, none left out; with easy_first
        each of these orders goes from easy to hard, and only samples of the same difficulty are shuffled."""
        size = len(self.sources[source].samples)
        drawn: list[tuple[int, int]] = []
        for visit in range(start // size, (start + count - 1) // size + 1) if count else ():
            indices = list(range(size))
            random.Random(seed_of("order", self.seed, source, visit)).shuffle(indices)
            if self.easy_first:
                indices.sort(key=lambda index: self.sources[source].samples[index].meta["difficulty"])
            drawn.extend((index, visit) for index in indices)
        offset = start % size if count else 0
        return drawn[offset : offset + count]
