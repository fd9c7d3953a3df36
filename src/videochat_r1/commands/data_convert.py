"""videochat-r1 data convert: any data set -> canonical JSONL."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from videochat_r1.commands.display import print_json, say
from videochat_r1.commands.options import Command, Given, option
from videochat_r1.commands.sources import SourceOptions


class Convert(SourceOptions):
    """Write a data set as canonical JSONL, repaired as its split and --on-defect say; what was found and done is told."""

    out: str = option(..., "the JSONL file to write", "FILE", min_length=1)
    json_: bool = option(False, "print what was found and done as one JSON object")


def run(options: Convert, out: TextIO, fields: Given) -> int:
    from videochat_r1.datasets.base.convert import convert

    report = convert(options.source(), Path(options.out))
    if options.json_:
        print_json({"out": options.out, **report.as_dict()}, out)
    else:
        out.write("\n".join(report.lines()) + "\n")
        say(f"Written to {options.out}.")
    return 0


COMMAND = Command(Convert, run)
