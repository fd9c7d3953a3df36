"""Qwen2.5-VL: one run of tokens for the whole video; its seconds are in the rotary positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videochat_r1.policy.families._mrope import rotary_positions
from videochat_r1.policy.families.base import Family, VisionFeatures
from videochat_r1.policy.vision_tables import tables_of

STAMP_SLACK_S = 1e-3
"""Matroska rounds time stamps to a millisecond: a moment that lies within one below a tick belongs to the tick."""


class Qwen2_5_VL(Family):
    """Stock classes of model type qwen2_5_vl.

    Time. The stock model takes one number a video, the seconds from one temporal patch to the next, and puts patch k at tick
    floor(tokens_per_second * k * seconds). We take the true second of each patch's first frame, counted from the source's first
    frame, in the place of k * seconds. For frames at even distances from 0.0 the ticks are the same; for others (variable frame rate,
    seconds that a task asks for, a second look at a part of the video) every patch still stands at its own second, which the stock
    model's one number cannot say."""

    model_types = ("qwen2_5_vl",)
    chat_template = (
        "{% for message in messages %}"
        "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
        "<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
        "{% elif part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )

    def video_text(self, grid_thw: tuple[int, int, int], times_s: Sequence[float], config: Any) -> tuple[str, list[int]]:
        frames, rows, columns = grid_thw
        return "<|video_pad|>", [frames * rows * columns // config.vision_config.spatial_merge_size**2]

    def positions(self, ids_P: Tensor, grid_thw: tuple[int, int, int], times_s: Sequence[float], config: Any) -> Tensor:
        vision, (frames, rows, columns) = config.vision_config, grid_thw
        firsts_s = [times_s[k * vision.temporal_patch_size] for k in range(frames)]
        ticks = [math.floor(vision.tokens_per_second * (first_s + STAMP_SLACK_S)) for first_s in firsts_s]
        merge = vision.spatial_merge_size
        return rotary_positions(ids_P, config.video_token_id, [(ticks, rows // merge, columns // merge)])

    def vision(
        self, model: Any, patches: Tensor, grids_thw: Sequence[tuple[int, int, int]], *, use_tables: bool = True
    ) -> list[VisionFeatures]:
        tower = model.model.visual
        grids = torch.tensor(grids_thw, dtype=torch.int64, device=patches.device)
        tables = tables_of(tower, grids_thw, patches.device) if use_tables else {}
        seen = tower(patches.to(tower.dtype), grid_thw=grids, return_dict=True, **tables)
        sizes = [t * h * w // tower.spatial_merge_size**2 for t, h, w in grids_thw]
        return [VisionFeatures(embeds_VD=embeds_VD) for embeds_VD in seen.pooler_output.split(sizes)]

    def hidden(
        self,
        model: Any,
        embeds_BLD: Tensor,
        positions_3BL: Tensor,
        features: Sequence[VisionFeatures],
        video_mask_BL: Tensor | None,
        **forward: Any,
    ) -> Tensor:
        forward.setdefault("use_cache", forward.get("past_key_values") is not None)
        hidden_BLD: Tensor = model.model.language_model(inputs_embeds=embeds_BLD, position_ids=positions_3BL, **forward).last_hidden_state
        return hidden_BLD


FAMILY = Qwen2_5_VL()
