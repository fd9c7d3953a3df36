"""A whole GRPO step in three ways: D ours, C ours with sharing off, A the R1-V style loop (ways.py says what each does).

    python -m benchmarks.step                                          # 3B geometry, P 3.8k, C 256, 1 and 4 prompts: D, C, A
    python -m benchmarks.step --geometry 7b --prompt-tokens 8364       # and so on; --only D,C leaves the slow A out
    python -m benchmarks.step --geometry small --device cpu            # the demo's step on the shipped small model

Random weights of the true geometry, fresh random inputs in every step, a LoRA adapter of rank 64 on the language model, frozen tower, KL to
the reference. Before anything is timed, D's and C's log-probabilities are held to the plain forward's and the gradients of all ways to each
other. Medians of whole steps after a warm-up. A takes one prompt at a time, so a batch of n prompts costs it n times one."""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from pydantic import ValidationError

from benchmarks.bench import Budget, Clock, Record, among, arguments, begin, ceilings, command, medians, numbers, positive, say
from benchmarks.models import GEOMETRIES, LARGE, NAMES, Supply, video_tokens
from benchmarks.ways import PHASES, WAYS, Settings, Shared, Stock, decode_bytes, forward_flops, useful_passes
from videochat_r1.errors import UsageError
from videochat_r1.grpo.optimizer import Optimizer
from videochat_r1.policy import cost
from videochat_r1.policy.fused import stock_layers
from videochat_r1.policy.logprobs import logprobs
from videochat_r1.policy.memory import OptimizerName
from videochat_r1.policy.model import Policy
from videochat_r1.policy.shared_prefix import shared_logprobs
from videochat_r1.types import Completion, Prompt

MAX_GAP = {torch.float32: 1e-4, torch.bfloat16: 0.2}  # largest |delta log-prob| of one token against the plain forward
MEAN_GAP = 1e-5  # in float32
CHECKED_TOKENS = 8364  # of the prompt that is checked, at most: the plain forward in float32 takes 29 GiB for one layer's scores at 16k
ROUNDING = 1.25  # in bfloat16: times the plain forward's own mean distance from float32 that ours may have
NORM_GAP = {torch.float32: 1e-4, torch.bfloat16: 0.1}  # of the gradients' norms, relative; A's softmax is taken in bfloat16
GRADIENT_GAP = {torch.float32: 1e-3, torch.bfloat16: 0.5}  # of the norm of their difference: another sign, or groups exchanged, is above 1
COLUMNS = {
    "way": lambda row: row["way"],
    "geometry": lambda row: row["geometry"],
    "P": lambda row: row["prompt_tokens"],
    "C": lambda row: row["completion_tokens"],
    "mean C": lambda row: row["mean_completion_tokens"] if row["mean_completion_tokens"] != row["completion_tokens"] else None,
    "prompts": lambda row: row["prompts"],
    "timed prompts": lambda row: row["timed_prompts"] if row["timed_prompts"] != row["prompts"] else None,
    **{f"{phase} s": (lambda row, phase=phase: row["seconds"].get(phase)) for phase in PHASES},
    "step s": lambda row: row["step_s"],
    "s/prompt": lambda row: row["step_s"] / row["prompts"],
    "peak GiB": lambda row: row["peak_gib"],
    "activations GiB": lambda row: row["activation_gib"],
    "sampled tok/s": lambda row: row["sampled_tokens_per_s"],
    "useful MFU %": lambda row: row["useful_mfu_counted"] * 100,
    "decode GB/s": lambda row: row["decode_gbs"],
    "not run": lambda row: row.get("not_run", ""),
}


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "step")
    parser.add_argument("--geometry", default="3b", choices=NAMES)
    parser.add_argument("--only", type=among(*WAYS), default=["D", "C", "A"], help="which of D, C, A, in this order")
    parser.add_argument("--runs", type=positive, default=3, help="of D and C; A runs once")
    add_step_options(parser)
    chosen = parser.parse_args(argv)
    device = begin(chosen)
    budget = Budget(chosen.budget_seconds)
    record = Record("step", chosen, device, f"{chosen.geometry}-{'x'.join(chosen.only)}", vars_of(chosen))
    for prompt_tokens in chosen.prompt_tokens or [None]:
        supply = supply_of(chosen, device, prompt_tokens)
        if "ceilings" not in record.content:
            record.note(ceilings=ceilings(device, supply.policy.dtype))
        check = checked(supply, settings_of(chosen, (chosen.completion_tokens or [supply.completion_tokens])[0]))
        record.note(checked=[*record.content.get("checked", []), check])
        say(f"checked: {check}")
        for count in chosen.prompts:
            for tokens in chosen.completion_tokens or [supply.completion_tokens]:
                first = supply.given
                for way in chosen.only:
                    supply.given = first  # every way gets the same prompts
                    free(device)
                    record.add(one_row(supply, way, count, tokens, chosen, budget, record))
        del supply
        free(device)
    record.note(ratios=ratios(record.content["rows"]))
    record.end(COLUMNS)
    for line in record.content["ratios"]:
        print(line)
    return record


def add_step_options(parser: argparse.ArgumentParser) -> None:
    """A step's sizes, each a list of its own, and what else it is made of, which `settings_of` and `policy_settings` read."""
    parser.add_argument("--prompt-tokens", type=numbers, default=None, help="comma list; default the geometry's (3756)")
    parser.add_argument("--completion-tokens", type=numbers, default=None, help="comma list; default the geometry's (256)")
    parser.add_argument("--prompts", type=numbers, default=[1, 4], help="prompts a batch, comma list")
    parser.add_argument("--group", type=positive, default=8)
    parser.add_argument("--kl-weight", type=float, default=0.04)
    parser.add_argument("--token-budget", type=positive, default=16384)
    parser.add_argument("--checkpointing", choices=["on", "off"], default="on", help="gradient checkpointing, of all ways alike")
    parser.add_argument(
        "--set",
        action="append",
        type=pair,
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the policy's settings, such as attention=flex",
    )
    parser.add_argument("--lora-rank", type=int, default=None, help="0 trains the language model itself")
    parser.add_argument("--optimizer", choices=get_args(OptimizerName), default="adamw", help="where moments and results are kept")


def pair(text: str) -> tuple[str, str]:
    """FIELD=VALUE."""
    field, equals, value = text.partition("=")
    if not (field and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    return field, value


def free(device: torch.device) -> None:
    """Give back what the last row held: recorded graphs, buffers, optimizer states."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def vars_of(chosen: argparse.Namespace) -> dict[str, Any]:
    return {key: value for key, value in vars(chosen).items() if key != "out"}


def settings_of(chosen: argparse.Namespace, tokens: int) -> Settings:
    return Settings(
        group=chosen.group,
        tokens=tokens,
        kl_weight=chosen.kl_weight,
        token_budget=chosen.token_budget,
        seed=chosen.seed,
        optimizer=chosen.optimizer,
    )


def supply_of(chosen: argparse.Namespace, device: torch.device, prompt_tokens: int | None) -> Supply:
    settings = policy_settings(chosen)
    if settings.get("attention") == "flex" and device.type != "cuda":
        raise UsageError("--set attention=flex has no gradients on a CPU.", "Take it on a GPU.")
    with said_of_settings():
        return Supply(chosen.geometry, device, seed=chosen.seed, prompt_tokens=prompt_tokens, **settings)


def policy_settings(chosen: argparse.Namespace) -> dict[str, Any]:
    """What `random_policy` is given besides a geometry: fields of PolicyConfig, and whether a reference is kept."""
    settings: dict[str, Any] = {"gradient_checkpointing": chosen.checkpointing == "on"} | dict(chosen.set)
    if chosen.lora_rank is not None:
        settings |= {"lora_rank": chosen.lora_rank}
        if chosen.geometry in GEOMETRIES and not chosen.lora_rank:
            settings |= {"keep_reference": True}
    return settings


@contextlib.contextmanager
def said_of_settings() -> Iterator[None]:
    """Inside, a field of PolicyConfig that does not hold is a fault of the command line."""
    try:
        yield
    except ValidationError as fault:
        raise UsageError("Settings: " + "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in fault.errors())) from None


class Oracle:
    """Log-probabilities of completions by the plain stock forward, and in bfloat16 by the same weights in float32 too."""

    @torch.no_grad()
    def __init__(self, policy: Policy, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]]) -> None:
        def scored() -> torch.Tensor:
            groups = zip(prompts, completions, strict=True)
            return torch.cat([score.float().cpu() for prompt, group in groups for score in logprobs(policy, prompt, group).logprobs])

        self.dtype = policy.dtype
        with stock_layers(policy):
            self.plain = scored()
            with in_float32(policy):
                self.exact = self.plain if self.dtype == torch.float32 else scored()

    def hold(self, scores: torch.Tensor) -> dict[str, float]:
        """How far scores are from both. Raises AssertionError where that is more than rounding explains."""
        scores = scores.detach().float().cpu()
        gap, error, own = (scores - self.plain).abs(), (scores - self.exact).abs(), (self.plain - self.exact).abs()
        found = {"max_logprob_gap": float(gap.max()), "mean_logprob_gap": float(gap.mean())}
        if self.dtype == torch.float32:
            is_near = found["mean_logprob_gap"] < MEAN_GAP
        else:
            found |= {"mean_from_float32": float(error.mean()), "plain_mean_from_float32": float(own.mean())}
            is_near = bool(error.mean() <= ROUNDING * own.mean())
        assert is_near and found["max_logprob_gap"] < MAX_GAP[self.dtype], f"differs from the plain forward: {found}"
        return found


@contextlib.contextmanager
def in_float32(policy: Policy) -> Iterator[None]:
    """Inside, weights kept in bfloat16 stand in float32; then they are back at their addresses, where rows of one matrix lie together."""
    low = [(weight, weight.data) for weight in policy.base.parameters() if weight.dtype == torch.bfloat16]
    for weight, kept in low:
        weight.data = kept.float()
    try:
        yield
    finally:
        for weight, kept in low:
            weight.data = kept


def checked(supply: Supply, settings: Settings) -> dict[str, float]:
    """Hold D and C to the plain forward, and all ways' gradients to each other, on one group of two short completions. Raises
    AssertionError where they differ by more than the type's rounding explains."""
    # a learning rate of 0: every way is asked at the same weights
    policy, short = supply.policy, replace(settings, group=2, tokens=min(settings.tokens, 16), kl_weight=0.04, lr=0.0)
    prompts = supply.prompts(1, at_most=CHECKED_TOKENS)
    dtype = policy.dtype
    with torch.no_grad():
        completions = Shared(policy, short).sample(prompts, policy.vision(prompts))
        seen = policy.vision(prompts)
        shared = torch.cat(shared_logprobs(policy, prompts, completions, seen)[0].logprobs)
        single = [shared_logprobs(policy, prompts, [[each]], seen)[0].logprobs[0] for each in completions[0]]
    oracle = Oracle(policy, prompts, completions)
    found = {}
    for name, scores in (("D", shared), ("C", torch.cat(single))):
        found |= {f"{name}_{what}": value for what, value in oracle.hold(scores).items()}
    ours: dict[str, torch.Tensor] = {}
    for name, way in WAYS.items():
        taken = way(policy, short)
        theirs = gradients_of(taken.optimizer)
        taken.step(prompts, Clock(supply.device), given=completions)
        ours = ours or theirs
        found[f"{name}_gradient_norm"] = taken.norm
        apart = sum(float((theirs[weight] - gradient).double().square().sum()) for weight, gradient in ours.items()) ** 0.5
        found[f"{name}_gradient_gap"] = apart / found["D_gradient_norm"]
        difference = abs(taken.norm - found["D_gradient_norm"]) / found["D_gradient_norm"]
        assert difference < NORM_GAP[dtype], f"{name}'s gradient has another norm than D's: {found}"
        assert found[f"{name}_gradient_gap"] < GRADIENT_GAP[dtype], f"{name}'s gradient is another than D's: {found}"
        del taken, theirs  # its optimizer's state, before the next one's
        free(supply.device)
    return found


def gradients_of(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """What will be there, by name and on the CPU, when the optimizer takes its next step: the gradients before they are clipped."""
    kept: dict[str, torch.Tensor] = {}
    step = optimizer.step

    def watched(lr: float) -> float:
        kept.update({name: each.grad.detach().float().cpu().clone() for name, each in optimizer.masters.items() if each.grad is not None})
        return step(lr)

    optimizer.step = watched  # type: ignore[method-assign]
    return kept


def one_row(
    supply: Supply, name: str, count: int, tokens: int, chosen: argparse.Namespace, budget: Budget, record: Record
) -> dict[str, Any]:
    """The medians of one way at one size, or why there are none."""
    settings = settings_of(chosen, tokens)
    row: dict[str, Any] = {"way": name, "geometry": supply.name, "completion_tokens": tokens, "prompts": count, "group": chosen.group}
    row["asked_prompt_tokens"] = getattr(supply, "prompt_tokens", None)  # None: filmed prompts are as long as they are
    way = WAYS[name](supply.policy, settings)
    run = count if way.prompts_at_once or is_quick(supply) else 1
    if run != count and (single := timed_alone(record, row)) is not None:
        return times_so_many(single, count)
    if not budget.room(name, float(run * tokens)):
        return row | {"not_run": "no time left in the budget"}
    try:
        with budget.spending(name, float(run * tokens)):
            prompts, clocks, sampled = timed(supply, way, run, {"D": chosen.runs, "C": min(chosen.runs, 2)}.get(name, 1), budget)
    except torch.OutOfMemoryError:
        return row | {"not_run": "out of memory"}
    row |= described(supply, settings, prompts, clocks, sampled, record.content["ceilings"])
    row |= {"prompts": run, "timed_prompts": run, "planned_s": row["planned_s"] if name == "D" else None}  # plan foretells ours
    row |= {"rows_in_a_pass": way.rows} if isinstance(way, Stock) else {"token_budget_left": way.learner.token_budget}
    return row if run == count else times_so_many(row, count)


def timed_alone(record: Record, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The row of the same way and sizes that was timed with one prompt, if there is one."""
    alike = ("way", "completion_tokens", "asked_prompt_tokens")
    found = [row for row in record.content["rows"] if row.get("timed_prompts") == 1 and all(row[key] == asked[key] for key in alike)]
    return dict(found[0]) if found else None


def times_so_many(row: dict[str, Any], count: int) -> dict[str, Any]:
    """A row of one prompt as a batch of so many, for a way that takes them one by one: all but the update so many times."""
    seconds = {phase: taken * (count if phase != "optimizer" else 1) for phase, taken in row["seconds"].items()}
    return row | {"prompts": count, "seconds": seconds, "step_s": sum(seconds.values()), "min_step_s": row["min_step_s"] * count}


def is_quick(supply: Supply) -> bool:
    """Whether a whole batch of A is soon done, so that nothing need be multiplied."""
    return supply.name not in LARGE


def timed(supply: Supply, way: Any, count: int, runs: int, budget: Budget) -> tuple[list[Prompt], list[Clock], list[list[Completion]]]:
    """Clocks of so many steps on fresh prompts, fewer where the budget ends. The warm-up: a whole step of D and C; of A a step with
    completions of 8 tokens."""
    prompts = supply.prompts(count)
    if way.prompts_at_once:
        way.step(prompts, Clock(supply.device))
    else:
        way.step(prompts, Clock(supply.device), given=[way.sample(prompt, 8) for prompt in prompts])
    clocks: list[Clock] = []
    sampled: list[list[Completion]] = []
    while len(clocks) < runs and (not clocks or budget.left() > 1.5 * sum(clocks[-1].seconds.values())):
        prompts = supply.prompts(count)
        clocks.append(Clock(supply.device))
        sampled = way.step(prompts, clocks[-1])
    return prompts, clocks, sampled


def described(
    supply: Supply,
    settings: Settings,
    prompts: Sequence[Prompt],
    clocks: Sequence[Clock],
    sampled: Sequence[Sequence[Completion]],
    at_best: dict[str, Any],
) -> dict[str, Any]:
    """What follows from the seconds: per token, per operation, per byte."""
    seconds = medians(clocks)
    lengths = [[len(each) for each in group] for group in sampled]
    drawn = sum(map(sum, lengths))
    flops = forward_flops(supply.sizes, [len(prompt) for prompt in prompts], lengths)
    train_s = seconds.get("reference", 0.0) + seconds["policy"]
    passes = useful_passes(
        has_reference="reference" in seconds, is_adapter=supply.policy.adapted, recomputes=supply.policy.config.gradient_checkpointing
    )
    steps = max(max(group) for group in lengths)
    width = 4 if supply.policy.dtype == torch.float32 else 2
    read = decode_bytes(supply.sizes, [len(prompt) for prompt in prompts], settings.group, steps, width)
    gib = 2.0**30
    added = [max((clock.added_bytes.get(phase, 0) for phase in ("reference", "policy")), default=0) for clock in clocks]
    on_gpu = clocks[0].on_gpu
    return {
        "prompt_tokens": round(statistics.mean(len(prompt) for prompt in prompts)),
        "video_tokens": round(statistics.mean(video_tokens(prompt) for prompt in prompts)),
        "mean_completion_tokens": drawn / sum(len(group) for group in lengths),
        "pinned": all(prompt.patches.is_pinned() for prompt in prompts) if on_gpu else None,
        "seconds": seconds,
        "step_s": statistics.median(sum(clock.seconds.values()) for clock in clocks),
        "min_step_s": min(sum(clock.seconds.values()) for clock in clocks),
        "train_s": train_s,
        "runs": len(clocks),
        "peak_gib": max(max(clock.peak_bytes.values()) for clock in clocks) / gib if on_gpu else None,
        "activation_gib": max(added) / gib if on_gpu else None,
        "sampled_tokens_per_s": drawn / seconds["rollout"],
        "trained_tokens_per_s": (sum(len(prompt) for prompt in prompts) + drawn) / train_s,
        "useful_forward_tflop": flops / 1e12,
        **{f"useful_mfu_{name}": flops * count / train_s / 1e12 / at_best["matmul_tflops"] for name, count in passes.items()},
        "decode_gbs": read / seconds["rollout"] / 1e9,
        "decode_share_of_copy": read / seconds["rollout"] / 1e9 / at_best["copy_gbs"],
        "planned_s": planned(supply, settings, prompts, at_best) if on_gpu else None,
    }


def planned(supply: Supply, settings: Settings, prompts: Sequence[Prompt], at_best: dict[str, Any]) -> dict[str, float]:
    """What `videochat-r1 plan` foretells for our step of this size on a device of these ceilings, by phase."""
    load = cost.Load(
        prompt_tokens=len(prompts[0]),
        video_tokens=video_tokens(prompts[0]),
        completion_tokens=settings.tokens,
        group_size=settings.group,
        prompts=len(prompts),
        batch_prompts=len(prompts),
        has_reference=settings.kl_weight > 0,
        token_budget=settings.token_budget,
    )
    card = cost.Card("this one", 0.0, at_best["matmul_tflops"], at_best["copy_gbs"])
    picture = prompts[0].grid_thw[1] * prompts[0].grid_thw[2]
    return {phase.name: phase.seconds for phase in cost.seconds_of_step(supply.sizes, supply.policy.config, load, card, picture)}


def ratios(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How often one way fits into another, size by size, in words."""
    lines = []
    by_size: dict[tuple[int, int, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        if "not_run" not in row:
            key = (row["prompts"], row["completion_tokens"], row.get("video_tokens", 0) // 1000)
            by_size.setdefault(key, {})[row["way"]] = row
    for (prompts, tokens, _), ways in by_size.items():
        ours = ways.get("D")
        if ours is None:
            continue
        at = f"P {ours['prompt_tokens']}, C {tokens}, {prompts} prompts:"
        for name in ("C", "A"):
            if name in ways:
                other = ways[name]
                times = other["step_s"] / ours["step_s"], other["train_s"] * scale(other) / ours["train_s"]
                lines.append(f"{at} step D against {name} {times[0]:.2f}x, train phase {times[1]:.2f}x")
        if "C" in ways and "A" in ways:
            mixed = ways["C"]["step_s"] - ways["C"]["seconds"]["rollout"] + ways["A"]["seconds"]["rollout"]
            lines.append(f"{at} step D against sharing off and the stock generate {mixed / ours['step_s']:.2f}x")
        if ours["activation_gib"] and "C" in ways and ways["C"]["activation_gib"]:
            lines.append(f"{at} peak activations D against C {ours['activation_gib'] / ways['C']['activation_gib']:.2f}")
    return lines


def scale(row: dict[str, Any]) -> float:
    return row["prompts"] / row.get("timed_prompts", row["prompts"])


if __name__ == "__main__":
    main()
