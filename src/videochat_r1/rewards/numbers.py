"""Numbers in a model's text: read within bounds, written so that they are read back exactly.

A number that is read has at most 9 digits before the point and 17 after it, all ASCII: every value is finite, and every coordinate or
second that Python can print comes back to within 1e-17. Nothing else is a number here: no sign, exponent, thousands separator, nan."""

from __future__ import annotations

import math
import re
from decimal import Decimal

NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,17})?"
"""The source of a pattern for one number."""

LARGEST = 1e9
"""Every number that is read is below it."""

_NUMBER = re.compile(NUMBER)
_CLOCK = re.compile(r"(?:([0-9]{1,3}):)?([0-9]{1,3}):([0-9]{2}(?:\.[0-9]{1,17})?)")


def read_number(text: str) -> float | None:
    """The number that the whole text spells, 0 <= number < 1e9, or None."""
    return float(text) if _NUMBER.fullmatch(text) else None


def read_seconds(text: str) -> float | None:
    """A time in seconds from "17.83", from "0:17.83" (minutes and seconds) or from "1:02:03" (hours, minutes and seconds), or None."""
    if _NUMBER.fullmatch(text):
        return float(text)
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        return None
    hours, minutes, seconds = clock.groups()
    if float(seconds) >= 60 or (hours is not None and int(minutes) >= 60):
        return None
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds)


def write_number(value: float, least_decimals: int = 1) -> str:
    """The shortest decimal text that is read back as `value`, with at least so many decimals: 12.5 is "12.50" with two.

    value: 0 <= value < 1e9. Raises ValueError on any other: such a number could not be read back."""
    if not (math.isfinite(value) and 0 <= value < LARGEST):
        raise ValueError(f"A number to be written must lie in 0 .. 1e9, not {value!r}.")
    whole, _, decimals = format(Decimal(repr(float(value))), "f").partition(".")
    if len(decimals) > 17:
        whole, _, decimals = f"{value:.17f}".partition(".")
    decimals = decimals.rstrip("0")
    return f"{whole}.{decimals:0<{least_decimals}}"
