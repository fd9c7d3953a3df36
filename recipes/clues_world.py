"""Thinking with clues against one look, at the same budget of video tokens, on the built-in world: long scenes, short events.

    python recipes/clues_world.py --out DIR [--policy DIR] [--split tune|test] [--scenes N] [--budgets 64,96,128] [--seed S] [--FIELD VALUE]

Films scenes of 16 s in which the asked thing is there for 3 s at most, teaches the small model to answer them (left out where --policy is
given), and asks each question once at every budget and in two and three looks that together cost no more. Differences are paired, with 95 %
intervals over scenes. FIELD: any field of thinking with clues, such as --context-share 0. The fields were chosen on the split `tune`;
docs/clues.md has the figures of `test`, whose scenes decided nothing.

The shipped model answers lazily and has seen neither small frames nor uneven seconds. What is taught here are gold answers (SFT) on views
of both kinds, even ones at every rate and closer ones, so that neither side of the comparison is shown anything new."""

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
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO
from videochat_r1.tasks.base import Asking, load_task
from videochat_r1.types import Clip, Completion, Prompt, Sample
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import FramePlan, VideoInfo, plan_at, plan_frames
from videochat_r1.world.files import FPS, film_samples
from videochat_r1.world.questions import sample, video_lessons, when_lesson
from videochat_r1.world.render import FULL_SIDE_PX, render
from videochat_r1.world.scenes import Scene, draw

LENGTHS_S = {"easy": 8.0, "long": 16.0}
SHORT_S = {"easy": 2.0, "long": 3.0}
"""Of the event that is asked about, at most."""
ASKING = Asking(order="video_first")
GREEDY = Sampling(temperature=0.0, max_tokens=48, batch_prompts=32)
CHOSEN = CluesConfig(
    clues="two_pass",
    first_share=0.34,
    first_pixels=0.25,
    clue_fps=2.0,
    context_share=0.0,
    min_window_s=2.0,
    pad_s=0.5,
    pad_gaps=0.5,
    without_clue="again",
    gate="last",
)
"""Chosen on the split `tune`."""


def short_scenes(level: str, split: str, seed: int, count: int) -> list[Scene]:
    """Scenes whose asked thing is there for SHORT_S at most. Different splits share no scene."""
    found, number = [], 0
    while len(found) < count:
        scene = draw(level, f"clues-{split}-{seed}", number, whole=False)
        found += [scene] if scene.target.leaves_s - scene.target.appears_s <= SHORT_S[level] else []
        number += 1
    return found


def file_of(level: str) -> VideoInfo:
    """What is known of every filmed scene of a level."""
    return VideoInfo(
        path="drawn",
        container="mov",
        codec="h264",
        width=FULL_SIDE_PX,
        height=FULL_SIDE_PX,
        rotation=0,
        mirrored=False,
        frames=int(LENGTHS_S[level] * FPS),
        fps=float(FPS),
        duration_s=LENGTHS_S[level],
        last_s=LENGTHS_S[level] - 1 / FPS,
    )


def view(scene: Scene, geometry: Geometry, rng: random.Random) -> FramePlan:
    """A scene as one look or a closer look would show it: evenly with 8 to 32 frames, small or large, or a window around its event at two
    frames a second."""
    info = file_of(scene.level)
    if rng.random() < 0.6:
        pixels = SMALL_VIDEO.max_pixels // rng.choice((1, 4))
        bounds = {"max_pixels": pixels, "max_tokens": rng.choice((2, 3, 4, 5, 6, 8, 10)) * (pixels // geometry.factor**2)}
        return plan_frames(info, SMALL_VIDEO.model_copy(update=bounds), geometry)
    start_s, end_s = scene.target.span
    window = (max(start_s - rng.uniform(0.0, 1.2), 0.0), min(end_s + rng.uniform(0.0, 1.2), info.duration_s))
    moments, patch = rng.randint(2, 6), geometry.temporal_patch
    times_s = look_seconds([window], info.duration_s, fps=2.0, moments=moments, context_share=0.0, patch=patch)
    return plan_at(info, SMALL_VIDEO, geometry, tuple(round(min(second, info.last_s) * FPS) / FPS for second in times_s), max_tokens=2**20)


def lessons_of(scene: Scene, plan: FramePlan, rng: random.Random) -> list[tuple[str, str]]:
    """(question, true answer): the task's own, and when the thing comes and goes; of an even view also second by second."""
    grounding = load_task("temporal_grounding")
    asked = sample("temporal_grounding", scene, "")
    kinds = ["first", "last"] + (["presence"] if plan.times_s[-1] - plan.times_s[0] > 0.9 * scene.duration_s else [])
    others = [(one.question, one.answer) for one in video_lessons(replace(scene, things=scene.things[:1]), rng) if one.kind in kinds]
    when = when_lesson(scene)
    return [(grounding.ask(asked, ASKING), grounding.write(asked.truth, ASKING)), (when.question, when.answer), *others]


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
    for question, reply in lessons_of(scene, plan, rng):
        answer = encode_text(policy, reply)
        asked = torch.tensor(policy.tokenizer.encode(question + turn, add_special_tokens=False))
        ids_T = torch.cat([asked, answer.ids_T])
        tails.append(Completion(ids_T=ids_T, logprobs_T=torch.zeros(len(ids_T)), text=reply, stop="end"))
        answers.append(len(answer))
    return prompt, tails, answers


def teach(out: Path, level: str, steps: int, seed: int, videos: int = 16, lr: float = 8e-4) -> Path:
    """The small model after `steps` of gold answers on views of drawn scenes, each seen once; its folder."""
    policy = load_policy(PolicyConfig(path=str(SMALL_MODEL), train_vision=True), keep_reference=False)
    weights = list(policy.parameters().values())
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.98), weight_decay=0.02)
    course = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 30, 1.0) * (0.03 + 0.97 * (1 + math.cos(math.pi * step / steps)) / 2)
    )
    began = time.monotonic()
    for step in range(steps):
        rng = random.Random(f"{seed}/{step}")
        scenes = [draw(level, f"clues-taught-{seed}", step * videos + number, whole=False) for number in range(videos)]
        prompts, tails, answers = zip(*(pupil_view(policy, scene, rng) for scene in scenes), strict=True)
        scores = shared_logprobs(policy, prompts, tails, policy.vision(prompts))
        told = [
            (logprobs_T[-n:], n)
            for own, counts in zip(scores, answers, strict=True)
            for logprobs_T, n in zip(own.logprobs, counts, strict=True)
        ]
        loss = -sum((logprobs_T.sum() * n**-0.5 for logprobs_T, n in told), torch.zeros(())) / sum(n**0.5 for _, n in told)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        course.step()
        if step % 20 == 19:
            print(
                f"taught {step + 1} of {steps} steps, loss {loss.item():.3f}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
            )
    policy.save(out / "taught")
    return out / "taught"


def asked(policy: Policy, samples: Sequence[Sample], looks: CluesConfig, max_tokens: int = 0) -> list[Thought]:
    """Each sample's looks and answer."""
    engine = NativeEngine(policy)
    loader = ClipLoader(SMALL_VIDEO.model_copy(update={"max_tokens": max_tokens, "on_unreadable": "stop"}), policy.geometry)
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


def table(policy: Policy, samples: Sequence[Sample], budgets: Sequence[int], looks: CluesConfig, seed: int) -> list[dict[str, Any]]:
    """A row a budget and way of looking: its figures, its cost, and how it differs from one look at that budget."""
    rows = []
    for budget in budgets:
        ways = {"one look": (CluesConfig(), budget), "two looks": (looks.model_copy(update={"clues": "two_pass", "tokens": budget}), 0)}
        ways["three looks"] = (looks.model_copy(update={"clues": "rounds", "rounds": 3, "tokens": budget}), 0)
        base = None
        for way, (config, most) in ways.items():
            began = time.perf_counter()
            thoughts = asked(policy, samples, config, most)
            seconds = time.perf_counter() - began
            assert all(one.video_tokens <= budget for one in thoughts), f"{way} costs more than {budget} video tokens"
            worth = scored(samples, [one.reading for one in thoughts])
            [found] = compare(worth, base or worth, names=(way, "one look"), resamples=2000, seed=seed).values()
            base = base or worth
            rows.append({"budget": budget, "way": way, "n": found["n"], **cost(thoughts, seconds), "metrics": found["metrics"]})
    return rows


def written(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table; differences in points, with their paired 95 % intervals."""
    names = ("mIoU", "R@0.5", "R@0.7")
    lines = ["| budget | way | n | video tokens | all tokens | s |" + "".join(f" {name} | to one look |" for name in names)]
    lines.append("|---" * (6 + 2 * len(names)) + "|")
    for row in rows:
        cells = [row["budget"], row["way"], row["n"], f"{row['video_tokens']:.0f}", f"{row['all_tokens']:.0f}", f"{row['seconds']:.2f}"]
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
    reader.add_argument("--level", choices=tuple(LENGTHS_S), default="long")
    reader.add_argument("--split", choices=("tune", "test"), default="test")
    reader.add_argument("--scenes", type=int, default=200)
    reader.add_argument("--steps", type=int, default=240, help="of teaching, 16 scenes each")
    reader.add_argument("--budgets", default="48,64,80")
    reader.add_argument("--seed", type=int, default=0)
    for name, field in CluesConfig.model_fields.items():
        reader.add_argument(f"--{name.replace('_', '-')}", type=type(field.default), default=getattr(CHOSEN, name))
    options = reader.parse_args(arguments)
    quiet_libraries()
    taught = options.policy or str(teach(options.out, options.level, options.steps, options.seed))
    looks = CluesConfig(**{name: getattr(options, name) for name in CluesConfig.model_fields})
    policy = load_policy(PolicyConfig(path=taught), keep_reference=False)
    scenes = short_scenes(options.level, options.split, options.seed, options.scenes)
    samples = film_samples([(scene, "temporal_grounding") for scene in scenes], options.out / "videos")
    rows = table(policy, samples, [int(part) for part in options.budgets.split(",")], looks, options.seed)
    (options.out / f"clues_{options.split}.json").write_text(json.dumps({"looks": looks.model_dump(), "rows": rows}, indent=1) + "\n")
    print(written(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
