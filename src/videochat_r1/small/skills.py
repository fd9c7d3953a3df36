"""How well a policy sees, before any reinforcement: `python -m videochat_r1.small.skills --policy DIR`.

Every perception question of world/questions.py is put to the policy about scenes that it was never shown, through the prompt that the
product writes, and answered greedily. Each figure stands beside the best answer that looks at no picture: of many constant answers the one
that scores best on these very scenes, so that no constant could have scored more. Intervals are bootstrapped over scenes."""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videochat_r1.evaluation.figures import INTERVAL, resampled
from videochat_r1.policy.model import Policy, PolicyConfig, load_policy
from videochat_r1.policy.prompt import render_text
from videochat_r1.rewards.boxes import box_iou
from videochat_r1.rewards.intervals import tiou
from videochat_r1.rollout.base import Engine, Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.small.architecture import SIDE_PX
from videochat_r1.types import Box, Clip
from videochat_r1.world.questions import Lesson, box_text, frame_lessons, video_lessons, when_lesson
from videochat_r1.world.render import render
from videochat_r1.world.scenes import LEVELS, STEP_S, Scene, draw

SERIES = "skills"
GREEDY = Sampling(temperature=0.0, max_tokens=320)
UNREADABLE_S = 16.0  # the error of an answer that is no number of seconds: the length of the longest scene
CONSTANTS = 80  # true answers, the most frequent ones, that are tried as the constant one
TRIES = 40  # drawings of a scene's lessons until one of the wanted kind turns up

_NUMBER = r"\d{1,4}(?:\.\d{1,4})?"  # bounded: reading takes time in proportion to the text
_PLACE = re.compile(rf"\[({_NUMBER}), ({_NUMBER}), ({_NUMBER}), ({_NUMBER})\]|none|nowhere")
_SPAN = re.compile(rf"({_NUMBER}) to ({_NUMBER})")
_MOMENT = re.compile(rf"({_NUMBER}) (yes|no)")

Score = Callable[[str, str], tuple[float, float]]
"""(written, truth) -> the answer's share of a figure: numerator and denominator, as in tasks/base/__init__.py."""


@dataclass(frozen=True)
class Figure:
    """One way to score a skill: 100 x (or, in seconds, 1 x) the sum of numerators over the sum of denominators."""

    name: str
    score: Score
    seconds: bool = False  # an error in seconds: less is better


@dataclass(frozen=True)
class Asked:
    """One question about one scene, its truth, and what the policy wrote."""

    skill: str
    scene: str
    question: str
    truth: str
    text: str


# Scores -----------------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=20_000)
def places(text: str) -> tuple[Box | None, ...] | None:
    """The boxes of "[0.10, 0.20, 0.30, 0.40], none, ...", None where there is none; None for a text of another form."""
    found: list[Box | None] = []
    spelled = []
    for match in _PLACE.finditer(text):
        x0, y0, x1, y1 = (float(side or 0.0) for side in match.groups())
        found.append((x0, y0, x1, y1) if match.group(1) else None)
        spelled.append(match.group())
    return tuple(found) if found and ", ".join(spelled) == text.strip() else None


def exact(written: str, truth: str) -> tuple[float, float]:
    return float(written.strip() == truth), 1.0


def overlap(written: str, truth: str) -> tuple[float, float]:
    """IoU summed over the places where the truth has a box; nothing for a list of another length."""
    theirs, ours = places(truth) or (), places(written) or ()
    boxes = [box for box in theirs if box is not None]
    if len(ours) != len(theirs):
        return 0.0, float(len(boxes))
    pairs = zip(ours, theirs, strict=True)
    return sum(box_iou(mine, box) for mine, box in pairs if mine is not None and box is not None), float(len(boxes))


def told_apart(written: str, truth: str) -> tuple[float, float]:
    """Places of a list where a box and `none` stand as they do in the truth."""
    theirs, ours = places(truth) or (), places(written) or ()
    if len(ours) != len(theirs):
        return 0.0, float(len(theirs))
    return float(sum((mine is None) == (box is None) for mine, box in zip(ours, theirs, strict=True))), float(len(theirs))


def moments(written: str, truth: str) -> tuple[float, float]:
    """Moments whose yes or no is right, found by their second."""
    said = dict(_MOMENT.findall(written))
    true = dict(_MOMENT.findall(truth))
    return float(sum(said.get(second) == word for second, word in true.items())), float(len(true))


def error_s(written: str, truth: str) -> tuple[float, float]:
    known = re.fullmatch(_NUMBER, written.strip())
    return (min(abs(float(known.group()) - float(truth)), UNREADABLE_S) if known else UNREADABLE_S), 1.0


def within_half_second(written: str, truth: str) -> tuple[float, float]:
    return float(error_s(written, truth)[0] <= 0.5), 1.0


def span_overlap(written: str, truth: str) -> tuple[float, float]:
    known, true = _SPAN.fullmatch(written.strip()), _SPAN.fullmatch(truth)
    assert true is not None
    return (tiou((float(known[1]), float(known[2])), (float(true[1]), float(true[2]))) if known else 0.0), 1.0


_EXACT = Figure("exact", exact)
_IOU = Figure("mean box IoU", overlap)
_SECONDS = (Figure("mean error, s", error_s, seconds=True), Figure("within 0.5 s", within_half_second), _EXACT)

FRAME_SKILLS = {"name": (_EXACT,), "count": (_EXACT,), "box": (_IOU,)}
VIDEO_SKILLS = {
    "presence": (Figure("moments right", moments), _EXACT),
    "list": (_IOU, Figure("there or not", told_apart)),
    "where": (_IOU,),
    "seen": (_EXACT,),
    "first": _SECONDS,
    "last": _SECONDS,
    "when": (Figure("mean tIoU", span_overlap), _EXACT),
    "way": (_EXACT,),
    "letter": (_EXACT,),
}
SKILLS: dict[str, tuple[Figure, ...]] = {**FRAME_SKILLS, **VIDEO_SKILLS}


# Questions and answers --------------------------------------------------------------------------------------------------------------------


def ask(policy: Policy, engine: Engine, scenes: Sequence[Scene], on_scene: Callable[[int], None] = lambda done: None) -> list[Asked]:
    """Every skill once a scene. `seen` is asked for a moment of presence and for one of absence in turn."""
    asked = []
    for number, scene in enumerate(scenes):
        rng = random.Random(f"{SERIES}/{scene.id}")
        for clip, lessons in (_frame(scene, rng), _video(scene, rng, seen="yes" if number % 2 == 0 else "no")):
            prompts = [render_text(policy, one.question, clip, order="video_first", sample_id=scene.id) for one in lessons]
            features = policy.vision(prompts[:1]) * len(prompts)  # one video, read once
            sampling = GREEDY.model_copy(update={"batch_prompts": len(prompts)})
            written = engine.complete(prompts, per_prompt=1, sampling=sampling, seeds=[0] * len(prompts), features=features)
            asked += [Asked(one.kind, scene.id, one.question, one.answer, w[0].text) for one, w in zip(lessons, written, strict=True)]
        on_scene(number + 1)
    return asked


def _frame(scene: Scene, rng: random.Random) -> tuple[Clip, list[Lesson]]:
    """A moment at which the target is there, as a film of two equal frames, and a lesson of each kind."""
    second = rng.choice([t for t in _grid(scene) if scene.target.visible(t)])
    lessons = frame_lessons(scene, second, rng)
    kinds = [[lesson for lesson in lessons if lesson.kind == kind] for kind in FRAME_SKILLS]
    return _clip(scene, (second, second)), [rng.choice(of_kind) for of_kind in kinds if of_kind]


def _video(scene: Scene, rng: random.Random, *, seen: str) -> tuple[Clip, list[Lesson]]:
    """The whole scene at two frames a second, and a lesson of each kind: `where` for a moment at which the thing is there."""
    wanted: dict[str, Callable[[str], bool]] = {"where": lambda answer: answer.startswith("["), "seen": lambda answer: answer == seen}
    chosen: dict[str, Lesson] = {}
    for _ in range(TRIES):
        for lesson in (*video_lessons(scene, rng), when_lesson(scene)):
            if lesson.kind in VIDEO_SKILLS and wanted.get(lesson.kind, bool)(lesson.answer):
                chosen.setdefault(lesson.kind, lesson)
        if wanted.keys() <= chosen.keys():
            break
    return _clip(scene, _grid(scene)), list(chosen.values())


def _grid(scene: Scene) -> tuple[float, ...]:
    return tuple(k * STEP_S for k in range(int(scene.duration_s / STEP_S)))


def _clip(scene: Scene, times_s: tuple[float, ...]) -> Clip:
    frames_NCHW = render(scene, times_s, SIDE_PX)
    return Clip(frames_NCHW=frames_NCHW, times_s=times_s, duration_s=scene.duration_s, source_size=(SIDE_PX, SIDE_PX), path=scene.id)


# Figures ----------------------------------------------------------------------------------------------------------------------------------


def figures(asked: Sequence[Asked], *, resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """{SKILL: {"n": .., "figures": {NAME: {"policy", "policy_ci95", "trivial", "trivial_ci95", "trivial_answer", "better"}}}}.

    better: the policy's lead over the trivial answer lies above zero in 97.5 % of the resamples."""
    found = {}
    for skill, ways in SKILLS.items():
        mine = [one for one in asked if one.skill == skill]
        if mine:
            found[skill] = {"n": len(mine), "figures": {way.name: _beside_trivial(way, mine, resamples, seed) for way in ways}}
    return found


def _beside_trivial(way: Figure, asked: Sequence[Asked], resamples: int, seed: int) -> dict[str, Any]:
    policy_N2 = _shares(way, asked, [one.text for one in asked])
    answers = list(dict.fromkeys(_constants([one.truth for one in asked])))
    shares = [_shares(way, asked, [answer] * len(asked)) for answer in answers]
    values = [_value(way, share_N2.sum(axis=0)) for share_N2 in shares]
    best = values.index(min(values) if way.seconds else max(values))
    drawn_R22 = resampled(np.stack([policy_N2, shares[best]], axis=1), resamples, seed)
    policy_R, trivial_R = _value(way, drawn_R22[:, 0].T), _value(way, drawn_R22[:, 1].T)
    lead_R = trivial_R - policy_R if way.seconds else policy_R - trivial_R
    return {
        "policy": float(_value(way, policy_N2.sum(axis=0))),
        "policy_ci95": [float(bound) for bound in np.nanpercentile(policy_R, INTERVAL)],
        "trivial": float(values[best]),
        "trivial_ci95": [float(bound) for bound in np.nanpercentile(trivial_R, INTERVAL)],
        "trivial_answer": answers[best],
        "better": bool(np.nanpercentile(lead_R, INTERVAL[0]) > 0.0),
    }


def _shares(way: Figure, asked: Sequence[Asked], texts: Sequence[str]) -> NDArray[np.float64]:
    """(N, 2): numerator and denominator of each question."""
    return np.array([way.score(text, one.truth) for one, text in zip(asked, texts, strict=True)])


def _value(way: Figure, sums_2: NDArray[np.float64]) -> Any:
    """sums_2: (2,) or (2, R) -> the figure, or R of them."""
    return (1.0 if way.seconds else 100.0) * sums_2[0] / sums_2[1]


def _constants(truths: Sequence[str]) -> Iterator[str]:
    """Answers without a look: the truths themselves, the likeliest word of each moment, and for places squares, the mean box and true
    ones, as often as places are asked for."""
    counted = {truth: truths.count(truth) for truth in dict.fromkeys(truths)}
    yield from sorted(counted, key=lambda truth: -counted[truth])[:CONSTANTS]
    spelled = [_MOMENT.findall(truth) for truth in truths]
    if all(spelled):
        words: dict[str, list[str]] = {}
        for second, word in (pair for pairs in spelled for pair in pairs):
            words.setdefault(second, []).append(word)
        for choose in (lambda said: max(("yes", "no"), key=said.count), lambda said: "yes", lambda said: "no"):
            yield ", ".join(f"{second} {choose(said)}" for second, said in words.items())
    listed = [places(truth) for truth in truths]
    if any(listed):
        count = max(len(one) for one in listed if one)
        boxes = [box for one in listed if one for box in one if box is not None]
        mean: Any = tuple(fmean(box[side] for box in boxes) for side in range(4))
        squares: list[Any] = [(0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half) for half in (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)]
        for box in (mean, *squares, *boxes[:: max(1, len(boxes) // CONSTANTS)]):
            yield ", ".join([box_text(box)] * count)


def markdown(found: dict[str, dict[str, Any]], title: str) -> str:
    """The figures as a table. A star: better than the best trivial answer, by the interval of the paired difference."""
    lines = [f"**{title}**", "", "| skill | asked | figure | policy | best trivial answer | which is |", "|---|---|---|---|---|---|"]
    for skill, row in found.items():
        for name, one in row["figures"].items():
            digits = 2 if name.endswith(", s") else 1
            cells = []
            for who in ("policy", "trivial"):
                low, high = one[f"{who}_ci95"]
                cells.append(f"{one[who]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
            answer = one["trivial_answer"]
            shown = answer if len(answer) <= 48 else answer[:45] + "..."
            lines.append(f"| {skill} | {row['n']} | {name} | {cells[0]}{' *' if one['better'] else ''} | {cells[1]} | `{shown}` |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", required=True, help="a model's folder: a stock class that takes pictures of 64 x 64 pixels")
    parser.add_argument("--scenes", type=int, default=200, help="scenes of each level")
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=["easy"])
    parser.add_argument("--seed", type=int, default=0, help="which scenes: those of the series skills-SEED")
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    chosen = parser.parse_args(arguments)
    policy = load_policy(PolicyConfig(path=chosen.policy, dtype="float32"), keep_reference=False)
    report: dict[str, Any] = {"scenes": chosen.scenes, "series": f"{SERIES}-{chosen.seed}", "levels": {}}
    tables = []
    for level in chosen.levels:
        scenes = [draw(level, report["series"], number, whole=False) for number in range(chosen.scenes)]

        def progress(done: int, level: str = level) -> None:
            if done % 20 == 0 or done == chosen.scenes:
                print(f"{level}: {done} of {chosen.scenes} scenes", file=sys.stderr, flush=True)

        found = figures(ask(policy, NativeEngine(policy), scenes, progress))
        report["levels"][level] = found
        tables.append(markdown(found, f"{level} scenes"))
        print(tables[-1], flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if chosen.markdown:
        chosen.markdown.write_text("\n".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
