"""The task of a prompt that somebody else wrote: it is asked as it stands, and the text is the answer."""

from __future__ import annotations

from videochat_r1.tasks.base import Asking, Task
from videochat_r1.types import Answer, Reading, Sample


def read(text: str, sample: Sample, asking: Asking) -> Reading:
    return Reading(answer=Answer(caption=text), reason="", format_ok=True)


TASK = Task(
    ask=lambda sample, asking: sample.question, read=read, write=lambda answer, asking: answer.caption or "", rewards={}, metrics={}
)
