"""Loading and prefetching: order, bounds, threads that end, and the account of what could not be used."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.video.films import number_of, write_film

from videochat_r1.errors import VideoError
from videochat_r1.tasks.base import Task
from videochat_r1.types import Answer, Clip, Reading, Sample
from videochat_r1.video import clips as loading
from videochat_r1.video.clips import ClipLoader, prefetch
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import VideoConfig

SMALL = Geometry(patch=4, merge=2, temporal_patch=2)
SIZES = {"min_pixels": 64 * 16, "max_pixels": 96 * 64, "total_pixels": 10**9}


def task(seconds: tuple[float, ...] | None = None) -> Task:
    return Task(
        ask=lambda sample, asking: sample.question,
        read=lambda text, sample, asking: Reading(answer=None, reason="none", format_ok=False),
        write=lambda answer, asking: "",
        rewards={},
        metrics={},
        seconds=lambda sample: seconds,
    )


def sample_of(path: Path, name: str = "", duration_s: float | None = None) -> Sample:
    return Sample(id=name or path.stem, task="t", video=str(path), question="?", truth=Answer(), duration_s=duration_s)


def loader_with(**fields: object) -> ClipLoader:
    return ClipLoader(VideoConfig(**(SIZES | fields)), SMALL)


@pytest.fixture
def films(tmp_path) -> list[Path]:
    return [write_film(tmp_path / f"film{count}.mp4", count) for count in (4, 30, 12, 20, 8, 25)]


def decoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_clip_is_as_planned_and_each_load_is_one_decode(films):
    loader = loader_with()
    sample = sample_of(films[1])
    plan = loader.plan(task(), sample)
    assert loader.counters["decodes"] == 0
    clip = loader.load(task(), sample)
    assert clip.frames_NCHW.shape == (len(plan.times_s), 3, plan.height_px, plan.width_px) and clip.frames_NCHW.dtype == torch.uint8
    assert loader.load(task((0.0, 2.0)), sample).times_s == pytest.approx((0.0, 1.0, 2.0, 2.9))
    assert loader.counters == {"probes": 1, "decodes": 2}


def test_a_changed_file_is_probed_again(films):
    loader = loader_with()
    assert len(loader.load(task(), sample_of(films[0])).times_s) == 4
    films[0].write_bytes(films[1].read_bytes())
    assert loader.load(task(), sample_of(films[0])).duration_s == pytest.approx(3.0)
    assert loader.counters["probes"] == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_prefetched_clips_come_in_order_and_are_those_of_load(films, threads):
    loader = loader_with()
    items = [(task(), sample_of(path, f"{turn}/{path.stem}")) for turn in range(3) for path in films]
    plain = [loader.load(*item).frames_NCHW for item in items[: len(films)]]
    came = list(prefetch(loader, items, ahead=4, threads=threads))
    assert [item for item, _ in came] == items
    for row, (_, clip) in enumerate(came):
        assert isinstance(clip, Clip) and torch.equal(clip.frames_NCHW, plain[row % len(films)])
    assert decoding_threads() == []


def test_prefetching_is_bounded_and_takes_items_as_needed(films, monkeypatch):
    taken = []

    def items():
        for index in range(1000):
            taken.append(index)
            yield task(), sample_of(films[index % 6], str(index))

    running, most, lock = [0], [0], threading.Lock()
    plain = loading.decode

    def slow_decode(*arguments, **options):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        try:
            return plain(*arguments, **options)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(loading, "decode", slow_decode)
    loader = loader_with()
    came = prefetch(loader, items(), ahead=5, threads=2)
    for count in range(1, 8):
        next(came)
        assert len(taken) <= count + 4
    assert most[0] == 2
    came.close()
    assert decoding_threads() == [] and loader.counters["decodes"] <= 12


def test_dropping_the_iterator_or_failing_beside_it_ends_the_threads(films):
    came = prefetch(loader_with(), [(task(), sample_of(path)) for path in films], ahead=3, threads=2)
    next(came)
    assert decoding_threads()
    del came
    assert decoding_threads() == []
    with pytest.raises(ZeroDivisionError):
        for _ in prefetch(loader_with(), ((task(), sample_of(films[2 // (3 - row)])) for row in range(6)), ahead=2, threads=2):
            pass
    assert decoding_threads() == []


def test_a_broken_file_is_left_out_counted_and_written_down(films, tmp_path):
    broken, absent = tmp_path / "broken.mp4", tmp_path / "absent.mp4"
    broken.write_bytes(b"not a film")
    loader = loader_with()
    items = [(task(), sample_of(path, f"id-{row}")) for row, path in enumerate([films[0], broken, films[1], absent, broken])]
    for _ in range(2):  # another epoch adds nothing
        results = [result for _, result in prefetch(loader, items, ahead=2, threads=2)]
        assert [isinstance(result, Clip) for result in results] == [True, False, True, False, False]
    assert [result.reason for result in results if isinstance(result, VideoError)] == ["not_a_video", "missing", "not_a_video"]
    assert len(loader.quarantine) == 3 and loader.quarantine.counts() == {"not_a_video": 2, "missing": 1}
    assert loader.counters == {"probes": 4, "decodes": 4, "unreadable": 6}
    loader.quarantine.write(str(tmp_path / "quarantine.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert sorted((row["sample"], row["reason"], row["kept"]) for row in rows) == [
        ("id-1", "not_a_video", False),
        ("id-3", "missing", False),
        ("id-4", "not_a_video", False),
    ]
    assert {row["path"] for row in rows} == {str(broken), str(absent)}


def test_stop_stops_at_the_first_broken_file(films, tmp_path):
    loader = loader_with(on_unreadable="stop")
    items = [(task(), sample_of(path)) for path in (films[0], tmp_path / "absent.mp4", films[1])]
    came = prefetch(loader, items, ahead=3, threads=1)
    assert isinstance(next(came)[1], Clip)
    with pytest.raises(VideoError, match="absent"):
        next(came)
    assert decoding_threads() == []


def test_a_truncated_file_is_left_out_or_kept_and_listed(tmp_path):
    path = write_film(tmp_path / "film.mp4", 60, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    with pytest.raises(VideoError) as caught:
        loader_with().load(task(), sample_of(path))
    assert caught.value.reason == "truncated"
    keeping = loader_with(on_truncated="keep")
    clip = keeping.load(task(), sample_of(path))
    assert clip.duration_s < 5.4 and number_of(clip.frames_NCHW[0]) == 0
    assert len(keeping.quarantine) == 0 and keeping.quarantine.counts() == {"truncated": 1} and keeping.counters["truncated_kept"] == 1


def test_an_annotation_of_another_length_is_counted_and_the_clip_used(films):
    loader = loader_with()
    for name, duration_s in (("right", 3.0), ("near", 3.4), ("wrong", 8.0)):
        assert isinstance(loader.load(task(), sample_of(films[1], name, duration_s)), Clip)
    assert loader.counters["duration_mismatch"] == 1
    assert [(fault.sample_id, fault.kept) for fault in loader.quarantine.faults] == [("wrong", True)]
    assert loader.quarantine.used == loader.quarantine.faults and not loader.quarantine.left_out
    loader.quarantine.add(sample_of(films[1], "wrong", 8.0), "unreadable", "It breaks off.")
    assert not loader.quarantine.used and [fault.reason for fault in loader.quarantine.left_out] == ["unreadable"]


def test_the_length_of_a_sample_is_the_stated_one_else_its_videos_or_its_parts(films, tmp_path):
    loader = loader_with()
    part = replace(sample_of(films[1]), meta={"window_s": [1.0, 9.0]})
    samples = (sample_of(films[1], "a", 8.0), sample_of(films[1]), part, sample_of(tmp_path / "absent.mp4"))
    assert [loader.duration_s(sample) for sample in samples] == [8.0, pytest.approx(3.0), pytest.approx(2.0), None]


def test_seconds_past_the_end_are_the_samples_fault_and_not_the_files(films):
    loader = loader_with()
    with pytest.raises(VideoError, match=r"ends at 3\.0 s, but 9\.0 s is asked for"):
        loader.load(task((1.0, 9.0)), sample_of(films[1], "too far"))
    assert isinstance(loader.load(task((1.0, 2.0)), sample_of(films[1], "near")), Clip)
    assert loader.quarantine.counts() == {"too_short": 1}
