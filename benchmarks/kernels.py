"""Where the time of our step goes: the kernels of each phase by name, their number and their milliseconds (on a CPU: torch's operations).

    python -m benchmarks.kernels                                # 3B geometry, 4 prompts, the 12 dearest of each phase
    python -m benchmarks.kernels --geometry toy --device cpu --prompts 1
    python -m benchmarks.kernels --only decode --chunks 128,256,512,1024

`busy` is the kernels' time over that of the same phase without the profiler: what is missing to 100 % is a device that waits for its host
(kernels that run side by side can bring it above). Phases are those of the step, and `decode`: a rollout of few tokens, its prefill
included. --chunks times the decode attention of one layer alone, recorded in a CUDA graph, its prompts cut into chunks of so many keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.bench import Record, among, arguments, begin, ceilings, command, numbers, positive, seconds_of
from benchmarks.models import GEOMETRIES, NAMES, Supply
from benchmarks.step import checked, vars_of
from benchmarks.ways import Settings, Shared, lesson_of
from videochat_r1.rollout.base import Sampling
from videochat_r1.types import Completion, Prompt

PHASES = ("vision", "decode", "reference", "policy")
COLUMNS = {
    "phase": lambda row: row["phase"],
    "kernel": lambda row: row["kernel"][:60],
    "launches": lambda row: row["launches"],
    "ms": lambda row: row["ms"],
    "us each": lambda row: row["ms"] / row["launches"] * 1e3,
    "of the phase %": lambda row: row["share"] * 100,
}
REPEATS = 20  # of one layer's attention in a graph: one alone is too short to time


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "kernels")
    parser.add_argument("--geometry", default="3b", choices=NAMES)
    parser.add_argument("--prompt-tokens", type=positive, default=None)
    parser.add_argument("--prompts", type=positive, default=4)
    parser.add_argument("--group", type=positive, default=8)
    parser.add_argument("--tokens", type=positive, default=None, help="of a completion; default the geometry's")
    parser.add_argument("--decode-tokens", type=positive, default=64, help="of the rollout that is looked at, at most")
    parser.add_argument("--token-budget", type=positive, default=32768)
    parser.add_argument("--only", type=among(*PHASES), default=list(PHASES), help=", ".join(PHASES))
    parser.add_argument("--top", type=positive, default=12, help="kernels of a phase; what is left is one row")
    parser.add_argument("--chunks", type=numbers, default=[], help="keys of a chunk of the decode attention; needs a GPU")
    chosen = parser.parse_args(argv)
    if chosen.chunks and chosen.geometry not in GEOMETRIES:
        parser.error(f"--chunks: of one of the geometries {', '.join(GEOMETRIES)}")
    device = begin(chosen)
    record = Record("kernels", chosen, device, chosen.geometry, vars_of(chosen))
    if chosen.chunks and device.type != "cuda":
        parser.error("--chunks: the kernel of the decode attention runs on a GPU only")
    supply = Supply(chosen.geometry, device, seed=chosen.seed, prompt_tokens=chosen.prompt_tokens, gradient_checkpointing=True)
    record.note(ceilings=ceilings(device, supply.policy.dtype))
    settings = Settings(group=chosen.group, tokens=chosen.tokens or supply.completion_tokens, token_budget=chosen.token_budget)
    record.note(checked=checked(supply, settings))
    for name, work in phases(supply, settings, chosen.prompts, min(chosen.decode_tokens, settings.tokens)).items():
        if name in chosen.only:
            for row in looked_at(name, work, device, chosen.top):
                record.add(row)
    if chosen.chunks:
        record.note(chunks=[chunk_row(supply, chosen.prompts, chosen.group, keys) for keys in chosen.chunks])
    record.end(COLUMNS)
    for row in record.content.get("chunks", []):
        print(f"decode attention of one layer, chunks of {row['keys']} keys: {row['us']:.1f} us")
    return record


def phases(supply: Supply, settings: Settings, count: int, decode_tokens: int) -> dict[str, Callable[[], object]]:
    """The phases of one step on the same prompts, completions and features, each to be called again and again."""
    way = Shared(supply.policy, settings)
    prompts: list[Prompt] = supply.prompts(count)
    features: Any = supply.policy.vision(prompts)
    completions: list[list[Completion]] = way.sample(prompts, features)
    reference = way.learner.reference_logprobs(prompts, completions, features)
    few = Sampling(max_tokens=decode_tokens, batch_prompts=count)

    def learn() -> None:
        way.learner.gradient(lesson_of(prompts, completions, reference, settings), features)
        way.optimizer.clear()

    return {
        "vision": lambda: supply.policy.vision(prompts),
        "decode": lambda: way.engine.complete(
            prompts, per_prompt=settings.group, sampling=few, seeds=list(range(count)), features=features
        ),
        "reference": lambda: way.learner.reference_logprobs(prompts, completions, features),
        "policy": learn,
    }


def looked_at(phase: str, work: Callable[[], object], device: torch.device, top: int) -> list[dict[str, Any]]:
    """A phase's dearest kernels, the rest of them, and all together beside its seconds without the profiler."""
    (plain_s,) = seconds_of(work, device, runs=1, warmups=2)
    found = kernels_of(work, device)
    total_us = sum(us for us, _ in found.values()) or 1.0
    ranked = sorted(found.items(), key=lambda each: -each[1][0])
    rest = ("the others", (sum(us for _, (us, _) in ranked[top:]), sum(times for _, (_, times) in ranked[top:])))
    rows = [
        {"phase": phase, "kernel": name, "launches": times, "ms": us / 1e3, "share": us / total_us}
        for name, (us, times) in [*ranked[:top], rest]
        if times
    ]
    launches = sum(times for _, times in found.values())
    busy = total_us / 1e6 / plain_s
    name = f"all; the phase takes {plain_s * 1e3:.1f} ms, busy {busy:.0%}"
    return [
        *rows,
        {"phase": phase, "kernel": name, "launches": launches, "ms": total_us / 1e3, "share": 1.0, "phase_s": plain_s, "busy": busy},
    ]


def kernels_of(work: Callable[[], object], device: torch.device) -> dict[str, tuple[float, int]]:
    """Microseconds and launches of each kernel; on a CPU of each operation, without those that it calls."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        work()
        if on_gpu:
            torch.cuda.synchronize()
    taken: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for event in seen.key_averages():
        us = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if us > 0:
            taken[event.key] = (taken[event.key][0] + us, taken[event.key][1] + event.count)
    return dict(taken)


def chunk_row(supply: Supply, prompts: int, group: int, keys: int) -> dict[str, Any]:
    """Microseconds of the decode attention of one layer with chunks of so many keys, half of the tails' slots filled."""
    from videochat_r1.policy.kernels import decode  # imports triton, which only a GPU's torch brings

    text = supply.policy.hf_config.get_text_config()
    heads, kv_heads, slots = text.num_attention_heads, text.num_key_value_heads, supply.completion_tokens
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    device, dtype, tails = supply.device, supply.policy.dtype, prompts * group

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device, dtype=dtype)

    query, key, value = random(tails, heads, head), random(tails, kv_heads, head), random(tails, kv_heads, head)
    prompt_keys, prompt_values = (random(prompts, kv_heads, supply.prompt_tokens, head) for _ in range(2))
    tail_keys, tail_values = (random(tails, kv_heads, slots, head) for _ in range(2))
    lengths = torch.full((prompts,), supply.prompt_tokens, dtype=torch.int32, device=device)
    slot = torch.tensor([slots // 2], device=device)

    def attend() -> None:
        for _ in range(REPEATS):
            decode.attend_step(query, key, value, prompt_keys, prompt_values, lengths, tail_keys, tail_values, slot, head**-0.5)

    with chunks_of(decode, keys):
        attend()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            attend()
        taken = seconds_of(graph.replay, device, runs=10)
    return {"keys": keys, "us": min(taken) / REPEATS * 1e6}


@contextmanager
def chunks_of(module: Any, keys: int) -> Iterator[None]:
    """Inside, the decode attention cuts prompts into chunks of so many keys, however many programs that makes."""
    before = module.CHUNK, module.PROGRAMS
    module.CHUNK, module.PROGRAMS = keys, 1 << 30
    try:
        yield
    finally:
        module.CHUNK, module.PROGRAMS = before


if __name__ == "__main__":
    main()
