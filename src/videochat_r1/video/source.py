"""Opening a video file safely: regular local files of four containers, bounded in pixels, every fault a VideoError with a reason code."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from videochat_r1.errors import VideoError
from videochat_r1.video.faults import fault

MAX_FRAME_PIXELS = 2**26  # 8192 x 8192: 8K films pass; a 16k x 16k picture would take 768 MiB as RGB
MAX_FRAMES = 2**21  # nine hours at 60 frames a second
READ_BYTES = 2**15

_MOV_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"styp", b"moof", b"sidx"))
_DECODER_OPTIONS = {"max_pixels": str(MAX_FRAME_PIXELS)}  # a header may lie: the decoder itself must refuse, before it allocates
_DEMUXER_OPTIONS = {"protocol_whitelist": "", "format_whitelist": "mov,matroska,webm,avi,mpegts"}
_HEADER_BYTES = 2**20
_CODEC_NAMES = {
    "mov": re.compile(rb"stsd.{12}([ -~]{4})", re.DOTALL),
    "matroska": re.compile(rb"\x86[\x81-\xff](V_[A-Z0-9/_.]{1,32})"),
    "avi": re.compile(rb"vids([ -~]{4})"),
}


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
        raise fault("missing", f"No video at {path}.") from None
    except (OSError, ValueError) as error:
        raise fault("bad_path", f"{path!r} cannot be opened: {_line(error)}.") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise fault("bad_path", f"{path} is not a regular file.")
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
    except (av.DecoderNotFoundError, av.PatchWelcomeError, av.NotImplementedError) as error:
        raise fault("unsupported_codec:unknown", f"{path} cannot be decoded: {_line(error)}.") from None
    except Exception as error:  # on hostile files PyAV also raises ValueError, AttributeError, UnicodeDecodeError, MemoryError
        raise fault("unreadable", f"{path} cannot be read: {_line(error)}.") from None


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


@contextmanager
def open_video(path: str, threads: int = 1) -> Iterator[tuple[InputContainer, VideoStream]]:
    """An open container of an allowed kind and its first stream of moving pictures, with a decoder of so many threads.

    FFmpeg reads through our descriptor and gets no name: neither a protocol nor another file can be opened from within a file.
    """
    with open_regular(path) as file, reading(path):
        kind = container_of(file.read(1024))
        if kind is None:
            raise fault("not_a_video", f"{path} is not an mp4, mov, mkv, webm, avi or ts file.")
        file.seek(0)
        options = _DEMUXER_OPTIONS | _DECODER_OPTIONS
        try:
            container = av.open(file, "r", format=kind, options=options, metadata_errors="replace", buffer_size=READ_BYTES, io_open=_refuse)
        except av.EOFError:
            # A Matroska or AVI header may stand alone; an mp4 that ends in its index is cut.
            raise fault("unreadable" if kind == "mov" else "no_video_stream", f"{path} ends before its first frame.") from None
        with container:
            stream = _moving_pictures(path, container)
            if stream.codec_context is None:
                name = _codec_name(path, kind)
                what = f"No decoder here reads {path}, whose codec is {name or 'not named'}."
                raise fault(f"unsupported_codec:{name}" if name else "unreadable", what)
            _bound(path, stream, threads)
            yield container, stream


def _refuse(*_: Any) -> Any:
    raise PermissionError("a video file may not open another file")


def _moving_pictures(path: str, container: InputContainer) -> VideoStream:
    """The stream of pictures that FFmpeg calls the best, as other readers take it; the first one where that is a cover or thumbnails."""
    if not any(stream.type in ("video", "audio", "subtitle") for stream in container.streams):
        raise fault("unreadable", f"{path} has a header that describes no stream.")
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        raise fault("no_video_stream", f"{path} has no moving pictures.")
    best = container.streams.best("video")
    return next((stream for stream in streams if best is not None and stream.index == best.index), streams[0])


def _bound(path: str, stream: VideoStream, threads: int) -> None:
    """Holds a stream's decoder to the bounds, before it opens."""
    context = stream.codec_context
    check_size(path, context.width, context.height)
    if stream.frames > MAX_FRAMES:
        raise fault("too_large", f"{path} has {stream.frames} frames, more than {MAX_FRAMES}.")
    context.thread_count = threads
    context.thread_type = "AUTO" if threads > 1 else "SLICE"
    context.options = dict(_DECODER_OPTIONS)


def _codec_name(path: str, kind: str) -> str:
    """What the file calls its codec, or "": PyAV says nothing of a codec that it has no decoder for. Read where headers stand."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        parts = [file.read(_HEADER_BYTES)]
        if size > _HEADER_BYTES:
            file.seek(max(_HEADER_BYTES, size - _HEADER_BYTES))
            parts.append(file.read(_HEADER_BYTES))
    content = b"".join(parts)
    start = max(content.find(b"vide"), 0) if kind == "mov" else 0  # the video track's own sample description, not the sound's
    match = _CODEC_NAMES[kind].search(content, start) if kind in _CODEC_NAMES else None
    return match[1].decode("ascii").strip() if match else ""


def check_size(path: str, width: int, height: int) -> None:
    """Raises VideoError("too_large") for a picture beyond MAX_FRAME_PIXELS."""
    if width * height > MAX_FRAME_PIXELS:
        raise fault("too_large", f"{path} has pictures of {width}x{height}, more than {MAX_FRAME_PIXELS} pixels.")
