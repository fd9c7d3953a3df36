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


def choice_question(sample: Sample, thinking: bool) -> str:
    """The question with its options, what to think, and where the letter goes; what follows it differs between tasks."""
    options = lettered(sample.options)
    question = f'Answer the question: "{sample.question}" according to the content of the video. Select the answer from :{options}.'
    return f"{question}\n\n{THOUGHT}\n\nThen, p{LETTER}" if thinking else f"{question} P{LETTER}"
