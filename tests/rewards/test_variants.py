"""The alternatives to IoU, against numbers worked by hand and against what must hold of each."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from videochat_r1.rewards.boxes import box_giou, box_iou
from videochat_r1.rewards.intervals import merged, span_closeness, timestamp_tiou, tiou, wasserstein_s

seconds = st.integers(0, 400).map(lambda tenths: tenths / 10)
spans = st.tuples(seconds, st.integers(1, 100)).map(lambda pair: (pair[0], pair[0] + pair[1] / 10))
span_sets = st.lists(spans, min_size=1, max_size=5)
sides = st.integers(0, 19).map(lambda twentieths: twentieths / 20)
boxes = st.tuples(sides, sides, st.integers(1, 20), st.integers(1, 20)).map(
    lambda of: (of[0], of[1], min(1.0, of[0] + of[2] / 20), min(1.0, of[1] + of[3] / 20))
)


@pytest.mark.parametrize(
    "predicted, expected",
    [
        ((10, 20), 1.0),
        ((15, 25), (5 / 15) * (1 - 5 / 40) * (1 - 5 / 40)),
        ((10, 40), (10 / 30) * 1.0 * (1 - 20 / 40)),
        ((30, 40), 0.0),
        ((20, 10), 0.0),
        ((12, 70), 0.0),  # its end is 50 s off in a video of 40 s: the factor is held at 0
    ],
    ids=["the same", "5 s late", "20 s too long", "apart", "reversed", "an end further off than the video is long"],
)
def test_timestamp_tiou_in_a_video_of_forty_seconds(predicted, expected):
    assert timestamp_tiou(predicted, (10, 20), 40) == pytest.approx(expected)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.nan, math.inf])
def test_timestamp_tiou_needs_a_duration(duration_s):
    with pytest.raises(ValueError, match="duration"):
        timestamp_tiou((1, 2), (1, 2), duration_s)


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ([(0, 10)], [(0, 10)], 0.0),
        ([(0, 10)], [(5, 15)], 5.0),  # every second goes 5 s
        ([(0, 10)], [(30, 40)], 30.0),
        ([(0, 10)], [(0, 20)], 5.0),  # the second at x goes to 2 x: x on average
        ([(0, 1), (9, 10)], [(0, 1), (9, 10)], 0.0),
        ([(0, 2)], [(0, 1), (9, 10)], 4.0),  # one half stays, the other goes 8 s
        ([(4, 6)], [(0, 10)], 2.0),  # by 4 t / 5 from the middle outwards, t up to 5, both ways
        ([(0, 1), (0, 1)], [(0, 1)], 0.0),  # seconds named twice count once
    ],
)
def test_wasserstein_by_hand(first, second, expected):
    assert wasserstein_s(first, second) == pytest.approx(expected)


@given(first=span_sets, second=span_sets)
def test_wasserstein_is_that_of_scipy_on_a_fine_grid(first, second):
    step = 0.02
    points = [
        np.concatenate([np.arange(start + step / 2, end, step) for start, end in merged(given_spans)]) for given_spans in (first, second)
    ]
    assert wasserstein_s(first, second) == pytest.approx(wasserstein_distance(*points), abs=0.02)


@given(first=span_sets, second=span_sets, third=span_sets, shift=seconds)
def test_wasserstein_is_a_distance(first, second, third, shift):
    assert wasserstein_s(first, second) == pytest.approx(wasserstein_s(second, first), abs=1e-9)
    assert wasserstein_s(first, third) <= wasserstein_s(first, second) + wasserstein_s(second, third) + 1e-9
    assert wasserstein_s(first, [(start + shift, end + shift) for start, end in first]) == pytest.approx(shift, abs=1e-6)


def test_closeness_by_hand():
    assert span_closeness([(0, 10)], [(5, 15)]) == pytest.approx(math.exp(-5 / 15))
    assert span_closeness([(0, 10)], [(30, 40)], rate=3.0) == pytest.approx(math.exp(-3 * 30 / 20))
    assert span_closeness([(5, 1)], [(0, 10)]) == span_closeness([], [(0, 10)]) == 0.0
    with pytest.raises(ValueError):
        span_closeness([(0, 1)], [(2, 1)])


def test_closeness_tells_a_near_miss_from_a_far_one_where_iou_does_not():
    near, far, truth = (21.0, 25.0), (60.0, 64.0), (10.0, 20.0)
    assert tiou(near, truth) == tiou(far, truth) == 0.0
    assert span_closeness([near], [truth]) > 4 * span_closeness([far], [truth]) > 0.0


@given(first=span_sets, second=span_sets)
def test_closeness_is_bounded_and_symmetric_and_the_truth_earns_most(first, second):
    assert 0.0 < span_closeness(first, second) <= 1.0 == span_closeness(second, second)
    assert span_closeness(first, second) == pytest.approx(span_closeness(second, first), abs=1e-9)


@given(predicted=spans, truth=spans)
def test_timestamp_tiou_never_earns_more_than_iou(predicted, truth):
    assert 0.0 <= timestamp_tiou(predicted, truth, 50.0) <= tiou(predicted, truth)
    assert timestamp_tiou(truth, truth, 50.0) == 1.0
    assert timestamp_tiou(predicted, truth, 50.0) == pytest.approx(timestamp_tiou(truth, predicted, 50.0))


@given(low=st.floats(-1e9, 1e9), high=st.floats(-1e9, 1e9), truth=spans)
def test_any_span_that_can_be_read_earns_a_number_from_0_to_1(low, high, truth):
    assert 0.0 <= timestamp_tiou((low, high), truth, 50.0) <= 1.0
    assert 0.0 <= span_closeness([(low, high)], [truth]) <= 1.0


@pytest.mark.parametrize(
    "predicted, expected",
    [
        ((0.0, 0.0, 0.5, 0.5), 1.0),
        ((0.5, 0.0, 1.0, 0.5), 0.5),  # side by side: no overlap, and nothing between
        ((0.5, 0.5, 1.0, 1.0), (1 - 0.5) / 2),  # corner to corner: half of the box around both is empty
        ((0.0, 0.0, 1.0, 0.5), (1 + 0.5) / 2),  # twice as wide: IoU 0.5
        ((0.25, 0.25, 0.75, 0.75), (1 + 0.0625 / 0.4375 - (0.5625 - 0.4375) / 0.5625) / 2),
        ((0.5, 0.5, 0.0, 0.0), 0.0),
        ((0.2, 0.2, 0.2, 0.4), 0.0),
    ],
    ids=["the same", "touching", "corner to corner", "twice as wide", "half shifted", "reversed", "no area"],
)
def test_giou_against_a_quarter_of_the_picture(predicted, expected):
    assert box_giou(predicted, (0.0, 0.0, 0.5, 0.5)) == pytest.approx(expected)


@given(first=boxes, second=boxes)
def test_giou_is_bounded_and_symmetric_and_the_truth_earns_most(first, second):
    assert 0.0 <= box_giou(first, second) <= 1.0 == box_giou(second, second)
    assert box_giou(first, second) == pytest.approx(box_giou(second, first))
    assert 2 * box_giou(first, second) - 1 <= box_iou(first, second) + 1e-12
