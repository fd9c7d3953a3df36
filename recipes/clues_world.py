"""Thinking with clues against one look, at the same budget of video tokens, on the built-in world: long scenes, short events.

    python recipes/clues_world.py --out DIR [--split tune|test] [--scenes N] [--budgets 40,48,...] [--steps N] [--seed S] [--policy DIR]
                                  [--show N] [--FIELD VALUE]

Teaches the small model to say when a thing is there in scenes of 24 s in which it is there for 1.5 to 3 s; a policy that was taught into
DIR/taught before is taken. Then films scenes of a split, asks each when the thing is there, at every budget in one look and in two and
at most three looks that together cost no more video tokens, and prints the table (DIR/clues_SPLIT.json). Differences are paired, with
95 % intervals over scenes. --show prints what each look of the first N scenes saw and said. FIELD: any field of thinking with clues,
such as --first-share 0.5. The fields were chosen on the split `tune`; docs/clues.md has the figures of `test`, whose scenes decided
nothing.

A scene holds one thing: with two or three the small model does not find the one that is asked for, however it looks (docs/small_model.md,
"several scenes"). The shipped model knows only 8 s at two frames a second, and answers lazily; what is taught here are gold answers (SFT)
on views of both kinds, half each: even ones with frames half a second to two seconds apart, and closer ones around the event. So neither
side of the comparison is shown anything new."""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from videochat_r1.chat.clues import Thought, think
from videochat_r1.chat.config import CluesConfig
from videochat_r1.chat.sight import Sight
from videochat_r1.chat.windows import look_seconds
from videochat_r1.commands.quiet import quiet_libraries
from videochat_r1.errors import VideoError
from videochat_r1.evaluation.compare import compare, scored
from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.model import Policy, load_policy
from videochat_r1.policy.prompt import encode_text, render_text
from videochat_r1.policy.shared_prefix import shared_logprobs
from videochat_r1.rewards.intervals import tiou
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Clip, Completion, Prompt, Sample, Span
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import FramePlan, VideoInfo, plan_at, plan_frames
from videochat_r1.world.files import FPS, film_samples
from videochat_r1.world.questions import sample, video_lessons, when_lesson
from videochat_r1.world.render import FULL_SIDE_PX, render
from videochat_r1.world.scenes import STEP_S, Scene, draw

SCENE_S = 24.0
EVENT_STEPS = (3, 6)
"""Of the event that is asked about: half seconds that it lasts, at least and at most."""
VIDEO = SMALL_VIDEO.model_copy(update={"max_pixels": 32 * 32, "on_unreadable": "stop"})
"""Frames of 32 x 32 pixels in every look of either side: four tokens for two of them. The closer look wins by its seconds alone."""
VIDEOS = 16
"""Scenes of a step of teaching."""
ASKING = Asking(order="video_first")
GREEDY = Sampling(temperature=0.0, max_tokens=48, batch_prompts=32)
CHOSEN = CluesConfig(
    clues="two_pass",
    first_share=0.6,
    first_pixels=1.0,
    clue_fps=2.0,
    context_share=0.0,
    min_window_s=2.0,
    pad_s=0.5,
    pad_gaps=0.5,
    without_clue="again",
    gate="last",
)
"""Chosen on the split `tune`."""


def long_scene(series: str, number: int, duration_s: float = SCENE_S, steps: tuple[int, int] = EVENT_STEPS) -> Scene:
    """One thing in a scene of `duration_s`, there for a moment of steps[0] to steps[1] half seconds. Different series share no scene."""
    rng = random.Random(f"clues/{series}/{number}")
    scene = draw("easy", f"clues-{series}", number, whole=False)
    length, count = rng.randint(*steps), int(duration_s / STEP_S)
    first = rng.randint(0, count - length)
    thing = replace(scene.target, appears_s=first * STEP_S, leaves_s=(first + length) * STEP_S)
    return replace(scene, id=f"{scene.id}-{duration_s:g}s", level="long", duration_s=duration_s, things=(thing,))


def file_of(scene: Scene) -> VideoInfo:
    """What is known of the file of a scene."""
    return VideoInfo(
        path="drawn",
        container="mov",
        codec="h264",
        width=FULL_SIDE_PX,
        height=FULL_SIDE_PX,
        rotation=0,
        mirrored=False,
        frames=int(scene.duration_s * FPS),
        fps=float(FPS),
        duration_s=scene.duration_s,
        last_s=scene.duration_s - 1 / FPS,
    )


def view(scene: Scene, geometry: Geometry, rng: random.Random) -> FramePlan:
    """A scene as one look or a first look would show it, evenly and with frames half a second to two seconds apart; or as a closer look
    would, a window around its event at two frames a second or somewhat fewer."""
    info = file_of(scene)
    moment_tokens = VIDEO.max_pixels // geometry.factor**2
    if rng.random() < 0.5:
        gap_s = rng.choice((0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0))
        moments = max(round(scene.duration_s / gap_s / geometry.temporal_patch), 2)
        return plan_frames(info, VIDEO.model_copy(update={"max_tokens": moments * moment_tokens}), geometry)
    start_s, end_s = scene.target.span
    window = (max(start_s - rng.uniform(0.0, 2.0), 0.0), min(end_s + rng.uniform(0.0, 2.0), info.duration_s))
    moments, patch = rng.randint(4, 9), geometry.temporal_patch
    times_s = look_seconds([window], info.duration_s, fps=2.0, moments=moments, context_share=0.0, patch=patch)
    return plan_at(info, VIDEO, geometry, tuple(round(min(second, info.last_s) * FPS) / FPS for second in times_s), max_tokens=2**20)


def lessons_of(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """(question, true answer): the task's own, from when to when the thing is there, its first second and its last, and of three seconds
    whether it is there."""
    grounding = load_task("temporal_grounding")
    asked = sample("temporal_grounding", scene, "")
    lessons = [one for one in video_lessons(scene, rng) if one.kind in ("first", "last", "seen")]
    lessons += [one for _ in range(2) for one in video_lessons(scene, rng) if one.kind == "seen"]
    own = (grounding.ask(asked, ASKING), grounding.write(asked.truth, ASKING))
    return [own, *((one.question, one.answer) for one in [when_lesson(scene), *lessons])]


def pupil_view(policy: Policy, scene: Scene, rng: random.Random) -> tuple[Prompt, list[Completion], list[int]]:
    """A video alone as a prompt; each question with its answer as a tail behind it; and how many tokens each answer has."""
    plan = view(scene, policy.geometry, rng)
    frames = render(scene, plan.times_s, plan.height_px)
    size = (FULL_SIDE_PX, FULL_SIDE_PX)
    clip = Clip(frames_NCHW=frames, times_s=plan.times_s, duration_s=scene.duration_s, source_size=size, path=scene.id)
    prompt = render_text(policy, "", clip, order="video_first", sample_id=scene.id)
    video_end = int((prompt.ids_P == policy.hf_config.vision_end_token_id).nonzero()[-1]) + 1
    turn = policy.tokenizer.decode(prompt.ids_P[video_end:].tolist(), skip_special_tokens=False)
    prompt = replace(prompt, ids_P=prompt.ids_P[:video_end], positions_3P=prompt.positions_3P[:, :video_end])
    tails, answers = [], []
    for question, reply in lessons_of(scene, rng):
        answer = encode_text(policy, reply)
        asked = torch.tensor(policy.tokenizer.encode(question + turn, add_special_tokens=False))
        ids_T = torch.cat([asked, answer.ids_T])
        tails.append(Completion(ids_T=ids_T, logprobs_T=torch.zeros(len(ids_T)), text=reply, stop="end"))
        answers.append(len(answer))
    return prompt, tails, answers


def taught_scene(seed: int, step: int, number: int, progress: float, rng: random.Random) -> Scene:
    """A scene of the lesson: of 8 s at first, which the small model knows, and of up to SCENE_S as the teaching goes on."""
    longest_s = min(8.0 + (SCENE_S - 8.0) * 2.5 * progress, SCENE_S)
    duration_s = SCENE_S if progress > 0.5 else round(rng.uniform(min(8.0, longest_s), longest_s))
    return long_scene(f"taught-{seed}", step * VIDEOS + number, float(duration_s), (2, 8))


def teach(out: Path, steps: int, seed: int, lr: float = 8e-4) -> Path:
    """The small model after `steps` of gold answers on views of VIDEOS drawn scenes each, every scene seen once; its folder."""
    policy = load_policy(PolicyConfig(path=str(SMALL_MODEL), train_vision=True), keep_reference=False)
    weights = list(policy.parameters().values())
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.98), weight_decay=0.02)
    course = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 30, 1.0) * (0.03 + 0.97 * (1 + math.cos(math.pi * step / steps)) / 2)
    )
    began = time.monotonic()
    found: list[list[float]] = []
    for step in range(steps):
        rng = random.Random(f"{seed}/{step}")
        scenes = [taught_scene(seed, step, number, step / steps, rng) for number in range(VIDEOS)]
        prompts, tails, answers = zip(*(pupil_view(policy, scene, rng) for scene in scenes), strict=True)
        scores = shared_logprobs(policy, prompts, tails, policy.vision(prompts))
        told = [
            (logprobs_T[-n:], n)
            for own, counts in zip(scores, answers, strict=True)
            for logprobs_T, n in zip(own.logprobs, counts, strict=True)
        ]
        found.append([-float(logprobs_T.sum().detach()) for logprobs_T, _ in told[:: len(told) // VIDEOS]])
        loss = -sum((logprobs_T.sum() * n**-0.5 for logprobs_T, n in told), torch.zeros(())) / sum(n**0.5 for _, n in told)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        course.step()
        if step % 20 == 19:
            lost = sum(map(sum, found[-20:])) / (20 * VIDEOS)
            done_s = time.monotonic() - began
            print(f"taught {step + 1} of {steps} steps, {lost:.2f} nats to a true span, {done_s:.0f} s", file=sys.stderr, flush=True)
    policy.save(out / "taught")
    return out / "taught"


def taught_in(out: Path, steps: int, seed: int) -> Path:
    """The policy taught into `out`, by this call or by one before it that was asked for the same."""
    lesson, record = {"steps": steps, "seed": seed, "scene_s": SCENE_S, "videos": VIDEOS}, out / "taught.json"
    if record.exists():
        if (was := json.loads(record.read_text())) != lesson:
            raise SystemExit(f"{out / 'taught'} was taught otherwise ({was}, not {lesson}).\nName another --out, or --policy to take it.")
        print(f"taken as taught before: {out / 'taught'}", file=sys.stderr)
        return out / "taught"
    policy = teach(out, steps, seed)
    record.write_text(json.dumps(lesson) + "\n")
    return policy


def asked(policy: Policy, samples: Sequence[Sample], looks: CluesConfig, max_tokens: int = 0) -> list[Thought]:
    """Each sample's looks and answer."""
    engine = NativeEngine(policy)
    loader = ClipLoader(VIDEO.model_copy(update={"max_tokens": max_tokens}), policy.geometry)
    sight = Sight(policy, loader)
    found: list[Thought] = []
    for start in range(0, len(samples), GREEDY.batch_prompts):
        items = [(load_task(sample.task), sample) for sample in samples[start : start + GREEDY.batch_prompts]]
        for thought in think(policy, engine, sight, items, ASKING, GREEDY, looks):
            assert not isinstance(thought, VideoError)
            found.append(thought)
    return found


def cost(thoughts: Sequence[Thought], seconds: float) -> dict[str, float]:
    """What answers cost on average."""
    count = len(thoughts)
    return {
        "video_tokens": sum(one.video_tokens for one in thoughts) / count,
        "all_tokens": sum(one.prompt_tokens + one.answer_tokens for one in thoughts) / count,
        "looks": sum(len(one.looks) for one in thoughts) / count,
        "seconds": seconds / count,
    }


def ways_of(budget: int, looks: CluesConfig) -> dict[str, tuple[CluesConfig, int]]:
    """Each way of looking with what bounds it: the fields of its looks, and for one look the most tokens of its clip."""
    return {
        "one look": (CluesConfig(), budget),
        "two looks": (looks.model_copy(update={"clues": "two_pass", "tokens": budget}), 0),
        "three looks": (looks.model_copy(update={"clues": "rounds", "rounds": 3, "tokens": budget}), 0),
    }


def table(
    policy: Policy, samples: Sequence[Sample], budgets: Sequence[int], looks: CluesConfig, seed: int, show: int = 0
) -> list[dict[str, Any]]:
    """A row a budget and way of looking: its figures, its cost, and how it differs from one look at that budget."""
    rows = []
    for budget in budgets:
        base = None
        for way, (config, most) in ways_of(budget, looks).items():
            began = time.perf_counter()
            thoughts = asked(policy, samples, config, most)
            seconds = time.perf_counter() - began
            assert all(one.video_tokens <= budget for one in thoughts), f"{way} costs more than {budget} video tokens"
            worth = scored(samples, [one.reading for one in thoughts])
            [found] = compare(worth, base or worth, names=(way, "one look"), resamples=2000, seed=seed).values()
            base = base or worth
            rows.append({"budget": budget, "way": way, "n": found["n"], **cost(thoughts, seconds), "metrics": found["metrics"]})
            for thought in thoughts[:show]:
                print(f"{budget} tokens, {way}: {shown(thought)}", file=sys.stderr)
    return rows


def shown(thought: Thought) -> str:
    """What each look saw and said, and what is true."""
    lines = [f"{thought.sample.id}, true {thought.sample.truth.spans}, look {thought.kept + 1} stands {thought.ended}"]
    for look in thought.looks:
        seconds = " ".join(f"{second:.1f}" for second in look.clip.times_s)
        windows = " ".join(f"{start:.1f} to {end:.1f}" for start, end in look.windows) or "all"
        lines.append(f"    {windows}: {look.video_tokens} tokens, frames at {seconds} -> {look.completion.text}")
    return "\n".join(lines)


def best_of_one_look(budget: int, geometry: Geometry) -> float:
    """Mean IoU, in points, that no answer to one look can exceed in the long run: of an observer that sees without fault which frames show
    the thing, knows how scenes are drawn, and answers with the half seconds of the greatest expected IoU."""
    plan = plan_frames(file_of(long_scene("any", 0)), VIDEO.model_copy(update={"max_tokens": budget}), geometry)
    count = int(SCENE_S / STEP_S)
    spans = {steps: [(at * STEP_S, (at + steps) * STEP_S) for at in range(count - steps + 1)] for steps in range(1, 2 * EVENT_STEPS[1])}
    alike: dict[tuple[bool, ...], list[tuple[Span, float]]] = {}
    for steps in range(EVENT_STEPS[0], EVENT_STEPS[1] + 1):
        for start_s, end_s in spans[steps]:
            chance = 1 / len(spans[steps]) / (EVENT_STEPS[1] - EVENT_STEPS[0] + 1)
            alike.setdefault(tuple(start_s <= at < end_s for at in plan.times_s), []).append(((start_s, end_s), chance))
    answers = [span for own in spans.values() for span in own]
    return 100 * sum(max(sum(chance * tiou(answer, span) for span, chance in group) for answer in answers) for group in alike.values())


def written(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table; differences in points, with their paired 95 % intervals."""
    names = ("mIoU", "R@0.5", "R@0.7")
    lines = ["| budget | way | n | looks | video tokens | all tokens | s |" + "".join(f" {name} | to one look |" for name in names)]
    lines.append("|---" * (7 + 2 * len(names)) + "|")
    for row in rows:
        costs = [f"{row['looks']:.2f}", f"{row['video_tokens']:.0f}", f"{row['all_tokens']:.0f}", f"{row['seconds']:.3f}"]
        cells = [row["budget"], row["way"], row["n"], *costs]
        for name in names:
            one = row["metrics"][name]
            low, high = one["difference_ci95"]
            cells += [f"{one['a']:.1f}", "" if row["way"] == "one look" else f"{one['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--out", type=Path, required=True)
    reader.add_argument("--policy", default="")
    reader.add_argument("--split", choices=("tune", "test"), default="test")
    reader.add_argument("--scenes", type=int, default=300)
    reader.add_argument("--steps", type=int, default=2400, help=f"of teaching, {VIDEOS} scenes each")
    reader.add_argument("--budgets", default="40,48,56,64,96")
    reader.add_argument("--show", type=int, default=0, help="scenes of which every look is printed")
    reader.add_argument("--seed", type=int, default=0)
    for name, field in CluesConfig.model_fields.items():
        reader.add_argument(f"--{name.replace('_', '-')}", type=type(field.default), default=getattr(CHOSEN, name))
    options = reader.parse_args(arguments)
    quiet_libraries()
    options.out.mkdir(parents=True, exist_ok=True)
    taught = options.policy or str(taught_in(options.out, options.steps, options.seed))
    looks = CluesConfig(**{name: getattr(options, name) for name in CluesConfig.model_fields})
    policy = load_policy(PolicyConfig(path=taught), keep_reference=False)
    scenes = [long_scene(f"{options.split}-{options.seed}", number) for number in range(options.scenes)]
    samples = film_samples([(scene, "temporal_grounding") for scene in scenes], options.out / "videos")
    rows = table(policy, samples, [int(part) for part in options.budgets.split(",")], looks, options.seed, options.show)
    (options.out / f"clues_{options.split}.json").write_text(json.dumps({"looks": looks.model_dump(), "rows": rows}, indent=1) + "\n")
    print(written(rows))
    best = (f"{budget}: {best_of_one_look(budget, policy.geometry):.1f}" for budget in dict.fromkeys(row["budget"] for row in rows))
    print(f"\nmIoU that no answer to one look can exceed, by budget: {', '.join(best)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
