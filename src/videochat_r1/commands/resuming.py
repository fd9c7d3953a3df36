"""Before a run goes on: whether its recipe, and what lies at the recipe's paths, are those that it was begun with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.config import Recipe, read_recipe
from videochat_r1.counting import counted
from videochat_r1.errors import UsageError

if TYPE_CHECKING:
    from videochat_r1.grpo.inputs import Inputs
    from videochat_r1.grpo.log import RunFolder
    from videochat_r1.types import Sample


@dataclass(frozen=True)
class Resumed:
    """What has changed since a run was begun. is_changed: something that the answers of its base model may depend on. moved: fields of the
    recipe that name another path; once the content is known, those alone whose content is the same."""

    is_changed: bool
    moved: frozenset[str] = frozenset()
    state: dict[str, Any] = field(default_factory=dict)  # of the newest checkpoint; empty where there is none to be read


def require_same_recipe(recipe: Recipe, folder: RunFolder, *, anyway: bool) -> Resumed:
    """Before the data are read. Raises UsageError where a resumed run's recipe is another one; whether other paths hold the same is for
    `require_same_content` to tell."""
    from videochat_r1.grpo.log import INPUTS
    from videochat_r1.grpo.recipe import compare, names_a_place, require_resumable

    states = sorted(folder.checkpoints.glob("step-*/state.json"))
    try:
        state = json.loads(states[-1].read_bytes())
        before, done = state["recipe"], int(state["progress"]["step"])
    except (IndexError, OSError, ValueError, KeyError, TypeError):  # no checkpoint yet, or a damaged one, which the trainer will tell
        return Resumed(not _is_written(folder.path / "recipe.toml", recipe))
    changes = compare(before, recipe.sections())
    refused = {change.field for change in changes if change.on_resume == "refused"}
    moved = frozenset(filter(names_a_place, refused)) if (folder.path / INPUTS).exists() else frozenset()
    if refused - moved and not anyway:
        require_resumable(before, recipe.sections(), anyway=False)  # raises; what is allowed is told by the trainer
    learned = [change for change in changes if change.on_resume != "free" and change.field.startswith(("train.", "grpo.", "rollout."))]
    if learned and 0 < recipe.train.steps <= done:
        shown = ", ".join(map(str, learned))
        taken = f"The run has taken {counted(done, 'step')}"
        what = f"{taken}: with train.steps = {recipe.train.steps} what has changed would change nothing ({shown})."
        raise UsageError(what, f"Set train.steps above {done}, or go on with the recipe as it was.")
    return Resumed(bool(refused - moved), moved, state)


def require_same_content(resumed: Resumed, recipe: Recipe, folder: RunFolder, data: Sequence[Sequence[Sample]], *, anyway: bool) -> Resumed:
    """Before a model is loaded. Raises UsageError where the model, a .py file, a video or the rows of a resumed run have other content than
    when the run began."""
    from videochat_r1.grpo.inputs import differences, kept_inputs, require_same_inputs
    from videochat_r1.grpo.log import NOTES
    from videochat_r1.grpo.recipe import require_resumable

    then = kept_inputs(folder.path)
    found = [] if then is None else differences(then, inputs(recipe, data), {**_named(recipe), "policy.path": recipe.policy.path})
    if any(folder.checkpoints.glob("step-*")):  # else the run begins at its first step, with what is there now
        require_same_inputs(found, anyway=anyway)
        for each in found:
            NOTES.warning("Changed on resume: %s.", each.what)
    is_same = True
    if resumed.moved:
        from videochat_r1.grpo.state import data_fingerprint  # loads torch
        from videochat_r1.runs import sources_of

        is_same = then is not None and not found and resumed.state.get("data") == data_fingerprint(sources_of(recipe, data))
        if not is_same and not anyway:
            require_resumable(resumed.state["recipe"], recipe.sections(), anyway=False)
    is_changed = resumed.is_changed or bool(found) or not is_same
    return replace(resumed, is_changed=is_changed, moved=resumed.moved if is_same else frozenset())


def inputs(recipe: Recipe, data: Sequence[Sequence[Sample]]) -> Inputs:
    """What the recipe's paths hold now."""
    from videochat_r1.grpo.inputs import inputs_of

    videos = {f"data.{index}": (source.videos, samples) for index, (source, samples) in enumerate(zip(recipe.data, data, strict=True))}
    return inputs_of(recipe.policy.path, _named(recipe), videos)


def _named(recipe: Recipe) -> dict[str, str]:
    """What the recipe names that may be a .py file of the user's own, by field."""
    sources = {f"{kind}.{index}": source for kind in ("data", "test") for index, source in enumerate(getattr(recipe, kind))}
    named = {f"{place}.{field}": getattr(source, field) for place, source in sources.items() for field in ("name", "task")}
    return {**named, "rollout.engine": recipe.rollout.engine}


def _is_written(path: Path, recipe: Recipe) -> bool:
    try:
        return read_recipe(path) == recipe
    except UsageError:  # none, or of another version
        return False
