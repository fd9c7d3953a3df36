"""What is asked about a scene: samples of the product's tasks, and the perception questions that the small base model learns to see by."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from videochat_r1.types import Answer, Box, Sample
from videochat_r1.world.scenes import COLOURS, SHAPES, WAYS, Scene, Thing

BOXES = 8  # boxes of a tracking sample, as the paper asks for
QUALITY = (
    "How about the quality of the video from an aesthetic and technical point of view? "
    "Choice one answer from ['low quality', 'high quality']."
)
STILL = "it stays"

TASKS = ("temporal_grounding", "tracking", "video_qa", "grounded_qa", "description", "quality")


def sample(task: str, scene: Scene, video: str) -> Sample:
    """The sample of that task on a scene; asking twice gives the same."""
    rng = random.Random(f"{task}/{scene.id}")
    question, options, truth = {
        "temporal_grounding": _grounding,
        "tracking": _tracking,
        "video_qa": _choice,
        "grounded_qa": _grounded_choice,
        "description": _description,
        "quality": _quality,
    }[task](scene, rng)
    return Sample(
        id=f"{scene.id}/{task}",
        task=task,
        video=video,
        question=question,
        options=options,
        truth=truth,
        duration_s=scene.duration_s,
        meta={"level": scene.level},
    )


def fits(task: str, scene: Scene) -> bool:
    """Tracking follows a thing that is always there; grounding and grounded questions are about one that is not."""
    whole = scene.target.span == (0.0, scene.duration_s)
    if task == "tracking":
        return whole
    return not whole if task in ("temporal_grounding", "grounded_qa") else True


def rounded(box: Box) -> Box:
    """Two decimals: half a pixel of a 64-pixel picture."""
    x0, y0, x1, y1 = (round(v, 2) for v in box)
    return (x0, y0, x1, y1)


def box_times(scene: Scene) -> tuple[float, ...]:
    return tuple(scene.duration_s * k / BOXES for k in range(BOXES))


def _grounding(scene: Scene, rng: random.Random) -> tuple[str, tuple[str, ...], Answer]:
    return f"the {scene.target.name} is visible", (), Answer(spans=(scene.target.span,))


def _tracking(scene: Scene, rng: random.Random) -> tuple[str, tuple[str, ...], Answer]:
    times_s = box_times(scene)
    return scene.target.name, (), Answer(boxes=tuple(rounded(scene.target.box(t, scene.duration_s)) for t in times_s), times_s=times_s)


def _choice(scene: Scene, rng: random.Random) -> tuple[str, tuple[str, ...], Answer]:
    """Easy scenes ask what one look tells, the colour; the others ask for the shape and the way too."""
    target, others = scene.target, scene.things[1:]
    kinds = [] if scene.level == "easy" else ["way"]
    if all(other.shape != target.shape for other in others):
        kinds.append("colour")
    if kinds[:1] == ["way"] and all(other.colour != target.colour for other in others):
        kinds.append("shape")
    kind = rng.choice(kinds)
    if kind == "way":
        question, right, wrong = f"which way does the {target.name} move", target.way, [*(w for w in WAYS if w != target.way), STILL]
    elif kind == "colour":
        question, right, wrong = f"what colour is the {target.shape}", target.colour, [c for c in COLOURS if c != target.colour]
    else:
        question, right, wrong = f"what shape is the {target.colour} thing", target.shape, [s for s in SHAPES if s != target.shape]
    offered = [right, *rng.sample(wrong, 4)]
    rng.shuffle(offered)
    options = tuple(f"({letter}) {text}" for letter, text in zip("ABCDE", offered, strict=True))
    return question, options, Answer(choice="ABCDE"[offered.index(right)])


def _grounded_choice(scene: Scene, rng: random.Random) -> tuple[str, tuple[str, ...], Answer]:
    question, options, truth = _choice(scene, rng)
    return question, options, Answer(choice=truth.choice, spans=(scene.target.span,))


def _description(scene: Scene, rng: random.Random) -> tuple[str, tuple[str, ...], Answer]:
    events = tuple(f"{thing.a_name} moves {thing.way}" for thing in sorted(scene.things, key=lambda t: (t.appears_s, t.name)))
    return "", (), Answer(events=events, caption=". ".join(event[0].upper() + event[1:] for event in events) + ".")


def _quality(scene: Scene, rng: random.Random) -> tuple[str, tuple[str, ...], Answer]:
    return QUALITY, (), Answer(label="low quality" if scene.poor else "high quality")


@dataclass(frozen=True)
class Lesson:
    """A perception question with its answer, as plain text."""

    kind: str
    question: str
    answer: str


def frame_lessons(scene: Scene, second: float, rng: random.Random) -> list[Lesson]:
    """Everything asked about one moment: what is there, how many, and where each thing is."""
    there = sorted((t for t in scene.things if t.visible(second)), key=lambda t: t.box(second, scene.duration_s))
    lessons = [
        Lesson("name", "What is there?", ", ".join(t.a_name for t in there) or "nothing"),
        Lesson("count", "How many things are there?", str(len(there))),
    ]
    lessons.append(letter_lesson(scene))
    lessons += [Lesson("box", f"Where is the {t.name}?", box_text(t.box(second, scene.duration_s))) for t in there]
    if not there:
        lessons.append(Lesson("box", f"Where is the {scene.target.name}?", "nowhere"))
    return lessons


def video_lessons(scene: Scene, rng: random.Random) -> list[Lesson]:
    """One lesson of each kind about a whole scene; most are about the target, some about another thing."""
    thing = scene.target if rng.random() < 0.7 else rng.choice(scene.things)
    grid = [k * 0.5 for k in range(int(scene.duration_s * 2))]
    asked = rng.choice(grid) if rng.random() < 0.3 else _asked_second(thing, grid, rng)
    return [
        Lesson(
            "presence",
            f"At which seconds is the {thing.name} there?",
            ", ".join(f"{t:.2f} {'yes' if thing.visible(t) else 'no'}" for t in grid),
        ),
        Lesson("list", f"List the boxes of the {thing.name}.", ", ".join(place(scene, thing, t) for t in box_times(scene))),
        Lesson("where", f"Where is the {thing.name} at {asked:.2f}?", place(scene, thing, asked)),
        Lesson("seen", f"Is the {thing.name} there at {asked:.2f}?", "yes" if thing.visible(asked) else "no"),
        Lesson("first", f"When does the {thing.name} appear?", f"{thing.appears_s:.2f}"),
        Lesson("last", f"When does the {thing.name} leave?", f"{thing.leaves_s:.2f}"),
        Lesson("way", f"Which way does the {thing.name} move?", thing.way),
        letter_lesson(scene),
    ]


def _asked_second(thing: Thing, grid: Sequence[float], rng: random.Random) -> float:
    """A second at which the thing is there or is not, each half of the time where it can be."""
    wanted = rng.random() < 0.5
    return rng.choice([t for t in grid if thing.visible(t) == wanted] or grid)


def when_lesson(scene: Scene) -> Lesson:
    """First and last second of the target in one answer."""
    target = scene.target
    return Lesson("when", f"From when to when is the {target.name} there?", f"{target.appears_s:.2f} to {target.leaves_s:.2f}")


def letter_lesson(scene: Scene, variant: int = 0) -> Lesson:
    """Which letter stands before an option: no look is needed, only the reading of a list, which answers by letter rest on."""
    _, options, truth = _choice(scene, random.Random(f"letter/{scene.id}" + (f"/{variant}" if variant else "")))
    right = next(option[4:] for option in options if option[1] == truth.choice)
    return Lesson("letter", f"Which letter stands for {right} in {list(options)}?", f"<answer>{truth.choice}</answer>")


def place(scene: Scene, thing: Thing, second: float) -> str:
    return box_text(thing.box(second, scene.duration_s)) if thing.visible(second) else "none"


def box_text(box: Box) -> str:
    return "[" + ", ".join(f"{v:.2f}" for v in box) + "]"
