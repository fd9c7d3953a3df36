"""videochat-r1 baselines: what answers are worth that never looked at the video."""

from __future__ import annotations

from typing import TextIO

from videochat_r1.commands.display import figures_table, print_json, say
from videochat_r1.commands.options import MOST_RESAMPLES, Command, Given, option, seed_option
from videochat_r1.commands.sources import SourceOptions
from videochat_r1.counting import counted


class Baselines(SourceOptions):
    """Score the trivial answers of a data set: the whole video, the best constant span, the first box copied, the commonest answer. A
    figure is worth something only beside them."""

    train: str = option("", "fit the constant answers on this annotation file of the same data set", "FILE")
    resamples: int = option(1000, "bootstrap resamples of the 95 % intervals; 0: none", ge=0, le=MOST_RESAMPLES)
    seed: int = seed_option("of the resamples")
    json_: bool = option(False, "print one JSON object: {NAME: {METRIC: value}}, below {TASK: ...} where there are several tasks")


def run(options: Baselines, out: TextIO, fields: Given) -> int:
    from videochat_r1.datasets.base.reading import read_samples
    from videochat_r1.evaluation.baselines import baselines, constants
    from videochat_r1.evaluation.tables import trivial_notes

    samples = read_samples(options.source()).samples
    train = read_samples(options.training_source(options.train)).samples if options.train else []
    found = baselines(samples, train, resamples=options.resamples, seed=options.seed)
    for note in trivial_notes(found):
        say(note)
    if options.json_:
        print_json(next(iter(found.values())) if len(found) == 1 else found, out)
        return 0
    spans = constants(samples, train)
    for task, by_name in found.items():
        count = sum(sample.task == task for sample in samples)
        if not by_name:
            out.write(f"{task}, {counted(count, 'sample')}: the task has no trivial answers to score.\n")
            continue
        figures_table(f"{task}, {counted(count, 'sample')}", by_name, out)
        if task in spans:
            fitted = "fitted with --train" if train else "as it was fitted on the task's first data set; --train fits anew"
            start, end = spans[task]
            out.write(f"constant: {start:.2f} to {end:.2f} of each video, {fitted}.\n")
    return 0


COMMAND = Command(Baselines, run)
