"""A conversation about one video: questions one after the other, what was seen of it kept between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from videochat_r1.chat import open_question
from videochat_r1.chat.clues import Look, Thought, think
from videochat_r1.chat.config import CluesConfig
from videochat_r1.chat.pictures import clock
from videochat_r1.chat.sight import Sight
from videochat_r1.errors import UsageError, VideoError
from videochat_r1.policy.model import Policy
from videochat_r1.rewards import tags
from videochat_r1.rewards.choices import LETTERS
from videochat_r1.rollout.base import Engine, Sampling
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Answer, Sample, Span
from videochat_r1.video.clips import ClipLoader, Item
from videochat_r1.video.sampling import VideoConfig


@dataclass(frozen=True)
class Question:
    """What is asked. when: the text names an event, and the answer is its span."""

    text: str
    options: tuple[str, ...] = ()
    when: bool = False

    @classmethod
    def read(cls, line: str, *, when: bool, options: tuple[str, ...]) -> Question:
        """A line of a terminal: the question, and behind bars its choices, where it has its own."""
        text, *own = (part.strip() for part in line.split("|"))
        return cls(text, tuple(filter(None, own)) or options, when and not own)

    def item(self, video: str) -> Item:
        """The question as a task's sample. Raises UsageError for more options than there are letters."""
        if len(self.options) > len(LETTERS):
            raise UsageError(f"{len(self.options)} options are more than there are letters for.", f"Give {len(LETTERS)} at most.")
        if self.when:
            task, name, meta = load_task("temporal_grounding"), "temporal_grounding", {"names_spans": True}
        elif self.options:
            task, name, meta = load_task("video_qa"), "video_qa", {}
        else:
            task, name, meta = open_question.TASK, "open_question", {"names_spans": True}
        lettered = tuple(f"({letter}) {text}" for letter, text in zip(LETTERS, self.options, strict=False))
        sample = Sample(id="chat", task=name, video=video, question=self.text, options=lettered, truth=Answer(), meta=meta)
        return task, sample


class Talk:
    """A policy in front of a video."""

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        path: str,
        video: VideoConfig,
        asking: Asking,
        sampling: Sampling,
        looks: CluesConfig,
        *,
        seed: int = 0,
    ) -> None:
        self.policy, self.engine, self.path, self.asking, self.sampling = policy, engine, path, asking, sampling
        self.looks, self.seed = looks, seed
        self.sight = Sight(policy, ClipLoader(video, policy.geometry))

    def ask(self, question: Question) -> Thought:
        """The looks and the answer. Raises VideoError for a video that cannot be used, DataError for a prompt that is too long."""
        item = question.item(self.path)
        [thought] = think(self.policy, self.engine, self.sight, [item], self.asking, self.sampling, self.looks, seed=self.seed)
        if isinstance(thought, VideoError):
            raise thought
        return thought


def answer_words(thought: Thought) -> str:
    """The answer that stands, for people; what was written where it cannot be read."""
    answer, written = thought.reading.answer, _printable(thought.answer.completion.text)
    if answer is None:
        return f"{written or 'nothing'} (not an answer that can be read: {thought.reading.reason})"
    if answer.choice is not None:
        return next((option for option in thought.sample.options if option[1 : 1 + len(answer.choice)] == answer.choice), answer.choice)
    if answer.caption is not None:
        return _printable(answer.caption)
    return ", ".join(map(span_words, answer.spans or ())) or written


def _printable(text: str) -> str:
    """A model's words without what a terminal would obey."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n").strip()


def span_words(span: Span) -> str:
    return f"{clock(span[0])} to {clock(span[1])}"


def thought_words(thought: Thought) -> str:
    """What stands in the last <think> block of the answer that stands, or ""."""
    return _printable(tags.last_block(tags.window(thought.answer.completion.text), "think") or "")


def as_text(thought: Thought, *, thinking: bool) -> str:
    """Lines for a terminal: the answer, its clues, the thought where it was asked for, and what each look cost."""
    lines = [answer_words(thought)]
    if thought.clues:
        lines.append(f"Clues: {', '.join(map(span_words, thought.clues))}")
    if thinking and (words := thought_words(thought)):
        lines.append(f"Thought: {words}")
    for number, look in enumerate(thought.looks, start=1):
        where = ", ".join(map(span_words, look.windows)) or "the whole video"
        height, width = look.clip.frames_NCHW.shape[2:]
        size = f"{len(look.clip.times_s)} frames of {width} x {height}, {look.video_tokens} video tokens"
        stands = " (this answer stands)" if number - 1 == thought.kept and len(thought.looks) > 1 else ""
        lines.append(f"Look {number}: {where}; {size}, {look.seconds:.1f} s{stands}")
    if thought.ended:
        lines.append(f"No closer look: {ENDED.get(thought.ended, thought.ended)}.")
    return "\n".join(lines)


ENDED = {
    "no_clue": "the answer named no seconds",
    "invalid_clue": "the seconds that the answer named lie outside the video",
    "covers_all": "the seconds that the answer named cover nearly all of the video",
    "no_tokens": "there were no tokens left",
    "not_closer": "the tokens left would not show more of those seconds than was seen",
}


def as_json(thought: Thought) -> dict[str, Any]:
    """The same as one object; spans in seconds and in words."""
    answer = thought.reading.answer
    return {
        "question": thought.sample.question,
        "options": list(thought.sample.options),
        "answer": answer_words(thought),
        "readable": answer is not None,
        "choice": answer.choice if answer else None,
        "spans": _spans(answer.spans or ()) if answer else [],
        "clues": _spans(thought.clues),
        "thought": thought_words(thought),
        "text": thought.answer.completion.text,
        "looks": [_look(look) for look in thought.looks],
        "kept": thought.kept + 1,
        "ended": thought.ended,
        "video_tokens": thought.video_tokens,
        "prompt_tokens": thought.prompt_tokens,
        "answer_tokens": thought.answer_tokens,
        "seconds": thought.seconds,
    }


def _spans(spans: tuple[Span, ...]) -> list[dict[str, Any]]:
    return [{"start_s": start_s, "end_s": end_s, "words": span_words((start_s, end_s))} for start_s, end_s in spans]


def _look(look: Look) -> dict[str, Any]:
    height, width = look.clip.frames_NCHW.shape[2:]
    return {
        "windows": _spans(look.windows),
        "times_s": list(look.clip.times_s),
        "width": width,
        "height": height,
        "video_tokens": look.video_tokens,
        "prompt_tokens": look.prompt_tokens,
        "answer_tokens": len(look.completion),
        "text": look.completion.text,
        "seconds": look.seconds,
    }
