"""Decoded pictures as they are meant to be seen: RGB, eight bits, turned and mirrored as the file says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import av
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from videochat_r1.video.faults import fault

if TYPE_CHECKING:
    from torch import Tensor


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """(degrees clockwise, mirrored): how a stored picture is shown, mirrored left to right first and then turned.

    Read from the display matrix, x' = a x + c y and y' = b x + d y with y down, rounded to the nearest of the eight orientations;
    FFmpeg also gives the EXIF orientation of a JPEG in this form.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    assert isinstance(data, SideData)
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(c) > abs(d):
        degrees = 90 if c < 0 else 270
    else:
        degrees = 180 if d < 0 else 0
    return degrees, a * d - b * c < 0


def displayed_size(frame: VideoFrame, pixel_aspect: float) -> tuple[int, int]:
    """(width, height) in square pixels of a picture as shown. pixel_aspect: width over height of a stored pixel."""
    width, height = frame.width, frame.height
    if 1 / 16 <= pixel_aspect <= 16:  # beyond that it is a damaged header, not a lens
        width = max(1, round(width * pixel_aspect))
    return (height, width) if orientation(frame)[0] in (90, 270) else (width, height)


class RgbReader:
    """Turns decoded frames into displayed pictures; one for each clip, as it keeps its colour converter."""

    def __init__(self) -> None:
        self._converter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Tensor:
        """The picture (3, H, W), uint8, by the file's own colour matrix and range. Raises VideoError where there is no way to RGB."""
        import torch

        try:
            rgb = self._converter.reformat(frame, format="rgb24", threads=1)
        except (av.FFmpegError, ValueError) as error:
            kind = frame.format.name
            raise fault(f"unsupported_codec:{kind}", f"Pixels of the kind {kind} do not convert to RGB: {error}.") from None
        picture_HWC = torch.from_numpy(rgb.to_ndarray())
        degrees, mirrored = orientation(frame)
        if mirrored:
            picture_HWC = picture_HWC.flip(1)
        return torch.rot90(picture_HWC, -degrees // 90, (0, 1)).permute(2, 0, 1)
