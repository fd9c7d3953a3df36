"""A table of ablations: one recipe, and cells that each change some of its fields. Read and checked whole before anything is trained."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator

from videochat_r1 import checking, plugins
from videochat_r1.config import Recipe, line_of, require_known
from videochat_r1.errors import UsageError
from videochat_r1.section import Section, refused
from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO

DEFAULT_TABLE = Path(__file__).with_name("world.toml")
"""The table that the paper's claims are tried with on the built-in world."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class WorldSize(Section):
    """The scenes that all cells share: drawn once."""

    train: dict[str, int] = refused(dict, "training samples of each task", min_length=1)
    test: int = refused(32, "held-out samples of each task, trained on or not", ge=2)
    level: str = refused("easy", "how hard the scenes are")
    seed: int = refused(0, "of the scenes", ge=0)

    @field_validator("train")
    @classmethod
    def _are_tasks(cls, train: dict[str, int]) -> dict[str, int]:
        from videochat_r1.world.questions import TASKS

        for task, count in train.items():
            if task not in TASKS:
                raise ValueError(f"the world has no task {task!r}. {plugins.nearest(task, list(TASKS))}")
            if count < 1:
                raise ValueError(f"{task}: at least 1 sample, got {count}")
        return train


class Cell(Section):
    """One trained policy of the table, for each seed."""

    name: str = refused(..., "the cell's name: small letters, digits, dots and dashes")
    group: str = refused("", "the title of the table that it stands in")
    about: str = refused("", "what is changed, in words")
    against: str = refused("", "the cell that it is compared with, seed by seed")
    tasks: tuple[str, ...] = refused((), "train on these tasks alone; empty: all")
    samples: int = refused(0, "train on so many samples, each task in its share; 0: all", ge=0)
    curve: str = refused("", "the line of the data-efficiency figure that it is a point of")
    switched: bool = refused(False, "answer with thinking switched at test time too")
    set: dict[str, Any] = refused(dict, 'fields of the recipe that differ, such as "grpo.kl_weight" = 0.0')

    @field_validator("name")
    @classmethod
    def _is_a_folder(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a folder: small letters, digits, dots and dashes")
        return name


class AblationTable(Section):
    """A whole table."""

    title: str = refused("Ablations on the built-in world", "the report's title")
    world: WorldSize = refused(WorldSize, "the scenes that all cells share")
    recipe: dict[str, Any] = refused(dict, "the recipe that every cell starts from, without its data")
    cell: tuple[Cell, ...] = refused((), "a [[cell]] table for each policy")

    @model_validator(mode="after")
    def _refers_to_its_own(self) -> AblationTable:
        names = [cell.name for cell in self.cell]
        if not names:
            raise ValueError("the table has no [[cell]]")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two cells are called {name!r}")
        for cell in self.cell:
            if cell.against and cell.against not in names:
                raise ValueError(f"cell {cell.name} is compared with {cell.against!r}. {plugins.nearest(cell.against, names)}")
            for task in cell.tasks:
                if task not in self.world.train:
                    raise ValueError(
                        f"cell {cell.name}: there is nothing to train {task!r} on. {plugins.nearest(task, list(self.world.train))}"
                    )
        return self

    def chosen(self, only: Sequence[str]) -> tuple[Cell, ...]:
        """The cells of those names, in the table's order; all where none is named. Raises UsageError for a name that there is none of."""
        names = [cell.name for cell in self.cell]
        for name in only:
            if name not in names:
                raise UsageError(f"The table has no cell {name!r}.", plugins.nearest(name, names))
        return tuple(cell for cell in self.cell if not only or cell.name in only)


def read_table(path: str | Path) -> AblationTable:
    """The table in a TOML file. Every cell's recipe is checked too. Raises UsageError, by file and line where it can be told."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except (OSError, ValueError) as fault:
        said = getattr(fault, "strerror", None) or str(fault)
        raise UsageError(f"The table {path} cannot be read: {said}.", "A table is TOML; see recipes/ablations/README.md.") from None

    def place(at: checking.Path) -> str:
        line = line_of(text, at)
        return f"{path}:{line}: " if line else f"{path}: "

    table = checking.checked(AblationTable, values, place)
    for index, cell in enumerate(table.cell):
        cell_recipe(table, cell, Path(), 0, place=lambda at, index=index: place(("cell", index, *at)))
    return table


def cell_recipe(table: AblationTable, cell: Cell, world: Path, seed: int, place: Any = lambda at: "") -> Recipe:
    """What a cell trains, with one seed. Raises UsageError for a field that the recipe does not have, or that does not fit."""
    values = _nested(table.recipe)
    policy = values.setdefault("policy", {})
    if not policy.get("path"):
        policy["path"] = str(SMALL_MODEL)
        values.setdefault("video", SMALL_VIDEO.model_dump(mode="json"))
    for dotted, value in cell.set.items():
        here = values
        *path, last = dotted.split(".")
        for part in path:
            here = here.setdefault(part, {})
        here[last] = value
    values.setdefault("train", {})["seed"] = seed
    values["data"] = [{"name": "jsonl", "annotations": str(world / "train.jsonl"), "videos": str(world / "videos")}]
    recipe = checking.checked(Recipe, values, lambda at: f"{place(('set',))}cell {cell.name}: ")
    require_known(recipe, lambda at: f"{place(('set',))}cell {cell.name}: ")
    return recipe


def _nested(value: Any) -> Any:
    """A copy that may be changed."""
    return {key: _nested(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
