"""Figures of a table: intervals worked by hand, differences seed by seed, and the page that shows them."""

from __future__ import annotations

import math

import pytest

from videochat_r1.ablation.cells import Base, Scenes, Trained
from videochat_r1.ablation.page import draw_curve, headlines, level_interval, markdown
from videochat_r1.ablation.summary import summary, t_interval
from videochat_r1.ablation.table import AblationTable
from videochat_r1.evaluation.evaluate import Answered
from videochat_r1.types import Answer, Reading, Sample

SAMPLES = [
    Sample(
        id=f"s{index}",
        task="temporal_grounding",
        video=f"v{index}.mp4",
        question="it turns",
        truth=Answer(spans=((0.0, 10.0),)),
        duration_s=20.0,
    )
    for index in range(6)
]
TABLE = AblationTable(
    title="A table",
    world={"train": {"temporal_grounding": 6}},  # type: ignore[arg-type]
    cell=(
        {"name": "grpo", "group": "First", "about": "the control", "curve": "GRPO", "switched": True},
        {"name": "less", "group": "Second", "about": "fewer", "against": "grpo", "curve": "GRPO"},
    ),  # type: ignore[arg-type]
)


def answered(length_s, unread=0):
    """Spans from 0 of a length: an IoU of length / 10."""
    found = []
    for index, sample in enumerate(SAMPLES):
        answer = None if index < unread else Answer(spans=((0.0, length_s),))
        found.append(Answered(sample, "", Reading(answer=answer, reason="" if answer else "no_answer", format_ok=bool(answer)), 5, {}))
    return found


@pytest.fixture
def table():
    first, second = TABLE.cell
    trained = [Trained(first, seed, 6, answered(length), answered(length / 2), 10.0, 1.5) for seed, length in enumerate((6.0, 8.0, 7.0))]
    trained += [Trained(second, seed, 3, answered(length, unread=1), None, 5.0, None) for seed, length in enumerate((5.0, 7.0, 6.0))]
    return summary(TABLE, Scenes(SAMPLES, SAMPLES), Base(answered(2.0), answered(1.0)), trained, resamples=50)


def test_students_interval_by_hand():
    # mean 70, std 10, three values: 4.302653 x 10 / sqrt(3) = 24.8414
    assert t_interval([60.0, 80.0, 70.0]) == pytest.approx([70 - 24.8414, 70 + 24.8414], abs=1e-3)
    assert t_interval([1.0]) is None
    assert t_interval([2.0, 2.0]) == [2.0, 2.0]


def test_a_cells_figures_and_both_intervals(table):
    figure = table["cells"]["grpo"]["results"]["temporal_grounding"]["mIoU"]
    assert figure["by_seed"] == pytest.approx([60.0, 80.0, 70.0])
    assert figure["mean"] == pytest.approx(70.0)
    assert figure["ci95_seeds"] == pytest.approx([70 - 24.8414, 70 + 24.8414], abs=1e-3)
    assert figure["ci95_videos"] == pytest.approx([70.0, 70.0])  # every video is answered alike
    assert table["base"]["temporal_grounding"]["mIoU"] == pytest.approx(20.0)
    assert table["baselines"]["temporal_grounding"]["whole_video"]["mIoU"] == pytest.approx(50.0)
    assert table["seeds"] == [0, 1, 2] and table["n"] == 6


def test_a_difference_is_taken_seed_by_seed(table):
    lead = table["cells"]["less"]["results"]["temporal_grounding"]["mIoU"]["against"]
    values = [5 / 6 * 50 - 60, 5 / 6 * 70 - 80, 5 / 6 * 60 - 70]
    assert lead["mean"] == pytest.approx(sum(values) / 3)
    assert lead["ci95"] == pytest.approx(t_interval(values))
    low, high = lead["ci95_videos"]
    assert low <= lead["mean"] <= high < 0
    assert table["cells"]["less"]["results"]["temporal_grounding"]["unparsed"]["mean"] == 1.0
    switched = table["cells"]["grpo"]["switched"]["temporal_grounding"]["mIoU"]
    assert switched["against"]["mean"] == pytest.approx(-35.0)


def test_the_page_shows_base_trivial_control_and_change_in_every_group(table):
    page = markdown(table, figure="curve.png", command="videochat-r1 ablate --out x")
    assert "What these figures cannot say" in page and "7B" in page
    for group in ("## First", "## Second"):
        own = page.split(group)[1].split("\n## ")[0]
        assert "| base | 20.0" in own
        assert "| best trivial answer | 100.0 [100.0, 100.0] (constant) |" in own  # the truth is one share of every video
        assert "| `grpo` | 70.0 [45.2, 94.8] |" in own
    second = page.split("## Second")[1]
    assert "| Δ to `grpo` | **-20.0 [" in second
    assert "![Held-out figures by the number of training samples](curve.png)" in page
    assert "16.7 |" in second, "one in six could not be read"
    assert "thinking switched" not in second
    widths = {line.count("|") for line in page.split("## First")[1].split("\n\n")[1].splitlines()}
    assert len(widths) == 1


def test_a_levels_interval_ends_where_the_metric_does_and_a_differences_does_not(table):
    figures = table["cells"]["grpo"]["results"]["temporal_grounding"]
    figures["mIoU"] |= {"mean": 90.0, "by_seed": [80.0, 90.0, 100.0], "ci95_seeds": [65.2, 114.8]}
    table["cells"]["less"]["results"]["temporal_grounding"]["mIoU"]["against"] |= {"mean": -90.0, "ci95": [-130.0, -50.0]}
    page = markdown(table)
    assert "| `grpo` | 90.0 [65.2, 100.0] |" in page and "cut off at 0 and 100" in page
    assert "-90.0 [-130.0, -50.0]" in page
    assert level_interval({"by_seed": [5.0, 0.0], "ci95_seeds": [-29.3, 34.3]}) == (0.0, 34.3)
    assert level_interval({"by_seed": [-20.0, 130.0], "ci95_seeds": [-900.0, 900.0]}) == (-20.0, 130.0), "a user's own metric"
    assert level_interval({"by_seed": [5.0], "ci95_seeds": None}) is None


def test_general_abilities_are_columns(table):
    both = {
        **table,
        "base": {**table["base"], "description": {"event_recall": 80.0, "event_recall_ci95": [70.0, 90.0], "n": 5, "unparsed": 0}},
    }
    assert headlines(both) == [("temporal_grounding", "mIoU"), ("description", "event_recall")]
    assert "80.0 [70.0, 90.0]" in markdown(both)


def test_the_curve_is_drawn_where_there_are_two_points(table, tmp_path):
    assert draw_curve(tmp_path / "curve.png", table)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    one = {**table, "cells": {"grpo": table["cells"]["grpo"]}}
    assert not draw_curve(tmp_path / "none.png", one)
    assert not (tmp_path / "none.png").exists()


def test_one_seed_has_no_interval_over_seeds():
    trained = [Trained(TABLE.cell[0], 0, 6, answered(6.0), None, 10.0, 1.5)]
    table = summary(TABLE, Scenes(SAMPLES, SAMPLES), Base(answered(2.0), None), trained, resamples=10)
    assert table["cells"]["grpo"]["results"]["temporal_grounding"]["mIoU"]["ci95_seeds"] is None
    page = markdown(table)
    assert "mean over 1 seed (0)" in page and "| `grpo` | 60.0 |" in page
    assert not math.isnan(table["cells"]["grpo"]["results"]["temporal_grounding"]["mIoU"]["mean"])
