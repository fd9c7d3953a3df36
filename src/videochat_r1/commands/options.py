"""What a command takes: a pydantic model whose fields are its options, read from a command line and told in a help text.

A section among the fields gives options with its name: `--video.fps`; where no other option is called `--fps`, that is enough. Faults are
told in the words of checking.py, as for a recipe: what stands where, what was expected, and the nearest right name."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from videochat_r1 import checking
from videochat_r1.config import value_of
from videochat_r1.errors import UsageError
from videochat_r1.spelling import did_you_mean, near

METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT"}
Given = list[tuple[str, str | None]]


class Options(BaseModel):
    """Options of a command."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Chosen = TypeVar("Chosen", bound=Options)


@dataclass(frozen=True)
class Command:
    """One command. run: its options, where to print what it was asked for, and the recipe's fields that were given -> exit code."""

    options: type[Options]
    run: Callable[[Any, TextIO, Given], int]
    recipe: bool = False  # fields of a recipe may be given beside the options


def option(default: Any, what: str, metavar: str = "", *, many: bool = False, **bounds: Any) -> Any:
    """--name VALUE, or --name alone where it is true or false. many: --name TEXT TEXT ..., every text up to the next option."""
    extra: dict[str, Any] = {"metavar": metavar, "many": many}
    if callable(default):
        return Field(default_factory=default, description=what, json_schema_extra=extra, **bounds)
    return Field(default, description=what, json_schema_extra=extra, **bounds)


MOST_RESAMPLES = 1_000_000
"""Of a bootstrap: more would change no digit that is shown, and take hours."""


def seed_option(what: str) -> Any:
    """--seed N, for every command that draws: no generator takes a negative one, and some notice only when the work is done."""
    return option(0, what, ge=0, le=2**63 - 1)


def argument(what: str, metavar: str, default: Any = ...) -> Any:
    """A value that is given without a name, in its place; one with a default may be left out."""
    return Field(default, description=what, json_schema_extra={"metavar": metavar, "positional": True})


def parse(
    model: type[Chosen], tokens: Sequence[str], recipe: type[BaseModel] | None = None, *, helped_by: str = ""
) -> tuple[Chosen, Given]:
    """A command's options, and the recipe's fields that stand among them, unjudged. helped_by: the command line that lists them all.

    Raises UsageError for an option that there is none of, or that is given twice, a value that does not fit, and what is missing."""
    values: dict[str, Any] = {}
    fields: Given = []
    seen: set[str] = set()
    places = [name for name, field in model.model_fields.items() if _extra(field, "positional")]
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--"):
            if not places:
                raise UsageError(f"Not expected here: {token!r}.", "An option starts with two dashes; --help lists them.")
            values[places.pop(0)] = token
            continue
        name, equals, attached = token.partition("=")
        path, is_off = _find(model, name), False
        of_recipe = path is None and recipe is not None and "." in name
        field = _field(model, path) if path else None
        if of_recipe:
            field = checking.field_at(recipe, _path(name)) if recipe is not None else None
        elif field is None:
            path, is_off = _find(model, "--" + name.removeprefix("--no-")), name.startswith("--no-")
            field = checking.field_at(model, path) if path else None
            if path is None or field is None or not is_off or field.annotation is not bool:
                word, known = name.removeprefix("--"), _names(model, recipe)
                is_listed_there = helped_by and not near(word, known)
                mend = f"`{helped_by}` lists them." if is_listed_there else did_you_mean(word, known, "--{}")
                raise UsageError(f"There is no option {name}.", mend)
        value = "false" if is_off else attached if equals else _next(waiting, field)
        key = checking.dotted(path) if path else name.replace("-", "_")
        if key in seen:
            raise UsageError(f"{name} is given twice.", "Leave one of them out.")
        seen.add(key)
        if of_recipe:
            fields.append((name, value))
        elif path is not None and value is not None and _extra(field, "many"):
            _put(values, path, [value, *_texts(waiting)])
        elif path is not None:
            _put(values, path, value_of(field, value, name))
    return checking.checked(model, values, called=lambda at: _called(model, at)), fields


def usage(words: str, command: Command, recipe: type[BaseModel] | None = None) -> str:
    """The help text of a command. words: its name on the command line."""
    model = command.options
    given = [_extra(field, "metavar") for field in model.model_fields.values() if _extra(field, "positional")]
    needed = [_signature(*one) for one in _listed(model) if one[1].is_required()]
    width = min(shutil.get_terminal_size().columns, 120)
    lines = textwrap.wrap(f"usage: videochat-r1 {words} {' '.join([*given, *needed, '[options]'])}", width, subsequent_indent="  ")
    lines += ["", *textwrap.wrap(" ".join((model.__doc__ or "").split()), width), ""]
    rows = [(_extra(field, "metavar"), field) for field in model.model_fields.values() if _extra(field, "positional")]
    rows += [(_signature(name, field), field) for name, field in _listed(model)]
    lines += _told(rows, width)
    lines += _told([("--debug", FieldInfo(default=False, description="show the traceback of a fault"))], width)
    lines += _told([("--help", FieldInfo(default=False, description="this text"))], width)
    if recipe is not None:
        lines += ["", "Each field of the recipe may be changed for this run:"]
        lines += _told([(_signature(checking.dotted(path), field), field) for path, field in checking.fields_below(recipe)], width)
    return "\n".join(lines) + "\n"


def _find(model: type[BaseModel], token: str) -> checking.Path | None:
    """The path of an option: its whole name, or the last part of it where that names one field alone."""
    path = _path(token)
    field = checking.field_at(model, path)
    if field is not None and (checking.section_of(field.annotation) is None) and not _extra(field, "positional"):
        return path
    if len(path) > 1 and _field(model, path) is not None:
        return path
    ends = [own for own, _ in checking.fields_below(model) if len(path) == 1 and own[-1] == path[0] and len(own) > 1]
    if len(ends) > 1:
        raise UsageError(f"{token} may mean several options.", f"Give one of: {', '.join(_dashed(own) for own in ends)}.")
    return ends[0] if ends else None


def _field(model: type[BaseModel], path: checking.Path) -> FieldInfo | None:
    """What an option sets: a plain field, or a table of names of the user's choice."""
    field = checking.field_at(model, path)
    if field is None and len(path) > 1:
        table = checking.field_at(model, path[:-1])
        return table if table is not None and get_origin(table.annotation) is dict else None
    return field if field is not None and checking.section_of(field.annotation) is None else None


def _path(token: str) -> checking.Path:
    parts = tuple(part.replace("-", "_") for part in token.removeprefix("--").split("."))
    return ("json_",) if parts == ("json",) else parts  # a model of pydantic has a method json


def _dashed(path: checking.Path) -> str:
    return "--" + checking.dotted(path).rstrip("_").replace("_", "-")


def _names(model: type[BaseModel], recipe: type[BaseModel] | None) -> list[str]:
    found = [name for name, _ in _listed(model)] + ["help", "debug"]
    found += [name.rsplit(".", 1)[-1] for name in found if "." in name]
    return found + [_dashed(path)[2:] for path, _ in checking.fields_below(recipe)] if recipe is not None else found


def _listed(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """The options by name: the command's own first, then those of its sections, however many a section has."""
    named = [(path, field) for path, field in checking.fields_below(model) if not _extra(field, "positional")]
    return [(_dashed(path)[2:], field) for path, field in sorted(named, key=lambda one: len(one[0]) > 1)]


def _next(waiting: list[str], field: FieldInfo | None) -> str | None:
    """The value after an option; None where there is none, or where one that is true or false stands alone."""
    if not waiting or waiting[0].startswith("--"):
        return None
    if field is not None and field.annotation is bool and waiting[0].lower() not in ("true", "false"):
        return None
    return waiting.pop(0)


def _texts(waiting: list[str]) -> list[str]:
    """All texts up to the next option."""
    end = next((index for index, token in enumerate(waiting) if token.startswith("--")), len(waiting))
    texts, waiting[:end] = waiting[:end], []
    return texts


def _put(values: dict[str, Any], path: checking.Path, value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(str(part), {})
    values[str(path[-1])] = value


def _called(model: type[BaseModel], at: checking.Path) -> str:
    """How a fault names an option or an argument."""
    metavar = _extra(checking.field_at(model, at[:1]), "metavar")
    return metavar if _extra(checking.field_at(model, at[:1]), "positional") else _dashed(at) if at else ""


def _extra(field: FieldInfo | None, name: str) -> Any:
    extra = field.json_schema_extra if field is not None else None
    return extra.get(name, "") if isinstance(extra, dict) else ""


def _signature(name: str, field: FieldInfo) -> str:
    annotation = field.annotation
    option = "--" + name.removeprefix("--").replace("_", "-")
    if annotation is bool:
        return option
    if get_origin(annotation) is Literal:
        return f"{option} {'|'.join(map(str, get_args(annotation)))}"
    if get_origin(annotation) is dict:
        return f"{option}.CODE ACTION"
    return f"{option} {_extra(field, 'metavar') or METAVARS.get(annotation or str, 'A,B,..')}"


def _told(rows: Sequence[tuple[str, FieldInfo]], width: int) -> list[str]:
    lines = []
    for signature, field in rows:
        default = field.get_default(call_default_factory=True, validated_data={})
        known = "" if field.is_required() or default in ("", False, (), {}, None) else f" ({_plain(default)})"
        first, *rest = textwrap.wrap(f"{field.description}{known}", max(width - 30, 30)) or [""]
        lines += [f"  {signature:<27} {first}"] if len(signature) <= 27 else [f"  {signature}", f"{'':30}{first}"]
        lines += [f"{'':30}{more}" for more in rest]
    return lines


def _plain(default: Any) -> str:
    return ",".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
