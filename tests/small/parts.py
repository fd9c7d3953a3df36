"""A small model of the world's own kind for tests: random weights, a tokenizer trained on a few lessons, made once a session."""

from __future__ import annotations

import functools
import random
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from videochat_r1.policy.model import Policy, PolicyConfig
from videochat_r1.policy.processing import Processing
from videochat_r1.small.architecture import SIDE_PX, Kind, small_config, small_model, small_processor
from videochat_r1.small.tokenizer import train_tokenizer
from videochat_r1.types import Clip
from videochat_r1.world.questions import video_lessons
from videochat_r1.world.render import render
from videochat_r1.world.scenes import Scene, draw

VOCABULARY = 1000


@functools.cache
def small_tokenizer(kind: Kind = "qwen3_vl") -> PreTrainedTokenizerFast:
    lessons = [lesson for number in range(40) for lesson in video_lessons(draw("several", "words", number), random.Random(number))]
    shares = [f"{k / 100:.2f}" for k in range(101)]
    numbers = ["[" + " [".join(shares), ", ".join(shares), " ".join(f"<{k / 10:.1f} seconds>" for k in range(81))]
    return train_tokenizer([*(one.question for one in lessons), *(one.answer for one in lessons), *numbers * 60], VOCABULARY, kind)


def tiny_small_model(seed: int = 0, kind: Kind = "qwen3_vl") -> Any:
    """One layer of each tower: the real one's kind, and a tenth of its size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return small_model(small_config(small_tokenizer(kind), kind=kind, width=64, layers=2, vision_width=32, vision_layers=2))


def small_policy(seed: int = 0, kind: Kind = "qwen3_vl") -> Policy:
    model, tokenizer = tiny_small_model(seed, kind), small_tokenizer(kind)
    processing = Processing(hf_config=model.config, tokenizer=tokenizer, processor=small_processor(tokenizer, kind))
    return Policy(model, processing, PolicyConfig(device="cpu", dtype="float32"))


def clip_of(scene: Scene, times_s: tuple[float, ...]) -> Clip:
    frames_NCHW = render(scene, times_s, SIDE_PX)
    return Clip(frames_NCHW=frames_NCHW, times_s=times_s, duration_s=scene.duration_s, source_size=(SIDE_PX, SIDE_PX), path=scene.id)
