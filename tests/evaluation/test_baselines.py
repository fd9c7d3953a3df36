"""The trivial answers on the official files: the figures that published ones must be read beside."""

from __future__ import annotations

import pytest
from tests.datasets.files import canonical, captions, read_official, source, write_json

from videochat_r1.datasets.base import read_samples
from videochat_r1.errors import DataError
from videochat_r1.evaluation.baselines import baselines
from videochat_r1.evaluation.content import Report
from videochat_r1.evaluation.markdown import render_markdown
from videochat_r1.evaluation.page import render_page
from videochat_r1.evaluation.tables import rows, trivial_notes
from videochat_r1.video.clips import Quarantine

# data set, task, answer: metric -> per cent, to a decimal
PINNED = [
    ("charades_sta/test.json", "temporal_grounding", "constant", {"mIoU": 30.5, "R@0.3": 48.8, "R@0.5": 27.7, "R@0.7": 11.9}),
    ("charades_sta/test.json", "temporal_grounding", "whole_video", {"mIoU": 27.0, "R@0.3": 34.3, "R@0.5": 0.4, "R@0.7": 0.0}),
    ("activitynet_captions/test.json", "temporal_grounding", "whole_video", {"mIoU": 34.6, "R@0.3": 48.0, "R@0.5": 21.2, "R@0.7": 12.4}),
    (
        "got10k/val.json",
        "tracking",
        "copy_first_box",
        {"AO_8": 42.4, "R_8@0.3": 75.0, "R_8@0.5": 32.2, "R_8@0.7": 5.6, "AO": 34.1, "SR0.5": 29.4},
    ),
    # of NExT-GQA's val; the figures that are published with the benchmark are of its test file
    (
        "nextgqa/val.json",
        "grounded_qa",
        "whole_video",
        {"accuracy": 20.1, "mIoU_union": 22.8, "mIoU": 21.3, "mIoP": 21.3, "IoP@0.5": 10.6, "Acc&GQA": 2.0},
    ),
    (
        "nextgqa/val.json",
        "grounded_qa",
        "constant",
        {"accuracy": 20.1, "mIoU_union": 22.9, "mIoU": 21.5, "mIoP": 21.7, "IoP@0.5": 11.3, "Acc&GQA": 2.1},
    ),
    ("nextgqa/val.json", "grounded_qa", "majority", {"accuracy": 20.1, "mIoU_union": 0.0, "Acc&GQA": 0.0}),
    ("quality_access/test.json", "quality", "majority", {"accuracy": 49.7}),
]


@pytest.mark.parametrize("file, task, name, expected", PINNED, ids=[f"{file.split('/')[0]}-{name}" for file, _, name, _ in PINNED])
def test_trivial_answers_on_the_official_files(file, task, name, expected):
    found = baselines(read_official(file).samples, resamples=0)[task][name]
    assert {metric: found[metric] for metric in expected} == {
        metric: pytest.approx(value, abs=0.0501) for metric, value in expected.items()
    }
    assert found["unparsed"] == 0


def test_the_best_constant_is_fitted_on_training_samples():
    test, train = read_official("charades_sta/test.json").samples, read_official("charades_sta/train.json").samples
    found = baselines(test, train, resamples=100)["temporal_grounding"]
    assert found["constant"]["mIoU"] == pytest.approx(30.5, abs=0.3)
    low, high = found["constant"]["mIoU_ci95"]
    assert low < found["constant"]["mIoU"] < high and high - low < 4.0


def test_the_majority_is_that_of_training():
    test, train = read_official("quality_access/test.json").samples, read_official("quality_access/train_100shot.json").samples
    high = [sample for sample in train if sample.truth.label == "high quality"]
    found = baselines(test, high, resamples=0)["quality"]["majority"]
    assert found["accuracy"] == pytest.approx(100 * 364 / 724)


def test_every_task_has_a_trivial_answer_that_is_scored(tmp_path):
    samples = read_samples(source("jsonl", write_json(tmp_path / "rows.json", canonical(3)))).samples
    found = baselines(samples, samples)
    assert set(found) == {"temporal_grounding", "tracking", "video_qa", "grounded_qa", "quality", "description"}
    for names in found.values():
        assert names and all(figures["n"] == 3 for figures in names.values())
    assert {"whole_video", "constant"} <= set(found["temporal_grounding"]) and "copy_first_box" in found["tracking"]
    assert found["video_qa"]["majority"]["accuracy"] == 100.0 and found["quality"]["majority"]["accuracy"] == 100.0


def test_a_share_of_a_video_of_unknown_length_has_no_figure_and_is_told(tmp_path):
    content = captions(2)
    del content["VID00"]["duration"]
    samples = read_samples(source("charades_sta", write_json(tmp_path / "rows.json", content))).samples
    found = baselines(samples)
    for name in ("whole_video", "constant"):
        expected = {"mIoU": None, "R@0.3": None, "R@0.5": None, "R@0.7": None, "n": 4, "unparsed": 2, "no_duration": 2}
        assert found["temporal_grounding"][name] == expected
    assert trivial_notes(found) == [
        "Temporal grounding: no figure for the trivial answers whole video and constant (samples without duration_s: 2 of 4)."
    ]


def test_a_trivial_answer_that_cannot_be_given_is_never_the_best_one(tmp_path):
    rows_ = [{key: value for key, value in row.items() if key != "duration_s"} for row in canonical(3)]
    samples = read_samples(source("jsonl", write_json(tmp_path / "rows.json", rows_))).samples
    found = baselines(samples, resamples=0)
    results = {"policy": {task: {"mIoU": 10.0, "accuracy": 10.0, "n": 3} for task in ("temporal_grounding", "grounded_qa")}}
    best = {(row.task, row.metric): row.best_trivial for row in rows(results, found)}
    assert best["temporal_grounding", "mIoU"] is None
    assert best["grounded_qa", "accuracy"][0] == "majority"
    report = Report(title="A run", payload={"results": results, "baselines": found})
    [*_, said] = [note for note in trivial_notes(found) if note.startswith("Temporal grounding")]
    assert said in render_page(report, []) and said in render_markdown(report, [], {}).replace("\\", ""), "both pages say why there is none"


class Lengths:
    """In place of a loader: every video has ten seconds but for one that cannot be read."""

    def __init__(self):
        self.quarantine = Quarantine()

    def duration_s(self, sample):
        return sample.duration_s or (None if sample.video.endswith("VID01.mp4") else 10.0)


def test_the_length_of_the_video_stands_in_for_one_that_is_not_stated(tmp_path):
    content = captions(2)
    stated = read_samples(source("charades_sta", write_json(tmp_path / "stated.json", content))).samples
    del content["VID00"]["duration"]
    content["VID00"]["timestamps"] = [[0.0, 5.0], [0.0, 5.0]]
    samples = read_samples(source("charades_sta", write_json(tmp_path / "rows.json", content))).samples
    found = baselines(samples, loader=Lengths())["temporal_grounding"]["whole_video"]
    own = [sample for sample in samples if "VID00" in sample.video]
    assert found["unparsed"] == 0 and baselines(own, loader=Lengths())["temporal_grounding"]["whole_video"]["mIoU"] == pytest.approx(50.0)
    assert baselines(stated, loader=Lengths()) == baselines(stated)


def test_a_video_that_the_policy_could_not_be_shown_is_wrong_for_the_trivial_answer_too(tmp_path):
    content = captions(2)
    for video in ("VID00", "VID01"):
        del content[video]["duration"]
    content["VID00"]["timestamps"] = [[0.0, 5.0], [0.0, 5.0]]
    samples = read_samples(source("charades_sta", write_json(tmp_path / "rows.json", content))).samples
    loader = Lengths()
    assert baselines(samples, loader=loader)["temporal_grounding"]["whole_video"]["mIoU"] is None
    for sample in samples:
        if "VID01" in sample.video:
            loader.quarantine.add(sample, "missing", "It is not there.")
    found = baselines(samples, loader=loader)["temporal_grounding"]["whole_video"]
    assert found["mIoU"] == pytest.approx(25.0) and (found["n"], found["unparsed"]) == (4, 2)


def test_no_sample_is_a_fault():
    with pytest.raises(DataError, match="no sample"):
        baselines([])
