"""From what each model answered to the report of a run: figures, baselines, and the examples that are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.counting import counted
from videochat_r1.errors import VideoError
from videochat_r1.evaluation.content import Report
from videochat_r1.evaluation.examples import Example, ModelAnswer, choose_examples
from videochat_r1.evaluation.report import describe_environment
from videochat_r1.evaluation.strata import strata

if TYPE_CHECKING:
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.evaluation.record import Record
    from videochat_r1.section import Section
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
    figures: Mapping[str, Mapping[str, Any]] | None = None,
    per_task: int = 2,
    resamples: int = 1000,
    seed: int = 0,
) -> Report:
    """The report of models that answered the same samples.

    answered: {MODEL: one answer a sample, in their order}; "base", "sft" and "rft" have names of their own. baselines: {TASK: {NAME:
    figures}}. loader: decodes the clips of the chosen examples, and of no other; None shows examples in words only. extra: further keys of
    report.json, such as "levels". figures: {MODEL: {TASK: figures}} where they are known; None makes them of the answers.
    Raises ValueError where a model has not one answer a sample, DataError as `figures` does."""
    from videochat_r1.evaluation.evaluate import results

    for model, answers in answered.items():
        if [one.sample.id for one in answers] != [sample.id for sample in samples]:
            raise ValueError(f"{model} has {len(answers)} answers for {len(samples)} samples, or in another order")
    payload: dict[str, Any] = {
        "results": {
            model: figures[model] if figures is not None else results(answers, resamples=resamples, seed=seed)
            for model, answers in answered.items()
        },
        "baselines": {task: dict(by_name) for task, by_name in baselines.items()},
        "seconds": seconds,
        "n": len(samples),
        "strata": strata(answered, loader),
        "about": {"title": title, "notes": list(notes), "commands": list(commands)},
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


def evaluation_report(record: Record, samples: Sequence[Sample], loader: ClipLoader | None) -> Report:
    """The report of an evaluation, with the base model's figures where it has them."""
    from dataclasses import asdict

    options = record.options
    asked = f"{policy_name(str(options['policy']))} on {Path(str(record.source['annotations'])).name} ({record.source['name']})"
    order = {model: record.answered[model] for model in ("base", "policy") if model in record.answered}
    spent = sum(found.get("seconds", 0.0) * found["n"] for model in order for found in record.results[model].values())
    return assemble_report(
        f"Evaluation of {asked}",
        samples,
        order,
        baselines=record.baselines,
        loader=None if loader is None else larger(loader),
        seconds=round(spent, 1),
        notes=_evaluation_notes(options, record.compared),
        commands=(_command(options, record.source),),
        extra={"published": [asdict(one) for one in record.published], "compared": dict(record.compared)},
        figures=record.results,
    )


def policy_name(path: str) -> str:
    """What to call a policy in a title: the last two parts of its path, or the built-in model by its name."""
    from videochat_r1.policy.config import SMALL
    from videochat_r1.small import SMALL_MODEL

    return SMALL if Path(path) == SMALL_MODEL else "/".join(Path(path).parts[-2:])


def _evaluation_notes(options: Mapping[str, Any], compared: Mapping[str, Any]) -> list[str]:
    """How it was asked (what makes an answer, not what makes it quick), and what the paired tests say."""
    from videochat_r1.rollout.base import RolloutConfig
    from videochat_r1.tasks.base import Asking
    from videochat_r1.video.sampling import VideoConfig

    notes = []
    sections: dict[str, type[Section]] = {"asking": Asking, "video": VideoConfig, "rollout": RolloutConfig}
    for name, section in sections.items():
        fields = {key: value for key, value in options[name].items() if key in section.model_fields and value not in ([], {}, "")}
        extras = {key: section.model_fields[key].json_schema_extra for key in fields}
        said = [f"{key} {fields[key]}" for key, extra in extras.items() if isinstance(extra, dict) and extra.get("on_resume") == "refused"]
        notes.append(f"{name.capitalize()}: {', '.join(said)}.")
    for task, one in compared.items():
        said = []
        for metric, found in one["metrics"].items():
            interval = " [{:+.1f}, {:+.1f}]".format(*found["difference_ci95"]) if "difference_ci95" in found else ""
            said.append(f"{metric} {found['difference']:+.1f}{interval}, p {found['p']:.3f}")
        notes.append(f"Policy minus base, {task}, paired over {counted(one['videos'], 'video')}: {'; '.join(said)}.")
    return notes


def _command(options: Mapping[str, Any], source: Mapping[str, Any]) -> str:
    words = [
        "videochat-r1 evaluate",
        f"--policy {options['policy']}",
        f"--dataset {source['name']}",
        f"--annotations {source['annotations']}",
    ]
    words += [f"--videos {source['videos']}"] if source.get("videos") else []
    words += [f"--base {options['base']}"] if options.get("base") else []
    return " ".join(words)


LOOK_PX = 320
"""Examples are drawn from frames of so many pixels square, whatever the model was shown of the same seconds."""


def larger(loader: ClipLoader) -> ClipLoader:
    """Loads the same seconds, in pictures that a person can look at."""
    from videochat_r1.video.clips import ClipLoader

    if loader.config.max_tokens:  # there a larger picture means fewer frames
        return loader
    side = LOOK_PX**2
    wider = {"max_pixels": max(loader.config.max_pixels, side), "total_pixels": max(loader.config.total_pixels, side * 1024)}
    return ClipLoader(loader.config.model_copy(update=wider), loader.geometry)


def rebuilt_evaluation(folder: Path) -> Report:
    """The report of an evaluation's folder, from what lies in it and the data set it names. Raises DataError and UsageError."""
    from videochat_r1.datasets.base.reading import read_samples
    from videochat_r1.evaluation.published import Published
    from videochat_r1.evaluation.record import Record, answers_of, read_record, source_of_record

    found = read_record(folder)
    source = source_of_record(found)
    samples = read_samples(source, keeps_missing=True).samples
    answered = answers_of(folder, found, samples)
    options = found["options"]
    record = Record(
        answered=answered,
        results={"policy": found["results"], **({"base": found["base"]} if "base" in answered else {})},
        baselines=found["baselines"],
        options=options,
        source=found["source"],
        compared=found.get("compared", {}),
        published=[Published(**one) for one in found.get("published", ())],
    )
    return evaluation_report(record, samples, _loader(options["policy"], options["video"]))


RUN_ANSWERS = {"base": "base", "tuned": "rft", "SFT": "sft", "sft": "sft"}
"""File of answers in a run's folder -> what the report calls the model; SFT is how earlier versions wrote it."""


def rebuilt_run(folder: Path) -> Report:
    """The report of a training run's folder, from its recipe, answers and metrics; harder levels, notes and times are taken from the report
    that lies there. Raises DataError and UsageError."""
    import json

    from videochat_r1.config import read_recipe
    from videochat_r1.datasets.base.reading import read_samples
    from videochat_r1.errors import DataError
    from videochat_r1.evaluation.answers_file import read_answers
    from videochat_r1.evaluation.baselines import baselines

    recipe = read_recipe(folder / "recipe.toml")
    if not recipe.test:
        raise DataError(f"The run {folder} names no [[test]] set, so there is nothing to report on.", "Evaluate its policy on a data set.")
    test = [sample for source in recipe.test for sample in read_samples(source, keeps_missing=True).samples]
    train = [sample for source in recipe.data for sample in read_samples(source).samples]
    answered = {}
    for name, model in RUN_ANSWERS.items():
        kept = read_answers(folder / "evaluation" / f"{name}.predictions.jsonl", test, recipe.asking, among_others=True)
        if kept is not None:
            answered["sft" if recipe.train.method == "sft" and name == "tuned" else model] = kept
    if not answered:
        mend = "Evaluate the policy with `videochat-r1 evaluate`."
        raise DataError(f"The run {folder} holds no answers to its test sets.", mend)
    try:
        old = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        old = {}
    about = old.get("about") or {"title": folder.resolve().name, "notes": [], "commands": []}
    loader = _loader(str(folder / "policy") if (folder / "policy").is_dir() else recipe.policy.path, recipe.video.model_dump(mode="json"))
    return assemble_report(
        str(about["title"]),
        test,
        {model: answered[model] for model in ("base", "sft", "rft") if model in answered},
        baselines=baselines(test, train, loader=loader),
        loader=None if loader is None else larger(loader),
        metrics=folder / "metrics.jsonl",
        seconds=old.get("seconds") or 0.0,
        notes=[str(note) for note in about["notes"]],
        commands=[str(command) for command in about["commands"]],
        extra={key: old[key] for key in ("levels", "level", "level_words") if key in old},
    )


def _loader(policy: str, video: Mapping[str, Any]) -> ClipLoader | None:
    """What loads the clips of the examples; None where the model that they were cut for is not here: then there are none to draw."""
    from videochat_r1.checking import checked
    from videochat_r1.errors import UserFault
    from videochat_r1.policy.processing import load_processing
    from videochat_r1.video.clips import ClipLoader
    from videochat_r1.video.sampling import VideoConfig

    try:
        return ClipLoader(checked(VideoConfig, video), load_processing(policy).geometry)
    except UserFault:
        return None


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
