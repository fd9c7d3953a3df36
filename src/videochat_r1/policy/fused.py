"""Stock layers whose many small steps are one kernel on a GPU: norms, gates, rotary positions, and tower layers of a width that tensor
cores like. The layers and their weights stay what they are; `forward` of each instance is another.

What a layer computes is what the stock code computes, in float32 inside and rounded once (policy/kernels)."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOTES = logging.getLogger("videochat_r1")
ALIGNED = 128
"""Widths of a tower's layers are filled up with zeros to a multiple of it. Qwen2.5-VL's towers are 3,420 wide inside: no multiple of 8, so
that a matrix product falls back to a kernel that takes three times as long on a Hopper card."""


@functools.cache
def kernels_work(device: torch.device) -> bool:
    """Whether Triton compiles and runs for this device; where it should and does not, that is said once."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    try:
        norm = importlib.import_module("videochat_r1.policy.kernels.norm")
        x = torch.ones(2, 16, device=device)
        return bool(torch.allclose(norm.rms_norm(x, x[0], 0.0), x))
    except Exception as fault:  # whatever a missing compiler or a driver raises: stock layers serve
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        NOTES.warning("Fused layers are left out, which is slower: Triton does not run here (%s)", reason)
        return False


def decode_kernel(device: torch.device) -> Any:
    """policy/kernels/decode.py where it runs, else None."""
    return importlib.import_module("videochat_r1.policy.kernels.decode") if kernels_work(device) else None


def attach(model: nn.Module) -> None:
    """Let all layers in a stock model that have a kernel use it. To be called where `kernels_work`."""
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = partial(_norm, module)
        elif kind.endswith("MLP") and all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj")):
            if isinstance(module.act_fn, nn.SiLU) or type(module.act_fn).__name__ == "SiLUActivation":
                module.forward = partial(_gated, module)
        elif kind.endswith("Attention"):
            _turn_by_kernel(module)


@contextmanager
def stock_layers(policy: Any) -> Iterator[None]:
    """Inside, the language model of a policy computes as transformers and PEFT have it; its tower stays as it is."""
    layers = policy.base.model.language_model.modules()
    kept = {module: module.__dict__.pop("forward") for module in layers if "forward" in module.__dict__}
    try:
        yield
    finally:
        for module, forward in kept.items():
            module.forward = forward


def _norm(module: Any, x: Tensor) -> Tensor:
    from videochat_r1.policy.kernels.norm import rms_norm

    return rms_norm(x, module.weight, module.variance_epsilon)


def _gated(module: Any, x: Tensor) -> Tensor:
    from videochat_r1.policy.kernels.gate import silu_of_halves, silu_product

    gate, up, down = module.gate_proj, module.up_proj, module.down_proj
    pair = module.__dict__.get("siblings")  # joined.py's
    if pair is not None and pair.is_on:
        at_once: Tensor = down(silu_of_halves(pair.product(x)))
        return at_once
    missing = -gate.weight.shape[0] % ALIGNED if type(gate) is type(up) is type(down) is nn.Linear else 0
    if not missing or gate.weight.shape[0] % 8 == 0:
        out: Tensor = down(silu_product(gate(x), up(x)))
        return out
    wide = [F.linear(x, F.pad(each.weight, (0, 0, 0, missing)), _filled(each.bias, missing)) for each in (gate, up)]
    return F.linear(silu_product(*wide), F.pad(down.weight, (0, missing)), down.bias)


def _filled(bias_O: Tensor | None, missing: int) -> Tensor | None:
    return None if bias_O is None else F.pad(bias_O, (0, missing))


def _turn_by_kernel(attention: nn.Module) -> None:
    """The stock forward with our rotary function among its globals, for this one instance. Another way of calling it than the two known
    ones (a wrapped forward, another name) is left as it is."""
    stock = type(attention).forward
    if isinstance(stock, FunctionType) and not hasattr(stock, "__wrapped__") and (forward := _turning(stock)) is not None:
        attention.forward = MethodType(forward, attention)


@functools.cache
def _turning(stock: FunctionType) -> FunctionType | None:
    turns = {"apply_rotary_pos_emb": _turn_text, "apply_rotary_pos_emb_vision": _turn_vision}
    ours = {name: turn for name, turn in turns.items() if name in stock.__code__.co_names and name in stock.__globals__}
    if not ours:
        return None
    forward = FunctionType(stock.__code__, {**stock.__globals__, **ours}, stock.__name__, stock.__defaults__, stock.__closure__)
    forward.__kwdefaults__ = stock.__kwdefaults__
    return forward


def _turn_text(q_BHLD: Tensor, k_BKLD: Tensor, cos_BLD: Tensor, sin_BLD: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    """For heads before tokens; angles for each row of the batch, or one for all."""
    batch, _, length, size = q_BHLD.shape
    angles = [x.expand(batch, length, size).reshape(-1, size) for x in (cos_BLD, sin_BLD)]
    turned = _turn(*(x.transpose(1, 2).reshape(batch * length, -1, size) for x in (q_BHLD, k_BKLD)), *angles)
    q, k = (x.view(batch, length, -1, size).transpose(1, 2) for x in turned)
    return q, k


def _turn_vision(q_NHD: Tensor, k_NHD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> tuple[Tensor, Tensor]:
    return _turn(q_NHD, k_NHD, cos_ND, sin_ND)


def _turn(q_NHD: Tensor, k_NKD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> tuple[Tensor, Tensor]:
    from videochat_r1.policy.kernels.rotary import is_by_token, turn

    q, k = (x if is_by_token(x) else x.contiguous() for x in (q_NHD, k_NKD))
    return turn(q, k, cos_ND, sin_ND)
