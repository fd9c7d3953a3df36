"""How each phase of our step grows with G, C, P and the number of prompts, with a least-squares fit of what the arithmetic says it should.

    python -m benchmarks.scaling                         # 3B geometry around P 3.8k, C 256, G 8, one prompt
    python -m benchmarks.scaling --geometry mini --device cpu

One size is changed at a time, the others stay. The fit of each phase is over all points at once, no coefficient below zero:

    vision      a + b n V
    rollout     a + b n P + c C + d n G C + e n G C (P + C / 2)
    reference   a + b n (P + G C) + c n (P^2 / 2 + G C P + G C^2 / 2)
    policy      the same
    optimizer   a

n prompts, V video tokens a prompt, P prompt tokens, G completions of C tokens. Writes a PNG beside the JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench import Budget, Clock, Record, arguments, begin, ceilings, command, medians, numbers, positive
from benchmarks.models import GEOMETRIES, NAMES, Supply, video_tokens
from benchmarks.step import vars_of
from benchmarks.ways import PHASES, Settings, Shared

Terms = Mapping[str, Callable[["Size"], float]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a step was made of."""

    prompts: int
    video: float
    prompt: float
    group: int
    tokens: float


TRAINING: Terms = {
    "1": lambda s: 1.0,
    "n(P+GC)": lambda s: s.prompts * (s.prompt + s.group * s.tokens),
    "n(P²/2+GCP+GC²/2)": lambda s: s.prompts * (s.prompt**2 / 2 + s.group * s.tokens * (s.prompt + s.tokens / 2)),
}
FORMULAS: dict[str, Terms] = {
    "vision": {"1": lambda s: 1.0, "nV": lambda s: s.prompts * s.video},
    "rollout": {
        "1": lambda s: 1.0,
        "nP": lambda s: s.prompts * s.prompt,
        "C": lambda s: s.tokens,
        "nGC": lambda s: s.prompts * s.group * s.tokens,
        "nGC(P+C/2)": lambda s: s.prompts * s.group * s.tokens * (s.prompt + s.tokens / 2),
    },
    "reference": TRAINING,
    "policy": TRAINING,
    "optimizer": {"1": lambda s: 1.0},
}
COLUMNS = {
    "changed": lambda row: row["changed"],
    "prompts": lambda row: row["prompts"],
    "P": lambda row: row["prompt_tokens"],
    "G": lambda row: row["group"],
    "C": lambda row: row["completion_tokens"],
    **{f"{phase} s": (lambda row, phase=phase: row["seconds"].get(phase)) for phase in PHASES},
    "step s": lambda row: sum(row["seconds"].values()),
    "not run": lambda row: row.get("not_run", ""),
}


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "scaling")
    parser.add_argument("--geometry", default="3b", choices=NAMES)
    parser.add_argument("--groups", type=numbers, default=[2, 4, 8, 16])
    parser.add_argument(
        "--completion-tokens", type=numbers, default=None, help="default a quarter, a half, one and two times the geometry's"
    )
    parser.add_argument("--prompt-tokens", type=numbers, default=None, help="default the same of the geometry's; not for small")
    parser.add_argument("--prompts", type=numbers, default=[1, 2, 4])
    parser.add_argument("--group", type=positive, default=8)
    parser.add_argument("--runs", type=positive, default=2)
    parser.add_argument("--kl-weight", type=float, default=0.04)
    parser.add_argument("--token-budget", type=positive, default=16384)
    parser.add_argument("--checkpointing", choices=["on", "off"], default="on")
    chosen = parser.parse_args(argv)
    device = begin(chosen)
    budget = Budget(chosen.budget_seconds)
    record = Record("scaling", chosen, device, chosen.geometry, vars_of(chosen))
    supply = Supply(chosen.geometry, device, seed=chosen.seed, gradient_checkpointing=chosen.checkpointing == "on")
    record.note(ceilings=ceilings(device, supply.policy.dtype))
    for changed, sizes in plan_of(chosen, supply).items():
        for size in sizes:
            record.add({"changed": changed, **one_point(supply, size, chosen, budget)})
    fits = {phase: fit(phase, record.content["rows"]) for phase in PHASES}
    record.note(fits={phase: found for phase, found in fits.items() if found})
    drawn = draw(
        record.content["rows"], record.content["fits"], record.path.with_suffix(".png"), f"{chosen.geometry}, {record.content['card']}"
    )
    record.end(COLUMNS)
    for phase, found in record.content["fits"].items():
        print(f"{phase} = {in_words(found)}   (largest miss {found['largest_miss'] * 100:.0f} %)")
    print(f"figure: {drawn}")
    return record


def plan_of(chosen: Any, supply: Supply) -> dict[str, list[dict[str, int]]]:
    """What is measured: one size changed at a time, the centre first."""
    tokens = supply.completion_tokens
    prompt = 0 if supply.name == "small" else GEOMETRIES[supply.name].prompt_tokens
    centre = {"prompts": 1, "prompt": prompt, "group": chosen.group, "tokens": tokens}
    lengths = chosen.completion_tokens or [max(2, tokens * part // 4) for part in (1, 2, 4, 8)]
    prompt_lengths = [] if supply.name == "small" else chosen.prompt_tokens or [prompt * part // 4 for part in (1, 2, 4, 8)]
    return {
        "centre": [centre],
        "G": [{**centre, "group": group} for group in chosen.groups if group != chosen.group],
        "C": [{**centre, "tokens": length} for length in lengths if length != tokens],
        "P": [{**centre, "prompt": length} for length in prompt_lengths if length != prompt],
        "prompts": [{**centre, "prompts": count} for count in chosen.prompts if count != 1],
    }


def one_point(supply: Supply, size: dict[str, int], chosen: Any, budget: Budget) -> dict[str, Any]:
    """Median seconds by phase of a step of that size, after a warm-up."""
    row: dict[str, Any] = {"prompts": size["prompts"], "group": size["group"], "completion_tokens": size["tokens"]}
    work = float(size["prompts"] * (size["prompt"] + size["group"] * size["tokens"]) + 50 * size["tokens"])
    if not budget.room("step", work):
        return row | {"not_run": "no time left in the budget"}
    supply.prompt_tokens = size["prompt"]
    settings = Settings(group=size["group"], tokens=size["tokens"], kl_weight=chosen.kl_weight, token_budget=chosen.token_budget)
    way = Shared(supply.policy, settings)
    clocks: list[Clock] = []
    try:
        with budget.spending("step", work):
            way.step(supply.prompts(size["prompts"]), Clock(supply.device))
            while len(clocks) < chosen.runs and (not clocks or budget.left() > 2 * sum(clocks[-1].seconds.values())):
                prompts = supply.prompts(size["prompts"])
                clocks.append(Clock(supply.device))
                sampled = way.step(prompts, clocks[-1])
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return row | {"not_run": "out of memory"}
    drawn = [len(each) for group in sampled for each in group]
    return row | {
        "prompt_tokens": sum(map(len, prompts)) / len(prompts),
        "video_tokens": sum(map(video_tokens, prompts)) / len(prompts),
        "mean_completion_tokens": sum(drawn) / len(drawn),
        "seconds": medians(clocks),
        "runs": len(clocks),
    }


# -- the fit --------------------------------------------------------------------------------------------------------------------------


def size_of(row: dict[str, Any]) -> Size:
    return Size(
        prompts=row["prompts"],
        video=row["video_tokens"],
        prompt=row["prompt_tokens"],
        group=row["group"],
        tokens=row["mean_completion_tokens"],
    )


def fit(phase: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coefficients of the phase's formula that miss the measured seconds least, relatively, none of them below zero; empty where nothing
    was measured. Terms whose best coefficient is negative are dropped one by one, the most negative first, and the rest fitted again."""
    measured = [(size_of(row), row["seconds"][phase]) for row in rows if phase in row.get("seconds", {})]
    if not measured:
        return {}
    terms = dict(FORMULAS[phase])
    seconds = np.array([taken for _, taken in measured])
    while True:
        design = np.array([[term(size) for term in terms.values()] for size, _ in measured])
        scale = design.max(0)
        solved, *_ = np.linalg.lstsq(design / scale / seconds[:, None], np.ones_like(seconds), rcond=None)
        found = solved / scale
        if len(terms) == 1 or found.min() >= 0:
            break
        del terms[list(terms)[int((found * scale).argmin())]]
    misses = np.abs(design @ found / seconds - 1)
    return {"coefficients": dict(zip(terms, found.tolist(), strict=True)), "largest_miss": float(misses.max()), "points": len(measured)}


def predicted(phase: str, found: dict[str, Any], size: Size) -> float:
    return sum(FORMULAS[phase][name](size) * coefficient for name, coefficient in found["coefficients"].items())


def in_words(found: dict[str, Any]) -> str:
    """A formula with its coefficients, in milliseconds."""
    parts = [f"{value * 1e3:.3g}" + ("" if name == "1" else f"·{name}") for name, value in found["coefficients"].items() if value > 0]
    return (" + ".join(parts) or "0") + " ms"


def draw(rows: Sequence[dict[str, Any]], fits: dict[str, dict[str, Any]], path: Path, title: str) -> Path:
    """A panel for each changed size: measured points, and the fitted formula as a line."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    done = [row for row in rows if "seconds" in row]
    panels = [
        (name, key) for name, key in (("G", "group"), ("C", "mean_completion_tokens"), ("P", "prompt_tokens"), ("prompts", "prompts"))
    ]
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels))
    for axis, (name, key) in zip(axes, panels, strict=True):
        points = sorted((row for row in done if row["changed"] in ("centre", name)), key=lambda row: row[key])
        axis.set_xlabel({"G": "completions, G", "C": "tokens of one, C", "P": "prompt tokens, P", "prompts": "prompts, n"}[name])
        for number, (phase, found) in enumerate(fits.items()):
            colour = f"C{number}"
            own = [row for row in points if phase in row["seconds"]]
            axis.plot([row[key] for row in own], [row["seconds"][phase] for row in own], "o", color=colour, markersize=4)
            label = f"{phase} = {in_words(found)}" if axis is axes[0] else None
            axis.plot([row[key] for row in own], [predicted(phase, found, size_of(row)) for row in own], "-", color=colour, label=label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds a step")
    figure.legend(loc="outside lower center", ncols=1, fontsize=7, frameon=False)
    figure.suptitle(f"How a step grows: {title}", fontsize=10)
    figure.savefig(path, dpi=110)
    return path


if __name__ == "__main__":
    main()
