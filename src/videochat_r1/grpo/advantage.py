"""From the rewards of a group to the advantage of each of its completions.

Three ways, one function each; all start from the lead over the group's mean, and all give exact zeros where the rewards are equal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from videochat_r1.grpo.config import GrpoConfig

if TYPE_CHECKING:
    from torch import Tensor

STD_FLOOR = 1e-4
"""Added to a standard deviation before dividing by it, as in the released code."""

LARGEST_BY_TASK = 5.0
"""A group whose advantage by the task's std would be larger than this is scaled by its own std (Feng et al. 2025, released code)."""


def leads(rewards_G: Tensor) -> Tensor:
    """Each reward's lead over its group's mean: (G,) in, (G,) out, float32. Equal rewards give exact zeros.

    Dr.GRPO's advantage: Liu et al. 2025, arXiv:2503.20783. Raises ValueError for a group of one, or a reward that is not finite.
    """
    rewards_G = rewards_G.double()
    if rewards_G.dim() != 1 or rewards_G.numel() < 2:
        raise ValueError(f"a group is a vector of 2 rewards at least, not a tensor of shape {tuple(rewards_G.shape)}")
    if not bool(rewards_G.isfinite().all()):
        raise ValueError(f"rewards must be finite, got {rewards_G.tolist()}")
    if bool((rewards_G == rewards_G[0]).all()):  # rounding of the mean must not become a lead
        return torch.zeros_like(rewards_G, dtype=torch.float32)
    return (rewards_G - rewards_G.mean()).float()


def scaled_by_group(rewards_G: Tensor) -> Tensor:
    """(r - mean) / (std + 1e-4), std with ddof 1: (G,) in, (G,) out, float32.

    Shao et al. 2024, arXiv:2402.03300, with the floor and the ddof that VideoChat-R1's code ran with.
    """
    return leads(rewards_G) / (rewards_G.double().std() + STD_FLOOR).float()


def scaled_by_task(rewards_G: Tensor, task_std: float) -> Tensor:
    """(r - mean) / (std of the task + 1e-4): (G,) in, (G,) out, float32. EMA-GRPO: Feng et al. 2025, arXiv:2512.03043."""
    advantages_G = leads(rewards_G) / (task_std + STD_FLOOR)
    return scaled_by_group(rewards_G) if bool((advantages_G.abs() > LARGEST_BY_TASK).any()) else advantages_G


class TaskScales:
    """Moving first and second moment of each task's rewards. They are state: saved in a checkpoint, restored on resume."""

    def __init__(self, decay: float, moments: Mapping[str, Sequence[float]] | None = None) -> None:
        self.decay = decay
        self.moments: dict[str, tuple[float, float]] = {task: (pair[0], pair[1]) for task, pair in (moments or {}).items()}

    def take(self, task: str, rewards: Sequence[float]) -> None:
        """Move the task's moments towards those of this batch's rewards (all groups of the task together); the first batch sets them."""
        batch = (math.fsum(rewards) / len(rewards), math.fsum(reward * reward for reward in rewards) / len(rewards))
        before = self.moments.get(task, batch)
        self.moments[task] = (
            self.decay * before[0] + (1 - self.decay) * batch[0],
            self.decay * before[1] + (1 - self.decay) * batch[1],
        )

    def std(self, task: str) -> float:
        """The task's moving standard deviation: sqrt(E[r^2] - E[r]^2). Raises KeyError for a task that was never seen."""
        mean, square = self.moments[task]
        return math.sqrt(max(0.0, square - mean * mean))


def advantages(tasks: Sequence[str], rewards_G: Sequence[Tensor], config: GrpoConfig, scales: TaskScales) -> list[Tensor]:
    """The advantages of each group of a batch, (G,) float32 each. tasks: the task of each group. Moves `scales` where they are used.

    A reward of nan is one that could not be told: its advantage is 0.0, and the others' are those of a group without it."""
    told = [~rewards.isnan() for rewards in rewards_G]
    if config.advantage == "task_std":
        for task in dict.fromkeys(tasks):
            of_task = zip(tasks, rewards_G, told, strict=True)
            rewards = [float(reward) for own, all_G, told_G in of_task if own == task for reward in all_G[told_G]]
            if rewards:
                scales.take(task, rewards)
    found = []
    for task, rewards_of_group, told_G in zip(tasks, rewards_G, told, strict=True):
        own_G = torch.zeros(rewards_of_group.shape, dtype=torch.float32)
        if int(told_G.sum()) >= 2:
            own_G[told_G] = _scaled(rewards_of_group[told_G], task, config, scales)
        found.append(own_G)
    return found


def _scaled(rewards_G: Tensor, task: str, config: GrpoConfig, scales: TaskScales) -> Tensor:
    if config.advantage == "centred":
        return leads(rewards_G)
    return scaled_by_group(rewards_G) if config.advantage == "group_std" else scaled_by_task(rewards_G, scales.std(task))
