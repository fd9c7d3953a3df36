"""The vision tower alone: every path that a policy can take through it, against the stock one.

    python -m benchmarks.vision                       # 3B geometry (7B's tower is as large), 3,584 video tokens, 1 and 4 videos
    python -m benchmarks.vision --geometry qwen3-4b

Frozen: forward only. --train adds the backward pass. Each path is first held to the stock tower's output on the same random patches."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.bench import Budget, Clock, Record, arguments, begin, ceilings, command, numbers, positive, seconds_of, spread
from benchmarks.models import GEOMETRIES, random_policy, random_prompt, video_tokens
from benchmarks.step import vars_of
from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.model import Policy
from videochat_r1.types import Prompt

RELATIVE_GAP = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # of the norm of all features
COLUMNS = {
    "path": lambda row: row["path"],
    "videos": lambda row: row["videos"],
    "video tokens": lambda row: row["video_tokens"],
    "forward ms": lambda row: row["forward"]["median_s"] * 1e3,
    "least ms": lambda row: row["forward"]["min_s"] * 1e3,
    "forward + backward ms": lambda row: row["backward"]["median_s"] * 1e3,
    "tokens/s": lambda row: row["video_tokens"] / row["forward"]["median_s"],
    "peak MiB": lambda row: row["peak_mib"],
    "relative gap": lambda row: row["relative_gap"],
}


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "vision")
    parser.add_argument("--geometry", default="3b", choices=GEOMETRIES)
    parser.add_argument("--prompt-tokens", type=positive, default=None)
    parser.add_argument("--videos", type=numbers, default=[1, 4], help="in one call, comma list")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--runs", type=positive, default=10)
    chosen = parser.parse_args(argv)
    device = begin(chosen)
    budget = Budget(chosen.budget_seconds)
    geometry = GEOMETRIES[chosen.geometry]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    record = Record("vision", chosen, device, chosen.geometry, vars_of(chosen))
    record.note(ceilings=ceilings(device, dtype))
    paths = sorted(typing.get_args(PolicyConfig.model_fields["vision_path"].annotation), key=lambda path: path != "stock")
    expected: dict[int, torch.Tensor] = {}
    for path in paths:
        kernels = "stock" if path == "stock" else "auto"
        # One layer of language model: it has no part in this. The same seed gives every path the same tower.
        policy = random_policy(
            geometry, device, seed=chosen.seed, layers=1, lora_rank=0, vision_path=path, kernels=kernels, train_vision=chosen.train
        )
        for count in chosen.videos:
            prompts = [
                random_prompt(policy, geometry, chosen.prompt_tokens or geometry.prompt_tokens, chosen.seed + k) for k in range(count)
            ]
            with torch.no_grad():
                seen = torch.cat([each.embeds_VD for each in policy.vision(prompts)]).float()
            expected.setdefault(count, seen)
            gap = float((seen - expected[count]).norm() / expected[count].norm())
            assert gap < RELATIVE_GAP[dtype], f"the path {path} differs from the stock tower by {gap}"
            record.add({"path": path, "videos": count, "relative_gap": gap, **timed(policy, prompts, chosen.train, chosen.runs, budget)})
        del policy
    record.end(COLUMNS)
    return record


def timed(policy: Policy, prompts: Sequence[Prompt], train: bool, runs: int, budget: Budget) -> dict[str, Any]:
    device = policy.device
    ready = [Prompt(**{**vars(prompt), "patches": prompt.patches.to(device)}) for prompt in prompts]  # the copy is not the tower's time

    def forward() -> None:
        with torch.no_grad():
            policy.vision(ready)

    def backward() -> None:
        torch.stack([each.embeds_VD.float().sum() for each in policy.vision(ready)]).sum().backward()
        policy.base.zero_grad(set_to_none=True)

    clock = Clock(device)
    with clock("forward"):
        forward()
    row: dict[str, Any] = {
        "video_tokens": sum(map(video_tokens, prompts)),
        "forward": spread(seconds_of(forward, device, runs=runs, until=budget.end)),
    }
    if train:
        row["backward"] = spread(seconds_of(backward, device, runs=runs, until=budget.end))
    row["peak_mib"] = clock.added_bytes["forward"] / 2**20 if device.type == "cuda" else None
    return row


if __name__ == "__main__":
    main()
