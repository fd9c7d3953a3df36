"""A run that never was: drawn clips, three models of known skill, figures and training rows of the shapes that real runs have."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videochat_r1.evaluation.report import Example, ModelAnswer, Report, choose_examples
from videochat_r1.types import Answer, Box, Clip, Reading, Sample

SIDE_PX, FRAMES, FPS = 64, 16, 2.0
DURATION_S = FRAMES / FPS
COLOURS = ("red", "yellow", "blue", "green")
SKILL = {"base": 0.15, "sft": 0.5, "rft": 0.92}


def box_at(time_s: float, seed: int) -> Box:
    """A square that moves along an arc."""
    turn = 0.5 * time_s + seed
    x, y = 0.5 + 0.3 * math.cos(turn), 0.5 + 0.28 * math.sin(1.3 * turn)
    return (x - 0.13, y - 0.13, x + 0.13, y + 0.13)


def drawn_clip(seed: int, span: tuple[float, float] = (0.0, DURATION_S), shape: tuple[int, int] = (SIDE_PX, SIDE_PX)) -> Clip:
    """A disc that moves, visible within span only, and a square that stays."""
    rng = np.random.default_rng(seed)
    height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    y, x = (y + 0.5) / height, (x + 0.5) / width
    colour, ground = [(230, 70, 60), (250, 200, 60), (80, 160, 250), (120, 210, 120)][seed % 4], np.array([38, 42, 58])
    frames, times_s = [], [index / FPS for index in range(FRAMES)]
    for time_s in times_s:
        picture = np.broadcast_to(ground, (height, width, 3)).astype(np.float64) + rng.normal(0, 5, (height, width, 1))
        picture[(abs(x - 0.2) < 0.08) & (abs(y - 0.8) < 0.08)] = (150, 120, 200)
        x0, y0, x1, y1 = box_at(time_s, seed)
        if span[0] <= time_s <= span[1]:
            picture[((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) / (y1 - y0)) ** 2 < 0.25] = colour
        frames.append(picture.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))
    size = (width, height)
    return Clip(
        frames_NCHW=torch.from_numpy(np.stack(frames)), times_s=tuple(times_s), duration_s=DURATION_S, source_size=size, path="drawn.mp4"
    )


def answered(text: str, answer: Answer | None, reason: str = "", **rewards: float) -> ModelAnswer:
    return ModelAnswer(text=text, reading=Reading(answer=answer, reason=reason, format_ok=answer is not None), rewards=rewards)


def grounding_example(seed: int) -> Example:
    rng = random.Random(seed)
    start = rng.uniform(0.5, 4.0)
    truth = (start, start + rng.uniform(1.5, 3.5))
    answers = {}
    for model, skill in SKILL.items():
        span = tuple((1 - skill) * lazy + skill * true + rng.gauss(0, 0.08) for lazy, true in zip((0.0, DURATION_S), truth, strict=True))
        shared = max(0.0, min(span[1], truth[1]) - max(span[0], truth[0]))
        iou = shared / (max(span[1], truth[1]) - min(span[0], truth[0]))
        answers[model] = answered(f"<answer>{span[0]:.2f} to {span[1]:.2f}</answer>", Answer(spans=(span,)), format=1.0, tiou=iou)
    sample = Sample(
        id=f"world/{seed:03d}-0",
        task="temporal_grounding",
        video="drawn.mp4",
        question=f"the {COLOURS[seed % 4]} disc is in the picture",
        truth=Answer(spans=(truth,)),
    )
    return Example(sample=sample, answers=answers, clip=drawn_clip(seed, truth))


def tracking_example(seed: int) -> Example:
    rng = random.Random(seed)
    times_s = tuple(float(second) for second in range(8))
    truth = tuple(box_at(time_s, seed) for time_s in times_s)
    answers = {}
    for model, skill in SKILL.items():
        boxes = [truth[0]]
        for box in truth[1:]:
            boxes.append(
                tuple(
                    min(1.0, max(0.0, (1 - skill) * first + skill * true + rng.gauss(0, 0.012)))
                    for first, true in zip(truth[0], box, strict=True)
                )
            )
        text = "<answer>" + str([[round(side, 3) for side in box] for box in boxes]) + "</answer>"
        answers[model] = answered(text, Answer(boxes=tuple(boxes)), format=1.0, box_iou=skill)
    sample = Sample(
        id=f"world/{seed:03d}-1", task="tracking", video="drawn.mp4", question="the moving disc", truth=Answer(boxes=truth, times_s=times_s)
    )
    return Example(sample=sample, answers=answers, clip=drawn_clip(seed))


def choice_example(seed: int, grounded: bool) -> Example:
    options = ("a red disc", "a yellow disc", "a blue disc", "a green disc")
    right = "ABCD"[seed % 4]
    span = (1.0, 4.5)
    answers = {}
    for model in SKILL:
        letter = right if model != "base" or seed % 2 else "A"
        spans = {"base": ((0.0, DURATION_S),), "sft": ((0.5, 3.0),), "rft": ((1.1, 4.4),)}[model] if grounded else None
        earned = {"format": 1.0, "accuracy": float(letter == right)}
        answers[model] = answered(f"<answer>{letter}</answer>", Answer(choice=letter, spans=spans), **earned)
    if not grounded and seed == 2:
        answers["sft"] = answered("The answer could be B or C", None, "several_choices", format=0.0, accuracy=0.0)
    truth = Answer(choice=right, spans=(span,) if grounded else None)
    task = "grounded_qa" if grounded else "video_qa"
    sample = Sample(
        id=f"world/{seed:03d}-2", task=task, video="drawn.mp4", question="What moves through the picture?", options=options, truth=truth
    )
    return Example(sample=sample, answers=answers, clip=drawn_clip(seed, span if grounded else (0.0, DURATION_S)))


def description_example(seed: int) -> Example:
    events = ("a red disc enters", "it turns left")
    said = {"base": events[:1], "sft": events[:1], "rft": events}
    answers = {
        model: answered(". ".join(found), Answer(events=found, caption=". ".join(found)), event_recall=len(found) / 2)
        for model, found in said.items()
    }
    sample = Sample(
        id=f"world/{seed:03d}-3", task="description", video="drawn.mp4", question="Describe the video.", truth=Answer(events=events)
    )
    return Example(sample=sample, answers=answers, clip=drawn_clip(seed))


def figures(n: int = 96, unparsed: int = 0, half_width: float = 3.0, **metrics: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        name = name.replace("_at_", "@0.").replace("AccGQA", "Acc&GQA").replace("AO8", "AO_8")
        found |= {name: value, f"{name}_ci95": [max(0.0, value - half_width), min(100.0, value + half_width)]}
    return found | {"n": n, "unparsed": unparsed}


def payload() -> dict[str, Any]:
    """Figures as a demo gives them: two tasks lifted, the others kept or moved a little."""
    qa = {"base": (88.5, 62.5, 55.2, 12.1, 16.7), "sft": (83.3, 60.4, 54.0, 25.3, 28.1), "rft": (89.6, 62.3, 61.5, 38.8, 40.6)}
    grounding = {"base": (29.3, 41.7, 17.7, 4.2), "sft": (55.1, 78.1, 58.3, 34.4), "rft": (91.2, 100.0, 99.0, 93.8)}
    tracking = {"base": (16.5, 9.4, 1.0, 27.0), "sft": (49.0, 51.0, 9.4, 55.4), "rft": (68.7, 86.9, 41.2, 72.6)}
    results: dict[str, Any] = {}
    for model, (accuracy, quality, recall, miou, both) in qa.items():
        g, t = grounding[model], tracking[model]
        results[model] = {
            "temporal_grounding": figures(mIoU=g[0], R_at_3=g[1], R_at_5=g[2], R_at_7=g[3], unparsed=2 if model == "base" else 0),
            "tracking": figures(AO=t[0], SR50=t[1], SR75=t[2], AO8=t[3]),
            "video_qa": figures(accuracy=accuracy, half_width=6.4),
            "grounded_qa": figures(mIoU=miou, accuracy=accuracy - 2, AccGQA=both, half_width=5.5),
            "description": figures(event_recall=recall, half_width=5.0),
            "quality": figures(accuracy=quality, half_width=9.7),
        }
    baselines = {
        "temporal_grounding": {
            "whole_video": {"mIoU": 31.4, "R@0.3": 50.1, "R@0.5": 16.0, "R@0.7": 2.1},
            "constant": {"mIoU": 27.7, "R@0.3": 44.0, "R@0.5": 21.0, "R@0.7": 6.0},
        },
        "tracking": {"copy_first_box": {"AO": 15.1, "SR50": 7.3, "SR75": 0.0, "AO_8": 25.7}},
        "video_qa": {"majority": {"accuracy": 29.2}},
        "grounded_qa": {"majority": {"accuracy": 28.1, "mIoU": 24.0, "Acc&GQA": 6.3}},
        "quality": {"majority": {"accuracy": 60.4}},
    }
    harder = {
        level: {
            model: {"temporal_grounding": figures(mIoU=grounding[model][0] * fade), "tracking": figures(AO=tracking[model][0] * fade)}
            for model in SKILL
        }
        for level, fade in (("distractors", 0.82), ("several", 0.7), ("long", 0.52))
    }
    for level in harder.values():
        level["baselines"] = {"temporal_grounding": {"whole_video": {"mIoU": 22.0}}, "tracking": {"copy_first_box": {"AO": 13.0}}}
    seconds = {"evaluate": 41.2, "reinforce": 104.9, "fine-tune": 22.0}
    return {
        "results": results,
        "baselines": baselines,
        "levels": harder,
        "level": "easy",
        "seconds": seconds,
        "n": {"temporal_grounding": 96, "tracking": 96},
    }


def metrics_rows(steps: int = 80) -> list[dict[str, Any]]:
    rng = random.Random(7)
    rows = []
    for step in range(1, steps + 1):
        rise = 1 - math.exp(-step / 30)
        row: dict[str, Any] = {"step": step, "reward": 1.2 + 0.6 * rise + rng.gauss(0, 0.08), "reward_std": 0.3 - 0.15 * rise}
        row |= {"rewards/format": min(1.0, 0.97 + rng.gauss(0, 0.01)), "rewards/tiou": 0.3 + 0.6 * rise + rng.gauss(0, 0.05)}
        row["rewards/box_iou"] = 0.2 + 0.5 * rise + rng.gauss(0, 0.05)
        for place, task in enumerate(("temporal_grounding", "tracking", "video_qa", "grounded_qa")):
            if (step + place) % 3:
                row[f"{task}/reward"] = 1.2 + (0.7, 0.55, 0.02, 0.2)[place] * rise + rng.gauss(0, 0.1)
        row |= {
            "kl": 0.02 * rise + abs(rng.gauss(0, 0.002)),
            "entropy": 0.9 - 0.6 * rise + rng.gauss(0, 0.02),
            "completions/mean_length": 24 + rng.gauss(0, 2),
        }
        row |= {
            "frac_reward_zero_std": 0.1 + 0.4 * rise,
            "grad_norm": 0.8 + rng.gauss(0, 0.1),
            "throughput/tokens_per_second": 1800 + rng.gauss(0, 50),
        }
        row |= {"seconds/rollout": 0.5, "seconds/update": 0.62, "seconds/decode": 0.08}
        rows.append(row)
    return rows


def candidates() -> list[Example]:
    found = [grounding_example(seed) for seed in range(4)] + [tracking_example(seed) for seed in range(4)]
    found += [choice_example(seed, grounded=False) for seed in (1, 2)] + [choice_example(seed, grounded=True) for seed in (3, 4)]
    return [*found, description_example(5)]


def trial_report(folder: Path, **changes: Any) -> Report:
    """The report of this run; its metrics.jsonl is written into folder, with a last line that a kill cut short."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = folder / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(row) + "\n" for row in metrics_rows()) + '{"step": 81, "rew', encoding="utf-8")
    given: dict[str, Any] = {
        "title": "A small model learns to find and follow",
        "payload": payload(),
        "notes": (
            "The base model's target labels were lazy by design: mostly the whole video, or the first box again.",
            "The harder levels were never trained on.",
        ),
        "commands": ("videochat-r1 demo --out runs/demo",),
        "environment": {"Python": "3.11.9", "torch": "2.14.0", "Processor": "two cores"},
        "metrics": metrics,
        "examples": choose_examples(candidates()),
    }
    return Report(**(given | changes))
