"""Examples of a report: one sample and what each model answered, chosen by rule; and what there is to draw of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from videochat_r1.rewards.boxes import box_iou
from videochat_r1.rewards.intervals import union_iou
from videochat_r1.types import Answer, Box, Clip, Reading, Sample, Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """What one model wrote about a sample, what was read from it, and what that earned."""

    text: str
    reading: Reading
    rewards: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return float(sum(self.rewards.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A sample, the clip that the models saw (None: shown in words only) and their answers by model ("base", "sft", "rft" or any name)."""

    sample: Sample
    answers: Mapping[str, ModelAnswer]
    clip: Clip | None = None
    why: str = ""  # the rule that chose it; set by choose_examples


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame and its second."""

    pixels_HWC: NDArray[np.uint8]
    time_s: float


@dataclass(frozen=True, eq=False)
class StripFrame:
    """A frame with the boxes on it by answerer ("truth" is one of them) and each model's overlap with the truth there."""

    picture: Picture
    boxes: Mapping[str, Box]
    overlaps: Mapping[str, float]
    given: bool  # the true box was told to the model


@dataclass(frozen=True, eq=False)
class Strip:
    """Sampled frames of a tracking example; overlaps: each model's mean over all boxes that were not given."""

    frames: tuple[StripFrame, ...]
    overlaps: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Timeline:
    """A filmstrip over a time axis from 0 to duration_s; spans and overlaps by answerer, cut to the axis and in order for drawing."""

    duration_s: float
    pictures: tuple[Picture, ...]
    truth: tuple[Span, ...]
    spans: Mapping[str, tuple[Span, ...]]
    overlaps: Mapping[str, float]
    empty: Mapping[str, str]  # why there is nothing to draw of a model's answer


GAIN, BEST, WORST, MEDIAN = "largest gain in reward", "highest reward", "lowest reward", "median reward"
NO_GAIN, ALL_EQUAL = "no sample gained in reward", "all earn the same"


def choose_examples(candidates: Iterable[Example], *, per_task: int = 2, before: str = "base", after: str = "rft") -> tuple[Example, ...]:
    """Examples of each task by rule, never by taste: the largest gain in reward from the model `before` to the model `after`, what the form
    earns left aside (the highest reward where they are one), the lowest reward of the model `after`, then (per_task 3) its median reward.
    Where no sample gained, or all earn the same, one example stands for the task and says so. Ties go to the smaller sample id; no sample
    is taken twice.

    candidates: one for each held-out sample; their clips may still be None, so that only chosen ones need be decoded. Where one of the two
    models has no answer, the rule uses the other alone. Tasks come in the order of the candidates.
    """
    chosen: list[Example] = []
    by_task: dict[str, list[Example]] = {}
    for example in candidates:
        by_task.setdefault(example.sample.task, []).append(example)
    for examples in by_task.values():
        left = sorted(examples, key=lambda example: example.sample.id)
        for rule, why in _rules(left, per_task, before, after):
            if not left:
                break
            taken = _pick(rule, left, before, after)
            chosen.append(replace(taken, why=why))
            left.remove(taken)
    return tuple(chosen)


def _rules(examples: Sequence[Example], per_task: int, before: str, after: str) -> list[tuple[str, str]]:
    """(rule, what the example's heading says of it): those that tell one sample from another."""
    rules = (BEST, WORST, MEDIAN) if before == after else (GAIN, WORST, MEDIAN)
    told = [(rule, rule if rule in (GAIN, BEST) or before == after else f"{rule} after tuning") for rule in rules[:per_task]]
    if len(examples) < 2:
        return told
    notes = [NO_GAIN] if before != after and max(_gain(example, before, after) for example in examples) <= 0 else []
    notes += [ALL_EQUAL] if len({_total(example, after) for example in examples}) == 1 else []
    if notes == [NO_GAIN]:
        return [(WORST, f"{WORST} after tuning; {NO_GAIN}")]
    return [(rules[0], "; ".join(notes if NO_GAIN in notes else [rules[0], *notes]))] if notes else told


def chosen_text(examples: Sequence[Example]) -> str:
    """How the examples of a report were chosen, in a sentence."""
    said = [part for example in examples for part in example.why.split("; ") if part]
    rules = list(dict.fromkeys(part for part in said if part not in (NO_GAIN, ALL_EQUAL)))
    if not said:
        return "Samples and what each model answered."
    alone = " One alone where no sample gained or all earn the same." if len(rules) < len(set(said)) else ""
    return f"Samples chosen by rule, not by taste; of each task: {', '.join(rules) or 'the first'}.{alone}"


def _pick(rule: str, examples: list[Example], before: str, after: str) -> Example:
    reward = {id(example): _total(example, after) for example in examples}
    if rule == GAIN:
        return max(examples, key=lambda example: _gain(example, before, after))
    if rule == BEST:
        return max(examples, key=lambda example: reward[id(example)])
    if rule == WORST:
        return min(examples, key=lambda example: reward[id(example)])
    ranked = sorted(examples, key=lambda example: reward[id(example)])
    return ranked[(len(ranked) - 1) // 2]


def _gain(example: Example, before: str, after: str) -> float:
    return _for_content(example, after) - _for_content(example, before)


def _total(example: Example, model: str) -> float:
    return example.answers[model].total if model in example.answers else 0.0


def _for_content(example: Example, model: str) -> float:
    """What an answer earned beside its form: one that was only put right in form shows nothing that was learned."""
    return _total(example, model) - (example.answers[model].rewards.get("format", 0.0) if model in example.answers else 0.0)


def pictures(clip: Clip, times_s: Sequence[float]) -> list[Picture]:
    """The clip's frame nearest to each second."""
    found = []
    for time_s in times_s:
        place = min(range(len(clip.times_s)), key=lambda index: abs(clip.times_s[index] - time_s))
        pixels_HWC = clip.frames_NCHW[place].permute(1, 2, 0).cpu().numpy()
        found.append(Picture(pixels_HWC, clip.times_s[place]))
    return found


def filmstrip(example: Example, count: int = 8) -> list[Picture]:
    """Frames at the middles of `count` equal parts of the clip; all frames where it has fewer. Empty without a clip."""
    clip = example.clip
    if clip is None or not clip.times_s:
        return []
    if len(clip.times_s) <= count:
        return pictures(clip, clip.times_s)
    return pictures(clip, [(part + 0.5) * duration_of(example) / count for part in range(count)])


def strip(example: Example, count: int = 8) -> Strip | None:
    """What there is to draw of an example whose truth has boxes with seconds: at most `count` of them, the first and the last included."""
    truth = example.sample.truth
    if example.clip is None or not truth.boxes or not truth.times_s or len(truth.times_s) != len(truth.boxes):
        return None
    total = len(truth.boxes)
    places = sorted({round(index * (total - 1) / max(min(count, total) - 1, 1)) for index in range(min(count, total))})
    given = [example.sample.task == "tracking" and index == 0 and total > 1 for index in range(total)]
    drawn = {model: _boxes(answer.reading.answer, total) for model, answer in example.answers.items()}
    overlaps = {
        model: [box_iou(box, truth.boxes[index]) if box is not None else 0.0 for index, box in enumerate(boxes)]
        for model, boxes in drawn.items()
    }
    frames = []
    for index, picture in zip(places, pictures(example.clip, [truth.times_s[place] for place in places]), strict=True):
        boxes = {"truth": truth.boxes[index], **{model: box for model, found in drawn.items() if (box := found[index]) is not None}}
        frames.append(StripFrame(picture, boxes, {model: overlaps[model][index] for model in drawn}, given[index]))
    scored = [index for index in range(total) if not given[index]]
    return Strip(tuple(frames), {model: sum(overlaps[model][index] for index in scored) / len(scored) for model in drawn})


def timeline(example: Example, count: int = 8) -> Timeline | None:
    """What there is to draw of an example whose truth has spans."""
    truth = example.sample.truth
    if not truth.spans:
        return None
    duration_s = duration_of(example)
    spans = {model: answer.reading.answer.spans or () if answer.reading.answer else () for model, answer in example.answers.items()}
    drawn = {model: _on_axis(found, duration_s) for model, found in spans.items()}
    return Timeline(
        duration_s,
        tuple(filmstrip(example, count)),
        _on_axis(truth.spans, duration_s),
        drawn,
        {model: union_iou(found, truth.spans) if found else 0.0 for model, found in spans.items()},
        {model: _why_empty(spans[model]) for model, found in drawn.items() if not found},
    )


def _why_empty(spans: Sequence[Span]) -> str:
    """Of an answer of which the axis shows nothing."""
    turned = [f"{start:.1f}–{end:.1f} s" for start, end in spans if end < start]
    if turned:
        return f"{', '.join(turned)}: ends before it starts"
    return "nothing within the video" if spans else "no span read"


def duration_of(example: Example) -> float:
    """Seconds of the clip, else as annotated, else up to the last true second; above zero always."""
    truth = example.sample.truth
    ends = [end for _, end in truth.spans or ()] + list(truth.times_s or ())
    known = [example.clip.duration_s if example.clip else None, example.sample.duration_s, max(ends, default=None), 1.0]
    return next(float(value) for value in known if value is not None and math.isfinite(value) and value > 0)


def answer_words(answer: Answer | None, reason: str = "") -> str:
    """An answer as a person would write it; the reason where there is none."""
    if answer is None:
        return f"no answer read ({reason or 'unknown'})"
    parts = []
    if answer.choice is not None:
        parts.append(answer.choice)
    if answer.label is not None:
        parts.append(answer.label)
    if answer.spans:
        parts.append(", ".join(f"{start:.1f}–{end:.1f} s" for start, end in answer.spans))
    if answer.boxes:
        parts.append(f"{len(answer.boxes)} boxes")
    if answer.caption is not None or answer.events:
        parts.append(answer.caption if answer.caption is not None else "; ".join(answer.events or ()))
    return " · ".join(parts) or "nothing"


def _boxes(answer: Answer | None, total: int) -> list[Box | None]:
    """One box for each true one, in order; None where there is none, or none that could be drawn."""
    boxes = list(answer.boxes or ())[:total] if answer else []
    drawable = [box if all(math.isfinite(side) for side in box) else None for box in boxes]
    return drawable + [None] * (total - len(drawable))


def _on_axis(spans: Iterable[Span], duration_s: float) -> tuple[Span, ...]:
    cut = [
        (min(max(start, 0.0), duration_s), min(max(end, 0.0), duration_s))
        for start, end in spans
        if math.isfinite(start) and math.isfinite(end)
    ]
    return tuple((start, end) for start, end in cut if end > start)
