"""Drawn scenes with exact truth: things that appear, move, grow and leave.

A scene is a pure function of its level, series and number. Positions are normalised to the picture (x to the right, y down), times are
seconds. Spans begin and end on half seconds, so that clips sampled at 2 frames a second show them exactly."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

from videochat_r1.types import Box, Span

SHAPES = ("circle", "square", "triangle", "diamond", "cross")
COLOURS = {
    "red": (228, 54, 48),
    "green": (52, 180, 74),
    "blue": (56, 104, 226),
    "yellow": (240, 214, 50),
    "purple": (162, 72, 208),
    "orange": (244, 142, 36),
    "white": (236, 236, 236),
}
WAYS = ("left", "right", "up", "down")
LEVELS = ("easy", "several", "alike", "long")
Level = Literal["easy", "several", "alike", "long"]

STEP_S = 0.5  # appearances and departures lie on this grid


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One drawn thing: it goes from `start` to `end` over the whole scene, and is visible from appears_s until leaves_s."""

    shape: str
    colour: str
    radius: float  # half of its side at the start, as a share of the picture's
    growth: float  # the radius is multiplied by 1 + growth on the way
    start: tuple[float, float]
    end: tuple[float, float]
    sway: float  # the path leaves the straight line by this much, as one wave of a sine
    appears_s: float
    leaves_s: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def a_name(self) -> str:
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"

    @property
    def way(self) -> str:
        """The direction that most of its path goes."""
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        return ("right" if dx > 0 else "left") if abs(dx) >= abs(dy) else ("down" if dy > 0 else "up")

    @property
    def span(self) -> Span:
        return (self.appears_s, self.leaves_s)

    def visible(self, second: float) -> bool:
        return self.appears_s <= second < self.leaves_s

    def box(self, second: float, duration_s: float) -> Box:
        """Where it is at that second, visible or not; never outside of the picture."""
        u = min(max(second / duration_s, 0.0), 1.0)
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        length = math.hypot(dx, dy) or 1.0
        wave = self.sway * math.sin(2 * math.pi * u)
        radius = self.radius * (1 + self.growth * u)
        x = min(max(self.start[0] + dx * u - wave * dy / length, radius), 1 - radius)
        y = min(max(self.start[1] + dy * u + wave * dx / length, radius), 1 - radius)
        return (x - radius, y - radius, x + radius, y + radius)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Things over a plain ground. The first thing is the one that is asked about."""

    id: str
    level: str
    duration_s: float
    ground: tuple[int, int, int]
    poor: bool  # filmed badly: grainy and pale
    grain_seed: int
    things: tuple[Thing, ...]

    @property
    def target(self) -> Thing:
        return self.things[0]


def draw(level: str, series: str, number: int, *, whole: bool | None = None) -> Scene:
    """Scene `number` of a series ("train-0", "test-0", ...) at a level; different series share no scene.

    whole: the target stays through the whole scene (as tracking needs), or it does not, or either."""
    rng = random.Random(f"{level}/{series}/{number}")
    duration_s = 16.0 if level == "long" else 8.0
    count = {"easy": 1, "several": rng.choice((2, 3)), "alike": rng.choice((2, 3)), "long": rng.choice((1, 2))}[level]
    whole = rng.random() < 0.4 if whole is None else whole
    looks = _looks(rng, count, alike=level == "alike")
    things = [_thing(rng, look, duration_s, whole=whole if index == 0 else rng.random() < 0.5) for index, look in enumerate(looks)]
    shade = rng.randint(16, 64)
    ground = (shade + rng.randint(-8, 8), shade + rng.randint(-8, 8), shade + rng.randint(-8, 8))
    scene_id = f"{level}-{series}-{number:06d}"
    poor = rng.random() < 0.3
    return Scene(id=scene_id, level=level, duration_s=duration_s, ground=ground, poor=poor, grain_seed=rng.getrandbits(31), things=tuple(things))


def _looks(rng: random.Random, count: int, *, alike: bool) -> list[tuple[str, str]]:
    """Different (colour, shape) pairs; alike: each distractor shares the target's colour or its shape."""
    target = (rng.choice(list(COLOURS)), rng.choice(SHAPES))
    looks = [target]
    while len(looks) < count:
        look = (rng.choice(list(COLOURS)), rng.choice(SHAPES))
        if alike:
            look = (target[0], look[1]) if rng.random() < 0.5 else (look[0], target[1])
        if look not in looks:
            looks.append(look)
    return looks


def _thing(rng: random.Random, look: tuple[str, str], duration_s: float, *, whole: bool) -> Thing:
    radius = rng.uniform(0.09, 0.16)
    growth = rng.choice((0.0, 0.0, 0.0, 0.5, -0.35))
    room = radius * (1 + max(growth, 0.0)) + 0.02
    along, across = rng.uniform(0.45, 1.0), rng.uniform(-0.25, 0.25)  # shares of the room to move in: one axis clearly dominates
    low, high = room, 1 - room
    travel = along * (high - low)
    first = rng.uniform(low, high - travel)
    second = rng.uniform(low + abs(across) * (high - low) * (across < 0), high - across * (high - low) * (across > 0))
    a, b = (first, second), (first + travel, min(max(second + across * (high - low), low), high))
    if rng.random() < 0.5:
        a, b = (a[1], a[0]), (b[1], b[0])
    if rng.random() < 0.5:
        a, b = b, a
    appears_s, leaves_s = 0.0, duration_s
    if not whole:
        steps = int(duration_s / STEP_S)
        length = rng.randint(2, int(steps * 0.6))
        start = rng.randint(0, steps - length)
        appears_s, leaves_s = start * STEP_S, (start + length) * STEP_S
    sway = rng.choice((0.0, rng.uniform(-0.12, 0.12)))
    return Thing(
        shape=look[1], colour=look[0], radius=radius, growth=growth, start=a, end=b, sway=sway, appears_s=appears_s, leaves_s=leaves_s
    )
