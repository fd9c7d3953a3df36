"""videochat-r1 compare: is one policy better than another, on the same samples?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from videochat_r1.checking import checked
from videochat_r1.commands.display import print_json, print_table, say
from videochat_r1.commands.judging import JUDGE, judge_of
from videochat_r1.commands.options import MOST_RESAMPLES, Command, Given, argument, option, seed_option
from videochat_r1.commands.sources import SourceOptions
from videochat_r1.counting import counted
from videochat_r1.errors import UsageError
from videochat_r1.tasks.base import Asking, ReadAs, Wording

if TYPE_CHECKING:
    from videochat_r1.evaluation.compare import Scored
    from videochat_r1.types import Sample


class Compare(SourceOptions):
    """Compare two policies on the same samples: for each metric the difference A - B with its 95 % interval (paired bootstrap over videos)
    and its p (permutation over videos; for metrics of right or wrong also McNemar's exact test). A and B are folders that `evaluate --out`
    wrote, or files of predictions with --dataset and --annotations."""

    a: str = argument("the first: a folder of evaluate --out, or a file of predictions", "A")
    b: str = argument("the second", "B")
    dataset: str = option("", "files of predictions: the data set that they are about", "NAME")
    annotations: str = option("", "files of predictions: its annotation file", "FILE")
    common: bool = option(False, "where the two have different samples, compare those that both have")
    thinking: bool = option(False, "files of predictions: the form that was asked for has a <think> block")
    prompts: Wording = option("released", "files of predictions: whose prompts were asked")
    reading: ReadAs = option("strict", "files of predictions: how answers are read")
    judge: str = option("offline", f"files of predictions: {JUDGE}", "offline|FILE")
    resamples: int = option(1000, "bootstrap resamples of the 95 % intervals; 0: none", ge=0, le=MOST_RESAMPLES)
    seed: int = seed_option("of the resamples and permutations")
    json_: bool = option(False, "print one JSON object")


def run(options: Compare, out: TextIO, fields: Given) -> int:
    from videochat_r1.datasets.base.reading import read_samples
    from videochat_r1.evaluation.compare import compare
    from videochat_r1.judge import using

    names = (options.a, options.b)
    of_predictions = [_is_predictions(options, path) for path in names]
    with using(judge_of(options.judge)):
        truth = read_samples(options.source()).samples if any(of_predictions) else []
        a, b = (
            _scored(options, path, truth if is_predictions else None) for path, is_predictions in zip(names, of_predictions, strict=True)
        )
    neither = [sample.id for sample in truth if sample.id not in a and sample.id not in b]
    if neither and (a or b):
        what = f"{len(neither):,} of {len(truth):,} samples of {options.annotations} are answered in neither, {neither[0]!r} the first"
        say(f"{what}: they are left out here, where `score` counts them as wrong.")
    found = compare(a, b, names=names, common=options.common, resamples=options.resamples, seed=options.seed)
    if options.json_:
        print_json({"a": options.a, "b": options.b, "tasks": found}, out)
        return 0
    show(found, names, out)
    return 0


def show(found: dict[str, dict[str, Any]], names: tuple[str, str], out: TextIO) -> None:
    """A table a task: both figures, the difference with its interval, and what it is worth."""
    out.write(f"A = {names[0]}\nB = {names[1]}\n")
    for task, compared in found.items():
        rows = [["", "A", "B", "A - B", "95 % interval", "p", "p (McNemar)"]]
        for metric, one in compared["metrics"].items():
            interval = "[{:+.1f}, {:+.1f}]".format(*one["difference_ci95"]) if "difference_ci95" in one else ""
            discordant = f"{_p(one['p_mcnemar'])} ({one['only_a']} : {one['only_b']})" if "p_mcnemar" in one else ""
            rows.append([metric, f"{one['a']:.1f}", f"{one['b']:.1f}", f"{one['difference']:+.1f}", interval, _p(one["p"]), discordant])
        print_table(f"{task}, {counted(compared['n'], 'sample')} of {counted(compared['videos'], 'video')}", rows, out)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _is_predictions(options: Compare, path: str) -> bool:
    """Whether it is a file of predictions and not an evaluation's folder. Raises UsageError where it is neither, or has no truth."""
    wanted = "Give a folder that `evaluate --out` wrote, or a file of predictions."
    if not Path(path).exists():
        raise UsageError(f"There is no {path}.", wanted)
    if Path(path).is_dir():
        if not (Path(path) / "scores.jsonl").is_file():
            raise UsageError(f"{path} is no folder of an evaluation: it has no scores.jsonl.", wanted)
        return False
    if not options.dataset or not options.annotations:
        mend = "Add --dataset and --annotations, or give folders that `evaluate --out` wrote."
        raise UsageError(f"{path} is no folder of an evaluation; predictions are scored against a data set.", mend)
    return True


def _scored(options: Compare, path: str, truth: Sequence[Sample] | None) -> Scored:
    """An evaluation's folder from its own scores; a file of predictions against the truth, those of its samples that are answered."""
    from videochat_r1.evaluation.compare import read_scores, scored

    if truth is None:
        return read_scores(Path(path) / "scores.jsonl")
    from videochat_r1.evaluation.score import MISSING, read_outputs, read_predictions
    from videochat_r1.tasks.base.scoring import consulted

    outputs = read_predictions(Path(path))
    asking = checked(Asking, {"thinking": options.thinking, "prompts": options.prompts, "reading": options.reading})
    readings = read_outputs(truth, outputs, asking)
    readings = consulted(list(zip(readings, truth, strict=True)), precision=True)
    pairs = [(sample, reading) for sample, reading in zip(truth, readings, strict=True) if reading is not MISSING]
    if pairs and (unknown := sorted(outputs.keys() - {sample.id for sample in truth})):
        say(f"{path}: {len(unknown):,} of {len(outputs):,} predictions have an id that no sample has, the first {unknown[0]!r}.")
    return scored([sample for sample, _ in pairs], [reading for _, reading in pairs])


COMMAND = Command(Compare, run)
