"""Answers without a look at the video: on the real annotations they score what is known of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.tasks.samples import SAMPLES, TASKS

from videochat_r1.tasks._trivial import share_of
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Answer, Sample

ANNOTATIONS = Path(__file__).parents[2] / "../shared/data/annotations"
needs_annotations = pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason="no annotation files beside the repository")


def grounding(file: str) -> list[Sample]:
    return [
        Sample(id=f"{video}/{index}", task="", video=video, question="", truth=Answer(spans=(tuple(span),)), duration_s=row["duration"])
        for video, row in json.loads((ANNOTATIONS / file).read_text()).items()
        for index, span in enumerate(row["timestamps"])
        if span[0] < span[1]
    ]


def score(name: str, answers, samples) -> dict[str, float]:
    task = TASKS[name]
    sums = {key: [0.0, 0.0] for key in task.metrics}
    for sample in samples:
        reading = task.read(task.write(answers(sample), Asking()), sample, Asking())
        for key, metric in task.metrics.items():
            numerator, denominator = metric(reading, sample)
            sums[key][0] += numerator
            sums[key][1] += denominator
    return {key: 100 * numerator / denominator for key, (numerator, denominator) in sums.items()}


def near(**values):
    return {key.replace("_at_", "@"): pytest.approx(value, abs=0.051) for key, value in values.items()}


@needs_annotations
def test_charades():
    samples = grounding("charades_sta/test.json")
    constant, whole = (TASKS["temporal_grounding"].trivial[name]([]) for name in ("constant", "whole_video"))
    assert score("temporal_grounding", constant, samples) == near(mIoU=30.5, **{"R@0.3": 48.8, "R@0.5": 27.7, "R@0.7": 11.9})
    assert score("temporal_grounding", whole, samples) == near(mIoU=27.0, **{"R@0.3": 34.3, "R@0.5": 0.4, "R@0.7": 0.0})
    assert constant(replace(samples[0], duration_s=100.0)).spans == ((0.0, pytest.approx(45.0)),)


@needs_annotations
def test_activitynet():
    samples = grounding("activitynet_captions/test.json")
    whole = TASKS["temporal_grounding"].trivial["whole_video"]([])
    assert score("temporal_grounding", whole, samples) == near(mIoU=34.6, **{"R@0.3": 48.0, "R@0.5": 21.2, "R@0.7": 12.4})


@needs_annotations
def test_the_constant_is_fitted_on_training_samples():
    training = grounding("charades_sta/train.json")[::10]
    fitted = TASKS["temporal_grounding"].trivial["constant"](training)
    probe = replace(training[0], duration_s=100.0)
    best = score("temporal_grounding", fitted, training)["mIoU"]
    for fractions in [(0.0, 0.5), (0.05, 0.5), (0.1, 0.6), (0.0, 0.4)]:
        other = score("temporal_grounding", lambda sample, f=fractions: Answer(spans=(share_of(sample, f),)), training)
        assert best >= other["mIoU"] - 1e-9
    start_s, end_s = fitted(probe).spans[0]
    assert start_s % 5 == pytest.approx(0) and end_s % 5 == pytest.approx(0)


@needs_annotations
def test_got10k():
    rows = json.loads((ANNOTATIONS / "got10k/val.json").read_text())
    samples = [
        Sample(id=row["path"], task="", video="", question=row["object"], truth=Answer(boxes=tuple(map(tuple, row["gt"])))) for row in rows
    ]
    scored = score("tracking", TASKS["tracking"].trivial["copy_first_box"]([]), samples)
    paper = {key: value for key, value in scored.items() if "_8" in key}
    assert paper == near(AO_8=42.4, **{"R_8@0.3": 75.0, "R_8@0.5": 32.2, "R_8@0.7": 5.6})
    assert scored["AO"] == pytest.approx((8 * scored["AO_8"] - 100) / 7)  # without the given box, which is always right


@needs_annotations
def test_nextgqa_gold_and_trivial_answers():
    rows = json.loads((ANNOTATIONS / "nextgqa/val.json").read_text())
    samples = [
        replace(
            SAMPLES["grounded_qa"],
            id=row["id"],
            options=tuple(row["options"]),
            duration_s=row["duration"],
            truth=Answer(choice=row["answer"][1], spans=tuple(map(tuple, row["glue"]))),
        )
        for row in rows
    ]
    assert all(value == pytest.approx(100.0) for value in score("grounded_qa", lambda sample: sample.truth, samples).values())
    trivial = TASKS["grounded_qa"].trivial
    whole, fitted = (score("grounded_qa", trivial[name](samples), samples) for name in ("whole_video", "constant"))
    assert fitted["mIoU_union"] >= whole["mIoU_union"] > 20
    assert fitted["accuracy"] == whole["accuracy"] == score("grounded_qa", trivial["majority"](samples), samples)["accuracy"]
    assert score("grounded_qa", trivial["majority"](samples), samples)["mIoU"] == 0.0


def test_without_training_samples_nothing_is_known_of_the_truth():
    for name, task in TASKS.items():
        sample = SAMPLES[name]
        blind = replace(sample, truth=Answer(boxes=sample.truth.boxes[:1] + ((0.0, 0.0, 0.5, 0.5),) * 7)) if name == "tracking" else sample
        for trivial in task.trivial.values():
            assert trivial([])(sample) == trivial([])(blind)
    assert TASKS["video_qa"].trivial["majority"]([])(SAMPLES["video_qa"]).choice == "A"
    assert TASKS["quality"].trivial["majority"]([])(SAMPLES["quality"]).label == "low quality"
    assert TASKS["grounded_qa"].trivial["constant"]([])(SAMPLES["grounded_qa"]).spans == ((0.0, pytest.approx(0.95 * 90)),)


def test_the_majority_is_that_of_the_training_samples():
    qa, quality = SAMPLES["video_qa"], SAMPLES["quality"]
    training = [replace(qa, truth=Answer(choice=letter)) for letter in "BDDAE"]
    assert TASKS["video_qa"].trivial["majority"](training)(qa).choice == "D"
    assert TASKS["video_qa"].trivial["majority"](training)(replace(qa, options=qa.options[:2])).choice == "A"
    training = [replace(quality, truth=Answer(label=label)) for label in ("high quality", "low quality", "high quality")]
    assert TASKS["quality"].trivial["majority"](training)(quality).label == "high quality"


def test_the_most_frequent_events_are_described():
    sample = SAMPLES["description"]
    told = [("A dog runs.", "it rains"), ("a dog runs", "a cat sleeps", "it rains")]
    training = [replace(sample, truth=Answer(events=events)) for events in told]
    answer = TASKS["description"].trivial["frequent_events"](training)(sample)
    assert answer.caption == "A dog runs. it rains."
    assert TASKS["description"].trivial["frequent_events"]([])(sample).caption == "A video."


def test_a_share_of_the_video_needs_its_duration():
    sample = replace(SAMPLES["temporal_grounding"], duration_s=None)
    for trivial in TASKS["temporal_grounding"].trivial.values():
        with pytest.raises(ValueError, match="no duration"):
            trivial([])(sample)
