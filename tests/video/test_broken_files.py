"""Hostile and broken files: a reason code or a clip, soon, and never anything else."""

import contextlib
import gzip
import os
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from tests.video.films import number_of, write_film, write_sound

from videochat_r1.errors import VideoError
from videochat_r1.types import Clip
from videochat_r1.video.decode import decode, probe
from videochat_r1.video.faults import MENDS
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import VideoConfig, plan_frames

SMALL = Geometry(patch=4, merge=2, temporal_patch=2)
CONFIG = VideoConfig(min_pixels=64 * 16, max_pixels=96 * 64, total_pixels=10**9)


def clip_of(path: Path | str, *, keep_truncated: bool = False) -> Clip:
    info = probe(str(path))
    return decode(info, plan_frames(info, CONFIG, SMALL), keep_truncated=keep_truncated)


def reason_of(path: Path | str) -> str:
    """The reason code of a file that cannot be used, "clip" for one that can; nothing else may come out, and not late."""
    started = time.monotonic()
    try:
        clip_of(path)
        reason = "clip"
    except VideoError as error:
        assert error.reason.partition(":")[0] in MENDS and error.mend
        assert Path(str(path)).name[:20] in error.what or "\0" in str(path)
        reason = error.reason
    assert time.monotonic() - started < 5.0
    return reason


# -- not videos, and paths that are not files (faults 15, 19, 28, 31) ----------------------------------------------------------------------


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, list[object]]]:
    """A loopback port, and the connections that were made to it."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    callers.append(server.accept()[0].close())

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], callers
        finally:
            done.set()
            thread.join()


def test_what_is_not_a_video_is_told_by_its_first_bytes_and_opens_no_connection(tmp_path):
    good = write_film(tmp_path / "good.mp4", 10)
    with listening() as (port, callers):
        url = f"http://127.0.0.1:{port}/a.ts"
        contents = {
            "empty": b"",
            "random": random.Random(0).randbytes(5000),
            "text": b"a film of a cat\n" * 100,
            "error page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
            "gzip": gzip.compress(good.read_bytes()),
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n".encode(),
            "concat": f"ffconcat version 1.0\nfile '{good}'\nfile '{url}'\n".encode(),
            "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n".encode(),
            "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>'.encode(),
            "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>',
            "gif": b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;",
            "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
        }  # fmt: skip
        for name, content in contents.items():
            path = tmp_path / f"{name}.mp4"
            path.write_bytes(content)
            assert reason_of(path) == "not_a_video", name
        for name in (url, "concat:a.mp4|b.mp4", "pipe:0", f"tcp://127.0.0.1:{port}"):
            assert reason_of(name) == "missing", name
        time.sleep(0.1)
    assert callers == []


def test_files_without_moving_pictures(tmp_path):
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        write_sound(container, container.add_stream("aac", rate=16000), 1.0)
    assert reason_of(sound) == "no_video_stream"
    header = tmp_path / "header.mkv"
    with av.open(str(header), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.start_encoding()
    assert reason_of(header) == "no_video_stream"
    cover = tmp_path / "cover.mp4"
    with av.open(str(cover), "w") as container:
        write_cover(container)
    assert reason_of(cover) == "no_video_stream"


def write_cover(container: av.container.OutputContainer) -> None:
    picture = container.add_stream("mjpeg", rate=1)
    picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
    picture.disposition = av.stream.Disposition.attached_pic.value
    speaker = container.add_stream("aac", rate=16000)
    packets = picture.encode(av.VideoFrame(64, 64, "yuvj420p"))
    container.mux([*packets, *picture.encode(None)])
    write_sound(container, speaker, 0.5)


def test_paths_that_are_not_files_fail_at_once(tmp_path):
    fifo, loop, device = tmp_path / "fifo.mp4", tmp_path / "loop.mp4", tmp_path / "device.mp4"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    device.symlink_to("/dev/zero")
    started = time.monotonic()
    for path in (fifo, loop, device, tmp_path, "/dev/null", "a\0b.mp4", "n" * 300 + ".mp4"):
        assert reason_of(path) == "bad_path", path
    assert reason_of(tmp_path / "absent.mp4") == "missing"
    assert time.monotonic() - started < 1.0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(tmp_path):
    path = write_film(tmp_path / "film.mp4", 2)
    path.chmod(0)
    assert reason_of(path) == "bad_path"


@pytest.mark.parametrize(
    "name", ["ein Film äöü 電影.mp4", 'it\'s "quoted".mp4', "two\nlines.mp4", "-y.mp4", "x" * 246 + ".mp4", "a|b:c?.mp4", "%03d.mp4"]
)
def test_odd_names_are_names(name, tmp_path, monkeypatch):
    film = write_film(tmp_path / "film.mp4", 4)
    film.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert [number_of(frame) for frame in clip_of(name).frames_NCHW] == [0, 1, 2, 3]


# -- damage (faults 16, 17, 18, 26) --------------------------------------------------------------------------------------------------------

FILMS = {
    "mp4": {},
    "mp4, index first": {"container_options": {"movflags": "faststart"}},
    "mp4 in fragments": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "mkv": {},
    "webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "avi": {"codec": "mpeg4"},
    "ts": {},
}


def film_of(tmp_path: Path, name: str) -> Path:
    return write_film(tmp_path / f"film.{name.split()[0].strip(',')}", 60, **FILMS[name])


@pytest.mark.parametrize("name", FILMS)
def test_files_cut_at_each_tenth(name, tmp_path):
    path = film_of(tmp_path, name)
    content = path.read_bytes()
    reasons = []
    for tenth in range(1, 10):
        path.write_bytes(content[: len(content) * tenth // 10])
        reasons.append(reason_of(path))
    allowed = {"unreadable", "truncated", "no_video_stream"}
    if name == "mp4":  # its index is at its end
        assert set(reasons) == {"unreadable"}
    elif name in ("mp4, index first", "webm"):
        assert set(reasons) <= allowed and reasons[-1] == "truncated"
    elif name in ("mkv", "avi"):  # the cut at nine tenths may leave nine tenths of the frames
        assert set(reasons[:-1]) <= allowed and reasons[-2] == "truncated"
    else:  # neither fragments nor transport streams state a length: what is there is a shorter film
        assert set(reasons) <= allowed | {"clip", "corrupt"} and "clip" in reasons


def test_a_truncated_file_may_be_kept_and_its_last_frame_repeats_no_unseen_second(tmp_path):
    path = film_of(tmp_path, "mp4, index first")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    info = probe(str(path))
    assert info.truncated and info.declared_s == pytest.approx(6.0) and info.duration_s < 5.4
    clip = clip_of(path, keep_truncated=True)
    numbers = [number_of(frame) for frame in clip.frames_NCHW]
    assert numbers == sorted(set(numbers)) and clip.times_s[-1] <= info.duration_s
    assert clip.times_s == pytest.approx([number / 10 for number in numbers])


@pytest.mark.parametrize("factor, reason", [(0.25, "clip"), (1.0, "clip"), (3.0, "truncated")])
def test_time_stamps_win_over_a_wrong_length_in_the_header(factor, reason, tmp_path):
    path = write_film(tmp_path / "film.mkv", 60)
    content = path.read_bytes()
    place = content.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a double
    length = struct.unpack(">d", content[place : place + 8])[0]
    path.write_bytes(content[:place] + struct.pack(">d", length * factor) + content[place + 8 :])
    info = probe(str(path))
    assert info.duration_s == pytest.approx(6.0) and info.frames == 60
    assert reason_of(path) == reason


@pytest.mark.parametrize("name", FILMS)
def test_flipped_bits_give_a_clip_or_a_reason(name, tmp_path):
    path = film_of(tmp_path, name)
    content = path.read_bytes()
    reasons = set()
    for seed in range(30):
        drawn = random.Random(seed)
        damaged = bytearray(content)
        within = len(content) if seed % 2 else min(len(content), 1500)
        for _ in range(drawn.choice([1, 5, 60])):
            damaged[drawn.randrange(within)] ^= 1 << drawn.randrange(8)
        path.write_bytes(damaged)
        reasons.add(reason_of(path))
    assert "clip" in reasons and (len(reasons) > 1 or name == "ts")


def test_decoding_that_fails_on_the_way_is_corrupt(tmp_path):
    path = write_film(tmp_path / "film.mov", 60, codec="png", pixels="rgb24")
    content = bytearray(path.read_bytes())
    starts = [place for place in range(len(content) - 8) if content[place : place + 8] == b"\x89PNG\r\n\x1a\n"]
    content[starts[30] : starts[30] + 8] = bytes(8)
    path.write_bytes(content)
    assert reason_of(path) == "corrupt"
    info = probe(str(path))
    clip = decode(info, plan_frames(info, VideoConfig(**dict(CONFIG) | {"frames_per_box": 1}), SMALL, (0.0, 1.0, 2.0)))
    assert [number_of(frame) for frame in clip.frames_NCHW] == [0, 10, 20, 20]  # what lies before the damage is sound


# -- codecs and sizes (faults 22, 24, 29, 30) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending, old, new, name",
    [
        ("mp4", b"avc1", b"zzzz", "zzzz"),
        ("mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/AVC", "V_MPEG9/ISO/AVC"),
        ("avi", b"FMP4", b"ZZZZ", "ZZZZ"),
    ],
)
def test_a_codec_that_nobody_knows_is_named(ending, old, new, name, tmp_path):
    path = write_film(tmp_path / f"film.{ending}", 10, codec="mpeg4" if ending == "avi" else "libx264")
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert reason_of(path) == f"unsupported_codec:{name}"


def test_pictures_too_thin_to_cut_into_patches(tmp_path):
    assert reason_of(write_film(tmp_path / "film.mkv", 2, size=(4096, 16), codec="mpeg4")) == "bad_aspect"


def test_huge_pictures_are_refused_before_memory_is_taken(tmp_path):
    in_header = write_film(tmp_path / "header.mkv", 2, size=(256, 256), codec="ffv1")
    content = in_header.read_bytes()
    for mark in (b"\xb0\x82", b"\xba\x82"):  # PixelWidth and PixelHeight, two bytes each
        assert content.count(mark + b"\x01\x00") == 1
        content = content.replace(mark + b"\x01\x00", mark + b"\x40\x00")
    in_header.write_bytes(content)
    in_pictures = write_film(tmp_path / "pictures.mov", 2, codec="png", pixels="rgb24")  # the header is right, the pictures lie
    content = in_pictures.read_bytes()
    size = b"IHDR" + struct.pack(">II", 96, 64)
    assert content.count(size) == 2
    content = content.replace(size, b"IHDR" + struct.pack(">II", 16_384, 16_384))
    place = content.index(b"IHDR")
    checksum = struct.pack(">I", zlib.crc32(content[place : place + 17]))
    in_pictures.write_bytes(content.replace(content[place + 17 : place + 21], checksum))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "1.png").write_bytes(in_pictures.read_bytes()[place - 12 :])
    reset_peak_memory()
    before = memory_kib("VmRSS")
    assert {reason_of(path) for path in (in_header, in_pictures, folder)} <= {"too_large", "unreadable"}
    assert memory_kib("VmHWM") - before < 64 * 1024  # one such picture is 768 MiB


def test_frames_without_end_are_refused(tmp_path, monkeypatch):
    stated = write_film(tmp_path / "film.mp4", 30)
    monkeypatch.setattr("videochat_r1.video.source.MAX_FRAMES", 20)
    assert reason_of(stated) == "too_large"
    unstated = write_film(tmp_path / "film.mkv", 30)
    assert reason_of(unstated) == "clip"
    monkeypatch.setattr("videochat_r1.video.decode.MAX_FRAMES", 20)
    assert reason_of(unstated) == "too_large"


def reset_peak_memory() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("no measure of peak memory on this system")


def memory_kib(name: str) -> int:
    """VmRSS, or VmHWM for its peak since `clear_refs` was written."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def test_4k_takes_little_more_memory_than_its_frames(tmp_path):
    large = write_film(tmp_path / "large.mp4", 4, size=(3840, 2160))
    clip_of(write_film(tmp_path / "small.mp4", 4))
    reset_peak_memory()
    before = memory_kib("VmRSS")
    info = probe(str(large))
    clip = decode(info, plan_frames(info, VideoConfig(), Geometry(patch=14, merge=2, temporal_patch=2)))
    assert clip.frames_NCHW.shape[:2] == (4, 3) and clip.frames_NCHW.shape[3] > 700
    assert memory_kib("VmHWM") - before < 300 * 1024  # one frame is 24 MiB as RGB and 95 MiB in float32


def test_nothing_leaks(tmp_path):
    good, bad = write_film(tmp_path / "good.mp4", 10), tmp_path / "bad.mp4"
    bad.write_bytes(good.read_bytes()[:2000])
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("no list of open files on this system")

    def round_trip(times: int) -> tuple[int, int]:
        for _ in range(times):
            assert reason_of(good) == "clip" and reason_of(bad) != "clip"
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len(list(handles.iterdir())), pages * os.sysconf("SC_PAGE_SIZE")

    files, memory = round_trip(20)
    files_later, memory_later = round_trip(100)
    assert files_later == files
    assert memory_later - memory < 8 * 2**20
