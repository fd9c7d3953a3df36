"""Spans of time: how well two of them, or two sets of them, agree. Seconds from the first frame throughout."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from videochat_r1.rewards.numbers import LARGEST, NUMBER, read_seconds, write_number
from videochat_r1.types import Span

LONGEST_SPAN_TEXT = 1_000
"""Characters of an answer that is to be one span, at most."""

LONGEST_LIST_TEXT = 16_000
"""Characters of an answer that is to be a list of spans, at most: some hundreds of them."""

_TIME = re.compile(r"[0-9][0-9.,:]*")
_BETWEEN = re.compile(r"\s{0,8}(?:s|secs?|seconds?)?\s{0,8},?\s{0,8}(?:to|and|until|till|through|[-~\u2013\u2014])\s{0,8}", re.IGNORECASE)
_UNIT = re.compile(r"\s{0,8}(?:s|secs?|seconds?)\b", re.IGNORECASE)
_OTHER_UNIT = re.compile(r"%|\b(?:percent|frames?|m|mins?|minutes?|h|hrs?|hours?|ms|milliseconds?)\b", re.IGNORECASE)
_ASKED_SPAN = re.compile(rf"({NUMBER}) to ({NUMBER})")
_PAIR = re.compile(rf"\(({NUMBER}),({NUMBER})\)|\[({NUMBER}),({NUMBER})\]")
_PARTED_NUMBER = re.compile(r"[0-9.]\s+[0-9.]")


def check_spans(spans: Sequence[Span] | None) -> tuple[Span, ...]:
    """The spans of a truth. Raises ValueError where there are none, or where one is empty, reversed, negative or not finite."""
    if not spans:
        raise ValueError("The truth has no spans.")
    for start, end in spans:
        if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end < LARGEST):
            raise ValueError(f"The truth's span ({start}, {end}) is empty, reversed, negative or not finite.")
    return tuple(spans)


def overlap(a: Span, b: Span) -> float:
    """Seconds that two spans share; a reversed span covers nothing."""
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def tiou(predicted: Span, truth: Span) -> float:
    """Temporal intersection over union of two spans, from 0.0 (apart) to 1.0 (the same).

    predicted, truth: (start, end) in seconds from the first frame. A reversed or empty prediction covers nothing and scores 0.0:
    the model pays for it. A reversed or empty truth raises ValueError: no reward may hide a dataset's fault.
    Source: the IoU of "R@n, IoU=m" in Gao et al. 2017, arXiv:1705.02101.
    """
    check_spans([truth])
    shared = overlap(predicted, truth)
    # Spans that share time cover a hull without a gap, so the hull is their union.
    return shared / (max(predicted[1], truth[1]) - min(predicted[0], truth[0])) if shared > 0.0 else 0.0


def iop(predicted: Span, truth: Span) -> float:
    """Share of the prediction that lies within the truth: intersection over the prediction's length, 0.0 for a prediction of no length.

    Raises ValueError on a truth at fault. Source: IoP of NExT-GQA, Xiao et al. 2024, arXiv:2309.01327."""
    check_spans([truth])
    shared = overlap(predicted, truth)
    return min(1.0, shared / (predicted[1] - predicted[0])) if shared > 0.0 else 0.0


def merged(spans: Sequence[Span]) -> list[Span]:
    """The same seconds as disjoint spans in order. Empty and reversed spans cover nothing and are left out."""
    disjoint: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if disjoint and start <= disjoint[-1][1]:
            disjoint[-1] = (disjoint[-1][0], max(disjoint[-1][1], end))
        else:
            disjoint.append((start, end))
    return disjoint


def total_length(disjoint: Sequence[Span]) -> float:
    """Seconds that disjoint spans cover."""
    return math.fsum(end - start for start, end in disjoint)


def union_iou(predicted: Sequence[Span], truth: Sequence[Span]) -> float:
    """Seconds covered by both sets of spans over seconds covered by either, 0.0 .. 1.0; overlaps within a set count once.

    An empty prediction scores 0.0; a truth that is empty or holds an empty or reversed span raises ValueError.
    Source: the glue reward of VideoChat-R1, arXiv:2504.06958, as its code computes it."""
    theirs, ours = merged(check_spans(truth)), merged(predicted)
    shared, i, j = 0.0, 0, 0
    while i < len(ours) and j < len(theirs):
        shared += overlap(ours[i], theirs[j])
        if ours[i][1] < theirs[j][1]:
            i += 1
        else:
            j += 1
    if shared <= 0.0:
        return 0.0
    if ours == theirs:
        return 1.0
    return min(1.0, shared / (total_length(ours) + total_length(theirs) - shared))


def union_ious(predicted: Sequence[Span], truth: Sequence[Span]) -> list[float]:
    """`union_iou([span], truth)` of each of many spans with start < end, for little more than one costs: to search for the best of them.

    Raises ValueError on a truth at fault."""
    theirs = merged(check_spans(truth))
    true_s = total_length(theirs)
    seconds = {second for span in predicted for second in span}
    covered_s = {second: sum(overlap((0.0, second), span) for span in theirs) for second in seconds}
    scores = []
    for start, end in predicted:
        shared = covered_s[end] - covered_s[start]
        scores.append(shared / (end - start + true_s - shared))
    return scores


def timestamp_tiou(predicted: Span, truth: Span, duration_s: float) -> float:
    """IoU of two spans, lessened by how far each end is from the true one: IoU x (1 - |start - start'| / d) x (1 - |end - end'| / d).

    duration_s: d, of the video; an end that is further off than that earns 0.0. Raises ValueError on a truth at fault, and where the
    duration is not above 0. Source: the timestamp-aware IoU of Time-R1, Wang et al. 2025, arXiv:2503.13377, section 3.2; its released
    code does not hold the two factors above 0."""
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise ValueError(f"A duration of {duration_s} s measures no distance.")
    share = tiou(predicted, truth)
    for ours, theirs in zip(predicted, truth, strict=True):
        share *= max(0.0, 1.0 - abs(ours - theirs) / duration_s)
    return share


def wasserstein_s(first: Sequence[Span], second: Sequence[Span]) -> float:
    """The 1-D Wasserstein distance (earth mover's) of two sets of spans, in seconds: the mean way that the seconds of one, spread evenly
    over it, have to go to lie evenly over the other. 0.0 for the same seconds; of two spans of the same length their distance.

    It is the integral of |F - G|, of the two cumulative distributions, which are straight between the ends of spans; so it is exact.
    Raises ValueError where one of the sets covers nothing. Source: Vallender 1974, "Calculation of the Wasserstein distance between
    probability distributions on the line"."""
    sets = merged(first), merged(second)
    lengths = [total_length(spans) for spans in sets]
    if not all(lengths):
        raise ValueError("A set of spans that covers nothing lies nowhere.")
    ends = sorted({end for spans in sets for span in spans for end in span})
    gaps = []
    for end in ends:
        ours, theirs = (sum(overlap((ends[0], end), span) for span in spans) / length for spans, length in zip(sets, lengths, strict=True))
        gaps.append(ours - theirs)
    return math.fsum(_area_s(gaps[k], gaps[k + 1], ends[k + 1] - ends[k]) for k in range(len(ends) - 1))


def _area_s(before: float, after: float, width_s: float) -> float:
    """The area between zero and a straight line that goes from `before` to `after`."""
    if before * after >= 0.0:
        return (abs(before) + abs(after)) / 2 * width_s
    return (before * before + after * after) / (abs(before) + abs(after)) / 2 * width_s  # two triangles


def span_closeness(predicted: Sequence[Span], truth: Sequence[Span], rate: float = 1.0) -> float:
    """exp(-rate x W1 / L): 1.0 for the same seconds, and above 0.0 however far apart, so that a miss by little is told from one by much.

    W1: `wasserstein_s`; L: the seconds that either set covers. A prediction that covers nothing scores 0.0. Raises ValueError on a truth at
    fault. Source: the temporal Wasserstein reward of TimeLens2, arXiv:2607.17423; its published training sets rate to 1 and adds tIoU."""
    theirs = check_spans(truth)
    ours = merged(predicted)
    if not ours:
        return 0.0
    covered_s = total_length(merged([*ours, *theirs]))
    return math.exp(-rate * wasserstein_s(ours, theirs) / covered_s)


def read_span(text: str) -> Span | str:
    """The one span that an answer names, or the reason why there is none: too_long, digits, no_span, several_spans, bad_number, bad_unit.

    "12.54 to 17.83" is what is asked for. "12.5s - 17.8s", "from 12.5 to 17.8 seconds" and clock times ("0:12 to 0:17") are read too.
    Two numbers it must be, and no more: of three, nobody can say which two are meant. Signs, exponents, thousands separators, other
    units and digits that are not ASCII are not read. The span may be reversed: it then covers nothing."""
    if len(text) > LONGEST_SPAN_TEXT:
        return "too_long"
    if not text.isascii() and any(letter.isnumeric() for letter in text if letter > "\x7f"):
        return "digits"
    times = [(match.start(), match.group().rstrip(".,:")) for match in _TIME.finditer(text)]
    if len(times) != 2:
        return "no_span" if len(times) < 2 else "several_spans"
    (first, first_text), (second, second_text) = times
    start_s, end_s = read_seconds(first_text), read_seconds(second_text)
    if start_s is None or end_s is None or (first > 0 and (text[first - 1].isalnum() or text[first - 1] in "._+-\u2212$")):
        return "bad_number"
    if _OTHER_UNIT.search(text):
        return "bad_unit"
    if not _BETWEEN.fullmatch(text, first + len(first_text), second):
        return "no_span"
    after = second + len(second_text)
    if after < len(text) and (text[after].isalnum() or text[after] == "_") and not _UNIT.match(text, after):
        return "bad_number"
    return start_s, end_s


def is_asked_span(text: str) -> bool:
    """Whether an answer has the very form that is asked for, "start to end" in seconds with start < end, and nothing else."""
    match = _ASKED_SPAN.fullmatch(text.strip()) if len(text) <= LONGEST_SPAN_TEXT else None
    return match is not None and float(match[1]) < float(match[2])


def read_spans(text: str) -> tuple[Span, ...] | None:
    """The spans of a list such as "[(5.2, 10.4), (20, 31.5)]", or None. Square brackets for the pairs, a comma at the end and missing outer
    brackets are read too; "[]" is a list of no spans."""
    if len(text) > LONGEST_LIST_TEXT or _PARTED_NUMBER.search(text):
        return None
    compact = "".join(text.split())
    pairs = list(_PAIR.finditer(compact))
    inner = ",".join(match.group() for match in pairs)
    if compact not in ((f"[{inner}]", f"[{inner},]", inner) if inner else ("[]",)):
        return None
    return tuple((float(match[1] or match[3]), float(match[2] or match[4])) for match in pairs)


def is_asked_list(text: str) -> bool:
    """Whether a list has the very form that is asked for, "[(s1, e1), (s2, e2), ...]": one span at least, each start before its end."""
    spans = read_spans(text)
    if not spans or any(start >= end for start, end in spans):
        return False
    compact = "".join(text.split())
    return compact.startswith("[(") and compact.endswith((")]", "),]")) and compact.count("[") == 1


def write_span(span: Span) -> str:
    """ "12.54 to 17.83": two decimals as the paper asks for, more where two are not exact. Raises ValueError as write_number does."""
    return f"{write_number(span[0], 2)} to {write_number(span[1], 2)}"


def write_spans(spans: Sequence[Span]) -> str:
    """ "[(5.2, 10.4), (20.0, 31.5)]", with the decimals that are needed. Raises ValueError as write_number does."""
    return "[" + ", ".join(f"({write_number(start)}, {write_number(end)})" for start, end in spans) + "]"
