"""Prompts of a whole data set, counted without weights and, where need be, without videos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from videochat_r1.counting import counted
from videochat_r1.errors import DataError, UsageError, VideoError

if TYPE_CHECKING:
    from videochat_r1.policy.processing import Processing
    from videochat_r1.tasks.base import Asking, Task
    from videochat_r1.types import Sample
    from videochat_r1.video.resize import Geometry
    from videochat_r1.video.sampling import FramePlan, VideoConfig

ASSUMED_SIZE, ASSUMED_FPS, ASSUMED_S = (1920, 1080), 30.0, 600.0
"""Of a video that is not there: large enough to fill the pixel budget, and, where no annotation says how long, long enough too."""


@dataclass
class PromptCounts:
    """Tokens of the prompts of a data set."""

    prompts: int = 0
    assumed: int = 0  # whose video is not there: planned from the annotated duration
    tokens: int = 0
    most: int = 0
    most_video: int = 0
    most_id: str = ""
    refused: list[str] = field(default_factory=list)  # why a prompt cannot be made
    stopped: DataError | None = None  # the first of these that would stop a run: a video that cannot be used is only set aside

    def add(self, sample_id: str, tokens: int, video: int, assumed: bool) -> None:
        self.prompts += 1
        self.assumed += assumed
        self.tokens += tokens
        if tokens > self.most:
            self.most, self.most_video, self.most_id = tokens, video, sample_id

    def refuse(self, fault: DataError | ValueError) -> None:
        self.refused.append(str(fault).splitlines()[0])
        if self.stopped is None and isinstance(fault, DataError) and not isinstance(fault, VideoError):
            self.stopped = fault

    def line(self) -> str:
        """The counts in a sentence."""
        refused = f"{len(self.refused):,} cannot be made, the first: {self.refused[0]}" if self.refused else ""
        if not self.prompts:
            return f"no prompt; {refused}" if refused else "no prompt"
        said = f"{counted(self.prompts, 'prompt')} of {self.tokens / self.prompts:,.0f} tokens on average, {self.most:,} at most"
        said += f" ({self.most_video:,} of video)"
        absent = f"; {self.assumed:,} of them planned from the annotated duration, their video is not there" if self.assumed else ""
        return said + absent + (f"; {refused}" if refused else "")


class Planner:
    """Frame plans of samples: of the file where it is there, else of a large film as long as annotated."""

    def __init__(self, config: VideoConfig, geometry: Geometry) -> None:
        from videochat_r1.video.clips import ClipLoader
        from videochat_r1.video.sampling import plan_frames

        self.loader = ClipLoader(config, geometry)
        self._plan_frames = plan_frames
        self._assumed = lru_cache(maxsize=65536)(self._plan_assumed)

    def plan(self, task: Task, sample: Sample) -> tuple[FramePlan, bool]:
        """The plan, and whether it is assumed. Raises VideoError where the file cannot be used."""
        if os.path.exists(sample.video):
            return self.loader.plan(task, sample), False
        return self._assumed(sample.duration_s or ASSUMED_S, task.seconds(sample)), True

    def _plan_assumed(self, duration_s: float, seconds: tuple[float, ...] | None) -> FramePlan:
        from videochat_r1.video.sampling import VideoInfo

        duration_s = max(duration_s, seconds[-1] if seconds else 0.0)
        frames = max(1, round(duration_s * ASSUMED_FPS))
        width, height = ASSUMED_SIZE
        info = VideoInfo(
            path="",
            container="mov",
            codec="h264",
            width=width,
            height=height,
            rotation=0,
            mirrored=False,
            frames=frames,
            fps=ASSUMED_FPS,
            duration_s=frames / ASSUMED_FPS,
            last_s=(frames - 1) / ASSUMED_FPS,
        )
        return self._plan_frames(info, self.loader.config, self.loader.geometry, seconds)


def walk(processing: Processing, samples: Sequence[Sample], video: VideoConfig, asking: Asking) -> PromptCounts:
    """Writes the prompt of every sample, ids and all, and counts its tokens."""
    from videochat_r1.policy.prompt import prompt_ids
    from videochat_r1.tasks.base.loading import load_task

    counts = PromptCounts()
    planner = Planner(video, processing.geometry)
    tasks = {name: load_task(name) for name in {sample.task for sample in samples}}
    for sample in samples:
        task = tasks[sample.task]
        try:
            plan, is_assumed = planner.plan(task, sample)
            ids = prompt_ids(processing, task.ask(sample, asking), plan.grid_thw, plan.times_s, order=asking.order, sample_id=sample.id)
        except (DataError, ValueError) as fault:
            counts.refuse(fault)
            continue
        counts.add(sample.id, len(ids), plan.video_tokens, is_assumed)
    return counts


def processing_of(path: str, tokenizer: str) -> Processing | None:
    """What writes the prompts of a model without its weights: its folder, its files in the local cache, or its published sizes with the
    tokenizer in the folder `tokenizer`. None where it is a released model but no tokenizer is at hand. Nothing is downloaded.

    Raises UsageError for a model that is none of these."""
    from videochat_r1.policy.processing import load_processing
    from videochat_r1.policy.released import CONFIGS, released_processing

    if Path(path).expanduser().is_dir():
        if tokenizer:
            raise UsageError(f"{path} has a tokenizer of its own.", "Leave out --tokenizer.")
        return load_processing(path)
    if path in CONFIGS and tokenizer:
        return released_processing(path, tokenizer)
    if cached := _cached(path):
        return load_processing(cached)
    if path not in CONFIGS:
        raise UsageError(f"{path!r} is no folder here, not in the local cache, and no released model.", known_models(path))
    return None


def known_models(path: str) -> str:
    """A sentence about the models that may have been meant: folders beside it, the built-in one, or the released ones."""
    from videochat_r1.policy.config import SMALL
    from videochat_r1.policy.processing import nearest_model
    from videochat_r1.policy.released import CONFIGS
    from videochat_r1.spelling import did_you_mean

    if any((Path(path).expanduser() / "policy" / name).is_file() for name in ("config.json", "adapter_config.json")):
        return f"It is a run's folder: give {Path(path) / 'policy'}."
    return nearest_model(Path(path).expanduser()) or did_you_mean(path, [SMALL, *CONFIGS])


def _cached(name: str) -> str:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(name, file) for file in ("config.json", "tokenizer.json", "preprocessor_config.json")]
    except HFValidationError:
        return ""
    return str(Path(str(found[0])).parent) if all(isinstance(file, str) for file in found) else ""
