"""Thinking with clues: find the seconds that matter, look at them again closely, answer.

Source: "Temporal Clue-driven Reasoning" (Clue-Perception) in VideoChat-R1, arXiv:2504.06958v5, Algorithm 1: (A1, C) = M(V_low, Q), then
A2 = M(V_high, Q) on the segments that C names; and the iterative perception of VideoChat-R1.5, arXiv:2509.21100, in n rounds. What the two
leave open is settled by CluesConfig; docs/clues.md gives the reasons. All looks together cost no more video tokens than one look would."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from videochat_r1.background import helpers_begin
from videochat_r1.chat.config import CluesConfig
from videochat_r1.chat.sight import Sight
from videochat_r1.chat.windows import NO_TOKENS, NOT_CLOSER, is_closer, look_seconds, windows_of
from videochat_r1.errors import VideoError
from videochat_r1.policy.model import Policy
from videochat_r1.policy.prompt import render_text
from videochat_r1.rewards.intervals import merged, overlap, total_length
from videochat_r1.rollout.base import Engine, Sampling, seed_of
from videochat_r1.tasks.base import Asking, Task
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Clip, Completion, Prompt, Reading, Sample, Span
from videochat_r1.video.clips import ClipLoader, Item, picture_fps_of
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import FramePlan, VideoConfig, VideoInfo, plan_at, plan_frames, window_of

WITHIN_SHARE = 0.5
"""A span goes with what was looked at where at least this share of it lies inside the windows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """One look at a video and the answer given after it."""

    windows: tuple[Span, ...]  # looked at closely; () for an even look at the whole video
    clip: Clip
    prompt_tokens: int
    video_tokens: int
    completion: Completion
    reading: Reading
    ended: str  # why this answer leads to no further look: a reason of windows.py, or ""
    seconds: float  # of decoding, encoding and writing, its share of what was done together

    @property
    def confidence(self) -> float:
        """Mean log-probability of the tokens as they were drawn."""
        return float(self.completion.logprobs_T.mean()) if len(self.completion) else -math.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Thought:
    """All looks of one question, and the answer that stands."""

    sample: Sample
    looks: tuple[Look, ...]
    kept: int  # the look whose answer stands
    reading: Reading  # of the answer that stands, by the sample's own task

    @property
    def answer(self) -> Look:
        return self.looks[self.kept]

    @property
    def clues(self) -> tuple[Span, ...]:
        """The spans that the answer which stands rests on: its own, or else the latest that an answer named."""
        for look in [self.answer, *reversed(self.looks)]:
            if look.reading.answer is not None and look.reading.answer.spans:
                return look.reading.answer.spans
        return ()

    @property
    def ended(self) -> str:
        """Why there were fewer looks than asked for, or ""."""
        return next((look.ended for look in self.looks if look.ended), "")

    @property
    def video_tokens(self) -> int:
        return sum(look.video_tokens for look in self.looks)

    @property
    def prompt_tokens(self) -> int:
        return sum(look.prompt_tokens for look in self.looks)

    @property
    def answer_tokens(self) -> int:
        return sum(len(look.completion) for look in self.looks)

    @property
    def seconds(self) -> float:
        return sum(look.seconds for look in self.looks)


def clue_task(task: Task, sample: Sample) -> Task | None:
    """The task that asks a sample's question so that the answer names spans: its own where its answers hold spans (the truth has them, or
    meta "names_spans" says so), grounded_qa for other choices; None where the seconds to look at are given, or where spans would say
    nothing (of a label, a caption, boxes)."""
    if task.seconds(sample) is not None:
        return None
    if sample.truth.spans is not None or sample.meta.get("names_spans"):
        return task
    return load_task("grounded_qa") if sample.options else None


def first_plan(
    video: VideoConfig, geometry: Geometry, info: VideoInfo, task: Task, sample: Sample, config: CluesConfig
) -> tuple[FramePlan, FramePlan]:
    """What one look alone would show, and what the first look shows: frames of that size, or of the share first_pixels of it, and as many
    as first_share of the tokens pays for. Both are the same where the sample is looked at once. Raises VideoError."""
    window_s = window_of(sample)
    alone = plan_frames(info, video, geometry, task.seconds(sample), window_s)
    if config.clues == "off" or clue_task(task, sample) is None:
        return alone, alone
    pixels = max(int(alone.height_px * alone.width_px * config.first_pixels), geometry.factor**2)
    most = max(int((config.tokens or alone.video_tokens) * config.first_share), 1)
    bounds = {"min_pixels": min(video.min_pixels, pixels), "max_pixels": pixels, "total_pixels": 2**62, "max_tokens": most}
    return alone, plan_frames(info, video.model_copy(update=bounds), geometry, None, window_s)


def think(
    policy: Policy,
    engine: Engine,
    sight: Sight,
    items: Sequence[Item],
    asking: Asking,
    sampling: Sampling,
    config: CluesConfig,
    *,
    seed: int = 0,
) -> list[Thought | VideoError]:
    """The looks and the answer of each (task, sample), in order; those of one look are taken together. Without clues, one look as ever.

    A video that cannot be used is noted in the loader's quarantine and given as VideoError, or raised where the configuration says to stop.
    Raises DataError for a prompt that is too long."""
    minds = [_Mind(task, sample, sight.loader, asking, config) for task, sample in items]
    live = minds
    for number in range(config.looks):
        began = time.perf_counter()
        live = _look_together(policy, sight, live, number)
        if not live:
            break
        prompts = [mind.prompt for mind in live if mind.prompt is not None]
        features = sight.features(prompts)
        seeds = [seed_of(seed, mind.sample.id, *([number] if number else [])) for mind in live]
        completed = engine.complete(prompts, per_prompt=1, sampling=sampling, seeds=seeds, features=features)
        share_s = (time.perf_counter() - began) / len(live)
        for mind, [completion] in zip(live, completed, strict=True):
            mind.note(completion, share_s)
        live = [mind for mind in live if mind.plan is not None]
    return [mind.error or mind.thought() for mind in minds]


def _look_together(policy: Policy, sight: Sight, minds: Sequence[_Mind], number: int) -> list[_Mind]:
    """Decodes what each is to look at and writes its prompt. Those of one video take turns, so that none decodes what another has; videos
    go in threads. Gives those that have a prompt."""
    by_video: dict[str, list[_Mind]] = {}
    for mind in minds:
        by_video.setdefault(mind.sample.video, []).append(mind)

    def look(own: list[_Mind]) -> None:
        for mind in own:
            mind.look(policy, sight, number)

    threads = sight.loader.config.prefetch_threads
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="look", initializer=helpers_begin()) as pool:
        for done in [pool.submit(look, own) for own in by_video.values()]:
            done.result()
    return [mind for mind in minds if mind.prompt is not None and mind.error is None]


@dataclass(eq=False)
class _Mind:
    """One question while it is looked into."""

    task: Task
    sample: Sample
    loader: ClipLoader
    asking: Asking
    config: CluesConfig
    looks: list[Look] = field(default_factory=list)
    prompt: Prompt | None = None
    plan: FramePlan | None = None  # of the next look, but for the first
    windows: tuple[Span, ...] = ()
    error: VideoError | None = None

    def __post_init__(self) -> None:
        self.asks_clues = clue_task(self.task, self.sample) if self.config.clues != "off" else None
        self.most_looks = self.config.looks  # fewer once the tokens would not pay for as many that each see more

    def look(self, policy: Policy, sight: Sight, number: int) -> None:
        """The clip and the prompt of the next look."""
        self.prompt = None
        try:
            if self.plan is None:
                self.begin()
            assert self.plan is not None
            clip = sight.clip(self.info, self.plan)
        except VideoError as error:
            if self.loader.config.on_unreadable == "stop":
                raise
            self.loader.quarantine.add(self.sample, error.reason, error.what)
            self.error = error
            return
        self.is_last = self.asks_clues is None or number == self.most_looks - 1
        self.asked = self.task if self.is_last or self.asks_clues is None else self.asks_clues
        question = self.asked.ask(self.sample, self.asking)
        self.prompt = render_text(policy, question, clip, order=self.asking.order, sample_id=self.sample.id)

    def begin(self) -> None:
        """The first look's plan, and what all looks may cost. Raises VideoError."""
        self.info: VideoInfo = self.loader.info(self.sample.video, picture_fps_of(self.sample))
        self.window_s = window_of(self.sample)
        video, geometry = self.loader.config, self.loader.geometry
        alone, self.plan = first_plan(video, geometry, self.info, self.task, self.sample, self.config)
        self.moment_tokens = alone.video_tokens // alone.grid_thw[0]
        self.budget = self.config.tokens or alone.video_tokens

    def note(self, completion: Completion, seconds: float) -> None:
        """The answer after a look, and where to look next."""
        assert self.prompt is not None and self.plan is not None
        reading = self.asked.read(completion.text, self.sample, self.asking)
        prompt, tokens, windows = self.prompt, self.plan.video_tokens, self.windows
        self.plan, ended = (None, "") if self.is_last else self._next(reading, prompt.clip, tokens)
        look = Look(
            windows=windows,
            clip=prompt.clip,
            prompt_tokens=len(prompt),
            video_tokens=tokens,
            completion=completion,
            reading=reading,
            ended=ended,
            seconds=seconds,
        )
        self.looks.append(look)
        self.prompt = None

    def _next(self, reading: Reading, clip: Clip, tokens: int) -> tuple[FramePlan | None, str]:
        """The plan of the next look and "", or what is done without a clue and the reason."""
        left = self.budget - tokens - sum(look.video_tokens for look in self.looks)
        done = len(self.looks) + 1
        if left < 1:
            return None, NO_TOKENS
        spans = reading.answer.spans if reading.answer is not None else None
        windows = windows_of(spans, clip.times_s, clip.duration_s, self.config)
        if self.windows and spans and not any(start <= at <= end for start, end in spans for at in clip.times_s):
            windows = list(self.windows)  # a guess about seconds that were not shown leads nowhere: look better at those that were
        if isinstance(windows, str):
            self.windows = ()
            if self.config.without_clue == "keep" or self.looks:
                return None, windows
            self.asks_clues = None  # the next look is the last, and may spend all that is left
            whole = self.loader.config.model_copy(update={"max_tokens": left})
            return plan_frames(self.info, whole, self.loader.geometry, None, self.window_s), windows
        for looks in range(self.most_looks - done, 0, -1):
            plan = self._at(windows, clip.duration_s, left // looks) if left >= looks else None
            if plan is not None and is_closer(windows, clip.times_s, _size(clip), plan.times_s, (plan.height_px, plan.width_px)):
                self.windows, self.most_looks = tuple(windows), done + looks
                return plan, ""
        return None, NOT_CLOSER

    def _at(self, windows: Sequence[Span], duration_s: float, most: int) -> FramePlan:
        """A look at these windows for at most so many tokens. Raises VideoError."""
        video, geometry = self.loader.config, self.loader.geometry
        seconds = look_seconds(
            windows,
            duration_s,
            fps=self.config.clue_fps or 2 * video.fps,
            moments=max(most // self.moment_tokens, 1),
            context_share=self.config.context_share,
            patch=geometry.temporal_patch,
        )
        times_s = tuple(_on_frames(seconds, self.info, self.window_s))
        return plan_at(self.info, video, geometry, times_s, max_tokens=most, window_s=self.window_s)

    def thought(self) -> Thought:
        kept = kept_look(self.looks, self.config)
        text = self.looks[kept].completion.text
        return Thought(sample=self.sample, looks=tuple(self.looks), kept=kept, reading=self.task.read(text, self.sample, self.asking))


def _size(clip: Clip) -> tuple[int, int]:
    """Height and width of its frames, in pixels."""
    height_px, width_px = clip.frames_NCHW.shape[2:]
    return height_px, width_px


def _on_frames(seconds: Sequence[float], info: VideoInfo, window_s: Span | None) -> Iterator[float]:
    """The same seconds, each where a frame of the file nominally is, so that two looks that mean one frame name it by one second."""
    step_s = info.last_s / (info.frames - 1) if info.frames > 1 else 0.0
    start_s = window_s[0] if window_s else 0.0
    for second in seconds:
        at_s = min(start_s + second, info.last_s)
        at_s = round(at_s / step_s) * step_s if step_s else 0.0
        yield max(at_s - start_s, 0.0)


def kept_look(looks: Sequence[Look], config: CluesConfig) -> int:
    """The index of the look whose answer stands, by config.gate; an answer that cannot be read never replaces one that can.

    last: the last one. likelier: the one written with the greatest mean log-probability. agree: of choices the one that most looks name, of
    equals the likelier, with the spans of its last look; of spans alone the last answer that goes with what it was shown: at least half of
    its first span lies in the windows looked at."""
    readable = [index for index, look in enumerate(looks) if look.reading.answer is not None]
    if not readable:
        return len(looks) - 1
    if config.gate == "last":
        return readable[-1]
    if config.gate == "likelier":
        return max(readable, key=lambda index: (looks[index].confidence, index))
    choices = {index: answer.choice for index in readable if (answer := looks[index].reading.answer) is not None and answer.choice}
    if choices:
        votes = {choice: [index for index in choices if choices[index] == choice] for choice in choices.values()}
        winners = max(votes.values(), key=lambda own: (len(own), max(looks[index].confidence for index in own)))
        return winners[-1]
    return next((index for index in reversed(readable) if _goes_with(looks[index])), readable[0])


def _goes_with(look: Look) -> bool:
    """Whether an answer's first span lies where it looked; an even look, and an answer without spans, cannot be against it."""
    answer = look.reading.answer
    if not look.windows or answer is None or not answer.spans:
        return True
    own = merged(answer.spans[:1])
    shared_s = sum(overlap(own[0], window) for window in look.windows) if own else 0.0
    return bool(own) and shared_s >= WITHIN_SHARE * total_length(own)
