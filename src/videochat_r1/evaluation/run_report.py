"""From what each model answered to the report of a run: figures, baselines, and the examples that are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.errors import VideoError
from videochat_r1.evaluation.examples import Example, ModelAnswer, choose_examples
from videochat_r1.evaluation.report import Report, describe_environment

if TYPE_CHECKING:
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.types import Sample
    from videochat_r1.video.clips import ClipLoader

Figures = Mapping[str, Mapping[str, Any]]
"""{TASK: figures}."""


def assemble_report(
    title: str,
    samples: Sequence[Sample],
    answered: Mapping[str, Sequence[Answered]],
    *,
    baselines: Mapping[str, Figures],
    loader: ClipLoader | None = None,
    metrics: Path | None = None,
    seconds: float | Mapping[str, float] = 0.0,
    notes: Sequence[str] = (),
    commands: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    per_task: int = 2,
    resamples: int = 1000,
    seed: int = 0,
) -> Report:
    """The report of models that answered the same samples.

    answered: {MODEL: one answer a sample, in their order}; "base", "sft" and "rft" have names of their own. baselines: {TASK: {NAME:
    figures}}. loader: decodes the clips of the chosen examples, and of no other; None shows examples in words only. extra: further keys of
    report.json, such as "levels". Raises ValueError where a model has not one answer a sample, DataError as `figures` does."""
    from videochat_r1.evaluation.evaluate import results

    for model, answers in answered.items():
        if [one.sample.id for one in answers] != [sample.id for sample in samples]:
            raise ValueError(f"{model} has {len(answers)} answers for {len(samples)} samples, or in another order")
    payload: dict[str, Any] = {
        "results": {model: results(answers, resamples=resamples, seed=seed) for model, answers in answered.items()},
        "baselines": {task: dict(by_name) for task, by_name in baselines.items()},
        "seconds": seconds,
        "n": len(samples),
        **(extra or {}),
    }
    return Report(
        title=title,
        payload=payload,
        notes=tuple(notes),
        commands=tuple(commands),
        environment=describe_environment(),
        metrics=metrics,
        examples=examples_of(samples, answered, loader, per_task=per_task),
    )


def examples_of(
    samples: Sequence[Sample], answered: Mapping[str, Sequence[Answered]], loader: ClipLoader | None, *, per_task: int = 2
) -> tuple[Example, ...]:
    """Examples by rule, with the clips of the chosen ones alone; one whose video cannot be read is shown in words."""
    if not answered:
        return ()
    models = list(answered)
    candidates = [
        Example(
            sample=sample,
            answers={
                model: ModelAnswer(text=one.text, reading=one.reading, rewards=one.rewards)
                for model, one in ((model, answered[model][index]) for model in models)
            },
        )
        for index, sample in enumerate(samples)
    ]
    chosen = choose_examples(candidates, per_task=per_task, before=models[0], after=models[-1])
    return tuple(_with_clip(example, loader) for example in chosen) if loader is not None else chosen


def _with_clip(example: Example, loader: ClipLoader) -> Example:
    from videochat_r1.evaluation.evaluate import clip_of

    try:
        return replace(example, clip=clip_of(loader, example.sample))
    except VideoError:
        return example
