"""videochat-r1 judge check: does the judge of a recipe answer, and is it right where the answer is known?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TextIO

from videochat_r1.commands.display import print_json
from videochat_r1.commands.judging import judge_config
from videochat_r1.commands.options import Command, Given, Options, argument, option
from videochat_r1.errors import UsageError


class JudgeCheck(Options):
    """Ask a judge descriptions and statements whose labels are known, some with orders in them that must not be followed. Nothing of yours
    is sent. The exit code is 4 where it does not answer, and 3 where more than one label in ten is wrong."""

    judge: str = argument("a TOML file with a [judge] table, such as a recipe", "FILE")
    number: int = option(12, "calls to make", ge=1, le=1000)
    json_: bool = option(False, "print one JSON object")


def run(options: JudgeCheck, out: TextIO, fields: Given) -> int:
    from videochat_r1.errors import EnvironmentFault
    from videochat_r1.judge.endpoint import EndpointJudge

    config = judge_config(options.judge)
    if config.kind == "offline":
        raise UsageError(f"{options.judge} names the offline judge, which has nothing to check.", 'Set judge.kind = "openai".')
    judge = EndpointJudge(config, Path(config.cache) if config.cache else None)
    began = time.monotonic()
    found = judge.watch(options.number)
    judge.close()
    seconds = time.monotonic() - began
    if not found["canaries"]:
        reasons = ", ".join(name.removeprefix("failed/") for name in found if name.startswith("failed/"))
        raise EnvironmentFault(f"{judge.name} answered none of {options.number} calls: {reasons}.", "docs/judge.md says what each means.")
    errors = found["canaries_wrong"] / found["canaries"]
    if options.json_:
        print_json({"judge": judge.name, "seconds": seconds, **found}, out)
    else:
        out.write(f"{judge.name}: {found['canaries']:.0f} labels in {seconds:.1f} s, {errors:.1%} wrong, {found['tokens']:,.0f} tokens.\n")
    return 3 if errors > 0.1 else 0


COMMAND = Command(JudgeCheck, run)
