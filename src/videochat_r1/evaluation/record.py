"""The folder of an evaluation: what is kept, and how it is read back.

predictions.jsonl  what the policy wrote            scores.jsonl  what each answer is worth, metric by metric
figures.json       figures, options, versions       answers*.jsonl  the cache that an interrupted run goes on from
quarantine.jsonl   videos at fault, a row a sample and reason; not there where there is none
base/              the same of the base model, where one was asked for"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videochat_r1.counting import counted
from videochat_r1.errors import DataError, UsageError
from videochat_r1.evaluation.answers_file import content_of, read_answers, write_predictions, write_scores
from videochat_r1.evaluation.published import Published
from videochat_r1.strict_json import finite

if TYPE_CHECKING:
    from videochat_r1.datasets.base.source import DataSource
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.section import Section
    from videochat_r1.types import Sample

FIGURES = "figures.json"
QUARANTINE = "quarantine.jsonl"
OWN = ("policy", "dtype", "judge", "seed", "subtitles", "subtitle_lines")
"""Options beside the sections that make another evaluation of it; the samples are held to each other one by one."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One evaluation. options: the command line, with the settings that were used in the end and absolute paths."""

    answered: Mapping[str, Sequence[Answered]]  # "policy", and "base" where there is one
    results: Mapping[str, Mapping[str, Any]]  # {MODEL: {TASK: figures}}
    baselines: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any]
    source: Mapping[str, Any]  # the data set, as a recipe names it
    compared: Mapping[str, Any]  # policy against base, as compare.compare gives it; {} without a base
    published: Sequence[Published]
    digests: Mapping[str, str] = field(default_factory=dict)  # of each model's files, as answer_cache.model_digest gives them


def write_record(folder: Path, record: Record) -> None:
    """All files but the cache. Raises EnvironmentFault where the disk refuses."""
    from videochat_r1.grpo.log import write_whole

    for model, answered in record.answered.items():
        own = folder if model == "policy" else folder / model
        write_predictions(own / "predictions.jsonl", answered)
        write_scores(own / "scores.jsonl", answered)
        about: dict[str, Any] = {"results": record.results[model], "baselines": record.baselines, "n": len(answered)}
        about |= {"options": {**record.options, "policy": record.options["policy" if model == "policy" else "base"]}}
        about |= {"source": record.source, "published": [asdict(one) for one in record.published]}
        about |= {"model": record.digests[model]} if model in record.digests else {}
        if model == "policy" and record.compared:
            about |= {"base": record.results["base"], "compared": record.compared}
        write_whole(own / FIGURES, json.dumps(finite(about), indent=1, allow_nan=False).encode())


def require_same_evaluation(folder: Path, options: Mapping[str, Any], sections: Mapping[str, Section], samples: Sequence[Sample]) -> None:
    """Raises UsageError where writing there would replace another evaluation. The same evaluation may be made again, of more samples or
    beside a base too. options: as a Record has them; sections: those of them that say how the policy is asked."""
    from videochat_r1.grpo.recipe import Change, compare, is_one_file

    try:
        found = read_record(folder)
    except DataError:  # none, or answers alone, which are kept by what they are about
        return
    before = found["options"]
    own = [name for name in OWN if name in before and before[name] != options[name] and not is_one_file(before[name], options[name])]
    if options["base"] and before.get("base") and not is_one_file(before["base"], options["base"]) and before["base"] != options["base"]:
        own.append("base")
    changes = [Change(name, before[name], options[name], "refused") for name in own]
    changes += [change for change in compare(before, sections) if change.on_resume == "refused"]
    what = f"{folder} holds another evaluation, which would be replaced"
    mend = f"Choose another folder with --out, or remove {folder} first."
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UsageError(f"{what}: {', '.join(map(str, changes[:3]))}{more}.", mend)
    kept = _asked_before(folder)
    asked = {(sample.id, content_of(sample)) for sample in samples}
    if lost := len(kept - asked):
        those = f"{lost:,} of its {counted(len(kept), 'sample')}"
        raise UsageError(f"{what}: without {those}, from {found['source'].get('annotations')}.", mend)


def told_if_replaced(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """A line for each model whose answers there are of other weights: trained on at the same path, it is evaluated anew."""
    lines = []
    for model, own in (("policy", folder), ("base", folder / "base")):
        try:
            found = read_record(own)
        except DataError:
            continue
        if model in digests and found.get("model", digests[model]) != digests[model]:
            which = f"{found['options']['policy']} is another model than when it was evaluated"
            gone = f"its {counted(found.get('n', 0), 'answer')} and figures in {own} are replaced"
            lines.append(f"{which}: {gone} (the texts stay in {folder / 'answers.jsonl'}).")
    return lines


def _asked_before(folder: Path) -> set[tuple[str, str]]:
    """The id and content of each sample that is scored there; none where the scores cannot be read."""
    try:
        rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
        return {(row["id"], row["sample"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def read_record(folder: Path) -> dict[str, Any]:
    """What figures.json holds. Raises DataError where the folder is no evaluation."""
    try:
        found = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
        if isinstance(found, dict) and {"results", "options", "source"} <= found.keys():
            return found
    except (OSError, ValueError):
        pass
    raise DataError(f"{folder} holds no evaluation: there is no whole {FIGURES}.", "Give the folder of `evaluate --out`, or of a run.")


def source_of_record(found: Mapping[str, Any]) -> DataSource:
    """The data set that an evaluation was about. Raises UsageError where the record names none that is known."""
    from videochat_r1.checking import checked
    from videochat_r1.datasets.base.source import DataSource

    return checked(DataSource, found["source"])


def answers_of(folder: Path, found: Mapping[str, Any], samples: Sequence[Sample]) -> dict[str, list[Answered]]:
    """{"policy": ..., "base": ...} as they were written, read anew. Raises DataError where they are about other samples."""
    from videochat_r1.checking import checked
    from videochat_r1.tasks.base import Asking

    asking = checked(Asking, found["options"]["asking"])
    answered = {}
    for model, own in (("base", folder / "base"), ("policy", folder)):
        if model == "base" and "base" not in found:  # answers of a base that an earlier evaluation left are no part of this one
            continue
        kept = read_answers(own / "predictions.jsonl", samples, asking)
        if kept is None:
            raise DataError(f"{own / 'predictions.jsonl'} is not about the samples of {found['source']['annotations']}.", "Evaluate again.")
        answered[model] = kept
    return answered
