"""Qwen3-VL: each moment's second is written before its tokens, and deeper features of the tower join the first layers (deepstack)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videochat_r1.policy.families._mrope import rotary_positions
from videochat_r1.policy.families.base import Family, VisionFeatures
from videochat_r1.policy.vision_tables import tables_of


class Qwen3_VL(Family):
    """Stock classes of model type qwen3_vl.

    Time. A moment is one temporal patch; the second written before it is the middle between its first frame's and its last frame's, to a
    tenth, as the stock processor writes it. Positions know nothing of seconds: every moment is a run of its own."""

    model_types = ("qwen3_vl",)
    chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
        "{% elif part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )

    def video_text(self, grid_thw: tuple[int, int, int], times_s: Sequence[float], config: Any) -> tuple[str, list[int]]:
        (moments, rows, columns), vision = grid_thw, config.vision_config
        size, last = vision.temporal_patch_size, len(times_s) - 1
        middles_s = [(times_s[k * size] + times_s[min(k * size + size - 1, last)]) / 2 for k in range(moments)]
        text = "".join(f"<{middle_s:.1f} seconds><|vision_start|><|video_pad|><|vision_end|>" for middle_s in middles_s)
        return text, [rows * columns // vision.spatial_merge_size**2] * moments

    def positions(self, ids_P: Tensor, grid_thw: tuple[int, int, int], times_s: Sequence[float], config: Any) -> Tensor:
        (moments, rows, columns), merge = grid_thw, config.vision_config.spatial_merge_size
        return rotary_positions(ids_P, config.video_token_id, [((0,), rows // merge, columns // merge)] * moments)

    def vision(
        self, model: Any, patches: Tensor, grids_thw: Sequence[tuple[int, int, int]], *, use_tables: bool = True
    ) -> list[VisionFeatures]:
        tower = model.model.visual
        grids = torch.tensor(grids_thw, dtype=torch.int64, device=patches.device)
        tables = tables_of(tower, grids_thw, patches.device) if use_tables else {}
        seen = tower(patches.to(tower.dtype), grid_thw=grids, return_dict=True, **tables)
        sizes = [t * h * w // tower.spatial_merge_size**2 for t, h, w in grids_thw]
        deeper = zip(*(layer.split(sizes) for layer in seen.deepstack_features), strict=True)
        rows = list(deeper) or [()] * len(sizes)
        return [
            VisionFeatures(embeds_VD=embeds, deepstack_VD=tuple(deep))
            for embeds, deep in zip(seen.pooler_output.split(sizes), rows, strict=True)
        ]

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
        if features and video_mask_BL is not None:
            forward["visual_pos_masks"] = video_mask_BL
            forward["deepstack_visual_embeds"] = [torch.cat(layer) for layer in zip(*(one.deepstack_VD for one in features), strict=True)]
        hidden_BLD: Tensor = model.model.language_model(inputs_embeds=embeds_BLD, position_ids=positions_3BL, **forward).last_hidden_state
        return hidden_BLD


FAMILY = Qwen3_VL()
