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
SEEN_SHIFT = 0.03  # share of the picture's side that a thing moves at least while it is there: two pixels of 64


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
        """The direction that most of its path goes; the part of it that is seen goes there too."""
        return _direction(self.end[0] - self.start[0], self.end[1] - self.start[1])

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

    whole: the target stays through the whole scene (as tracking needs), or it does not, or either. The id tells the three apart.

    Levels: easy has one thing; several two or three; alike two or three, each like the target in colour or in shape; these last 8 s.
    long has one or two and lasts 16 s."""
    rng = random.Random(f"{level}/{series}/{number}")
    duration_s = 16.0 if level == "long" else 8.0
    count = {"easy": 1, "several": rng.choice((2, 3)), "alike": rng.choice((2, 3)), "long": rng.choice((1, 2))}[level]
    scene_id = f"{level}-{series}-{number:06d}" + {None: "", True: "-whole", False: "-part"}[whole]
    whole = rng.random() < 0.4 if whole is None else whole
    looks = _looks(rng, count, alike=level == "alike")
    things = [_thing(rng, look, duration_s, whole=whole if index == 0 else rng.random() < 0.5) for index, look in enumerate(looks)]
    shade = rng.randint(16, 64)
    ground = (shade + rng.randint(-8, 8), shade + rng.randint(-8, 8), shade + rng.randint(-8, 8))
    poor = rng.random() < 0.3
    return Scene(
        id=scene_id,
        level=level,
        duration_s=duration_s,
        ground=ground,
        poor=poor,
        grain_seed=rng.getrandbits(31),
        things=tuple(things),
    )


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
    """A thing whose seen part moves its way: a short visit at the crest of a sway would show another direction than the path has."""
    while True:
        radius = rng.uniform(0.09, 0.16)
        growth = rng.choice((0.0, 0.0, 0.0, 0.5, -0.35))
        start, end = _path(rng, room=radius * (1 + max(growth, 0.0)) + 0.02)
        appears_s, leaves_s = (0.0, duration_s) if whole else _stay(rng, duration_s)
        thing = Thing(
            shape=look[1],
            colour=look[0],
            radius=radius,
            growth=growth,
            start=start,
            end=end,
            sway=rng.choice((0.0, rng.uniform(-0.12, 0.12))),
            appears_s=appears_s,
            leaves_s=leaves_s,
        )
        if _shows_its_way(thing, duration_s):
            return thing


def _path(rng: random.Random, *, room: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Start and end of a line that keeps `room` to the picture's edges and goes along one axis much farther than along the other."""
    low, high = room, 1 - room
    along, across = rng.uniform(0.45, 1.0) * (high - low), rng.uniform(-0.25, 0.25) * (high - low)
    first = rng.uniform(low, high - along)
    second = rng.uniform(low + max(-across, 0.0), high - max(across, 0.0))
    start, end = (first, second), (first + along, second + across)
    if rng.random() < 0.5:
        start, end = (start[1], start[0]), (end[1], end[0])
    return (end, start) if rng.random() < 0.5 else (start, end)


def _stay(rng: random.Random, duration_s: float) -> Span:
    """From one second to six tenths of the scene."""
    steps = int(duration_s / STEP_S)
    length = rng.randint(2, int(steps * 0.6))
    first = rng.randint(0, steps - length)
    return first * STEP_S, (first + length) * STEP_S


def _shows_its_way(thing: Thing, duration_s: float) -> bool:
    early, late = thing.box(thing.appears_s, duration_s), thing.box(thing.leaves_s - STEP_S, duration_s)
    dx, dy = (late[0] + late[2] - early[0] - early[2]) / 2, (late[1] + late[3] - early[1] - early[3]) / 2
    return max(abs(dx), abs(dy)) >= SEEN_SHIFT and _direction(dx, dy) == thing.way


def _direction(dx: float, dy: float) -> str:
    return ("right" if dx > 0 else "left") if abs(dx) >= abs(dy) else ("down" if dy > 0 else "up")
