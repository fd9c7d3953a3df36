"""Values from a file or a command line -> a pydantic model, or one fault in words: where, which field, what was expected, what came.

Values are taken strictly: text is no number, and 1 is not true."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from videochat_r1.errors import UsageError
from videochat_r1.spelling import did_you_mean, near

Path = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}", "min_length": "not empty"}
SHOWN = 60  # letters of a wrong value


def dotted(path: Path) -> str:
    """("data", 0, "weight") -> "data.0.weight"."""
    return ".".join(map(str, path))


def checked(
    model: type[Model],
    values: Mapping[str, Any],
    place: Callable[[Path], str] = lambda path: "",
    called: Callable[[Path], str] = dotted,
) -> Model:
    """The model with these values. place: where the value of a path stands, such as "recipe.toml:12: ", or ""; called: its name in words.

    Raises UsageError for an unknown field, naming the nearest right ones, a wrong type, a value out of range, and whatever else the model
    refuses; of several faults the first, with the number of the others."""
    for path, value in leaves(values):
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise UsageError(f"{place(path)}{called(path)} cannot be {_shown(value)}.", _about(model, path))
    try:
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as fault:
        found = fault.errors(include_url=False)
        found.sort(key=lambda one: one["type"] != "extra_forbidden")  # a misspelt field also looks like a missing one
        what, mend = _explained(model, found[0], place, called)
        others = f" ({len(found) - 1} more such.)" if len(found) > 1 else ""
        raise UsageError(what + others, mend) from None


def leaves(values: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is neither a table nor a list, with its path."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from leaves(value, (*path, index))
    else:
        yield path, values


def field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """The declared field at a path (of a list of sections: any index); None where there is none."""
    field: FieldInfo | None = None
    here: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or (isinstance(part, str) and part.isdecimal()):
            continue
        if here is None or part not in here.model_fields:
            return None
        field = here.model_fields[str(part)]
        here = section_of(field.annotation)
    return field


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, alone or as a list of such; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [each for each in typing.get_args(annotation) if each is not Ellipsis]
    return section_of(inner[0]) if is_list(annotation) and len(inner) == 1 else None


def is_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (list, tuple)


def fields_below(model: type[BaseModel], path: Path = ()) -> Iterator[tuple[Path, FieldInfo]]:
    """Every plain field of a model and of the sections in it; of a list of sections those of element 0."""
    for name, field in model.model_fields.items():
        inner = section_of(field.annotation)
        own = (*path, name)
        if inner is None:
            yield own, field
        else:
            yield from fields_below(inner, (*own, 0) if is_list(field.annotation) else own)


def expected(field: FieldInfo) -> str:
    """What a field takes, in words."""
    words = _kind(field.annotation)
    bounds = [
        text.format(getattr(rule, name))
        for rule in field.metadata
        for name, text in BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join([words, *bounds])


def _kind(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(each) for each in inner)
    if origin in (list, tuple):
        if section_of(annotation) is not None:
            return "a list of tables"
        one = _kind(inner[0]).partition(" ")[2] if inner else "value"
        return f"a list, each {_kind(inner[0])}" if Ellipsis in inner or origin is list else f"a list of {len(inner)}, each a {one}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_kind(each) for each in inner if each is not types.NoneType)
    return WORDS.get(annotation, "a table")


def _explained(model: type[BaseModel], fault: ErrorDetails, place: Callable[[Path], str], called: Callable[[Path], str]) -> tuple[str, str]:
    path: Path = tuple(part for part in fault["loc"] if part != "[key]")
    where, name = place(path), called(path)
    if fault["type"] == "extra_forbidden":
        return f"{where}{name}: there is no such field.", _nearest_field(model, path)
    if fault["type"] == "missing":
        return f"{where}{name} is missing.", _about(model, path)
    field = field_at(model, path)
    if fault["type"] in ("value_error", "assertion_error") or field is None:
        said = str(fault.get("ctx", {}).get("error", fault["msg"]))
        return f"{where}{name}: {said}" if name else f"{where}{said}", ""
    came = _shown(fault["input"])
    if fault["type"] == "literal_error":
        choices = _choices(field.annotation)
        return f"{where}{name} must be {expected(field)}, not {came}.", did_you_mean(str(fault["input"]), choices)
    return f"{where}{name} must be {expected(field)}, not {came}.", _about(model, path)


def _choices(annotation: Any) -> list[str]:
    inner = typing.get_args(annotation)
    return list(map(str, inner)) if typing.get_origin(annotation) is Literal else [name for each in inner for name in _choices(each)]


def _nearest_field(model: type[BaseModel], path: Path) -> str:
    """The nearest fields beside it, and the same name in other sections."""
    wrong = str(path[-1])
    parent = model if len(path) == 1 else section_of(getattr(field_at(model, path[:-1]), "annotation", None))
    beside = list(parent.model_fields) if parent is not None else []
    prefix = f"{dotted(path[:-1])}." if len(path) > 1 else ""
    close = [f"{prefix}{name}" for name in near(wrong, beside)]
    elsewhere = [dotted(other) for other, _ in fields_below(model) if other[-1] == wrong]
    found = (elsewhere[:2] + close)[:3]
    if found:
        return f"Did you mean {' or '.join(found)}?"
    far = [dotted(other) for other, _ in fields_below(model) if near(wrong, [str(other[-1])])]
    return f"Did you mean {' or '.join(far[:3])}?" if far else f"Known here: {', '.join(beside)}."


def _about(model: type[BaseModel], path: Path) -> str:
    field = field_at(model, path)
    return f"It is: {field.description}." if field is not None and field.description else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
