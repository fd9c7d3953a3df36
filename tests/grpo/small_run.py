"""A real Trainer on a tiny policy: real prompts, rollouts and gradients; only the frames are drawn in memory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.tiny import tiny_clip, tiny_policy

from videochat_r1.errors import VideoError
from videochat_r1.grpo.config import GrpoConfig, TrainConfig
from videochat_r1.grpo.log import RunFolder, read_rows, timing_keys
from videochat_r1.grpo.order import Source
from videochat_r1.grpo.trainer import Trainer
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Answer, Sample
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.sampling import VideoConfig

LETTERS = str(Path(__file__).with_name("letters_task.py"))


class DrawnLoader(ClipLoader):
    """Draws the clip of a sample from its id; a sample whose video is "broken" has none."""

    def load(self, task, sample):
        with self._lock:
            self.counters["decodes"] += 1
        if sample.video == "broken":
            raise VideoError("unreadable", f"{sample.id} cannot be read.")
        return tiny_clip(frames=2, height=16, width=16, seed=int(sample.id.rsplit("/", 1)[-1]))


def letters(count, *, broken=()):
    return [
        Sample(
            id=f"letters/{index}",
            task=LETTERS,
            video="broken" if index in broken else "drawn",
            question=f"say {index}",
            truth=Answer(label="aeiou"),
        )
        for index in range(count)
    ]


def spans(count):
    return [
        Sample(
            id=f"spans/{index}",
            task="temporal_grounding",
            video="drawn",
            question=f"it turns {index}",
            truth=Answer(spans=((0.1, 0.6),)),
            duration_s=1.0,
        )
        for index in range(count)
    ]


def small_trainer(folder, *, policy=None, sources=None, train=None, grpo=None, engine=None, sampling=None, on_step=None, **options):
    """train, grpo, sampling: fields that differ from the small defaults. folder: an open RunFolder."""
    policy = policy or tiny_policy("qwen2_5_vl", lora_rank=2, adapter_noise=0.0)
    return Trainer(
        policy,
        engine or NativeEngine(policy),
        DrawnLoader(VideoConfig(prefetch_threads=1, prefetch_clips=2), policy.geometry),
        sources or [Source(samples=letters(5)), Source(samples=spans(3))],
        folder=folder,
        asking=Asking(),
        sampling=Sampling(**{"max_tokens": 6, **(sampling or {})}),
        grpo=GrpoConfig(**{"group_size": 2, "reward_deadline_s": 0.0, **(grpo or {})}),
        train=TrainConfig(**{"steps": 4, "prompts_per_step": 2, "lr": 1e-2, "checkpoint_every": 1, **(train or {})}),
        on_step=on_step,
        **options,
    )


def run_in(path, *, resume=False, **options):
    """Run to the end in a folder; the trainer."""
    with RunFolder(path, resume=resume) as folder:
        trainer = small_trainer(folder, **options)
        trainer.outcome = trainer.run()
    return trainer


def timeless(path):
    """The rows of metrics.jsonl without what a clock or the machine decides."""
    return [{key: value for key, value in row.items() if key not in timing_keys(row)} for row in read_rows(Path(path) / "metrics.jsonl")]


def fingerprint(path):
    """What must be the same bits in every run of a recipe: tensors and state of the last checkpoint, both logs."""
    newest = max((Path(path) / "checkpoints").glob("step-*"))
    state = json.loads((newest / "state.json").read_text())
    state["progress"].pop("seconds")
    state["logs"].pop("metrics.jsonl")  # its size holds the digits of seconds
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(newest.glob("*.safetensors"))}
    rollouts = hashlib.sha256((Path(path) / "rollouts.jsonl").read_bytes()).hexdigest()
    return {"step": newest.name[:13], "state": state, "hashes": hashes, "rollouts": rollouts, "metrics": timeless(path)}
