"""What a command says of the samples that it was given: their defects in a line, and test sets that a recipe trains on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videochat_r1.commands.display import say
from videochat_r1.config import Recipe
from videochat_r1.counting import counted

if TYPE_CHECKING:
    from videochat_r1.datasets.base.defects import DefectReport
    from videochat_r1.types import Sample
    from videochat_r1.video.clips import Quarantine


def defects_line(report: DefectReport) -> str:
    """What is wrong with a data set, in one line; "" where nothing is."""
    parts = [f"{code} x {count:,} ({report.actions[code]})" for code, count in report.counts.most_common()]
    if report.missing:
        parts.append(f"video_missing x {len(report.missing):,} ({counted(report.missing_rows, 'row')} {report.missing_fate})")
    return f"{report.file}: {report.samples:,} of {counted(report.rows, 'row')} used; {', '.join(parts)}" if parts else ""


def videos_lines(quarantine: Quarantine, listed: Path | None = None) -> list[str]:
    """How many samples' videos could not be used, and how many were used though something is odd about them, by reason; nothing where all
    is well. listed: the file that has a row for each."""
    from videochat_r1.video.clips import by_reason

    kinds = {"Videos that could not be used": quarantine.left_out, "Videos that were used, though not as stated": quarantine.used}
    where = f"; listed in {listed}" if listed else ""
    return [
        f"{what}: {', '.join(f'{reason} x {count:,}' for reason, count in by_reason(faults).items())}{where}."
        for what, faults in kinds.items()
        if faults
    ]


def require_sound_test(recipe: Recipe, data: Sequence[Sequence[Sample]], test: Sequence[Sample]) -> None:
    """Raises DataError where the test sets share samples or videos with the training sets, unless the recipe knows of it."""
    from videochat_r1.datasets.base.overlap import overlap
    from videochat_r1.evaluation.answers_file import require_different_ids

    require_different_ids(test)
    shared = overlap([sample for samples in data for sample in samples], test, by_content=True)
    if not shared:
        return
    if not recipe.train.allow_overlap:
        train, tested = (", ".join(dict.fromkeys(source.annotations for source in sources)) for sources in (recipe.data, recipe.test))
        shared.stop(train, tested, mend="If they are different videos of the same name, or it is meant: train.allow_overlap = true.")
    common = f"{counted(len(shared.ids), 'sample id')} and {counted(len(shared.videos) + len(shared.contents), 'video')}"
    say(f"The test sets share {common} with the training sets: their figures say little.")
