"""Which seconds and how many pixels, against qwen-vl-utils' own code and by hand."""

import math

import pytest
import qwen_vl_utils.vision_process as stock
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from videochat_r1.errors import VideoError
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import FramePlan, VideoConfig, VideoInfo, frame_count, plan_frames

QWEN2_5 = Geometry(patch=14, merge=2, temporal_patch=2)
QWEN3 = Geometry(patch=16, merge=2, temporal_patch=2)


def film(frames: int, rate: float, width: int = 640, height: int = 360) -> VideoInfo:
    return VideoInfo(
        path="film.mp4", container="mov", codec="h264", width=width, height=height, rotation=0, mirrored=False,
        frames=frames, fps=rate, duration_s=frames / rate, last_s=(frames - 1) / rate,
    )  # fmt: skip


def stock_plan(info: VideoInfo, config: VideoConfig, patch: int) -> tuple[list[int], tuple[int, int]]:
    """The frame indices and the size that fetch_video takes, its file reader and its resizing replaced by recorders."""
    seen = {}

    def read(element):
        count = stock.smart_nframes(element, total_frames=info.frames, video_fps=info.fps)
        seen["indices"] = torch.linspace(0, info.frames - 1, count).round().long().tolist()
        return torch.empty(1).expand(count, 3, info.height, info.width), {}, 2.0

    def resize(video, size, **_):
        seen["size"] = tuple(size)
        return torch.empty(0)

    with pytest.MonkeyPatch.context() as patcher:
        patcher.setattr(stock, "VIDEO_READER_BACKENDS", {"recorder": read})
        patcher.setattr(stock, "get_video_reader_backend", lambda: "recorder")
        patcher.setattr(stock.transforms.functional, "resize", resize)
        budget = {name: getattr(config, name) for name in ("fps", "total_pixels", "min_pixels", "max_pixels")}
        stock.fetch_video({"video": "film.mp4", **budget}, image_patch_size=patch)
    return seen["indices"], seen["size"]


rates = st.sampled_from([1.0, 2.0, 3.0, 10.0, 14.985, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0]) | st.floats(0.5, 120)


@settings(max_examples=250, deadline=None)
@given(
    frames=st.integers(2, 40_000), rate=rates, width=st.integers(64, 4096), height=st.integers(64, 2304), patch=st.sampled_from([14, 16])
)
def test_the_released_budget_gives_qwen_vl_utils_frames_and_sizes(frames, rate, width, height, patch):
    config, info = VideoConfig(), film(frames, rate, width, height)
    plan = plan_frames(info, config, Geometry(patch=patch, merge=2, temporal_patch=2))
    indices, size = stock_plan(info, config, patch)
    assert len(plan.times_s) == len(indices)
    assert [time * rate for time in plan.times_s] == pytest.approx(indices, abs=1e-6)
    size = tuple(max(side, 2 * patch) for side in size)  # of a thin picture under a small budget the stock rule makes a side of 0
    assert (plan.height_px, plan.width_px) == size
    assert plan.grid_thw == (len(indices) // 2, size[0] // patch, size[1] // patch)
    assert plan.video_tokens == math.prod(plan.grid_thw) // 4


@pytest.mark.parametrize(
    "seconds, count, side", [(10, 20, 530), (30, 60, 306), (60, 120, 216), (118, 236, 154), (240, 480, 114), (600, 768, 114)]
)
def test_longer_videos_have_smaller_then_fewer_frames(seconds, count, side):
    plan = plan_frames(film(seconds * 25, 25.0), VideoConfig(), QWEN2_5)
    assert len(plan.times_s) == count
    assert math.sqrt(plan.height_px * plan.width_px) == pytest.approx(side, rel=0.12)  # SPEC 2: effective side, before rounding to 28
    assert plan.video_tokens <= 6451


@settings(max_examples=200, deadline=None)
@given(
    frames=st.integers(1, 20_000), rate=st.floats(0.1, 240), temporal_patch=st.sampled_from([1, 2, 3, 4]), max_tokens=st.integers(64, 4000)
)
def test_any_file_gives_whole_temporal_patches_of_rising_seconds_within_the_tokens(frames, rate, temporal_patch, max_tokens):
    geometry = Geometry(patch=4, merge=2, temporal_patch=temporal_patch)
    info = film(frames, rate)
    config = VideoConfig(min_pixels=1024, max_pixels=4096, total_pixels=2**20, max_tokens=max_tokens)
    plan = plan_frames(info, config, geometry)
    assert len(plan.times_s) % temporal_patch == 0 and plan.times_s
    assert list(plan.times_s) == sorted(plan.times_s)
    assert plan.times_s[0] >= 0.0 and plan.times_s[-1] <= info.last_s * (1 + 1e-9)
    assert plan.video_tokens <= max_tokens


def test_a_budget_that_holds_no_moment_is_refused():
    config = VideoConfig(min_pixels=1024, max_pixels=4096, max_tokens=63)
    with pytest.raises(VideoError, match="one moment takes 64 video tokens, more than 63"):
        plan_frames(film(100, 25.0, 64, 64), config, Geometry(patch=4, merge=2, temporal_patch=2))
    assert plan_frames(
        film(100, 25.0, 64, 64), config.model_copy(update={"max_tokens": 64}), Geometry(patch=4, merge=2, temporal_patch=2)
    ).times_s


@pytest.mark.parametrize(
    "frames, rate, expected",
    [(1, 25.0, 1), (2, 25.0, 2), (3, 25.0, 2), (5, 1000.0, 4), (25, 25.0, 4), (250, 25.0, 20), (100_000, 25.0, 768)],
)
def test_frame_count(frames, rate, expected):
    assert frame_count(frames, rate, VideoConfig(), 2) == expected


def test_a_set_number_of_frames_is_spread_over_any_length():
    for frames in (16, 100, 90_000):
        plan = plan_frames(film(frames, 30.0), VideoConfig(frames=16), QWEN2_5)
        assert len(plan.times_s) == 16 and plan.times_s[0] == 0.0 and plan.times_s[-1] == pytest.approx((frames - 1) / 30.0)


def asked(seconds: tuple[float, ...], **fields: object) -> FramePlan:
    return plan_frames(film(250, 25.0), VideoConfig(**fields), QWEN2_5, seconds)


def test_two_frames_a_box_give_each_box_a_temporal_patch_of_its_own():
    plan = asked((0.0, 1.0, 3.0))
    assert plan.times_s == (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)  # each second, then midway to the next; after the last as before it
    assert plan.grid_thw[0] == 3
    assert asked((0.0, 9.96)).times_s == (0.0, 4.98, 9.96, 9.96)  # nothing lies beyond the last frame
    assert asked((4.0,)).times_s == (4.0, 4.0)


def test_one_frame_a_box_gives_the_seconds_alone_and_repeats_the_last():
    assert asked((0.0, 1.0, 3.0), frames_per_box=1).times_s == (0.0, 1.0, 3.0, 3.0)
    assert asked((0.0, 3.0), frames_per_box=1).times_s == (0.0, 3.0)


@pytest.mark.parametrize(
    "seconds, reason",
    [
        ((), "bad_times"),
        ((1.0, 0.5), "bad_times"),
        ((-1.0, 0.5), "bad_times"),
        ((0.0, math.nan), "bad_times"),
        ((0.0, math.inf), "bad_times"),
        ((0.0, 10.6), "too_short"),
    ],
    ids=["none", "falling", "negative", "not a number", "infinite", "past the end"],
)
def test_seconds_that_cannot_be_shown(seconds, reason):
    with pytest.raises(VideoError) as caught:
        asked(seconds)
    assert caught.value.reason == reason


def test_asked_seconds_beyond_the_tokens_are_refused_not_dropped():
    with pytest.raises(VideoError, match="max_tokens") as caught:
        asked(tuple(index / 10 for index in range(90)), max_tokens=500)
    assert caught.value.reason == "too_large"


def test_a_shorter_asked_clip_has_larger_frames():
    few, many = asked((0.0, 5.0)), asked(tuple(index / 5 for index in range(40)))
    assert few.height_px > many.height_px and many.video_tokens <= 3584 * 1.05


@pytest.mark.parametrize("fields", [{"min_pixels": 2**20}, {"fps": 0}, {"frames_per_box": 3}, {"max_frames": 2}, {"nframes": 8}])
def test_config_refuses(fields):
    with pytest.raises(ValidationError):
        VideoConfig(**fields)


def test_every_field_says_what_a_change_of_it_means():
    for name, field in VideoConfig.model_fields.items():
        assert field.json_schema_extra["on_resume"] in ("free", "warned", "refused"), name
