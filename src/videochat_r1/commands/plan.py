"""videochat-r1 plan: what a recipe will take of a card, in memory and in time, from the model's configuration alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from videochat_r1.commands.display import print_json, print_table, say
from videochat_r1.commands.dry_run import load_of, most_video_tokens, positions_of, run_memory, size_text
from videochat_r1.commands.options import Command, Given, Options, argument, option
from videochat_r1.commands.prompt_walk import known_models
from videochat_r1.config import Recipe, read_recipe
from videochat_r1.counting import counted
from videochat_r1.errors import UsageError
from videochat_r1.policy.cost import CARDS, EFFICIENCIES, Card, Load, Phase, compared, pieces, seconds_of_step
from videochat_r1.policy.memory import Part, Sizes, peak, peaks, sizes_of, trained_parameters
from videochat_r1.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

Offer = tuple[str, str, dict[str, Any]]
"""What to write, and the recipe's section and fields that it changes."""

TEXT_TOKENS = 150
"""Assumed of a prompt beside its video: chat, question and how to answer."""

OTHER_SIZE = 2.0
"""Times that a planned figure may be off a measured one before that is said to look like another model's."""


class Plan(Options):
    """Say what a run of RECIPE.toml will take of a card: memory by part and seconds by phase, each with its formula, whether it fits, and
    what to change first. No weights are loaded, no data are read: the model's config.json, or its name, is enough."""

    recipe: str = argument("the recipe; see recipes/README.md", "RECIPE.toml")
    card: str = option("h100", f"one of {', '.join(CARDS)}", "NAME")
    memory_gib: float = option(0.0, "another card: GiB that programs can use; 0: --card's", "X", ge=0.0)
    tflops: float = option(0.0, "another card: TFLOP/s of a large matrix product in the weights' type; 0: --card's", "X", ge=0.0)
    gbps: float = option(0.0, "another card: GB/s of a large copy, read and written both counted; 0: --card's", "X", ge=0.0)
    prompt_tokens: int = option(0, f"of a prompt, video included; 0: the most that the recipe's video takes, and {TEXT_TOKENS}", "N", ge=0)
    completion_tokens: int = option(0, "of each completion; 0: rollout.max_tokens", "N", ge=0)
    measured: str = option("", "a benchmark's JSON: show what it measured beside what would be planned", "FILE")
    json_: bool = option(False, "print one JSON object")


@dataclass(frozen=True)
class Plans:
    """A recipe on a card."""

    recipe: Recipe
    card: Card
    sizes: Sizes
    load: Load
    parts: list[Part]
    phases: list[Phase]

    @property
    def fits(self) -> bool:
        return peak(self.parts) <= self.card.memory_gib * 2**30

    @property
    def step_s(self) -> float:
        return sum(phase.seconds for phase in self.phases)


def run(options: Plan, out: TextIO, fields: Given) -> int:
    recipe = read_recipe(options.recipe, fields)
    config = configuration(recipe.policy.path)
    plan = planned(recipe, config, card_of(options), options.prompt_tokens, options.completion_tokens)
    changes = first_changes(recipe, config, plan, options)
    positions, tokens = positions_of(config), plan.load.prompt_tokens + plan.load.completion_tokens
    if recipe.policy.attention in ("portable", "dense"):
        say(f'policy.attention = "{recipe.policy.attention}" keeps a layer\'s attention scores besides, which are not counted here.')
    if tokens > positions:
        say(f"Prompt and completion are {tokens:,} tokens, and the model takes {positions:,}: a run would refuse such prompts.")
    beside = list(comparisons(recipe, plan, Path(options.measured))) if options.measured else []
    if options.json_:
        print_json(as_json(plan, changes, beside), out)
    else:
        _print(options.recipe, plan, changes, beside, out)
    return 0


def configuration(path: str) -> dict[str, Any]:
    """config.json of a model's folder, of an adapter's base, of a name in the local cache, or the published sizes of a released model.
    Nothing is downloaded. Raises UsageError where there is none of these, or the file is not of a model that takes video."""
    from videochat_r1.policy.released import CONFIGS

    folder = Path(path).expanduser()
    adapter = folder / "adapter_config.json"
    file: Path | str | None = folder / "config.json"
    if adapter.is_file():
        return configuration(str(_json_of(adapter).get("base_model_name_or_path", "")))
    if not folder.is_dir():
        if path in CONFIGS:
            return CONFIGS[path]
        file = _cached_config(path)
    if file is None or not Path(file).is_file():
        raise UsageError(f"{path!r} is no folder with a config.json, not in the local cache, and no released model.", known_models(path))
    config = _json_of(Path(file))
    try:
        sizes_of(config)
    except (KeyError, TypeError, AttributeError) as fault:
        what = f"{file} is not the configuration of a Qwen2.5-VL or Qwen3-VL model: {fault}."
        raise UsageError(what, "Give the folder of the whole model.") from None
    return config


def _json_of(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise UsageError(f"{path} cannot be read: {fault.strerror}.", "Check the path.") from None
    except (ValueError, RecursionError) as fault:
        said = f"cannot be read as JSON: {fault}" if path.stat().st_size else "is empty"
        raise UsageError(f"{path} {said}.", "The file may be cut off.") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object.", "Check the path.")
    return found


def _cached_config(name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return found if isinstance(found, str) else None


def card_of(options: Plan) -> Card:
    """The card by its name, with what the options say otherwise. Raises UsageError for a name that there is none of."""
    if (name := options.card.casefold()) not in CARDS:
        mend = did_you_mean(options.card, CARDS) + " Or give --memory-gib, --tflops and --gbps of any other."
        raise UsageError(f"--card: no card is called {options.card!r}.", mend)
    card = CARDS[name]
    given = {name: value for name in ("memory_gib", "tflops", "gbps") if (value := getattr(options, name))}
    return replace(card, name=f"{card.name}, changed by options" if len(given) < 3 else "the card given", **given) if given else card


def planned(recipe: Recipe, config: Mapping[str, Any], card: Card, prompt_tokens: int = 0, completion_tokens: int = 0) -> Plans:
    """The recipe on the card. prompt_tokens, completion_tokens: 0 takes what the recipe allows at most."""
    sizes = sizes_of(config)
    video = most_video_tokens(recipe, dict(config))
    prompt = prompt_tokens or video + TEXT_TOKENS
    video = min(video, prompt) if not prompt_tokens else max(prompt - TEXT_TOKENS, 1)
    return _of_load(recipe, sizes, card, load_of(recipe, prompt, video, completion_tokens))


def _of_load(recipe: Recipe, sizes: Sizes, card: Card, load: Load) -> Plans:
    parts = run_memory(recipe, sizes, load)
    return Plans(recipe, card, sizes, load, parts, seconds_of_step(sizes, recipe.policy, load, card))


# -- what to change


def first_changes(recipe: Recipe, config: Mapping[str, Any], plan: Plans, options: Plan) -> list[str]:
    """Nothing where it fits; else the one change, the earliest in the order of what it costs, that makes it fit, or where no single one
    does, the changes that do so together. [""] where nothing does."""
    if plan.fits:
        return []

    def fits(offers: Sequence[Offer]) -> bool:
        changed = recipe
        for _, section, update in offers:
            changed = _with(changed, section, update)
        return planned(changed, config, plan.card, options.prompt_tokens, options.completion_tokens).fits

    offers = list(_offers(recipe, plan.load))
    for offer in offers:
        if fits([offer]):
            return [offer[0]]
    taken = {offer[0].split(" = ")[0]: offer for offer in offers}  # the last word on each field
    if not fits(list(taken.values())):
        return [""]
    for field in reversed(taken.copy()):  # what costs most goes first, if the rest is enough
        rest = [offer for name, offer in taken.items() if name != field]
        if fits(rest):
            taken.pop(field)
    return [said for said, _, _ in taken.values()]


def _offers(recipe: Recipe, load: Load) -> Iterator[Offer]:
    """Changes, from what costs least to what changes the run most."""
    group = load.prompt_tokens + load.group_size * load.completion_tokens
    one = load.prompt_tokens + load.completion_tokens
    if not recipe.policy.gradient_checkpointing:
        yield "policy.gradient_checkpointing = true", "policy", {"gradient_checkpointing": True}
    for batch in (4, 2, 1):
        if batch < min(load.batch_prompts, load.prompts):
            yield f"rollout.batch_prompts = {batch}", "rollout", {"batch_prompts": batch}
    for budget in (group, (group + one) // 2, one):
        if budget < recipe.train.token_budget:
            yield f"train.token_budget = {budget}", "train", {"token_budget": budget}
    if not recipe.policy.lora_rank:
        if load.optimizer == "adamw":
            yield 'train.optimizer = "adamw_8bit"', "train", {"optimizer": "adamw_8bit"}
        if load.optimizer != "adamw_8bit_bf16" and load.bytes_each == 2:
            yield 'train.optimizer = "adamw_8bit_bf16"', "train", {"optimizer": "adamw_8bit_bf16"}
        if load.has_reference:
            yield "grpo.kl_weight = 0.0 (no reference copy)", "grpo", {"kl_weight": 0.0}
        yield "policy.lora_rank = 64", "policy", {"lora_rank": 64}
    elif recipe.policy.dtype == "float32":
        yield 'policy.dtype = "bfloat16"', "policy", {"dtype": "bfloat16"}


def _with(recipe: Recipe, section: str, update: dict[str, Any]) -> Recipe:
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=update)})


# -- what a benchmark measured


Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Measured(BaseModel):
    """One measured step: seconds by phase, what was run, and the allocator's peak."""

    seconds: Annotated[dict[str, Amount], Field(min_length=1)]
    prompt_tokens: Count | None = None
    video_tokens: Count | None = None
    completion_tokens: Count | None = None
    group: Count | None = None
    prompts: Count = 1
    peak_gib: Amount | None = None
    geometry: str = "measured"
    pinned: bool | None = True


@dataclass(frozen=True)
class Beside:
    """One measured row and what would be planned for it: (what, planned, measured), seconds but for "peak GiB"."""

    title: str
    rows: Sequence[tuple[str, float, float]]


def comparisons(recipe: Recipe, plan: Plans, path: Path) -> Iterator[Beside]:
    """For each row of benchmarks/step.py's JSON that ran our way (D), at the ceilings that it read; or for the one object
    {"phases": {PHASE: seconds}, "P", "C", "G", "prompts"?, "peak_bytes"?}."""
    content = _json_of(path)
    listed = content.get("rows")
    ours = [row for row in listed if isinstance(row, dict) and row.get("way") == "D"] if isinstance(listed, list) else []
    rows = [{"pinned": False, **row} for row in ours if row.get("seconds")]  # rows from before patches were pinned say nothing of it
    if isinstance(content.get("phases"), dict):
        names = {"P": "prompt_tokens", "C": "completion_tokens", "G": "group", "prompts": "prompts", "geometry": "geometry"}
        one = {ours: content[theirs] for theirs, ours in names.items() if theirs in content}
        rows.append({**one, "seconds": content["phases"], "peak_gib": _gib(content.get("peak_bytes"))})
    mend = "Give a JSON file of benchmarks/step.py, or an object with phases, P, C and G."
    nothing = UsageError(f"{path} holds no measured phases.", mend)
    if not rows:
        raise nothing
    try:
        steps = [Measured.model_validate(row) for row in rows]
        tflops, gbps, budget = TypeAdapter(tuple[Amount, Amount, Count]).validate_python(_settings_of(content, plan))
    except ValidationError as fault:
        first = fault.errors()[0]
        what = f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        raise UsageError(
            f"{what}, not {first['input']!r}.", "Give seconds and counts above 0, as benchmarks/step.py writes them."
        ) from None
    card = replace(plan.card, tflops=tflops, gbps=gbps)
    for step in steps:
        beside = _beside(recipe, replace(plan, load=replace(plan.load, token_budget=budget)), card, step)
        if not beside.rows:
            raise nothing
        yield beside


def _gib(peak_bytes: Any) -> Any:
    """Of bytes, or of the most of {PHASE: bytes}; what is no number stays as it is, to be told."""
    found = list(peak_bytes.values()) if isinstance(peak_bytes, dict) else [peak_bytes]
    wrong = [each for each in found if not isinstance(each, int | float)]
    return max(found) / 2**30 if found and not wrong else next(iter(wrong), None)


def _settings_of(content: Mapping[str, Any], plan: Plans) -> tuple[Any, Any, Any]:
    """What the file says of the card's ceilings and the token budget; the plan's own where it says nothing."""
    found: dict[str, Any] = {"matmul_tflops": plan.card.tflops, "copy_gbs": plan.card.gbps, "token_budget": plan.load.token_budget}
    for part in (content.get("ceilings"), content.get("settings")):
        if isinstance(part, dict):
            found |= {name: value for name, value in part.items() if value is not None}
    return found["matmul_tflops"], found["copy_gbs"], found["token_budget"]


def _beside(recipe: Recipe, plan: Plans, card: Card, step: Measured) -> Beside:
    """The benchmark samples all of its prompts at once, and counts what the allocator gave out."""
    prompt = step.prompt_tokens or plan.load.prompt_tokens
    load = replace(
        plan.load,
        prompt_tokens=prompt,
        video_tokens=step.video_tokens or max(prompt - TEXT_TOKENS, 1),
        completion_tokens=step.completion_tokens or plan.load.completion_tokens,
        group_size=step.group or plan.load.group_size,
        prompts=step.prompts,
        batch_prompts=max(plan.load.batch_prompts, step.prompts),
        has_reference="reference" in step.seconds,
    )
    as_run = _of_load(recipe, plan.sizes, card, load)
    rows = compared(as_run.phases, step.seconds, pinned=step.pinned is not False)
    if {"rollout", "policy"} <= step.seconds.keys():
        rows.append(("step", sum(ours for _, ours, _ in rows), sum(theirs for _, _, theirs in rows)))
    if step.peak_gib:
        rows.append(("peak GiB", peak(as_run.parts, allocated=True) / 2**30, step.peak_gib))
    at = f"P {load.prompt_tokens:,}, C {load.completion_tokens:,}, G {load.group_size}, {counted(load.prompts, 'prompt')}"
    return Beside(f"{step.geometry}: {at}, at {card.tflops:,.2f} TFLOP/s and {card.gbps:,.1f} GB/s", rows)


# -- what is printed


def as_json(plan: Plans, changes: list[str], beside: Sequence[Beside]) -> dict[str, Any]:
    """The plan as plain values."""
    policy = plan.recipe.policy
    found: dict[str, Any] = {
        "card": asdict(plan.card),
        "model": {"path": policy.path, "parameters": plan.sizes.total, "trained": trained_parameters(plan.sizes, policy)},
        "load": asdict(plan.load),
        "memory": {
            "parts": {part.name: {"bytes": part.size, "formula": part.formula} for part in plan.parts},
            "peaks": peaks(plan.parts),
            "peak_bytes": peak(plan.parts),
            "fits": plan.fits,
            "change": changes,
        },
        "seconds": {
            "phases": {phase.name: {"seconds": phase.seconds, "formula": phase.formula} for phase in plan.phases},
            "step": plan.step_s,
            "prompt": plan.step_s / plan.load.prompts,
        },
        "rates": {name: {"share": rate.share, "least_s": rate.each_s, "source": rate.source} for name, rate in EFFICIENCIES.items()},
    }
    if beside:
        found["measured"] = [{"title": each.title, "rows": {row[0]: _beside_json(*row) for row in each.rows}} for each in beside]
    return found


def _beside_json(_: str, ours: float, theirs: float) -> dict[str, float]:
    return {"planned": ours, "measured": theirs, "percent": _off(ours, theirs)}


def _off(ours: float, theirs: float) -> float:
    return 100 * (ours / theirs - 1) if theirs else math.nan


def _print(name: str, plan: Plans, changes: list[str], beside: Sequence[Beside], out: TextIO) -> None:
    load, card, policy = plan.load, plan.card, plan.recipe.policy
    how = f"LoRA of rank {policy.lora_rank}" if policy.lora_rank else "all of the language model trained"
    out.write(f"# {name} on {card.name}: {card.memory_gib:g} GiB, {card.tflops:,.0f} TFLOP/s, {card.gbps:,.0f} GB/s\n")
    out.write(f"{policy.path}: {plan.sizes.total / 1e9:.2f} G parameters, {how}{', and the tower' if policy.train_vision else ''}\n")
    out.write(f"a step: {counted(load.prompts, 'prompt')} of {load.prompt_tokens:,} tokens ({load.video_tokens:,} of video), ")
    out.write(f"{load.group_size} completions of {load.completion_tokens:,}\n\n# memory\n")
    for part in plan.parts:
        out.write(f"{part.name:<19} {size_text(part.size):>10}   {part.formula}\n")
    most = peak(plan.parts)
    out.write("".join(f"{'at most, ' + phase:<19} {size_text(size):>10}\n" for phase, size in peaks(plan.parts).items()))
    verdict = "fits" if plan.fits else "does NOT fit"
    out.write(f"\nIt {verdict}: {size_text(most)} of {card.memory_gib:g} GiB.{_advice(changes)}\n\n# seconds of a step\n")
    for phase in plan.phases:
        out.write(f"{phase.name:<19} {phase.seconds:>10.3f}   {phase.formula}\n")
    out.write(f"{'step':<19} {plan.step_s:>10.3f}   {plan.step_s / load.prompts:.3f} a prompt; decoding and rendering run beside it\n")
    if faster := _faster(plan):
        out.write(f"\n{faster}\n")
    out.write("\n# what the shares are from\n")
    used = {phase.name for phase in plan.phases} | ({"policy, all weights"} if not policy.lora_rank else set())
    for rate, value in EFFICIENCIES.items():
        if rate in used and not (rate == "policy" and not policy.lora_rank):
            out.write(f"{rate:<19} {value.share:>10.0%}   {value.source}\n")
    for each in beside:
        rows = [["", "planned", "measured", "off"]]
        rows += [[what, f"{ours:.3f}", f"{theirs:.3f}", f"{_off(ours, theirs):+.0f} %"] for what, ours, theirs in each.rows]
        out.write("\n")
        print_table(each.title, rows, out)
        if any(max(ours / theirs, theirs / max(ours, 1e-9)) > OTHER_SIZE for _, ours, theirs in each.rows):
            out.write("So far off that the file may be of another model than the recipe's, or of another card than its ceilings say.\n")


def _faster(plan: Plans) -> str:
    """A token budget that reads each prompt once, where this one does not and memory allows it; "" otherwise."""
    load = plan.load
    whole = load.prompt_tokens + load.group_size * (load.completion_tokens - 1)
    if len(pieces(load)) == 1:
        return ""
    wider = _of_load(plan.recipe, plan.sizes, plan.card, replace(load, token_budget=whole))
    if not wider.fits:
        return ""
    return f"Faster: train.token_budget = {whole} reads each prompt once: {wider.step_s:.3f} s a step, {size_text(peak(wider.parts))}."


def _advice(changes: list[str]) -> str:
    if changes == [""]:
        return " Nothing that this version can change makes it fit: take a smaller model, shorter videos or a larger card."
    if len(changes) > 1:
        return f" To change, in this order: {'; '.join(changes)}."
    return f" Change first: {changes[0]}." if changes else ""


COMMAND = Command(Plan, run, recipe=True)
