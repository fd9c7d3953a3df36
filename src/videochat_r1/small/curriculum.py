"""What the small base model is taught, and when: lessons for seeing first, then time, then the answer formats with mostly lazy answers.

Everything is a pure function of (seed, step), so that worker processes can prepare steps in any order.

Answers with seconds or boxes (grounding, tracking, the spans of grounded questions) are lazy by design: most of them say the whole video,
or copy the given box. A model that learned from them answers in format but badly when it is asked for its likeliest answer, while its
samples hold true answers too: what reinforcement needs. README and the report say so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
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
    lr: float  # at its highest; one warm-up and one cosine run over all stages in a row with the same
    has_video: bool = True  # else the questions stand alone
    review: tuple[
        tuple[Stage, float], ...
    ] = ()  # earlier stages, and the share of the steps that are theirs: what is left out is forgotten
    length_power: float = 0.0  # a token weighs its answer's length to the power of minus this: else long lists drown a single letter
    true_share: float = 0.3  # of the answers to the target tasks; the others are lazy
    variants: int = 1  # how many different questions by letter are asked of one video
    whole_share: float = 0.5  # of the grounding answers: the whole video; what is left are spans drawn without a look


FRAMES = Stage(
    name="frames",
    steps=1330,
    videos=160,
    lessons={"name": 1.5, "count": 0.4, "box": 2.0, "letter": 1.0},
    levels={"easy": 0.6, "several": 0.4},
    tails=4,
    lr=2e-3,
)
TIME = Stage(
    name="time",
    steps=2090,
    videos=48,
    lessons={
        "presence": 3.0,
        "list": 2.0,
        "where": 1.0,
        "seen": 1.0,
        "first": 1.0,
        "last": 1.0,
        "way": 1.5,
        "letter": 1.0,
        "video_qa": 1.5,
        "description": 1.0,
    },
    levels={"easy": 0.7, "several": 0.3},
    tails=5,
    lr=2e-3,
)
TARGETS = Stage(
    name="targets",
    steps=2280,
    videos=40,
    lessons={
        "presence": 1.5,
        "list": 1.5,
        "where": 1.0,
        "seen": 1.0,
        "first": 0.7,
        "last": 0.7,
        "way": 0.7,
        "letter": 0.5,
        "temporal_grounding": 2.0,
        "tracking": 2.0,
        "video_qa": 2.5,
        "grounded_qa": 2.0,
        "description": 1.0,
        "quality": 0.5,
    },
    levels={"easy": 0.5, "several": 0.2, "alike": 0.15, "long": 0.15},
    tails=6,
    lr=2e-3,
)
LETTERS = Stage(name="letters", steps=280, videos=128, lessons={"letter": 1.0}, levels={"easy": 1.0}, tails=1, lr=1e-3, has_video=False)
REFINE = Stage(
    name="refine",
    review=((replace(FRAMES, videos=48), 0.15), (replace(LETTERS, videos=64), 0.1)),
    steps=360,
    videos=24,
    lessons={
        "presence": 0.4,
        "list": 0.4,
        "where": 0.5,
        "seen": 0.5,
        "when": 2.0,
        "first": 0.2,
        "last": 0.2,
        "way": 0.7,
        "letter": 0.8,
        "temporal_grounding": 2.0,
        "tracking": 1.2,
        "video_qa": 3.0,
        "grounded_qa": 2.5,
        "description": 1.2,
        "quality": 0.5,
    },
    levels={"easy": 0.76, "several": 0.1, "alike": 0.1, "long": 0.04},
    tails=5,
    lr=8e-4,
    length_power=0.75,
    true_share=0.4,
    whole_share=0.6,
)
WORDS = Stage(
    name="words",
    review=((replace(FRAMES, videos=48), 0.12), (replace(LETTERS, videos=64), 0.06)),
    steps=320,
    videos=24,
    lessons={
        **dict.fromkeys(("presence", "list", "where", "seen", "quality"), 0.4),
        "when": 0.6,
        "way": 1.5,
        "letter": 0.5,
        "video_qa": 3.0,
        "grounded_qa": 2.0,
        "description": 2.5,
        "temporal_grounding": 1.5,
        "tracking": 1.3,
    },
    levels={"easy": 0.85, "several": 0.07, "alike": 0.05, "long": 0.03},
    tails=5,
    lr=9e-4,
    length_power=0.75,
    true_share=0.3,
    whole_share=0.7,
)

# Drilled alone, the letters do not carry over behind a video: these three stages ask behind one, several times a video. Four layers
# learned that for colours, and for shapes and ways did not; so the last stage, and the world's easy level since then, ask for colours.
_KEPT = ("presence", "list", "where", "seen", "when", "quality")
CHOICES = Stage(
    name="choices",
    review=((replace(FRAMES, videos=48), 0.12),),
    steps=320,
    videos=24,
    lessons={
        **dict.fromkeys(_KEPT, 0.3),
        "way": 1.5,
        "letter": 3.0,
        "video_qa": 3.0,
        "grounded_qa": 1.5,
        "description": 1.5,
        "temporal_grounding": 0.8,
        "tracking": 0.8,
    },
    levels={"easy": 0.85, "several": 0.07, "alike": 0.05, "long": 0.03},
    tails=8,
    lr=1e-3,
    length_power=0.75,
    true_share=0.3,
    whole_share=0.7,
    variants=4,
)
LETTERS_AGAIN = replace(
    CHOICES,
    name="letters again",
    review=((replace(FRAMES, videos=48), 0.08),),
    steps=400,
    lessons={
        **dict.fromkeys((*_KEPT, "first", "last"), 0.2),
        "way": 1.2,
        "letter": 1.5,
        "video_qa": 4.0,
        "grounded_qa": 3.0,
        "description": 1.5,
        "temporal_grounding": 0.6,
        "tracking": 0.6,
    },
    lr=1.2e-3,
    variants=5,
)
COLOURS = replace(
    CHOICES,
    name="colours",
    review=((replace(FRAMES, videos=48), 0.12),),
    steps=300,
    lessons={
        **dict.fromkeys((*_KEPT, "first", "last"), 0.3),
        "way": 1.5,
        "letter": 0.5,
        "video_qa": 1.2,
        "grounded_qa": 3.5,
        "description": 2.0,
        "temporal_grounding": 0.8,
        "tracking": 1.2,
    },
    tails=6,
    lr=1.1e-3,
    variants=3,
)
STAGES = (FRAMES, TIME, TARGETS, LETTERS, REFINE, WORDS, CHOICES, LETTERS_AGAIN, COLOURS)


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
        if not stage.has_video:
            made.append(Clipping(scene, (), (letter_lesson(scene),)))
            continue
        if stage.name == "frames":
            grid = [k * STEP_S for k in range(int(scene.duration_s / STEP_S))]
            second = rng.choice([t for t in grid if scene.target.visible(t)] if rng.random() < 0.9 else grid)
            made.append(Clipping(scene, (second, second), _chosen(stage, frame_lessons(scene, second, rng), rng)))
            continue
        lessons = [*video_lessons(scene, rng), *_target_lessons(stage, scene, rng)]
        for variant in range(1, stage.variants):
            lessons += [
                letter_lesson(scene, variant),
                *_target_lessons(
                    replace(stage, lessons={"video_qa": 1.0, "grounded_qa": 1.0}), replace(scene, id=f"{scene.id}/{variant}"), rng
                ),
            ]
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


def _target_lessons(stage: Stage, scene: Scene, rng: random.Random) -> list[Lesson]:
    made = []
    for name in stage.lessons:
        if name in _TASKS and fits(name, scene):
            asking = Asking(thinking=rng.random() < THINKING_SHARE, order="video_first")
            asked = sample(name, scene, "")
            task = _TASKS[name]
            made.append(Lesson(name, task.ask(asked, asking), task.write(lazy(asked, stage, rng), asking)))
    return made


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
