"""A policy tried on its training samples before a GPU-day is spent: G completions of each, drawn, read and paid as training would.

Rows are appended to a file a batch at a time, each with a key that is a hash of all it follows from. A scan that was killed goes on where
it stopped; another policy, another prompt or another video is measured anew."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from videochat_r1.datasets.base.rows import fingerprint
from videochat_r1.errors import EnvironmentFault, VideoError
from videochat_r1.evaluation.answer_cache import VideoDigests, digest, model_digest
from videochat_r1.grpo.answers import judged
from videochat_r1.grpo.batches import Batch, task_of
from videochat_r1.grpo.log import RowLog
from videochat_r1.grpo.order import Turn
from videochat_r1.policy.model import Policy
from videochat_r1.policy.prompt import render
from videochat_r1.rollout.base import Engine, Sampling, seed_of
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Group, Prompt, Sample
from videochat_r1.video.clips import ClipLoader, prefetch
from videochat_r1.video.sampling import VideoConfig

Row = dict[str, Any]


class Keys:
    """The key of each sample's row. facts: what all rows follow from."""

    def __init__(self, policy: str, asking: Asking, video: VideoConfig, sampling: Sampling, group_size: int, seed: int) -> None:
        drawn = {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "max_tokens")}
        shown = video.model_dump(mode="json", exclude={"prefetch_clips", "prefetch_threads", "decoder_threads", "on_unreadable"})
        self.facts = digest([model_digest(policy), asking.model_dump(mode="json"), shown, drawn, group_size, seed])
        self.videos = VideoDigests()

    def __call__(self, sample: Sample) -> str:
        return digest([self.facts, fingerprint([sample]), self.videos(sample.video)])


def measured(path: Path, keys: Sequence[str]) -> dict[str, Row]:
    """Rows of these keys that a file already holds; a last line that was cut short is taken off the file. Raises EnvironmentFault."""
    try:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            log = RowLog(path)
            log.cut(len(whole))
            log.close()
    except OSError as fault:
        raise EnvironmentFault(f"{path} cannot be read: {fault.strerror}.", "Choose another file with --out.") from None
    wanted = set(keys)
    rows = {}
    for line in whole.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("key") in wanted:
            rows[row["key"]] = row
    return rows


def measure(
    policy: Policy,
    engine: Engine,
    loader: ClipLoader,
    samples: Sequence[Sample],
    keys: Sequence[str],
    path: Path,
    asking: Asking,
    sampling: Sampling,
    *,
    group_size: int,
    seed: int = 0,
    deadline_s: float = 0.0,
    on_measured: Callable[[int], None] | None = None,
) -> list[Row]:
    """A row for each sample, in their order; those that the file does not hold are sampled and appended.

    A row: {"key", "sample" (fingerprint), "id", "task", "group_size", "unscorable", "reward_mean", "reward_std", "difficulty",
    "rewards" (means by name), "totals", "fault"}; null where nothing could be scored, `fault` says why a video could not be used.
    Completions are drawn as the first visit of a training run of this seed draws them. on_measured: called with the number of rows that
    are there.
    Raises EnvironmentFault where the file cannot be written, DataError as `judged` does."""
    rows = measured(path, keys)
    if on_measured is not None:
        on_measured(len(rows))
    left = [index for index, key in enumerate(keys) if key not in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    log = RowLog(path)
    try:
        for batch in _batches(policy, loader, samples, left, asking, sampling.batch_prompts):
            new = [_unreadable(keys[index], samples[index], group_size, fault) for index, fault in batch if isinstance(fault, VideoError)]
            shown = [(index, prompt) for index, prompt in batch if isinstance(prompt, Prompt)]
            if shown:
                turns = [Turn(position=index, sample=samples[index], visit=0) for index, _ in shown]
                prompts = [prompt for _, prompt in shown]
                seeds = [seed_of(seed, turn.visit, turn.sample.id) for turn in turns]
                completions = engine.complete(prompts, per_prompt=group_size, sampling=sampling, seeds=seeds)
                groups = judged(Batch(turns=turns, prompts=prompts, position=0, unusable=0), completions, asking, deadline_s)
                new += [row_of(keys[turn.position], group) for turn, group in zip(turns, groups, strict=True)]
            rows |= {row["key"]: row for row in new}
            log.append([rows[keys[index]] for index, _ in batch])
            log.commit()
            if on_measured is not None:
                on_measured(len(rows))
    except OSError as fault:
        raise EnvironmentFault(f"{path} cannot be written: {fault.strerror}.", "Make room; the same command goes on.") from None
    finally:
        log.close()
    return [rows[key] for key in keys]


def row_of(key: str, group: Group) -> Row:
    """What a group tells of its sample."""
    told = [rollout for rollout in group.rollouts if rollout.total is not None]
    totals = list(group.scored)
    names = list(dict.fromkeys(name for rollout in told for name in rollout.rewards))
    means = {name: statistics.fmean(rollout.rewards[name] for rollout in told) for name in names}
    of_answer = [mean for name, mean in means.items() if name != "format"] or list(means.values())
    return {
        "key": key,
        "sample": fingerprint([group.sample]),
        "id": group.sample.id,
        "task": group.sample.task,
        "group_size": len(group.rollouts),
        "unscorable": len(group.rollouts) - len(told),
        "reward_mean": statistics.fmean(totals) if totals else None,
        "reward_std": (statistics.stdev(totals) if len(set(totals)) > 1 else 0.0) if totals else None,
        "difficulty": min(1.0, max(0.0, 1.0 - statistics.fmean(of_answer))) if totals else None,
        "rewards": means,
        "totals": totals,
        "fault": "",
    }


def _unreadable(key: str, sample: Sample, group_size: int, fault: VideoError) -> Row:
    nothing: Row = {"unscorable": 0, "reward_mean": None, "reward_std": None, "difficulty": None, "rewards": {}, "totals": []}
    about = {"key": key, "sample": fingerprint([sample]), "id": sample.id, "task": sample.task, "group_size": group_size}
    return {**about, **nothing, "fault": fault.reason}


def _batches(
    policy: Policy, loader: ClipLoader, samples: Sequence[Sample], left: Sequence[int], asking: Asking, size: int
) -> Iterator[list[tuple[int, Prompt | VideoError]]]:
    """The samples that are left, a few at a time, each with its prompt or with why there is none."""
    batch: list[tuple[int, Prompt | VideoError]] = []
    turns = [Turn(position=index, sample=samples[index], visit=0) for index in left]
    items = [(task_of(turn), turn.sample) for turn in turns]
    clips = prefetch(loader, items, loader.config.prefetch_clips, loader.config.prefetch_threads)
    for index, ((task, sample), clip) in zip(left, clips, strict=True):
        batch.append((index, clip if isinstance(clip, VideoError) else render(policy, task, sample, clip, asking)))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
