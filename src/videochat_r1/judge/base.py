"""What a judge is asked about a caption, and what it may not do: answer with a score where it could not tell.

A judge never sees a video. It is given what a model wrote and what a person wrote, and says which events of the one follow from the other
(AutoDQ: Wang et al. 2024, Tarsier, arXiv:2407.00634)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from videochat_r1.types import Verdict

LONGEST_CAPTION = 16_000
"""Characters of a caption that a judge reads, at most: four times what 1,024 tokens make."""

MOST_EVENTS = 10
"""Events that are taken from one text, at most, as in AutoDQ."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One caption to be judged. Raises ValueError where the truth holds neither an event nor a description."""

    caption: str  # what the model wrote
    events: tuple[str, ...]  # the true events; empty: they are taken from the reference
    reference: str = ""  # the true description; empty: the true events, one after the other

    def __post_init__(self) -> None:
        if not self.events and not self.reference.strip():
            raise ValueError("The truth of a caption has events or a description.")

    @property
    def description(self) -> str:
        """What the claims of the caption are held against."""
        return self.reference if self.reference.strip() else " ".join(event.strip().rstrip(".") + "." for event in self.events)


class Judge(Protocol):
    """Judges captions, a whole batch at a time."""

    name: str  # for people: what judged, such as "offline (by words)"

    def judge(self, questions: Sequence[Question], *, precision: bool) -> list[Verdict]:
        """One verdict a question, in their order. precision: also which claims of the caption are true; without it only which true events
        the caption tells, which is all that the reward needs. A caption that could not be judged has a Verdict with a failure.

        Raises EnvironmentFault or UsageError for what the user must mend: a key that is refused, a model that there is none of."""
        ...

    def figures(self) -> dict[str, float]:
        """What was asked, answered and lost since the last call, by name: a step's metrics."""
        ...

    def close(self) -> None: ...
