"""Boxes: their IoU by hand, and what is read as a list of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videochat_r1.rewards.boxes import box_iou, box_ious, check_boxes, is_asked_boxes, read_boxes, write_boxes

SIDES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda pair: pair[1] - pair[0] > 1e-6)
BOXES = st.tuples(SIDES, SIDES).map(lambda sides: (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
TRUTH = (0.2, 0.2, 0.6, 0.4)


@pytest.mark.parametrize(
    "predicted, expected",
    [
        (TRUTH, 1.0),
        ((0.4, 0.2, 0.8, 0.4), 1 / 3),
        ((0.2, 0.2, 0.4, 0.3), 0.25),
        ((0.0, 0.0, 1.0, 1.0), 0.08),
        ((0.6, 0.2, 0.8, 0.4), 0.0),
        ((0.6, 0.4, 0.2, 0.2), 0.0),
        ((0.6, 0.2, 0.2, 0.4), 0.0),
        ((0.3, 0.3, 0.3, 0.3), 0.0),
    ],
    ids=["the same", "half shared", "a quarter of it", "the whole picture", "touching", "both reversed", "x reversed", "empty"],
)
def test_box_iou(predicted, expected):
    assert box_iou(predicted, TRUTH) == pytest.approx(expected)


@pytest.mark.parametrize(
    "truth", [(0.2, 0.2, 0.2, 0.4), (0.6, 0.2, 0.2, 0.4), (0, 0, 1.1, 1), (-0.1, 0, 1, 1), (math.nan, 0, 1, 1), (0, 0, 640, 480)]
)
def test_a_truth_at_fault_raises(truth):
    with pytest.raises(ValueError, match="truth"):
        box_iou(TRUTH, truth)
    with pytest.raises(ValueError, match="truth"):
        check_boxes([TRUTH, truth])


@pytest.mark.parametrize("truth", [None, (), (TRUTH,)])
def test_a_truth_without_a_second_box_raises(truth):
    with pytest.raises(ValueError, match="one more"):
        check_boxes(truth)


@given(BOXES, BOXES)
def test_box_iou_is_symmetric_and_within_bounds(a, b):
    assert box_iou(a, b) == pytest.approx(box_iou(b, a), abs=1e-12)
    assert 0.0 <= box_iou(a, b) <= 1.0
    assert box_iou(a, a) == 1.0


def test_another_number_of_boxes_scores_nothing():
    assert box_ious([TRUTH], [TRUTH, TRUTH]) == [0.0, 0.0]
    assert box_ious(None, [TRUTH, TRUTH]) == [0.0, 0.0]
    assert box_ious([TRUTH, (0, 0, 1, 1)], [TRUTH, TRUTH]) == [1.0, pytest.approx(0.08)]


TWO = "[[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]"


@pytest.mark.parametrize(
    "text, expected, asked",
    [
        (TWO, ((0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)), True),
        (f"\n {TWO.replace(', ', ',')} \n", ((0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)), True),
        ("[(0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)]", ((0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)), False),
        ("[[0, 0, 1, 1], [0.3, 0.4, 0.1, 0.2]]", ((0.0, 0.0, 1.0, 1.0), (0.3, 0.4, 0.1, 0.2)), False),
        ("[[0.1, 0.2, 0.3, 0.4]]", "count", False),
        (f"[{TWO[1:-1]}, [0, 0, 1, 1]]", "count", False),
        ("[[10, 20, 30, 40], [50, 60, 70, 80]]", "out_of_range", False),
        ("[[0.1, 0.2, 0.3, 1.001], [0.5, 0.6, 0.7, 0.8]]", "out_of_range", False),
        ("[[-0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]", "out_of_range", False),
        (TWO[1:-1], "bad_list", False),
        (TWO[:-1], "bad_list", False),
        (f"[{TWO}]", "bad_list", False),
        ("[[0.1, 0.2, 0.3], [0.5, 0.6, 0.7, 0.8]]", "bad_list", False),
        ("[[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.6, 0.7, 0.8]]", "bad_list", False),
        ("[[0.1, 0.2, 0.3, 0. 4], [0.5, 0.6, 0.7, 0.8]]", "bad_list", False),
        ("[[0.1, 0.2, 0.3, 0.4) , [0.5, 0.6, 0.7, 0.8]]", "bad_list", False),
        ("[['a', 'b', 'c', 'd'], [0.5, 0.6, 0.7, 0.8]]", "bad_list", False),
        ("[[1e999, nan, inf, 0], [0.5, 0.6, 0.7, 0.8]]", "bad_list", False),
        ("[]", "bad_list", False),
        ("[,]", "bad_list", False),
        ("", "bad_list", False),
        (f"The boxes are {TWO}", "bad_list", False),
        (" " * 10_000, "too_long", False),
    ],
)
def test_read_two_boxes(text, expected, asked):
    assert read_boxes(text, 2) == expected
    assert is_asked_boxes(text, 2) is asked


@given(st.lists(BOXES, min_size=2, max_size=20))
def test_written_boxes_are_read_back(boxes):
    found = read_boxes(write_boxes(boxes), len(boxes))
    assert [pytest.approx(box, rel=0, abs=1e-17) for box in boxes] == list(found)
    assert is_asked_boxes(write_boxes(boxes), len(boxes))


def test_boxes_are_written_as_python_writes_lists():
    boxes = [[0.49, 0.585, 0.677, 0.867], [0.0, 0.1, 1.0, 0.25]]
    assert write_boxes(boxes) == str(boxes)
