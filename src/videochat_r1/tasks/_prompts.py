"""Parts of the paper's prompts that several tasks share, to the letter.

Source: VideoChat-R1, arXiv:2504.06958, as its released training code writes them."""

from __future__ import annotations

from videochat_r1.rewards.choices import lettered
from videochat_r1.types import Sample

THOUGHT = (
    "Output your thought process within the <think> </think> tags, including analysis with either specific timestamps (xx.xx) "
    "or time ranges (xx.xx to xx.xx) in <timestep> </timestep> tags."
)

LETTER = "rovide your answer within the <answer> </answer> tags, output the corresponding letter of the option."


SUBTITLES = "This video's subtitles are listed below: \n{subtitles}\n"
"""What stands before a question that comes with subtitles. Source: the prompt of Video-MME, arXiv:2405.21075, as lmms-eval writes it."""


def subtitles(sample: Sample) -> str:
    """The sample's subtitles (meta "subtitles", a text) as they stand before its question; "" where there are none."""
    text = sample.meta.get("subtitles")
    return SUBTITLES.format(subtitles=text) if isinstance(text, str) and text else ""


def choice_question(sample: Sample, thinking: bool) -> str:
    """The question with its options, what to think, and where the letter goes; what follows it differs between tasks. Subtitles, where the
    data set was asked for them, stand first."""
    options = lettered(sample.options)
    question = (
        subtitles(sample)
        + f'Answer the question: "{sample.question}" according to the content of the video. Select the answer from :{options}.'
    )
    return f"{question}\n\n{THOUGHT}\n\nThen, p{LETTER}" if thinking else f"{question} P{LETTER}"


def event_question(sample: Sample, thinking: bool, form: str) -> str:
    """Asks when the sample's event happens, and for an answer in a form that differs between tasks. The event is written in lower case
    without a full stop at its end, as in the released training code."""
    event = sample.question.strip().lower().removesuffix(".")
    return (
        f'To accurately pinpoint the event "{event}" in the video, determine the precise time period of the event.\n\n'
        + (f"{THOUGHT}\n\nThen, p" if thinking else "P")
        + f"rovide the start and end times (in seconds, precise to two decimal places) in the format {form}"
    )
