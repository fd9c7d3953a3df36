"""The official files, as they are: what is in them, what is wrong with them, and that their own truth scores full marks."""

from __future__ import annotations

import time

import pytest
from tests.datasets.files import OFFICIAL, official, read_official, source

from videochat_r1.datasets.base import check, convert, fingerprint, overlap, read_samples
from videochat_r1.evaluation.figures import figures
from videochat_r1.evaluation.score import score
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task

FOUND = {
    "charades_sta/train.json": (12408, 5336, {"span_past_end": 1789, "span_reversed": 4, "span_starts_past_end": 3}),
    "charades_sta/test.json": (3720, 1334, {"span_past_end": 562}),
    "activitynet_captions/train.json": (37421, 10009, {"span_past_end": 29, "span_empty": 2, "span_reversed": 2}),
    "activitynet_captions/test.json": (17031, 4885, {"span_past_end": 1}),
    "nextgqa/val.json": (3358, 567, {"span_past_end": 3, "options_duplicate": 1}),
    "got10k/val.json": (180, 180, {"path_foreign": 180}),
    "quality_access/train_100shot.json": (200, 200, {}),
    "quality_access/test.json": (724, 724, {}),
}


@pytest.mark.parametrize("file", OFFICIAL)
def test_every_defect_is_found_and_counted(file):
    rows, videos, counts = FOUND[file]
    report = check(official(file))
    assert (report.rows, report.videos, dict(report.counts)) == (rows, videos, counts)
    dropped = 4 if file.endswith(("_sta/train.json", "captions/train.json")) else 0
    assert (report.dropped, report.samples) == (dropped, rows - dropped)


@pytest.mark.parametrize("file", OFFICIAL)
@pytest.mark.parametrize("thinking", [False, True], ids=["answer only", "thinking"])
def test_the_truth_written_as_an_answer_scores_100(file, thinking):
    samples = read_official(file).samples
    asking = Asking(thinking=thinking)
    task = load_task(samples[0].task)
    found = score(samples, {sample.id: task.write(sample.truth, asking) for sample in samples}, asking, resamples=0).as_dict()
    assert found == {**dict.fromkeys(task.metrics, 100.0), "format": 100.0, "n": len(samples), "unparsed": 0, "missing": 0, "unknown": 0}


def test_the_truth_earns_every_reward_in_full():
    asking = Asking()
    for file in OFFICIAL:
        samples = read_official(file).samples[:50]
        task = load_task(samples[0].task)
        for sample in samples:
            reading = task.read(task.write(sample.truth, asking), sample, asking)
            assert {name: reward(reading, sample, asking) for name, reward in task.rewards.items()} == dict.fromkeys(task.rewards, 1.0)


@pytest.mark.parametrize("file", OFFICIAL)
def test_what_is_converted_reads_back_the_same(file, tmp_path):
    taken = official(file, limit=6000)
    loaded = read_samples(taken)
    report = convert(taken, tmp_path / "rows.jsonl")
    back = read_samples(source("jsonl", tmp_path / "rows.jsonl", split=taken.split))
    assert back.samples == loaded.samples and report.samples == len(loaded.samples)
    assert fingerprint(back.samples) == fingerprint(loaded.samples) != fingerprint(loaded.samples[1:])
    left = {code for code in loaded.defects.counts if loaded.defects.actions[code] == "keep"} - {"path_foreign"}
    assert set(back.defects.counts) == left


def first(file, **fields):
    return read_samples(official(file, limit=1, **fields)).samples[0]


def test_the_first_samples_say_what_the_files_say():
    charades = first("charades_sta/test.json")
    assert (charades.id, charades.video, charades.duration_s) == ("3MSZA/0", "3MSZA.mp4", 30.96)
    assert (charades.question, charades.truth.spans, charades.task) == ("person turn a light on.", ((24.3, 30.4),), "temporal_grounding")

    activity = read_samples(official("activitynet_captions/test.json", limit=2)).samples[1]
    assert (activity.id, activity.video) == ("v_uqiMw7tQ1Cc/1", "v_uqiMw7tQ1Cc.mp4")
    assert activity.question.startswith(" One man is holding") and activity.truth.spans == ((4.14, 33.36),)

    gqa = first("nextgqa/val.json")
    assert (gqa.id, gqa.video, gqa.task, gqa.duration_s, gqa.meta) == (
        "4882821564_1",
        "1104/4882821564.mp4",
        "grounded_qa",
        90.0,
        {"type": "CW"},
    )
    assert (gqa.truth.choice, gqa.truth.spans, gqa.options[2]) == ("C", ((13.8, 29.8),), "(C) unwrap it")
    assert first("nextgqa/val.json", task="video_qa").task == "video_qa"

    sloth = first("got10k/val.json", videos="")
    assert (sloth.id, sloth.video, sloth.question, sloth.task) == ("GOT-10k_Val_000010", "GOT-10k_Val_000010", "sloth", "tracking")
    assert sloth.truth.boxes[0] == (0.093, 0.0, 0.8, 0.797) and len(sloth.truth.boxes) == 8
    assert sloth.truth.times_s is None and sloth.meta["box_times"] == "assumed"

    quality = first("quality_access/test.json")
    assert (quality.id, quality.video, quality.truth.label, quality.task) == ("0012", "0012.mp4", "low quality", "quality")


def test_training_is_clipped_and_a_test_set_is_as_published():
    train = read_official("charades_sta/train.json").samples
    assert all(0.0 <= start < end <= sample.duration_s for sample in train for start, end in sample.truth.spans)
    test = read_official("charades_sta/test.json").samples
    assert sum(sample.truth.spans[0][1] > sample.duration_s for sample in test) == 562


@pytest.mark.parametrize("name", ["charades_sta", "activitynet_captions"])
def test_official_training_and_test_sets_share_no_video(name):
    train, test = (read_official(f"{name}/{split}.json").samples for split in ("train", "test"))
    assert not overlap(train, test)


def test_all_files_are_read_checked_and_scored_in_seconds():
    sources = [official(file) for file in OFFICIAL]
    start = time.process_time()
    for taken in sources:
        samples = read_samples(taken).samples
        task = load_task(samples[0].task)
        readings = [task.read(task.write(sample.truth, Asking()), sample, Asking()) for sample in samples]
        figures(task, samples, readings, resamples=1000)
    assert time.process_time() - start < 15.0  # 5 s on a free core
