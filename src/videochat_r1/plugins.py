"""Tasks, data sets, engines and model families are found by name: `load("tasks", "temporal_grounding", "TASK")` imports
videochat_r1/tasks/temporal_grounding.py and takes its TASK. A path to a .py file of the user's own works in place of a name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from pathlib import Path
from typing import Any

from videochat_r1.errors import UsageError


def names(kind: str) -> list[str]:
    """The names that `load` knows for a kind ("tasks", "datasets", "rollout", "policy.families"): its modules, but for base."""
    package = importlib.import_module(f"videochat_r1.{kind}")
    return sorted(
        module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "base" and not module.name.startswith("_")
    )


def nearest(word: str, known: list[str]) -> str:
    """A sentence that names the nearest known word, or lists all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}? Known: {', '.join(known)}." if close else f"Known: {', '.join(known)}."


def load(kind: str, name: str, attribute: str) -> Any:
    """The object `attribute` of the module `name` of a kind, or of the .py file at the path `name`. Raises UsageError on an unknown one."""
    if name.endswith(".py"):
        path = Path(name).resolve()
        if not path.is_file():
            raise UsageError(f"No file {name} to take {attribute} from.", "Give the path of a Python file, or a name of the package's own.")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        known = names(kind)
        if name not in known:
            raise UsageError(f"Nothing named {name!r} in {kind}.", nearest(name, known))
        module = importlib.import_module(f"videochat_r1.{kind}.{name}")
    if not hasattr(module, attribute):
        raise UsageError(f"{name} does not define {attribute}.", f"A module of {kind} assigns it at its top level: {attribute} = ...")
    return getattr(module, attribute)
