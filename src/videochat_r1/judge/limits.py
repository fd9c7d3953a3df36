"""How often an endpoint is called: so many a minute, and not at all while it is down. Time is the caller's: tests need none."""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds from any start, never falling: time.monotonic."""


class Bucket:
    """So much a minute, with ten seconds' worth at once after a rest.

    Who comes takes at once, and is told how long to wait: no caller overtakes another, and none is starved by smaller ones."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self.per_second = per_minute / 60.0
        self.capacity = max(1.0, 10.0 * self.per_second)
        self.clock = clock
        self.level = self.capacity
        self.seen_s = clock()

    def take(self, amount: float) -> float:
        """Take an amount and give the seconds to wait before using it; 0.0 where there is no limit."""
        if not self.per_second:
            return 0.0
        now = self.clock()
        self.level = min(self.capacity, self.level + (now - self.seen_s) * self.per_second)
        self.seen_s = now
        self.level -= amount
        return max(0.0, -self.level / self.per_second)

    def settle(self, amount: float) -> None:
        """Take so much more than was taken, or give it back where it is below 0."""
        self.level = min(self.capacity, self.level - amount)


class Breaker:
    """After so many failures in a row nobody calls for a while; then one tries for all.

    closed: everybody calls. open: nobody, for pause_s. half open: one call is under way, the others wait for how it ends."""

    def __init__(self, failures: int, pause_s: float, clock: Clock) -> None:
        self.failures, self.pause_s, self.clock = failures, pause_s, clock
        self.in_a_row = 0
        self.opened_s: float | None = None
        self.probing = False
        self.times_opened = 0

    @property
    def is_open(self) -> bool:
        return self.opened_s is not None

    def wait_s(self) -> float:
        """Seconds to wait before asking again; 0.0: call now (and tell how it went)."""
        if self.opened_s is None:
            return 0.0
        left = self.opened_s + self.pause_s - self.clock()
        if left > 0.0:
            return left
        if self.probing:
            return min(0.1, self.pause_s)
        self.probing = True
        return 0.0

    def went_well(self) -> None:
        """The endpoint answered, whatever it said."""
        self.in_a_row, self.opened_s, self.probing = 0, None, False

    def failed(self) -> None:
        """The endpoint did not answer, or said that it cannot."""
        self.in_a_row += 1
        if self.probing or (self.opened_s is None and self.in_a_row >= self.failures):
            self.times_opened += 1
            self.opened_s, self.probing = self.clock(), False

    def given_up(self) -> None:
        """The call that tried for all was called off: another may."""
        self.probing = False
