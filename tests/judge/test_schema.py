"""Replies are read strictly: exactly what was asked for, or a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videochat_r1.judge.schema import CallFailed, content_of, read_events, read_labels


def reason(read, *given):
    with pytest.raises(CallFailed) as failed:
        read(*given)
    return failed.value.reason


def labels(*pairs):
    return json.dumps({"labels": [{"id": number, "label": label} for number, label in pairs]})


def test_labels_come_in_the_order_of_their_statements():
    assert read_labels(labels((2, "neutral"), (1, "entailment"), (3, "contradiction")), 3) == ("entailment", "neutral", "contradiction")
    assert read_labels(' {"labels": []} ', 0) == ()


@pytest.mark.parametrize(
    "text, count, expected",
    [
        (labels((1, "entailment")), 2, "wrong_count"),
        (labels((1, "entailment"), (2, "neutral"), (3, "neutral")), 2, "wrong_count"),
        (labels((1, "entailment"), (1, "neutral")), 2, "wrong_ids"),
        (labels((0, "entailment"), (1, "neutral")), 2, "wrong_ids"),
        (labels((1, "Entailment")), 1, "unknown_label"),
        (labels((1, " entailment")), 1, "unknown_label"),
        (labels((1.0, "entailment")), 1, "wrong_schema"),
        (labels((True, "entailment")), 1, "wrong_schema"),
        (labels((1, None)), 1, "wrong_schema"),
        (labels((1, ["entailment"])), 1, "wrong_schema"),
        ('{"labels": {"1": "entailment"}}', 1, "wrong_schema"),
        ('[{"id": 1, "label": "entailment"}]', 1, "wrong_schema"),
        ('{"labels": [], "score": 1}', 0, "wrong_schema"),
        ('{"labels": [{"id": 1, "label": "entailment", "why": "x"}]}', 1, "wrong_schema"),
        ('{"labels": [], "labels": []}', 0, "duplicate_key"),
        ('{"labels": [{"id": 1, "id": 1, "label": "neutral"}]}', 1, "duplicate_key"),
        ('{"labels": [{"id": Infinity, "label": "neutral"}]}', 1, "not_finite"),
        ('{"labels": []} {"labels": []}', 0, "not_json"),
        ("10/10", 1, "not_json"),
        ("-5", 1, "wrong_schema"),
        ("1e999", 1, "wrong_schema"),
        ("", 1, "not_json"),
        ("[" * 100_000, 1, "not_json"),
        ("9" * 10_000, 1, "not_json"),
    ],
)
def test_what_is_not_the_form_is_refused_not_mended(text, count, expected):
    assert reason(read_labels, text, count) == expected


@pytest.mark.parametrize(
    "events, expected",
    [
        (["a dog barks"] * 11, "too_many_events"),
        (["x" * 401], "bad_event"),
        (["a\ndog"], "bad_event"),
        (["\ud800 dog"], "bad_event"),
        (["..."], "bad_event"),
        ([""], "bad_event"),
        ([1], "wrong_schema"),
        ({"a": 1}, "wrong_schema"),
        (None, "wrong_schema"),
    ],
)
def test_events_out_of_form(events, expected):
    assert reason(read_events, json.dumps({"events": events})) == expected


def test_events():
    assert read_events('{"events": [" a dog barks ", "\\u00e9t\\u00e9"]}') == ("a dog barks", "été")
    assert read_events('{"events": []}') == ()


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["labels", "events", "id", "label", "x"]), inner)).map(json.dumps))  # fmt: skip
def test_reading_is_total(text):
    for read in (read_events, lambda said: read_labels(said, 2), lambda said: content_of(said.encode("utf-8", "surrogatepass"))):
        try:
            read(text)
        except CallFailed as failed:
            assert failed.reason and not failed.is_transient
