"""Parts of the paper's prompts that several tasks share, to the letter.

Source: VideoChat-R1, arXiv:2504.06958, as its released training code writes them; where asking.prompts says so, as its evaluation code
or that of VideoChat-R1.5 (arXiv:2509.21100) does."""

from __future__ import annotations

from videochat_r1.rewards.choices import lettered
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Sample

THOUGHT = (
    "Output your thought process within the <think> </think> tags, including analysis with either specific timestamps (xx.xx) "
    "or time ranges (xx.xx to xx.xx) in <timestep> </timestep> tags."
)

BRIEF_THOUGHT = "Output your thought process within the <think> </think> tags."
"""Of tracking as it was evaluated, and of VideoChat-R1.5."""

R1_5_THOUGHT = "Output your think process within the  <think> </think> tags."
"""Of VideoChat-R1.5's questions with options, two spaces included."""

LETTER = "rovide your answer within the <answer> </answer> tags, output the corresponding letter of the option."

GLUE = (
    "At the same time, in the <glue> </glue> tags, present the precise time period in seconds of the video clips on which you base your "
    "answer to this question in the format of [(s1, e1), (s2, e2), ...]."
)

SUBTITLES = "This video's subtitles are listed below: \n{subtitles}\n"
"""What stands before a question that comes with subtitles. Source: the prompt of Video-MME, arXiv:2405.21075, as lmms-eval writes it."""


def subtitles(sample: Sample) -> str:
    """The sample's subtitles (meta "subtitles", a text) as they stand before its question; "" where there are none."""
    text = sample.meta.get("subtitles")
    return SUBTITLES.format(subtitles=text) if isinstance(text, str) and text else ""


def choice_question(sample: Sample, asking: Asking, *, grounded: bool) -> str:
    """The question with its options, what to think, and where the letter goes; grounded: the seconds it rests on, too. Subtitles, where the
    data set was asked for them, stand first."""
    by_r1_5 = asking.prompts == "r1_5"
    question = f'Answer the question: "{sample.question}" according to the content of the video. Select the answer from :'
    if asking.thinking:
        lead = f"\n\n{R1_5_THOUGHT if by_r1_5 else THOUGHT}\n\nThen, p"
    elif grounded or asking.prompts == "released":
        lead = " P"
    else:
        lead = "\n\nThen, p" if by_r1_5 else "\n\nP"
    example = f"{'<think>...</think>' if by_r1_5 and asking.thinking else ''}<answer>A</answer>"
    if grounded:
        after = f" {GLUE} For example: {example}<glue>[(5.2, 10.4)]</glue>."
    else:
        after = f" For example: {example}." if by_r1_5 else ""
    return f"{subtitles(sample)}{question}{lettered(sample.options)}.{lead}{LETTER}{after}\n"


def event_question(sample: Sample, asking: Asking, *, listed: bool) -> str:
    """Asks when the sample's event happens: for one span, or listed: for all of them. In training the released code writes the event in
    lower case without a full stop at its end; elsewhere it stands as it is."""
    by_r1_5 = asking.prompts == "r1_5"
    event = sample.question.strip().lower().removesuffix(".") if asking.prompts == "released" else sample.question
    example = f"{'<think>...</think>' if by_r1_5 and asking.thinking else ''}<answer>[(12.54, 17.83)]</answer>"
    form = (
        f"of [(s1, e1), (s2, e2), ...] within the <answer> </answer> tags. For example: {example}"
        if listed
        else '"start time to end time" within the <answer> </answer> tags. For example: "12.54 to 17.83".'
    )
    return (
        f'To accurately pinpoint the event "{event}" in the video, determine the precise time period of the event.\n\n'
        + (f"{BRIEF_THOUGHT if by_r1_5 else THOUGHT}\n\nThen, p" if asking.thinking else "P")
        + f"rovide the start and end times (in seconds, precise to two decimal places) in the format {form}"
    )
