"""videochat-r1 score: predictions against the truth, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

from videochat_r1.checking import checked
from videochat_r1.commands.display import figures_table, print_json, say
from videochat_r1.commands.judging import JUDGE, judge_of, told
from videochat_r1.commands.options import MOST_RESAMPLES, Command, Given, argument, option, seed_option
from videochat_r1.commands.sources import SourceOptions
from videochat_r1.counting import counted
from videochat_r1.tasks.base import Asking, ReadAs, Wording


class Score(SourceOptions):
    """Score a file of predictions, JSONL rows {"id": ..., "output": the model's raw text}, against a data set. A sample without a readable
    answer is wrong and stays in the denominator."""

    predictions: str = argument("the file of predictions", "PREDICTIONS.jsonl")
    thinking: bool = option(False, "the form that was asked for has a <think> block")
    prompts: Wording = option("released", "whose prompts were asked; of r1_5 temporal grounding gives a list")
    reading: ReadAs = option("strict", "how answers are read: strict, or as the released training or evaluation code does")
    judge: str = option("offline", JUDGE, "offline|FILE")
    resamples: int = option(1000, "bootstrap resamples of the 95 % intervals; 0: none", ge=0, le=MOST_RESAMPLES)
    seed: int = seed_option("of the resamples")
    json_: bool = option(False, "print one JSON object")


def run(options: Score, out: TextIO, fields: Given) -> int:
    from videochat_r1.datasets.base.reading import read_samples
    from videochat_r1.evaluation.score import read_predictions, score
    from videochat_r1.judge import using

    asking = checked(Asking, {"thinking": options.thinking, "prompts": options.prompts, "reading": options.reading})
    with using(judge_of(options.judge)) as judge:
        samples = read_samples(options.source()).samples
        outputs = read_predictions(Path(options.predictions))
        found = score(samples, outputs, asking, resamples=options.resamples, seed=options.seed)
        code = told(judge, found.by_task)
    if options.json_:
        print_json(found.as_dict(), out)
        return code
    for task, figures in found.by_task.items():
        columns: dict[str, dict[str, Any]] = {"predictions": figures}
        figures_table(f"{task}, {counted(figures['n'], 'sample')}", columns, out)
        if found.reasons[task]:
            out.write(f"  no answer: {', '.join(f'{reason} x {count:,}' for reason, count in found.reasons[task].items())}\n")
    if found.unknown:
        say(f"{counted(len(found.unknown), 'id')} of predictions that no sample has, the first {found.unknown[0]!r}.")
    if found.missing:
        total = sum(figures["n"] for figures in found.by_task.values())
        lost = f"{len(found.missing):,} of {counted(total, 'sample')}, {found.missing[0]!r} the first"
        say(f"Without a prediction, and counted as wrong: {lost}.")
    return code


COMMAND = Command(Score, run)
