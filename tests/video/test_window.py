"""A part of a longer video: its own frames, and seconds that count from its start."""

from __future__ import annotations

import pytest
from tests.video.films import number_of, write_film
from tests.video.test_clips import loader_with, sample_of, task
from tests.video.test_sampling import QWEN2_5, film

from videochat_r1.errors import VideoError
from videochat_r1.types import Answer, Sample
from videochat_r1.video.sampling import VideoConfig, plan_frames, window_of


def part(path, start_s, end_s):
    return Sample(id="part", task="t", video=str(path), question="?", truth=Answer(), meta={"window_s": [start_s, end_s]})


def test_a_window_shows_its_own_frames_at_seconds_from_its_start(tmp_path):
    path = write_film(tmp_path / "film.mp4", 40)  # ten frames a second
    loader = loader_with(frames=4)
    clip = loader.load(task(), part(path, 1.0, 2.5))
    assert [number_of(frame) for frame in clip.frames_NCHW] == [10, 15, 20, 25]
    assert clip.times_s == pytest.approx((0.0, 0.5, 1.0, 1.5), abs=1e-6) and clip.duration_s == pytest.approx(1.5)
    assert loader.plan(task(), part(path, 1.0, 2.5)).times_s == pytest.approx(clip.times_s, abs=1e-6)
    assert not loader.quarantine.faults  # the annotated length of a part is not the file's


def test_a_window_is_sampled_by_its_own_length(tmp_path):
    whole = plan_frames(film(2500, 25.0), VideoConfig(), QWEN2_5)
    window = plan_frames(film(2500, 25.0), VideoConfig(), QWEN2_5, window_s=(40.0, 50.0))
    assert len(whole.times_s) == 200 and len(window.times_s) == 20
    assert window.times_s[0] == 0.0 and window.times_s[-1] == pytest.approx(10.0)
    assert window.height_px > whole.height_px  # the same budget of pixels over fewer frames


def test_the_whole_video_as_a_window_is_the_whole_video(tmp_path):
    path = write_film(tmp_path / "film.mp4", 30)
    loader = loader_with()
    whole, window = loader.load(task(), sample_of(path)), loader.load(task(), part(path, 0.0, 99.0))  # cut to what is there
    assert whole.times_s == window.times_s and whole.duration_s == window.duration_s
    assert whole.frames_NCHW.equal(window.frames_NCHW)


def test_asked_seconds_count_from_the_start_of_the_window(tmp_path):
    path = write_film(tmp_path / "film.mp4", 40)
    loader = loader_with(frames_per_box=1)
    clip = loader.load(task((0.0, 0.4, 1.0)), part(path, 2.0, 3.1))
    assert [number_of(frame) for frame in clip.frames_NCHW] == [20, 24, 30, 30]
    assert clip.times_s == pytest.approx((0.0, 0.4, 1.0, 1.0), abs=1e-6)
    with pytest.raises(VideoError, match="ends at 1.1 s"):
        loader.load(task((0.0, 1.9)), part(path, 2.0, 3.1))


def test_a_window_past_the_end_is_a_fault_of_its_own(tmp_path):
    path = write_film(tmp_path / "film.mp4", 20)
    loader = loader_with()
    with pytest.raises(VideoError, match="the part from 9.0 to 12.0 s is asked for"):
        loader.load(task(), part(path, 9.0, 12.0))
    assert loader.quarantine.counts() == {"too_short": 1}


@pytest.mark.parametrize("entry", [None, "1-2", [1.0], [2.0, 1.0], [1.0, 1.0], [-1.0, 2.0], [True, 2.0], ["1", 2], [0.0, float("nan")]])
def test_what_is_no_window_means_the_whole_video(entry):
    assert window_of(Sample(id="x", task="t", video="v", question="?", truth=Answer(), meta={"window_s": entry})) is None


def test_a_folder_of_pictures_may_state_its_own_rate(tmp_path):
    from av import VideoFrame

    for number in range(6):
        frame = VideoFrame(96, 64, "rgb24")
        frame.to_image().save(tmp_path / f"{number:05}.jpg")
    sample = Sample(id="x", task="t", video=str(tmp_path), question="?", truth=Answer(), meta={"picture_fps": 3})
    assert loader_with().load(task(), sample).duration_s == pytest.approx(2.0)
    assert loader_with().load(task(), sample_of(tmp_path)).duration_s == pytest.approx(0.6)
