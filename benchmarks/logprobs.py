"""Log-probabilities of groups' completions alone, forward and forward + backward: every attention backend of the shared prompt, the same
code with one row a completion, and the plain forward through the stock model.

    python -m benchmarks.logprobs                                      # 3B geometry, one prompt of 3.8k, 8 completions of 256
    python -m benchmarks.logprobs --geometry mini --prompts 8 --completion-tokens 78 --uneven --lora-rank 0 --device cpu

Vision features are made beforehand for the shared ways; the others run the tower on every copy, as they must. Every way is first held
to the plain forward. Medians and least of the runs; `kept` is what the graph keeps for its backward pass, weights apart (CPU), `peak` the
allocator's peak above what was there before (GPU)."""

from __future__ import annotations

import statistics
import typing
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.bench import Budget, Clock, GraphBytes, Record, among, arguments, begin, ceilings, command, positive, seconds_of, spread
from benchmarks.models import GEOMETRIES, LARGE, Supply
from benchmarks.step import Oracle, vars_of
from benchmarks.ways import forward_flops
from videochat_r1.policy.attention import Backend
from videochat_r1.policy.fused import stock_layers
from videochat_r1.policy.logprobs import logprobs
from videochat_r1.policy.shared_prefix import shared_logprobs
from videochat_r1.types import Completion, Prompt

COLUMNS = {
    "way": lambda row: row["way"],
    "forward ms": lambda row: row["forward"]["median_s"] * 1e3,
    "forward + backward ms": lambda row: row["backward"]["median_s"] * 1e3,
    "least ms": lambda row: row["backward"]["min_s"] * 1e3,
    "kept MiB": lambda row: row["kept_mib"],
    "peak MiB": lambda row: row["peak_mib"],
    "TFLOP/s": lambda row: row["tflops"],
    "largest gap": lambda row: row["max_gap"],
    "not run": lambda row: row.get("not_run", ""),
}
Way = Callable[[bool], None]

ROWS, PLAIN = "one row a completion", "plain"
WAYS = (*typing.get_args(Backend), ROWS, PLAIN)


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "logprobs")
    parser.add_argument("--geometry", default="3b", choices=GEOMETRIES)
    parser.add_argument("--prompt-tokens", type=positive, default=None)
    parser.add_argument("--completion-tokens", type=positive, default=None)
    parser.add_argument("--uneven", action="store_true", help="completions of half to one and a half times that, each")
    parser.add_argument("--prompts", type=positive, default=1)
    parser.add_argument("--group", type=positive, default=8)
    parser.add_argument("--lora-rank", type=int, default=None, help="0 trains the language model itself")
    parser.add_argument("--checkpointing", choices=["on", "off"], default=None, help="default on for the released geometries")
    parser.add_argument("--token-budget", type=positive, default=16384, help="of a pass with one row a completion")
    parser.add_argument("--only", type=among(*WAYS), default=None, help=", ".join(WAYS))
    parser.add_argument("--runs", type=positive, default=5)
    chosen = parser.parse_args(argv)
    device = begin(chosen)
    budget = Budget(chosen.budget_seconds)
    chosen.checkpointing = chosen.checkpointing or ("on" if chosen.geometry in LARGE else "off")
    settings: dict[str, Any] = {"gradient_checkpointing": chosen.checkpointing == "on"}
    settings |= {} if chosen.lora_rank is None else {"lora_rank": chosen.lora_rank}
    supply = Supply(chosen.geometry, device, seed=chosen.seed, prompt_tokens=chosen.prompt_tokens, **settings)
    record = Record("logprobs", chosen, device, chosen.geometry, vars_of(chosen))
    record.note(ceilings=ceilings(device, supply.policy.dtype))
    prompts = supply.prompts(chosen.prompts)
    completions = random_completions(
        prompts, chosen.group, chosen.completion_tokens or supply.completion_tokens, chosen.uneven, chosen.seed
    )
    lengths = [[len(each) for each in group] for group in completions]
    record.note(prompt_tokens=[len(prompt) for prompt in prompts], completion_tokens=lengths)
    flops = forward_flops(supply.sizes, [len(prompt) for prompt in prompts], lengths)
    oracle = Oracle(supply.policy, prompts, completions)
    for name, scored in ways(supply, prompts, completions, chosen.token_budget).items():
        if chosen.only and name not in chosen.only:
            continue
        if not budget.room("way", 1.0):
            record.add({"way": name, "not_run": "no time left in the budget"})
            continue
        with budget.spending("way", 1.0):
            try:
                record.add({"way": name, **measured(supply, scored, oracle, chosen.runs, budget, flops)})
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                record.add({"way": name, "not_run": "out of memory"})
            except AssertionError as fault:  # not what the plain forward gives: nothing of it is worth timing
                record.add({"way": name, "not_run": str(fault)})
    record.end(COLUMNS)
    return record


def random_completions(prompts: Sequence[Prompt], group: int, tokens: int, uneven: bool, seed: int) -> list[list[Completion]]:
    """So many completions of each prompt, of ordinary tokens that occur in it."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for prompt in prompts:
        words = prompt.ids_P[prompt.ids_P < prompt.ids_P.max() - 20]
        own = []
        for _ in range(group):
            length = int(torch.randint(max(1, tokens // 2), tokens + tokens // 2 + 1, (), generator=draw)) if uneven else tokens
            ids_T = words[torch.randint(0, len(words), (length,), generator=draw)]
            own.append(Completion(ids_T=ids_T, logprobs_T=torch.zeros(length), text="", stop="length"))
        made.append(own)
    return made


def ways(
    supply: Supply, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], token_budget: int
) -> dict[str, Callable[[Callable[[list[Tensor]], None]], None]]:
    """Each way by name: it gives every pass's log-probabilities to a function, which may go backward from them."""
    policy = supply.policy
    with torch.no_grad():
        features = [policy.vision([prompt])[0] for prompt in prompts]

    def shared(backend: Backend) -> Callable[[Callable[[list[Tensor]], None]], None]:
        def run(take: Callable[[list[Tensor]], None]) -> None:
            scored = shared_logprobs(policy, prompts, completions, features, backend=backend)
            take([score for one in scored for score in one.logprobs])

        return run

    def rows(take: Callable[[list[Tensor]], None]) -> None:
        pairs = [(prompt, each) for prompt, group in zip(prompts, completions, strict=True) for each in group]
        many = max(1, token_budget // max(len(prompt) + len(each) for prompt, each in pairs))
        for start in range(0, len(pairs), many):
            part = pairs[start : start + many]
            own = [prompt for prompt, _ in part]
            scored = shared_logprobs(policy, own, [[each] for _, each in part], policy.vision(own))
            take([score for one in scored for score in one.logprobs])

    def plain(take: Callable[[list[Tensor]], None]) -> None:
        for prompt, group in zip(prompts, completions, strict=True):
            for each in group:
                with stock_layers(policy):
                    take(logprobs(policy, prompt, [each]).logprobs)

    named = {backend: shared(backend) for backend in typing.get_args(Backend)}
    return {**named, ROWS: rows, PLAIN: plain}


def measured(supply: Supply, way: Any, oracle: Oracle, runs: int, budget: Budget, flops: float) -> dict[str, Any]:
    device = supply.device
    weights = list(supply.policy.parameters().values())
    got: list[Tensor] = []

    def forward() -> None:
        got.clear()
        with torch.no_grad():
            way(got.extend)

    def backward() -> None:
        way(lambda scores: torch.stack([score.sum() for score in scores]).sum().backward())
        for weight in weights:
            weight.grad = None

    forward()
    held = oracle.hold(torch.cat(got))
    got.clear()
    row: dict[str, Any] = {"max_gap": held["max_logprob_gap"], "mean_gap": held["mean_logprob_gap"], **held}
    row["forward"] = spread(seconds_of(forward, device, runs=runs, until=budget.end))
    clock = Clock(device)
    try:
        with clock("backward"):
            backward()
    except NotImplementedError as fault:  # a kernel that this device has forward only
        return row | {"not_run": f"backward: {str(fault).splitlines()[0]}"}
    taken = seconds_of(backward, device, runs=runs, warmups=0, until=budget.end)
    row["backward"] = spread(taken)
    row["tflops"] = (2.0 if supply.policy.adapted else 3.0) * flops / statistics.median(taken) / 1e12
    row["kept_mib"] = graph_bytes(supply, way) / 2**20 if device.type == "cpu" else None
    row["peak_mib"] = clock.added_bytes["backward"] / 2**20 if device.type == "cuda" else None
    return row


def graph_bytes(supply: Supply, way: Any) -> int:
    """The most that the graph of one of the way's passes keeps."""
    constants = [*supply.policy.base.parameters(), *supply.policy.base.buffers()]
    most = 0
    with GraphBytes(constants) as graph:

        def passed(scores: list[Tensor]) -> None:
            nonlocal most
            torch.stack([score.sum() for score in scores]).sum()
            most = max(most, graph.take())

        way(passed)
    return most


if __name__ == "__main__":
    main()
