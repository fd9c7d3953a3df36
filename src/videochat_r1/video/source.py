"""Opening a video file safely: regular local files of four containers, bounded in pixels, every fault a VideoError with a reason code.

Reason codes
    missing            nothing is there
    bad_path           a directory without numbered pictures, a FIFO, a device, a loop of links, no permission to read
    not_a_video        not one of the allowed containers, by its first bytes
    unreadable         the container or the first picture cannot be read
    no_video_stream    sound only, cover art only, or a header without frames
    unsupported_codec:NAME   no decoder, or no way from its pixels to RGB
    too_large          more pixels in a frame, or more frames, than the bounds below
    truncated          the file ends before 0.9 of its stated length
    corrupt            decoding fails before the frames that are asked for
    too_short          an asked second lies past the end
    bad_times, bad_aspect    see sampling.py and resize.py"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from videochat_r1.errors import VideoError

MAX_FRAME_PIXELS = 2**26  # 8192 x 8192: 8K films pass; a 16k x 16k picture would take 768 MiB as RGB
MAX_FRAMES = 2**21  # nine hours at 60 frames a second
READ_BYTES = 2**16

_MOV_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"styp", b"moof", b"sidx"))


def container_of(head: bytes) -> str | None:
    """FFmpeg's name for the container that a file with these first bytes is in, or None where it is none of the allowed ones."""
    if head[4:8] in _MOV_BOXES:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    for size, first in ((188, 0), (192, 4)):  # plain transport packets, and those of M2TS with a time stamp before each
        marks = head[first::size]
        if len(marks) >= 3 and set(marks[:4]) == {0x47}:
            return "mpegts"
    return None


def open_regular(path: str) -> IO[bytes]:
    """The file at `path`, open for reading. Raises VideoError at once for what is missing, unreadable or not a regular file."""
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer for ever. The check is on what was opened, not on the name.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise VideoError("missing", f"No video at {path}.", "Check the folder of videos and the files' ending.") from None
    except (OSError, ValueError) as error:
        raise VideoError("bad_path", f"{path!r} cannot be opened: {error}.", "Give a regular file that may be read.") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise VideoError("bad_path", f"{path} is not a regular file.", "Give a video file, or a folder of numbered pictures.")
        return os.fdopen(handle, "rb", buffering=0)
    except BaseException:
        os.close(handle)
        raise


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns whatever the decoder raises into a VideoError that names the file."""
    try:
        yield
    except VideoError:
        raise
    except av.EOFError:
        raise VideoError("no_video_stream", f"{path} holds a header and no frames.", "Fetch the file again, or leave it out.") from None
    except (av.DecoderNotFoundError, av.PatchWelcomeError, av.NotImplementedError) as error:
        raise VideoError("unsupported_codec:unknown", f"{path} cannot be decoded: {_line(error)}.", "Convert it to H.264 in MP4.") from None
    except Exception as error:  # PyAV raises more than FFmpegError on hostile files: ValueError, AttributeError, UnicodeDecodeError, MemoryError
        raise VideoError("unreadable", f"{path} cannot be read: {_line(error)}.", "Fetch the file again, or leave it out.") from None


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


@contextmanager
def open_video(path: str, threads: int = 1) -> Iterator[tuple[InputContainer, VideoStream]]:
    """An open container of an allowed kind and its first stream of moving pictures, with a decoder of so many threads.

    The file is read through its own descriptor: no name reaches FFmpeg, so neither a protocol nor another file can be opened from it.
    """
    with open_regular(path) as file, reading(path):
        name = container_of(file.read(1024))
        if name is None:
            raise VideoError("not_a_video", f"{path} is not an mp4, mov, mkv, webm, avi or ts file.", "Fetch the file again, or convert it to H.264 in MP4.")
        file.seek(0)
        options = {"max_pixels": str(MAX_FRAME_PIXELS), "protocol_whitelist": "", "format_whitelist": "mov,matroska,webm,avi,mpegts"}
        with av.open(file, "r", format=name, options=options, metadata_errors="replace", buffer_size=READ_BYTES, io_open=_refuse) as container:
            yield container, _moving_pictures(path, container, threads)


def _refuse(*_: Any) -> Any:
    raise PermissionError("a video file may not open another file")


def _moving_pictures(path: str, container: InputContainer, threads: int) -> VideoStream:
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [stream for stream in container.streams if stream.type == "video" and not stream.disposition & covers]
    if not streams:
        raise VideoError("no_video_stream", f"{path} has no moving pictures.", "Check that the file is a video and not sound or a cover.")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        raise VideoError("unsupported_codec:unknown", f"{path} is in a codec that no decoder here reads.", "Convert it to H.264 in MP4.")
    check_size(path, context.width, context.height)
    if stream.frames > MAX_FRAMES:
        raise VideoError("too_large", f"{path} has {stream.frames} frames, more than {MAX_FRAMES}.", "Cut it into parts.")
    context.thread_count = threads
    context.thread_type = "AUTO" if threads > 1 else "SLICE"
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # the header may lie: the decoder itself must refuse, before it allocates
    return stream


def check_size(path: str, width: int, height: int) -> None:
    """Raises VideoError("too_large") for a picture beyond MAX_FRAME_PIXELS."""
    if width * height > MAX_FRAME_PIXELS:
        raise VideoError("too_large", f"{path} has pictures of {width}x{height}, more than {MAX_FRAME_PIXELS} pixels.", "Scale it down.")
