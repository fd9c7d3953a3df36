"""Matrix products whose result is float32, whatever they are of: a sum over thousands of numbers is not rounded on its way out."""

from __future__ import annotations

import torch
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)


def wide_product(a: Tensor, b: Tensor) -> Tensor:
    """a (n, k) @ b (k, m), or batches of both, in float32."""
    if a.dtype in HALVES and gives_float32(a.device):
        return (torch.bmm if a.dim() == 3 else torch.mm)(a, b, out_dtype=torch.float32)
    return (a @ b).float()


def gives_float32(device: torch.device) -> bool:
    """Whether a product of low precision can be had in float32 there, without a rounded copy before it."""
    return device.type == "cuda"
