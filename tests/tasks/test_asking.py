"""The prompts, to the letter. The texts are written out as the paper's code has them, with nothing shared with the package."""

from dataclasses import replace

import pytest
from tests.tasks.samples import GOT_BOXES, SAMPLES, TASKS

from videochat_r1.tasks.base import Asking
from videochat_r1.types import Answer

T = (
    "Output your thought process within the <think> </think> tags, including analysis with either specific timestamps (xx.xx) "
    "or time ranges (xx.xx to xx.xx) in <timestep> </timestep> tags."
)
TG = (
    'To accurately pinpoint the event "a person is putting a book on a shelf" in the video, determine the precise time period of the event.'
)
TIMES = (
    'rovide the start and end times (in seconds, precise to two decimal places) in the format "start time to end time" within the '
    '<answer> </answer> tags. For example: "12.54 to 17.83".'
)
Q = (
    'Answer the question: "why did the boy pick up one present from the group of them and move to the sofa" according to '
    "the content of the video. Select the answer from :['(A) share with the girl', '(B) approach lady sitting there', '(C) unwrap it', "
    "'(D) playing with toy train', '(E) gesture something']."
)
Q2 = (
    'Answer the question: "what is the boy holding" according to the content of the video. Select the answer from :'
    "['(A) a present', '(B) a train', '(C) a book', '(D) a cup', '(E) nothing']."
)
LETTER = "rovide your answer within the <answer> </answer> tags, output the corresponding letter of the option."
G = (
    "At the same time, in the <glue> </glue> tags, present the precise time period in seconds of the video clips on which you base "
    "your answer to this question in the format of [(s1, e1), (s2, e2), ...]. For example: <answer>A</answer><glue>[(5.2, 10.4)]</glue>."
)
TR = (
    'Track the "sloth" in the video based on its initial coordinates "[0.49, 0.585, 0.677, 0.867]". The output should be a list containing '
    "eight sublists. Each sublist includes four normalized coordinates [x0, y0, x1, y1] representing the bounding box of the object at "
    "specific time intervals."
)
TA = (
    "Provide your answer within the <answer> </answer> tags as a list of eight sublists, where each sublist contains the normalized "
    "coordinates [x0, y0, x1, y1]. For example: <answer>[[0.1, 0.5, 0.3, 0.55], [0.72, 0.25, 0.84, 0.43], ...]</answer>.\n"
)
CLS = (
    "How about the quality of the video from an aesthetic and technical point of view? "
    "Choice one answer from ['low quality', 'high quality']."
)
PROMPTS = {
    "temporal_grounding": (f"{TG}\n\nP{TIMES}", f"{TG}\n\n{T}\n\nThen, p{TIMES}"),
    "grounded_qa": (f"{Q} P{LETTER} {G}\n", f"{Q}\n\n{T}\n\nThen, p{LETTER} {G}\n"),
    "video_qa": (f"{Q2} P{LETTER}\n", f"{Q2}\n\n{T}\n\nThen, p{LETTER}\n"),
    "tracking": (f"{TR}\n\n{TA}", f"{TR}\n\n{T}\n\n{TA}"),
    "quality": (
        f"{CLS}\n\nOutput your final answer within the <answer> </answer> tags.\n",
        f"{CLS}\n\n{T}\n\nThen, provide your final answer within the <answer> </answer> tags.\n",
    ),
    "description": ("Describe this video in detail.", "Describe this video in detail."),
}


@pytest.mark.parametrize("thinking", [False, True], ids=["no think", "think"])
@pytest.mark.parametrize("name", PROMPTS)
def test_the_prompt_is_the_papers(name, thinking):
    assert TASKS[name].ask(SAMPLES[name], Asking(thinking=thinking)) == PROMPTS[name][thinking]


EVENT = "A person is putting a book on a shelf."
RAW = TG.replace(EVENT.lower().removesuffix("."), EVENT)
LISTED = (
    "rovide the start and end times (in seconds, precise to two decimal places) in the format of [(s1, e1), (s2, e2), ...] within the "
    "<answer> </answer> tags. For example: "
)
BRIEF = "Output your thought process within the <think> </think> tags."
THINK = "Output your think process within the  <think> </think> tags."
OTHER_PROMPTS = {
    "released_evaluation": {
        "temporal_grounding": (f"{RAW}\n\nP{TIMES}", f"{RAW}\n\n{T}\n\nThen, p{TIMES}"),
        "grounded_qa": PROMPTS["grounded_qa"],
        "video_qa": (f"{Q2}\n\nP{LETTER}\n", PROMPTS["video_qa"][1]),
        "tracking": (PROMPTS["tracking"][0], f"{TR}\n\n{BRIEF}\n\n{TA}"),
        "quality": PROMPTS["quality"],
    },
    "r1_5": {
        "temporal_grounding": (
            f"{RAW}\n\nP{LISTED}<answer>[(12.54, 17.83)]</answer>",
            f"{RAW}\n\n{BRIEF}\n\nThen, p{LISTED}<think>...</think><answer>[(12.54, 17.83)]</answer>",
        ),
        "grounded_qa": (
            PROMPTS["grounded_qa"][0],
            f"{Q}\n\n{THINK}\n\nThen, p{LETTER} {G.replace('<answer>A<', '<think>...</think><answer>A<')}\n",
        ),
        "video_qa": (
            f"{Q2}\n\nThen, p{LETTER} For example: <answer>A</answer>.\n",
            f"{Q2}\n\n{THINK}\n\nThen, p{LETTER} For example: <think>...</think><answer>A</answer>.\n",
        ),
    },
}


@pytest.mark.parametrize("thinking", [False, True], ids=["no think", "think"])
@pytest.mark.parametrize("prompts, name", [(prompts, name) for prompts, names in OTHER_PROMPTS.items() for name in names])
def test_the_prompts_of_the_evaluation_code_and_of_r1_5(prompts, name, thinking):
    sample = replace(SAMPLES[name], question=EVENT) if name == "temporal_grounding" else SAMPLES[name]
    assert TASKS[name].ask(sample, Asking(thinking=thinking, prompts=prompts)) == OTHER_PROMPTS[prompts][name][thinking]


@pytest.mark.parametrize("thinking", [False, True], ids=["no think", "think"])
@pytest.mark.parametrize("prompts", OTHER_PROMPTS)
@pytest.mark.parametrize("name", ["temporal_grounding", "grounded_qa", "video_qa", "tracking", "quality"])
def test_the_truth_earns_everything_whoever_asks(name, prompts, thinking):
    asking = Asking(thinking=thinking, prompts=prompts)
    text = TASKS[name].write(SAMPLES[name].truth, asking)
    reading = TASKS[name].read(text, SAMPLES[name], asking)
    assert reading.format_ok and all(reward(reading, SAMPLES[name], asking) == 1.0 for reward in TASKS[name].rewards.values())


def test_answers_of_r1_5_are_read_strictly():
    with pytest.raises(ValueError, match="with prompts r1_5 it is strict"):
        Asking(prompts="r1_5", reading="released")


@pytest.mark.parametrize("sentence, event", [(" The lady then jet skis.", "the lady then jet skis"), ("Wait..", "wait."), ("A\nb", "a\nb")])
def test_an_event_is_written_in_lower_case_without_its_full_stop(sentence, event):
    asked = TASKS["temporal_grounding"].ask(replace(SAMPLES["temporal_grounding"], question=sentence), Asking())
    assert f'the event "{event}" in' in asked


def test_options_without_letters_are_given_them():
    asked = TASKS["video_qa"].ask(replace(SAMPLES["video_qa"], options=("red", "it's")), Asking())
    assert """from :['(A) red', "(B) it's"].""" in asked


@pytest.mark.parametrize("count, word", [(2, "two"), (7, "seven"), (12, "twelve"), (13, "13")])
def test_the_number_of_boxes_is_that_of_the_truth(count, word):
    sample = replace(SAMPLES["tracking"], truth=Answer(boxes=(GOT_BOXES * 2)[:count]))
    expected = PROMPTS["tracking"][False].replace("eight", word)
    assert TASKS["tracking"].ask(sample, Asking()) == expected


def test_the_seconds_of_the_boxes_are_named_where_that_is_asked_for():
    asked = TASKS["tracking"].ask(SAMPLES["tracking"], Asking(timed_boxes=True))
    named = " The eight boxes are asked for at these seconds: 0.00, 1.50, 3.00, 4.50, 6.00, 7.50, 9.00, 10.25."
    assert asked == f"{TR}{named}\n\n{TA}"
    assert TASKS["tracking"].seconds(SAMPLES["tracking"]) == (0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0, 10.25)


def test_boxes_and_their_seconds_must_match():
    untimed = replace(SAMPLES["tracking"], truth=Answer(boxes=GOT_BOXES))
    assert TASKS["tracking"].seconds(untimed) is None
    with pytest.raises(ValueError, match="no seconds"):
        TASKS["tracking"].ask(untimed, Asking(timed_boxes=True))
    with pytest.raises(ValueError, match="8 boxes and 2 seconds"):
        TASKS["tracking"].seconds(replace(untimed, truth=Answer(boxes=GOT_BOXES, times_s=(0.0, 1.0))))
