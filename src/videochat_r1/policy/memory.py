"""How much GPU memory a run will take, part by part, from a model's configuration alone: an estimate with its formula, before any weight
is loaded. Parameters are counted exactly; activations follow what layers, stock or fused, keep for their backward pass, and
tests/policy/test_memory.py and kernel_checks.py hold them to PyTorch's own account of saved tensors; tests/test_plan.py holds the fullest
moment to what was measured on a GPU. The one home of these numbers: dry runs, `plan` and benchmarks take them from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from videochat_r1.policy.config import PolicyConfig

TILE_BYTES = 256 << 20  # head.py's on a GPU
CONTEXT = "context"
CONTEXT_BYTES = 1 << 30  # assumed: the CUDA context, libraries' workspaces and what the allocator cannot use
MOMENT_8BIT = 2 * (1 + 4 / 256)  # two moments of a byte each, and a float32 scale for every 256
UNCOMPILED, UNCOMPILED_ROUNDED = 6.0, 10.25
"""Float32 copies of a weight that torchao's step makes where it is not compiled, as benchmarks/memory.py counts them: of a float32 weight,
and of one in bfloat16 that it rounds at random."""
OptimizerName = Literal["adamw", "adamw_8bit", "adamw_8bit_bf16"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Parameters of a model, and what its activations scale with."""

    embeddings: int
    head: int  # 0 where it is tied to the embeddings
    layer: int  # of one layer of the language model
    layers: int
    vision: int
    width: int
    inner: int
    query_width: int  # all query heads together
    key_width: int  # all key heads together
    vision_depth: int
    vision_width: int
    vision_inner: int
    patches_per_token: int
    patch_values: int  # numbers of one patch as they go into the tower
    vision_out: int
    vision_window: int  # patches that attend to each other in a block with windows; 0 where no block has them
    vision_full: int  # blocks that attend to whole pictures
    deepstack: int  # blocks whose output joins the language model's first layers
    vocabulary: int
    head_norms: bool  # queries and keys are normed, head by head

    @property
    def language(self) -> int:
        """Embeddings, layers, last norm and head."""
        return self.embeddings + self.head + self.layers * self.layer + self.width

    @property
    def total(self) -> int:
        return self.language + self.vision


@dataclass(frozen=True)
class Part:
    """One part of the memory: bytes, and how they were counted."""

    name: str
    size: int
    formula: str


def sizes_of(config: Mapping[str, Any]) -> Sizes:
    """From a config.json of either family, as a mapping."""
    vision = config["vision_config"]
    text = config.get("text_config", config)  # older files of Qwen2.5-VL state the language model at the top
    is_qwen3 = config["model_type"].startswith("qwen3")
    width, inner, heads, kv_heads = (
        text[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    )
    head_dim = text.get("head_dim") or width // heads
    query, key = heads * head_dim, kv_heads * head_dim
    extra = 2 * head_dim if is_qwen3 else query + 2 * key  # norms of queries and keys, or biases
    layer = width * (query + 2 * key) + query * width + 3 * width * inner + 2 * width + extra
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    embeddings = text["vocab_size"] * width
    return Sizes(
        embeddings=embeddings,
        head=0 if tied else embeddings,
        layer=layer,
        layers=text["num_hidden_layers"],
        vision=_vision(vision, is_qwen3),
        width=width,
        inner=inner,
        query_width=query,
        key_width=key,
        vision_depth=vision["depth"],
        vision_width=vision["hidden_size"],
        vision_inner=vision["intermediate_size"],
        patches_per_token=vision["spatial_merge_size"] ** 2,
        patch_values=vision.get("in_channels", 3) * vision["temporal_patch_size"] * vision["patch_size"] ** 2,
        vision_out=vision["out_hidden_size"],
        vision_window=0 if is_qwen3 else (vision.get("window_size", 112) // vision["patch_size"]) ** 2,
        vision_full=vision["depth"] if is_qwen3 else len(vision.get("fullatt_block_indexes", (7, 15, 23, 31))),
        deepstack=len(vision.get("deepstack_visual_indexes", ())) if is_qwen3 else 0,
        vocabulary=text["vocab_size"],
        head_norms=is_qwen3,
    )


def _vision(vision: Mapping[str, Any], is_qwen3: bool) -> int:
    w, f, out, merged = vision["hidden_size"], vision["intermediate_size"], vision["out_hidden_size"], vision["spatial_merge_size"] ** 2
    patch = vision.get("in_channels", 3) * vision["temporal_patch_size"] * vision["patch_size"] ** 2 * w
    attention = 3 * w * w + 3 * w + w * w + w
    merger = (merged * w) ** 2 + merged * w + merged * w * out + out
    if is_qwen3:
        block = 4 * w + attention + 2 * w * f + f + w
        deep = len(vision["deepstack_visual_indexes"]) * (2 * merged * w + merger)
        return patch + w + vision["num_position_embeddings"] * w + vision["depth"] * block + 2 * w + merger + deep
    block = 2 * w + attention + 3 * w * f + 2 * f + w
    return patch + vision["depth"] * block + w + merger


def trained_parameters(sizes: Sizes, config: PolicyConfig) -> int:
    """What a policy of these settings trains."""
    if not config.lora_rank:
        return sizes.language + (sizes.vision if config.train_vision else 0)
    return config.lora_rank * sum(count * (given + made) for count, given, made in _adapted(sizes, config))


def trained_tensors(sizes: Sizes, config: PolicyConfig) -> int:
    """How many tensors these are: two for each adapted layer; else every weight, norm and bias on its own."""
    if config.lora_rank:
        return 2 * sum(count for count, _, _ in _adapted(sizes, config))
    is_qwen3 = sizes.head_norms
    layer = 7 + 2 + (2 if is_qwen3 else 3)  # matrices, norms, head norms or biases
    language = sizes.layers * layer + 2 + (sizes.head > 0)
    merger = 6 if is_qwen3 else 5  # two layers with biases, a norm with or without one
    tower = 12 * sizes.vision_depth + (1 + sizes.deepstack) * merger + (3 if is_qwen3 else 1)
    return language + (tower if config.train_vision else 0)


def _adapted(sizes: Sizes, config: PolicyConfig) -> list[tuple[int, int, int]]:
    """The kinds of layer that an adapter is on: how many there are, numbers in, numbers out."""
    sides, w, f = linear_sides(sizes), sizes.vision_width, sizes.vision_inner
    found = [(sizes.layers, *sides[target]) for target in config.lora_targets if target in sides]
    if config.train_vision:
        tower = [(w, 3 * w), (w, w), *[(w, f)] * (1 if sizes.head_norms else 2), (f, w)]
        found += [(sizes.vision_depth, given, made) for given, made in tower]
    return found


def linear_sides(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """The linear layers of one layer of the language model: numbers in, numbers out."""
    w, q, k, f = sizes.width, sizes.query_width, sizes.key_width, sizes.inner
    return {
        "q_proj": (w, q),
        "k_proj": (w, k),
        "v_proj": (w, k),
        "o_proj": (q, w),
        "gate_proj": (w, f),
        "up_proj": (w, f),
        "down_proj": (f, w),
    }


def kept_by_layer(sizes: Sizes, policy: PolicyConfig, bytes_each: int, *, fused: bool = False) -> int:
    """Bytes a token that one layer of the language model keeps for its backward pass. fused: by the kernels that a GPU uses (fused.py).

    With w width, q and k all query and key heads, f the inner width, b bytes of a number: attention keeps queries, output, keys and
    values (2 q + 2 k). Stock norms keep their input in float32 (4 w each, and so do Qwen3's norms of queries and keys); a fused norm keeps
    it as it came (b w). The gate keeps its two inputs, and a stock one its activation too.

    The matrices: a trained weight needs its input, and so does an adapter on a frozen one: each norm's result (w each; layers side by side
    share it), attention's output, which is kept already, and the gated product (f). A trained stock norm also keeps what it scales (w
    each). An adapter keeps its r inner numbers besides. PEFT's own layers (kernels = "stock") keep inputs and inner numbers in float32, a
    copy for each layer where the base is not in float32."""
    b, w, q, k, f = bytes_each, sizes.width, sizes.query_width, sizes.key_width, sizes.inner
    normed = q + k if sizes.head_norms else 0
    kept = b * (2 * q + 2 * k) + (b * (2 * w + normed + 2 * f) if fused else 4 * (2 * w + normed) + b * 3 * f)
    if not policy.lora_rank:
        return kept + b * (2 * w + f + (0 if fused else 2 * w + normed))
    sides = linear_sides(sizes)
    adapted = set(policy.lora_targets) & set(sides)
    if policy.kernels == "stock" and b < 4:
        return kept + 4 * sum(sides[target][0] for target in adapted) + 4 * policy.lora_rank * len(adapted)
    after_norms = bool({"q_proj", "k_proj", "v_proj"} & adapted) + bool({"gate_proj", "up_proj"} & adapted)
    return kept + b * (w * after_norms + f * ("down_proj" in adapted) + policy.lora_rank * len(adapted))


def estimate(
    sizes: Sizes,
    policy: PolicyConfig,
    *,
    prompt_tokens: int,
    video_tokens: int,
    completion_tokens: int,
    group_size: int,
    prompts_per_step: int,
    batch_prompts: int,
    token_budget: int,
    keeps_reference: bool,
    optimizer: OptimizerName = "adamw",
    bytes_each: int = 2,
) -> list[Part]:
    """The parts, the largest prompt and completions of full length assumed. bytes_each: of a weight; 2 is bfloat16, 4 float32."""
    b, fused = bytes_each, bytes_each < 4 and policy.kernels == "auto" and not policy.device.startswith("cpu")
    parts = [Part("weights", sizes.total * b, f"{sizes.total / 1e9:.3g} G parameters x {b}")]
    parts += _trained(sizes, policy, optimizer, b, keeps_reference=keeps_reference)
    group = prompt_tokens + group_size * completion_tokens
    row = min(max(token_budget, prompt_tokens + completion_tokens), prompts_per_step * group)
    parts += _graph(sizes, policy, row, kept_by_layer(sizes, policy, b, fused=fused), b)
    if policy.train_vision:
        parts.append(_tower_graph(sizes, policy, prompts_per_step * video_tokens, b, fused=fused))
    tile = min(TILE_BYTES, 4 * sizes.vocabulary * prompts_per_step * group_size * completion_tokens)
    head, what = 3 * tile, f"three tiles of float32 logits, {tile / 2**20:.0f} MiB each"
    if not policy.lora_rank:
        head, what = head + sizes.embeddings * (4 + b), f"{what}, and a trained head's gradient: {sizes.embeddings / 1e9:.3g} G x {4 + b}"
    parts.append(Part("head", head, what))
    parts.append(_vision_pass(sizes, video_tokens, b, fused=fused))
    parts.append(_features(sizes, prompts_per_step * video_tokens, b))
    if policy.lora_rank:
        adapted = sizes.layers * sum(a * z for name, (a, z) in linear_sides(sizes).items() if name in policy.lora_targets)
        parts.append(
            Part("merged weights", adapted * b, f"adapted layers with the adapter added, while sampling: {adapted / 1e9:.3g} G x {b}")
        )
    together = min(batch_prompts, prompts_per_step)
    each = b * (3 * sizes.inner + 2 * sizes.width)
    parts.append(
        Part("prefill", together * prompt_tokens * each, f"{together * prompt_tokens:,} tokens of prompts x {each / 1024:.0f} KiB")
    )
    cache = together * group * sizes.layers * 2 * sizes.key_width * b
    row_of_one = f"({prompt_tokens:,} + {group_size} x {completion_tokens:,}) tokens"
    parts.append(Part("rollout cache", cache, f"{together} prompts x {row_of_one} x {sizes.layers} layers"))
    parts.append(Part(CONTEXT, CONTEXT_BYTES, "CUDA context, workspaces, gaps between tensors: assumed"))
    return parts


def _trained(sizes: Sizes, policy: PolicyConfig, optimizer: OptimizerName, b: int, *, keeps_reference: bool) -> list[Part]:
    """What training adds to the weights: an adapter, a reference, gradients, the optimizer's state and what its step takes besides."""
    trained, is_low = trained_parameters(sizes, policy), b < 4 and not policy.lora_rank  # adapters are float32
    largest = policy.lora_rank * max(sizes.inner, sizes.width) if policy.lora_rank else sizes.embeddings
    billions = f"{trained / 1e9:.3g} G"
    parts: list[Part] = []
    if policy.lora_rank:
        copies = b if b < 4 and policy.kernels == "auto" else 0
        parts.append(
            Part("adapter", trained * (4 + copies), f"{billions} x {4 + copies} (float32{', and a copy to compute with' * (copies > 0)})")
        )
    if keeps_reference and not policy.lora_rank:
        parts.append(Part("reference", trained * b, f"frozen copy of what is trained: {billions} x {b}"))
    else:
        parts.append(Part("reference", 0, "the adapter turned off" if policy.lora_rank else "none: grpo.kl_weight is 0"))
    has_masters = is_low and optimizer != "adamw_8bit_bf16"
    grads = 2 if is_low and not has_masters else 4
    kind = "float32 sums" if has_masters else "bfloat16" if grads == 2 else "float32"
    parts.append(Part("gradients", trained * grads, f"{billions} trained x {grads} ({kind})"))
    if has_masters:
        parts.append(Part("pass's gradients", trained * b, f"before they join the sums: {billions} x {b}"))
    states = (8 if optimizer == "adamw" else MOMENT_8BIT) + (4 if has_masters else 0)
    moments = "two float32 moments" if optimizer == "adamw" else "two 8-bit moments with scales"
    masters = " + float32 weights" if has_masters else ", results rounded at random" if is_low else ""
    parts.append(Part("optimizer", round(trained * states), f"{billions} x {states:.3g} ({moments}{masters})"))
    if optimizer == "adamw":
        parts.append(Part("optimizer step", trained * 4, f"roots of the second moments, all at once: {billions} x 4"))
    else:
        times = UNCOMPILED_ROUNDED if kind == "bfloat16" else UNCOMPILED
        how = f"{times:g} float32 copies of the largest weight, {largest / 1e9:.3g} G: uncompiled; torchao's compiled step takes less"
        parts.append(Part("optimizer step", round(largest * 4 * times), how))
    return parts


def _graph(sizes: Sizes, policy: PolicyConfig, row: int, kept: int, b: int) -> list[Part]:
    """What a pass holds when its backward pass begins, and what the first layer to be gone through adds. With checkpointing that is all
    that the layer keeps, computed again; always what its gate's gradients take: of product, gate and the other half (3 f), when a product
    that was kept is gone (f)."""
    keeps_product = not policy.lora_rank or "down_proj" in policy.lora_targets
    passing = b * sizes.inner * (2 if keeps_product else 3)
    through, again = sizes.layers * kept, passing
    how, what = f"{sizes.layers} layers x {kept / 1024:.0f} KiB", "gradients"
    if policy.gradient_checkpointing:
        through, again = sizes.layers * sizes.width * b, kept + passing
        how, what = f"{sizes.layers} layers' inputs, {through / 1024:.0f} KiB", "what it keeps and its gradients"
    return [
        Part("activations", row * through, f"{row:,} tokens of one pass x {how}"),
        Part("one layer", row * again, f"{row:,} tokens x {again / 1024:.0f} KiB: {what}"),
    ]


def kept_by_tower(sizes: Sizes, policy: PolicyConfig, b: int, *, fused: bool) -> int:
    """Bytes a patch that a trained tower keeps for its backward pass without checkpointing, b bytes of a number. A block: each norm's input
    and result, queries, keys and values as one product, the first two turned, attention's output (10 w), and the inner layer (3 f with a
    gate, else 2 f); stock gates keep their activation too, and stock RMS norms float32. Besides what the mergers keep: 2 w each; 2 w more,
    and the patches, where they are trained themselves."""
    w = sizes.vision_width
    is_adapter = bool(policy.lora_rank)
    ends = b * (2 if is_adapter else 4) * w * (1 + sizes.deepstack) + (0 if is_adapter else b * sizes.patch_values)
    return sizes.vision_depth * _block(sizes, policy, b, fused=fused) + ends


def _block(sizes: Sizes, policy: PolicyConfig, b: int, *, fused: bool) -> int:
    """With what is inside of the adapters on its layers. Trained stock RMS norms keep what they scale (w each) besides."""
    w, f = sizes.vision_width, sizes.vision_inner
    inner = (4 if sizes.head_norms else 5) * b * policy.lora_rank
    if sizes.head_norms:  # Qwen3-VL's tower has layer norms and no gate: nothing of it is fused but the rotation
        return b * (10 * w + 2 * f) + inner
    return (b * (10 * w + 3 * f) if fused else b * ((9 if policy.lora_rank else 11) * w + 4 * f) + 8 * w) + inner


def _tower_graph(sizes: Sizes, policy: PolicyConfig, video_tokens: int, b: int, *, fused: bool) -> Part:
    """A trained tower's, kept until the features' gradients arrive."""
    patches = video_tokens * sizes.patches_per_token
    each = kept_by_tower(sizes, policy, b, fused=fused)
    if policy.gradient_checkpointing:
        each = sizes.vision_depth * sizes.vision_width * b + _block(sizes, policy, b, fused=fused)
    return Part("vision activations", patches * each, f"{patches:,} patches of a step's videos x {each / 1024:.0f} KiB")


def _vision_pass(sizes: Sizes, video_tokens: int, b: int, *, fused: bool) -> Part:
    """One video in a tower without a graph: what stands beside each other in one block. Its patches, in float32 and in the weights' type;
    the states before and after they are put in order, the sum that goes on and its norm, gate, other half and product; in stock layers
    queries, keys and values, rotated in float32."""
    patches, w, f = video_tokens * sizes.patches_per_token, sizes.vision_width, sizes.vision_inner
    each = (4 + (b if b < 4 else 0)) * sizes.patch_values + b * (4 * w + 3 * f) + (0 if fused else 2 * b * w + 16 * w)
    return Part("vision pass", patches * each, f"{patches:,} patches of one video x {each / 1024:.0f} KiB at a time")


def _features(sizes: Sizes, video_tokens: int, b: int) -> Part:
    each = sizes.vision_out * (1 + sizes.deepstack) * b
    return Part("features", video_tokens * each, f"{video_tokens:,} video tokens of a step x {each / 1024:.0f} KiB")


def peaks(parts: list[Part]) -> dict[str, int]:
    """Bytes at the fullest moment of each phase of a step. Weights, what training adds to them, features and the rollout's buffers
    (recorded steps need their addresses) last; the rest comes and goes. Of the head and a layer's backward pass only one is there at a
    time, and a pass's gradients gather while its activations go."""
    by_name = {part.name: part.size for part in parts}
    lasts = ("weights", "adapter", "reference", "optimizer", "features", "rollout cache", CONTEXT)

    def lasting(*names: str) -> int:
        return sum(by_name.get(name, 0) for name in (*lasts, *names))

    def most(*names: str) -> int:
        return max(by_name.get(name, 0) for name in names)

    tower = "vision activations"  # a trained tower's graph waits for the features' gradients
    return {
        "vision": lasting("vision pass", tower),
        "rollout": lasting("merged weights", "prefill", tower),
        "update": lasting("gradients", tower) + most("activations", "pass's gradients") + most("head", "one layer"),
        "optimizer": lasting("gradients", "optimizer step"),
    }


def peak(parts: list[Part], *, allocated: bool = False) -> int:
    """Bytes at the fullest moment of a step. allocated: of tensors alone, as PyTorch's allocator counts; the context is not among them."""
    return max(peaks([part for part in parts if not allocated or part.name != CONTEXT]).values())
