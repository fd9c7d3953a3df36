"""What a step showed, under the names that people know from other trainers, for the whole batch and by task.

Means over tokens are over the tokens of all completions alike; `reward_std` is the mean over groups of each group's std (ddof 1)."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from videochat_r1.grpo.update import Watched
from videochat_r1.tasks.base.scoring import short_name
from videochat_r1.types import Completion, Group

T = TypeVar("T")


class Clock:
    """Seconds by phase of one step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def row(self, tokens: int) -> dict[str, float]:
        """seconds/<phase>, seconds/step and throughput/tokens_per_second. tokens: how many went through the policy in this step."""
        step = time.perf_counter() - self._start
        figures = {f"seconds/{phase}": seconds for phase, seconds in self.seconds.items()}
        return {**figures, "seconds/step": step, "throughput/tokens_per_second": tokens / step}


def reward_figures(groups: Sequence[Group]) -> dict[str, float]:
    """Rewards by name and in all, their spread within groups, and how many answers could not be read or not be scored; by task too.

    All but these two shares are over the completions that could be scored; a step without one has no reward."""
    return _and_by_task(_rewards, [group.sample.task for group in groups], groups)


def _rewards(groups: Sequence[Group], prefix: str) -> dict[str, float]:
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    figures = {
        "frac_reward_zero_std": statistics.fmean(len(set(group.scored)) < 2 for group in groups),
        "unparsed": statistics.fmean(rollout.reading.answer is None for rollout in rollouts),
        "unscorable": statistics.fmean(bool(rollout.unscorable) for rollout in rollouts),
    }
    if told := [total for group in groups for total in group.scored]:
        spreads = [statistics.stdev(group.scored) if len(group.scored) > 1 else 0.0 for group in groups]
        figures = {"reward": statistics.fmean(told), "reward_std": statistics.fmean(spreads), **figures}
    for name in dict.fromkeys(name for rollout in rollouts for name in rollout.rewards):
        figures[f"rewards/{name}"] = statistics.fmean(rollout.rewards[name] for rollout in rollouts if name in rollout.rewards)
    return {prefix + name: value for name, value in figures.items()}


def completion_figures(tasks: Sequence[str], completions: Sequence[Sequence[Completion]]) -> dict[str, float]:
    """Lengths in tokens, and the share that ran into the limit; by task too."""
    return _and_by_task(_lengths, tasks, completions)


def _lengths(groups: Sequence[Sequence[Completion]], prefix: str) -> dict[str, float]:
    completions = [each for group in groups for each in group]
    return {
        f"{prefix}completions/mean_length": statistics.fmean(map(len, completions)),
        f"{prefix}completions/max_length": max(map(len, completions)),
        f"{prefix}completions/truncated": statistics.fmean(each.stop == "length" for each in completions),
    }


def learning_figures(tasks: Sequence[str], watched: Sequence[Sequence[Watched]]) -> dict[str, float]:
    """Entropy and KL to the reference, each the mean over tokens; by task too."""
    return _and_by_task(_spreads, tasks, watched)


def _spreads(groups: Sequence[Sequence[Watched]], prefix: str) -> dict[str, float]:
    watched = [each for group in groups for each in group]
    figures = {f"{prefix}entropy": _mean([each.entropies_T for each in watched])}
    kls = [each.losses.kl_T for each in watched if each.losses.kl_T is not None]
    return figures | ({f"{prefix}kl": _mean(kls)} if kls else {})


def gap_figures(completions: Sequence[Sequence[Completion]], watched: Sequence[Sequence[Watched]]) -> dict[str, float]:
    """How far the policy's log-probs are from those the engine sampled with: mean and greatest absolute difference over tokens."""
    pairs = [(seen, own) for group, written in zip(watched, completions, strict=True) for seen, own in zip(group, written, strict=True)]
    gaps_T = torch.cat([(seen.logprobs_T.cpu() - own.logprobs_T).abs() for seen, own in pairs]).double()
    return {"rollout_logprob_gap/mean": float(gaps_T.mean()), "rollout_logprob_gap/max": float(gaps_T.max())}


def update_figures(
    updates: Sequence[Sequence[Sequence[Watched]]], weights: Sequence[Sequence[float]], norms: Sequence[float]
) -> dict[str, float]:
    """Loss, share of clipped tokens and gradient norm, each the mean over the batch's updates."""
    return {
        "loss": statistics.fmean(loss_of(watched, weights) for watched in updates),
        "clip_ratio": _mean([each.losses.clipped_T for watched in updates for group in watched for each in group]),
        "grad_norm": statistics.fmean(norms) if all(map(math.isfinite, norms)) else math.nan,
    }


def loss_of(watched: Sequence[Sequence[Watched]], weights: Sequence[Sequence[float]]) -> float:
    """The batch's loss, summed in float64 from its tokens: it does not depend on how the batch was cut into passes."""
    terms = [
        float(each.losses.loss_T.double().sum()) * weight
        for group, own in zip(watched, weights, strict=True)
        for each, weight in zip(group, own, strict=True)
    ]
    return math.fsum(terms) if all(map(math.isfinite, terms)) else math.nan


def machine_figures() -> dict[str, float]:
    """Memory: the process's resident set, and the most that torch held on the GPU since the last call."""
    with open("/proc/self/statm", encoding="ascii") as file:
        figures = {"memory/rss_mb": int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20}
    if torch.cuda.is_initialized():
        figures["memory/gpu_peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
    return figures


def _and_by_task(figures: Callable[[Sequence[T], str], dict[str, float]], tasks: Sequence[str], groups: Sequence[T]) -> dict[str, float]:
    """The figures of all groups, and those of each task's under its name. tasks: one a group."""
    found = figures(groups, "")
    for task in dict.fromkeys(tasks):
        found |= figures([group for name, group in zip(tasks, groups, strict=True) if name == task], f"{short_name(task)}/")
    return found


def _mean(tensors: Sequence[Tensor]) -> float:
    return float(torch.cat([each.detach() for each in tensors]).double().mean())
