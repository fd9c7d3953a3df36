"""What a true answer earns, what the figures count, and that no text earns more than the truth."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tasks.hostile import texts
from tests.tasks.samples import ASKINGS, GOT_BOXES, SAMPLES, TASKS, said

from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.scoring import judge
from videochat_r1.types import Answer, Reading

SECONDS = st.floats(0, 20_000, allow_nan=False)
SPANS = st.tuples(SECONDS, SECONDS).map(sorted).filter(lambda pair: pair[1] - pair[0] > 1e-3).map(tuple)
SIDES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda pair: pair[1] - pair[0] > 1e-4)
BOXES = st.tuples(SIDES, SIDES).map(lambda sides: (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
LETTERS = st.sampled_from("ABCDE")
LETTERS_AND_SPACES = st.characters(categories=["L", "N", "Zs"], codec="utf-8")
WORDS = st.text(LETTERS_AND_SPACES, min_size=1, max_size=30).filter(lambda text: any(map(str.isalnum, text)))
TRUTHS = {
    "temporal_grounding": SPANS.map(lambda span: Answer(spans=(span,))),
    "grounded_qa": st.builds(
        lambda letter, spans: Answer(choice=letter, spans=tuple(spans)), LETTERS, st.lists(SPANS, min_size=1, max_size=16)
    ),
    "video_qa": LETTERS.map(lambda letter: Answer(choice=letter)),
    "tracking": st.lists(BOXES, min_size=8, max_size=8).map(lambda boxes: Answer(boxes=tuple(boxes))),
    "quality": st.sampled_from(["low quality", "high quality"]).map(lambda label: Answer(label=label)),
    "description": st.lists(WORDS, min_size=1, max_size=6).map(lambda events: Answer(events=tuple(events))),
}


@pytest.mark.parametrize("name", TASKS)
@given(data=st.data())
def test_the_truth_as_written_earns_full_marks(name, data):
    task, sample = TASKS[name], replace(SAMPLES[name], truth=data.draw(TRUTHS[name]))
    for asking in ASKINGS:
        reading = task.read(task.write(sample.truth, asking), sample, asking)
        assert reading.reason == ""
        assert reading.format_ok
        for reward in task.rewards.values():
            assert reward(reading, sample, asking) == pytest.approx(1.0, rel=0, abs=1e-9)
        for name_of_metric, metric in task.metrics.items():
            numerator, denominator = metric(reading, sample)
            assert numerator == pytest.approx(denominator, rel=0, abs=1e-8) or name_of_metric == "event_precision"


@given(st.lists(BOXES, min_size=2, max_size=30))
def test_any_number_of_boxes_earns_full_marks(boxes):
    task, sample = TASKS["tracking"], replace(SAMPLES["tracking"], truth=Answer(boxes=tuple(boxes)))
    (rollout,) = judge(task, sample, [said(task.write(sample.truth, Asking()))], Asking())
    assert rollout.total == pytest.approx(2.0)


@given(WORDS)
def test_any_label_may_be_written(label):
    task = TASKS["quality"]
    sample = replace(SAMPLES["quality"], question="What is it?", truth=Answer(label=label))
    assert judge(task, sample, [said(task.write(sample.truth, Asking()))], Asking())[0].rewards["accuracy"] == 1.0


@pytest.mark.parametrize("name", TASKS)
def test_no_text_earns_more_than_the_truth(name):
    task, sample = TASKS[name], SAMPLES[name]
    for asking in ASKINGS:
        true, *others = judge(task, sample, [said(task.write(sample.truth, asking)), *map(said, texts(2_500, seed=11))], asking)
        for reward in task.rewards:
            assert max(rollout.rewards[reward] for rollout in others) <= true.rewards[reward] == 1.0


@pytest.mark.parametrize("name", TASKS)
@given(seed=st.integers(0, 10_000))
def test_a_permutation_of_completions_permutes_their_rewards(name, seed):
    task, sample = TASKS[name], SAMPLES[name]
    completions = [said(text) for text in [*texts(7, seed), task.write(sample.truth, Asking())]]
    order = random.Random(seed).sample(range(8), 8)
    straight = [rollout.rewards for rollout in judge(task, sample, completions, Asking())]
    shuffled = [rollout.rewards for rollout in judge(task, sample, [completions[index] for index in order], Asking())]
    assert shuffled == [straight[index] for index in order]


@pytest.mark.parametrize("name", TASKS)
def test_what_is_not_read_is_wrong_and_stays_in_the_denominator(name):
    task, sample = TASKS[name], SAMPLES[name]
    reading = Reading(answer=None, reason="no_answer", format_ok=False)
    full = task.read(task.write(sample.truth, Asking()), sample, Asking())
    for metric in task.metrics.values():
        assert metric(reading, sample) == (0.0, metric(full, sample)[1])


FAULTY = {
    "temporal_grounding": [Answer(spans=spans) for spans in (None, (), ((5.0, 5.0),), ((9.0, 5.0),), ((1.0, 2.0), (3.0, 4.0)))],
    "grounded_qa": [Answer(choice="C"), Answer(choice="C", spans=((float("nan"), 5.0),)), Answer(choice="F", spans=((1.0, 2.0),))],
    "video_qa": [Answer(), Answer(choice=""), Answer(choice="F"), Answer(choice="(C)")],
    "tracking": [Answer(), Answer(boxes=GOT_BOXES[:1]), Answer(boxes=(*GOT_BOXES[:7], (0.0, 0.0, 640.0, 480.0)))],
    "quality": [Answer(), Answer(label=""), Answer(label="medium quality")],
    "description": [Answer(), Answer(events=()), Answer(events=("...",))],
}


@pytest.mark.parametrize("name, truth", [(name, truth) for name, truths in FAULTY.items() for truth in truths])
def test_a_truth_at_fault_raises_whatever_the_text_says(name, truth):
    task, sample = TASKS[name], replace(SAMPLES[name], truth=truth)
    good = task.read(task.write(SAMPLES[name].truth, Asking()), SAMPLES[name], Asking())
    for reading in (good, Reading(answer=None, reason="no_answer", format_ok=False)):
        with pytest.raises(ValueError):
            for reward in task.rewards.values():
                reward(reading, sample, Asking())
        with pytest.raises(ValueError):
            for metric in task.metrics.values():
                metric(reading, sample)


def figures(name, text, sample=None, asking=None):
    """Each figure of one sample, as a share."""
    task, sample, asking = TASKS[name], sample or SAMPLES[name], asking or Asking()
    reading = task.read(text, sample, asking)
    return {key: metric(reading, sample)[0] / metric(reading, sample)[1] for key, metric in task.metrics.items()}


def test_grounding_by_hand():
    assert figures("temporal_grounding", "<answer>12.00 to 18.00</answer>") == {
        "mIoU": pytest.approx(0.6),
        "R@0.3": 1.0,
        "R@0.5": 1.0,
        "R@0.7": 0.0,
    }
    assert figures("temporal_grounding", "<answer>10.00 to 15.00</answer>")["R@0.5"] == 1.0  # exactly one half counts


def test_grounded_qa_by_hand():
    """Truth: C, 13.8 to 29.8 and 40 to 44.25. The first span named, 10 to 20, holds 6.2 of its 10 s in the first."""
    assert figures("grounded_qa", "<answer>C</answer><glue>[(10, 20), (40, 44.25)]</glue>") == {
        "accuracy": 1.0,
        "mIoU_union": pytest.approx((6.2 + 4.25) / (19.8 + 4.25)),
        "mIoU": pytest.approx(6.2 / 19.8),
        "IoU@0.3": 1.0,
        "IoU@0.5": 0.0,
        "mIoP": pytest.approx(0.62),
        "IoP@0.3": 1.0,
        "IoP@0.5": 1.0,
        "Acc&GQA": 1.0,
    }
    assert figures("grounded_qa", "<answer>A</answer><glue>[(10, 20)]</glue>")["Acc&GQA"] == 0.0
    assert figures("grounded_qa", "<answer>C</answer><glue>[(10, 18)]</glue>")["Acc&GQA"] == 1.0  # 4.2 of 8 s
    assert figures("grounded_qa", "<answer>C</answer><glue>[(10, 16)]</glue>")["Acc&GQA"] == 0.0  # 2.2 of 6 s
    assert figures("grounded_qa", "<answer>C</answer>")["accuracy"] == 1.0
    assert figures("grounded_qa", "<glue>[(40, 44.25)]</glue>")["mIoU"] == 1.0


HALF_RIGHT = f"<answer>{[list(box) for box in (*GOT_BOXES[:5], *[(0.0, 0.9, 0.1, 1.0)] * 3)]}</answer>"


def test_tracking_by_hand():
    """Five boxes right, the given one among them, and three apart from the truth: 4 of 7 without it, 5 of 8 with it."""
    assert figures("tracking", HALF_RIGHT) == {
        "AO": pytest.approx(4 / 7),
        "SR0.5": pytest.approx(4 / 7),
        "SR0.75": pytest.approx(4 / 7),
        "AO_8": pytest.approx(5 / 8),
        "R_8@0.3": 1.0,
        "R_8@0.5": 1.0,
        "R_8@0.7": 0.0,
    }


def test_the_given_box_is_scored_only_where_that_is_asked_for():
    for asking, expected in [(Asking(), 4 / 7), (Asking(given_box_scored=True), 5 / 8), (Asking(reading="released"), 5 / 8)]:
        (rollout,) = judge(TASKS["tracking"], SAMPLES["tracking"], [said(HALF_RIGHT)], asking)
        assert rollout.rewards["box_iou"] == pytest.approx(expected)


def test_description_by_hand():
    assert figures("description", "A red circle appears. A dog barks.") == {"event_recall": 0.5, "event_precision": 0.5}
    assert figures("description", "<think>a red circle appears</think> Nothing.") == {"event_recall": 0.0, "event_precision": 0.0}
    assert figures("description", "<think>a red circle appears") == {"event_recall": 0.0, "event_precision": 0.0}


def test_a_caption_that_tells_all_events_is_written_as_it_is():
    task = TASKS["description"]
    events = ("a dog runs", "it rests")
    assert task.write(Answer(events=events, caption="First a dog runs, then it rests."), Asking()) == "First a dog runs, then it rests."
    assert task.write(Answer(events=events, caption="A dog."), Asking()) == "a dog runs. it rests."


def test_answers_are_written_as_the_paper_writes_them():
    written = {name: TASKS[name].write(SAMPLES[name].truth, Asking()) for name in TASKS}
    assert written["temporal_grounding"] == "<answer>10.00 to 20.00</answer>"
    assert written["grounded_qa"] == "<answer>C</answer><glue>[(13.8, 29.8), (40.0, 44.25)]</glue>"
    assert written["video_qa"] == "<answer>C</answer>"
    assert written["tracking"] == f"<answer>{[list(box) for box in GOT_BOXES]}</answer>"
    assert written["quality"] == "<answer>low quality</answer>"


def test_the_totals_are_the_papers_sums():
    assert {name: list(task.rewards) for name, task in TASKS.items()} == {
        "temporal_grounding": ["format", "tiou"],
        "grounded_qa": ["format", "glue_iou", "accuracy"],
        "video_qa": ["format", "accuracy"],
        "tracking": ["format", "box_iou"],
        "quality": ["format", "accuracy"],
        "description": ["event_recall"],
    }
