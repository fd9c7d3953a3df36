"""Tiny policies of both families for tests: stock classes with random weights, built in memory, nothing downloaded."""

from __future__ import annotations

import functools
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
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
    Qwen3VLVideoProcessor,
)

from videochat_r1.policy.families.qwen2_5_vl import FAMILY as QWEN2_5_VL
from videochat_r1.policy.families.qwen3_vl import FAMILY as QWEN3_VL
from videochat_r1.policy.model import Policy, PolicyConfig, add_adapter
from videochat_r1.policy.processing import Processing
from videochat_r1.types import Answer, Clip, Completion, Prompt, Sample

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PIECES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Joins across the end of a question and a written time are on purpose: `".<` is one piece to Qwen's tokenizer.
CORPUS = [
    'system user assistant answer <answer>12.5 to 20.0</answer> Which letter? For example: "12.54 to 17.83".<0.5 seconds><1.5 seconds>'
] * 4
VOCABULARY = 352  # rows of the embedding; the tokenizer has fewer, as Qwen's has
TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
VISION = {"hidden_size": 32, "out_hidden_size": 64, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
POSITIONS = 4096


@functools.cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, a few joins, and Qwen's special tokens."""
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )


def tiny_policy(
    family: str,
    *,
    lora_rank: int = 0,
    train_vision: bool = False,
    seed: int = 0,
    keep_reference: bool = True,
    adapter_noise: float = 0.05,
    **config: Any,
) -> Policy:
    """A policy of random weights, under 300,000 of them. adapter_noise: scale of an adapter's second matrix, as after some training; 0.0 is
    a fresh adapter, which changes nothing. config: further fields of PolicyConfig."""
    settings = PolicyConfig(lora_rank=lora_rank, train_vision=train_vision, device="cpu", dtype="float32", **config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processing = _model(family)
        if lora_rank:
            model = add_adapter(model, settings, seed)
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=adapter_noise)
    return Policy(model, processing, settings, keep_reference=keep_reference)


def _model(family: str) -> tuple[Any, Processing]:
    tokenizer = tiny_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    ends = [token("<|im_end|>"), token("<|endoftext|>")]
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    ids = {name: token(text) for name, text in names.items()}
    text = {**TEXT, "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "tie_word_embeddings": True, "initializer_range": 0.1}
    text |= {"bos_token_id": None, "eos_token_id": ends[0], "pad_token_id": ends[1]}
    if family == "qwen2_5_vl":
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
        # Windows of 2 x 2 tokens; the second and the last block attend to whole pictures.
        vision = {
            **VISION,
            "depth": 4,
            "intermediate_size": 64,
            "window_size": 16,
            "fullatt_block_indexes": [1, 3],
            "tokens_per_second": 2,
            "initializer_range": 0.1,
        }
        config: Any = Qwen2_5_VLConfig(text_config=text | {"rope_parameters": rope}, vision_config=vision, tie_word_embeddings=True, **ids)
        model: Any = Qwen2_5_VLForConditionalGeneration(config)
        video: Any = Qwen2VLVideoProcessor(patch_size=4, temporal_patch_size=2, merge_size=2)
        image = Qwen2VLImageProcessor(patch_size=4, temporal_patch_size=2, merge_size=2)
        processor: Any = Qwen2_5_VLProcessor(image, tokenizer, video, chat_template=QWEN2_5_VL.chat_template)
    elif family == "qwen3_vl":
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
        vision = {
            **VISION,
            "depth": 3,
            "intermediate_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": 0.1,
        }
        config = Qwen3VLConfig(
            text_config=text | {"rope_parameters": rope, "head_dim": 16}, vision_config=vision, tie_word_embeddings=True, **ids
        )
        model = Qwen3VLForConditionalGeneration(config)
        video = Qwen3VLVideoProcessor(patch_size=4, temporal_patch_size=2, merge_size=2, cap_pixels_per_frame=False)
        image = Qwen2VLImageProcessor(patch_size=4, temporal_patch_size=2, merge_size=2)
        processor = Qwen3VLProcessor(image, tokenizer, video, chat_template=QWEN3_VL.chat_template)
    else:
        raise ValueError(family)
    model.generation_config.eos_token_id = ends
    model.generation_config.pad_token_id = ends[1]
    return model, Processing(hf_config=config, tokenizer=tokenizer, processor=processor, extra_end_ids=tuple(ends))


def tiny_clip(*, frames: int = 4, height: int = 24, width: int = 40, fps: float = 2.0, seed: int = 0) -> Clip:
    """Frames of noise over a slope, at even seconds from 0.0. Height and width are multiples of 8 pixels, a token's side."""
    draw = torch.Generator().manual_seed(seed)
    slope = torch.linspace(0, 128, height * width).reshape(1, 1, height, width)
    frames_NCHW = (slope + torch.randint(0, 128, (frames, 3, height, width), generator=draw)).to(torch.uint8)
    times_s = tuple(k / fps for k in range(frames))
    return Clip(frames_NCHW=frames_NCHW, times_s=times_s, duration_s=frames / fps, source_size=(width, height), path="drawn.mp4")


def tiny_prompt(
    policy: Policy,
    question: str = 'When does "it turns" happen?',
    *,
    clip: Clip | None = None,
    sample_id: str = "tiny/0",
    order: str = "text_first",
) -> Prompt:
    """A rendered prompt without a task: the question as it stands, and the video after it (or before it)."""
    from videochat_r1.policy.prompt import render_text

    return render_text(policy, question, clip if clip is not None else tiny_clip(), order=order, sample_id=sample_id)  # type: ignore[arg-type]


def tiny_completion(policy: Policy, text: str = "<answer>0.5 to 1.5</answer>", *, ended: bool = True) -> Completion:
    """A given text as a completion, with log-probs of zero (nothing was sampled)."""
    ids = policy.tokenizer.encode(text, add_special_tokens=False) + ([policy.end_ids[0]] if ended else [])
    return Completion(ids_T=torch.tensor(ids), logprobs_T=torch.zeros(len(ids)), text=text, stop="end" if ended else "length")


def tiny_sample(
    sample_id: str = "tiny/0", *, task: str = "temporal_grounding", question: str = "it turns", truth: Answer | None = None
) -> Sample:
    return Sample(id=sample_id, task=task, video="drawn.mp4", question=question, truth=truth or Answer(spans=((0.5, 1.5),)), duration_s=2.0)
