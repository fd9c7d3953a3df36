"""videochat-r1 evaluate: a policy answers a data set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from videochat_r1.chat.config import CluesConfig
from videochat_r1.commands.display import figures_table, print_json, say
from videochat_r1.commands.folders import require_room_for_evaluation
from videochat_r1.commands.judging import JUDGE, judge_of, told
from videochat_r1.commands.options import MOST_RESAMPLES, Command, Given, option, seed_option
from videochat_r1.commands.policies import Greedy, PolicyOptions
from videochat_r1.commands.soundness import defects_line, videos_lines
from videochat_r1.commands.sources import SourceOptions, none_usable
from videochat_r1.counting import counted
from videochat_r1.errors import Interrupted

if TYPE_CHECKING:
    from videochat_r1.chat.answerer import WithClues
    from videochat_r1.datasets.base.source import DataSource
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.evaluation.processes import Processes
    from videochat_r1.evaluation.record import Record
    from videochat_r1.judge.base import Judge
    from videochat_r1.policy.model import Policy
    from videochat_r1.rollout.base import Engine
    from videochat_r1.types import Sample
    from videochat_r1.video.clips import ClipLoader, Quarantine


class Evaluate(SourceOptions, PolicyOptions):
    """Let a policy answer every sample of a data set, score the answers, and print the figures with their 95 % intervals beside the trivial
    answers, the base model and what was published. A video that cannot be used counts as answered wrongly. With --out a run that was
    stopped goes on where it was; `torchrun --nproc-per-node N -m videochat_r1.cli evaluate ...` shares the work."""

    on_missing: Literal["quarantine", "stop"] = option("quarantine", "a video that is not there: count it as answered wrongly, or stop")
    base: str = option("", "evaluate this model too, asked in the same way, and compare", "DIR_OR_NAME")
    out: str = option("", "keep answers, scores, figures and a report in this folder; goes on where it was stopped", "DIR")
    report: bool = option(True, "--out: write report.html, report.md and figures too")
    log_samples: bool = option(False, "--out: write results and samples as lmms-eval does")
    train: str = option("", "fit the trivial constant answers on this annotation file of the same data set", "FILE")
    rollout: Greedy = option(Greedy, "how answers are drawn")
    looks: CluesConfig = option(CluesConfig, "thinking with clues; without --base the policy is also asked in one look, and compared")
    judge: str = option("offline", JUDGE, "offline|FILE")
    resamples: int = option(1000, "bootstrap resamples of the 95 % intervals; 0: none", ge=0, le=MOST_RESAMPLES)
    seed: int = seed_option("of the draws and of the resamples")
    json_: bool = option(False, "print one JSON object")


def run(options: Evaluate, out: TextIO, fields: Given) -> int:
    from videochat_r1.datasets.base.reading import read_samples
    from videochat_r1.evaluation.answers_file import require_different_ids
    from videochat_r1.evaluation.processes import joined
    from videochat_r1.evaluation.record import require_same_evaluation, told_if_replaced
    from videochat_r1.judge import using
    from videochat_r1.runs import ended_by_signals

    if options.out:
        require_room_for_evaluation(Path(options.out))
        _require_writable(Path(options.out))
    with contextlib.ExitStack() as stack:
        with ended_by_signals(), joined() as processes:
            judge = stack.enter_context(using(_judge(options, processes.is_first)))
            asked = _as_the_policy_wants(options, processes.is_first)
            source = options.source()
            loaded = read_samples(source, keeps_missing=True)
            if processes.is_first and (line := defects_line(loaded.defects)):
                say(line)
            require_different_ids(loaded.samples)
            if options.out:
                sections = {"video": asked.video, "asking": asked.asking, "rollout": asked.rollout, "looks": asked.looks}
                require_same_evaluation(Path(options.out), _recorded(asked), sections, loaded.samples)
            train = read_samples(options.training_source(options.train)).samples if options.train else []
            digests = _digests(asked)
            if options.out and processes.is_first:
                for line in told_if_replaced(Path(options.out), digests):
                    say(line)
            answered, loader = _answers(asked, loaded.samples, processes, digests)
        if not processes.is_first:
            return 0
        record = _record(asked, source, loaded.samples, train, answered, digests, loader)
        if options.out:
            _keep(Path(options.out), asked, record, loaded.samples, loader)
        _tell(options, record, loader.quarantine)
        _show(options, record, out)
        return told(judge, record.results["policy"])


def _judge(options: Evaluate, is_first: bool) -> Judge:
    """Who judges captions: one process asks the endpoint, and only its figures are shown."""
    return judge_of(options.judge if is_first else "offline", Path(options.out) if options.out else None)


def _require_writable(folder: Path) -> None:
    """Before hours of answers: raises EnvironmentFault where they could not be kept."""
    from videochat_r1.evaluation.answers_file import write_jsonl

    trial = folder / f".trial-{os.getpid()}"
    write_jsonl(trial, [])
    trial.unlink()


def _as_the_policy_wants(options: Evaluate, tells: bool) -> Evaluate:
    """The options with what the policy's own run or release says, where the command line says nothing."""
    from videochat_r1.evaluation.manner import manner_of, settled

    given = {"video": options.video, "asking": options.asking, "rollout": options.rollout}
    path, sections = settled(options.policy, given, say if tells else None)
    base = manner_of(options.base).path if options.base else path if options.looks.clues != "off" else ""
    return options.model_copy(update={**sections, "policy": path, "base": base})


def _digests(options: Evaluate) -> dict[str, str]:
    """Of each model's files; none where nothing is kept."""
    from videochat_r1.evaluation.answer_cache import model_digest

    models = {"base": options.base, "policy": options.policy}
    return {model: model_digest(path) for model, path in models.items() if path and options.out}


def _answers(
    options: Evaluate, samples: list[Sample], processes: Processes, digests: Mapping[str, str]
) -> tuple[dict[str, list[Answered]], ClipLoader]:
    """What each model answered, the base first; and what loads their clips, on the first process with what is wrong with them."""
    from videochat_r1.evaluation.evaluate import list_faults

    answered = {}
    for model, path in (("base", options.base), ("policy", options.policy)):
        if path:
            answered[model], loader = _answers_of(model, path, options, samples, processes, digests)
    if all(one.reading.reason.startswith("video:") for one in answered["policy"]):
        raise none_usable(samples, [one.reading.reason.removeprefix("video:") for one in answered["policy"]])
    if processes.is_first:
        list_faults(answered["policy"], loader)
    return answered, loader


def _answers_of(
    model: str, path: str, options: Evaluate, samples: list[Sample], processes: Processes, digests: Mapping[str, str]
) -> tuple[list[Answered], ClipLoader]:
    """One model's answers, from the cache in --out where they are there."""
    from videochat_r1.commands.quiet import quiet_libraries
    from videochat_r1.evaluation.answer_cache import AnswerCache
    from videochat_r1.evaluation.evaluate import answer
    from videochat_r1.evaluation.live import Live
    from videochat_r1.policy.config import PolicyConfig
    from videochat_r1.policy.model import load_policy
    from videochat_r1.rollout.base import make_engine
    from videochat_r1.runs import require_room
    from videochat_r1.video.clips import ClipLoader

    quiet_libraries()
    policy = load_policy(PolicyConfig(path=path, device=_device(options.device, processes), dtype=options.dtype), keep_reference=False)
    require_room(options.rollout.max_tokens, policy.max_positions)
    engine = make_engine(options.rollout.engine, policy)
    loader = ClipLoader(options.video, policy.geometry)
    with_clues = _with_clues(model, path, options, policy, engine, loader)
    share = f", process 1 of {processes.count}" if processes.count > 1 else ""
    title = f"Evaluating{' the base' if model == 'base' else ''}{share}"
    done = 0
    with contextlib.ExitStack() as stack:
        cache = None
        if options.out:
            cache = stack.enter_context(AnswerCache(Path(options.out), {"model": digests[model]}, processes.rank))
        live = stack.enter_context(Live(-(-len(samples) // processes.count), title=title, unit="answers")) if processes.is_first else None

        def on_answered(count: int) -> None:
            nonlocal done
            if live is not None:
                live.on_count(count)
            done = count

        try:
            found = answer(
                policy,
                engine,
                with_clues.loader if with_clues else loader,
                samples,
                options.asking,
                options.rollout,
                seed=options.seed,
                on_answered=on_answered,
                answerer=with_clues,
                cache=cache,
                processes=processes,
            )
        except KeyboardInterrupt:
            if not options.out:
                raise
            what = f"Stopped after {done:,} of {counted(len(samples), 'answer')}{' of the base' if model == 'base' else ''}{share}."
            raise Interrupted(what, "The same command goes on from there.") from None
    return found, loader


def _with_clues(model: str, path: str, options: Evaluate, policy: Policy, engine: Engine, loader: ClipLoader) -> WithClues | None:
    """What thinks with clues; None where a model is asked in one look, as the policy itself is where it stands in for a base."""
    if options.looks.clues == "off" or (model == "base" and path == options.policy):
        return None
    from videochat_r1.chat.answerer import WithClues

    return WithClues(policy, engine, loader, options.asking, options.rollout, options.looks, options.seed)


def _device(name: str, processes: Processes) -> str:
    """A GPU for each process of a machine."""
    import torch

    if name == "auto" and processes.count > 1 and torch.cuda.is_available():
        return f"cuda:{processes.local_rank % torch.cuda.device_count()}"
    return name


def _recorded(options: Evaluate) -> dict[str, Any]:
    """The options as figures.json holds them, the models' folders by their whole paths."""
    found = options.model_dump(mode="json", exclude={"json_", "out", "report", "log_samples"})
    return found | {name: os.path.abspath(found[name]) for name in ("policy", "base") if os.path.isdir(found[name])}


def _record(
    options: Evaluate,
    source: DataSource,
    samples: list[Sample],
    train: list[Sample],
    answered: dict[str, list[Answered]],
    digests: Mapping[str, str],
    loader: ClipLoader,
) -> Record:
    from videochat_r1.evaluation.baselines import baselines
    from videochat_r1.evaluation.compare import compare, scored
    from videochat_r1.evaluation.evaluate import results
    from videochat_r1.evaluation.published import published
    from videochat_r1.evaluation.record import Record

    found = {
        model: results(own, resamples=options.resamples, seed=options.seed, quarantine=loader.quarantine) for model, own in answered.items()
    }
    compared: dict[str, Any] = {}
    if "base" in answered:
        worth = {model: scored(samples, [one.reading for one in own]) for model, own in answered.items()}
        compared = compare(worth["policy"], worth["base"], names=("policy", "base"), resamples=options.resamples, seed=options.seed)
    absolute = {name: os.path.abspath(value) for name in ("annotations", "videos") if (value := getattr(source, name))}
    return Record(
        answered=answered,
        results=found,
        baselines=baselines(samples, train, resamples=options.resamples, seed=options.seed, loader=loader),
        options=_recorded(options),
        source={**source.model_dump(mode="json"), **absolute},
        compared=compared,
        published=published(options.dataset, [metric for figures in found["policy"].values() for metric in figures]),
        digests=digests,
    )


def _keep(folder: Path, options: Evaluate, record: Record, samples: list[Sample], loader: ClipLoader) -> None:
    from videochat_r1.evaluation.answers_file import write_jsonl
    from videochat_r1.evaluation.record import QUARANTINE, write_record

    write_record(folder, record)
    names = ["predictions.jsonl", "scores.jsonl", "figures.json"]
    if rows := loader.quarantine.rows():
        write_jsonl(folder / QUARANTINE, rows)
        names.append(QUARANTINE)
    else:
        (folder / QUARANTINE).unlink(missing_ok=True)
    if options.log_samples:
        from videochat_r1.evaluation.lmms_eval.export import write_logs

        names += [path.name for path in write_logs(folder, record)]
    if not options.report:  # an earlier one would tell of other answers
        for name in ("report.html", "report.md", "report.json"):
            (folder / name).unlink(missing_ok=True)
    else:
        from videochat_r1.evaluation.report import write_report
        from videochat_r1.evaluation.run_report import evaluation_report

        write_report(folder, evaluation_report(record, samples, loader))
        names += ["report.html", "report.md"]
    say(f"Written to {folder}: {', '.join(names)}.")


def _tell(options: Evaluate, record: Record, quarantine: Quarantine) -> None:
    """What to know beside the figures: videos at fault, the first few in words, and trivial answers without a figure."""
    from videochat_r1.evaluation.record import QUARANTINE
    from videochat_r1.evaluation.tables import trivial_notes

    for faults in (quarantine.left_out, quarantine.used):
        for fault in faults[:5]:
            say(f"{fault.sample_id}: {fault.what}")
    for line in (*videos_lines(quarantine, Path(options.out) / QUARANTINE if options.out else None), *trivial_notes(record.baselines)):
        say(line)


def _show(options: Evaluate, record: Record, out: TextIO) -> None:
    found, trivial = record.results["policy"], record.baselines
    if options.json_:
        is_one = len(found) == 1

        def inner(by_task: Any) -> Any:
            return next(iter(by_task.values())) if is_one else by_task

        more: dict[str, Any] = {"baselines": inner(trivial)}
        if "base" in record.results:
            more |= {"base": inner(record.results["base"]), "compared": inner(record.compared)}
        print_json({**inner(found), **more}, out)
        return
    for task, figures in found.items():
        base = {"base": record.results["base"][task]} if "base" in record.results else {}
        figures_table(f"{task}, {counted(figures['n'], 'sample')}", {"policy": figures, **base, **trivial[task]}, out)
        own = [one for one in record.published if one.metric in figures]
        if own:
            out.write("  published, not measured here (whole data set):\n")
        for source in dict.fromkeys((one.system, one.source) for one in own):
            said = ", ".join(f"{one.metric} {one.value:g}" for one in own if (one.system, one.source) == source)
            out.write(f"    {source[0]}: {said} ({source[1]})\n")
    if record.compared:
        from videochat_r1.commands.compare import show

        show(dict(record.compared), ("policy", "base"), out)


COMMAND = Command(Evaluate, run)
