"""Published figures: in one home, named as our own are, each with where it was printed."""

from __future__ import annotations

from videochat_r1.evaluation.published import PUBLISHED, published


def test_every_row_is_a_percentage_with_a_source_and_stands_once():
    assert all(0.0 <= one.value <= 100.0 and one.source and one.system for one in PUBLISHED)
    keys = [(one.system, one.dataset, one.metric, one.source) for one in PUBLISHED]
    assert len(keys) == len(set(keys))


def test_figures_come_by_data_set_and_metric():
    found = published("charades_sta", ["mIoU", "R@0.5", "n"])
    by_system = {(one.system, one.metric): one.value for one in found if one.source.startswith("VideoChat-R1, ")}
    assert by_system["VideoChat-R1_7B", "mIoU"] == 60.8 and by_system["Qwen2.5-VL-7B", "R@0.5"] == 24.2
    assert {one.metric for one in found} == {"mIoU", "R@0.5"}
    base = {one.value for one in found if one.system == "Qwen2.5-VL-7B" and one.metric == "mIoU"}
    assert base == {29.0, 52.9}, "the same model, by two harnesses"
    assert published("jsonl", ["mIoU"]) == []
