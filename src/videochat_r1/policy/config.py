"""Which model is trained, and what of it. No torch here: `--help` reads this file."""

from __future__ import annotations

from typing import Literal

from videochat_r1.section import Section, free, refused, warned

SMALL = "small"
"""What the shipped model is called where a model's folder or name is asked for (small/)."""
ASKED = "asked.toml"
"""In a trained policy's folder: [video], [asking] and [rollout] max_tokens of its run, so that it can be carried elsewhere; of an adapter
[base] digest, which stands for the model it was trained on."""


class PolicyConfig(Section):
    """Which model is trained, and what of it."""

    path: str = refused("", "a local Hugging Face folder, a PEFT adapter's folder, or a name on the hub")
    lora_rank: int = refused(0, "rank of the LoRA adapter; 0 trains the weights themselves", ge=0, le=8192)
    lora_alpha: int = refused(0, "LoRA's alpha; 0 takes twice the rank", ge=0)
    lora_targets: tuple[str, ...] = refused(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        "linear layers of the language model that LoRA adapts",
    )
    train_vision: bool = refused(False, "train the vision tower too (with LoRA: adapt its linear layers too)")
    dtype: Literal["auto", "float32", "bfloat16"] = refused("auto", "of the weights; auto is bfloat16 on a GPU and float32 elsewhere")
    device: str = warned("auto", "where the model runs: auto, cpu, cuda or cuda:N")
    gradient_checkpointing: bool = free(False, "compute each layer again in the backward pass instead of keeping what it computed")
    vision_path: Literal["fast", "stock"] = free(
        "fast", "fast: windows of equal length in one call; stock: the tower as it came, window by window"
    )
    kernels: Literal["auto", "stock"] = free(
        "auto",
        "auto: norms, gates and rotary positions as one Triton kernel each on a GPU, adapters in the base's type; stock: as they came",
    )
    attention: Literal["auto", "segments", "efficient", "flex", "portable", "dense"] = free(
        "auto",
        "how completions attend to the shared prompt; auto takes the fastest kernel, measured on a GPU. "
        "Name one where runs on a GPU are to be compared to the last bit",
    )
    feature_cache_mb: int = free(
        0, "MiB of memory for what a frozen tower made of videos, for later epochs and other questions; 0 keeps nothing", ge=0
    )
    feature_disk_mb: int = free(0, "MiB on disk for the same, in feature_dir; 0 writes nothing", ge=0)
    feature_dir: str = free("", "the folder that vision features are kept in, for this run and later ones of the same tower")
    compile_head: bool = free(False, "on a GPU: compile what the language-model head does with a tile of tokens")
