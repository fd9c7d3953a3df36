"""How a video is looked at again where its clues are. docs/clues.md says why each default is what it is.

No torch here: `--help` reads this file."""

from __future__ import annotations

from typing import Literal

from videochat_r1.section import Section, refused


class CluesConfig(Section):
    """Thinking with clues: an answer with spans first, then a closer look at those spans, under one budget of video tokens."""

    clues: Literal["off", "two_pass", "rounds"] = refused("off", "look once, twice (clues first, then the answer), or --rounds times")
    rounds: int = refused(3, "looks at most where --clues is rounds; all but the last ask for clues", ge=2, le=16)
    tokens: int = refused(0, "video tokens of all looks together; 0: as many as one look would take", ge=0)
    first_share: float = refused(0.5, "of these tokens, the share of the first look; later looks part the rest evenly", gt=0.0, lt=1.0)
    first_pixels: float = refused(1.0, "pixels of a frame in the first look, as a share of those of one look alone", gt=0.0, le=1.0)
    clue_fps: float = refused(0.0, "frames from each second inside the clues, at most; 0: twice video.fps", ge=0.0)
    context_share: float = refused(
        0.2, "of a later look's frames, the share that is spread over what lies outside the clues", ge=0.0, lt=1.0
    )
    pad_s: float = refused(0.5, "a clue is widened by so many seconds on each side, at least", ge=0.0)
    pad_gaps: float = refused(1.0, "and by so many gaps between the frames of the look that named it, at least", ge=0.0)
    min_window_s: float = refused(2.0, "seconds of a window at least; a shorter one grows about its middle", ge=0.0)
    merge_s: float = refused(1.0, "windows with no more seconds than this between them become one", ge=0.0)
    max_clues: int = refused(8, "clues of one answer that are followed, in the order it names them", ge=1)
    covers_all: float = refused(0.8, "clues whose windows cover this share of the video or more say nothing", gt=0.0, le=1.0)
    without_clue: Literal["keep", "again"] = refused(
        "keep", "where clues are missing, invalid or say nothing: keep the answer, or spend what is left on another look at the whole video"
    )
    gate: Literal["last", "agree", "likelier"] = refused(
        "agree", "the answer that stands: the last one; the one that most looks agree on; the one written with most confidence"
    )

    @property
    def looks(self) -> int:
        """Looks in all, at most."""
        return {"off": 1, "two_pass": 2, "rounds": self.rounds}[self.clues]
