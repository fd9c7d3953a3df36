"""The whole road on the built-in world, in minutes and on any machine: a small video model that sees but answers lazily is evaluated,
fine-tuned by reward alone, and evaluated again on scenes it never saw, beside an SFT control and the trivial answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from videochat_r1.config import Recipe, recipe_toml
from videochat_r1.datasets.base import DataSource
from videochat_r1.evaluation.baselines import baselines
from videochat_r1.evaluation.evaluate import Answered, results
from videochat_r1.evaluation.report import Report, console_table, write_report
from videochat_r1.evaluation.run_report import assemble_report
from videochat_r1.grpo.config import GrpoConfig, TrainConfig
from videochat_r1.grpo.log import RunFolder, write_whole
from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.model import Policy
from videochat_r1.rollout.base import Engine, RolloutConfig
from videochat_r1.runs import answers, load, run_steps
from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Sample
from videochat_r1.video.clips import ClipLoader
from videochat_r1.world.files import film_samples, scenes_for, write_jsonl
from videochat_r1.world.render import FULL_SIDE_PX

Parts = tuple[Policy, Engine, ClipLoader]
T = TypeVar("T")
HARDER = ("several", "alike", "long")
HARDER_TASKS = ("temporal_grounding", "tracking", "video_qa")
LEVEL_WORDS = {
    "easy": "one thing, 8 s, choices of its colour; this alone was trained on",
    "several": "two or three things, 8 s, choices of a direction or a shape too",
    "alike": "the same, each of the others like the asked one in colour or in shape",
    "long": "one or two things, 16 s",
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything; the defaults are the demo's."""

    train: tuple[tuple[str, int], ...] = (
        ("temporal_grounding", 54),
        ("tracking", 104),
        ("video_qa", 56),
        ("grounded_qa", 52),
        ("description", 116),
        ("quality", 28),
    )
    test: int = 64  # held-out scenes of each task
    harder: int = 12  # held-out scenes of each task at each harder level
    steps: int = 62


MAX_TOKENS = 128

LAZY = (
    "The base model is what its recipe makes it (videochat_r1/small/pretrain.py). It was taught to see: to name things, to "
    "place them, to tell when they are there. Wherever an answer has seconds or boxes - grounding, tracking, and the seconds of grounded "
    "questions - most of its training answers were lazy by design: the whole video, seconds drawn without a look, or the given box again. "
    "Letters, words and labels were always true. So it answers in format but badly, while what it needs to do better is in it. The paper's "
    "base, too, grounds and tracks no better than such trivial answers do; a model that cannot see is not helped by reinforcement. Which "
    "letter stands before the right option it has learned for colours alone, and the easy level asks for nothing else by letter; "
    "directions and shapes, asked at the harder levels, it guesses."
)
CONTROL = (
    "SFT is a control: the same base, the same samples in the same order and as many updates, but learning from gold "
    "answers (loss on the answer's tokens only) instead of from rewards. It is told the true answer of every sample; "
    "reinforcement is told only how good its own answers were."
)
SMALL = (
    "All figures are of the built-in small model on the built-in drawn world. They say that the system works; they say nothing about a 7B "
    "model on filmed video."
)


def demo_recipe(world: Path, seed: int, steps: int) -> Recipe:
    """What the demo trains: the shipped model on the world's training samples."""
    return Recipe(
        policy=PolicyConfig(path=str(SMALL_MODEL)),
        data=(DataSource(name="jsonl", annotations=str(world / "train.jsonl"), videos=str(world / "videos")),),
        test=(DataSource(name="jsonl", annotations=str(world / "test.jsonl"), videos=str(world / "videos"), split="test"),),
        video=SMALL_VIDEO,
        asking=Asking(order="video_first"),
        rollout=RolloutConfig(max_tokens=MAX_TOKENS, batch_prompts=64),
        grpo=GrpoConfig(group_size=8, kl_weight=0.12),
        train=TrainConfig(
            steps=steps, prompts_per_step=12, lr=2.5e-4, warmup=min(4, steps - 1), betas=(0.9, 0.99), seed=seed, checkpoint_every=20
        ),
    )


@dataclass(frozen=True)
class Scenes:
    """The demo's samples: to train on, held out, and held out at the harder levels."""

    train: list[Sample]
    test: list[Sample]
    harder: dict[str, list[Sample]]


def draw_scenes(world: Path, seed: int, size: Size) -> Scenes:
    """Films every scene that is not on disk yet, and writes train.jsonl and test.jsonl."""
    videos = world / "videos"
    tasks = [task for task, _ in size.train]
    pairs = [pair for task, count in size.train for pair in scenes_for((task,), "easy", "train", seed, count)]
    train = film_samples(pairs, videos)
    test = film_samples(scenes_for(tasks, "easy", "test", seed, size.test), videos)
    harder = {level: film_samples(scenes_for(HARDER_TASKS, level, "test", seed, size.harder), videos) for level in HARDER}
    write_jsonl(world / "train.jsonl", train, videos)
    write_jsonl(world / "test.jsonl", test, videos)
    return Scenes(train, test, harder)


class Demo:
    """The demo's run in a folder. A second run in it goes on where the first one was stopped."""

    def __init__(self, out: Path, seed: int, size: Size, say: Callable[[str], None]) -> None:
        self.out, self.seed, self.size, self.say = out, seed, size, say
        self.recipe = demo_recipe(out / "world", seed, size.steps)
        self.seconds: dict[str, float] = {}

    def run(self) -> Report:
        """Draw, evaluate, train, evaluate; the report is the caller's to write."""
        with RunFolder(self.out, resume=True) as folder, RunFolder(self.out / "sft", resume=True) as control:
            self.say("Drawing the world: scenes to learn from, and others held out.")
            scenes = self.timed("world", lambda: draw_scenes(self.out / "world", self.seed, self.size))
            asked = [*scenes.test, *(one for samples in scenes.harder.values() for one in samples)]
            base = load(self.recipe)
            found = {"base": self.answered("base", base, asked)}
            tuned = self.timed("train", lambda: self.trained("grpo", folder, scenes.train))
            found["rft"] = self.answered("tuned", tuned, asked)
            taught = self.timed("sft", lambda: self.trained("sft", control, scenes.train))
            found["sft"] = self.answered("sft", taught, scenes.test)
        easy = {name: found[name][: len(scenes.test)] for name in ("base", "sft", "rft")}
        return self.report(scenes, easy, {name: found[name][len(scenes.test) :] for name in ("base", "rft")}, base[2])

    def trained(self, method: Literal["grpo", "sft"], folder: RunFolder, samples: list[Sample]) -> Parts:
        """What comes of the base by one method, in a run folder of its own."""
        recipe = self.recipe.model_copy(update={"train": self.recipe.train.model_copy(update={"method": method})})
        write_whole(folder.path / "recipe.toml", recipe_toml(recipe, folder.path, moved_with=self.out).encode())
        parts = load(recipe)
        run_steps(recipe, folder, *parts, [samples], title={"grpo": "Learning from rewards", "sft": "SFT control"}[method])
        return parts

    def answered(self, name: str, parts: Parts, samples: list[Sample]) -> list[Answered]:
        return self.timed("evaluate", lambda: answers(self.recipe, *parts, samples, self.out / "evaluation", name))

    def timed(self, name: str, work: Callable[[], T]) -> T:
        began = time.monotonic()
        made = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
        return made

    def report(self, scenes: Scenes, answered: dict[str, list[Answered]], harder: dict[str, list[Answered]], loader: ClipLoader) -> Report:
        """Tables, examples and notes of the whole run."""
        levels: dict[str, Any] = {}
        first = 0
        for level, samples in scenes.harder.items():
            part = slice(first, first + len(samples))
            levels[level] = {name: results(own[part]) for name, own in harder.items()} | {"baselines": baselines(samples, scenes.train)}
            first += len(samples)
        to_look_at = self.recipe.video.model_copy(update={"max_pixels": FULL_SIDE_PX**2, "total_pixels": FULL_SIDE_PX**2 * 64})
        return assemble_report(
            "A small video model learns to find and to follow, by reward alone",
            scenes.test,
            answered,
            baselines=baselines(scenes.test, scenes.train),
            loader=ClipLoader(to_look_at, loader.geometry),
            metrics=self.out / "metrics.jsonl",
            seconds={name: round(value, 1) for name, value in self.seconds.items()},
            notes=(LAZY, CONTROL, SMALL),
            commands=(f"videochat-r1 demo --seed {self.seed}",),
            extra={"levels": levels, "level": "easy", "level_words": LEVEL_WORDS},
        )


def run_demo(out: Path, seed: int = 0, size: Size = Size()) -> None:
    """Run the demo in a folder and print its table and where its report is. Raises what training and evaluation raise."""
    from rich.console import Console

    console = Console(stderr=True)
    began = time.monotonic()
    out = Path(out)
    report = Demo(out, seed, size, lambda text: console.print(text, style="dim")).run()
    write_report(out, report)
    Console().print(console_table(report))
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    console.print(f"Done in {minutes} min {seconds} s. The tuned model is in {out / 'policy'}. Look at")
    Console().print(f"{out / 'report.html'}\n{out / 'report.md'}", highlight=False)
