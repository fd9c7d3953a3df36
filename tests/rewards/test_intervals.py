"""Spans: their IoU by hand, and what is read as one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videochat_r1.rewards.intervals import (
    check_spans,
    iop,
    is_asked_list,
    is_asked_span,
    merged,
    read_span,
    read_spans,
    tiou,
    union_iou,
    union_ious,
    write_span,
    write_spans,
)

SECONDS = st.floats(0, 1000, allow_nan=False)
SPANS = st.tuples(SECONDS, SECONDS).map(sorted).filter(lambda pair: pair[1] - pair[0] > 1e-3).map(tuple)


@pytest.mark.parametrize(
    "predicted, expected",
    [((10, 20), 1.0), ((15, 25), 5 / 15), ((30, 40), 0.0), ((20, 10), 0.0), ((20, 30), 0.0), ((12, 12), 0.0), ((0, 1000), 0.01)],
    ids=["the same ten seconds", "5 s shared, 15 s covered", "apart", "reversed", "touching", "empty", "a hundred times as long"],
)
def test_tiou_against_ten_true_seconds(predicted, expected):
    assert tiou(predicted, truth=(10, 20)) == pytest.approx(expected)


@pytest.mark.parametrize("truth", [(20, 10), (10, 10), (-1, 5), (math.nan, 5), (0, math.inf), (0, 1e9)])
def test_a_truth_at_fault_raises(truth):
    for measure in (tiou, iop):
        with pytest.raises(ValueError, match="truth"):
            measure((0.0, 5.0), truth)
    with pytest.raises(ValueError, match="truth"):
        union_iou([(0.0, 5.0)], [(1.0, 2.0), truth])


@pytest.mark.parametrize("nothing", [None, ()])
def test_a_truth_without_spans_raises(nothing):
    with pytest.raises(ValueError, match="no spans"):
        check_spans(nothing)


@pytest.mark.parametrize("predicted, expected", [((12, 14), 1.0), ((5, 15), 0.5), ((0, 40), 0.25), ((20, 10), 0.0), ((12, 12), 0.0)])
def test_iop_is_the_share_of_the_prediction(predicted, expected):
    assert iop(predicted, truth=(10, 20)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "predicted, truth, expected",
    [
        ([(0, 3), (2, 4), (22, 25)], [(1, 5), (2, 4)], 3 / 8),  # 4 + 3 s against 4 s, 3 s of them shared
        ([(0, 5), (5, 10)], [(0, 10)], 1.0),
        ([(0, 10), (0, 10), (2, 3)], [(0, 10)], 1.0),
        ([(0, 10), (90, 80)], [(0, 10)], 1.0),
        ([], [(0, 10)], 0.0),
        ([(10, 20)], [(0, 10)], 0.0),
        ([(0, 100)], [(0, 10), (20, 30), (40, 50)], 0.3),
    ],
    ids=["worked by hand", "in two parts", "overlaps count once", "one reversed", "no spans", "apart", "a span over three"],
)
def test_union_iou_of_sets(predicted, truth, expected):
    assert union_iou(predicted, truth) == pytest.approx(expected)


@given(st.lists(SPANS, max_size=6), st.lists(SPANS, min_size=1, max_size=6))
def test_union_iou_equals_counting_the_pieces_between_all_ends(predicted, truth):
    ends = sorted({second for span in predicted + truth for second in span})
    shared = either = 0.0
    for start, end in zip(ends, ends[1:], strict=False):
        middle = (start + end) / 2
        in_predicted, in_truth = (any(s < middle < e for s, e in spans) for spans in (predicted, truth))
        shared += (end - start) * (in_predicted and in_truth)
        either += (end - start) * (in_predicted or in_truth)
    assert union_iou(predicted, truth) == pytest.approx(shared / either, abs=1e-9)


@given(SPANS, SPANS)
def test_one_span_each_has_the_same_iou_by_all_three(predicted, truth):
    expected = pytest.approx(tiou(predicted, truth), abs=1e-9)
    assert union_iou([predicted], [truth]) == expected
    assert union_ious([predicted, truth], [truth]) == [expected, pytest.approx(1.0)]


@given(st.lists(SPANS, max_size=8))
def test_merged_spans_are_disjoint_and_in_order(spans):
    disjoint = merged(spans)
    assert all(a[1] < b[0] for a, b in zip(disjoint, disjoint[1:], strict=False))
    assert all(any(s <= span[0] and span[1] <= e for s, e in disjoint) for span in spans)


@pytest.mark.parametrize(
    "text, expected",
    {
        "12.54 to 17.83": (12.54, 17.83),
        " 12.54 to 17.83 \n": (12.54, 17.83),
        "From 12.5 to 20 seconds.": (12.5, 20.0),
        "between 3 and 5": (3.0, 5.0),
        "2.0-10.7": (2.0, 10.7),
        "2.0s to 10.7s": (2.0, 10.7),
        "2.0 s – 10.7 s": (2.0, 10.7),
        "3 seconds until 4.5 seconds": (3.0, 4.5),
        "0:12 to 0:17": (12.0, 17.0),
        "00:12 to 01:02.5": (12.0, 62.5),
        "1:00:00 to 1:00:01": (3600.0, 3601.0),
        "20 to 10": (20.0, 10.0),
        "0 to 999999999": (0.0, 999999999.0),
        "0.12345678901234567 to 1.0": (0.12345678901234567, 1.0),
        "": "no_span",
        "nan to inf": "no_span",
        "12.5": "no_span",
        "12.5, 17.8": "no_span",
        "12.5 17.8": "no_span",
        "5 to -3": "no_span",
        "5% to 9": "bad_unit",
        "10 to 20 to 30": "several_spans",
        "10 to 20 or 30 to 40": "several_spans",
        "-5 to 5": "bad_number",
        "\u22125 to 5": "bad_number",
        "1e5 to 1e6": "several_spans",
        "1 to 1e999": "several_spans",
        "x1 to 5": "bad_number",
        "1 to 5x": "bad_number",
        "1,234.5 to 1,300.0": "bad_number",
        "1000000000 to 2000000000": "bad_number",
        "0.123456789012345678 to 1.0": "bad_number",
        "1.2.3 to 4": "bad_number",
        "0:75 to 0:80": "bad_number",
        "5 to 9 minutes": "bad_unit",
        "5 to 9%": "bad_unit",
        "frames 5 to 9": "bad_unit",
        "\u0661\u0662 to \u0661\u0667": "digits",
        "1\u00b2 to 5": "digits",
        "1" * 1001: "too_long",
    }.items(),
)
def test_read_span(text, expected):
    assert read_span(text) == expected


@pytest.mark.parametrize(
    "text, asked",
    [("12.54 to 17.83", True), (" 1 to 2\n", True)]
    + [(text, False) for text in ("2 to 1", "1 to 1", "1s to 2s", "1-2", "0:01 to 0:02", "from 1 to 2")],
)
def test_what_has_the_form_that_is_asked_for(text, asked):
    assert is_asked_span(text) is asked


@pytest.mark.parametrize(
    "text, spans, asked",
    [
        ("[(5.2, 10.4)]", ((5.2, 10.4),), True),
        ("[(5.2,10.4),\n (20, 31)]", ((5.2, 10.4), (20.0, 31.0)), True),
        ("[(5.2, 10.4),]", ((5.2, 10.4),), True),
        (" [ (5.2 , 10.4) ] ", ((5.2, 10.4),), True),
        ("[]", (), False),
        ("[[5, 10]]", ((5.0, 10.0),), False),
        ("(5, 10), (11, 12)", ((5.0, 10.0), (11.0, 12.0)), False),
        ("[(10, 5)]", ((10.0, 5.0),), False),
        ("", None, False),
        ("[,]", None, False),
        ("[(5, 10]", None, False),
        ("[(5, 10]]", None, False),
        ("[[5, 10)]", None, False),
        ("[(5, 10)", None, False),
        ("[(5, 10)(11, 12)]", None, False),
        ("[(1 2, 3)]", None, False),
        ("[(5., 10)]", None, False),
        ("[(-1, 10)]", None, False),
        ("[(1e9, 2)]", None, False),
        ("[(nan, inf)]", None, False),
        ("[(1, 2, 3)]", None, False),
        ("[((1, 2))]", None, False),
        ("5.2 to 10.4", None, False),
        ("[(\u0661, \u0662)]", None, False),
    ],
)
def test_read_spans(text, spans, asked):
    assert read_spans(text) == spans
    assert is_asked_list(text) is asked


@given(SPANS)
def test_a_written_span_is_read_back_exactly(span):
    exactly = pytest.approx(span, rel=0, abs=1e-17)
    assert read_span(write_span(span)) == exactly
    assert is_asked_span(write_span(span))
    assert read_spans(write_spans([span, span])) == (exactly, exactly)
    assert is_asked_list(write_spans([span]))


def test_two_decimals_are_written_unless_more_are_needed():
    assert write_span((12.5, 17.834)) == "12.50 to 17.834"
    assert write_spans([(5.2, 10.4), (20, 31.123)]) == "[(5.2, 10.4), (20.0, 31.123)]"
