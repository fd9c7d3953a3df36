"""Numbers of things in words."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """ "1 row", "2 rows", "1,024 sample ids". many: what more than one are called, where it is not that with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
