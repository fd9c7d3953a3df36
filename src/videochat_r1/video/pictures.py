"""A folder of numbered pictures as a video: GOT-10k's 00000001.jpg and so on. Each is decoded by itself, from its own bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from videochat_r1.video.faults import fault
from videochat_r1.video.source import MAX_FRAME_PIXELS, MAX_FRAMES, open_regular, reading

_NUMBERED = re.compile(r"(?:[^\d].*?)?(\d{1,12})\.(jpe?g|png|bmp|webp)", re.IGNORECASE)
_CODECS = ((b"\xff\xd8\xff", "mjpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"BM", "bmp"), (b"RIFF", "webp"))
_MAX_PICTURE_BYTES = 2**28


def list_pictures(folder: str, rate: float) -> tuple[tuple[float, str], ...]:
    """(second, file name) of each numbered picture, in order; the first is at 0.0 and a missing number leaves a gap in time.

    Raises VideoError("bad_path") where the folder cannot be listed or holds none.
    """
    try:
        numbers = {int(match[1]): name for name in sorted(os.listdir(folder)) if (match := _NUMBERED.fullmatch(name))}
    except (OSError, ValueError) as error:
        raise fault("bad_path", f"{folder!r} cannot be listed: {error}.") from None
    if not numbers:
        raise fault("bad_path", f"{folder} is a folder without numbered pictures.")
    if len(numbers) > MAX_FRAMES:
        raise fault("too_large", f"{folder} has {len(numbers)} pictures, more than {MAX_FRAMES}.")
    first = min(numbers)
    return tuple(((number - first) / rate, numbers[number]) for number in sorted(numbers))


def read_picture(folder: str, name: str) -> VideoFrame:
    """One picture, decoded. Raises VideoError: "unreadable", "not_a_video" for an unknown kind, "bad_path", "missing", "too_large"."""
    path = os.path.join(folder, name)
    with open_regular(path) as file, reading(path):
        if os.fstat(file.fileno()).st_size > _MAX_PICTURE_BYTES:
            raise fault("too_large", f"{path} is larger than {_MAX_PICTURE_BYTES >> 20} MiB.")
        content = file.read()
        kind = next((codec for magic, codec in _CODECS if content.startswith(magic)), None)
        if kind is None:
            raise fault("not_a_video", f"{path} is not a JPEG, PNG, BMP or WebP picture.")
        decoder = VideoCodecContext.create(kind, "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        frames = [*decoder.decode(av.Packet(content)), *decoder.decode(None)]
        if not frames:
            raise fault("unreadable", f"{path} holds no picture.")
        return frames[0]


def frames_at(pictures: Sequence[tuple[float, str]], folder: str, wanted_s: Sequence[float]) -> Iterator[tuple[float, VideoFrame]]:
    """(second, picture) nearest to each wanted second, in order; of two equally near the earlier. Only those pictures are read."""
    index = 0
    for second in wanted_s:
        while index + 1 < len(pictures) and pictures[index + 1][0] - second < second - pictures[index][0] - 1e-9:
            index += 1
        yield pictures[index][0], read_picture(folder, pictures[index][1])
