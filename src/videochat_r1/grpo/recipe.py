"""What a changed recipe means to a run that is resumed: each changed field, and whether it is free, warned or refused.

The classes are declared with the fields (section.py); this module only walks them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from videochat_r1.errors import UsageError
from videochat_r1.grpo.log import NOTES
from videochat_r1.section import Section

OTHER_RUN = "Start another run with --out; `videochat-r1 train` can also go on with the change, by --resume-anyway."


@dataclass(frozen=True)
class Change:
    """One field of a recipe that is not as it was."""

    field: str
    before: Any
    after: Any
    on_resume: str  # "free", "warned" or "refused"

    def __str__(self) -> str:
        return f"{self.field}: {self.before!r} -> {self.after!r}"


def described(sections: Mapping[str, Section]) -> dict[str, Any]:
    """A recipe as plain JSON values, for a checkpoint."""
    return {name: section.model_dump(mode="json") for name, section in sections.items()}


def compare(before: Mapping[str, Any], sections: Mapping[str, Section]) -> list[Change]:
    """Every field that differs from the recipe that `before` describes. One it did not have counts where it is not default."""
    found: list[Change] = []
    for name, section in sections.items():
        found.extend(_changes(f"{name}.", before.get(name) or {}, section))
    return found


def names_a_place(field: str) -> bool:
    """Whether a field is the path of what stays the same where it is moved. Not a task's file: its path is the task's name."""
    return re.fullmatch(r"policy\.path|data\.\d+\.(annotations|videos|subtitles|difficulty)", field) is not None


def require_resumable(
    before: Mapping[str, Any], sections: Mapping[str, Section], *, anyway: bool, moved: Collection[str] = ()
) -> list[Change]:
    """The changes, each noted. moved: fields that name another path of the same content. Raises UsageError, showing all changes, where
    another one is refused and `anyway` is False."""
    changes = compare(before, sections)
    if any(change.on_resume == "refused" and change.field not in moved for change in changes) and not anyway:
        what = "This recipe is not the one that the run was started with:\n" + "\n".join(f"  {change}" for change in changes)
        raise UsageError(what, OTHER_RUN)
    for change in changes:
        NOTES.warning("Changed on resume: %s", change)
    return changes


def unclassified(section: type[Section]) -> list[str]:
    """Fields of a section whose declaration does not say what a change means on resume."""
    kinds = ("free", "warned", "refused")
    return [
        name
        for name, field in section.model_fields.items()
        if not isinstance(field.json_schema_extra, dict) or field.json_schema_extra.get("on_resume") not in kinds
    ]


def _changes(prefix: str, before: Mapping[str, Any], section: Section) -> Iterator[Change]:
    plain = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        extra = field.json_schema_extra
        on_resume = str(extra.get("on_resume", "refused")) if isinstance(extra, dict) else "refused"
        if name not in before:
            if value != field.get_default(call_default_factory=True, validated_data={}):
                yield Change(prefix + name, None, plain[name], on_resume)
        elif isinstance(value, Section) and isinstance(before[name], Mapping):
            yield from _changes(f"{prefix}{name}.", before[name], value)
        elif _alike(value, before[name]):
            for index, (own, old) in enumerate(zip(value, before[name], strict=True)):
                yield from _changes(f"{prefix}{name}.{index}.", old, own)
        elif plain[name] != before[name] and not is_one_file(plain[name], before[name]):
            yield Change(prefix + name, before[name], plain[name], on_resume)


def is_one_file(value: Any, before: Any) -> bool:
    """Two ways to write the path of what is there."""
    return (
        isinstance(value, str) and isinstance(before, str) and os.path.exists(value) and os.path.realpath(value) == os.path.realpath(before)
    )


def _alike(value: Any, before: Any) -> bool:
    """Two lists of as many sections: compared one by one. A list of another length is a change of the whole field."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(each, Section) for each in value)
        and isinstance(before, list)
        and len(before) == len(value)
    )
