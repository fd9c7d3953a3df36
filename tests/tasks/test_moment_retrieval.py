"""Several moments for one query: how an answer is read, what it earns, and QVHighlights' figures on cases worked by hand."""

from __future__ import annotations

import pytest
from tests.tasks.hostile import texts

from videochat_r1.evaluation.baselines import task_baselines
from videochat_r1.evaluation.figures import figures
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.tasks.moment_retrieval import LENGTHS_S
from videochat_r1.types import Answer, Sample

TASK = load_task("moment_retrieval")
NOTHING = TASK.read("", None, Asking())  # type: ignore[arg-type]


def sample(*truth, duration_s=150.0, name="q"):
    return Sample(id=name, task="moment_retrieval", video=name, question="A cup falls.", truth=Answer(spans=truth), duration_s=duration_s)


def read(text, asking=None):
    return TASK.read(text, sample((0.0, 1.0)), asking or Asking())


@pytest.mark.parametrize(
    "answer, spans, has_form",
    [
        ("[(1.5, 4), (10, 12.25)]", ((1.5, 4.0), (10.0, 12.25)), True),
        ("[[1.5, 4], [10, 12.25]]", ((1.5, 4.0), (10.0, 12.25)), False),
        ("(1.5, 4)", ((1.5, 4.0),), False),
        ("1.50 to 4.00", ((1.5, 4.0),), False),
        ("[]", (), False),
        ("[(9, 2)]", ((9.0, 2.0),), False),
    ],
)
def test_what_is_read(answer, spans, has_form):
    reading = read(f"<answer>{answer}</answer>")
    assert (reading.answer.spans, reading.format_ok, reading.reason) == (spans, has_form, "")


@pytest.mark.parametrize(
    "text, reason", [("[(1, 2)]", "no_answer"), ("<answer>soon</answer>", "no_span"), ("<answer>1, 2, 3</answer>", "several_spans")]
)
def test_what_is_not(text, reason):
    assert read(text).answer is None and read(text).reason == reason


@pytest.mark.parametrize("thinking", [False, True])
def test_the_truth_scores_full_marks_and_the_prompt_asks_for_a_list(thinking):
    asking, one = Asking(thinking=thinking), sample((0.0, 16.0), (20.0, 28.0), (60.0, 148.0))
    reading = TASK.read(TASK.write(one.truth, asking), one, asking)
    assert {name: reward(reading, one, asking) for name, reward in TASK.rewards.items()} == {"format": 1.0, "union_iou": 1.0}
    found = figures(TASK, [one], [reading], resamples=0)
    whole = [name for name in TASK.metrics if "/" not in name]
    assert {name: found[name] for name in whole} == dict.fromkeys(whole, 100.0)
    assert found["mAP/long"] == pytest.approx(100 / 3)  # as the official code counts: moments of other lengths are wrong there
    asked = TASK.ask(one, asking)
    assert '"a cup falls" in the video' in asked and "[(s1, e1), (s2, e2), ...]" in asked and ("<think>" in asked) == thinking


def test_figures_by_hand():
    samples = [sample((0.0, 10.0), (20.0, 60.0), name="a"), sample((0.0, 10.0), name="b"), sample((30.0, 45.0), name="c")]
    readings = [read("<answer>[(20, 50), (0, 10)]</answer>"), read("<answer>[(90, 99), (0, 10)]</answer>"), NOTHING]
    found = figures(TASK, samples, readings, resamples=0)
    # a: the first moment has 30/40 with the second truth, the other is exact; b: the first is wrong; c: no answer
    assert (found["R1@0.5"], found["R1@0.7"]) == (pytest.approx(100 / 3), pytest.approx(100 / 3))
    assert found["mIoU"] == pytest.approx(100 * (40 / 50 + 10 / 19 + 0) / 3)
    assert found["mAP@0.5"] == pytest.approx(100 * (1 + 1 / 2 + 0) / 3)
    assert found["mAP@0.75"] == pytest.approx(100 * (1 + 1 / 2 + 0) / 3)
    above = 0.5 * 1 / 2  # from 0.8 on only the second moment of a is found: precision 1/2 up to recall 1/2
    assert found["mAP"] == pytest.approx(100 * ((6 * 1 + 4 * above) / 10 + 1 / 2 + 0) / 3)
    # short truths: that of a, found second (1/2), and that of b (1/2); middle: c alone; long: 20 to 60 of a, found first up to IoU 0.75
    assert found["mAP/short"] == pytest.approx(50.0) and found["mAP/middle"] == 0.0 and found["mAP/long"] == pytest.approx(60.0)
    assert set(LENGTHS_S) == {"short", "middle", "long"}


def test_trivial_answers():
    found = task_baselines(TASK, [sample((0.0, 150.0))], [sample((75.0, 150.0))], resamples=0)
    assert found["whole_video"]["R1@0.7"] == 100.0 and found["constant"]["mIoU"] == pytest.approx(50.0)


def test_hostile_texts_give_no_exception_and_rewards_within_bounds():
    one = sample((0.0, 16.0), (20.0, 50.0))
    for asking in (Asking(), Asking(thinking=True)):
        for text in texts(1_000, seed=3):
            reading = TASK.read(text, one, asking)
            assert (reading.answer is None) == bool(reading.reason)
            assert all(0.0 <= reward(reading, one, asking) <= 1.0 for reward in TASK.rewards.values())
            assert figures(TASK, [one], [reading], resamples=0)["mAP"] <= 100.0
