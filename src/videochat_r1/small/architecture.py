"""The small model: a stock class with about a million and a half parameters, and the stock processor that goes with it.

Pictures of 64 x 64 pixels, patches of 8, 2 x 2 patches to a token: 16 tokens for every two frames. The shipped model is of Qwen3-VL's
class, which writes their second before them and has a learned position for each patch; Qwen2.5-VL's class, which tells both by rotary
positions alone, can be taught the same lessons (pretrain.py, --kind)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

Kind = Literal["qwen3_vl", "qwen2_5_vl"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PATCH, MERGE, TEMPORAL_PATCH = 8, 2, 2
SIDE_PX = 64
MAX_FRAMES = 64


def small_config(
    tokenizer: PreTrainedTokenizerFast,
    *,
    kind: Kind = "qwen3_vl",
    width: int = 128,
    layers: int = 4,
    vision_width: int = 64,
    vision_layers: int = 3,
) -> Any:
    """Ordinary configuration of the stock class of that kind; heads are 32 wide."""
    token = tokenizer.get_vocab()
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [6, 5, 5]}
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
        "num_key_value_heads": max(width // 64, 1),
        "max_position_embeddings": 8192,
        "rope_parameters": rope,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": token["<|im_end|>"],
        "pad_token_id": token["<|endoftext|>"],
    }
    vision: dict[str, Any] = {
        "hidden_size": vision_width,
        "intermediate_size": 4 * vision_width,
        "depth": vision_layers,
        "num_heads": vision_width // 16,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": TEMPORAL_PATCH,
        "out_hidden_size": width,
    }
    ids: dict[str, Any] = {
        "tie_word_embeddings": True,
        "image_token_id": token["<|image_pad|>"],
        "video_token_id": token["<|video_pad|>"],
        "vision_start_token_id": token["<|vision_start|>"],
        "vision_end_token_id": token["<|vision_end|>"],
    }
    if kind == "qwen2_5_vl":
        vision |= {"tokens_per_second": 2, "window_size": SIDE_PX, "fullatt_block_indexes": [vision_layers - 1]}
        return Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    rope["mrope_interleaved"] = True
    vision |= {"num_position_embeddings": (SIDE_PX // PATCH) ** 2, "deepstack_visual_indexes": [vision_layers - 2]}
    return Qwen3VLConfig(text_config=text | {"head_dim": 32}, vision_config=vision, **ids)


def small_model(config: Any) -> Any:
    """The stock class with random weights (seed torch first) and the generation settings that a chat model carries."""
    model = (Qwen2_5_VLForConditionalGeneration if config.model_type == "qwen2_5_vl" else Qwen3VLForConditionalGeneration)(config)
    text = config.get_text_config()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = text.eos_token_id, text.pad_token_id
    return model


def small_processor(tokenizer: PreTrainedTokenizerFast, kind: Kind = "qwen3_vl") -> Any:
    """The stock processor for 64-pixel pictures: a token is 16 x 16 pixels of two frames."""
    geometry: dict[str, Any] = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": TEMPORAL_PATCH}
    side = PATCH * MERGE
    images = Qwen2VLImageProcessor(size={"shortest_edge": side * side, "longest_edge": SIDE_PX * SIDE_PX}, **geometry)
    frames: dict[str, Any] = {"min_frames": TEMPORAL_PATCH, "max_frames": MAX_FRAMES, "fps": 2, **geometry}
    if kind == "qwen2_5_vl":
        videos: Any = Qwen2VLVideoProcessor(size={"shortest_edge": side * side, "longest_edge": SIDE_PX * SIDE_PX}, **frames)
        return Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=tokenizer.chat_template)
    budget = {"shortest_edge": side * side * TEMPORAL_PATCH, "longest_edge": SIDE_PX * SIDE_PX * MAX_FRAMES}  # pixels of a whole video
    videos = Qwen3VLVideoProcessor(size=budget, **frames)
    return Qwen3VLProcessor(image_processor=images, tokenizer=tokenizer, video_processor=videos, chat_template=tokenizer.chat_template)


def save_small_model(folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    """A folder that AutoModelForImageTextToText and AutoProcessor load."""
    model.save_pretrained(folder)
    small_processor(tokenizer, model.config.model_type).save_pretrained(folder)
