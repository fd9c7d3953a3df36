"""What a difference between two policies is worth: intervals and p that are right where they can be known."""

from __future__ import annotations

import json
from itertools import product
from math import comb

import numpy as np
import pytest
from tests.command_line import ran

from videochat_r1.errors import DataError
from videochat_r1.evaluation.compare import READABLE, ScoredSample, compare, mcnemar, read_scores


def scores(values, *, per_video=1, metric="accuracy", task="video_qa"):
    """A sample for each value; the first `per_video` about one video, and so on."""
    return {
        f"s{index}": ScoredSample(
            f"s{index}", task, f"v{index // per_video}", f"h{index}", {metric: (float(value), 1.0), READABLE: (1.0, 1.0)}
        )
        for index, value in enumerate(values)
    }


def one(a, b, **how):
    [found] = compare(a, b, **how).values()
    return found["metrics"]["accuracy"]


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (5, 0), (7, 3), (40, 41), (300, 200)])
def test_mcnemar_is_the_exact_binomial(only_a, only_b):
    trials, fewer = only_a + only_b, min(only_a, only_b)
    exact = min(1.0, 2 * sum(comb(trials, k) for k in range(fewer + 1)) / 2**trials)
    assert mcnemar(only_a, only_b) == pytest.approx(exact)


def test_a_figure_made_of_others_is_made_anew_of_every_permutation():
    """The F1 of mean recall and mean precision, of five captions: all 32 ways to change sides by hand."""
    recalls, precisions = ([1.0, 0.5, 0.8, 0.2, 0.6], [0.4, 0.5, 0.3, 0.2, 0.1]), ([0.9, 0.7, 0.4, 0.5, 0.5], [0.2, 0.9, 0.1, 0.3, 0.4])

    def captions(side):
        return {
            f"s{k}": ScoredSample(
                f"s{k}",
                "captioning",
                f"v{k}",
                f"h{k}",
                {"event_recall": (recalls[side][k], 1.0), "event_precision": (precisions[side][k], 1.0)},
            )
            for k in range(5)
        }

    def f1(chosen):
        recall, precision = (np.mean([part[side][k] for k, side in enumerate(chosen)]) for part in (recalls, precisions))
        return 200 * recall * precision / (recall + precision)

    def difference(chosen):
        return f1(chosen) - f1([1 - side for side in chosen])

    observed = difference([0] * 5)
    extreme = [abs(difference(chosen)) >= abs(observed) - 1e-9 for chosen in product((0, 1), repeat=5)]
    [found] = compare(captions(0), captions(1), resamples=200).values()
    got = found["metrics"]["event_F1"]
    assert got["a"] == pytest.approx(f1([0] * 5)) and got["difference"] == pytest.approx(observed)
    assert got["p"] == pytest.approx(np.mean(extreme)) and got["difference_ci95"][0] < got["difference"] < got["difference_ci95"][1]
    assert "p_mcnemar" not in got


def test_few_videos_are_permuted_exactly():
    found = one(scores([1, 1, 1, 1, 1]), scores([0, 0, 0, 0, 0]), resamples=0)
    assert found["difference"] == 100.0 and found["p"] == pytest.approx(2 / 2**5) and found["p_mcnemar"] == pytest.approx(2 / 2**5)
    assert (found["only_a"], found["only_b"]) == (5, 0)


def test_questions_about_one_video_count_as_one():
    """Twelve questions that all changed for the better, but of two videos alone: McNemar is sure, the videos are not."""
    a, b = scores([1] * 12, per_video=6), scores([0] * 12, per_video=6)
    found = one(a, b)
    assert found["p"] == pytest.approx(0.5) and found["p_mcnemar"] < 0.001


def test_p_is_uniform_where_nothing_differs_and_small_where_something_does():
    random = np.random.default_rng(0)
    found = []
    for _ in range(40):
        a, b = random.random((2, 60)) < 0.5
        found.append(one(scores(a), scores(b), resamples=0)["p"])
    assert 0.3 < np.mean(found) < 0.7 and np.mean(np.array(found) < 0.1) < 0.3
    better = one(scores(random.random(200) < 0.8), scores(random.random(200) < 0.5))
    assert better["p"] < 0.001 and better["difference_ci95"][0] > 0


def test_a_difference_over_one_video_has_no_interval_and_says_nothing():
    found = one(scores([1, 1, 0], per_video=3), scores([0, 1, 0], per_video=3))
    assert found["difference"] == pytest.approx(100 / 3) and found["p"] == 1.0 and "difference_ci95" not in found
    assert "difference_ci95" in one(scores([1, 1, 0], per_video=2), scores([0, 1, 0], per_video=2))


def test_the_interval_of_a_paired_difference_is_narrower_than_of_two_apart():
    base = np.random.default_rng(1).random(100)
    found = one(scores(np.minimum(base + 0.02, 1)), scores(base))
    low, high = found["difference_ci95"]
    assert 0 < low < found["difference"] < high < 2.5 and "p_mcnemar" not in found


def test_different_samples_are_named_and_compared_in_common_where_asked_for():
    a, b = scores([1, 0, 1]), scores([1, 1, 1, 1])
    with pytest.raises(DataError, match="1 of B are not in A, s3 the first"):
        compare(a, b)
    assert compare(a, b, common=True)["video_qa"]["n"] == 3
    with pytest.raises(DataError, match="not about the same samples"):
        compare(a, {f"other{name}": row for name, row in b.items()}, common=True)
    changed = {name: ScoredSample(row.id, row.task, row.video, "another", row.metrics) for name, row in a.items()}
    with pytest.raises(DataError, match="another question or truth"):
        compare(a, changed, common=True)


def test_a_damaged_file_of_scores_is_told_by_its_line(tmp_path):
    path = tmp_path / "scores.jsonl"
    row = {"id": "a", "task": "video_qa", "video": "v", "sample": "h", "reason": "", "metrics": {"accuracy": [1, 1]}}
    path.write_text(json.dumps(row) + "\n" + json.dumps({"id": "b"}) + "\n")
    with pytest.raises(DataError, match=r"scores\.jsonl:2"):
        read_scores(path)
    path.write_text(json.dumps(row) + "\n")
    assert read_scores(path)["a"].metrics == {"accuracy": (1.0, 1.0), READABLE: (1.0, 1.0)}


def test_what_neither_answered_and_what_no_sample_asked_is_told(tmp_path, capsys):
    world = tmp_path / "world"
    world.mkdir()
    rows = [
        {
            "id": f"q{n}",
            "task": "video_qa",
            "video": f"{n}.mp4",
            "question": "Which?",
            "options": ["(A) a", "(B) b"],
            "answer": {"choice": "A"},
        }
        for n in range(5)
    ]
    (world / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answered = {name: {row["id"]: "<answer>A</answer>" for row in rows} for name in "ab"}
    files = {name: tmp_path / f"{name}.jsonl" for name in answered}

    def compared():
        for name, file in files.items():
            file.write_text("".join(json.dumps({"id": id_, "output": text}) + "\n" for id_, text in answered[name].items()))
        code, out, err = ran(capsys, "compare", *files.values(), "--dataset", "jsonl", "--annotations", world / "test.jsonl", "--json")
        assert code == 0, err
        return json.loads(out)["tasks"]["video_qa"]["n"], err.splitlines()

    assert compared() == (5, [])
    for outputs in answered.values():
        del outputs["q1"], outputs["q3"]
    answered["b"]["q9"] = "<answer>B</answer>"
    count, [unknown, neither] = compared()
    assert count == 3
    assert "1 of 4 predictions have an id that no sample has, the first 'q9'" in unknown and str(files["b"]) in unknown
    assert "2 of 5 samples" in neither and "in neither, 'q1' the first" in neither and "`score` counts them as wrong" in neither
