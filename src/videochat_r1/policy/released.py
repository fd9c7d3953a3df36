"""Released models by name: their published sizes, so that a run can be planned where neither weights nor configuration are at hand.

The numbers are those of each model's public config.json. A folder's own config.json always goes before them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.errors import EnvironmentFault

if TYPE_CHECKING:
    from videochat_r1.policy.processing import Processing

TOKENS = {"image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652, "vision_end_token_id": 151653}


def _qwen2_5(
    width: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int, *, tied: bool, vision_inner: int = 3420
) -> dict[str, Any]:
    text = {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 128_000,
        "tie_word_embeddings": tied,
    }
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": vision_inner,
        "num_heads": 16,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "tokens_per_second": 2,
        "out_hidden_size": width,
        "in_channels": 3,
    }
    return {"model_type": "qwen2_5_vl", "text_config": text, "vision_config": vision, "tie_word_embeddings": tied, **TOKENS}


def _qwen3(
    width: int,
    inner: int,
    vision_depth: int,
    vision_width: int,
    vision_inner: int,
    deepstack: list[int],
    *,
    tied: bool,
    layers: int = 36,
    heads: int = 32,
) -> dict[str, Any]:
    text = {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "max_position_embeddings": 262_144,
        "tie_word_embeddings": tied,
    }
    vision = {
        "depth": vision_depth,
        "hidden_size": vision_width,
        "intermediate_size": vision_inner,
        "num_heads": 16,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": width,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": deepstack,
        "in_channels": 3,
    }
    return {"model_type": "qwen3_vl", "text_config": text, "vision_config": vision, "tie_word_embeddings": tied, **TOKENS}


CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen2_5(2048, 11_008, 36, 16, 2, 151_936, tied=True),
    "Qwen/Qwen2.5-VL-7B-Instruct": _qwen2_5(3584, 18_944, 28, 28, 4, 152_064, tied=False),
    "Qwen/Qwen2.5-VL-32B-Instruct": _qwen2_5(5120, 27_648, 64, 40, 8, 152_064, tied=False, vision_inner=3456),
    "Qwen/Qwen2.5-VL-72B-Instruct": _qwen2_5(8192, 29_568, 80, 64, 8, 152_064, tied=False, vision_inner=3456),
    "Qwen/Qwen3-VL-2B-Instruct": _qwen3(2048, 6144, 24, 1024, 4096, [5, 11, 17], tied=True, layers=28, heads=16),
    "Qwen/Qwen3-VL-4B-Instruct": _qwen3(2560, 9728, 24, 1024, 4096, [5, 11, 17], tied=True),
    "Qwen/Qwen3-VL-8B-Instruct": _qwen3(4096, 12_288, 27, 1152, 4304, [8, 16, 24], tied=False),
}


def released_processing(name: str, tokenizer: str | Path) -> Processing:
    """Prompts of a released model written with nothing but a folder that holds its tokenizer.json. Raises EnvironmentFault without one."""
    from transformers import AutoTokenizer
    from transformers.models.qwen2_5_vl import Qwen2_5_VLConfig
    from transformers.models.qwen3_vl import Qwen3VLConfig

    from videochat_r1.policy.processing import Processing

    if not (Path(tokenizer) / "tokenizer.json").is_file():
        raise EnvironmentFault(f"{tokenizer} has no tokenizer.json.", "Give the folder of the model's tokenizer.")
    config = CONFIGS[name]
    kind = {"qwen2_5_vl": Qwen2_5_VLConfig, "qwen3_vl": Qwen3VLConfig}[config["model_type"]]
    loaded = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True, trust_remote_code=False)
    settings = {key: value for key, value in config.items() if key != "model_type"}
    processing = Processing(hf_config=kind(**settings), tokenizer=loaded, processor=None)
    processing.processor = ChatOnly(processing.family.chat_template)
    return processing


class ChatOnly:
    """The one thing that a prompt's text needs of a processor: the chat template."""

    def __init__(self, template: str) -> None:
        self.template = template

    def apply_chat_template(self, chat: list[dict[str, Any]], **_: Any) -> str:
        """The conversation as the template writes it, up to where the model goes on."""
        return chat_of(self.template, chat)


def chat_of(template: str, chat: list[dict[str, Any]]) -> str:
    """A conversation in a family's own template. Needs no tokenizer."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=chat, add_generation_prompt=True)
