"""AdamW over what is trained, its learning rate, and its state as plain tensors.

Weights kept in bfloat16 have 8 bits of mantissa: a learning rate of 1e-6 would round away. For them the optimizer holds float32 masters,
sums the gradients of micro-batches in float32, and writes each step's result back rounded. Where memory does not hold that, the moments
are kept in 8 bits (blocks of 256 with a scale each: Dettmers et al. 2021, arXiv:2110.02861, by torchao), and, last, the masters are given
up: each step's result is then rounded at random, up or down by how near it lies, so that small steps add up on average."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from videochat_r1.counting import counted
from videochat_r1.errors import EnvironmentFault
from videochat_r1.grpo.config import TrainConfig
from videochat_r1.grpo.log import NOTES
from videochat_r1.policy.fused import kernels_work


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """The rate of step number `step`, from 1 to `steps`: a rise over the warm-up, then constant, or falling in a line or half a cosine."""
    if step <= config.warmup:
        return config.lr * step / config.warmup
    if config.schedule == "constant":
        return config.lr
    passed = min(1.0, (step - 1 - config.warmup) / max(1, steps - config.warmup))
    return config.lr * (0.5 * (1 + math.cos(math.pi * passed)) if config.schedule == "cosine" else 1 - passed)


MOMENTS = ("exp_avg", "exp_avg_sq")


class Optimizer:
    """AdamW on named parameters, in float32 whatever they are kept in. config.optimizer: where moments and results are kept. Raises
    EnvironmentFault where 8-bit moments are asked for and torchao is not installed."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> None:
        self.parameters = dict(parameters)
        self.masters: dict[str, Tensor] = {
            name: weight if weight.dtype == torch.float32 or config.optimizer == "adamw_8bit_bf16" else weight.detach().float().clone()
            for name, weight in self.parameters.items()
        }
        self.grad_clip = config.grad_clip
        settings: dict[str, Any] = {"lr": config.lr, "betas": config.betas, "eps": 1e-8, "weight_decay": config.weight_decay}
        weights = list(self.masters.values())
        self._has_compiled = False
        self._adamw: Any = torch.optim.AdamW(weights, **settings) if config.optimizer == "adamw" else _in_8_bits(weights, settings)

    def collect(self) -> None:
        """After a backward pass: move the gradients of low-precision weights to their masters, summed in float32."""
        for name, weight in self.parameters.items():
            master = self.masters[name]
            if master is not weight and weight.grad is not None:
                master.grad = weight.grad.float() if master.grad is None else master.grad.add_(weight.grad)
                weight.grad = None

    def clear(self) -> None:
        """Forget all gradients."""
        for name, weight in self.parameters.items():
            weight.grad = None
            self.masters[name].grad = None

    def step(self, lr: float) -> float:
        """Clip and apply the gradients; their norm before the clip. A norm that is not finite applies nothing. Gradients are cleared."""
        limit = self.grad_clip or math.inf
        norm = _clipped(list(self.masters.values()), limit)
        if math.isfinite(norm):
            for group in self._adamw.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(lr)  # torchao's: a number in its place would compile the step anew
                else:
                    group["lr"] = lr
            with self._as_it_compiles():
                self._adamw.step()
            with torch.no_grad():
                for name, weight in self.parameters.items():
                    if self.masters[name] is not weight:
                        weight.copy_(self.masters[name])
        self.clear()
        return norm

    def _as_it_compiles(self) -> contextlib.AbstractContextManager[Any]:
        """torchao compiles its step, once for each shape and type of a weight. On a CPU that takes a C++ compiler and minutes, and saves
        nothing that counts; where Triton does not run there is nothing to compile it with."""
        if isinstance(self._adamw, torch.optim.AdamW):
            return contextlib.nullcontext()
        masters = list(self.masters.values())
        if not masters or not kernels_work(masters[0].device):
            return torch.compiler.set_stance("force_eager")
        if not self._has_compiled:  # in this process: a run that goes on compiles anew
            self._has_compiled = True
            kinds = len({(master.shape, master.dtype) for master in masters})
            NOTES.warning("torchao compiles its step for %s of weights now; that can take minutes.", counted(kinds, "kind"))
        return contextlib.nullcontext()

    def tensors(self) -> dict[str, Tensor]:
        """The state: moments, step counts, and masters where there are any."""
        state: dict[str, Tensor] = {}
        for name, master in self.masters.items():
            for kind, value in self._adamw.state.get(master, {}).items():
                if hasattr(value, "codes"):
                    state |= {f"{kind}_codes.{name}": value.codes, f"{kind}_scale.{name}": value.scale}
                else:
                    state[f"{kind}.{name}"] = value
            if master is not self.parameters[name]:
                state[f"master.{name}"] = master
        return state

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a state that `tensors` gave. Raises KeyError where it is of other parameters."""
        kinds = ("step", "master", *(f"{moment}{part}" for moment in MOMENTS for part in ("", "_codes", "_scale")))
        known = {f"{kind}.{name}" for name in self.masters for kind in kinds}
        if unknown := set(tensors) - known:
            raise KeyError(f"optimizer state of parameters that are not trained: {sorted(unknown)[:3]}")
        with torch.no_grad():
            for name, master in self.masters.items():
                if master is not self.parameters[name]:
                    master.copy_(tensors[f"master.{name}"])
                if f"step.{name}" in tensors:  # AdamW keeps its step counts on the CPU
                    moments = {moment: self._moment(moment, name, master, tensors) for moment in MOMENTS}
                    self._adamw.state[master] = {"step": tensors[f"step.{name}"].clone(), **moments}

    def _moment(self, moment: str, name: str, master: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        if f"{moment}.{name}" in tensors:
            return tensors[f"{moment}.{name}"].to(master.device, copy=True)
        buffer: Tensor = self._adamw._new_buffer(master, moment == "exp_avg")  # signed; the table of values is always the same
        buffer.codes.copy_(tensors[f"{moment}_codes.{name}"])  # type: ignore[attr-defined]
        buffer.scale.copy_(tensors[f"{moment}_scale.{name}"])  # type: ignore[attr-defined]
        return buffer


def _in_8_bits(weights: Sequence[Tensor], settings: Mapping[str, Any]) -> Any:
    """torchao's AdamW: moments of weights of 4,096 numbers and more in 8 bits; bfloat16 weights without a master rounded at random, by
    torch's generators, whose states a checkpoint holds."""
    try:
        from torchao.optim import AdamW8bit
    except ImportError:
        raise EnvironmentFault("train.optimizer asks for 8-bit moments: they need torchao.", "pip install 'videochat-r1[8bit]'") from None
    return AdamW8bit(weights, **settings, bf16_stochastic_round=True)


def _clipped(weights: Sequence[Tensor], limit: float) -> float:
    """Scale the gradients down to the limit; their norm before, taken in float32 whatever they are kept in."""
    if all(weight.grad is None or weight.grad.dtype == torch.float32 for weight in weights):
        return float(nn.utils.clip_grad_norm_(weights, limit))
    norms = [torch.linalg.vector_norm(weight.grad, dtype=torch.float32) for weight in weights if weight.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    nn.utils.clip_grads_with_norm_(weights, limit, norm)
    return float(norm)
