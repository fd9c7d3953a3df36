"""How a policy wants to be asked: what its own run, or its release, says about clips, prompts and the length of answers.

A figure is worth little where a model is shown other frames, or asked in another order, than it was trained on. What a command line says
goes before all of this."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from videochat_r1.errors import UsageError
from videochat_r1.section import Section

AS_EVALUATED = {"prompts": "released_evaluation", "reading": "released_evaluation"}

RELEASED: dict[str, dict[str, dict[str, Any]]] = {
    "VideoChat-R1_7B": {"asking": {"order": "text_first", **AS_EVALUATED}},
    "VideoChat-R1-thinking_7B": {"asking": {"thinking": True, "order": "text_first", **AS_EVALUATED}},
    "VideoChat-R1_5-7B": {"asking": {"order": "video_first", "prompts": "r1_5"}},
}
"""The released checkpoints, by the last part of their names: the prompts of the released evaluation code (with a thought for the thinking
one), text before the video as they were trained, and answers read as that code reads them. VideoChat-R1.5 was trained video first and
without a thought, on prompts of its own (its evaluation on Charades puts the text first, against its training)."""


@dataclass(frozen=True)
class Manner:
    """How one policy is asked. path: what to load. said: where the settings come from, "" for none. sections: {"video": {FIELD: value},
    "asking": ..., "rollout": ...}, those fields alone that something was said about."""

    path: str
    said: str = ""
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def manner_of(policy: str) -> Manner:
    """How the policy of that name wants to be asked: "small", a run's folder, its policy/, a copy of that, a released checkpoint, or any
    other model.

    Raises UsageError for an empty name, and where a run's recipe.toml, or the asked.toml of a policy that was carried out of its run,
    cannot be read."""
    from videochat_r1.policy.config import ASKED, SMALL
    from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO

    if not policy.strip():
        raise UsageError("The policy's name is empty.", "Give a folder, small, or a name on the hub such as Qwen/Qwen2.5-VL-3B-Instruct.")
    folder = Path(policy).expanduser()
    if (policy == SMALL and not folder.exists()) or (folder.is_dir() and folder.resolve() == SMALL_MODEL.resolve()):
        return Manner(str(SMALL_MODEL), "the built-in model", {"video": SMALL_VIDEO.model_dump(), "asking": {"order": "video_first"}})
    if (folder / "recipe.toml").is_file() and (folder / "policy").is_dir():
        return _of_run(folder, str(folder / "policy"))
    if folder.is_dir() and folder.resolve().name == "policy" and (folder.resolve().parent / "recipe.toml").is_file():
        return _of_run(folder.resolve().parent, policy)
    if os.path.lexists(folder / ASKED):  # a folder of that name, or a link to nothing, is told as a file that cannot be read
        return _of_file(folder / ASKED, policy)
    name = PurePosixPath(folder.resolve().name if folder.is_dir() else policy).name
    if name in RELEASED:
        return Manner(policy, f"the release of {name}", RELEASED[name])
    return Manner(policy)


def _of_run(run: Path, path: str) -> Manner:
    from videochat_r1.config import read_recipe

    recipe = read_recipe(run / "recipe.toml")
    sections = {"video": recipe.video.model_dump(), "asking": recipe.asking.model_dump()}
    return Manner(path, str(run / "recipe.toml"), {**sections, "rollout": {"max_tokens": recipe.rollout.max_tokens}})


def _of_file(file: Path, path: str) -> Manner:
    from videochat_r1.config import read_section
    from videochat_r1.rollout.base import RolloutConfig
    from videochat_r1.tasks.base import Asking
    from videochat_r1.video.sampling import VideoConfig

    said: dict[str, type[Section]] = {"video": VideoConfig, "asking": Asking, "rollout": RolloutConfig}
    try:
        sections = {name: read_section(file, name, model).model_dump(exclude_unset=True) for name, model in said.items()}
    except UsageError as fault:
        mend = "Copy the policy's folder again; or remove the file, and say on the command line how to ask."
        raise UsageError(fault.what, mend) from None
    return Manner(path, str(file), sections)


Chosen = TypeVar("Chosen", bound=Section)
Given = Mapping[str, Section]


def with_manner(section: Chosen, said: Mapping[str, Any]) -> Chosen:
    """The section with what is said about it, where a command line gave nothing. Raises UsageError where the two do not go together."""
    from videochat_r1.checking import checked

    given = {name: getattr(section, name) for name in section.model_fields_set}
    return checked(type(section), {**section.model_dump(mode="json"), **said, **given})


def settled(policy: str, given: Given, say: Callable[[str], None] | None = None) -> tuple[str, Given]:
    """What to load, and the sections "video", "asking" and "rollout" with what the policy's own run or release says, where a command line
    gave nothing. say: takes the line about what that changed, and one about an adapter's base. Raises UsageError."""
    manner = manner_of(policy)
    if say is not None:
        for line in filter(None, (told(manner, given), told_of_base(manner.path))):
            say(line)
    return manner.path, {name: with_manner(section, manner.sections.get(name, {})) for name, section in given.items()}


def told(manner: Manner, given: Mapping[str, Section]) -> str:
    """One line about what a manner changed; "" for nothing. given: the sections as the command line left them."""
    parts = []
    for name, said in manner.sections.items():
        section = given[name]
        default = type(section)()
        changed = {key: value for key, value in said.items() if key not in section.model_fields_set and value != getattr(default, key)}
        parts += [f"{name}.{key} {value}" for key, value in changed.items()]
    return f"Asked as {manner.said} says: {', '.join(parts)}." if parts else ""


def told_of_base(policy: str) -> str:
    """One line where the base of an adapter's folder is another model than the adapter was trained on; "" where it is the same, and where
    nothing says which it was."""
    from videochat_r1.evaluation.answer_cache import base_digest
    from videochat_r1.policy.config import ASKED
    from videochat_r1.policy.processing import base_of_adapter

    folder = Path(policy).expanduser()
    try:
        then = tomllib.loads((folder / ASKED).read_text(encoding="utf-8"))["base"]["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if base_digest(folder) in ("", then):
        return ""
    return f"{base_of_adapter(folder)} is another model than the adapter {policy} was trained on: its answers are not the trained policy's."
