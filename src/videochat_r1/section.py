"""A section of a recipe: a frozen pydantic model that refuses unknown fields. Each part owns its section; config.py puts them together.

Every field says in its declaration what a change of it means to a run that is resumed: `free` (how it is watched), `warned` (how it goes
on), `refused` (what it is). A test fails for a field that says nothing."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Fields of one part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def free(default: Any, what: str, **bounds: Any) -> Any:
    """A field that may change on resume without a word, such as how often to log."""
    return _field(default, what, "free", bounds)


def warned(default: Any, what: str, **bounds: Any) -> Any:
    """A field whose change on resume is shown and allowed, such as the learning rate."""
    return _field(default, what, "warned", bounds)


def refused(default: Any, what: str, **bounds: Any) -> Any:
    """A field whose change makes another run of it: shown, and refused without --resume-anyway."""
    return _field(default, what, "refused", bounds)


def _field(default: Any, what: str, on_resume: str, bounds: dict[str, Any]) -> Any:
    extra: dict[str, Any] = {"on_resume": on_resume}
    if callable(default):
        return Field(default_factory=default, description=what, json_schema_extra=extra, **bounds)
    return Field(default, description=what, json_schema_extra=extra, **bounds)
