"""A judge without a model: what a caption tells is found by its words (rewards/events.py).

Exact on descriptions in canonical clauses, such as those of the built-in world. On free text it is a lower bound that rewards the truth's
own words: a paraphrase is not told, and a sentence with the right words in the right order is, whatever it means (docs/judge.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from videochat_r1.judge.base import Question
from videochat_r1.rewards.events import borne_out, content_words, sentences, tells
from videochat_r1.types import Verdict


class OfflineJudge:
    """Judges by words. It never fails, and gives the same verdict every time."""

    name = "offline (by words)"

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def judge(self, questions: Sequence[Question], *, precision: bool) -> list[Verdict]:
        """See Judge."""
        self.counts["captions"] += len(questions)
        return [_verdict(question, precision) for question in questions]

    def figures(self) -> dict[str, float]:
        """How many captions were judged since the last call."""
        counts, self.counts = self.counts, Counter()
        return {"captions": float(counts["captions"]), "failed": 0.0}

    def close(self) -> None:
        return


def _verdict(question: Question, precision: bool) -> Verdict:
    events = question.events or sentences(question.reference) or (question.reference,)
    lines = [content_words(sentence) for sentence in sentences(question.caption)]
    told = tuple(any(tells(line, content_words(event)) for line in lines) for event in events)
    if not precision:
        return Verdict(told=told)
    claims = sentences(question.caption)
    truths = [content_words(text) for text in (*question.events, *sentences(question.reference))]
    return Verdict(told=told, claims=claims, borne_out=tuple(borne_out(line, truths) for line in lines))
