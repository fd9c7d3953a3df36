"""How much GPU memory a run will take, part by part, from a model's configuration alone: an estimate with its formula, before any weight
is loaded. Parameters are counted exactly; activations follow what stock layers keep for their backward pass, and
tests/policy/test_memory.py holds them to PyTorch's own account of saved tensors. The one home of these numbers: dry runs, `plan` and
benchmarks take them from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from videochat_r1.policy.config import PolicyConfig

TILE_BYTES = 256 << 20  # head.py's on a GPU
CONTEXT_BYTES = 1 << 30  # assumed: the CUDA context, libraries' workspaces and what the allocator cannot use
MOMENT_8BIT = 2 * (1 + 4 / 256)  # two moments of a byte each, and a float32 scale for every 256
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
    sides = linear_sides(sizes)
    return config.lora_rank * sizes.layers * sum(sum(sides.get(target, ())) for target in config.lora_targets)


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


def kept_by_layer(sizes: Sizes, policy: PolicyConfig, bytes_each: int) -> int:
    """Bytes a token that one layer of the language model keeps for its backward pass.

    With w width, q and k all query and key heads, f the inner width: the two norms keep their input in float32 (4 w each), and so do
    Qwen3's norms of queries and keys; attention keeps queries, output, keys and values (2 q + 2 k); the gated layer its gate, the gate's
    activation, the other half and, where the next matrix needs it, their product. A trained weight needs its input: each norm before and
    after its scale (2 w each). A frozen one needs none, but an adapter keeps its input, in float32, and its r inner numbers (PEFT casts
    for each of its layers anew)."""
    b, w, q, k, f = bytes_each, sizes.width, sizes.query_width, sizes.key_width, sizes.inner
    normed = q + k if sizes.head_norms else 0
    norms_and_attention = 8 * w + 4 * normed + b * (2 * q + 2 * k)
    if not policy.lora_rank:
        return norms_and_attention + b * (4 * w + normed + 4 * f)
    sides = linear_sides(sizes)
    adapted = [target for target in policy.lora_targets if target in sides]
    if b < 4:
        inputs = 4 * sum(sides[target][0] for target in adapted)
    else:  # float32 already: no copy, and layers side by side share theirs; o_proj's is attention's output, kept above
        inputs = 4 * w * bool({"q_proj", "k_proj", "v_proj"} & set(adapted)) + 4 * w * bool({"gate_proj", "up_proj"} & set(adapted))
        inputs += 4 * f * ("down_proj" in adapted)
    return norms_and_attention + b * 3 * f + inputs + 4 * policy.lora_rank * len(adapted)


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
    b, trained = bytes_each, trained_parameters(sizes, policy)
    is_low = b < 4 and not policy.lora_rank  # adapters are float32
    billions, own = f"{trained / 1e9:.3g} G", "float32" if not is_low else "bfloat16"
    parts = [Part("weights", sizes.total * b, f"{sizes.total / 1e9:.3g} G parameters x {b}")]
    if keeps_reference and not policy.lora_rank:
        parts.append(Part("reference", trained * b, f"frozen copy of what is trained: {billions} x {b}"))
    else:
        parts.append(Part("reference", 0, "the adapter turned off" if policy.lora_rank else "none: grpo.kl_weight is 0"))
    has_masters = is_low and optimizer != "adamw_8bit_bf16"
    grads = 6 if has_masters else 2 if is_low else 4
    sums = " (float32 sums + bfloat16)" if has_masters else ""
    parts.append(Part("gradients", trained * grads, f"{billions} trained ({own}) x {grads}{sums}"))
    states = (8 if optimizer == "adamw" else MOMENT_8BIT) + (4 if has_masters else 0)
    moments = "two float32 moments" if optimizer == "adamw" else "two 8-bit moments with scales"
    masters = " + float32 weights" if has_masters else ", results rounded at random" if is_low else ""
    parts.append(Part("optimizer", round(trained * states), f"{billions} x {states:.3g} ({moments}{masters})"))
    group = prompt_tokens + group_size * completion_tokens
    row = min(max(token_budget, prompt_tokens + completion_tokens), prompts_per_step * group)
    kept = kept_by_layer(sizes, policy, b)
    through = sizes.layers * sizes.width * b + kept if policy.gradient_checkpointing else sizes.layers * kept
    each = f"{kept / 1024:.0f} KiB"
    how = f"{sizes.layers} layers' inputs + one layer of {each}" if policy.gradient_checkpointing else f"{sizes.layers} layers x {each}"
    parts.append(Part("activations", row * through, f"{row:,} tokens of one pass x ({how})"))
    if policy.train_vision:
        patches = prompts_per_step * video_tokens * sizes.patches_per_token
        block = b * (11 * sizes.vision_width + 4 * sizes.vision_inner) + 8 * sizes.vision_width
        tower = sizes.vision_depth * sizes.vision_width * b + block if policy.gradient_checkpointing else sizes.vision_depth * block
        parts.append(Part("vision activations", patches * tower, f"{patches:,} patches of a step's videos x {tower / 1024:.0f} KiB"))
    head, what = 3 * TILE_BYTES, "three tiles of float32 logits, 256 MiB each"
    if not policy.lora_rank:
        head, what = head + sizes.embeddings * (4 + b), f"{what}, and a trained head's gradient: {sizes.embeddings / 1e9:.3g} G x {4 + b}"
    parts.append(Part("head", head, what))
    parts.append(_vision_pass(sizes, video_tokens, b))
    parts.append(_features(sizes, prompts_per_step * video_tokens, b))
    if policy.lora_rank:
        adapted = sizes.layers * sum(a * z for name, (a, z) in linear_sides(sizes).items() if name in policy.lora_targets)
        parts.append(
            Part("merged weights", adapted * b, f"adapted layers with the adapter added, while sampling: {adapted / 1e9:.3g} G x {b}")
        )
    together = min(batch_prompts, prompts_per_step)
    cache = together * group * sizes.layers * 2 * sizes.key_width * b
    row_of_one = f"({prompt_tokens:,} + {group_size} x {completion_tokens:,}) tokens"
    parts.append(Part("rollout cache", cache, f"{together} prompts x {row_of_one} x {sizes.layers} layers"))
    parts.append(Part("context", CONTEXT_BYTES, "CUDA context, workspaces, gaps between tensors: assumed"))
    return parts


def _vision_pass(sizes: Sizes, video_tokens: int, b: int) -> Part:
    """One video in a tower without a graph: what stands beside each other in one block."""
    patches, w, f = video_tokens * sizes.patches_per_token, sizes.vision_width, sizes.vision_inner
    each = 4 * sizes.patch_values + b * (2 * w + 4 * w) + 16 * w + b * 3 * f  # patches, states and q, k, v, rotated in float32, inner
    return Part("vision pass", patches * each, f"{patches:,} patches of one video x {each / 1024:.0f} KiB at a time")


def _features(sizes: Sizes, video_tokens: int, b: int) -> Part:
    each = sizes.vision_out * (1 + sizes.deepstack) * b
    return Part("features", video_tokens * each, f"{video_tokens:,} video tokens of a step x {each / 1024:.0f} KiB")


def peaks(parts: list[Part]) -> dict[str, int]:
    """Bytes at the fullest moment of each phase of a step. Weights, reference and optimizer last; the rest comes and goes: what sampling
    holds is gone before the update begins."""
    by_name = {part.name: part.size for part in parts}

    def lasting(*names: str) -> int:
        return sum(by_name.get(name, 0) for name in ("weights", "reference", "optimizer", "features", "context", *names))

    tower = "vision activations"  # a trained tower's graph waits for the features' gradients
    return {
        "vision": lasting("vision pass", tower),
        "rollout": lasting("rollout cache", "merged weights", tower),
        "update": lasting("activations", tower, "head", "gradients"),
    }


def peak(parts: list[Part]) -> int:
    """Bytes at the fullest moment of a step."""
    return max(peaks(parts).values())
