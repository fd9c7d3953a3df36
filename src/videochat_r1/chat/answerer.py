"""Thinking with clues as a way to answer a data set: what `evaluate --clues` asks with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videochat_r1.chat.clues import Thought, first_plan, think
from videochat_r1.chat.config import CluesConfig
from videochat_r1.chat.sight import Sight
from videochat_r1.errors import VideoError
from videochat_r1.evaluation.evaluate import Reply, Shown, Tasks
from videochat_r1.policy.model import Policy
from videochat_r1.rollout.base import Engine, Sampling
from videochat_r1.tasks.base import Asking, Task
from videochat_r1.types import Clip, Sample
from videochat_r1.video.clips import ClipLoader, picture_fps_of
from videochat_r1.video.sampling import FramePlan, VideoInfo


class FirstLooks(ClipLoader):
    """Decodes what a first look needs, ahead of its use, and leaves it in a sight. What is at fault goes to the given loader's list."""

    def __init__(self, loader: ClipLoader, sight: Sight, looks: CluesConfig) -> None:
        super().__init__(loader.config, loader.geometry)
        self.quarantine, self.sight, self.looks = loader.quarantine, sight, looks

    def _plan(self, info: VideoInfo, task: Task, sample: Sample) -> FramePlan:
        return first_plan(self.config, self.geometry, info, task, sample, self.looks)[1]

    def load(self, task: Task, sample: Sample) -> Clip:
        clip = super().load(task, sample)
        info = self.sight.loader.info(sample.video, picture_fps_of(sample))
        self.sight.remember(info, self._plan(info, task, sample), clip)
        return clip


class WithClues:
    """An answerer (evaluation/evaluate.py) that thinks with clues. `loader` is what its samples are to be loaded with.

    loader: whose configuration one look alone follows. A reply's tokens are those written in all looks; its `more` says what the looks cost
    and where they went."""

    def __init__(
        self, policy: Policy, engine: Engine, loader: ClipLoader, asking: Asking, sampling: Sampling, looks: CluesConfig, seed: int = 0
    ) -> None:
        self.policy, self.engine, self.asking, self.sampling, self.looks, self.seed = policy, engine, asking, sampling, looks, seed
        self.sight = Sight(policy, loader)
        self.loader = FirstLooks(loader, self.sight, looks)
        self.tasks = Tasks()

    @property
    def settings(self) -> dict[str, Any]:
        drawn = self.sampling.model_dump(mode="json", exclude={"batch_prompts"})
        looks = self.looks.model_dump(mode="json")
        return {"order": self.asking.order, "sampling": drawn, "dtype": str(self.policy.dtype), "by": "clues", "looks": looks}

    def __call__(self, unit: Sequence[Shown]) -> list[list[Reply]]:
        """A reply to each sample of each clip. Raises as `think` does."""
        items = [(self.tasks[sample.task], sample) for shown in unit for sample in shown.samples]
        thoughts = think(self.policy, self.engine, self.sight, items, self.asking, self.sampling, self.looks, seed=self.seed)
        replies = iter(map(_reply, thoughts))
        return [[next(replies) for _ in shown.samples] for shown in unit]


def _reply(thought: Thought | VideoError) -> Reply:
    if isinstance(thought, VideoError):
        return Reply(fault=thought.reason)
    more = {
        "looks": len(thought.looks),
        "video_tokens": thought.video_tokens,
        "prompt_tokens": thought.prompt_tokens,
        "kept": thought.kept + 1,
        "ended": thought.ended,
        "windows": [[list(window) for window in look.windows] for look in thought.looks],
        "texts": [look.completion.text for look in thought.looks],
    }
    return Reply(text=thought.answer.completion.text, tokens=thought.answer_tokens, more=more)
