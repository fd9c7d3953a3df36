"""videochat-r1 evaluate: a policy answers a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from videochat_r1.commands.display import figures_table, print_json, say
from videochat_r1.commands.options import Command, Given, option
from videochat_r1.commands.sources import SourceOptions
from videochat_r1.errors import DataError
from videochat_r1.rollout.base import RolloutConfig
from videochat_r1.section import refused
from videochat_r1.tasks.base import Asking
from videochat_r1.video.sampling import VideoConfig

if TYPE_CHECKING:
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.types import Sample


class Greedy(RolloutConfig):
    """How an answer is drawn: the likeliest token each time, unless a temperature is given."""

    temperature: float = refused(0.0, "0 takes the likeliest token", ge=0.0)


class Evaluate(SourceOptions):
    """Let a policy answer every sample of a data set, score the answers, and print the figures with their 95 % intervals beside the trivial
    answers. A video that cannot be used counts as answered wrongly."""

    on_missing: Literal["quarantine", "stop"] = option("quarantine", "a video that is not there: count it as answered wrongly, or stop")
    policy: str = option(..., "the model's folder, a PEFT adapter's folder, or a name on the hub", "DIR_OR_NAME")
    out: str = option("", "write predictions.jsonl, scores.jsonl and figures.json into this folder", "DIR")
    train: str = option("", "fit the trivial constant answers on this annotation file of the same data set", "FILE")
    asking: Asking = option(Asking, "how questions are put and answers are read")
    video: VideoConfig = option(VideoConfig, "how clips are sampled, sized and read")
    rollout: Greedy = option(Greedy, "how answers are drawn")
    device: str = option("auto", "where the model runs: auto, cpu, cuda or cuda:N")
    dtype: Literal["auto", "float32", "bfloat16"] = option("auto", "of the weights; auto is bfloat16 on a GPU and float32 elsewhere")
    resamples: int = option(1000, "bootstrap resamples of the 95 % intervals; 0: none", ge=0)
    seed: int = option(0, "of the draws and of the resamples")
    json_: bool = option(False, "print one JSON object")


def run(options: Evaluate, out: TextIO, fields: Given) -> int:
    from videochat_r1.commands.train import defects_line
    from videochat_r1.datasets.base.source import read_samples
    from videochat_r1.evaluation.answers_file import require_different_ids
    from videochat_r1.evaluation.baselines import baselines
    from videochat_r1.evaluation.evaluate import results

    if options.out:
        _require_writable(Path(options.out))
    loaded = read_samples(options.source(), keeps_missing=True)
    if line := defects_line(loaded.defects):
        say(line)
    require_different_ids(loaded.samples)
    train = read_samples(options.training_source(options.train)).samples if options.train else []
    trivial = baselines(loaded.samples, train, resamples=options.resamples, seed=options.seed)
    answered = _answer(options, loaded.samples)
    found = results(answered, resamples=options.resamples, seed=options.seed)
    if options.out:
        _write(Path(options.out), options, answered, found, trivial)
    if options.json_:
        is_one = len(found) == 1
        figures: dict[str, Any] = dict(next(iter(found.values())) if is_one else found)
        print_json({**figures, "baselines": next(iter(trivial.values())) if is_one else trivial}, out)
        return 0
    for task, figures in found.items():
        figures_table(f"{task}, {figures['n']:,} samples", {"policy": figures, **trivial[task]}, out)
    return 0


def _require_writable(folder: Path) -> None:
    """Before hours of answers: raises EnvironmentFault where they could not be kept."""
    from videochat_r1.evaluation.answers_file import write_jsonl

    trial = folder / ".trial"
    write_jsonl(trial, [])
    trial.unlink()


def _answer(options: Evaluate, samples: list[Sample]) -> list[Answered]:
    from videochat_r1.commands.quiet import quiet_libraries
    from videochat_r1.evaluation.evaluate import answer
    from videochat_r1.evaluation.live import Live
    from videochat_r1.policy.config import PolicyConfig
    from videochat_r1.policy.model import load_policy
    from videochat_r1.rollout.base import make_engine
    from videochat_r1.video.clips import ClipLoader

    quiet_libraries()
    policy = load_policy(PolicyConfig(path=options.policy, device=options.device, dtype=options.dtype), keep_reference=False)
    engine = make_engine(options.rollout.engine, policy)
    loader = ClipLoader(options.video, policy.geometry)
    with Live(len(samples), title="Evaluating") as live:
        found = answer(
            policy,
            engine,
            loader,
            samples,
            options.asking,
            options.rollout,
            seed=options.seed,
            on_answered=lambda done: live.on_step({"step": done}),
        )
    if len(loader.quarantine) == len(samples):
        first = loader.quarantine.faults[0]
        raise DataError(
            f"None of the {len(samples):,} videos could be used; {first.sample_id}: {first.what}", "Give their folder: --videos DIR."
        )
    for fault in loader.quarantine.faults[:5]:
        say(f"{fault.sample_id}: {fault.what}")
    if len(loader.quarantine.faults) > 5:
        say(f"... and {len(loader.quarantine.faults) - 5:,} more: {loader.quarantine.counts()}")
    return found


def _write(folder: Path, options: Evaluate, answered: list[Answered], found: dict[str, Any], trivial: dict[str, Any]) -> None:
    import json

    from videochat_r1.commands.display import finite
    from videochat_r1.evaluation.answers_file import write_predictions, write_scores
    from videochat_r1.grpo.log import write_whole

    write_predictions(folder / "predictions.jsonl", answered)
    write_scores(folder / "scores.jsonl", answered)
    asked = options.model_dump(mode="json", exclude={"json_", "out"})
    report = {"results": found, "baselines": trivial, "n": len(answered), "options": asked}
    write_whole(folder / "figures.json", json.dumps(finite(report), indent=1, allow_nan=False).encode())
    say(f"Written to {folder}: predictions.jsonl, scores.jsonl, figures.json.")


COMMAND = Command(Evaluate, run)
