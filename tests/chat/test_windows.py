import random
from itertools import pairwise

import pytest

from videochat_r1.chat.config import CluesConfig
from videochat_r1.chat.windows import COVERS_ALL, INVALID, NO_CLUE, gap_at, is_closer, joined_within, look_seconds, outside, windows_of
from videochat_r1.rewards.intervals import total_length

PLAIN = CluesConfig(pad_s=1.0, pad_gaps=0.0, merge_s=1.0, min_window_s=4.0, covers_all=0.8)
SEEN_S = [float(second) for second in range(0, 100, 5)]


@pytest.mark.parametrize(
    "spans, expected",
    [
        ([(20.0, 30.0)], [(19.0, 31.0)]),
        ([(20.0, 30.0), (31.0, 40.0)], [(19.0, 41.0)]),
        ([(40.0, 50.0), (10.0, 20.0)], [(9.0, 21.0), (39.0, 51.0)]),
        ([(10.0, 20.0), (23.0, 30.0)], [(9.0, 31.0)]),
        ([(50.0, 50.5)], [(48.25, 52.25)]),
        ([(50.0, 50.0)], [(48.0, 52.0)]),
        ([(0.0, 0.2)], [(0.0, 4.0)]),
        ([(99.5, 250.0)], [(96.0, 100.0)]),
        ([(30.0, 20.0), (40.0, 50.0)], [(39.0, 51.0)]),
        ([(5.0, 94.0)], COVERS_ALL),
        ([(0.0, 100.0)], COVERS_ALL),
        ([(30.0, 20.0)], INVALID),
        ([(100.0, 120.0)], INVALID),
        ([(float("nan"), 3.0), (-3.0, 2.0), (1.0, float("inf"))], INVALID),
        ([], NO_CLUE),
        (None, NO_CLUE),
    ],
    ids=[
        "padded",
        "touching",
        "apart and out of order",
        "within merge_s once padded",
        "short",
        "a moment",
        "at the start",
        "past the end",
        "one reversed",
        "nearly all",
        "all",
        "reversed alone",
        "past the end alone",
        "no numbers",
        "an empty list",
        "no list",
    ],
)
def test_clues_become_windows(spans, expected):
    found = windows_of(spans, SEEN_S, 100.0, PLAIN)
    assert found == (expected if isinstance(expected, str) else [pytest.approx(window) for window in expected])


def test_a_clue_grows_by_the_gap_in_which_its_ends_may_lie():
    config = PLAIN.model_copy(update={"pad_gaps": 1.0})
    assert windows_of([(20.0, 30.0)], SEEN_S, 100.0, config) == [(15.0, 35.0)]
    uneven = [0.0, 18.0, 19.0, 20.5, 30.0, 90.0]
    assert windows_of([(19.5, 25.0)], uneven, 100.0, config) == [(18.0, 34.5)]


def test_only_so_many_clues_are_followed_in_the_order_named():
    spans = [(float(at), at + 2.0) for at in (80, 60, 40, 20)]
    assert [start for start, _ in windows_of(spans, SEEN_S, 100.0, PLAIN.model_copy(update={"max_clues": 2}))] == [59.0, 79.0]


def test_gaps_around_a_second():
    assert [gap_at([0.0, 2.0, 3.0, 7.0], second) for second in (-1.0, 0.0, 1.0, 2.0, 5.0, 7.0, 90.0)] == [2, 2, 2, 1, 4, 4, 4]
    assert gap_at([3.0], 3.0) == gap_at([], 1.0) == 0.0


def test_windows_at_two_frames_a_second_show_what_one_look_shows():
    seconds = look_seconds([(4.0, 8.0)], 16.0, fps=2.0, moments=8, context_share=0.0, patch=2)
    assert seconds == [4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5]
    assert look_seconds([(4.3, 7.6)], 16.0, fps=2.0, moments=8, context_share=0.0, patch=2) == seconds  # grown to whole moments


def test_frames_are_thinned_where_tokens_are_short_and_parted_by_length():
    assert look_seconds([(4.0, 8.0)], 16.0, fps=2.0, moments=2, context_share=0.0, patch=2) == [4.0, 5.0, 6.0, 7.0]
    seconds = look_seconds([(0.0, 2.0), (8.0, 14.0)], 16.0, fps=2.0, moments=4, context_share=0.0, patch=2)
    assert sum(second < 4 for second in seconds) == 2 and len(seconds) == 8  # one moment of four for a quarter of the seconds


def test_context_lies_outside_and_is_spread():
    seconds = look_seconds([(40.0, 50.0)], 100.0, fps=1.0, moments=10, context_share=0.4, patch=2)
    around = [second for second in seconds if not 40.0 <= second < 50.0]
    assert len(around) == 8 and len(seconds) == 18
    assert seconds == sorted(seconds) and min(around) < 15 and max(around) > 85


def test_what_lies_outside():
    assert outside([(0.0, 2.0), (5.0, 6.0)], 6.0) == [(2.0, 5.0)]
    assert outside([], 6.0) == [(0.0, 6.0)] and outside([(0.0, 6.0)], 6.0) == []
    assert joined_within([(5.0, 6.0), (0.0, 2.0), (2.5, 3.0)], 0.5) == [(0.0, 3.0), (5.0, 6.0)]


def test_any_clues_give_sorted_windows_and_never_more_moments_than_paid_for():
    rng = random.Random(0)
    for _ in range(3000):
        duration_s = rng.choice((0.5, 7.3, 60.0, 3600.0))
        seen_s = sorted(rng.uniform(0, duration_s) for _ in range(rng.randint(1, 40)))
        spans = [(rng.uniform(-5, 1.2 * duration_s), rng.uniform(-5, 1.2 * duration_s)) for _ in range(rng.randint(0, 12))]
        share, patch, moments, fps = rng.choice((0.0, 0.3, 0.9)), rng.choice((1, 2)), rng.randint(1, 40), rng.choice((0.5, 2.0, 3.0))
        config = CluesConfig(pad_s=rng.uniform(0, 3), merge_s=rng.uniform(0, 5), covers_all=1.0, context_share=share)
        windows = windows_of(spans, seen_s, duration_s, config)
        if isinstance(windows, str):
            continue
        assert all(0.0 <= start < end <= duration_s for start, end in windows)
        assert all(left[1] + config.merge_s < right[0] for left, right in pairwise(windows))
        seconds = look_seconds(windows, duration_s, fps=fps, moments=moments, context_share=share, patch=patch)
        assert seconds == sorted(seconds) and seconds[0] >= 0.0 and seconds[-1] <= duration_s
        assert len(seconds) % patch == 0 and len(seconds) <= patch * max(moments, len(windows))
        moment_s = patch / fps
        inside = [second for second in seconds if any(start - moment_s < second < end + moment_s for start, end in windows)]
        assert len(inside) >= patch and len(inside) <= patch * (total_length(windows) / moment_s + 3 * len(windows) + moments)


@pytest.mark.parametrize(
    "next_s, next_px, closer",
    [
        ([10.0, 10.5, 11.0, 11.5], (32, 32), True),
        ([10.0, 11.5], (32, 32), False),
        ([10.0, 11.0, 12.0], (32, 32), False),
        ([10.0, 11.0, 12.0], (64, 32), True),
        ([10.0, 11.5], (64, 64), False),
        ([10.0, 10.5, 11.0, 11.5], (16, 16), False),
        ([0.0, 5.0, 10.0, 11.0, 12.0, 30.0], (32, 32), False),
    ],
    ids=["more frames", "fewer", "the same", "the same, larger", "fewer, larger", "more, smaller", "more of them elsewhere"],
)
def test_a_closer_look_shows_more_of_its_windows_and_nothing_less(next_s, next_px, closer):
    assert is_closer([(10.0, 12.0)], [8.0, 10.0, 11.0, 12.0, 13.0], (32, 32), next_s, next_px) is closer


def test_a_window_that_no_frame_fell_into_wants_one_at_least():
    assert is_closer([(10.0, 12.0)], [8.0, 13.0], (32, 32), [11.0], (32, 32))
    assert not is_closer([(10.0, 12.0)], [8.0, 13.0], (32, 32), [9.0], (64, 64))
