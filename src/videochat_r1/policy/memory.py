"""How much GPU memory a run will take, part by part, from a model's configuration alone: an estimate with its formula, before any weight
is loaded. Parameters are counted exactly; activations follow what stock layers keep for their backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from videochat_r1.policy.config import PolicyConfig

TILE_BYTES = 256 << 20  # head.py's on a GPU


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
    text, vision = config["text_config"], config["vision_config"]
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
    sides = {
        "q_proj": sizes.width + sizes.query_width,
        "k_proj": sizes.width + sizes.key_width,
        "v_proj": sizes.width + sizes.key_width,
        "o_proj": sizes.query_width + sizes.width,
        "gate_proj": sizes.width + sizes.inner,
        "up_proj": sizes.width + sizes.inner,
        "down_proj": sizes.inner + sizes.width,
    }
    return config.lora_rank * sizes.layers * sum(sides.get(target, 0) for target in config.lora_targets)


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
    grads = 6 if is_low else 4
    sums = " (float32 sums + bfloat16)" if is_low else ""
    parts.append(Part("gradients", trained * grads, f"{billions} trained ({own}) x {grads}{sums}"))
    states = 12 if is_low else 8
    masters = " + float32 weights" if is_low else ""
    parts.append(Part("optimizer", trained * states, f"{billions} x {states} (two float32 moments{masters})"))
    group = prompt_tokens + group_size * completion_tokens
    row = min(max(token_budget, prompt_tokens + completion_tokens), prompts_per_step * group)
    kept = b * (4 * sizes.width + 3 * sizes.query_width + 4 * sizes.key_width + 4 * sizes.inner) + 8 * sizes.width
    through = sizes.layers * sizes.width * b + kept if policy.gradient_checkpointing else sizes.layers * kept
    each = f"{kept / 1024:.0f} KiB"
    how = f"{sizes.layers} layers' inputs + one layer of {each}" if policy.gradient_checkpointing else f"{sizes.layers} layers x {each}"
    parts.append(Part("activations", row * through, f"{row:,} tokens of one pass x ({how})"))
    if policy.train_vision:
        patches = prompts_per_step * video_tokens * sizes.patches_per_token
        block = b * (11 * sizes.vision_width + 4 * sizes.vision_inner) + 8 * sizes.vision_width
        tower = sizes.vision_depth * sizes.vision_width * b + block if policy.gradient_checkpointing else sizes.vision_depth * block
        parts.append(Part("vision activations", patches * tower, f"{patches:,} patches of a step's videos x {tower / 1024:.0f} KiB"))
    parts.append(Part("head", 3 * TILE_BYTES, "three tiles of float32 logits, 256 MiB each"))
    together = min(batch_prompts, prompts_per_step)
    cache = together * group * sizes.layers * 2 * sizes.key_width * b
    row_of_one = f"({prompt_tokens:,} + {group_size} x {completion_tokens:,}) tokens"
    parts.append(Part("rollout cache", cache, f"{together} prompts x {row_of_one} x {sizes.layers} layers"))
    return parts


def peak(parts: list[Part]) -> int:
    """Bytes at the fullest moment: sampling and the update do not hold their memory at the same time."""
    by_name = {part.name: part.size for part in parts}
    update = sum(by_name.get(name, 0) for name in ("activations", "vision activations", "head", "gradients"))
    lasting = by_name["weights"] + by_name["reference"] + by_name["optimizer"]
    return lasting + max(update, by_name["rollout cache"] + by_name.get("vision activations", 0))
