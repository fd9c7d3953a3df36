"""Rotary positions of a prompt with video: three numbers a token (time, height, width).

Text counts on by one in all three. A run of video tokens spans a box of positions: time by the tick of each moment, height and width by the
place in the picture; the text after it goes on from the run's start plus the longer side of its picture. Source: "Multimodal Rotary
Position Embedding" in Wang et al. 2024, arXiv:2409.12191, with time in ticks as in Bai et al. 2025, arXiv:2502.13923."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rotary_positions(ids_P: Tensor, video_token: int, runs: Sequence[tuple[Sequence[int], int, int]]) -> Tensor:
    """Positions (3, P), int64, on the device of ids_P.

    runs: for each run of video tokens in reading order, (ticks, rows, columns): the tick of each of its moments, counted from the run's
    start, and the size of its grid in tokens. Raises ValueError where the runs do not fit the video tokens in ids_P."""
    is_video_P = (ids_P == video_token).cpu()
    if int(is_video_P.sum()) != sum(len(ticks) * rows * columns for ticks, rows, columns in runs):
        raise ValueError(f"{int(is_video_P.sum())} video tokens do not fit the runs {[(len(t), r, c) for t, r, c in runs]}")
    starts = torch.nonzero(is_video_P & ~torch.cat([torch.zeros(1, dtype=torch.bool), is_video_P[:-1]])).flatten().tolist()
    if len(starts) != len(runs):
        raise ValueError(f"{len(starts)} runs of video tokens in the prompt, {len(runs)} expected")
    pieces, at, position = [], 0, 0
    for start, (ticks, rows, columns) in zip(starts, runs, strict=True):
        pieces.append(torch.arange(position, position + start - at).expand(3, -1))
        position += start - at
        time, row, column = torch.meshgrid(torch.tensor(ticks, dtype=torch.int64), torch.arange(rows), torch.arange(columns), indexing="ij")
        pieces.append(torch.stack([time, row, column]).reshape(3, -1) + position)
        at = start + len(ticks) * rows * columns
        position += max(rows, columns)
    pieces.append(torch.arange(position, position + ids_P.numel() - at).expand(3, -1))
    return torch.cat(pieces, dim=1).to(ids_P.device)
