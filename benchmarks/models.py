"""Policies of true geometry with random weights, made where they compute, and random prompts for them: nothing is downloaded or read.

Speed does not depend on what the weights are, so random ones serve; a stand-in tokenizer has the released one's size and special ids.
`small` is the exception: the shipped model on filmed scenes of the built-in world, as the demo trains it."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
)

from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.memory import Sizes, sizes_of
from videochat_r1.policy.model import Policy, add_adapter, load_policy
from videochat_r1.policy.processing import Processing
from videochat_r1.policy.prompt import pinned_for, render
from videochat_r1.policy.released import CONFIGS
from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Clip, Prompt
from videochat_r1.video.clips import ClipLoader
from videochat_r1.world.files import film_samples, scenes_for

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen's special tokens in their order, after 151,643 others."""

QWEN2_5_ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
QWEN3_ROPE = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
WINDOWS = {"window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}
STAMP_TOKENS = 6  # of a second that Qwen3-VL writes before a moment, about
NEVER = -1  # an end token that no softmax can give: completions are then as long as they may be


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A model's sizes, as its config.json states them, and the video that its benchmarks show: patches of a moment."""

    config: dict[str, Any]
    rows: int
    columns: int
    text_tokens: int
    prompt_tokens: int  # of a prompt, where the command names no number
    completion_tokens: int
    lora_rank: int

    @property
    def is_qwen3(self) -> bool:
        return self.config["model_type"] == "qwen3_vl"

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.config)


def _released(name: str, rope: dict[str, Any], **vision: Any) -> Geometry:
    stated = CONFIGS[f"Qwen/{name}-Instruct"]
    config = {
        **stated,
        "text_config": {**stated["text_config"], "rope_parameters": rope, "rms_norm_eps": 1e-6},
        "vision_config": {**stated["vision_config"], **vision},
    }
    return Geometry(config=config, rows=16, columns=32, text_tokens=172, prompt_tokens=3756, completion_tokens=256, lora_rank=64)


def _little(kind: str, *, width: int, layers: int, vocabulary: int, patch: int, prompt_tokens: int) -> Geometry:
    """A model that a CPU runs in milliseconds: heads 32 wide, half as many key/value heads, tied embeddings."""
    heads, head = width // 32, 32
    text = {
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(heads // 2, 1),
        "vocab_size": vocabulary,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    }
    vision: dict[str, Any] = {"depth": 4, "hidden_size": width // 2, "intermediate_size": width, "num_heads": 2, "patch_size": patch}
    vision |= {"spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": width, "in_channels": 3}
    if kind == "qwen3_vl":
        text |= {"head_dim": head, "rope_parameters": QWEN3_ROPE | {"rope_theta": 1e4, "mrope_section": [6, 5, 5]}}
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [1, 2]}
    else:
        text |= {"rope_parameters": QWEN2_5_ROPE | {"rope_theta": 1e4, "mrope_section": [4, 6, 6]}}
        vision |= {"tokens_per_second": 2, "window_size": 4 * patch, "fullatt_block_indexes": [1, 3]}
    ids = {name: vocabulary - 14 + SPECIALS.index(token) for name, token in PLACES.items()}
    config = {"model_type": kind, "text_config": text, "vision_config": vision, "tie_word_embeddings": True, **ids}
    return Geometry(config=config, rows=4, columns=4, text_tokens=12, prompt_tokens=prompt_tokens, completion_tokens=6, lora_rank=4)


PLACES = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
MINI: dict[str, Any] = {"rows": 8, "columns": 8, "completion_tokens": 78}
GEOMETRIES: dict[str, Geometry] = {
    "3b": _released("Qwen2.5-VL-3B", QWEN2_5_ROPE, **WINDOWS),
    "7b": _released("Qwen2.5-VL-7B", QWEN2_5_ROPE, **WINDOWS),
    "qwen3-4b": _released("Qwen3-VL-4B", QWEN3_ROPE),
    "qwen3-8b": _released("Qwen3-VL-8B", QWEN3_ROPE),
    # text 128 wide x 4 layers, the size of the shipped model, without its weights
    "mini": replace(_little("qwen2_5_vl", width=128, layers=4, vocabulary=1500, patch=8, prompt_tokens=315), **MINI),
    "mini-qwen3": replace(_little("qwen3_vl", width=128, layers=4, vocabulary=1500, patch=8, prompt_tokens=355), **MINI),
    "toy": _little("qwen2_5_vl", width=64, layers=2, vocabulary=352, patch=4, prompt_tokens=40),
    "toy-qwen3": _little("qwen3_vl", width=64, layers=2, vocabulary=352, patch=4, prompt_tokens=60),
}
NAMES = (*GEOMETRIES, "small")
LARGE = ("3b", "7b", "qwen3-4b", "qwen3-8b")


@functools.cache
def stand_in_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Bytes, words that nobody writes, and Qwen's special tokens at the released ids (or at the end of a small vocabulary)."""
    words = 151_643 if vocabulary > 151_657 else vocabulary - len(SPECIALS)
    vocab = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab |= {f"Ġw{index}": index for index in range(len(vocab), words)}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )


def hf_config(geometry: Geometry, *, layers: int | None = None) -> Any:
    """The stock configuration; layers: only so many of the language model's."""
    settings = {key: value for key, value in geometry.config.items() if key != "model_type"}
    text = {**settings["text_config"], "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if layers is not None:
        text["num_hidden_layers"] = layers
    return (Qwen3VLConfig if geometry.is_qwen3 else Qwen2_5_VLConfig)(**{**settings, "text_config": text})


def processing_of(geometry: Geometry, config: Any) -> Processing:
    """A stock processor around the stand-in tokenizer."""
    tokenizer = stand_in_tokenizer(geometry.config["text_config"]["vocab_size"])
    vision = geometry.config["vision_config"]
    cut = {"patch_size": vision["patch_size"], "temporal_patch_size": 2, "merge_size": 2}
    processing = Processing(hf_config=config, tokenizer=tokenizer, processor=None)
    template = processing.family.chat_template
    side = 2 * vision["patch_size"]
    sizes = {"size": {"shortest_edge": side * side, "longest_edge": 4096 * side * side}}
    images, videos = Qwen2VLImageProcessor(**cut, **sizes), Qwen2VLVideoProcessor(**cut)
    processing.processor = Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=template)
    return processing


def random_policy(
    geometry: Geometry, device: torch.device, *, seed: int = 0, layers: int | None = None, keep_reference: bool = False, **settings: Any
) -> Policy:
    """A policy of that geometry, its weights drawn where they compute, in float32 on a CPU and bfloat16 elsewhere. An adapter is drawn
    too, so that the policy is not its reference. settings: fields of PolicyConfig."""
    config = hf_config(geometry, layers=layers)
    chosen = PolicyConfig(device=str(device), **{"lora_rank": geometry.lora_rank, **settings})
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        with torch.device(device):
            model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
        if chosen.lora_rank:
            model = add_adapter(model, chosen, seed)
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.01)
    policy = Policy(model, processing_of(geometry, config), chosen, keep_reference=keep_reference)
    policy.end_ids = (NEVER,)  # type: ignore[misc]
    return policy


def random_prompt(policy: Policy, geometry: Geometry, prompt_tokens: int, seed: int) -> Prompt:
    """About so many tokens: as many moments as fit beside the text, patches of noise. Moments are half a second each."""
    moments = moments_of(geometry, prompt_tokens)
    grid = (moments, geometry.rows, geometry.columns)
    times_s = tuple(frame / 4 for frame in range(2 * moments))
    draw = torch.Generator().manual_seed(seed)
    _, runs = policy.family.video_text(grid, times_s, policy.hf_config)
    marks = geometry.config
    words = marks["vision_start_token_id"] - 9  # what is below the special tokens

    def text(tokens: int) -> torch.Tensor:
        return torch.randint(0, words, (tokens,), generator=draw)

    start, pad, end = (torch.tensor([marks[name]]) for name in ("vision_start_token_id", "video_token_id", "vision_end_token_id"))
    parts = [text(geometry.text_tokens // 2)]
    for run in runs:
        parts += [text(STAMP_TOKENS if len(runs) > 1 else 0), start, pad.expand(run), end]
    parts.append(text(geometry.text_tokens - geometry.text_tokens // 2 - 2))
    ids_P = torch.cat(parts)
    vision = marks["vision_config"]
    patches = torch.randn(moments * geometry.rows * geometry.columns, 3 * 2 * vision["patch_size"] ** 2, generator=draw)
    clip = Clip(
        frames_NCHW=torch.zeros(0, 3, 1, 1, dtype=torch.uint8), times_s=times_s, duration_s=moments / 2, source_size=(1, 1), path="drawn"
    )
    return Prompt(
        sample_id=f"drawn/{seed}",
        ids_P=ids_P,
        positions_3P=policy.family.positions(ids_P, grid, times_s, policy.hf_config),
        patches=patches,
        grid_thw=grid,
        text="",
        clip=clip,
    )


def moments_of(geometry: Geometry, prompt_tokens: int) -> int:
    """Moments of the video of a prompt of about so many tokens."""
    each = geometry.rows * geometry.columns // 4 + (STAMP_TOKENS + 2 if geometry.is_qwen3 else 0)
    return max(1, round((prompt_tokens - geometry.text_tokens) / each))


def video_tokens(prompt: Prompt) -> int:
    """Tokens of its video, after merging two by two patches."""
    moments, rows, columns = prompt.grid_thw
    return moments * rows * columns // 4


class Supply:
    """A policy and fresh prompts for it: `prompts(n)` gives n that were not seen before."""

    def __init__(self, name: str, device: torch.device, *, seed: int = 0, prompt_tokens: int | None = None, **settings: Any) -> None:
        self.name, self.device, self.seed = name, device, seed
        self.given = 0
        if name == "small":
            self.policy = load_policy(PolicyConfig(path=str(SMALL_MODEL), device=str(device), **settings), keep_reference=True)
            self.sizes = sizes_of(self.policy.hf_config.to_dict())
            self.completion_tokens = 128
        else:
            self.geometry = GEOMETRIES[name]
            self.policy = random_policy(self.geometry, device, seed=seed, **settings)
            self.sizes = self.geometry.sizes
            self.completion_tokens = self.geometry.completion_tokens
            self.prompt_tokens = prompt_tokens or self.geometry.prompt_tokens

    def prompts(self, count: int, at_most: int | None = None) -> list[Prompt]:
        """In pinned memory for a GPU, as a training run has them. at_most: tokens of each, where those of the benchmark are more."""
        start, self.given = self.given, self.given + count
        if self.name == "small":
            drawn = filmed_prompts(self.policy, start, count, self.seed)
        else:
            tokens = min(self.prompt_tokens, at_most or self.prompt_tokens)
            drawn = [random_prompt(self.policy, self.geometry, tokens, self.seed + 1 + start + k) for k in range(count)]
        return [pinned_for(self.device, prompt) for prompt in drawn]


TASKS = ("temporal_grounding", "tracking", "video_qa", "grounded_qa", "description", "quality")


def filmed_prompts(policy: Policy, start: int, count: int, seed: int) -> list[Prompt]:
    """Scenes number start, start + 1, ... of the built-in world, drawn and filmed now, asked as the demo asks, its tasks in turn."""
    loader, asking = ClipLoader(SMALL_VIDEO, policy.geometry), Asking(order="video_first")
    pairs = scenes_for(TASKS, "easy", "train", seed, -(-(start + count) // len(TASKS)))[start : start + count]
    with tempfile.TemporaryDirectory() as folder:
        samples = film_samples(pairs, Path(folder))
        return [render(policy, task, one, loader.load(task, one), asking) for one in samples for task in [load_task(one.task)]]
