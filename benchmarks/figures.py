"""The tables of docs/performance.md and the figure of a step by phases, from the JSON files in benchmarks/results: one source for both.

    python -m benchmarks.figures                        # writes the tables between their marks, and docs/images/step_phases*.png
    python -m benchmarks.figures --check                # exits 1 where the page is not what the files give

A table stands between `<!-- NAME -->` and `<!-- end -->`, NAME a file of benchmarks/results without its ending. A mark without a file is
left as it is: that benchmark has not been run."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import bench, decode, logprobs, memory, scaling, step, trl_images, video, vision
from benchmarks.ways import PHASES

ROOT = Path(__file__).parents[1]
PAGE, RESULTS, PICTURE = ROOT / "docs/performance.md", ROOT / "benchmarks/results", ROOT / "docs/images/step_phases.png"
GPU = "_h100"  # in the name of the picture of steps on a GPU
COLUMNS: dict[str, Mapping[str, Callable[[bench.Row], object]]] = {
    "step": step.COLUMNS,
    "trl_images": trl_images.COLUMNS,
    "vision": vision.COLUMNS,
    "decode": decode.COLUMNS,
    "logprobs": logprobs.COLUMNS,
    "video": video.COLUMNS,
    "scaling": scaling.COLUMNS,
    "memory": memory.COLUMNS,
}
MARK = re.compile(r"(<!-- ([\w.-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    chosen = parser.parse_args(argv)
    if not chosen.results.is_dir():
        parser.error(f"--results: there is no folder {chosen.results}")
    if not chosen.page.is_file():
        parser.error(f"--page: there is no file {chosen.page}")
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(chosen.results.glob("*.json"))}
    found = {name: content for name, content in found.items() if content["rows"]}
    before = chosen.page.read_text(encoding="utf-8")
    after = filled(before, found)
    if chosen.check:
        print(
            "the page is what the files give"
            if before == after
            else f"{chosen.page} is not what the files give: run python -m benchmarks.figures"
        )
        return int(before != after)
    chosen.page.write_text(after, encoding="utf-8")
    steps = [content for content in found.values() if content["benchmark"] == "step"]
    for ending, on_cpu in (("", True), (GPU, False)):
        draw_phases([one for one in steps if bool(one.get("threads")) == on_cpu], chosen.picture.with_stem(chosen.picture.stem + ending))
    return 0


def filled(page: str, found: Mapping[str, dict[str, Any]]) -> str:
    """The page with every table whose file is there."""

    def fill(mark: re.Match[str]) -> str:
        content = found.get(mark[2])
        return mark[0] if content is None else f"{mark[1]}{section(content)}\n{mark[4]}"

    return MARK.sub(fill, page)


def section(content: dict[str, Any]) -> str:
    """Command, machine and table of one file; columns that are empty in every row are left out."""
    rows = content["rows"]
    columns = {name: read for name, read in COLUMNS[content["benchmark"]].items() if any(_cell(read, row) for row in rows)}
    lines = [f"`{content['command']}`", "", f"{where(content)}.", "", bench.table(rows, columns)]
    lines += ["", *[f"- {ratio}" for ratio in content.get("ratios", [])]] if content.get("ratios") else []
    if "fits" in content:
        lines += [
            "",
            *[
                f"- {phase} = {scaling.in_words(fit)} (largest miss {fit['largest_miss'] * 100:.0f} %)"
                for phase, fit in content["fits"].items()
            ],
        ]
    return "\n".join(lines)


def where(content: dict[str, Any]) -> str:
    """Card, versions, date and how busy the machine was."""
    names = ("torch", "transformers") if content["benchmark"] != "video" else ("torch", "av")
    versions = ", ".join(f"{name} {content['versions'][name]}" for name in names if name in content["versions"])
    if content["benchmark"] == "memory":  # counted: whoever computed it and beside what
        return f"{content['card']}; {versions}; {content['date']}"
    threads = f", {content['threads']} thread{'s' if content['threads'] > 1 else ''}" if content.get("threads") else ""
    if content.get("clock") == "processor":
        threads += ", seconds of processor time"
    load = f"load average {content['load_average_before'][0]} before and {content['load_average_after'][0]} after"
    at_best = ""
    if "ceilings" in content:
        at_best = f"; ceilings {content['ceilings']['matmul_tflops']:.3g} TFLOP/s and {content['ceilings']['copy_gbs']:.4g} GB/s"
    return f"{content['card']}{threads}; {versions}; {content['date']}; {load}{at_best}"


def _cell(read: Callable[[bench.Row], object], row: bench.Row) -> object:
    try:
        value = read(row)
    except (KeyError, TypeError):
        return None
    return None if value == "" else value is not None


def draw_phases(steps: Sequence[dict[str, Any]], path: Path) -> None:
    """A bar a way, seconds by phase on top of each other, a panel for each file and size."""
    from matplotlib.figure import Figure

    panels: dict[str, list[bench.Row]] = {}
    for content in steps:
        threads = content.get("threads")
        clock = f"{threads} thread{'s' if threads > 1 else ''}, {CLOCKS[content['clock']]}" if threads else ""
        for row in content["rows"]:
            if "seconds" in row:
                prompts = f"{row['prompts']} prompt{'s' if row['prompts'] > 1 else ''}"
                size = f"{row['geometry']}, {prompts} of {row['prompt_tokens']:,} tokens, C {row['completion_tokens']:,}"
                panels.setdefault("\n".join(line for line in (size, content["card"], clock) if line), []).append(row)
    panels = {title: rows for title, rows in panels.items() if len(rows) > 1}  # a way alone is compared with nothing
    if not panels:
        return
    figure = Figure(figsize=(4.2 * len(panels), 4.1), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        places = range(len(rows))
        bottoms = [0.0] * len(rows)
        for number, phase in enumerate(PHASES):
            taken = [row["seconds"].get(phase, 0.0) for row in rows]
            axis.bar(places, taken, bottom=bottoms, label=phase, color=f"C{number}")
            bottoms = [low + high for low, high in zip(bottoms, taken, strict=True)]
        totals = [row["step_s"] for row in rows]  # medians of whole steps, not the sum of the phases' medians
        for place, top, total in zip(places, bottoms, totals, strict=True):
            axis.text(place, top, f"{total:.2f} s\n{total / min(totals):.1f}x", ha="center", va="bottom", fontsize=8)
        axis.set_xticks(list(places), [TITLES[row["way"]] + times(row) for row in rows], fontsize=8)
        axis.set_ylim(0, 1.25 * max(bottoms))
        axis.set_title(title, fontsize=9)
    axes[0].set_ylabel("seconds a step")
    shown = {row["way"] for rows in panels.values() for row in rows}
    figure.supxlabel("\n".join(words for way, words in WAYS.items() if way in shown), fontsize=7.5, x=0.01, ha="left")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def times(row: Mapping[str, Any]) -> str:
    """Of a way that takes prompts one by one: how many times the seconds of the one that was timed."""
    timed = row.get("timed_prompts", row["prompts"])
    return "" if timed == row["prompts"] else f"\n{row['prompts'] // timed} x one timed"


TITLES = {"D": "ours\n(D)", "C": "sharing off\n(C)", "A": "R1-V style\n(A)"}
WAYS = {
    "D": "D, ours: a group of completions reads its prompt and video once",
    "C": "C, sharing off: the same code, prompt and video run for every completion",
    "A": "A, R1-V style: the loop of the released trainer as described, with the stock generate",
}
CLOCKS = {"wall": "time by the clock on the wall", "processor": "processor time"}

if __name__ == "__main__":
    raise SystemExit(main())
