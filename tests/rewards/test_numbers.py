"""Numbers: what is one, and that it is written as it is read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videochat_r1.rewards.numbers import read_number, read_seconds, write_number


@pytest.mark.parametrize("text, number", [("0", 0.0), ("007.50", 7.5), ("999999999.99999999999999999", 1e9), ("12.5", 12.5)])
def test_numbers(text, number):
    assert read_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "+1", "-1", ".5", "5.", "1e9", "1e999", "nan", "inf", "NaN", "Infinity", "1_000", "1,000", "0x10"]
    + ["\u0661", "\u00b2", "\x00", "\ud800"]
    + ["1" * 10, "0." + "1" * 18, "1\n", "1" * 1_000_000],
)
def test_what_is_not_a_number(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    "text, seconds",
    [("12.5", 12.5), ("0:12", 12.0), ("00:12", 12.0), ("2:05.25", 125.25), ("99:00", 5940.0), ("1:02:03", 3723.0)]
    + [("0:60", None), ("1:60:00", None), ("1:2", None), ("1:02:03:04", None), (":12", None), ("1:", None), ("12:3x", None)],
)
def test_seconds(text, seconds):
    assert read_seconds(text) == seconds


@pytest.mark.parametrize(
    "value, least, text", [(12.5, 2, "12.50"), (12.345, 2, "12.345"), (0, 1, "0.0"), (1e-5, 1, "0.00001"), (1e8, 1, "100000000.0")]
)
def test_written_numbers(value, least, text):
    assert write_number(value, least) == text


@given(st.floats(0, 1e9, exclude_max=True))
def test_a_written_number_is_read_back(value):
    assert read_number(write_number(value)) == pytest.approx(value, rel=0, abs=1e-17)


@pytest.mark.parametrize("value", [-1.0, 1e9, math.nan, math.inf, -math.inf])
def test_what_cannot_be_read_back_is_not_written(value):
    with pytest.raises(ValueError, match="written"):
        write_number(value)
