"""Decoding alone: milliseconds a token of all tails together, ours against the stock `generate`.

    python -m benchmarks.decode                                # 3B geometry, P 3.8k, 1 and 4 prompts of 8 tails
    python -m benchmarks.decode --geometry mini --prompts 8 --tokens 78 --device cpu

Two lengths are timed and the difference divided by the tokens between them, so the prefill is apart. The stock way gets one row a tail,
the prompt in front of it; merged: with the adapter inside the weights, as ours has it; unmerged: as the R1-V style loop has it. Ours is
first held to the plain forward: the log-probabilities as sampled are those that it gives. Joined and apart: layers of one input as one
product, or not; ours takes what it measures to be faster. GB/s: what a step must read at least (weights once, each prompt's keys and
values once, the tails'), over its time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.bench import Budget, Record, among, arguments, begin, ceilings, command, numbers, positive, seconds_of
from benchmarks.models import GEOMETRIES, Supply
from benchmarks.step import Oracle, vars_of
from benchmarks.ways import decode_bytes, generate
from videochat_r1.policy.fused import stock_layers
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.types import Prompt

COLUMNS = {
    "way": lambda row: row["way"],
    "prompts": lambda row: row["prompts"],
    "tails": lambda row: row["tails"],
    "P": lambda row: row["prompt_tokens"],
    "ms a token": lambda row: row["ms_a_token"],
    "least ms": lambda row: row["least_ms_a_token"],
    "prefill s": lambda row: row["prefill_s"],
    "tok/s": lambda row: row["tokens_per_s"],
    "GB/s": lambda row: row["gbs"],
    "of copy %": lambda row: row["share_of_copy"] * 100,
    "peak GiB": lambda row: row.get("peak_gib"),
    "not run": lambda row: row.get("not_run", ""),
}
OURS = {  # how each is run: with CUDA graphs, and with layers of one input as one product (None: as is measured to be faster)
    "ours": (True, None),
    "ours joined": (True, True),
    "ours apart": (True, False),
    "ours without graphs": (False, False),
}
WAYS = (*OURS, "stock merged", "stock unmerged")


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "decode")
    parser.add_argument("--geometry", default="3b", choices=GEOMETRIES)
    parser.add_argument("--prompt-tokens", type=positive, default=None)
    parser.add_argument("--prompts", type=numbers, default=[1, 4])
    parser.add_argument("--group", type=positive, default=8)
    parser.add_argument(
        "--tokens", type=positive, default=None, help="of the longer of the two runs; default 128, or the geometry's if fewer"
    )
    parser.add_argument("--only", type=among(*WAYS), default=None, help=", ".join(WAYS))
    parser.add_argument("--lora-rank", type=int, default=None)
    parser.add_argument("--runs", type=positive, default=3)
    chosen = parser.parse_args(argv)
    if chosen.tokens == 1:
        parser.error("--tokens: two lengths are compared, so 2 at least")
    device = begin(chosen)
    if chosen.only is None:  # a CPU records no graphs: there is one way of ours
        chosen.only = [way for way in WAYS if device.type == "cuda" or way not in OURS or way == "ours"]
    budget = Budget(chosen.budget_seconds)
    settings = {} if chosen.lora_rank is None else {"lora_rank": chosen.lora_rank}
    supply = Supply(chosen.geometry, device, seed=chosen.seed, prompt_tokens=chosen.prompt_tokens, **settings)
    record = Record("decode", chosen, device, chosen.geometry, vars_of(chosen))
    record.note(ceilings=ceilings(device, supply.policy.dtype))
    record.note(checked=checked(supply))
    long = chosen.tokens or min(128, supply.completion_tokens)
    short = max(1, long // 8)
    for count in chosen.prompts:
        prompts = supply.prompts(count)
        for name in chosen.only:
            row: dict[str, Any] = {"way": name, "prompts": count, "tails": count * chosen.group, "prompt_tokens": len(prompts[0])}
            if not budget.room(name, count):
                record.add(row | {"not_run": "no time left in the budget"})
                continue
            try:
                with budget.spending(name, count):
                    run = ours(supply, prompts, chosen.group, *OURS[name]) if name in OURS else stock(supply, prompts, chosen.group)
                    if name == "stock merged":
                        with supply.policy.merged():
                            row |= timed(run, (short, long), supply, chosen.runs, budget)
                    else:
                        row |= timed(run, (short, long), supply, chosen.runs, budget)
                record.add(row | rates(supply, row, prompts, chosen.group, (short, long), record.content["ceilings"]))
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                record.add(row | {"not_run": "out of memory"})
    record.end(COLUMNS)
    return record


Run = Callable[[int], None]


def ours(supply: Supply, prompts: list[Prompt], group: int, graphs: bool, joins: bool | None) -> Run:
    """The native engine, with CUDA graphs or without, with layers of one input joined or apart."""
    engine = NativeEngine(supply.policy, joins=joins)
    with torch.no_grad():
        features = supply.policy.vision(prompts)

    def run(tokens: int) -> None:
        sampling = Sampling(max_tokens=tokens, batch_prompts=len(prompts), cuda_graphs=graphs)
        engine.complete(prompts, per_prompt=group, sampling=sampling, seeds=list(range(len(prompts))), features=features)

    return run


def stock(supply: Supply, prompts: list[Prompt], group: int) -> Run:
    rows = [prompt for prompt in prompts for _ in range(group)]

    def run(tokens: int) -> None:
        with stock_layers(supply.policy):
            generate(supply.policy, rows, tokens)

    return run


def checked(supply: Supply) -> dict[str, float]:
    """Hold the log-probabilities of what the engine samples, layers apart and joined, to the plain forward's."""
    prompts, policy = supply.prompts(2), supply.policy
    sampling = Sampling(max_tokens=min(16, supply.completion_tokens), batch_prompts=2)
    found: dict[str, float] = {}
    for name in ("ours apart", "ours joined") if supply.device.type == "cuda" else ("ours",):
        engine = NativeEngine(policy, joins=OURS[name][1])
        completions = engine.complete(prompts, per_prompt=2, sampling=sampling, seeds=[1, 2])
        held = Oracle(policy, prompts, completions).hold(torch.cat([each.logprobs_T for group in completions for each in group]))
        found |= {f"{name}: {what}": value for what, value in held.items()} if supply.device.type == "cuda" else held
    return found


def timed(run: Run, lengths: tuple[int, int], supply: Supply, runs: int, budget: Budget) -> dict[str, Any]:
    """Seconds of the short and the long run, and what a token between them costs."""
    short, long = lengths
    if supply.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    brief = seconds_of(lambda: run(short), supply.device, runs=runs, until=budget.end)
    whole = seconds_of(lambda: run(long), supply.device, runs=runs, until=budget.end)
    step_s = (statistics.median(whole) - statistics.median(brief)) / (long - short)
    found: dict[str, Any] = {
        "ms_a_token": step_s * 1e3,
        "least_ms_a_token": (min(whole) - min(brief)) / (long - short) * 1e3,
        "prefill_s": statistics.median(brief) - short * step_s,
        "long_s": statistics.median(whole),
        "runs": len(whole),
    }
    if supply.device.type == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def rates(
    supply: Supply, row: dict[str, Any], prompts: Sequence[Prompt], group: int, lengths: tuple[int, int], at_best: dict[str, Any]
) -> dict[str, Any]:
    short, long = lengths
    width = 4 if supply.policy.dtype == torch.float32 else 2
    places = [len(prompt) for prompt in prompts]
    read = decode_bytes(supply.sizes, places, group, long, width) - decode_bytes(supply.sizes, places, group, short, width)
    seconds = row["ms_a_token"] / 1e3 * (long - short)
    gbs = read / seconds / 1e9
    return {"tokens_per_s": row["tails"] / row["ms_a_token"] * 1e3, "gbs": gbs, "share_of_copy": gbs / at_best["copy_gbs"]}


if __name__ == "__main__":
    main()
