"""What a run writes down beside its metrics: every completion with what it earned, and every batch whose numbers were not finite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from videochat_r1.grpo.log import NOTES
from videochat_r1.grpo.update import Lesson, Watched
from videochat_r1.types import Group


def rollout_rows(step: int, groups: Sequence[Group], advantages: Mapping[int, Sequence[float]]) -> list[dict[str, Any]]:
    """The rows of rollouts.jsonl for one step: one a completion, group by group. advantages: of the groups, by their places; a group that
    the step did not learn from has none, and null in its rows."""
    return [
        {
            "step": step,
            "sample": group.sample.id,
            "task": group.sample.task,
            "index": index,
            "text": rollout.completion.text,
            "rewards": dict(rollout.rewards),
            "reward": rollout.total,
            "advantage": advantages[place][index] if place in advantages else None,
            "reason": rollout.reading.reason,
            **({"unscorable": rollout.unscorable} if rollout.unscorable else {}),
            "format_ok": rollout.reading.format_ok,
            "tokens": len(rollout.completion),
            "stop": rollout.completion.stop,
        }
        for place, group in enumerate(groups)
        for index, rollout in enumerate(group.rollouts)
    ]


def keep_nonfinite(
    folder: Path, step: int, samples: Sequence[str], lesson: Lesson, watched: Sequence[Sequence[Watched]], row: Mapping[str, Any]
) -> None:
    """Write a batch whose numbers were not finite to folder/step-N.safetensors (tensors named GROUP.INDEX.WHAT) and step-N.json.

    A dump that fails is noted and must not stop the run that it is about.
    """
    tensors: dict[str, Tensor] = {}
    for group, (own, seen) in enumerate(zip(lesson.completions, watched, strict=True)):
        for index, (completion, each) in enumerate(zip(own, seen, strict=True)):
            tensors |= {f"{group}.{index}.ids": completion.ids_T, f"{group}.{index}.sampled": completion.logprobs_T}
            tensors[f"{group}.{index}.logprobs"] = each.logprobs_T.cpu()
            if lesson.reference is not None:
                tensors[f"{group}.{index}.reference"] = lesson.reference[group][index].cpu()
    about = {"step": step, "samples": list(samples), "advantages": lesson.advantages, "weights": lesson.weights}
    about |= {name: repr(row[name]) for name in ("loss", "grad_norm", "lr")}
    try:
        folder.mkdir(exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / f"step-{step:08d}.safetensors")
        (folder / f"step-{step:08d}.json").write_text(json.dumps(about, indent=1))
    except Exception as error:
        NOTES.warning("The batch of step %d could not be kept: %s.", step, error)
