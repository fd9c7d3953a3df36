"""Average precision of several moments: cases worked by hand, and the definition written out plainly."""

from __future__ import annotations

import numpy as np
import pytest

from videochat_r1.rewards.intervals import tiou
from videochat_r1.rewards.retrieval import BOUNDS, MOST_MOMENTS, average_precisions, within_lengths


def at(bound, predicted, truth):
    return average_precisions(predicted, truth)[BOUNDS.index(bound)]


TWO = [(0.0, 10.0), (20.0, 30.0)]


@pytest.mark.parametrize(
    "predicted, expected",
    [
        ([(0, 10), (20, 30)], 1.0),
        ([(20, 30), (0, 10)], 1.0),
        ([(0, 10)], 0.5),  # precision 1 up to recall 1/2
        ([(50, 60), (0, 10)], 0.25),  # precision 1/2 up to recall 1/2
        ([(0, 10), (50, 60), (20, 30)], 0.5 + 0.5 * 2 / 3),
        ([(0, 10), (0, 10), (20, 30)], 0.5 + 0.5 * 2 / 3),  # the second on the same moment is wrong
        ([(50, 60), (0, 10), (20, 30)], 2 / 3),  # 1/2 at recall 1/2 is raised to the 2/3 at recall 1
        ([], 0.0),
        ([(10, 0), (5, 5)], 0.0),  # reversed and empty
    ],
)
def test_average_precision_by_hand(predicted, expected):
    assert at(0.5, predicted, TWO) == pytest.approx(expected)


def test_a_moment_is_found_from_its_bound_on():
    assert at(0.5, [(0, 5)], [(0, 10)]) == 1.0 and at(0.55, [(0, 5)], [(0, 10)]) == 0.0
    assert at(0.75, [(0, 7.5)], [(0, 10)]) == 1.0 and at(0.95, [(0, 9.5)], [(0, 10)]) == 1.0


def test_a_moment_takes_the_nearest_that_is_left():
    truth = [(0, 10), (2, 12)]
    assert at(0.5, [(1, 11), (0, 10)], truth) == 1.0  # 9/11 with both; one each
    assert at(0.5, [(0, 10), (0, 10)], truth) == 1.0  # 1 with the first, then 8/12 with the other
    assert at(0.75, [(0, 10), (0, 10)], truth) == 0.5


def plainly(predicted, truth, bound):
    """Precision and recall after each moment, interpolated: the greatest precision at that recall or a higher one, summed over recall."""
    left, hits = list(range(len(truth))), []
    for span in predicted:
        near = sorted(left, key=lambda place: (-tiou(span, truth[place]), -place))
        hit = bool(near) and tiou(span, truth[near[0]]) >= bound
        hits.append(hit)
        if hit:
            left.remove(near[0])
    recall = np.cumsum(hits) / len(truth)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    steps = np.diff(np.concatenate(([0.0], recall)))
    return sum(step * precision[index:].max() for index, step in enumerate(steps) if step)


def test_it_is_the_definition_on_random_moments():
    random = np.random.default_rng(5)

    def moments(count):
        return [tuple(sorted(map(float, random.choice(31, 2, replace=False)))) for _ in range(count)]

    for _ in range(300):
        predicted, truth = moments(random.integers(1, 8)), moments(random.integers(1, 6))
        found = average_precisions(predicted, truth)
        assert found == pytest.approx([plainly(predicted, truth, bound) for bound in BOUNDS])


def test_the_truth_in_any_order_scores_full_marks_and_only_the_first_ten_count():
    many = [(20.0 * n, 20.0 * n + 10) for n in range(12)]
    assert average_precisions(many[:10][::-1], many[:10]) == [1.0] * 10
    assert at(0.5, many, many) == pytest.approx(MOST_MOMENTS / 12)


def test_a_truth_at_fault_raises():
    for truth in ([], [(5, 5)], [(5, 2)]):
        with pytest.raises(ValueError):
            average_precisions([(0, 1)], truth)


def test_moments_by_length():
    assert within_lengths([(0, 10), (0, 11), (0, 30), (0, 31)], 10, 30) == ((0, 11), (0, 30))
