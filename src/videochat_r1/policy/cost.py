"""How long the phases of a step will take on a card, from a model's configuration alone: operations and bytes counted, then divided by what
the card does of each; but no pass is over before the host has started its kernels. The one home of the efficiencies; each says whether it
was measured or is assumed, and tests/test_plan.py holds them to the benchmarks of an H100.

Counting, after "work per prompt group": N numbers in the layers' matrices, L layers, q all query heads, w the width, V the vocabulary, P
tokens of a prompt, G completions of C tokens each. One forward of a group whose prompt is read once takes
2 N (P + G C) + 2 L q (P^2 + G (2 P C + C^2)) + 2 w V G C operations (causal attention: half of all pairs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.memory import Sizes, linear_sides, trained_parameters, trained_tensors


@dataclass(frozen=True)
class Card:
    """What a card holds and does: GiB that programs can use, TFLOP/s of a large matrix product, GB/s of a large copy (read and written
    both counted)."""

    name: str
    memory_gib: float
    tflops: float
    gbps: float


MATMUL_SHARE, COPY_SHARE = 767 / 989, 3.0 / 3.35
"""Of a card's stated peaks, what large products and copies reach: measured on one H100 (767 TFLOP/s, 3.0 TB/s), assumed for the others."""


def _card(name: str, memory_gib: float, peak_tflops: float, peak_gbps: float) -> Card:
    return Card(name, memory_gib, round(peak_tflops * MATMUL_SHARE, 1), round(peak_gbps * COPY_SHARE, 1))


CARDS = {  # memory that a program sees; stated peaks of dense bfloat16 products and of the memory
    "h100": _card("H100 80GB SXM", 79.2, 989, 3350),
    "h200": _card("H200 141GB", 139.8, 989, 4800),
    "b200": _card("B200 180GB", 178.0, 2250, 8000),
    "a100": _card("A100 80GB SXM", 79.2, 312, 2039),
    "a100-40": _card("A100 40GB SXM", 39.4, 312, 1555),
    "l40s": _card("L40S 48GB", 44.4, 362, 864),
    "a6000": _card("RTX A6000 48GB", 47.5, 155, 768),
    "4090": _card("RTX 4090 24GB", 23.6, 165, 1008),
    "5090": _card("RTX 5090 32GB", 31.4, 210, 1792),
}


@dataclass(frozen=True)
class Efficiency:
    """The share of the matmul or copy ceiling that a phase reaches, where the number is from, and seconds that each layer of each pass
    takes at least, however little it has to do (of the optimizer: each trained tensor). Of a decode step they come on top."""

    share: float
    source: str
    each_s: float = 0.0


EFFICIENCIES: Mapping[str, Efficiency] = {
    "vision": Efficiency(0.55, "measured: H100, the towers of Qwen2.5-VL-3B and Qwen3-VL-4B alone, 3,328 to 14,336 tokens: 0.53 to 0.56"),
    "prefill": Efficiency(0.50, "measured: H100, 3B, P 3,756: 0.44 (1 prompt) and 0.54 (4); 2 ms a layer at least", 2.0e-3),
    "decode": Efficiency(0.92, "measured: H100, of the copy ceiling, and 59 us a layer: 3B and 7B, 8 and 32 completions", 59e-6),
    "reference": Efficiency(0.64, "measured: H100, 3B and 7B, P 3,756 and 8,364, G 8, C 256: 0.59 to 0.71; 2 ms a layer at least", 2.0e-3),
    "policy": Efficiency(0.49, "measured: H100, the same with LoRA 64, checkpointing: 0.44 to 0.56; 11.5 ms a layer at least", 11.5e-3),
    "policy, all weights": Efficiency(0.49, "assumed: as with an adapter; half as many kernels to start: 6 ms a layer at least", 6.0e-3),
    "optimizer": Efficiency(0.60, "assumed: of the copy ceiling; measured: H100, 34 us a trained tensor at least", 34e-6),
}


LINK_GBPS = 25.0
"""Of a copy from pinned memory to a card. Assumed: PCIe 4.0 with 16 lanes; patches wait there in float32."""


@dataclass(frozen=True)
class Phase:
    """Seconds of one phase of a step, and how they were counted."""

    name: str
    seconds: float
    formula: str


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one step does."""

    prompt_tokens: int
    video_tokens: int
    completion_tokens: int
    group_size: int
    prompts: int
    batch_prompts: int
    has_reference: bool
    token_budget: int = 1 << 30  # tokens of one pass of the language model
    samples: bool = True  # False: gold answers are learned, nothing is sampled
    optimizer: str = "adamw"
    bytes_each: int = 2


def vision_flops(sizes: Sizes, video_tokens: int, patches_per_picture: int) -> float:
    """Operations of one pass of the tower over a video: its matrices, attention within windows and pictures, the mergers."""
    w, f, merged = sizes.vision_width, sizes.vision_inner, sizes.patches_per_token
    patches = video_tokens * merged
    inner = 2 * f if sizes.deepstack else 3 * f  # Qwen3-VL's blocks have no gate
    matrices = sizes.vision_depth * w * (4 * w + inner) + sizes.patch_values * w
    window = sizes.vision_window or patches_per_picture
    attended = sizes.vision_full * patches_per_picture + (sizes.vision_depth - sizes.vision_full) * min(window, patches_per_picture)
    mergers = (1 + sizes.deepstack) * ((merged * w) ** 2 + merged * w * sizes.vision_out)
    return 2.0 * patches * matrices + 4.0 * patches * w * attended + 2.0 * video_tokens * mergers


def forward_flops(sizes: Sizes, prompt: int, completions: int, tokens: int) -> float:
    """Operations of one forward of the language model over a prompt once and its completions of `tokens` each; the head on completions."""
    matrices = sizes.layers * sum(a * b for a, b in linear_sides(sizes).values())
    pairs = prompt**2 + completions * (2 * prompt * tokens + tokens**2)
    total = 2 * matrices * (prompt + completions * tokens) + 2 * sizes.layers * sizes.query_width * pairs
    return float(total + 2 * sizes.width * sizes.vocabulary * completions * tokens)


def pieces(load: Load) -> list[int]:
    """Completions of each pass that one group takes: all in one where the token budget holds prompt and completions, else as many as it
    holds beside the prompt, one at least. Every pass reads the prompt again. As grpo/update.py cuts them."""
    room = load.token_budget - load.prompt_tokens
    each = min(max(room // max(load.completion_tokens - 1, 1), 1), load.group_size)
    whole, rest = divmod(load.group_size, each)
    return [each] * whole + [rest] * (rest > 0)


def passes(load: Load) -> int:
    """Passes of the language model that learn from one step: pieces in order, as many in each as the token budget holds."""
    count, room = 0, 0
    for completions in pieces(load) * load.prompts:
        tokens = load.prompt_tokens + completions * max(load.completion_tokens - 1, 0)
        if not count or tokens > room:
            count, room = count + 1, load.token_budget
        room -= tokens
    return count


def backward_passes(policy: PolicyConfig) -> int:
    """Forward passes that a forward and backward pass amount to: one forward, one again with checkpointing, one for the states'
    gradients, one for the weights' where they are trained."""
    return 2 + policy.gradient_checkpointing + (policy.lora_rank == 0)


def decode_bytes(sizes: Sizes, load: Load, together: int) -> float:
    """Bytes that one decode step of `together` prompts reads: the language model's weights, the prompts' keys and values once, and of the
    tails half of what they hold at the end."""
    weights = sizes.layers * sizes.layer + (sizes.head or sizes.embeddings)
    cached = together * (load.prompt_tokens + load.group_size * load.completion_tokens / 2)
    return load.bytes_each * (weights + cached * 2.0 * sizes.layers * sizes.key_width)


def optimizer_bytes(trained: int, load: Load, *, adapter: bool) -> float:
    """Bytes that one step of the optimizer reads and writes: gradient, moments, masters, weights."""
    moments = 16.0 if load.optimizer == "adamw" else 4.0
    weights = 8.0 if adapter or load.bytes_each == 4 else 4.0 if load.optimizer == "adamw_8bit_bf16" else 10.0
    return trained * (4.0 + moments + weights)


def seconds_of_step(sizes: Sizes, policy: PolicyConfig, load: Load, card: Card, patches_per_picture: int = 512) -> list[Phase]:
    """Seconds of each phase of one step of all its prompts. Decoding of videos runs beside the step and is not counted;
    patches_per_picture: of one moment of the video, for the tower's attention."""
    ceiling, n = card.tflops * 1e12, load.prompts
    cut = pieces(load)
    group = sum(forward_flops(sizes, load.prompt_tokens, completions, load.completion_tokens) for completions in cut)
    read = f", the prompt read {len(cut)} times (train.token_budget)" if len(cut) > 1 else ""
    seen = vision_flops(sizes, load.video_tokens, patches_per_picture)
    phases: list[Phase] = []

    def compute(name: str, flops: float, how: str, rows: int = 0, rate: str = "") -> None:
        found = EFFICIENCIES[rate or name]
        formula = f"{n} x {how} = {flops / 1e12:,.1f} TFLOP at {found.share:.0%} of {card.tflops:,.0f} TFLOP/s"
        seconds, least = flops / (ceiling * found.share), rows * sizes.layers * found.each_s
        if least > seconds:
            formula = f"host-bound: {rows} rows x {sizes.layers} layers x {found.each_s * 1e3:.3g} ms; {formula} would take {seconds:.3f} s"
        phases.append(Phase(name, max(seconds, least), formula))

    looks = backward_passes(policy) + load.has_reference if policy.train_vision else 1  # the reference has a tower of its own then
    compute("vision", n * looks * seen, f"{load.video_tokens:,} tokens x {looks * seen / max(load.video_tokens, 1) / 1e9:.2f} GFLOP")
    copies = n * (1 + (policy.train_vision and load.has_reference))
    phases[-1] = _with_copies(phases[-1], 4 * copies * load.video_tokens * sizes.patches_per_token * sizes.patch_values)
    if load.samples:
        prompt_only, batches = forward_flops(sizes, load.prompt_tokens, 0, 0), -(-n // load.batch_prompts)
        compute("prefill", n * prompt_only, f"{load.prompt_tokens:,} tokens x {prompt_only / load.prompt_tokens / 1e9:.2f} GFLOP", batches)
        phases.append(_decode(sizes, load, card))
    if load.has_reference:
        compute("reference", n * group, f"one forward of {group / 1e12:.1f} TFLOP{read}", passes(load))
    count = backward_passes(policy)
    rate = "policy" if policy.lora_rank else "policy, all weights"
    compute("policy", n * count * group, f"{count} passes of {group / 1e12:.1f} TFLOP{read}", passes(load), rate)
    phases.append(_optimizer(sizes, policy, load, card))
    return phases


def _with_copies(vision: Phase, patch_bytes: int) -> Phase:
    formula = f"{vision.formula} + {patch_bytes / 1e6:,.0f} MB of patches at {LINK_GBPS:g} GB/s"
    return Phase(vision.name, vision.seconds + patch_bytes / (LINK_GBPS * 1e9), formula)


def _optimizer(sizes: Sizes, policy: PolicyConfig, load: Load, card: Card) -> Phase:
    trained, tensors, rate = trained_parameters(sizes, policy), trained_tensors(sizes, policy), EFFICIENCIES["optimizer"]
    moved = optimizer_bytes(trained, load, adapter=policy.lora_rank > 0)
    seconds, least = moved / (card.gbps * 1e9 * rate.share), tensors * rate.each_s
    if least > seconds:
        return Phase("optimizer", least, f"host-bound: {tensors:,} trained tensors x {rate.each_s * 1e6:.0f} us")
    how = f"{trained / 1e9:.3g} G trained x {moved / max(trained, 1):.0f} bytes at {rate.share:.0%} of {card.gbps:,.0f} GB/s"
    return Phase("optimizer", seconds, how)


def _decode(sizes: Sizes, load: Load, card: Card) -> Phase:
    """Batch after batch of prompts, each of as many steps as a completion has tokens. The small kernels of a layer, one behind another,
    take their time whatever they read."""
    rate, seconds, left, steps = EFFICIENCIES["decode"], 0.0, load.prompts, []
    while left > 0:
        together = min(left, load.batch_prompts)
        each = decode_bytes(sizes, load, together) / (card.gbps * 1e9 * rate.share) + sizes.layers * rate.each_s
        steps.append(each)
        seconds += load.completion_tokens * each
        left -= together
    how = f"{len(steps)} x {load.completion_tokens:,} steps of {steps[0] * 1e3:.1f} ms: "
    how += f"{decode_bytes(sizes, load, min(load.prompts, load.batch_prompts)) / 1e9:.1f} GB at {rate.share:.0%} of {card.gbps:,.0f} GB/s"
    return Phase("decode", seconds, f"{how} + {sizes.layers} layers x {rate.each_s * 1e6:.0f} us")


UNPINNED = "vision, patches not pinned"


def compared(phases: list[Phase], measured: Mapping[str, Any], *, pinned: bool = True) -> list[tuple[str, float, float]]:
    """(phase, seconds predicted, seconds measured) of each phase that a benchmark timed; it times prefill and decode together, as
    "rollout". pinned: patches waited in pinned memory, as in training and as is planned for; else the tower's time has another name, for
    a copy from ordinary memory takes what the host makes of it (8 to 48 ms for 67 MB on the machines that were measured)."""
    predicted = {phase.name: phase.seconds for phase in phases}
    if "rollout" in measured:
        predicted["rollout"] = predicted.pop("prefill", 0.0) + predicted.pop("decode", 0.0)
    found = [(name, predicted[name], float(measured[name])) for name in predicted if isinstance(measured.get(name), int | float)]
    return [(UNPINNED if name == "vision" and not pinned else name, ours, theirs) for name, ours, theirs in found]
