"""A recipe: a TOML file -> the sections that each part owns, put together. Read, checked and written without torch.

A field is refused where its name, type or range is wrong, by file and line, before anything is loaded. Relative paths are relative to
the recipe's own folder; those given on the command line, to the current one."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator

from videochat_r1 import checking, plugins
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.errors import UsageError
from videochat_r1.grpo.config import GrpoConfig, TrainConfig
from videochat_r1.judge.config import JudgeConfig
from videochat_r1.policy.config import SMALL, PolicyConfig
from videochat_r1.rollout.base import RolloutConfig
from videochat_r1.section import Section, refused, warned
from videochat_r1.small import SMALL_MODEL
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.tasks.base.scoring import chosen_rewards, short_name
from videochat_r1.video.sampling import VideoConfig

PATHS = (
    ("policy", "path"),
    ("data", "annotations"),
    ("data", "videos"),
    ("test", "annotations"),
    ("test", "videos"),
    ("data", "subtitles"),
    ("data", "difficulty"),
    ("test", "subtitles"),
    ("judge", "cache"),
    ("policy", "feature_dir"),
)
PLUGINS = (("data", "name"), ("data", "task"), ("test", "name"), ("test", "task"), ("rollout", "engine"))


class Recipe(Section):
    """A whole run: which model learns what, from which data, and how."""

    policy: PolicyConfig = refused(PolicyConfig, "which model is trained, and what of it")
    data: tuple[DataSource, ...] = refused((), "what is trained on: a [[data]] table for each data set")
    test: tuple[DataSource, ...] = warned((), "what base and tuned model are compared on: a [[test]] table for each data set")
    video: VideoConfig = refused(VideoConfig, "how clips are sampled, sized and read")
    asking: Asking = refused(Asking, "how questions are put and answers are read")
    rollout: RolloutConfig = refused(RolloutConfig, "how completions are drawn")
    grpo: GrpoConfig = refused(GrpoConfig, "how a group of completions becomes an update")
    train: TrainConfig = refused(TrainConfig, "how long, how fast, and how safely")
    judge: JudgeConfig = refused(JudgeConfig, "who judges captions, and how it is asked")

    @field_validator("policy")
    @classmethod
    def _names_a_model(cls, policy: PolicyConfig) -> PolicyConfig:
        if not policy.path:
            raise ValueError("path is missing: a model's folder, or a name on the hub such as Qwen/Qwen2.5-VL-3B-Instruct")
        return policy

    @model_validator(mode="after")
    def _has_data(self) -> Recipe:
        if not self.data:
            raise ValueError("the recipe names no data: it needs a [[data]] table with name and annotations")
        unknown = next((index for index, source in enumerate(self.data) if not source.difficulty), None)
        if self.train.order == "easy_first" and unknown is not None:
            raise ValueError(f"train.order = easy_first needs data.{unknown}.difficulty, a file of `videochat-r1 data difficulty`")
        return self

    def sections(self) -> dict[str, Section]:
        """What a resumed run must agree with, by name; each source of data is a section of its own, data.0, data.1, ...; what the model is
        tested on is no part of it."""
        single = {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), Section)}
        return {**single, **{f"data.{index}": source for index, source in enumerate(self.data)}}


def read_recipe(path: str | Path, overrides: Iterable[tuple[str, str | None]] = ()) -> Recipe:
    """The recipe in a TOML file, with fields overridden from the command line.

    overrides: ("--grpo.group-size", "16"); None in place of a value turns a true-or-false field on. Raises UsageError, by file and line
    or by option, for a file that cannot be read, an unknown field, a wrong type or range, and an unknown data set, task or engine."""
    if not str(path).strip():
        raise UsageError("The recipe's name is empty.", f"Give the path of a TOML file; see {_PAGES['recipe']}.")
    path = Path(path)
    text = _text_of(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        line = re.search(r"at line (\d+)", str(fault))
        where = f"{path}:{line.group(1) if line else len(text.splitlines())}"  # else "at end of document"
        what = re.sub(r" \(at .*\)$", "", str(fault))
        if line and what == "Cannot overwrite a value":
            what = f"{text.splitlines()[int(line.group(1)) - 1].split('=')[0].strip()} stands there for the second time"
        raise UsageError(f"{where}: {what}.", 'A recipe is TOML: [section] lines, then field = value; texts in "quotes".') from None
    values = _resolved(values, path.resolve().parent)
    given: dict[checking.Path, str] = {}
    for option, value in overrides:
        given[_override(values, option, value)] = option

    def called(at: checking.Path) -> str:
        return given.get(at) or checking.dotted(at)

    def place(at: checking.Path) -> str:
        if at in given:
            return ""  # its name says where it stands
        option = next((option for own, option in given.items() if at and own[: len(at)] == at), None)
        line = line_of(text, at)
        return f"{option}: " if option else f"{path}:{line}: " if line else f"{path}: "

    recipe = checking.checked(Recipe, values, place, called)
    require_known(recipe, place, called)
    return recipe


def read_section(path: str | Path, name: str, model: type[checking.Model]) -> checking.Model:
    """One table of a TOML file, which may be a whole recipe; its other tables are not looked at. Raises UsageError as read_recipe does."""
    path = Path(path)
    text = _text_of(path, name)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise UsageError(f"{path}: {fault}.", "A recipe is TOML: [section] lines, then field = value.") from None
    if not isinstance(values.get(name), dict):
        raise UsageError(f"{path} has no [{name}] table.", f"{_PAGES[_known(name)]} shows one.")
    own = _resolved({name: values[name]}, path.resolve().parent)[name]
    line = lambda at: f"{path}:{line_of(text, (name, *at))}: "  # noqa: E731
    return checking.checked(model, own, line, lambda at: checking.dotted((name, *at)))


def recipe_toml(recipe: Recipe, folder: Path | None = None, moved_with: Path | None = None) -> str:
    """A resolved recipe as TOML: every field, defaults included. read_recipe gives the same recipe back.

    folder: where the TOML is to lie. Data that lie below moved_with, which holds that folder, are then named from there, so that all of it
    can be moved as a whole. The shipped model goes by its name, wherever the package lies."""
    import tomli_w

    values = recipe.model_dump(mode="json")
    if values["policy"]["path"] == str(SMALL_MODEL):
        values["policy"]["path"] = SMALL
    if folder is not None:
        whole = os.path.abspath(moved_with or folder)
        for section, field in PATHS:
            for table in values[section] if section in ("data", "test") else ():
                lies_at = os.path.abspath(table[field])
                if table[field] and os.path.commonpath((whole, lies_at)) == whole:
                    table[field] = os.path.relpath(lies_at, os.path.abspath(folder))
    return tomli_w.dumps(values)


def line_of(text: str, path: checking.Path) -> int:
    """The line, from 1, of TOML text where a field is set; where it is not set by itself, that of the nearest table or list that should
    hold it; 0 where there is none."""
    here: checking.Path = ()
    counts: dict[str, int] = {}
    own: checking.Path = ()
    best, best_line = 0, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[\s*([^\]]+?)\s*\]\]", line):
            name = header.group(1)
            counts[name] = counts.get(name, -1) + 1
            own = (name, counts[name])
            here = own
        elif header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            first, *rest = _parts(header.group(1))
            own = (first, counts[first], *rest) if first in counts else (first, *rest)
            here = own
        elif key := re.match(r"\s*((?:[\w-]+|\"[^\"]*\")(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"))*)\s*=", line):
            own = (*here, *_parts(key.group(1)))
        else:
            continue
        if len(own) > best and own == path[: len(own)]:
            best, best_line = len(own), number
    return best_line


def _parts(name: str) -> list[str]:
    return [part.strip().strip('"') for part in name.split(".")]


_PAGES = {"recipe": "recipes/README.md", "judge": "docs/judge.md"}


def _known(what: str) -> str:
    return what if what in _PAGES else "recipe"


def _text_of(path: Path, what: str = "recipe") -> str:
    what = _known(what)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a text in UTF-8.", f"A {what} is a TOML file; see {_PAGES[what]}.") from None
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the path
        mend = f"Give the path of a TOML file; see {_PAGES[what]}."
        raise UsageError(f"The {what} {str(path)!r} cannot be read: {getattr(fault, 'strerror', fault)}.", mend) from None


def _resolved(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same values with paths made absolute, and [[test]] sources as test sets. What does not look like a recipe is left as it is."""
    for section, field in (*PATHS, *PLUGINS):
        tables = values.get(section)
        for table in tables if isinstance(tables, list) else [tables]:
            if isinstance(table, dict) and isinstance(table.get(field), str):
                table[field] = _path(section, field, table[field], folder)
    for table in values["test"] if isinstance(values.get("test"), list) else []:
        if isinstance(table, dict):
            table.setdefault("split", "test")
    return values


def _path(section: str, field: str, text: str, folder: Path) -> str:
    """An absolute path; a name (of a data set, a task, an engine, a model on the hub) stays as it is."""
    if not text or ((section, field) in PLUGINS and not text.endswith(".py")):
        return text
    whole = os.path.normpath(folder / os.path.expanduser(text))
    if (section, field, text) == ("policy", "path", SMALL) and not os.path.isdir(whole):
        return str(SMALL_MODEL)
    if (section, field) == ("policy", "path") and not text.startswith((".", "/", "~")) and not os.path.isdir(whole):
        return text
    return whole


def _override(values: dict[str, Any], option: str, text: str | None) -> checking.Path:
    """Puts one option's value into the recipe's values; gives its path."""
    path: checking.Path = tuple(int(part) if part.isdecimal() else part.replace("-", "_") for part in option.removeprefix("--").split("."))
    here: Any = values
    for depth, part in enumerate(path):
        name = checking.dotted(path[:depth])
        if isinstance(here, list) != isinstance(part, int) or not isinstance(here, dict | list):
            mend = f"Say which: --{name}.0.{part}" if isinstance(here, list) else "--help lists the fields of a recipe."
            raise UsageError(f"{option}: there is no such field.", mend)
        if isinstance(part, int) and part >= len(here):
            mend = f"They are counted from 0: {name}.0 to {name}.{len(here) - 1}." if here else f"Add a [[{name}]] table to the recipe."
            raise UsageError(f"{option}: the recipe has {len(here)} of {name}.", mend)
        if depth < len(path) - 1:
            here = _below(here, part, [] if isinstance(path[depth + 1], int) else {})
    value = value_of(checking.field_at(Recipe, path), text, option)
    if isinstance(value, str) and (path[0], path[-1]) in (*PATHS, *PLUGINS):
        value = _path(str(path[0]), str(path[-1]), value, Path.cwd())
    here[path[-1]] = value
    return path


def _below(table: Any, part: str | int, otherwise: Any) -> Any:
    return table[part] if isinstance(part, int) else table.setdefault(part, otherwise)


def value_of(field: Any, text: str | None, option: str) -> Any:
    """A text of the command line as the value that a field takes, where it spells one; else the text. Raises UsageError for a value that
    is missing. A list is written with commas, or as JSON."""
    annotation = field.annotation if field is not None else str
    if text is None:
        if annotation is not bool:
            about = f"It is: {field.description}." if field is not None else ""
            raise UsageError(f"{option} needs a value.", about)
        return True
    if annotation is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if checking.is_list(annotation) and not text.startswith("["):
        return [
            _number(part.strip()) if re.search("int|float", str(annotation)) else part.strip() for part in text.split(",") if part.strip()
        ]
    return _number(text) if annotation in (int, float) or text.startswith("[") else text


def _number(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        try:
            return float(text) if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text, re.IGNORECASE) else text
        except ValueError:
            return text
    return value if isinstance(value, int | float | list) and not isinstance(value, bool) else text


def require_known(recipe: Recipe, place: Callable[[checking.Path], str], called: Callable[[checking.Path], str] = checking.dotted) -> None:
    """Names of data sets, tasks and engines, before anything is loaded. place, called: as in checking.checked."""
    used: list[tuple[checking.Path, str, str]] = [(("rollout", "engine"), "rollout", recipe.rollout.engine)]
    for kind in ("data", "test"):
        for index, source in enumerate(getattr(recipe, kind)):
            used += [((kind, index, "name"), "datasets", source.name), ((kind, index, "task"), "tasks", source.task)]
    for path, kind, name in used:
        if name.endswith(".py"):
            if not os.path.isfile(name):
                mend = "Give a Python file, or a name of the package's own."
                raise UsageError(f"{place(path)}{called(path)}: no file {name}.", mend)
            if kind == "tasks":
                load_task(name)  # before an hour is spent on what it is needed for
        elif name and name not in (known := plugins.names(kind)):
            raise UsageError(f"{place(path)}{called(path)}: nothing is named {name!r}.", plugins.nearest(name, known))
    own = {short_name(source.task): source.task for source in (*recipe.data, *recipe.test) if source.task.endswith(".py")}
    for name in recipe.asking.rewards:
        at: checking.Path = ("asking", "rewards", name)
        if name not in own and name not in (known := plugins.names("tasks")):
            mend = plugins.nearest(name, sorted({*known, *own}))
            raise UsageError(f"{place(at)}{called(at)}: no task is named {name!r}.", mend)
        try:
            chosen_rewards(load_task(own.get(name, name)), name, recipe.asking)
        except UsageError as fault:
            raise UsageError(f"{place(at)}{called(at)}{fault.what.removeprefix(checking.dotted(at))}", fault.mend) from None
