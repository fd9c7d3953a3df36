"""LoRA layers computed in the base's precision, without intermediate copies of what goes in and what comes out.

PEFT keeps an adapter's weights in float32 and computes with them in float32: each adapted layer casts its input up, multiplies without
tensor cores, adds in float32 and casts down. On an H100 that is more than half of a training step of a 3B model (docs/log.md). Here the
adapter's product is taken in the type of the base's weights and added in place to the base's product; its gradients are float32 sums, as
its weights are. In float32 both are the same numbers up to the order of sums.

Axes: N tokens, D in, O out, r rank. y = x W^T + b + s (x A^T) B^T, after Hu et al. 2021, LoRA, arXiv:2106.09685."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videochat_r1.policy.products import wide_product


def attach(model: nn.Module) -> None:
    """Let the plain LoRA layers of a PEFT model compute as above. Others (DoRA, dropout, a bias of its own, several adapters at once) stay
    as PEFT has them, and so does all that PEFT does with the layers: enabling, merging, saving."""
    from peft.tuners.lora.layer import Linear

    for module in model.modules():
        if isinstance(module, Linear):
            module.forward = partial(_forward, module, module.forward)  # type: ignore[method-assign]


def _forward(layer: Any, by_peft: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    base = layer.base_layer
    is_off = layer.disable_adapters or layer.merged
    if is_off and not args and not kwargs and not (layer.disable_adapters and layer.merged):
        off: Tensor = base(x)
        return off
    name = layer.active_adapters[0] if len(layer.active_adapters) == 1 else ""
    if args or kwargs or is_off or not _is_plain(layer, base, name):
        out: Tensor = by_peft(x, *args, **kwargs)
        return out
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    added: Tensor = AdaptedProduct.apply(x, base.weight, base.bias, a, b, *_lowered(layer, name), layer.scaling[name])
    return added


def layers_of(model: nn.Module) -> list[Any]:
    """A PEFT model's adapted layers."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def off(layers: list[Any]) -> Iterator[None]:
    """Inside, adapters add nothing. PEFT's own context looks at every module's name and state on its way in and out, which takes longer
    than a reference pass over a short row."""
    was = [layer._disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = True
        yield
    finally:
        for layer, is_off in zip(layers, was, strict=True):
            layer._disable_adapters = is_off


@torch.no_grad()
def merge(layer: Any) -> None:
    """Add an adapter to the weight it adapts, in place: the sum is taken in float32 and rounded once. Layers that are not plain merge as
    PEFT merges, and their weights stay where they were too."""
    base, name = layer.get_base_layer(), layer.active_adapters[0] if len(layer.active_adapters) == 1 else ""
    if layer.merged or not hasattr(layer, "lora_variant") or not _is_plain(layer, base, name):
        places = {name: tensor.data for name, tensor in base.named_parameters(recurse=False)}
        layer.merge()
        for name, place in places.items():
            merged = getattr(base, name)
            if merged.data_ptr() != place.data_ptr():  # DoRA makes new weights
                merged.data = place.copy_(merged.data)
        return
    low_a_rD, low_b_Or = _lowered(layer, name)
    base.weight.data.addmm_(low_b_Or, low_a_rD)
    layer.merged_adapters.append(name)


def _lowered(layer: Any, name: str) -> tuple[Tensor, Tensor]:
    """A, and B times the scale, in the base's type: made once for each state of the weights, not in each of many passes over them."""
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    dtype, scale = layer.base_layer.weight.dtype, layer.scaling[name]
    state = (a.data_ptr(), a._version, b.data_ptr(), b._version, dtype, scale)
    kept = layer.__dict__.get("_lowered")
    if kept is None or kept[0] != state:
        with torch.no_grad():
            kept = (state, a.detach().to(dtype), (b.detach() * scale).to(dtype))
        layer.__dict__["_lowered"] = kept
    return kept[1], kept[2]


def _is_plain(layer: Any, base: Any, name: str) -> bool:
    return (
        name in layer.lora_A
        and name not in layer.lora_variant
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and layer.lora_A[name].bias is None
        and layer.lora_B[name].bias is None
        and type(base) is nn.Linear
        and not base.weight.requires_grad
        and not torch.is_autocast_enabled(base.weight.device.type)
    )


class AdaptedProduct(torch.autograd.Function):
    """(x (..., D), W (O, D), bias (O,) or None, A (r, D), B (O, r), A and s B in W's type, s) -> (..., O), in W's type. W and bias get no
    gradient; A and B are given for theirs."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OD: Tensor,
        bias_O: Tensor | None,
        a_rD: Tensor,
        b_Or: Tensor,
        low_a_rD: Tensor,
        low_b_Or: Tensor,
        scale: float,
    ) -> Tensor:
        x_ND = x.reshape(-1, x.shape[-1]).to(weight_OD.dtype)
        y_NO = F.linear(x_ND, weight_OD, bias_O)
        inner_Nr = x_ND @ low_a_rD.T
        y_NO.addmm_(inner_Nr, low_b_Or.T)
        ctx.save_for_backward(x_ND, inner_Nr, weight_OD, low_a_rD, low_b_Or)
        ctx.scale, ctx.types = scale, (a_rD.dtype, b_Or.dtype)
        return y_NO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, inner_Nr, weight_OD, low_a_rD, low_b_Or = ctx.saved_tensors
        grad_NO = grads[0].reshape(-1, grads[0].shape[-1])
        grad_inner_Nr = grad_NO @ low_b_Or
        grad_x = grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_NO @ weight_OD).addmm_(grad_inner_Nr, low_a_rD).view(*grads[0].shape[:-1], -1)
        if ctx.needs_input_grad[3]:
            grad_a = wide_product(grad_inner_Nr.T, x_ND).to(ctx.types[0])
        if ctx.needs_input_grad[4]:
            grad_b = wide_product(grad_NO.T, inner_Nr).mul_(ctx.scale).to(ctx.types[1])
        return grad_x, None, None, grad_a, grad_b, None, None, None
