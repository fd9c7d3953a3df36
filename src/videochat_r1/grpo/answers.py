"""What a batch's prompts are answered with: completions judged by their tasks, or the gold answers themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from videochat_r1.errors import DataError
from videochat_r1.grpo.batches import Batch, task_of
from videochat_r1.policy.model import Policy
from videochat_r1.policy.prompt import encode_text
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.apart import apart
from videochat_r1.tasks.base.scoring import consulted, scored
from videochat_r1.types import Completion, Group

if TYPE_CHECKING:
    from videochat_r1.judge.base import Judge

MEND = "Look at it with `videochat-r1 data check`."


def judged(
    batch: Batch, completions: Sequence[Sequence[Completion]], asking: Asking, deadline_s: float = 0.0, judge: Judge | None = None
) -> list[Group]:
    """Each prompt's completions with what they earn. All are read first, so that a task may prepare for them in one go, and that a judge
    sees all captions of the step together.

    deadline_s: seconds for each completion of a task in a file of the user's own, which is read and scored in a process of its own; 0
    scores it here, without a deadline. judge: of the tasks that rest on one; None judges by words. Raises DataError, naming the sample, for
    a truth at fault, and what the judge raises."""
    is_apart = [deadline_s > 0 and turn.sample.task.endswith(".py") for turn in batch.turns]
    readings = [
        [] if is_own else [task_of(turn).read(completion.text, turn.sample, asking) for completion in own]
        for turn, own, is_own in zip(batch.turns, completions, is_apart, strict=True)
    ]
    for name in dict.fromkeys(batch.tasks):
        own_turns = [(turn, read) for turn, read in zip(batch.turns, readings, strict=True) if turn.sample.task == name]
        if (prepare := task_of(own_turns[0][0]).prepare) is not None and any(read for _, read in own_turns):
            prepare([(reading, turn.sample) for turn, read in own_turns for reading in read], asking)
    flat = [(reading, turn.sample) for turn, read in zip(batch.turns, readings, strict=True) for reading in read]
    with_verdicts = iter(consulted(flat, judge, precision=False))
    readings = [[next(with_verdicts) for _ in read] for read in readings]
    groups = []
    for turn, prompt, own, read in zip(batch.turns, batch.prompts, completions, readings, strict=True):
        try:
            if read:
                task = task_of(turn)
                scores = [scored(task, turn.sample, each, reading, asking) for each, reading in zip(own, read, strict=True)]
            else:
                scores = [apart(turn.sample.task).rollout(turn.sample, each, asking, deadline_s) for each in own]
        except ValueError as error:
            raise DataError(f"Sample {turn.sample.id}: its truth cannot be scored: {error}", MEND) from error
        groups.append(Group(sample=turn.sample, prompt=prompt, rollouts=tuple(scores)))
    return groups


def rewards_of(group: Group) -> Tensor:
    """(G,) float64: each completion's total, nan where it could not be scored."""
    return torch.tensor([math.nan if total is None else total for total in group.totals], dtype=torch.float64)


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
