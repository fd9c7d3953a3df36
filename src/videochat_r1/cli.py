"""The command line: finds the command, reads its options, runs it, and turns whatever ends it into an exit code and a line or two.

Options are read by commands/options.py over pydantic models: its faults take two lines and name the field, for a recipe's file and a
command line alike, and `--help` loads nothing that it does not print."""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from videochat_r1.commands.lasting import Lasting, forget
from videochat_r1.errors import EnvironmentFault, UsageError, UserFault

if TYPE_CHECKING:
    from videochat_r1.commands.options import Command

COMMANDS = {
    "demo": "train, evaluate and report on the built-in world, with the small model",
    "train": "fine-tune a policy as a recipe says",
    "plan": "say what memory and time a recipe takes of a card; no weights needed",
    "evaluate": "let a policy answer a data set, and score it",
    "compare": "compare two policies on the same samples, with paired tests",
    "report": "make the pages of a run or an evaluation again from what is on disk",
    "chat": "ask a policy about a video; it says where it looked",
    "score": "score a file of predictions; no model needed",
    "judge check": "see whether a recipe's judge of captions answers, and is right where the answer is known",
    "baselines": "score the trivial answers of a data set",
    "data check": "list every defect of a data set",
    "data convert": "write a data set as canonical JSONL",
    "data difficulty": "how often a policy is right on each sample, and which groups would teach it",
    "ablate": "run a table of controls and ablations on the built-in world",
    "world": "write the built-in world as video files and official annotation files",
}
INTERRUPTED, BROKEN_PIPE, UNEXPECTED = 130, 141, 1
"""Exit codes beside those of errors.py; the first two as a shell reports SIGINT and SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit code: 0 done, 2 usage or recipe, 3 data, 4 environment, 5 interrupted and resumable, 6
    numerical stop; 130 after Ctrl-C where nothing can be resumed, 1 for a fault of the program's own."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    if sys.stdout is None:  # closed by whoever started this: nobody reads
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if getattr(sys.stdout, "errors", "") == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # an output that cannot take a letter takes its code
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    with contextlib.redirect_stderr(Lasting(sys.stderr)):
        return _ended(tokens, sys.stdout, debug)


def _ended(tokens: list[str], out: TextIO, debug: bool) -> int:
    try:
        with contextlib.redirect_stdout(sys.stderr), _notes_shown(), _warnings_held(debug):
            code = _run(tokens, out)
        out.flush()
        return code
    except BrokenPipeError:
        forget(out)
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except UserFault as fault:
        if debug:
            traceback.print_exc()
        print(f"{type(fault).__name__}: {fault}" if debug else fault, file=sys.stderr)
        return fault.exit_code
    except Exception as fault:
        if isinstance(fault, OSError) and fault.errno == errno.ENOSPC and not debug:
            forget(out)
            print(f"{fault.filename or 'What takes the output'}: {fault.strerror}.\nMake room, or write elsewhere.", file=sys.stderr)
            return EnvironmentFault.exit_code
        if debug:
            traceback.print_exc()
        else:
            print(f"{type(fault).__name__}: {fault}\nThis is a fault of the program's own; --debug shows where.", file=sys.stderr)
        return UNEXPECTED


def _run(tokens: list[str], out: TextIO) -> int:
    if tokens in (["--version"], ["-V"]):
        from importlib.metadata import version

        out.write(f"videochat-r1 {version('videochat-r1')}\n")
        return 0
    asks_help = "--help" in tokens or "-h" in tokens
    words = _command(tokens)
    if words is None:
        out.write(_overview(tokens[0] if tokens and not tokens[0].startswith("-") else ""))
        return 0 if asks_help or not tokens else 2
    command: Command = importlib.import_module(f"videochat_r1.commands.{words.replace(' ', '_')}").COMMAND
    recipe = None
    if command.recipe:
        from videochat_r1.config import Recipe

        recipe = Recipe
    from videochat_r1.commands.options import parse, usage

    if asks_help:
        out.write(usage(words, command, recipe))
        return 0
    options, fields = parse(command.options, tokens[len(words.split()) :], recipe, helped_by=f"videochat-r1 {words} --help")
    return command.run(options, out, fields)


def _command(tokens: Sequence[str]) -> str | None:
    """The command that the tokens start with; None where the overview should be shown. Raises UsageError for one that there is none of."""
    from videochat_r1.spelling import did_you_mean

    words = [token for token in tokens[:2] if not token.startswith("-")]
    for name in COMMANDS:
        if words[: len(name.split())] == name.split():
            return name
    if not tokens or tokens[0] in ("--help", "-h") or (words[:1] == ["data"] and ("--help" in tokens or "-h" in tokens)):
        return None
    if words[:1] == ["data"]:
        said = f"data {words[1]}" if len(words) > 1 else "data"
        raise UsageError(f"There is no command {said!r}.", "Give data check, data convert or data difficulty.")
    raise UsageError(f"There is no command {tokens[0]!r}.", did_you_mean(tokens[0], list(COMMANDS)))


def _overview(word: str) -> str:
    lines = ["usage: videochat-r1 COMMAND [options]", ""]
    width = max(map(len, COMMANDS))
    lines += [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items() if name.startswith(word)]
    lines += ["", "videochat-r1 COMMAND --help lists its options."]
    lines += ["Exit codes: 0 done, 2 usage or recipe, 3 data, 4 environment, 5 interrupted and resumable, 6 numerical stop."]
    return "\n".join(lines) + "\n"


class _Notes(logging.Handler):
    """To stderr as it is at that moment: a live display puts its own in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


@contextlib.contextmanager
def _notes_shown() -> Iterator[None]:
    """The package's own notes go to stderr as plain lines."""
    notes = logging.getLogger("videochat_r1")
    handler = _Notes()
    notes.addHandler(handler)
    try:
        yield
    finally:
        notes.removeHandler(handler)


@contextlib.contextmanager
def _warnings_held(debug: bool) -> Iterator[None]:
    """Warnings of libraries to their own users are not for ours."""
    if debug:
        yield
        return
    from videochat_r1.commands.quiet import PYTREE_LOG, is_no_notice_of_torchao

    log = logging.getLogger(PYTREE_LOG)
    before = list(log.filters)
    log.addFilter(is_no_notice_of_torchao)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.filters[:] = before


if __name__ == "__main__":
    sys.exit(main())
