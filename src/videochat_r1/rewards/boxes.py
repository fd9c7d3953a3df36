"""Boxes in a picture: how well two of them, or two sequences of them, agree. (x0, y0, x1, y1), normalised to 0..1."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from videochat_r1.rewards.numbers import NUMBER, write_number
from videochat_r1.types import Box

LONGEST_BOX_TEXT = 200
"""Characters for each box of a list, at most, white space included."""

_SIDES = ",".join([rf"-?{NUMBER}"] * 4)
_BOX = re.compile(rf"\[{_SIDES}\]|\({_SIDES}\)")
_PARTED_NUMBER = re.compile(r"[0-9.]\s+[0-9.]")


def is_box(box: Sequence[float]) -> bool:
    """Whether four numbers are a box of some area within the picture."""
    return len(box) == 4 and all(math.isfinite(side) for side in box) and 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1


def check_boxes(boxes: Sequence[Box] | None) -> tuple[Box, ...]:
    """The boxes of a truth: the given one and one more at least. Raises ValueError where one is empty, reversed or outside the picture."""
    if not boxes or len(boxes) < 2:
        raise ValueError("The truth of a tracking sample has the given box and one more at least.")
    for index, box in enumerate(boxes):
        if not is_box(box):
            raise ValueError(f"Box {index} of the truth, {tuple(box)}, is empty, reversed or not within 0..1.")
    return tuple(boxes)


def box_iou(predicted: Box, truth: Box) -> float:
    """Intersection over union of two boxes, from 0.0 (apart) to 1.0 (the same).

    A reversed or empty prediction covers nothing and scores 0.0; such a truth, or one outside the picture, raises ValueError.
    Source: the overlap of Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2."""
    if not is_box(truth):
        raise ValueError(f"The truth's box {tuple(truth)} is empty, reversed or not within 0..1.")
    if tuple(predicted) == tuple(truth):
        return 1.0
    width = min(predicted[2], truth[2]) - max(predicted[0], truth[0])
    height = min(predicted[3], truth[3]) - max(predicted[1], truth[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    shared = width * height
    return min(1.0, shared / (_area(predicted) + _area(truth) - shared))


def box_giou(predicted: Box, truth: Box) -> float:
    """Generalised IoU of two boxes, mapped to 0.0 .. 1.0: (1 + IoU - (H - U) / H) / 2, with U the area of their union and H of the smallest
    box around both. 1.0 for the same box, 0.5 for two that touch side by side, towards 0.0 the further they are apart.

    A reversed or empty prediction covers nothing and scores 0.0; such a truth, or one outside the picture, raises ValueError.
    Source: Rezatofighi et al. 2019, "Generalized Intersection over Union", arXiv:1902.09630 (there from -1 to 1)."""
    shared = box_iou(predicted, truth)
    ours, theirs = (_area(box) if box[0] < box[2] and box[1] < box[3] else 0.0 for box in (predicted, truth))
    if ours <= 0.0:
        return 0.0
    if shared == 1.0:
        return 1.0
    union = (ours + theirs) / (1.0 + shared)  # from IoU = I / U and U = A + B - I
    hull = _area((min(predicted[0], truth[0]), min(predicted[1], truth[1]), max(predicted[2], truth[2]), max(predicted[3], truth[3])))
    return min(1.0, max(0.0, (1.0 + shared - (hull - union) / hull) / 2))


def box_ious(predicted: Sequence[Box] | None, truth: Sequence[Box]) -> list[float]:
    """IoU of each box with its counterpart; all 0.0 where nothing, or another number of boxes, was predicted.

    Raises ValueError as box_iou does."""
    if predicted is None or len(predicted) != len(truth):
        return [0.0] * len(truth)
    return [box_iou(ours, theirs) for ours, theirs in zip(predicted, truth, strict=True)]


def read_boxes(text: str, count: int) -> tuple[Box, ...] | str:
    """The boxes of a list such as "[[0.1, 0.2, 0.3, 0.4], ...]", or the reason why there are none: too_long, bad_list, count, out_of_range.

    There must be `count` of them, of four numbers from 0 to 1 each; pixels and per mille are out of range. A reversed box is read: it
    covers nothing."""
    if len(text) > LONGEST_BOX_TEXT * (count + 1):
        return "too_long"
    if _PARTED_NUMBER.search(text):
        return "bad_list"
    compact = "".join(text.split())
    matches = list(_BOX.finditer(compact))
    inner = ",".join(match.group() for match in matches)
    if not inner or compact not in (f"[{inner}]", f"[{inner},]"):
        return "bad_list"
    if len(matches) != count:
        return "count"
    boxes = tuple(_box(match.group()) for match in matches)
    if any(not 0.0 <= side <= 1.0 for box in boxes for side in box):
        return "out_of_range"
    return boxes


def is_asked_boxes(text: str, count: int) -> bool:
    """Whether a list has the very form that is asked for: square brackets throughout, `count` boxes of some area within the picture."""
    boxes = read_boxes(text, count)
    return not isinstance(boxes, str) and "(" not in text and ")" not in text and all(is_box(box) for box in boxes)


def write_boxes(boxes: Sequence[Box]) -> str:
    """ "[[0.1, 0.2, 0.3, 0.4], ...]", with the decimals that are needed. Raises ValueError as write_number does."""
    return "[" + ", ".join("[" + ", ".join(write_number(side) for side in box) + "]" for box in boxes) + "]"


def _box(text: str) -> Box:
    x0, y0, x1, y1 = (float(side) for side in text[1:-1].split(","))
    return x0, y0, x1, y1


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
