"""From answers to a report: whose figures, whose clips, and answers that come back from a file."""

from __future__ import annotations

import dataclasses

import pytest
from tests.tiny import tiny_clip, tiny_sample

from videochat_r1.errors import VideoError
from videochat_r1.evaluation.answers_file import read_answers, require_different_ids, write_predictions
from videochat_r1.evaluation.baselines import baselines
from videochat_r1.evaluation.evaluate import Answered
from videochat_r1.evaluation.run_report import assemble_report
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Reading
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import VideoConfig

SAMPLES = [dataclasses.replace(tiny_sample(f"v/{index}"), video=f"{index}.mp4") for index in range(6)]


class Drawn(ClipLoader):
    """Draws clips; the first sample's video is broken."""

    def load(self, task, sample):
        self.counters["decodes"] += 1
        if sample.id == "v/0":
            raise VideoError("truncated", "It ends early.")
        return tiny_clip()


def answers(text):
    """Every sample answered with the same text."""
    task = load_task("temporal_grounding")
    found = []
    for sample in SAMPLES:
        reading = task.read(text, sample, Asking())
        found.append(Answered(sample, text, reading, 7, {name: reward(reading, sample, Asking()) for name, reward in task.rewards.items()}))
    return found


def test_a_report_has_each_models_figures_and_decodes_the_chosen_clips_alone():
    loader = Drawn(VideoConfig(), Geometry(14, 2, 2))
    answered = {"base": answers("<answer>0 to 2</answer>"), "rft": answers("<answer>0.5 to 1.5</answer>")}
    report = assemble_report("t", SAMPLES, answered, baselines=baselines(SAMPLES), loader=loader, seconds=3.0, extra={"level": "easy"})
    results = report.payload["results"]
    assert results["base"]["temporal_grounding"]["mIoU"] == pytest.approx(50.0)
    assert results["rft"]["temporal_grounding"]["mIoU"] == pytest.approx(100.0)
    assert (
        report.payload["n"] == 6
        and report.payload["level"] == "easy"
        and "whole_video" in report.payload["baselines"]["temporal_grounding"]
    )
    assert loader.counters["decodes"] == len(report.examples) == 1
    assert [example.clip is None for example in report.examples] == [example.sample.id == "v/0" for example in report.examples]


def test_answers_about_other_samples_are_refused():
    with pytest.raises(ValueError, match="rft has 5 answers for 6"):
        assemble_report("t", SAMPLES, {"rft": answers("x")[:-1]}, baselines={})


def test_answers_come_back_from_their_file(tmp_path):
    path = tmp_path / "made" / "p.jsonl"
    given = answers("<answer>0 to 2</answer> \ud800")
    given[2] = Answered(
        SAMPLES[2], "", Reading(answer=None, reason="video:truncated", format_ok=False), 0, dict.fromkeys(given[0].rewards, 0.0)
    )
    write_predictions(path, given)
    back = read_answers(path, SAMPLES, Asking())
    assert [(one.sample, one.text, one.reading, one.tokens, one.rewards) for one in back] == [
        (one.sample, one.text, one.reading, one.tokens, one.rewards) for one in given
    ]
    assert read_answers(path, SAMPLES[1:], Asking()) is None
    assert read_answers(tmp_path / "none.jsonl", SAMPLES, Asking()) is None
    path.write_text("{")
    assert read_answers(path, SAMPLES, Asking()) is None


def test_two_samples_of_one_id_cannot_be_told_apart():
    require_different_ids(SAMPLES)
    with pytest.raises(Exception, match="v/1 stands for two"):
        require_different_ids([*SAMPLES, SAMPLES[1]])
