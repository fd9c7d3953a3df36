"""A policy answers a data set: the walk of a sample up to its reading, and the figures of all.

A sample whose video cannot be used is answered by nothing: it counts as wrong, is listed with its reason, and stays in the denominator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from videochat_r1.errors import VideoError
from videochat_r1.evaluation.figures import figures
from videochat_r1.evaluation.score import by_task_of
from videochat_r1.policy.model import Policy
from videochat_r1.policy.prompt import render
from videochat_r1.rollout.base import Engine, Sampling, seed_of
from videochat_r1.tasks.base import Asking, Task, earned, load_task
from videochat_r1.types import Clip, Completion, Prompt, Reading, Sample
from videochat_r1.video.clips import ClipLoader, prefetch

GREEDY = Sampling(temperature=0.0, max_tokens=1024, batch_prompts=16)


@dataclass(frozen=True, eq=False)
class Answered:
    """One sample with what the policy wrote and what was read from it."""

    sample: Sample
    text: str
    reading: Reading
    tokens: int
    rewards: dict[str, float]


def answer(
    policy: Policy,
    engine: Engine,
    loader: ClipLoader,
    samples: Sequence[Sample],
    asking: Asking,
    sampling: Sampling = GREEDY,
    *,
    seed: int = 0,
    on_answered: Callable[[int], None] | None = None,
) -> list[Answered]:
    """One answer a sample, in the order given. on_answered: called with the number of samples done, after each batch.

    Raises VideoError where the loader's configuration says to stop at a video that cannot be used, and DataError for a prompt that is too
    long for the model."""
    tasks = {name: load_task(name) for name in {sample.task for sample in samples}}
    done: dict[int, Answered] = {}
    waiting: list[tuple[int, Prompt]] = []

    def complete() -> None:
        prompts = [prompt for _, prompt in waiting]
        seeds = [seed_of(seed, samples[index].id) for index, _ in waiting]
        for (index, _), completions in zip(waiting, engine.complete(prompts, per_prompt=1, sampling=sampling, seeds=seeds), strict=True):
            done[index] = _answered(tasks[samples[index].task], samples[index], completions[0], asking)
        waiting.clear()
        if on_answered is not None:
            on_answered(len(done))

    items = [(tasks[sample.task], sample) for sample in samples]
    video = loader.config
    for index, ((task, sample), clip) in enumerate(prefetch(loader, items, video.prefetch_clips, video.prefetch_threads)):
        if isinstance(clip, VideoError):
            reading = Reading(answer=None, reason=f"video:{clip.reason}", format_ok=False)
            done[index] = Answered(sample, "", reading, 0, dict.fromkeys(task.rewards, 0.0))
            continue
        waiting.append((index, render(policy, task, sample, clip, asking)))
        if len(waiting) == sampling.batch_prompts:
            complete()
    if waiting:
        complete()
    return [done[index] for index in range(len(samples))]


def _answered(task: Task, sample: Sample, completion: Completion, asking: Asking) -> Answered:
    reading = task.read(completion.text, sample, asking)
    rewards, _ = earned(task, sample, reading, asking)
    return Answered(sample, completion.text, reading, len(completion), rewards)


def results(answered: Sequence[Answered], *, resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """{TASK: figures}, each with the share of texts in the asked form, the mean length in tokens, and the videos that could not be used."""
    found = {}
    by_id = {id(one.sample): one for one in answered}
    for name, (samples, readings) in by_task_of([one.sample for one in answered], [one.reading for one in answered]).items():
        own = [by_id[id(sample)] for sample in samples]
        found[name] = figures(load_task(name), samples, readings, resamples=resamples, seed=seed)
        found[name]["format"] = 100.0 * sum(reading.format_ok for reading in readings) / len(readings)
        found[name]["tokens"] = sum(one.tokens for one in own) / len(own)
        found[name]["unreadable_videos"] = sum(one.reading.reason.startswith("video:") for one in own)
    return found


def clip_of(loader: ClipLoader, sample: Sample) -> Clip:
    """The clip that a policy sees of a sample. Raises VideoError."""
    return loader.load(load_task(sample.task), sample)
