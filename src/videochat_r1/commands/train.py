"""videochat-r1 train: a recipe, from its data to a tuned policy and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from videochat_r1.commands.display import say
from videochat_r1.commands.folders import is_run, require_room_for_run
from videochat_r1.commands.options import Command, Given, Options, argument, option
from videochat_r1.commands.quiet import quiet_libraries
from videochat_r1.commands.resuming import inputs, require_same_content, require_same_recipe
from videochat_r1.commands.soundness import defects_line, require_sound_test, videos_lines
from videochat_r1.config import Recipe, read_recipe, recipe_toml
from videochat_r1.counting import counted
from videochat_r1.errors import Interrupted, UsageError
from videochat_r1.runs import answers, ended_by_signals, load, run_steps
from videochat_r1.spelling import near

if TYPE_CHECKING:
    from videochat_r1.datasets.base.source import DataSource
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.evaluation.report import Report
    from videochat_r1.grpo.log import RunFolder
    from videochat_r1.grpo.trainer import Outcome
    from videochat_r1.policy.model import Policy
    from videochat_r1.rollout.base import Engine
    from videochat_r1.types import Sample
    from videochat_r1.video.clips import ClipLoader


class Train(Options):
    """Fine-tune a policy on the tasks and data sets that RECIPE.toml names. The run folder gets the resolved recipe, the metrics of every
    step, every completion, checkpoints, the policy, and, where the recipe names test sets, a report of base and tuned model."""

    recipe: str = argument("the recipe; see recipes/README.md", "RECIPE.toml")
    out: str = option("", "the run folder; runs/ and the recipe's name where it is left out", "DIR")
    resume: bool = option(False, "go on from the newest checkpoint in the run folder")
    resume_anyway: bool = option(False, "go on although the recipe is another one now")
    dry_run: bool = option(
        False,
        "print the resolved recipe, one prompt, token counts, steps and memory, then stop; no weights are loaded. Ends with the exit code "
        "that the run would end with, but with 0 where annotations or videos are not there yet, which is told",
    )
    tokenizer: str = option("", "--dry-run: a folder with the tokenizer.json of a released model that is not here", "DIR")


def run(options: Train, out: TextIO, fields: Given) -> int:
    recipe = read_recipe(options.recipe, fields)
    if options.dry_run:
        from videochat_r1.commands.dry_run import dry_run

        return dry_run(recipe, options.tokenizer, out)
    if options.tokenizer:
        raise UsageError("--tokenizer serves --dry-run alone.", "The policy's own tokenizer is used in training.")
    from videochat_r1.grpo.log import RunFolder
    from videochat_r1.judge import make_judge, using

    path = Path(options.out) if options.out else Path("runs") / Path(options.recipe).stem
    resume = options.resume or options.resume_anyway
    if resume and not path.exists():
        runs = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
        close = near(path.name, runs)
        mend = f"Did you mean {path.parent / close[0]}?" if close else "Leave --resume out to begin a run there."
        raise UsageError(f"There is no run folder {path} to go on with.", mend)
    if not resume and not is_run(path):
        require_room_for_run(path)
    with ended_by_signals(), RunFolder(path, resume=resume) as folder:
        if resume and not any(folder.checkpoints.glob("step-*")):
            say(f"There is no checkpoint in {path}: the run begins at its first step.")
        try:
            with using(make_judge(recipe.judge, folder.path)):
                report, unscorable = _train(recipe, folder, Path(options.recipe).stem, options.recipe, anyway=options.resume_anyway)
        except KeyboardInterrupt:
            what = "Stopped outside of the training steps; what was saved stays."
            raise Interrupted(what, f"Go on with --resume --out {path}.") from None
    _show(report, path, unscorable, out)
    return 0


def _train(recipe: Recipe, folder: RunFolder, title: str, recipe_file: str, *, anyway: bool) -> tuple[Report | None, int]:
    """All of a run, in its folder. Gives the report where there is something to compare, and how many completions could not be scored."""
    from videochat_r1.evaluation.evaluate import list_faults
    from videochat_r1.grpo.inputs import keep_inputs
    from videochat_r1.grpo.log import write_whole

    resumed = require_same_recipe(recipe, folder, anyway=anyway)
    data = [_read(source) for source in recipe.data]
    test = [sample for source in recipe.test for sample in _read(source, keeps_missing=True)]
    require_sound_test(recipe, data, test)
    resumed = require_same_content(resumed, recipe, folder, data, anyway=anyway)
    write_whole(folder.path / "recipe.toml", recipe_toml(recipe).encode())
    if line := _asked_otherwise(recipe):
        say(line)
    quiet_libraries()
    policy, engine, loader = load(recipe)
    keep_inputs(folder.path, inputs(recipe, data))  # after it was loaded: a name on the hub is a folder only now
    answered: dict[str, list[Answered]] = {}
    if test:
        answered["base"] = _base_answers(recipe, folder, policy, engine, loader, test, again=resumed.is_changed)
        list_faults(answered["base"], loader)
    outcome = run_steps(recipe, folder, policy, engine, loader, data, anyway, moved=resumed.moved)
    say(f"Trained {counted(outcome.step, 'step')} ({outcome.reason}); the policy is in {folder.path / 'policy'}.")
    if loader.quarantine.faults:
        loader.quarantine.write(str(folder.path / "quarantine.jsonl"))
        for line in videos_lines(loader.quarantine, folder.path / "quarantine.jsonl"):
            say(line)
    if not test:
        return None, outcome.unscorable
    tuned = "sft" if recipe.train.method == "sft" else "rft"
    answered[tuned] = answers(recipe, policy, engine, loader, test, folder.path / "evaluation", "tuned")
    return _report(recipe, folder, title, recipe_file, data, test, answered, loader, outcome), outcome.unscorable


def _asked_otherwise(recipe: Recipe) -> str:
    """In what the recipe asks a policy otherwise than it was taught to be asked, where that is known; "" where in nothing."""
    from videochat_r1.evaluation.manner import manner_of

    manner = manner_of(recipe.policy.path)
    own = {(name, key): value for name in ("video", "asking") for key, value in manner.sections.get(name, {}).items()}
    evaluated = "released_evaluation"  # how a released checkpoint is judged, not how it was taught
    parts = [
        f"{name}.{key} = {value}" for (name, key), value in own.items() if value not in (getattr(getattr(recipe, name), key), evaluated)
    ]
    return f"The policy was taught as {manner.said} says, this recipe asks otherwise: there it is {', '.join(parts)}." if parts else ""


def _read(source: DataSource, *, keeps_missing: bool = False) -> list[Sample]:
    from videochat_r1.datasets.base.reading import read_samples

    loaded = read_samples(source, keeps_missing=keeps_missing)
    for line in (defects_line(loaded.defects), loaded.chosen):
        if line:
            say(line)
    return loaded.samples


def _base_answers(
    recipe: Recipe, folder: RunFolder, policy: Policy, engine: Engine, loader: ClipLoader, test: Sequence[Sample], *, again: bool
) -> list[Answered]:
    """The base's answers; those of an earlier start of this run where they are about the same samples."""
    from videochat_r1.evaluation.answers_file import read_answers

    kept = None if again else read_answers(folder.path / "evaluation" / "base.predictions.jsonl", test, recipe.asking)
    return kept if kept is not None else answers(recipe, policy, engine, loader, test, folder.path / "evaluation", "base")


def _report(
    recipe: Recipe,
    folder: RunFolder,
    title: str,
    recipe_file: str,
    data: Sequence[Sequence[Sample]],
    test: Sequence[Sample],
    answered: dict[str, list[Answered]],
    loader: ClipLoader,
    outcome: Outcome,
) -> Report:
    from videochat_r1.evaluation.baselines import baselines
    from videochat_r1.evaluation.report import write_report
    from videochat_r1.evaluation.run_report import assemble_report
    from videochat_r1.evaluation.tables import trivial_notes

    trained_on = [sample for samples in data for sample in samples]
    learned = f"{counted(outcome.step, 'step')} on {counted(len(trained_on), 'sample')}"
    trivial = baselines(test, trained_on, loader=loader)
    for note in trivial_notes(trivial):
        say(note)
    report = assemble_report(
        title,
        test,
        answered,
        baselines=trivial,
        loader=loader,
        metrics=folder.path / "metrics.jsonl",
        seconds=outcome.seconds,
        notes=(f"{learned}, from {recipe.policy.path}; {counted(len(test), 'test sample')}, greedy.",),
        commands=(f"videochat-r1 train {recipe_file}",),
    )
    write_report(folder.path, report)
    return report


def _show(report: Report | None, path: Path, unscorable: int, out: TextIO) -> None:
    lost = f"; {counted(unscorable, 'completion')} could not be scored (unscorable in metrics.jsonl)" if unscorable else ""
    if report is None:
        out.write(
            f"Done. {path / 'policy'} holds the policy, {path / 'metrics.jsonl'} the metrics; no [[test]] table, so no report{lost}.\n"
        )
        return
    from rich.console import Console

    from videochat_r1.evaluation.report import console_table

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the process with 1

    Output(file=out).print(console_table(report))
    out.write(f"{path / 'report.html'}  {path / 'report.md'}  {path / 'report.json'}\nThe policy: {path / 'policy'}{lost}\n")


COMMAND = Command(Train, run, recipe=True)
