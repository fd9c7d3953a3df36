"""Tasks, data sets, engines and model families are found by name: `load("tasks", "temporal_grounding", "TASK")` imports
videochat_r1/tasks/temporal_grounding.py and takes its TASK. A path to a .py file of the user's own works in place of a name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

from videochat_r1.errors import UsageError

MEND = "Mend the file; --debug shows the traceback."
_SHOWN = 200  # letters of an exception's text


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
    """The object `attribute` of the module `name` of a kind, or of the .py file at the path `name`. Raises UsageError on an unknown one,
    and on a file that cannot be imported, with its line."""
    if name.endswith(".py"):
        module = _of_file(name, attribute)
    else:
        known = names(kind)
        if name not in known:
            raise UsageError(f"Nothing named {name!r} in {kind}.", nearest(name, known))
        module = importlib.import_module(f"videochat_r1.{kind}.{name}")
    if not hasattr(module, attribute):
        raise UsageError(f"{name} does not define {attribute}.", f"A module of {kind} assigns it at its top level: {attribute} = ...")
    return getattr(module, attribute)


def line_of(name: str, fault: BaseException) -> str:
    """Where in the .py file at that path an exception came from, as "counting.py:12"; the path alone where no line of it had a part."""
    path = str(Path(name).resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == path]
    if isinstance(fault, SyntaxError) and fault.filename == path:
        lines.append(fault.lineno)
    return f"{name}:{lines[-1]}" if lines else name


def said(fault: BaseException) -> str:
    """An exception in one line, as "KeyError: 'label'"."""
    text = fault.msg if isinstance(fault, SyntaxError) else str(fault)
    first = (text.splitlines() or [""])[0][:_SHOWN]
    return f"{type(fault).__name__}: {first}" if first else type(fault).__name__


def _of_file(name: str, attribute: str) -> Any:
    path = Path(name).resolve()
    if not path.is_file():
        raise UsageError(f"No file {name} to take {attribute} from.", "Give the path of a Python file, or a name of the package's own.")
    spec = importlib.util.spec_from_file_location(f"{__name__}.of_file.{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as fault:
        raise UsageError(f"{line_of(name, fault)}: the file cannot be loaded: {said(fault)}.", MEND) from fault
    return module
