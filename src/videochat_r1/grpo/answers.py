"""What a batch's prompts are answered with: completions judged by their tasks, or the gold answers themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from videochat_r1.errors import DataError
from videochat_r1.grpo.batches import Batch, task_of
from videochat_r1.policy.model import Policy
from videochat_r1.policy.prompt import encode_text
from videochat_r1.tasks.base import Asking, judge
from videochat_r1.types import Completion, Group

MEND = "Look at it with `videochat-r1 data check`."


def judged(batch: Batch, completions: Sequence[Sequence[Completion]], asking: Asking) -> list[Group]:
    """Each prompt's completions with what they earn. Raises DataError, naming the sample, for a truth at fault or a non-finite reward."""
    groups = []
    for turn, prompt, own in zip(batch.turns, batch.prompts, completions, strict=True):
        try:
            rollouts = judge(task_of(turn), turn.sample, own, asking)
        except ValueError as error:
            raise DataError(f"Sample {turn.sample.id}: its truth cannot be scored: {error}", MEND) from error
        if not all(math.isfinite(rollout.total) for rollout in rollouts):
            what = f"Sample {turn.sample.id}: a reward of task {turn.sample.task} is not finite."
            raise DataError(what, "A reward is a number from 0.0 to 1.0.")
        groups.append(Group(sample=turn.sample, prompt=prompt, rollouts=rollouts))
    return groups


def gold(policy: Policy, batch: Batch, asking: Asking) -> list[list[Completion]]:
    """Each prompt's true answer, as its task writes it, as the only completion. Raises DataError for a truth that cannot be written."""
    answers = []
    for turn in batch.turns:
        try:
            text = task_of(turn).write(turn.sample.truth, asking)
        except ValueError as error:
            raise DataError(f"Sample {turn.sample.id}: its truth cannot be written as an answer: {error}", MEND) from error
        answers.append([encode_text(policy, text)])
    return answers
