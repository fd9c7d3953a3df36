"""videochat-r1 demo: the built-in world and model, trained, evaluated and reported."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import TextIO

from videochat_r1.commands.options import Command, Given, Options, option, seed_option


class Demo(Options):
    """A small video model learns to find and to follow by reward alone: it is trained, evaluated before and after on held-out scenes, and
    a report is written. No GPU and no download of weights; minutes on two cores. Run again in the same folder, it goes on where it was
    stopped; one that was finished is evaluated and reported again."""

    out: str = option("runs/demo", "where the run and its report go", "DIR")
    seed: int = seed_option("of the scenes, the samples' order and every completion")


def run(options: Demo, out: TextIO, fields: Given) -> int:
    from videochat_r1.commands.quiet import quiet_libraries

    quiet_libraries()
    with contextlib.redirect_stdout(out):  # what it prints is what was asked for
        importlib.import_module("videochat_r1.demo").run_demo(Path(options.out), options.seed)
    return 0


COMMAND = Command(Demo, run)
