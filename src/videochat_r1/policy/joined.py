"""Layers that read the same input, taken as one product: queries, keys and values; a SwiGLU's gate and up.

A decode step multiplies a few rows by every matrix of the model, and the time of such a product is that of reading the matrix: a key
projection of one megabyte is read at a fraction of the rate that a large matrix is read at. So the weights of such layers are laid in one
matrix, row under row. Each layer's own weight is its rows of it: merging an adapter, training it and saving it see the layers as they
were, and no weight is held twice. Whether one product is faster is measured on the card that it is for.

Axes: B rows of a step, D width of the input, O width of the output, summed over the layers."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videochat_r1.policy.fastest import CLEARLY, STRAY

NOTES = logging.getLogger("videochat_r1")
SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
RUNS = 5

Work = Callable[[], None]
Timing = Callable[[Work], float]


class Siblings:
    """Linear layers of one input, their weights laid in one matrix. Weights that nothing trains, and all or none with a bias."""

    def __init__(self, layers: tuple[nn.Linear, ...], owner: Joined) -> None:
        self.layers, self._owner = layers, owner
        self.widths = [layer.out_features for layer in layers]
        self.weight_OD = torch.cat([layer.weight.data for layer in layers])
        self.bias_O = torch.cat([layer.bias.data for layer in layers]) if layers[0].bias is not None else None
        self._given: Tensor | None = None
        self._made: list[Tensor | None] = []
        for index, (layer, weight) in enumerate(zip(layers, self.weight_OD.split(self.widths), strict=True)):
            layer.weight.data = weight
            layer.forward = partial(self._forward, index)  # type: ignore[method-assign]
        if self.bias_O is not None:
            for layer, bias in zip(layers, self.bias_O.split(self.widths), strict=True):
                layer.bias.data = bias

    @property
    def is_on(self) -> bool:
        """Whether one product is taken now; never where a weight or bias has been put elsewhere since."""
        return self._owner.is_on and all(
            own.data_ptr() == part.data_ptr() and own.dtype == part.dtype
            for name, whole in (("weight", self.weight_OD), ("bias", self.bias_O))
            if whole is not None
            for layer, part in zip(self.layers, whole.split(self.widths), strict=True)
            for own in (getattr(layer, name),)
        )

    def product(self, x_BD: Tensor) -> Tensor:
        """What all layers make of x (..., D), side by side: (..., O)."""
        return F.linear(x_BD, self.weight_OD, self.bias_O)

    def _forward(self, index: int, x: Tensor) -> Tensor:
        """What one layer makes of x: the first that is asked makes it for all, and the others give out what was made for this very x."""
        layer = self.layers[index]
        if not self.is_on:
            return F.linear(x, layer.weight, layer.bias)
        if self._given is not x or self._made[index] is None:
            self._given, self._made = x, list(self.product(x).split(self.widths, -1))
        made, self._made[index] = self._made[index], None
        assert made is not None
        if all(each is None for each in self._made):
            self._given = None
        return made


class Joined:
    """All such layers of a stock language model. They are taken one by one, as ever, but for what is done inside `on()`."""

    def __init__(self, language_model: nn.Module) -> None:
        self.is_on = False
        self.siblings: list[Siblings] = []
        self._pays: dict[int, bool] = {}
        for module in language_model.modules():
            for names in SIBLINGS:
                layers = tuple(_base_of(getattr(module, name, None)) for name in names)
                if _are_alike(layers):
                    siblings = Siblings(layers, self)
                    self.siblings.append(siblings)
                    module.__dict__["siblings"] = siblings  # for a layer that can take both at once (fused.py)
                    if layers[0].weight.is_cuda:
                        torch.cuda.empty_cache()  # the matrices before: their places do not fit the next layer's

    @contextmanager
    def on(self, wanted: bool = True) -> Iterator[None]:
        """Inside, siblings are taken as one product. No adapter may stand beside the layers then: it is merged into them, or off."""
        self.is_on = wanted
        try:
            yield
        finally:
            self.is_on = False

    def pays(self, rows: int, timing: Timing) -> bool:
        """Whether joined products of so many rows, all layers after one another, are clearly faster here than the layers' own. timing: the
        seconds of some work on the device. Measured once for each power of two of rows; wrong numbers are said, and not taken."""
        bucket = rows.bit_length()
        if bucket not in self._pays:
            self._pays[bucket] = bool(self.siblings) and self._measured(rows, timing)
        return self._pays[bucket]

    @torch.no_grad()
    def _measured(self, rows: int, timing: Timing) -> bool:
        inputs: dict[int, Tensor] = {}
        for each in self.siblings:
            width = each.weight_OD.shape[1]
            if width not in inputs:
                draw = torch.Generator(device=each.weight_OD.device).manual_seed(0)
                drawn = torch.randn(rows, width, generator=draw, device=each.weight_OD.device, dtype=torch.float32)
                inputs[width] = drawn.to(each.weight_OD.dtype)

        def apart() -> None:
            for each in self.siblings:
                for layer in each.layers:
                    F.linear(inputs[layer.in_features], layer.weight, layer.bias)

        def joined() -> None:
            for each in self.siblings:
                each.product(inputs[each.weight_OD.shape[1]])

        try:
            for each in self.siblings[: len(SIBLINGS)]:
                x = inputs[each.weight_OD.shape[1]]
                wanted = torch.cat([F.linear(x, layer.weight, layer.bias) for layer in each.layers], -1).float()
                gap = float((each.product(x).float() - wanted).norm() / wanted.norm())
                if not gap <= STRAY.get(x.dtype, 1e-3):
                    NOTES.warning("Layers of one input are not joined while decoding: the product is %.1e off theirs", gap)
                    return False
            return timing(joined) < CLEARLY * timing(apart)
        except Exception as fault:  # whatever a driver or a kernel raises: the layers as they are serve
            reason = (str(fault).splitlines() or [type(fault).__name__])[0]
            NOTES.warning("Layers of one input are not joined while decoding: %s", reason)
            return False


def recorded_seconds(new_capture: Callable[[], Callable[[Work], Work]]) -> Timing:
    """Times work as recorded steps are run: what it takes the host to start a kernel does not count. On a GPU. new_capture: makes what
    records one work, in memory of its own: a pool ends with its last recording, and another cannot be put into it."""

    def timing(work: Work) -> float:
        work()  # libraries set themselves up
        replay = new_capture()(work)
        replay()
        seconds = []
        for _ in range(RUNS):
            began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            began.record()
            replay()
            ended.record()
            ended.synchronize()
            seconds.append(began.elapsed_time(ended) / 1e3)
        return statistics.median(seconds)

    return timing


def _base_of(layer: Any) -> Any:
    """The layer itself, or what an adapter stands around."""
    return getattr(layer, "base_layer", layer)


def _are_alike(layers: tuple[Any, ...]) -> bool:
    first = layers[0]
    return type(first) is nn.Linear and all(
        type(layer) is nn.Linear
        and layer.in_features == first.in_features
        and (layer.weight.dtype, layer.weight.device) == (first.weight.dtype, first.weight.device)
        and (layer.bias is None) == (first.bias is None)
        and not any(weight.requires_grad for weight in layer.parameters())
        for layer in layers
    )
