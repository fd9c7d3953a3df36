"""How completions become updates of the policy, and how long, how fast and how safely that goes on.

No torch here: `--help` reads this file."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from videochat_r1.section import Section, free, refused, warned


class GrpoConfig(Section):
    """How one group of completions becomes one update of the policy. The defaults are the paper's, as its code ran."""

    group_size: int = refused(8, "completions of each prompt; at least 2", le=4096)
    advantage: Literal["group_std", "centred", "task_std"] = refused(
        "group_std",
        "what a reward's lead over its group's mean is divided by: its std (paper), nothing (Dr.GRPO), the task's moving std (EMA-GRPO)",
    )
    task_std_decay: float = refused(0.99, "task_std: how much of a task's moving moments each step keeps", ge=0.0, lt=1.0)
    aggregation: Literal["sequence_mean", "token_mean", "constant_length"] = refused(
        "sequence_mean",
        "how token losses are averaged: each completion alike (paper), each token alike (DAPO), over a constant length (Dr.GRPO)",
    )
    constant_length: int = refused(0, "constant_length: the length in tokens; 0 takes rollout.max_tokens", ge=0)
    ratio: Literal["token", "sequence"] = refused(
        "token", "the importance ratio is each token's (GRPO) or the sequence's geometric mean (GSPO)"
    )
    clip_low: float = warned(0.2, "the ratio is held above 1 - clip_low", ge=0.0, le=1.0)
    clip_high: float = warned(0.2, "the ratio is held below 1 + clip_high; DAPO's clip-higher is 0.28", ge=0.0)
    kl_weight: float = warned(0.04, "weight of the KL to the reference (k3), per token; 0 loads no reference", ge=0.0)
    updates_per_batch: int = refused(
        1, "optimizer steps on each batch of completions; more than one is held by the ratio's clip", ge=1, le=1000
    )
    reward_deadline_s: float = free(
        10.0, "seconds that the rewards of a task in a .py file may take over one completion; 0: no limit, in the trainer's process", ge=0.0
    )
    unscorable_limit: float = free(
        0.5, "stop where a larger share of a step's completions cannot be scored (a judge that is out, a reward that fails)", ge=0.0, le=1.0
    )
    refill: int = refused(
        0, "batches more that a step samples at most, to put groups with a gradient in the place of those of equal rewards (DAPO)", ge=0
    )
    mask_truncated: bool = refused(False, "give completions that ran into the length limit no part in the loss")

    @field_validator("group_size")
    @classmethod
    def _a_lead_needs_two(cls, group_size: int) -> int:
        if group_size < 2:
            raise ValueError(f"a group needs 2 completions at least, got {group_size}: an advantage is a lead over the mean of the group")
        return group_size


class TrainConfig(Section):
    """How long, how fast, and how safely."""

    method: Literal["grpo", "sft"] = refused("grpo", "learn from rewards, or from gold answers (loss on the answer's tokens only)")
    steps: int = warned(0, "optimizer batches in all; 0 counts them from epochs", ge=0, le=10**9)
    epochs: float = warned(1.0, "passes over the samples, where steps is 0", gt=0.0, le=1e6)
    prompts_per_step: int = refused(8, "prompts in one batch, tasks mixed", ge=1, le=2**16)
    optimizer: Literal["adamw", "adamw_8bit", "adamw_8bit_bf16"] = refused(
        "adamw",
        "AdamW with float32 moments; with 8-bit moments (extra `8bit`); with 8-bit moments and no float32 copy of bfloat16 weights, "
        "which are then rounded at random",
    )
    lr: float = warned(1e-6, "highest learning rate", gt=0.0, le=10.0)
    schedule: Literal["linear", "constant", "cosine"] = warned("linear", "how the learning rate falls after the warm-up")
    warmup: int = warned(0, "steps in which the learning rate rises to lr", ge=0)
    betas: tuple[float, float] = warned((0.9, 0.999), "AdamW's decay of its two moments")
    weight_decay: float = warned(0.0, "AdamW's weight decay", ge=0.0)
    grad_clip: float = warned(1.0, "the gradient's norm is held to this; 0 leaves it", ge=0.0)
    token_budget: int = warned(
        16384, "tokens, prompts included, in one forward and backward pass; the gradient does not depend on it", ge=1
    )
    seed: int = refused(0, "of the samples' order and of every completion", ge=0, le=2**63 - 1)
    order: Literal["mixed", "easy_first"] = refused(
        "mixed", "samples of each epoch in random order, or from easy to hard (a curriculum; needs data.difficulty)"
    )
    checkpoint_every: int = free(50, "steps between checkpoints", ge=1)
    keep_checkpoints: int = free(2, "newest checkpoints that are kept", ge=1)
    checkpoint_failures: int = free(3, "checkpoints that may fail in a row (a full disk) before the run stops", ge=1)
    plateau_steps: int = warned(
        0, "stop when the mean reward of so many steps is no better than that of as many before; 0 never stops early", ge=0
    )
    plateau_gain: float = warned(0.0, "what counts as better: at least this much more reward")
    nonfinite_steps: int = warned(3, "batches with non-finite numbers in a row that stop the run", ge=1)
    allow_overlap: bool = free(False, "train although the test sets share sample ids or videos with what is trained on")
    log_rollouts: bool = free(True, "write every completion to rollouts.jsonl")

    @field_validator("betas")
    @classmethod
    def _are_decays(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"AdamW's decays are at least 0 and below 1, got {betas[0]:g} and {betas[1]:g}")
        return betas

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainConfig:
        if self.steps and self.warmup >= self.steps:
            raise ValueError(f"warmup ({self.warmup} steps) must end before the run does ({self.steps} steps)")
        return self
