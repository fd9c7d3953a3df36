"""Figures of parts of a data set, and the mean over its sub-tasks."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.test_figures import NOTHING, counting

from videochat_r1.evaluation.figures import figures
from videochat_r1.evaluation.groups import groups_of
from videochat_r1.types import Answer, Sample


def sample(number: int, video: str, groups: object, **shares: tuple[float, float]) -> Sample:
    return Sample(id=str(number), task="t", video=video, question="", truth=Answer(), meta={"groups": groups, **shares})


def of(samples: list[Sample], *metrics: str, **fields: int) -> dict[str, object]:
    return figures(counting(*metrics), samples, [NOTHING] * len(samples), **fields)


def test_each_group_has_the_figures_of_its_own_samples():
    samples = [
        sample(0, "a", {"duration": "short", "domain": "Law"}, accuracy=(1.0, 1.0)),
        sample(1, "a", {"duration": "short", "domain": "Food"}, accuracy=(0.0, 1.0)),
        sample(2, "b", {"duration": "long", "domain": "Law"}, accuracy=(1.0, 1.0)),
    ]
    found = of(samples, "accuracy", resamples=0)
    assert found == {
        "accuracy": pytest.approx(200 / 3),
        "accuracy/short": 50.0,
        "accuracy/long": 100.0,
        "accuracy/Law": 100.0,
        "accuracy/Food": 0.0,
        "n": 3,
        "unparsed": 3,
    }


def test_a_groups_interval_is_that_of_its_videos_alone():
    random = np.random.default_rng(0)
    samples = [sample(n, f"v{n // 2}", {"duration": "short"}, x=(float(random.random() < 0.5), 1.0)) for n in range(60)]
    others = [sample(100 + n, f"w{n}", {"duration": "long"}, x=(1.0, 1.0)) for n in range(40)]
    alone, together = of(samples, "x"), of(samples + others, "x")
    assert together["x/short"] == alone["x"] and together["x/long"] == 100.0
    assert together["x/short_ci95"] == pytest.approx(alone["x_ci95"], abs=4.0)  # fewer or more of them in each resample of all
    assert together["x/long_ci95"] == [100.0, 100.0]


def test_the_mean_over_sub_tasks_weighs_each_alike():
    samples = [sample(n, f"v{n}", {"task": "count"}, accuracy=(1.0, 1.0)) for n in range(9)]
    samples.append(sample(9, "w", {"task": "order"}, accuracy=(0.0, 1.0)))
    found = of(samples, "accuracy", resamples=200)
    assert (found["accuracy"], found["accuracy_macro"]) == (90.0, 50.0)
    low, high = found["accuracy_macro_ci95"]
    assert low >= 50.0 - 1e-9 and high == 100.0  # a resample without the one video of "order" is the mean of what it has
    assert "accuracy_macro" not in of(samples[:9], "accuracy", resamples=0)  # of one sub-task there is no mean


def test_what_rests_on_one_video_has_no_interval():
    samples = [sample(0, "a", {"task": "order"}, x=(1.0, 1.0)), sample(1, "a", {"task": "count"}, x=(0.0, 1.0))]
    assert of(samples, "x") == {"x": 50.0, "x/order": 100.0, "x/count": 0.0, "x_macro": 50.0, "n": 2, "unparsed": 2}
    several = of([*samples, sample(2, "b", {"task": "count"}, x=(0.0, 1.0))], "x")
    assert {name for name in several if name.endswith("_ci95")} == {"x_ci95", "x/count_ci95", "x_macro_ci95"}


def test_a_sample_may_belong_to_several_groups_of_a_family():
    samples = [sample(0, "a", {"type": ["recall", "reasoning"]}, x=(1.0, 1.0)), sample(1, "b", {"type": "recall"}, x=(0.0, 1.0))]
    found = of(samples, "x", resamples=0)
    assert (found["x/recall"], found["x/reasoning"]) == (50.0, 100.0)


def test_equal_names_of_two_families_are_told_apart():
    samples = [sample(0, "a", {"domain": "Law", "type": "Law"}, x=(1.0, 1.0)), sample(1, "b", {"domain": "Law"}, x=(0.0, 1.0))]
    found = of(samples, "x", resamples=0)
    assert (found["x/domain:Law"], found["x/type:Law"]) == (50.0, 100.0)


@pytest.mark.parametrize("groups", [None, "short", 3, ["short"], {"duration": 3}, {"duration": [None, ""]}, {3: "short"}])
def test_what_is_no_group_says_nothing(groups):
    one = sample(0, "a", groups, x=(1.0, 1.0))
    assert groups_of(one) == () and of([one], "x", resamples=0) == {"x": 100.0, "n": 1, "unparsed": 1}
