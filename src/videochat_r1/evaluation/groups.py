"""Figures of parts of a data set: by length of video, by sub-task, by category, whatever a data set's samples say of themselves.

A sample's meta may hold "groups": {FAMILY: NAME} or {FAMILY: [NAME, ...]}, such as {"duration": "short", "domain": "Knowledge"}. Every
metric is then also given for each name, as METRIC/NAME (`accuracy/short`). The family "task" stands for the sub-tasks of a benchmark: the
unweighted mean over them is given as METRIC_macro, which is how MVBench and MLVU are published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from videochat_r1.types import Sample

AVERAGED = "task"
"""The family whose mean over names is a figure of its own."""

Group = tuple[str, str]
"""(family, name)."""


def groups_of(sample: Sample) -> tuple[Group, ...]:
    """The groups that a sample belongs to; what has another form says nothing."""
    families = sample.meta.get("groups")
    if not isinstance(families, Mapping):
        return ()
    pairs = []
    for family, names in families.items():
        for name in names if isinstance(names, list | tuple) else (names,):
            if isinstance(family, str) and isinstance(name, str) and name:
                pairs.append((family, name))
    return tuple(dict.fromkeys(pairs))


def members(samples: Sequence[Sample]) -> dict[Group, NDArray[np.bool_]]:
    """(N,) for each group: which samples belong to it. Groups by family, in the order in which they first occur."""
    found: dict[Group, NDArray[np.bool_]] = {}
    for index, sample in enumerate(samples):
        for group in groups_of(sample):
            found.setdefault(group, np.zeros(len(samples), dtype=bool))[index] = True
    families = list(dict.fromkeys(family for family, _ in found))
    return dict(sorted(found.items(), key=lambda item: families.index(item[0][0])))


def labels(groups: Sequence[Group]) -> dict[Group, str]:
    """What each group is called in a figure's name: its own name, after its family's where two families have the same."""
    names = [name for _, name in groups]
    return {(family, name): name if names.count(name) == 1 else f"{family}:{name}" for family, name in groups}


def with_groups(
    metrics: Sequence[str], shares_NM2: NDArray[np.float64], samples: Sequence[Sample]
) -> tuple[list[str], NDArray[np.float64], dict[str, list[int]]]:
    """The metrics' names and shares with those of each group after them, (N, M + M x groups, 2), and, for each figure that is a mean over
    the sub-tasks, the places of what it is the mean of."""
    by_group = members(samples)
    called = labels(tuple(by_group))
    names, parts = list(metrics), [shares_NM2]
    means: dict[str, list[int]] = {}
    for group, is_member_N in by_group.items():
        for place, metric in enumerate(metrics):
            if group[0] == AVERAGED:
                means.setdefault(f"{metric}_macro", []).append(len(names))
            names.append(f"{metric}/{called[group]}")
            parts.append(shares_NM2[:, place : place + 1] * is_member_N[:, None, None])
    return names, np.concatenate(parts, axis=1), {name: places for name, places in means.items() if len(places) > 1}
