from __future__ import annotations

import json

import pytest
from tests.datasets.files import canonical, source, write_json

from videochat_r1.datasets.base import read_samples
from videochat_r1.errors import DataError
from videochat_r1.evaluation.score import read_predictions, score
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task


def predictions(tmp_path, rows):
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def samples(tmp_path):
    return read_samples(source("jsonl", write_json(tmp_path / "rows.json", canonical(4)), split="test")).samples


def gold(samples, thinking=False):
    return {sample.id: load_task(sample.task).write(sample.truth, Asking(thinking=thinking)) for sample in samples}


def test_several_tasks_are_scored_apart(samples):
    found = score(samples, gold(samples))
    assert list(found.by_task) == ["temporal_grounding", "tracking", "video_qa", "grounded_qa", "quality", "description"]
    assert all(figure["n"] == 4 and figure["format"] == 100.0 for figure in found.by_task.values())
    whole = found.as_dict()
    assert whole["tracking"]["AO"] == 100.0 and (whole["missing"], whole["unknown"]) == (0, 0)


def test_a_missing_prediction_is_wrong_and_counted_and_an_unknown_one_reported(samples):
    asked = [sample for sample in samples if sample.task == "temporal_grounding"]
    outputs = gold(asked)
    del outputs[asked[0].id]
    outputs[asked[1].id] = "I do not know."
    outputs["stranger"] = "<answer>1.00 to 2.00</answer>"
    found = score(asked, outputs, resamples=20)
    assert found.missing == (asked[0].id,) and found.unknown == ("stranger",)
    whole = found.as_dict()
    assert (whole["mIoU"], whole["n"], whole["unparsed"], whole["missing"], whole["unknown"], whole["format"]) == (50.0, 4, 2, 1, 1, 50.0)
    assert found.reasons["temporal_grounding"] == {"missing": 1, "no_answer": 1}
    assert json.dumps(whole, allow_nan=False)


def test_the_format_is_the_one_that_was_asked_for(samples):
    asked = [sample for sample in samples if sample.task == "video_qa"]
    assert score(asked, gold(asked, thinking=True), Asking(thinking=True)).as_dict()["format"] == 100.0
    without = score(asked, gold(asked), Asking(thinking=True)).as_dict()
    assert (without["format"], without["accuracy"]) == (0.0, 100.0)


def test_predictions_of_another_file_are_refused(samples):
    with pytest.raises(DataError, match="No prediction has the id of a sample: predictions have 'x', samples 't0'"):
        score(samples, {"x": "A"})


def test_no_prediction_at_all_scores_nothing(samples):
    asked = [sample for sample in samples if sample.task == "quality"]
    assert score(asked, {}).as_dict() == {
        "accuracy": 0.0,
        "accuracy_ci95": [0.0, 0.0],
        "n": 4,
        "unparsed": 4,
        "missing": 4,
        "format": 0.0,
        "unknown": 0,
    }


def test_predictions_are_read(tmp_path):
    path = predictions(tmp_path, [{"id": "a", "output": "x\ny"}, {"id": "b", "output": "", "seconds": 1.5}])
    assert read_predictions(path) == {"a": "x\ny", "b": ""}


@pytest.mark.parametrize(
    "rows, said",
    [
        ([{"id": "a", "output": "x"}, {"id": "a", "output": "y"}], ":2: the id 'a' stands in an earlier row"),
        ([{"id": "a", "output": "x"}, {"id": 2, "output": "y"}], ":2: a prediction is"),
        ([{"id": "a", "output": "x"}, {"id": "b"}], ":2: a prediction is"),
        ([{"id": "a", "output": "x"}, "[]"], ":2: a prediction is"),
        ([{"id": "a", "output": "x"}, '{"id": "b", "outp'], ":2:18: the file or line ends"),
        ([], "the file is empty"),
    ],
)
def test_bad_predictions_are_told_with_their_line(tmp_path, rows, said):
    with pytest.raises(DataError) as fault:
        read_predictions(predictions(tmp_path, rows))
    assert said in fault.value.what


def test_hostile_outputs_are_only_wrong(samples):
    outputs = {
        sample.id: text for sample, text in zip(samples, ["<answer>" * 9999, "\ud800\0", "1e999 to nan", "9" * 100_000] * 6, strict=True)
    }
    for figures in score(samples, outputs, resamples=0).by_task.values():
        assert all(0.0 <= value <= 100.0 for name, value in figures.items() if name not in ("n", "unparsed", "missing"))
