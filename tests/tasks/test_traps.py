"""Texts that have fooled readers of answers: what each is read as, strictly and as the released code reads it.

A case is (task, text, strict rewards, strict reason, released rewards), rewards in the order of the task, format first. Truths: grounding
10 to 20; choices C of five; grounded QA 13.8 to 29.8 and 40 to 44.25 too; quality low; no thinking is asked for."""

from dataclasses import replace

import pytest
from tests.tasks.samples import GOT_BOXES, SAMPLES, TASKS, said

from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.scoring import judge
from videochat_r1.types import Answer

EIGHT = str([list(box) for box in GOT_BOXES])
PIXELS = str([[int(side * 1000) for side in box] for box in GOT_BOXES])
WORDS = str([["x0", "y0", "x1", "y1"]] * 8)


def answer(text):
    return f"<answer>{text}</answer>"


SPAN_TRAPS = {
    "what is asked for": (answer("10.00 to 20.00"), (1, 1), "", (1, 1)),
    "no seconds read by the released code: a dash": (answer("10.0-20.0"), (0, 1), "", (1, 0)),
    "units": (answer("10.0s to 20.0s"), (0, 1), "", (1, 0)),
    "clock times, the middle of which the released code reads": (answer("0:10 to 0:20"), (0, 1), "", (1, 0)),
    "swapped": (answer("20 to 10"), (0, 0), "", (1, 0)),
    "three numbers": (answer("10 to 20 to 30"), (0, 0), "several_spans", (1, 1)),
    "two spans": (answer("10 to 20 or 0 to 5"), (0, 0), "several_spans", (1, 0)),
    "words around": (answer("The event is from 10 to 20 seconds."), (0, 1), "", (1, 1)),
    "negative": (answer("-10 to 20"), (0, 0), "bad_number", (1, 1)),
    "thousands": (answer("1,010 to 1,020"), (0, 0), "bad_number", (1, 0)),
    "percent": (answer("10% to 20%"), (0, 0), "bad_unit", (1, 0)),
    "past the end of the video": (answer("10 to 2000"), (1, 10 / 1990), "", (1, 10 / 1990)),
    "huge": (answer("10 to " + "9" * 400), (0, 0), "bad_number", (1, 0)),
    "1e999": (answer("10 to 1e999"), (0, 0), "several_spans", (1, 0)),
    "nan to inf": (answer("nan to inf"), (0, 0), "no_span", (1, 0)),
    "Arabic digits": (answer("\u0661\u0660 to \u0662\u0660"), (0, 0), "digits", (1, 1)),
    "superscript digits": (answer("10 to 20\u00b2"), (0, 0), "digits", (1, 1)),
    "two answers": (answer("0 to 5") + answer("10 to 20"), (0, 1), "", (1, 1)),
    "two answers, the right one first": (answer("10 to 20") + answer("0 to 5"), (0, 0), "", (1, 0)),
    "the answer within the thought": ("<think>" + answer("10 to 20") + "</think>", (0, 0), "no_answer", (0, 1)),
    "a thought that is never closed": ("<think>" + answer("10 to 20"), (0, 0), "no_answer", (0, 1)),
    "capital tags": ("<ANSWER>10 to 20</ANSWER>", (0, 0), "no_answer", (0, 0)),
    "no tags": ("10 to 20", (0, 0), "no_answer", (0, 0)),
    "an answer that is never closed": ("<answer>10 to 20", (0, 0), "no_answer", (0, 0)),
    "text around": ("So: " + answer("10 to 20"), (0, 1), "", (0, 1)),
    "the prompt echoed": (
        'within the <answer> </answer> tags. For example: "12.54 to 17.83".',
        (0, 0),
        "no_span",
        (0, 0),
    ),
    "nothing": ("", (0, 0), "no_answer", (0, 0)),
    "an empty answer": (answer(""), (0, 0), "no_span", (1, 0)),
}

CHOICE_TRAPS = {
    "what is asked for": (answer("C"), (1, 1), "", (1, 1)),
    "The Answer is C": (answer("The Answer is C"), (0, 1), "", (1, 0)),
    "Answer: C": (answer("Answer: C"), (0, 1), "", (1, 0)),
    "Excited": (answer("Excited"), (0, 0), "no_choice", (1, 0)),
    "Cat": (answer("Cat"), (0, 0), "no_choice", (1, 1)),
    "a small letter": (answer("c"), (0, 1), "", (1, 0)),
    "Best answer: C": (answer("Best answer: C"), (0, 1), "", (1, 0)),
    "Best option: C": (answer("Best option: C"), (0, 1), "", (1, 0)),
    "the option's text": (answer("(C) a book"), (0, 1), "", (1, 1)),
    "C or D": (answer("C or D"), (0, 0), "several_choices", (1, 1)),
    "all letters": (answer("C, A, B, D, E"), (0, 0), "several_choices", (1, 1)),
    "not offered": (answer("G"), (0, 0), "not_offered", (1, 0)),
    "two answers": (answer("A") + answer("C"), (0, 1), "", (1, 0)),
    "the answer within the thought": ("<think>" + answer("C") + "</think>" + answer("A"), (0, 0), "", (0, 1)),
    "an empty answer": (answer(""), (0, 0), "no_choice", (1, 0)),
}

GLUE_TRAPS = {
    "what is asked for": (answer("C") + "<glue>[(13.8, 29.8), (40, 44.25)]</glue>", (1, 1, 1), "", (1, 1, 1)),
    "clue for glue": (answer("C") + "<clue>[(13.8, 29.8), (40, 44.25)]</clue>", (1, 1, 1), "", (0, 0, 1)),
    "square brackets": (answer("C") + "<glue>[[13.8, 29.8], [40, 44.25]]</glue>", (0, 1, 1), "", (0, 0, 1)),
    "a space before the comma": (answer("C") + "<glue>[(13.8 , 29.8), (40, 44.25)]</glue>", (1, 1, 1), "", (0, 0, 1)),
    "no spans": (answer("C") + "<glue>[]</glue>", (0, 0, 1), "", (1, 0, 1)),
    "no glue": (answer("C"), (0, 0, 1), "", (0, 0, 1)),
    "glue alone": ("<glue>[(13.8, 29.8), (40, 44.25)]</glue>", (0, 1, 0), "", (0, 1, 0)),
    "glue before the answer": ("<glue>[(13.8, 29.8), (40, 44.25)]</glue>" + answer("C"), (0, 1, 1), "", (0, 1, 1)),
    "a reversed span": (answer("C") + "<glue>[(13.8, 29.8), (44.25, 40)]</glue>", (0, 16 / 20.25, 1), "", (0, 0, 1)),
    "a span twice": (answer("C") + "<glue>[(13.8, 29.8), (13.8, 29.8), (40, 44.25)]</glue>", (1, 1, 1), "", (1, 1, 1)),
    "two lists": (
        answer("C") + "<glue>[(0, 1)]</glue><glue>[(13.8, 29.8), (40, 44.25)]</glue>",
        (0, 1, 1),
        "",
        (1, 0, 1),
    ),
    "1e999": (answer("C") + "<glue>[(13.8, 1e999)]</glue>", (0, 0, 1), "", (0, 0, 1)),
    "nothing": ("", (0, 0, 0), "no_answer", (0, 0, 0)),
}

BOX_TRAPS = {
    "what is asked for": (answer(EIGHT), (1, 1), "", (1, 1)),
    "pixels": (answer(PIXELS), (0, 0), "out_of_range", (1, None)),
    "words": (answer(WORDS), (0, 0), "bad_list", (1, 0)),
    "seven boxes": (answer(str([list(box) for box in GOT_BOXES[:7]])), (0, 0), "count", (0, 0)),
    "infinite": (answer(EIGHT.replace("0.49,", "1e999,")), (0, 0), "bad_list", (1, 0)),
    "not a number": (answer(EIGHT.replace("0.49,", "nan,")), (0, 0), "bad_list", (0, 0)),
    "nested too deep": (answer(f"[{EIGHT}]"), (0, 0), "bad_list", (0, 0)),
    "the prompt's example": (answer("[[0.1, 0.5, 0.3, 0.55], [0.72, 0.25, 0.84, 0.43], ...]"), (0, 0), "bad_list", (0, 0)),
    "two answers": (answer(EIGHT) + answer("[]"), (0, 0), "bad_list", (1, 1)),
}

LABEL_TRAPS = {
    "what is asked for": (answer("low quality"), (1, 1), "", (1, 1)),
    "capitals": (answer(" Low Quality\n"), (1, 1), "", (1, 1)),
    "a full stop": (answer("low quality."), (0, 1), "", (1, 0)),
    "both": (answer("low quality, high quality"), (0, 0), "not_offered", (1, 0)),
    "not": (answer("not low quality"), (0, 0), "not_offered", (1, 0)),
    "two answers": (answer("low quality") + answer("high quality"), (0, 0), "", (1, 1)),
    "nothing": (answer(""), (0, 0), "no_label", (1, 0)),
}

TRAPS = [
    pytest.param(name, *case, id=f"{name}: {what}")
    for name, cases in [
        ("temporal_grounding", SPAN_TRAPS),
        ("video_qa", CHOICE_TRAPS),
        ("grounded_qa", GLUE_TRAPS),
        ("tracking", BOX_TRAPS),
        ("quality", LABEL_TRAPS),
    ]
    for what, case in cases.items()
]


@pytest.mark.parametrize("name, text, strict, reason, released", TRAPS)
def test_traps(name, text, strict, reason, released):
    (rollout,) = judge(TASKS[name], SAMPLES[name], [said(text)], Asking())
    assert tuple(rollout.rewards.values()) == pytest.approx(strict)
    assert rollout.reading.reason == reason
    (rollout,) = judge(TASKS[name], SAMPLES[name], [said(text)], Asking(reading="released"))
    for paid, expected in zip(rollout.rewards.values(), released, strict=True):
        assert expected is None or paid == pytest.approx(expected)


THOUGHT = "<think>I see a cup.</think>"


@pytest.mark.parametrize(
    "text, strict, released",
    [
        (f"{THOUGHT}<answer>C</answer>", (1, 1), (1, 1)),
        ("<think></think><answer>C</answer>", (0, 1), (1, 1)),
        ("<think> </think><answer>C</answer>", (0, 1), (1, 1)),
        ("<answer>C</answer>", (0, 1), (0, 1)),
        (f"{THOUGHT}<answer>A</answer><answer>C</answer>", (0, 1), (1, 0)),
        (f"{THOUGHT} so <answer>C</answer>", (0, 1), (0, 1)),
        ("<think>maybe <answer>A</answer></think><answer>C</answer>", (0, 1), (1, 0)),
        ("<think>within the <think> </think> tags</think><answer>C</answer>", (0, 1), (1, 1)),
        ("<THINK>I see a cup.</THINK><answer>C</answer>", (0, 1), (0, 1)),
    ],
    ids=["as asked", "empty thought", "blank thought", "no thought", "two answers", "words", "in the thought", "prompt echo", "capitals"],
)
def test_traps_with_thinking(text, strict, released):
    for reading, expected in (("strict", strict), ("released", released)):
        (rollout,) = judge(TASKS["video_qa"], SAMPLES["video_qa"], [said(text)], Asking(thinking=True, reading=reading))
        assert tuple(rollout.rewards.values()) == expected


@pytest.mark.parametrize(
    "text, trained, evaluated",
    [
        ("<answer>10.0 to 20.0</answer>", (10, 20), (10, 20)),
        ("The event happens from 10.0 to 20.0 seconds.", None, (10, 20)),
        ("<think>it is 10.0 to 20.0", None, (10, 20)),
        ("<answer>10.0 to 20.0</answer> since 1.0 and 2.0 show it", (10, 20), (1, 2)),
        ("<think>3.0 to 4.0</think><answer>10.0 TO 20.0</answer>", (10, 20), (3, 4)),
        ("<answer>ten to twenty</answer>", None, None),
    ],
    ids=["as asked", "no tags", "cut off in the thought", "words after the answer", "capitals", "no number"],
)
def test_the_released_evaluation_reads_spans_from_the_whole_text(text, trained, evaluated):
    for reading, expected in (("released", trained), ("released_evaluation", evaluated)):
        read = TASKS["temporal_grounding"].read(text, SAMPLES["temporal_grounding"], Asking(reading=reading))
        assert (read.answer.spans if read.answer else None) == (None if expected is None else (expected,))
        assert read.reason == ("no_span" if expected is None else "")


@pytest.mark.parametrize("name, text", [(case.values[0], case.values[1]) for case in TRAPS if case.values[0] != "temporal_grounding"])
def test_the_released_evaluation_reads_all_else_as_it_trains(name, text):
    readings = [TASKS[name].read(text, SAMPLES[name], Asking(reading=reading)) for reading in ("released", "released_evaluation")]
    assert readings[0] == readings[1]


@pytest.mark.parametrize(
    "text, spans, overlap",
    [
        ("<answer>[(10.0, 20.0)]</answer>", ((10, 20),), 1.0),
        ("<answer>[(10.0, 12.0), (18.0, 20.0)]</answer>", ((10, 12), (18, 20)), 0.4),
        ("<answer>[(10.0, 20.0), (30.0, 40.0)]</answer>", ((10, 20), (30, 40)), 0.5),
        ("<answer>10.0 to 20.0</answer>", ((10, 20),), 1.0),
        ("<answer>[]</answer>", (), 0.0),
        ("10.0 to 20.0", None, 0.0),
    ],
    ids=["as asked", "two parts of it", "another one too", "one span in words", "none", "no tags"],
)
def test_a_list_for_r1_5_earns_the_overlap_of_all_its_seconds(text, spans, overlap):
    sample = replace(SAMPLES["temporal_grounding"], truth=Answer(spans=((10.0, 20.0),)), duration_s=60.0)
    (rollout,) = judge(TASKS["temporal_grounding"], sample, [said(text)], Asking(prompts="r1_5"))
    assert (rollout.reading.answer.spans if rollout.reading.answer else None) == spans
    assert rollout.rewards["tiou"] == pytest.approx(overlap)


def test_pixels_are_paid_nothing_by_the_released_code_but_their_format():
    (rollout,) = judge(TASKS["tracking"], SAMPLES["tracking"], [said(answer(PIXELS))], Asking(reading="released"))
    assert rollout.rewards["format"] == 1.0
    assert rollout.rewards["box_iou"] < 1e-3


def test_an_unparsable_truth_is_not_matched_by_an_unparsable_answer():
    """The released code compares '' with '' and pays; here such a truth is a fault, and such an answer is wrong."""
    sample = replace(SAMPLES["video_qa"], truth=Answer(choice=""))
    with pytest.raises(ValueError, match="choice"):
        judge(TASKS["video_qa"], sample, [said(answer("?"))], Asking())
