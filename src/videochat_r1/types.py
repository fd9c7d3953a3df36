"""What flows through the system: Sample -> Clip -> Prompt -> Completion -> Rollout -> Group.

Everything here is data: no file is opened, no model is called. Tensors carry their axes in their names: P prompt tokens, T completion
tokens, G completions of one prompt, N frames, C channels, H rows, W columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[float, float]
"""(start, end) in seconds from the first frame."""

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1), normalised to 0..1 of the displayed picture, x to the right and y down."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer in the data's own terms: the truth of a sample, and what was read from a completion. A task says which fields it uses."""

    spans: tuple[Span, ...] | None = None
    boxes: tuple[Box, ...] | None = None
    times_s: tuple[float, ...] | None = None  # the second of each box; only a truth has them
    choice: str | None = None  # the letter of an option, such as "C"
    label: str | None = None
    events: tuple[str, ...] | None = None
    caption: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question about one video, with its truth."""

    id: str
    task: str  # the name of a task: videochat_r1/tasks/<task>.py, or a path to a .py file
    video: str  # a video file, or a folder of numbered pictures
    question: str
    truth: Answer
    options: tuple[str, ...] = ()
    duration_s: float | None = None  # as annotated; the file may say otherwise
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """The frames that a model sees, and the second of each: a frame never travels without its second."""

    frames_NCHW: Tensor  # uint8, RGB, already resized to what the model takes
    times_s: tuple[float, ...]  # one a frame, rising, from the first frame of the source
    duration_s: float  # of the source, by its time stamps
    source_size: tuple[int, int]  # (width, height) as displayed, in pixels
    path: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """A rendered question: token ids with one placeholder for each video token, and the patches that fill them."""

    sample_id: str
    ids_P: Tensor  # int64
    positions_3P: Tensor  # int64: rotary positions in time, height and width
    patches: Tensor  # float32 (patches, channels x temporal patch x patch x patch), as the stock processor gives them
    grid_thw: tuple[int, int, int]  # patches in time, height and width
    text: str  # what ids_P spells, with one placeholder for the whole video
    clip: Clip

    def __len__(self) -> int:
        return int(self.ids_P.numel())


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """What a policy wrote after a prompt."""

    ids_T: Tensor  # int64, the end token included where one was sampled
    logprobs_T: Tensor  # float32, of each token as it was sampled: full softmax, before any temperature or cut-off
    text: str  # without special tokens
    stop: Literal["end", "length", "text"]  # an end token was sampled, the limit was reached, or a text that stops was written

    def __len__(self) -> int:
        return int(self.ids_T.numel())


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a judge found in one caption, or why it could not be judged."""

    told: tuple[bool, ...] = ()  # of each true event: the caption entails it
    claims: tuple[str, ...] | None = None  # the events that the caption tells; None where nobody asked
    borne_out: tuple[bool, ...] | None = None  # of each of those: the true description entails it
    failure: str = ""  # a short code; then there is nothing else


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a task made of one text. Model output is data: reading never raises."""

    answer: Answer | None
    reason: str  # why there is no answer, as a short code; "" where there is one
    format_ok: bool  # the whole text has the form that was asked for
    verdict: Verdict | None = None  # of a judge, for tasks that need one; None where it was not asked


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """A scored completion."""

    completion: Completion
    reading: Reading
    rewards: Mapping[str, float]  # by name, each 0.0 .. 1.0; those that could be told
    unscorable: str = ""  # why some reward could not be told; "" where all could

    @property
    def total(self) -> float | None:
        """The sum of the rewards; None for a completion that cannot be scored, which is not the same as 0.0."""
        return None if self.unscorable else float(sum(self.rewards.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The rollouts of one sample, keyed by its id."""

    sample: Sample
    prompt: Prompt
    rollouts: tuple[Rollout, ...]

    @property
    def completions(self) -> tuple[Completion, ...]:
        return tuple(rollout.completion for rollout in self.rollouts)

    @property
    def totals(self) -> tuple[float | None, ...]:
        return tuple(rollout.total for rollout in self.rollouts)

    @property
    def scored(self) -> tuple[float, ...]:
        """The totals of the completions that could be scored."""
        return tuple(total for total in self.totals if total is not None)
