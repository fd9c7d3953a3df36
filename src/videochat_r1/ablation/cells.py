"""The cells of a table, trained and answered one after another, in a folder that remembers what is done.

    OUT/world/              scenes, filmed once and shared
    OUT/base/               what the untrained policy answers, asked once
    OUT/cells/NAME/seed-S/  a run folder; done.json once it is trained and answered

A second run in the folder skips what is done, and goes on inside of a cell from its last checkpoint."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videochat_r1.ablation.table import AblationTable, Cell, cell_recipe
from videochat_r1.config import Recipe, recipe_toml
from videochat_r1.errors import UsageError
from videochat_r1.evaluation.answer_cache import model_digest
from videochat_r1.evaluation.answers_file import read_answers
from videochat_r1.evaluation.evaluate import Answered
from videochat_r1.grpo.log import RunFolder, write_whole
from videochat_r1.grpo.recipe import compare
from videochat_r1.grpo.state import data_fingerprint
from videochat_r1.policy.model import Policy
from videochat_r1.rollout.base import Engine
from videochat_r1.runs import answers, load, run_steps
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Sample
from videochat_r1.video.clips import ClipLoader
from videochat_r1.world.files import film_samples, scenes_for, write_jsonl

Parts = tuple[Policy, Engine, ClipLoader]


@dataclass(frozen=True)
class Scenes:
    """The samples of a table: to train on, and held out."""

    train: list[Sample]
    test: list[Sample]


@dataclass(frozen=True)
class Trained:
    """What one cell gave with one seed: its answers to all held-out samples, as it was trained to answer and with thinking switched."""

    cell: Cell
    seed: int
    samples: int  # that it was trained on
    answered: list[Answered]
    switched: list[Answered] | None
    seconds: float  # of training, answers not counted
    reward: float | None  # mean of the last tenth of its steps


@dataclass(frozen=True)
class Base:
    """What the untrained policy answers, with the recipe's way of asking and with thinking switched."""

    answered: list[Answered]
    switched: list[Answered] | None


class Runner:
    """Trains and answers the cells of a table in a folder. say: takes a line about what is done."""

    def __init__(self, table: AblationTable, out: Path, say: Callable[[str], None]) -> None:
        self.table, self.out, self.say = table, out, say
        self.world = out / "world"
        self.scenes = Scenes([], [])
        self.policies: dict[str, str] = {}

    def run(self, cells: Sequence[Cell], seeds: Sequence[int]) -> tuple[Scenes, Base, list[Trained]]:
        """Every cell with every seed. Raises what training and answering raise; what is done by then stays."""
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.out / "shared.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several processes may share the folder, each with cells of its own
            self.scenes = self._drawn()
            base = self._base(any(cell.switched for cell in cells))
        trained = []
        for number, cell in enumerate(cells, start=1):
            for seed in seeds:
                self.say(f"Cell {number} of {len(cells)}, {cell.name}, seed {seed}.")
                trained.append(self._trained(cell, seed))
        return self.scenes, base, trained

    def _drawn(self) -> Scenes:
        size, videos = self.table.world, self.world / "videos"
        self.say("Drawing the scenes that are not there yet.")
        pairs = [pair for task, count in size.train.items() for pair in scenes_for((task,), size.level, "train", size.seed, count)]
        train = film_samples(pairs, videos)
        test = film_samples(scenes_for(size.train, size.level, "test", size.seed, size.test), videos)
        write_jsonl(self.world / "train.jsonl", train, videos)
        return Scenes(train, test)

    def _base(self, switched: bool) -> Base:
        recipe = cell_recipe(self.table, Cell(name="base"), self.world, 0)
        parts = Saved(recipe)

        def answered(asking: Asking, name: str) -> list[Answered]:
            asked = recipe.model_copy(update={"asking": asking})
            facts = self._facts(asked)
            described = json.dumps(
                {"policy": facts["policy_files"], "recipe": {part: facts["recipe"][part] for part in ("video", "rollout")}}
            )
            return self._answers(asked, parts, self.out / "base", name, described)

        first = answered(recipe.asking, "base")
        return Base(first, answered(switch(recipe.asking), "base_switched") if switched else None)

    def _answers(self, recipe: Recipe, parts: Callable[[], Parts], folder: Path, name: str, described: str) -> list[Answered]:
        """Answers to all held-out samples, taken from the folder where the same policy gave them."""
        stamp = folder / f"{name}.asked.json"
        asked = json.dumps({"of": described, "asking": recipe.asking.model_dump(mode="json"), "data": self._data(self.scenes.test)})
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == asked:
            kept = read_answers(folder / f"{name}.predictions.jsonl", self.scenes.test, recipe.asking)
            if kept is not None:
                return kept
        found = answers(recipe, *parts(), self.scenes.test, folder, name)
        write_whole(stamp, asked.encode())
        return found

    def _trained(self, cell: Cell, seed: int) -> Trained:
        recipe = cell_recipe(self.table, cell, self.world, seed)
        samples = training_samples(self.scenes.train, cell)
        path = self.out / "cells" / cell.name / f"seed-{seed}"
        described = {**self._facts(recipe), "data": self._data(samples)}
        done = path / "done.json"
        with RunFolder(path, resume=True) as folder:
            facts = _read(done)
            if facts is not None and (changed := _changed(facts["of"], described, recipe)):
                what = f"Cell {cell.name}, seed {seed}, was done otherwise: {changed}."
                raise UsageError(what, f"Remove {path}, or choose another folder with --out.")
            parts = Saved(recipe, path)
            if facts is None:
                write_whole(path / "recipe.toml", recipe_toml(recipe, path, moved_with=self.out).encode())
                parts.parts = load(recipe)
                outcome = run_steps(recipe, folder, *parts.parts, [samples], title=cell.name)
                facts = {"of": described, "seconds": outcome.seconds, "reward": _last_reward(path / "metrics.jsonl")}
            of = json.dumps(described)
            answered = self._answers(recipe, parts, path / "evaluation", "tuned", of)
            switched = None
            if cell.switched:
                asked = recipe.model_copy(update={"asking": switch(recipe.asking)})
                switched = self._answers(asked, parts, path / "evaluation", "switched", of)
            if not done.is_file():
                write_whole(done, json.dumps(facts).encode())
                shutil.rmtree(folder.checkpoints, ignore_errors=True)  # nothing is left to resume
        return Trained(cell, seed, len(samples), answered, switched, facts["seconds"], facts["reward"])

    def _facts(self, recipe: Recipe) -> dict[str, Any]:
        """What a cell's result follows from beside its samples; where its files lie is no part of it."""
        path = recipe.policy.path
        if path not in self.policies:
            self.policies[path] = model_digest(path)
        fields = recipe.model_dump(mode="json", exclude={"data": True, "test": True, "policy": {"path"}})
        return {"policy_files": self.policies[path], "recipe": fields}

    def _data(self, samples: Sequence[Sample]) -> str:
        from videochat_r1.grpo.order import Source

        return data_fingerprint([Source(samples=samples)])


def switch(asking: Asking) -> Asking:
    """The same questions with thinking asked for where it was not, and not where it was."""
    return asking.model_copy(update={"thinking": not asking.thinking})


def training_samples(samples: Sequence[Sample], cell: Cell) -> list[Sample]:
    """What a cell trains on: of its tasks the first so many samples, each task in its share and at least one. A smaller number gives a part
    of what a larger one gives, so that points of a curve differ in the number alone. Raises UsageError for more than there are."""
    own = [sample for sample in samples if not cell.tasks or sample.task in cell.tasks]
    if cell.samples == 0:
        return own
    tasks = list(dict.fromkeys(sample.task for sample in own))
    if not len(tasks) <= cell.samples <= len(own):
        what = f"Cell {cell.name} asks for {cell.samples:,} samples of {len(own):,}."
        raise UsageError(what, f"Give {len(tasks)} (one a task) to {len(own):,}.")
    counts = {task: sum(sample.task == task for sample in own) for task in tasks}
    # Largest remainders, at least one each: the shares add up to the number asked for.
    exact = {task: cell.samples * count / len(own) for task, count in counts.items()}
    given = {task: min(counts[task], max(1, int(exact[task]))) for task in tasks}
    by_remainder = sorted(tasks, key=lambda task: (given[task] - exact[task], tasks.index(task)))
    while sum(given.values()) < cell.samples:
        for task in by_remainder:
            if sum(given.values()) < cell.samples and given[task] < counts[task]:
                given[task] += 1
    while sum(given.values()) > cell.samples:
        given[max(tasks, key=lambda task: given[task])] -= 1
    seen = dict.fromkeys(tasks, 0)
    chosen = []
    for sample in own:
        if seen[sample.task] < given[sample.task]:
            seen[sample.task] += 1
            chosen.append(sample)
    return chosen


class Saved:
    """The policy that a finished run left (path None: the untrained one), loaded when it is first asked for."""

    def __init__(self, recipe: Recipe, path: Path | None = None) -> None:
        saved = recipe.policy.model_copy(update={"path": str(path / "policy") if path else recipe.policy.path, "lora_rank": 0})
        no_reference = recipe.grpo.model_copy(update={"kl_weight": 0.0})
        self.recipe = recipe.model_copy(update={"policy": saved, "grpo": no_reference})
        self.parts: Parts | None = None

    def __call__(self) -> Parts:
        if self.parts is None:
            self.parts = load(self.recipe)
        return self.parts


def _changed(before: dict[str, Any], now: dict[str, Any], recipe: Recipe) -> str:
    """In what a cell that is done differs from what it would be now; "" where in nothing. Where files lie is no difference."""
    changes = [change for change in compare(before["recipe"], recipe.sections()) if change.on_resume != "free"]
    told = [str(change) for change in changes if change.field != "policy.path" and not change.field.startswith("data.")]
    told += [f"another {what}" for what, name in (("policy", "policy_files"), ("set of samples", "data")) if before[name] != now[name]]
    return "; ".join(told)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and {"of", "seconds", "reward"} <= value.keys() else None


def _last_reward(metrics: Path) -> float | None:
    from videochat_r1.grpo.log import read_rows

    rewards = [row["reward"] for row in read_rows(metrics) if isinstance(row.get("reward"), int | float)]
    last = rewards[-max(1, len(rewards) // 10) :]
    return sum(last) / len(last) if last else None
