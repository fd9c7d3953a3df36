"""A policy answers a data set: the walk of a sample up to its reading, and the figures of all.

Samples are taken in units of whole clips, fixed by the data set alone: a clip is decoded once and seen once however many questions there
are about it, and an answer is the same whether the run was whole, was killed and went on, or was shared among processes. A sample whose
video cannot be used is answered by nothing: it counts as wrong, is listed with its reason, and stays in the denominator.

What one unit's samples are answered with comes from an `Answerer`: `OnePass` below is the plain one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import torch

from videochat_r1.errors import DataError, VideoError
from videochat_r1.evaluation.answer_cache import AnswerCache
from videochat_r1.evaluation.figures import figures
from videochat_r1.evaluation.processes import ALONE, Processes
from videochat_r1.evaluation.score import by_task_of
from videochat_r1.policy.model import Policy
from videochat_r1.policy.prompt import render
from videochat_r1.rollout.base import Engine, Sampling, seed_of
from videochat_r1.tasks.base import Asking, Task
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.tasks.base.scoring import consulted, earned
from videochat_r1.types import Clip, Prompt, Reading, Sample
from videochat_r1.video.clips import DURATION_MISMATCH, ClipLoader, Quarantine, picture_fps_of, prefetch
from videochat_r1.video.sampling import window_of

COSTS = ("looks", "prompt_tokens", "video_tokens")
"""What replies may say of their cost, beside the tokens that were written: means of these stand with the figures."""

GREEDY = Sampling(temperature=0.0, max_tokens=1024, batch_prompts=16)


@dataclass(frozen=True, eq=False)
class Answered:
    """One sample with what the policy wrote and what was read from it."""

    sample: Sample
    text: str
    reading: Reading
    tokens: int
    rewards: dict[str, float]  # those that could be told
    seconds: float = 0.0  # wall-clock of its unit, decoding included, shared among the unit's answers; 0.0: not known
    more: Mapping[str, Any] = field(default_factory=dict)  # of its reply


@dataclass(frozen=True)
class Reply:
    """What a policy wrote about one sample. fault: the reason code of a video that could not be used; nothing was written then."""

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    fault: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)  # of an answerer's own, as JSON, such as what each round cost


@dataclass(frozen=True)
class Shown:
    """A clip with the samples that are asked about it."""

    clip: Clip
    samples: tuple[Sample, ...]


class Tasks(dict[str, Task]):
    """Tasks by name, each loaded once."""

    def __missing__(self, name: str) -> Task:
        self[name] = load_task(name)
        return self[name]


class Answerer(Protocol):
    """Where answers come from. settings: all that they follow from beside model, video and question, as JSON: part of a cache's keys."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def __call__(self, unit: Sequence[Shown]) -> list[list[Reply]]:
        """A reply to each sample of each clip."""
        ...


class OnePass:
    """Each sample is asked once about its clip. Of a clip with several questions the tower makes features once, and what the prompts
    share is read once (with asking.order = "video_first" all but the question)."""

    def __init__(self, policy: Policy, engine: Engine, asking: Asking, sampling: Sampling, seed: int = 0) -> None:
        self.policy, self.engine, self.asking, self.sampling, self.seed = policy, engine, asking, sampling, seed
        self.tasks = Tasks()

    @property
    def settings(self) -> dict[str, Any]:
        drawn = self.sampling.model_dump(mode="json", exclude={"batch_prompts"})
        return {"order": self.asking.order, "sampling": drawn, "dtype": str(self.policy.dtype), "by": "one_pass"}

    def __call__(self, unit: Sequence[Shown]) -> list[list[Reply]]:
        prompts: list[Prompt] = []
        features: list[Any] = []  # None: of a clip with one question, whose pass the engine may make
        with torch.no_grad(), self.policy.merged():
            for shown in unit:
                own = self._prompts(shown)
                if len(own) > 1:
                    features += self.policy.vision(own[:1]) * len(own)
                else:
                    features.append(None)
                prompts += own
        seen = self._all_seen(prompts, features) if any(each is not None for each in features) else None
        seeds = [seed_of(self.seed, sample.id) for shown in unit for sample in shown.samples]
        written = self.engine.complete(prompts, per_prompt=1, sampling=self.sampling, seeds=seeds, features=seen)
        tokens = self.policy.geometry.tokens
        costs = [{"prompt_tokens": len(prompt), "video_tokens": tokens(prompt.grid_thw)} for prompt in prompts]
        replies = iter(Reply(text=one.text, tokens=len(one), more=cost) for (one,), cost in zip(written, costs, strict=True))
        return [[next(replies) for _ in shown.samples] for shown in unit]

    def _prompts(self, shown: Shown) -> list[Prompt]:
        """The prompts of a clip's samples; they hold its patches in common."""
        found: list[Prompt] = []
        for sample in shown.samples:
            prompt = render(self.policy, self.tasks[sample.task], sample, shown.clip, self.asking)
            found.append(replace(prompt, patches=found[0].patches) if found else prompt)
        return found

    def _all_seen(self, prompts: Sequence[Prompt], features: Sequence[Any]) -> list[Any]:
        with torch.no_grad(), self.policy.merged():
            return [self.policy.vision([prompt])[0] if each is None else each for prompt, each in zip(prompts, features, strict=True)]


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
    answerer: Answerer | None = None,
    cache: AnswerCache | None = None,
    processes: Processes = ALONE,
) -> list[Answered]:
    """One answer a sample, in the order given, on every process. on_answered: called with the number of samples that this process is done
    with, after each unit, with those of the cache first; with 0 alone as long as no video could be used, as nothing is answered then.

    answerer: where answers come from; None asks once. cache: answers that are there already, and where new ones are kept.
    Raises VideoError where the loader's configuration says to stop at a video that cannot be used, and DataError for a prompt that is too
    long for the model."""
    ask = answerer or OnePass(policy, engine, asking, sampling, seed)
    tasks = Tasks()
    own = units(samples, sampling.batch_prompts, tasks)[processes.rank :: processes.count]
    replies: dict[int, Reply] = {}
    left = []
    places = [index for unit in own for clip in unit for index in clip] if cache else []
    keys = {index: _key(cache, ask, loader, tasks[samples[index].task], samples[index], asking, seed) for index in places if cache}
    for unit in own:
        kept = {index: row for clip in unit for index in clip if cache and (row := cache.rows.get(keys[index]))}
        if len(kept) == sum(map(len, unit)):
            replies |= {index: _reply(row) for index, row in kept.items()}
        else:
            left.append(unit)
    answers_any = any(not reply.fault for reply in replies.values())
    if on_answered is not None:
        on_answered(len(replies) if answers_any else 0)
    for found in _answered_units(ask, loader, samples, left, tasks):
        if cache is not None:
            cache.keep({"key": keys[index], "id": samples[index].id, **asdict(reply)} for index, reply in found.items())
        replies |= found
        answers_any = answers_any or any(not reply.fault for reply in found.values())
        if on_answered is not None and answers_any:
            on_answered(len(replies))
    shared = processes.gathered([[index, asdict(reply)] for index, reply in replies.items()])
    whole = {index: Reply(**reply) for rows in shared for index, reply in rows}
    return judged(samples, [whole[index] for index in range(len(samples))], asking)


Unit = list[list[int]]
"""Places of samples, clip by clip."""


def units(samples: Sequence[Sample], size: int, tasks: Tasks) -> list[Unit]:
    """All samples as units of about `size` answers: questions about one clip stay together, clips in the order of their first question.

    A unit depends on the samples alone: what has been answered before, and by how many processes, changes none."""
    clips: dict[tuple[object, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        clips.setdefault((sample.video, tasks[sample.task].seconds(sample), window_of(sample), picture_fps_of(sample)), []).append(index)
    found: list[Unit] = []
    filled = size
    for clip in clips.values():
        if filled + len(clip) > size:
            found.append([])
            filled = 0
        found[-1].append(clip)
        filled += len(clip)
    return found


def _answered_units(
    ask: Answerer, loader: ClipLoader, samples: Sequence[Sample], left: Sequence[Unit], tasks: Tasks
) -> Iterator[dict[int, Reply]]:
    """The replies of each unit, its clips decoded ahead of it."""
    video = loader.config
    firsts = [samples[clip[0]] for unit in left for clip in unit]
    clips = prefetch(loader, [(tasks[sample.task], sample) for sample in firsts], video.prefetch_clips, video.prefetch_threads)
    began = time.monotonic()
    for unit in left:
        found: dict[int, Reply] = {}
        places, shown = [], []
        for clip in unit:
            _, frames = next(clips)
            if isinstance(frames, VideoError):
                found |= {index: Reply(fault=frames.reason) for index in clip}
                for index in clip[1:]:
                    loader.quarantine.add(samples[index], frames.reason, frames.what)
            else:
                places.append(clip)
                shown.append(Shown(frames, tuple(samples[index] for index in clip)))
        for clip, own in zip(places, ask(shown) if shown else [], strict=True):
            found |= dict(zip(clip, own, strict=True))
        now = time.monotonic()
        written = sum(not reply.fault for reply in found.values())
        yield {index: reply if reply.fault else replace(reply, seconds=(now - began) / written) for index, reply in found.items()}
        began = now


def _key(cache: AnswerCache, ask: Answerer, loader: ClipLoader, task: Task, sample: Sample, asking: Asking, seed: int) -> str:
    sampled = loader.config.model_dump(mode="json", exclude={"prefetch_clips", "prefetch_threads", "decoder_threads", "on_unreadable"})
    return cache.key(
        {
            "text": task.ask(sample, asking),
            "video": cache.videos(sample.video),
            "clip": [sampled, task.seconds(sample), window_of(sample), picture_fps_of(sample)],
            "settings": dict(ask.settings),
            "seed": seed_of(seed, sample.id),
        }
    )


def _reply(row: Mapping[str, Any]) -> Reply:
    return Reply(**{name: row[name] for name in ("text", "tokens", "seconds", "fault", "more") if name in row})


def judged(samples: Sequence[Sample], replies: Sequence[Reply], asking: Asking) -> list[Answered]:
    """Replies as their tasks read and reward them; a judge and a task's `prepare` are shown all answers first."""
    tasks = Tasks()
    readings = [
        Reading(answer=None, reason=f"video:{reply.fault}", format_ok=False)
        if reply.fault
        else tasks[sample.task].read(reply.text, sample, asking)
        for sample, reply in zip(samples, replies, strict=True)
    ]
    readings = consulted(list(zip(readings, samples, strict=True)), precision=True)
    whole = list(zip(samples, replies, readings, strict=True))
    for name, task in tasks.items():
        if task.prepare is not None:
            task.prepare([(reading, sample) for sample, reply, reading in whole if sample.task == name and not reply.fault], asking)
    found = []
    for sample, reply, reading in whole:
        task = tasks[sample.task]
        rewards = dict.fromkeys(task.rewards, 0.0) if reply.fault else _earned(task, sample, reading, asking)
        found.append(Answered(sample, reply.text, reading, reply.tokens, rewards, reply.seconds, reply.more))
    return found


def _earned(task: Task, sample: Sample, reading: Reading, asking: Asking) -> dict[str, float]:
    """Raises DataError where the sample's truth is at fault, and TaskFault where a reward of the user's own breaks."""
    try:
        return earned(task, sample, reading, asking, strict=True)[0]
    except ValueError as error:
        raise DataError(f"Sample {sample.id} cannot be scored: {error}", "`videochat-r1 data check` lists every such row.") from error


def list_faults(answered: Sequence[Answered], loader: ClipLoader) -> None:
    """Bring the loader's list of what is wrong with videos up to all that were answered: by an earlier start, by another process, or with
    the clip that another sample's question was about."""
    listed = {fault.sample_id for fault in loader.quarantine.left_out}
    for one in answered:
        sample, reason = one.sample, one.reading.reason
        if sample.id in listed:
            continue
        with contextlib.suppress(VideoError):
            if not reason.startswith("video:"):
                loader.note(sample)
                continue
            loader.load(load_task(sample.task), sample)  # it says anew what is wrong
            what = f"{sample.video} could not be used when the sample was answered."
            loader.quarantine.add(sample, reason.removeprefix("video:"), what)


def results(
    answered: Sequence[Answered], *, resamples: int = 1000, seed: int = 0, quarantine: Quarantine | None = None
) -> dict[str, dict[str, Any]]:
    """{TASK: figures}, each with the share of texts in the asked form, the mean length in tokens, the seconds an answer took where they
    are known, and the videos that could not be used.

    quarantine: as `list_faults` leaves it; those of its samples whose video is of another length than stated are counted where there are
    any."""
    found = {}
    mismatched = {fault.sample_id for fault in quarantine.used if fault.reason == DURATION_MISMATCH} if quarantine else set()
    by_id = {id(one.sample): one for one in answered}
    for name, (samples, readings) in by_task_of([one.sample for one in answered], [one.reading for one in answered]).items():
        own = [by_id[id(sample)] for sample in samples]
        found[name] = figures(load_task(name), samples, readings, resamples=resamples, seed=seed)
        found[name]["format"] = 100.0 * sum(reading.format_ok for reading in readings) / len(readings)
        found[name]["tokens"] = sum(one.tokens for one in own) / len(own)
        for cost in COSTS:
            if known := [one.more[cost] for one in own if cost in one.more]:
                found[name][cost] = sum(known) / len(known)
        timed = [one.seconds for one in own if one.seconds]
        if timed:
            found[name]["seconds"] = sum(timed) / len(timed)
        found[name]["unreadable_videos"] = sum(one.reading.reason.startswith("video:") for one in own)
        if count := sum(sample.id in mismatched for sample in samples):
            found[name][DURATION_MISMATCH] = count
    return found


def clip_of(loader: ClipLoader, sample: Sample) -> Clip:
    """The clip that a policy sees of a sample. Raises VideoError."""
    return loader.load(load_task(sample.task), sample)
