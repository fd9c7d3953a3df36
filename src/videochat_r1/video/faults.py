"""Why a video cannot be used: reason codes, and what to do about each."""

from __future__ import annotations

from videochat_r1.errors import VideoError

MENDS = {
    "missing": "Check the folder of videos and the files' ending.",
    "bad_path": "Give a regular video file, or a folder with 00000001.jpg and so on, that may be read.",
    "not_a_video": "Fetch the file again, or convert it to H.264 in MP4.",  # by its first bytes none of mp4, mov, mkv, webm, avi, ts
    "unreadable": "Fetch the file again, or leave it out.",  # the container or its first picture
    "no_video_stream": "Check that the file is a video, and not sound or a cover alone.",
    "unsupported_codec": "Convert it to H.264 in MP4.",  # always with the codec or pixel format: "unsupported_codec:av1"
    "too_large": "Scale it down, or cut it into parts.",
    "truncated": "Fetch the file again, or set video.on_truncated to keep.",  # it ends before 0.9 of its stated length
    "corrupt": "Fetch the file again, or leave it out.",  # decoding fails before the frames that are asked for
    "too_short": "Check the annotation, or whether the file is whole.",  # an asked second lies past the end
    "bad_times": "Check the annotation's times.",
    "bad_aspect": "Crop it, or leave it out.",
}


def fault(reason: str, what: str) -> VideoError:
    """The error for a reason code, with its mend. A code may go on after a colon: "unsupported_codec:av1"."""
    return VideoError(reason, what, MENDS[reason.partition(":")[0]])
