"""A question that is neither a choice nor the search for an event: asked in free words, answered in free words.

Prompt: the one that the released VideoChat-R1 model card asks with; the request for spans is that of grounded question answering."""

from __future__ import annotations

from videochat_r1.rewards import intervals, tags
from videochat_r1.tasks._prompts import THOUGHT
from videochat_r1.tasks.base import Asking, Task
from videochat_r1.types import Answer, Reading, Sample

GLUE = (
    " At the same time, in the <glue> </glue> tags, present the precise time period in seconds of the video clips on which you base your "
    "answer to this question in the format of [(s1, e1), (s2, e2), ...]. "
    "For example: <answer>your answer</answer><glue>[(5.2, 10.4)]</glue>."
)


def ask(sample: Sample, asking: Asking) -> str:
    """The question as it stands, what to think, and where answer and spans go."""
    final = "rovide your final answer within the <answer> </answer> tags."
    asked = f"{sample.question}\n\n{THOUGHT}\n\nThen, p{final}" if asking.thinking else f"{sample.question}\nP{final}"
    return asked + (GLUE if sample.meta.get("names_spans") else "") + "\n"


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    """The words of the last answer block, or all words after the thought where there is no block; the spans of the last glue block."""
    spoken = tags.after_thought(tags.window(text))
    block, glue = tags.last_block(spoken, "answer"), tags.last_block(spoken, "glue", "clue")
    words = (spoken if block is None else block).strip()
    spans = None if glue is None else intervals.read_spans(glue)
    if not words and spans is None:
        return Reading(answer=None, reason="no_answer", format_ok=False)
    return Reading(answer=Answer(caption=words, spans=spans), reason="", format_ok=block is not None)


def write(answer: Answer, asking: Asking) -> str:
    spans = None if answer.spans is None else intervals.write_spans(answer.spans)
    return tags.blocks(answer.caption or "", thought="I look for what the question asks about." if asking.thinking else "", glue=spans)


TASK = Task(ask=ask, read=read, write=write, rewards={}, metrics={})
