"""A file read as one of another data set: the messages name the data set that it is of."""

from __future__ import annotations

import json

import pytest
from tests.command_line import fault, ran
from tests.datasets.files import CLEAN, captions, source, write_json

from videochat_r1.datasets.base import check, formats, read_samples
from videochat_r1.datasets.base.formats import fitting
from videochat_r1.errors import DataError


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_file_is_found_to_be_of_its_data_set(tmp_path, name):
    path = write_json(tmp_path / "rows.json", CLEAN[name](10))
    named = "lvbench" if name != "lvbench" else "jsonl"
    found = fitting(source(named, path))
    of_one_form = [{"charades_sta", "activitynet_captions"}, {"mvbench", "mlvu"}]
    assert set(found) == next((names for names in of_one_form if name in names), {name})


def test_nothing_is_guessed_of_what_fits_nothing(tmp_path, monkeypatch):
    path = write_json(tmp_path / "rows.json", [{"a": 1}, {"b": 2}])
    assert fitting(source("charades_sta", path)) == []
    assert check(source("nextgqa", path)).hint == ""
    assert fitting(source("jsonl", tmp_path)) == [] and fitting(source("jsonl", tmp_path / "none.json")) == []
    path = write_json(tmp_path / "rows.json", captions())
    assert fitting(source("jsonl", path))
    monkeypatch.setattr(formats, "LIMIT_BYTES", 10)
    assert fitting(source("jsonl", path)) == [], "a very large file is not read again"


def test_a_file_with_some_good_rows_is_of_the_data_set_that_was_named(tmp_path):
    rows = captions(4)
    rows["VID00"] = {"question": "no entry of this form"}
    report = check(source("charades_sta", write_json(tmp_path / "rows.json", rows)))
    assert report.counts and report.hint == ""


def test_what_stops_a_command_names_the_data_set(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in CLEAN["jsonl"](3)))
    hint = "The first rows read as jsonl: give --dataset jsonl (in a recipe, that name)."
    assert fault(capsys, 3, "baselines", "--dataset", "charades_sta", "--annotations", rows).splitlines()[1] == hint
    with pytest.raises(DataError) as left:
        read_samples(source("charades_sta", rows, split="train"))
    assert "no sample is left" in left.value.what and left.value.mend == hint
    code, printed, _ = ran(capsys, "data", "check", "--dataset", "nextgqa", "--annotations", rows)
    assert code == 3 and printed.splitlines()[-1].strip() == hint
    code, printed, _ = ran(capsys, "data", "check", "--dataset", "nextgqa", "--annotations", rows, "--json")
    assert code == 3 and json.loads(printed)["hint"] == hint


def test_a_file_of_another_outside_names_the_data_set(tmp_path, capsys):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(captions(), indent=1))
    what, mend = fault(capsys, 3, "baselines", "--dataset", "jsonl", "--annotations", path).splitlines()
    assert what.endswith("expected a list of rows, found an object.")
    assert mend.startswith("The first rows read as activitynet_captions or charades_sta: give --dataset")
    path.write_text("[1, 2]")
    assert "Check that --dataset names the format" in fault(capsys, 3, "baselines", "--dataset", "charades_sta", "--annotations", path)
