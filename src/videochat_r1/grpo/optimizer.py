"""AdamW over what is trained, its learning rate, and its state as plain tensors.

Weights kept in bfloat16 have 8 bits of mantissa: a learning rate of 1e-6 would round away. For them the optimizer holds float32 masters,
sums the gradients of micro-batches in float32, and writes each step's result back rounded."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from videochat_r1.grpo.config import TrainConfig


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """The rate of step number `step`, from 1 to `steps`: a rise over the warm-up, then constant, or falling in a line or half a cosine."""
    if step <= config.warmup:
        return config.lr * step / config.warmup
    if config.schedule == "constant":
        return config.lr
    passed = min(1.0, (step - 1 - config.warmup) / max(1, steps - config.warmup))
    return config.lr * (0.5 * (1 + math.cos(math.pi * passed)) if config.schedule == "cosine" else 1 - passed)


class Optimizer:
    """AdamW on named parameters, in float32 whatever they are kept in."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> None:
        self.parameters = dict(parameters)
        self.masters: dict[str, Tensor] = {
            name: weight if weight.dtype == torch.float32 else weight.detach().float().clone() for name, weight in self.parameters.items()
        }
        self.grad_clip = config.grad_clip
        self._adamw = torch.optim.AdamW(
            list(self.masters.values()), lr=config.lr, betas=config.betas, eps=1e-8, weight_decay=config.weight_decay
        )

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
        norm = float(nn.utils.clip_grad_norm_(list(self.masters.values()), limit))
        if math.isfinite(norm):
            for group in self._adamw.param_groups:
                group["lr"] = lr
            self._adamw.step()
            with torch.no_grad():
                for name, weight in self.parameters.items():
                    if self.masters[name] is not weight:
                        weight.copy_(self.masters[name])
        self.clear()
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """The state: moments, step counts, and masters where there are any."""
        state: dict[str, Tensor] = {}
        for name, master in self.masters.items():
            for kind, value in self._adamw.state.get(master, {}).items():
                state[f"{kind}.{name}"] = value
            if master is not self.parameters[name]:
                state[f"master.{name}"] = master
        return state

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a state that `tensors` gave. Raises KeyError where it is of other parameters."""
        known = {f"{kind}.{name}" for name in self.masters for kind in ("step", "exp_avg", "exp_avg_sq", "master")}
        if unknown := set(tensors) - known:
            raise KeyError(f"optimizer state of parameters that are not trained: {sorted(unknown)[:3]}")
        with torch.no_grad():
            for name, master in self.masters.items():
                if master is not self.parameters[name]:
                    master.copy_(tensors[f"master.{name}"])
                if f"exp_avg.{name}" in tensors:
                    self._adamw.state[master] = {  # AdamW keeps its step counts on the CPU
                        "step": tensors[f"step.{name}"].clone(),
                        "exp_avg": tensors[f"exp_avg.{name}"].to(master.device, copy=True),
                        "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(master.device, copy=True),
                    }
