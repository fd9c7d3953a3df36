"""A policy answers samples: each video is read once, whatever the number of its questions, and what was answered is not asked again."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest
from tests.rollout.test_native import sharpened
from tests.tiny import tiny_clip, tiny_sample

from videochat_r1.errors import EnvironmentFault, VideoError
from videochat_r1.evaluation.answer_cache import AnswerCache, VideoDigests, model_digest
from videochat_r1.evaluation.evaluate import Tasks, answer, results, units
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Answer
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.sampling import VideoConfig

SAMPLING = Sampling(temperature=0.0, max_tokens=8, batch_prompts=4)
VIDEO_FIRST = Asking(order="video_first")


class Drawn(ClipLoader):
    """Draws a clip for each video name; those called "broken" cannot be used."""

    def load(self, task, sample):
        with self._lock:
            self.counters["decodes"] += 1
        if "broken" in sample.video:
            error = VideoError("truncated", "It ends early.")
            self.quarantine.add(sample, error.reason, error.what)
            raise error
        return tiny_clip(seed=sum(sample.video.encode()))


def asked(*videos, questions=3):
    """Several questions about each video, one video's not beside each other."""
    return [
        dataclasses.replace(tiny_sample(f"{video}/{number}", question=f"it turns {number}"), video=video)
        for number in range(questions)
        for video in videos
    ]


def loader_of(policy):
    return Drawn(VideoConfig(), policy.geometry)


@pytest.fixture(scope="module")
def policy():
    return sharpened("qwen3_vl")


def texts(answered):
    return [(one.sample.id, one.text, one.tokens) for one in answered]


def test_a_video_is_decoded_seen_and_read_once_for_all_its_questions(policy):
    samples, loader = asked("a", "b", "c"), loader_of(policy)
    policy.counters.clear()
    found = answer(policy, NativeEngine(policy), loader, samples, VIDEO_FIRST, SAMPLING)
    assert [one.sample for one in found] == samples
    assert (loader.counters["decodes"], policy.counters["vision_passes"], policy.counters["prefills"]) == (3, 3, 3)
    for one in found:  # and the answers are those of each question by itself
        [alone] = answer(policy, NativeEngine(policy), loader_of(policy), [one.sample], VIDEO_FIRST, SAMPLING)
        assert texts([alone]) == texts([one])


def test_a_question_before_its_video_is_read_each_time_but_the_video_is_seen_once(policy):
    loader = loader_of(policy)
    policy.counters.clear()
    answer(policy, NativeEngine(policy), loader, asked("a", "b"), Asking(), SAMPLING)
    assert (loader.counters["decodes"], policy.counters["vision_passes"], policy.counters["prefills"]) == (2, 2, 6)


def test_all_questions_about_a_broken_video_are_wrong_and_listed(policy):
    samples, loader = asked("a", "broken"), loader_of(policy)
    found = answer(policy, NativeEngine(policy), loader, samples, VIDEO_FIRST, SAMPLING)
    reasons = {one.sample.id: one.reading.reason for one in found if one.sample.video == "broken"}
    assert set(reasons.values()) == {"video:truncated"} and len(reasons) == 3
    assert len(loader.quarantine) == 3 and loader.counters["decodes"] == 2
    figures = results(found, resamples=0)["temporal_grounding"]
    assert (figures["n"], figures["unreadable_videos"]) == (6, 3) and figures["seconds"] > 0
    assert sum(one.rewards["format"] for one in found if one.sample.video == "broken") == 0.0


@pytest.mark.parametrize(
    "videos, told", [(("broken", "broken/2"), [0]), (("broken", "a"), [0, 6])], ids=["no video can be used", "one video can be used"]
)
def test_where_no_video_can_be_used_no_answer_is_counted(policy, videos, told):
    counts = []
    answer(policy, NativeEngine(policy), loader_of(policy), asked(*videos), VIDEO_FIRST, SAMPLING, on_answered=counts.append)
    assert sorted(set(counts)) == told


def test_units_keep_a_clips_questions_together_and_do_not_depend_on_anything_else():
    boxes = Answer(boxes=((0.1, 0.1, 0.2, 0.2),) * 2, times_s=(0.0, 1.0))
    other = dataclasses.replace(tiny_sample("a/track", task="tracking", truth=boxes), video="a")
    part = dataclasses.replace(tiny_sample("a/part"), video="a", meta={"window_s": [0.0, 1.0]})
    samples = [*asked("a", "b", questions=3), other, part, *asked("c", questions=9)]
    found = units(samples, 4, Tasks())
    clips = [[samples[index].id for index in clip] for unit in found for clip in unit]
    assert clips[0] == ["a/0", "a/1", "a/2"] and ["a/track"] in clips and ["a/part"] in clips and len(clips[-1]) == 9
    assert [sum(map(len, unit)) for unit in found] == [3, 4, 1, 9]
    assert sorted(index for unit in found for clip in unit for index in clip) == list(range(len(samples)))


class Counting:
    """The plain answers, counted; settings as given."""

    def __init__(self, policy, **settings):
        from videochat_r1.evaluation.evaluate import OnePass

        self.plain, self.count = OnePass(policy, NativeEngine(policy), VIDEO_FIRST, SAMPLING), 0
        self.settings = {**self.plain.settings, **settings}

    def __call__(self, unit):
        self.count += sum(len(shown.samples) for shown in unit)
        return self.plain(unit)


def with_cache(policy, folder, samples, answerer, facts=None, video=None, seed=0):
    loader = Drawn(video or VideoConfig(), policy.geometry)
    with AnswerCache(folder, facts or {"model": "m"}) as cache:
        return answer(policy, NativeEngine(policy), loader, samples, VIDEO_FIRST, SAMPLING, seed=seed, answerer=answerer, cache=cache)


def test_what_is_in_the_cache_is_not_asked_again_and_whatever_changes_an_answer_is(policy, tmp_path):
    videos = []
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 50)
        videos.append(str(tmp_path / name))
    samples, first = asked(*videos), Counting(policy)
    whole = with_cache(policy, tmp_path / "out", samples, first)
    again = Counting(policy)
    assert texts(with_cache(policy, tmp_path / "out", samples, again)) == texts(whole)
    assert (first.count, again.count) == (6, 0)

    def asked_again(**changes):
        counting = Counting(policy, **changes.pop("settings", {}))
        with_cache(policy, tmp_path / "out", changes.pop("samples", samples), counting, **changes)
        return counting.count

    assert asked_again(facts={"model": "another"}) == 6
    assert asked_again(settings={"rounds": 2}) == 6
    assert asked_again(video=VideoConfig(fps=1.0)) == 6
    assert asked_again(video=VideoConfig(prefetch_clips=9)) == 0
    assert asked_again(seed=1) == 6
    other = [dataclasses.replace(samples[0], question="it stops"), *samples[1:]]
    assert asked_again(samples=other) == 3  # its unit is answered as a whole: what stands beside an answer never changes
    (tmp_path / "b").write_bytes(b"cut again")
    assert asked_again() == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_answers_that_the_disk_refuses_are_told_by_their_file(tmp_path):
    with pytest.raises(EnvironmentFault, match="answers.jsonl cannot be written: No space left"), AnswerCache(tmp_path, {}) as cache:
        cache._file.close()
        cache._file = open("/dev/full", "ab")  # noqa: SIM115
        cache.keep([{"key": "k", "text": "x"}])


def test_a_line_that_a_kill_cut_short_is_dropped_and_a_damaged_one_is_answered_again(tmp_path):
    with AnswerCache(tmp_path, {}) as cache:
        cache.keep([{"key": "k1", "text": "one"}, {"key": "k2", "text": "two"}])
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"tw') + b'{"key": "k3", "text": "thr')
    with AnswerCache(tmp_path, {}) as cache:
        assert set(cache.rows) == {"k1"}
        cache.keep([{"key": "k4", "text": "four"}])
    with AnswerCache(tmp_path, {}) as cache:
        assert set(cache.rows) == {"k1", "k4"}
    assert all(line.endswith(b"\n") for line in path.read_bytes().splitlines(keepends=True))


def test_two_evaluations_do_not_write_into_one_folder(tmp_path):
    with AnswerCache(tmp_path, {}):
        with pytest.raises(EnvironmentFault, match="in use"):
            AnswerCache(tmp_path, {}).__enter__()
        with AnswerCache(tmp_path, {}, rank=1) as second:
            second.keep([{"key": "k", "text": ""}])
    with AnswerCache(tmp_path, {}) as cache:
        assert "k" in cache.rows


def test_digests_follow_the_content(tmp_path):
    digest = VideoDigests()
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "b").write_bytes(b"x" * 100)
    assert digest(str(tmp_path / "a")) == digest(str(tmp_path / "b")) != digest(str(tmp_path / "none")) == "missing"
    os.mkfifo(tmp_path / "pipe")
    assert digest(str(tmp_path / "pipe")) == digest("/dev/zero") == "irregular"  # neither ever ends
    large = tmp_path / "large"
    large.write_bytes(bytes(9 << 20))
    before = digest(str(large))
    with open(large, "r+b") as file:
        file.seek(-10, 2)
        file.write(b"y")
    assert VideoDigests()(str(large)) != before
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"1")
    one = digest(str(tmp_path / "pictures"))
    (tmp_path / "pictures" / "2.jpg").write_bytes(b"2")
    assert VideoDigests()(str(tmp_path / "pictures")) != one


def test_a_models_digest_covers_its_files_and_its_base(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    (adapter / "adapter_model.safetensors").write_bytes(b"low rank")
    first = model_digest(str(adapter))
    (base / "README.md").write_text("not a part of it")
    assert model_digest(str(adapter)) == first
    (base / "model.safetensors").write_bytes(b"Weights")
    assert model_digest(str(adapter)) != first
