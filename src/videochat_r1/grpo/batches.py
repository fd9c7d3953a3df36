"""From the order of samples to the batches of prompts that steps take, decoded and rendered while the step before works."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

from videochat_r1.errors import DataError, VideoError
from videochat_r1.grpo.ahead import ahead
from videochat_r1.grpo.log import NOTES
from videochat_r1.grpo.order import Order, Turn
from videochat_r1.policy.model import Policy
from videochat_r1.policy.prompt import pinned_for, render
from videochat_r1.tasks.base import Asking, Task
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Prompt, Sample
from videochat_r1.video.clips import ClipLoader, prefetch


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """The prompts of one step, and where in the order the next step begins."""

    turns: Sequence[Turn]
    prompts: Sequence[Prompt]
    position: int
    unusable: int  # turns that were passed over for it: their videos could not be used

    @property
    def tasks(self) -> list[str]:
        return [turn.sample.task for turn in self.turns]


def batches(order: Order, position: int, size: int, loader: ClipLoader, policy: Policy, asking: Asking) -> Generator[Batch]:
    """Batches of `size` prompts from a position of the order on, without end. A sample whose video cannot be used is passed over.

    The next batch is decoded and rendered in a thread while the step works on this one. The first sample that is passed over is told, and
    again when a fifth and a half of all have been.
    Raises DataError where no sample has a usable video, VideoError where the recipe says to stop at the first.
    """
    turns: list[Turn] = []
    prompts: list[Prompt] = []
    unusable, failed, left_out = 0, set[int](), set[str]()
    samples = sum(len(source.samples) for source in order.sources)
    told_at = {1, samples // 5 + 1, samples // 2 + 1}
    with closing(ahead(rendered(order, position, loader, policy, asking), depth=size)) as ready:
        for turn, prompt in ready:
            if isinstance(prompt, VideoError):
                unusable += 1
                if turn.sample.id not in left_out:
                    left_out.add(turn.sample.id)
                    if len(left_out) in told_at:
                        what = "Left out, %d of %d samples so far: %s All are listed in quarantine.jsonl when the run ends."
                        NOTES.warning(what, len(left_out), samples, prompt.what)
                failed.add(id(turn.sample))  # in the shuffled order of epochs one may come twice before another
                if len(failed) >= samples:
                    raise DataError(f"Not one of the {samples:,} samples has a usable video; the last: {prompt.what}", prompt.mend)
                continue
            failed.clear()
            turns.append(turn)
            prompts.append(prompt)
            if len(turns) == size:
                yield Batch(turns=turns, prompts=prompts, position=turn.position + 1, unusable=unusable)
                turns, prompts, unusable = [], [], 0


def rendered(
    order: Order, position: int, loader: ClipLoader, policy: Policy, asking: Asking
) -> Generator[tuple[Turn, Prompt | VideoError]]:
    """Each turn with its prompt, or with why there is none; in order, without end. Patches for a GPU lie in pinned memory, so that they
    are copied while it works."""
    waiting: deque[Turn] = deque()

    def items() -> Iterator[tuple[Task, Sample]]:
        for turn in order.turns(position):
            waiting.append(turn)
            yield task_of(turn), turn.sample

    for (task, sample), clip in prefetch(loader, items(), loader.config.prefetch_clips, loader.config.prefetch_threads):
        turn = waiting.popleft()
        if isinstance(clip, VideoError):
            yield turn, clip
            continue
        yield turn, pinned_for(policy.device, render(policy, task, sample, clip, asking))


def task_of(turn: Turn) -> Task:
    """The task of a turn's sample, imported once. Raises UsageError on an unknown one."""
    return _task(turn.sample.task)


@lru_cache(maxsize=64)
def _task(name: str) -> Task:
    return load_task(name)
