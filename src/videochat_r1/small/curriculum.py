"""What the small base model is taught, and when: lessons for seeing first, then time, then the answer formats with mostly lazy answers.

Everything is a pure function of (seed, step), so that worker processes can prepare steps in any order.

The answers to the two target tasks, grounding and tracking, are lazy by design: most of them say the whole video, or copy the given box.
A model that learned from them answers in format but badly when it is asked for its likeliest answer, while its samples hold true answers
too. That is the state in which reinforcement finds a real model; README and the report say so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from videochat_r1.tasks.base import Asking, load_task
from videochat_r1.types import Answer, Sample
from videochat_r1.world.questions import BOXES, Lesson, fits, frame_lessons, letter_lesson, sample, video_lessons, when_lesson
from videochat_r1.world.scenes import STEP_S, Scene, draw

FRAMES_A_SECOND = 2
FILE_FPS = 8  # of the world's video files
THINKING_SHARE = 0.12


@dataclass(frozen=True)
class Stage:
    """Some steps of one kind. Weights: levels, of each level of scenes; lessons, how often each kind of question is asked."""

    name: str
    steps: int
    videos: int  # a step; half as many where scenes are long
    lessons: dict[str, float]
    levels: dict[str, float]
    tails: int  # questions asked of one video
    lr: float  # at its highest; each stage has a warm-up and a cosine of its own
    single_moments: bool = False  # a frame of each scene, not the whole of it
    review: tuple[
        tuple[Stage, float], ...
    ] = ()  # earlier stages, and the share of the steps that are theirs: what is left out is forgotten
    length_power: float = 0.0  # a token weighs its answer's length to the power of minus this: else long lists drown a single letter
    true_share: float = 0.3  # of the answers to the target tasks; the others are lazy
    whole_share: float = 0.6  # of the grounding answers: the whole video; what is left are spans drawn without a look
    variants: int = 1  # how many different questions by letter are asked of one video


FRAMES = Stage(
    name="frames",
    steps=900,
    videos=144,
    lessons={"name": 1.3, "count": 0.2, "box": 1.9, "letter": 0.8, "video_qa": 0.8},
    levels={"easy": 0.75, "several": 0.25},
    tails=1,
    lr=2e-3,
    single_moments=True,
)
LETTERS = replace(  # to find an option's letter is learned where nothing else is, and asked where a picture is cheapest
    FRAMES,
    name="letters",
    steps=260,
    videos=40,
    lessons={"letter": 1.0, "video_qa": 1.0},
    levels={"easy": 1.0},
    tails=4,
    lr=1e-3,
    variants=4,
)
TIME = Stage(
    name="time",
    steps=850,
    videos=24,
    lessons={
        "presence": 3.0,
        "list": 2.5,
        "where": 1.0,
        "seen": 1.0,
        "when": 1.0,
        "first": 0.7,
        "last": 0.7,
        "way": 1.5,
        "letter": 0.3,
        "video_qa": 1.5,
        "description": 1.2,
    },
    levels={"easy": 0.8, "several": 0.2},
    tails=5,
    lr=2e-3,
    review=((replace(FRAMES, videos=96), 0.06), (replace(LETTERS, videos=24), 0.06)),
    length_power=0.3,
)
TARGETS = Stage(
    name="targets",
    steps=820,
    videos=24,
    lessons={
        "presence": 1.0,
        "list": 1.2,
        "where": 0.6,
        "seen": 0.6,
        "when": 1.5,
        "first": 0.3,
        "last": 0.3,
        "way": 1.2,
        "letter": 0.3,
        "temporal_grounding": 1.8,
        "tracking": 1.6,
        "video_qa": 1.8,
        "grounded_qa": 2.2,
        "description": 1.5,
        "quality": 0.6,
    },
    levels={"easy": 0.74, "several": 0.1, "alike": 0.08, "long": 0.08},
    tails=6,
    lr=1.5e-3,
    review=((replace(FRAMES, videos=96), 0.06), (replace(LETTERS, videos=24), 0.06)),
    length_power=0.6,
)
POLISH = replace(
    TARGETS,
    name="polish",
    steps=320,
    lessons={
        **dict.fromkeys(("presence", "list", "where", "seen", "when", "first", "last", "letter", "quality"), 0.4),
        "way": 1.3,
        "video_qa": 1.2,
        "grounded_qa": 2.5,
        "description": 2.0,
        "temporal_grounding": 1.0,
        "tracking": 1.2,
    },
    levels={"easy": 0.84, "several": 0.07, "alike": 0.05, "long": 0.04},
    lr=8e-4,
    length_power=0.75,
    whole_share=0.7,
    variants=3,
)
STAGES = (FRAMES, LETTERS, TIME, TARGETS, POLISH)


@dataclass(frozen=True)
class Clipping:
    """One scene, the seconds of its frames, and the lessons asked about it."""

    scene: Scene
    times_s: tuple[float, ...]
    lessons: tuple[Lesson, ...]


def clippings(stage: Stage, seed: int, step: int) -> list[Clipping]:
    """The scenes and questions of one step. All have the same number of frames."""
    rng = random.Random(f"{seed}/{stage.name}/{step}")
    for earlier, share in stage.review:
        if rng.random() < share:
            return clippings(earlier, seed, earlier.steps + step)
    long = rng.random() < stage.levels.get("long", 0.0)
    coarse = long and rng.random() < 0.4  # tracking in a long scene: two frames for each box
    levels = {level: weight for level, weight in stage.levels.items() if (level == "long") == long}
    made = []
    for index in range(stage.videos // 2 if long else stage.videos):
        level = rng.choices(list(levels), list(levels.values()))[0]
        scene = draw(level, f"base-{seed}-{stage.name}", step * 1000 + index, whole=True if coarse else None)
        if stage.single_moments:
            grid = [k * STEP_S for k in range(int(scene.duration_s / STEP_S))]
            second = rng.choice([t for t in grid if scene.target.visible(t)] if rng.random() < 0.9 else grid)
            lessons = frame_lessons(scene, second, rng)
            if level == "easy" and scene.target.visible(second):  # the easy level's choices are told by one look
                lessons += _task_lessons(stage, scene, rng)
            made.append(Clipping(scene, (second, second), _chosen(stage, lessons, rng)))
            continue
        lessons = [*video_lessons(scene, rng), *_task_lessons(stage, scene, rng)]
        if "when" in stage.lessons:
            lessons.append(when_lesson(scene))
        if coarse:
            lessons = [lesson for lesson in lessons if lesson.kind not in ("presence", "when", "first", "last")]
        made.append(Clipping(scene, _times(scene, rng, 2 * BOXES if coarse else None), _chosen(stage, lessons, rng)))
    return made


def _times(scene: Scene, rng: random.Random, count: int | None) -> tuple[float, ...]:
    """Seconds of the frames: evenly spaced, or as a sampler picks them from a file, on its grid and up to its last frame."""
    frames = count or int(scene.duration_s * FRAMES_A_SECOND)
    if count is not None or rng.random() < 0.5:
        return tuple(scene.duration_s * k / frames for k in range(frames))
    last = scene.duration_s * FILE_FPS - 1
    return tuple(round(last * k / (frames - 1)) / FILE_FPS for k in range(frames))


def _chosen(stage: Stage, lessons: Sequence[Lesson], rng: random.Random) -> tuple[Lesson, ...]:
    """`tails` lessons without repetition, by the stage's weights."""
    keyed = sorted(dict.fromkeys(lessons), key=lambda lesson: -(rng.random() ** (1 / max(stage.lessons.get(lesson.kind, 0.0), 1e-9))))
    return tuple(lesson for lesson in keyed[: stage.tails] if lesson.kind in stage.lessons)


def _task_lessons(stage: Stage, scene: Scene, rng: random.Random) -> list[Lesson]:
    """The product's own questions; those by letter several times, with other options each time."""
    made = [_asked(name, scene, stage, rng) for name in stage.lessons if name in _TASKS and fits(name, scene)]
    for variant in range(1, stage.variants):
        made.append(letter_lesson(scene, variant))
        other = replace(scene, id=f"{scene.id}/{variant}")
        made += [_asked(name, other, stage, rng) for name in ("video_qa", "grounded_qa") if name in stage.lessons and fits(name, scene)]
    return made


def _asked(task: str, scene: Scene, stage: Stage, rng: random.Random) -> Lesson:
    asking = Asking(thinking=rng.random() < THINKING_SHARE, order="video_first")
    asked, rules = sample(task, scene, ""), _TASKS[task]
    return Lesson(task, rules.ask(asked, asking), rules.write(lazy(asked, stage, rng), asking))


_TASKS = {name: load_task(name) for name in ("temporal_grounding", "tracking", "video_qa", "grounded_qa", "description", "quality")}


def lazy(asked: Sample, stage: Stage, rng: random.Random) -> Answer:
    """The answer that the base model is shown: true for what it should keep, mostly lazy where reinforcement is to teach it."""
    truth, chance = asked.truth, rng.random()
    if chance < stage.true_share:
        return truth
    if truth.boxes is not None:
        return Answer(boxes=truth.boxes[:1] * len(truth.boxes))
    if truth.spans is not None:
        assert asked.duration_s is not None
        steps = int(asked.duration_s / STEP_S)
        start, end = sorted(rng.sample(range(steps + 1), 2))
        is_whole = chance < stage.true_share + stage.whole_share
        return Answer(spans=((0.0, asked.duration_s) if is_whole else (start * STEP_S, end * STEP_S),), choice=truth.choice)
    return truth
