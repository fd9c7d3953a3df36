"""videochat-r1 ablate: a table of controls and ablations, trained, answered and told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import field_validator

from videochat_r1.commands.display import print_json, say
from videochat_r1.commands.options import MOST_RESAMPLES, Command, Given, Options, argument, option
from videochat_r1.errors import DataError, Interrupted
from videochat_r1.strict_json import finite

if TYPE_CHECKING:
    from videochat_r1.ablation.table import AblationTable

RESULT = "ablation.json"
CURVE = "data_efficiency.png"
DEFAULT_OUT = "runs/ablation"


class Ablate(Options):
    """Run a table of controls and ablations on the built-in world: every cell is trained and answers the same held-out questions, for every
    seed. What is done is kept: the same command goes on where it was stopped. Without TABLE.toml it is the table of the paper's claims."""

    table: str = argument("the table; see recipes/ablations/README.md", "[TABLE.toml]", "")
    out: str = option(DEFAULT_OUT, "where the cells and the tables go", "DIR")
    seeds: tuple[int, ...] = option((0, 1, 2), "train every cell with each of these seeds", "A,B,..")
    only: tuple[str, ...] = option((), "run these cells alone", "NAME,..")
    markdown: str = option("", "only write the page of the results that are in --out to this file, its figure beside it", "FILE")
    resamples: int = option(1000, "bootstrap resamples of the intervals over videos", ge=0, le=MOST_RESAMPLES)
    json_: bool = option(False, "print the whole table as one JSON object")

    @field_validator("seeds")
    @classmethod
    def _none_is_negative(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if any(seed < 0 for seed in seeds):
            raise ValueError("a seed is at least 0")
        return seeds


def run(options: Ablate, out: TextIO, fields: Given) -> int:
    from videochat_r1.ablation.table import DEFAULT_TABLE, read_table

    folder = Path(options.out).resolve()
    if options.markdown:
        return _write_page(folder, Path(options.markdown), options, out)
    table = read_table(options.table or DEFAULT_TABLE)
    found = _run(options, table, folder)
    _write(folder, found, options)
    if options.json_:
        print_json(found, out)
    else:
        out.write(f"{folder / 'ablation.md'}\n")
    return 0


def _run(options: Ablate, table: AblationTable, folder: Path) -> dict[str, Any]:
    from videochat_r1.commands.quiet import quiet_libraries
    from videochat_r1.runs import ended_by_signals

    cells = table.chosen(options.only)
    quiet_libraries()
    from videochat_r1.ablation.cells import Runner
    from videochat_r1.ablation.summary import summary

    with ended_by_signals():
        try:
            scenes, base, trained = Runner(table, folder, say).run(cells, options.seeds)
            return summary(table, scenes, base, trained, resamples=options.resamples)
        except KeyboardInterrupt:
            raise Interrupted("Stopped; the cells that are done stay.", "The same command goes on.") from None


def _write(folder: Path, found: dict[str, Any], options: Ablate) -> None:
    from videochat_r1.ablation.page import draw_curve, markdown
    from videochat_r1.grpo.log import write_whole

    write_whole(folder / RESULT, json.dumps(finite(found), indent=1, allow_nan=False).encode())
    drawn = draw_curve(folder / CURVE, found)
    page = markdown(found, figure=CURVE if drawn else "", command=_command(options))
    write_whole(folder / "ablation.md", page.encode())
    say(f"Written to {folder}: {RESULT}, ablation.md{f', {CURVE}' if drawn else ''}.")


def _write_page(folder: Path, page: Path, options: Ablate, out: TextIO) -> int:
    """The page of results that are there already. Raises DataError where there are none."""
    from videochat_r1.ablation.page import draw_curve, markdown
    from videochat_r1.grpo.log import write_whole

    try:
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        mend = "Run the table first: the same command without --markdown."
        raise DataError(f"There are no results in {folder}.", mend) from None
    page.parent.mkdir(parents=True, exist_ok=True)
    figure = page.parent / "images" / CURVE if (page.parent / "images").is_dir() else page.parent / CURVE
    drawn = draw_curve(figure, found)
    name = os.path.relpath(figure, page.parent) if drawn else ""
    write_whole(page, markdown(found, figure=name, command=_command(options)).encode())
    out.write(f"{page}\n")
    return 0


def _command(options: Ablate) -> str:
    """The command that makes the page, for a reader: folders of the machine that it was made on are no part of it."""
    table = os.path.basename(options.table) if os.path.isabs(options.table) else options.table
    parts = ["videochat-r1 ablate", table, f"--out {DEFAULT_OUT if os.path.isabs(options.out) else options.out}"]
    if options.seeds != (0, 1, 2):
        parts.append(f"--seeds {','.join(map(str, options.seeds))}")
    if options.only:
        parts.append(f"--only {','.join(options.only)}")
    return " ".join(part for part in parts if part)


COMMAND = Command(Ablate, run)
