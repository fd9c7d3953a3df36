"""Clues -> windows -> seconds to look at. Pure functions: spans and seconds in, spans and seconds out, all counted from the source's first
frame. A second stays what it is in every look: a window is a set of seconds, never a film of its own that begins at 0."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from videochat_r1.chat.config import CluesConfig
from videochat_r1.rewards.intervals import merged, total_length
from videochat_r1.types import Span

NO_CLUE, INVALID, COVERS_ALL = "no_clue", "invalid_clue", "covers_all"
"""Why an answer gives nothing to look at again: it names no span, none of its spans lies in the video, or they cover nearly all of it."""

NO_TOKENS, NOT_CLOSER = "no_tokens", "not_closer"
"""Why a clue is not followed: no tokens are left, or too few for a look that shows more of the windows than the one that named them."""


def windows_of(spans: Sequence[Span] | None, seen_s: Sequence[float], duration_s: float, config: CluesConfig) -> list[Span] | str:
    """The disjoint windows, in order, that the spans of an answer ask to look at again; or the reason why there are none.

    seen_s: seconds of the frames that the answer rests on. Reversed spans and spans past the end are dropped, others cut to the video; a
    span of no length names a moment. Each is widened by pad_s and by pad_gaps gaps between the frames around its ends (where in that gap
    an event begins, that look could not tell), then to min_window_s; what lies within merge_s becomes one."""
    if not spans:
        return NO_CLUE
    windows = []
    for start_s, end_s in spans[: config.max_clues]:
        if math.isfinite(start_s) and math.isfinite(end_s) and 0.0 <= start_s <= end_s and start_s < duration_s:
            end_s = min(end_s, duration_s)
            before_s = max(config.pad_s, config.pad_gaps * gap_at(seen_s, start_s))
            after_s = max(config.pad_s, config.pad_gaps * gap_at(seen_s, end_s))
            windows.append(_widened((max(start_s - before_s, 0.0), min(end_s + after_s, duration_s)), config.min_window_s, duration_s))
    if not windows:
        return INVALID
    joined = joined_within(windows, config.merge_s)
    return COVERS_ALL if total_length(joined) >= config.covers_all * duration_s else joined


def gap_at(seen_s: Sequence[float], second: float) -> float:
    """Seconds between the two seen frames around a second; before the first and after the last frame the nearest gap."""
    if len(seen_s) < 2:
        return 0.0
    right = min(max(bisect_right(seen_s, second), 1), len(seen_s) - 1)
    return max(seen_s[right] - seen_s[right - 1], 0.0)


def joined_within(spans: Sequence[Span], merge_s: float) -> list[Span]:
    """The spans in order, those with no more than merge_s between them joined into one."""
    joined: list[Span] = []
    for start_s, end_s in merged(spans):
        if joined and start_s - joined[-1][1] <= merge_s:
            joined[-1] = (joined[-1][0], end_s)
        else:
            joined.append((start_s, end_s))
    return joined


def is_closer(
    windows: Sequence[Span], seen_s: Sequence[float], seen_px: tuple[int, int], next_s: Sequence[float], next_px: tuple[int, int]
) -> bool:
    """Whether a next look shows more of the windows than the last: no fewer frames in them and no smaller ones, and more or larger.

    seen_s, next_s: seconds of the frames; seen_px, next_px: their height and width. A look of fewer frames than the last one's answers
    from less than is known already, and its answer, which stands, throws the better one away: however large its frames, it cannot tell
    when an event begins that falls between them."""
    seen, following = (sum(any(start <= at <= end for start, end in windows) for at in times_s) for times_s in (seen_s, next_s))
    seen_area, next_area = math.prod(seen_px), math.prod(next_px)
    return following >= max(seen, 1) and next_area >= seen_area and (following, next_area) != (seen, seen_area)


def outside(windows: Sequence[Span], duration_s: float) -> list[Span]:
    """What of the video lies in none of the disjoint windows, in order."""
    edges = [0.0, *(second for window in windows for second in window), duration_s]
    return [(start_s, end_s) for start_s, end_s in zip(edges[::2], edges[1::2], strict=True) if end_s > start_s]


def look_seconds(windows: Sequence[Span], duration_s: float, *, fps: float, moments: int, context_share: float, patch: int) -> list[float]:
    """Seconds of the frames of a look at windows and at their surroundings, never falling, `patch` frames a moment.

    At most `moments` moments, and at least one a window: inside the windows frames stand evenly, at `fps` at most; a share of the moments
    (context_share, rounded down) is spread evenly over what lies outside, each moment's frames 1 / fps apart where there is room. Windows
    grow to whole moments at `fps`, so that a window and one look at the whole video show the same seconds."""
    length_s = patch / fps
    whole = joined_within([_on_grid(window, length_s, duration_s) for window in windows], 0.0)
    around = outside(whole, duration_s)
    context = max(min(int(moments * context_share), moments - len(whole)), 0) if around else 0
    wanted = sum(max(round((end_s - start_s) / length_s), 1) for start_s, end_s in whole)
    inside = max(min(wanted, moments - context), len(whole))
    groups = []
    for (start_s, end_s), count in zip(whole, _parted(inside, [end_s - start_s for start_s, end_s in whole]), strict=True):
        step_s = (end_s - start_s) / (count * patch)
        groups += [[start_s + (moment * patch + frame) * step_s for frame in range(patch)] for moment in range(count)]
    groups += _context(around, context, fps, patch)
    return [second for group in sorted(groups) for second in group]


def _context(around: Sequence[Span], count: int, fps: float, patch: int) -> list[list[float]]:
    """`count` moments, each at the middle of an equal part of what lies around; none reaches out of its stretch."""
    total_s = total_length(list(around))
    groups = []
    for number in range(count):
        at_s = (number + 0.5) * total_s / count
        for start_s, end_s in around:
            if at_s <= end_s - start_s:
                break
            at_s -= end_s - start_s
        middle_s = min(start_s + at_s, end_s)
        half_s = min((patch - 1) / (2 * fps), middle_s - start_s, end_s - middle_s, 0.49 * total_s / count)
        groups.append([middle_s + (2 * frame / max(patch - 1, 1) - 1) * half_s for frame in range(patch)])
    return groups


def _on_grid(window: Span, length_s: float, duration_s: float) -> Span:
    """Grown to whole moments, but not past the video's end."""
    start_s, end_s = (round(second / length_s, 6) for second in window)
    return math.floor(start_s) * length_s, min(math.ceil(end_s) * length_s, max(duration_s, window[1]))


def _parted(count: int, lengths_s: Sequence[float]) -> list[int]:
    """`count` moments shared out by length, one each at least (count must do for that)."""
    total_s = sum(lengths_s)
    owed = [count * length_s / total_s for length_s in lengths_s]
    parts = [max(int(share), 1) for share in owed]
    while sum(parts) != count:
        step = 1 if sum(parts) < count else -1
        able = [index for index, part in enumerate(parts) if part + step >= 1]
        parts[max(able, key=lambda index: step * (owed[index] - parts[index]))] += step
    return parts


def _widened(window: Span, least_s: float, duration_s: float) -> Span:
    """At least least_s long about its middle, moved to lie within the video."""
    start_s, end_s = window
    if end_s - start_s >= min(least_s, duration_s):
        return window
    start_s = min(max((start_s + end_s - least_s) / 2, 0.0), max(duration_s - least_s, 0.0))
    return start_s, min(start_s + least_s, duration_s)
