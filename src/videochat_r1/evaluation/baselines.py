"""The trivial answers, scored: what a figure is worth only shows beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from videochat_r1.errors import DataError
from videochat_r1.evaluation.figures import figures
from videochat_r1.tasks._trivial import NoDuration
from videochat_r1.tasks.base import Task
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.tasks.base.scoring import consulted
from videochat_r1.types import Answer, Reading, Sample, Span

if TYPE_CHECKING:
    from videochat_r1.video.clips import ClipLoader

NOT_POSSIBLE = Reading(answer=None, reason="not_possible", format_ok=False)
NO_DURATION = Reading(answer=None, reason="no_duration", format_ok=False)


def baselines(
    samples: Sequence[Sample],
    train: Sequence[Sample] = (),
    *,
    resamples: int = 1000,
    seed: int = 0,
    loader: ClipLoader | None = None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """{TASK: {NAME: figures}}: every task's trivial answers on its samples, fitted on the training samples of the same task.

    Answers are scored as they are, not as a text: no rounding. loader: tells the length of videos whose annotation does not; the stated one
    goes first. A video that it could not use is answered wrongly here too, as it is by the policy. Raises DataError where there is no
    sample, and as `figures` and `task_baselines` do."""
    if not samples:
        raise DataError("There is no sample to score.", "Check the annotation file with `videochat-r1 data check`.")
    lost: set[str] = set()
    if loader is not None:
        lost = {fault.sample_id for fault in loader.quarantine.left_out}
        tasks = {sample.task for sample in samples}
        samples = [replace(one, duration_s=loader.duration_s(one)) for one in samples]
        # of training samples a share of the video is fitted on spans alone: no other video is opened for it
        spans = [one.task in tasks and bool(one.truth.spans) for one in train]
        train = [replace(one, duration_s=loader.duration_s(one)) if needed else one for one, needed in zip(train, spans, strict=True)]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in dict.fromkeys(sample.task for sample in samples):
        task = load_task(name)
        asked = [sample for sample in samples if sample.task == name]
        known = [sample for sample in train if sample.task == name]
        found[name] = task_baselines(task, asked, known, resamples=resamples, seed=seed, lost=lost)
    return found


def task_baselines(
    task: Task,
    samples: Sequence[Sample],
    train: Sequence[Sample] = (),
    *,
    resamples: int = 1000,
    seed: int = 0,
    lost: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """{NAME: figures} of one task. lost: ids of samples that no policy could answer: here too they are wrong. Raises as `figures` does.

    An answer that cannot be given for some sample, such as a share of a video of unknown length, is not a wrong one: all its metrics are
    None then, "unparsed" counts such samples, and "no_duration" those of them that lack a duration."""
    found = {}
    for name, fit in task.trivial.items():
        answer = fit(train)
        given = [_reading(answer, sample) for sample in samples]
        readings = consulted(list(zip(given, samples, strict=True)), precision=True)
        if all(reading.answer is not None or sample.id in lost for reading, sample in zip(given, samples, strict=True)):
            found[name] = figures(task, samples, readings, resamples=resamples, seed=seed)
            continue
        names = figures(task, samples, readings, resamples=0)
        found[name] = {metric: value if isinstance(value, int) else None for metric, value in names.items()}
        if lacking := sum(reading is NO_DURATION for reading in given):
            found[name]["no_duration"] = lacking
    return found


def constants(samples: Sequence[Sample], train: Sequence[Sample] = ()) -> dict[str, Span]:
    """{TASK: (start, end)} as shares of a video's duration: the span that `constant` answers, of the tasks that have one."""
    found: dict[str, Span] = {}
    for name in dict.fromkeys(sample.task for sample in samples):
        fit = load_task(name).trivial.get("constant")
        probe = next((sample for sample in samples if sample.task == name and sample.duration_s), None)
        if fit and probe and probe.duration_s and (spans := fit([one for one in train if one.task == name])(probe).spans):
            found[name] = (spans[0][0] / probe.duration_s, spans[0][1] / probe.duration_s)
    return found


def _reading(answer: Callable[[Sample], Answer], sample: Sample) -> Reading:
    try:
        return Reading(answer=answer(sample), reason="", format_ok=True)
    except NoDuration:
        return NO_DURATION
    except ValueError:
        return NOT_POSSIBLE
