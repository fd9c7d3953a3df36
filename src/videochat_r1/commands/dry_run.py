"""What a recipe would do, without weights: samples, one prompt, token counts, steps, and an estimate of memory; and what would stop it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from videochat_r1.commands.display import say
from videochat_r1.commands.prompt_walk import Planner, PromptCounts, processing_of, walk
from videochat_r1.commands.soundness import require_sound_test
from videochat_r1.config import Recipe, recipe_toml
from videochat_r1.counting import counted
from videochat_r1.errors import DataError, UserFault, VideoError
from videochat_r1.policy.released import CONFIGS

if TYPE_CHECKING:
    from videochat_r1.datasets.base.reading import Loaded
    from videochat_r1.datasets.base.source import DataSource
    from videochat_r1.policy.cost import Load
    from videochat_r1.policy.memory import Part, Sizes
    from videochat_r1.policy.processing import Processing
    from videochat_r1.types import Sample

COUNTED = 256
"""Prompts that are written and counted of each source, evenly over it; the whole of a data set takes `data check --prompts`."""


@dataclass(frozen=True)
class Source:
    """One [[data]] or [[test]] table: what was read, or why it could not be. title: such as "data.0 (jsonl)". stops: what a run
    would stop with, where the file is there."""

    title: str
    loaded: Loaded | None
    fault: str = ""
    stops: UserFault | None = None


def dry_run(recipe: Recipe, tokenizer: str, out: TextIO) -> int:
    """Print all of it. Data that are not there yet are told and stop nothing: a recipe is looked at before they are fetched. Raises what
    else would stop a run, once all is printed: the fault of a data set that cannot be read, UsageError for more tokens than the model
    takes, DataError for a prompt that is too long, and for test sets that share samples or videos with the training sets."""
    from videochat_r1.policy.memory import sizes_of
    from videochat_r1.runs import require_room

    processing = processing_of(recipe.policy.path, tokenizer)
    config = processing.hf_config.to_dict() if processing is not None else CONFIGS[recipe.policy.path]
    positions = positions_of(config)
    require_room(recipe.rollout.max_tokens, positions)
    out.write("# the recipe, resolved\n" + recipe_toml(recipe))
    sources = [_read(f"data.{index} ({source.name})", source) for index, source in enumerate(recipe.data)]
    tests = [_read(f"test.{index} ({source.name})", source, keeps_missing=True) for index, source in enumerate(recipe.test)]
    steps = _print_samples(recipe, sources, tests, out)
    samples, tested = _samples_of(sources), _samples_of(tests)
    counts = _print_prompt(recipe, processing, samples, config, out)
    longest = counts.most + recipe.rollout.max_tokens
    if counts.prompts and longest > positions:
        out.write(f"The longest prompt and rollout.max_tokens are {longest:,} tokens, and the model takes {positions:,}.\n")
    of_tests = _counted(recipe, processing, config, tested)
    if tested:
        out.write(f"test: {of_tests.line()}\n")
    sizes = sizes_of(config)
    parts = run_memory(recipe, sizes, load_of(recipe, counts.most, counts.most_video))
    _print_memory(parts, sizes.total, out)
    if steps:
        prompts = counted(recipe.train.prompts_per_step, "prompt")
        out.write(f"\n{counted(steps, 'step')} of {prompts} x {recipe.grpo.group_size} completions.\n")
    out.write("A dry run: no weights were loaded, nothing was written.\n")
    for each in (*sources, *tests):
        if each.stops is not None:
            raise each.stops
    require_sound_test(recipe, [samples], tested)
    for stopped in (of_tests.stopped, counts.stopped):  # a run asks the test sets first
        if stopped is not None:
            raise stopped
    return 0


def positions_of(config: dict[str, Any]) -> int:
    """Tokens that prompt and completion may have together, as a model's configuration says."""
    return int(config.get("text_config", config)["max_position_embeddings"])


def _samples_of(sources: Sequence[Source]) -> list[Sample]:
    return [sample for source in sources if source.loaded for sample in source.loaded.samples]


def _read(title: str, source: DataSource, *, keeps_missing: bool = False) -> Source:
    """What a run would read; where the videos are not there, what it would read with all of them."""
    from videochat_r1.datasets.base.reading import read_samples

    there = not source.videos or os.path.isdir(source.videos)
    try:
        read = read_samples(source if there else source.model_copy(update={"videos": ""}), keeps_missing=keeps_missing)
    except UserFault as fault:
        return Source(title, None, fault.what, fault if os.path.exists(source.annotations) else None)
    if not there:
        return Source(title, read, f"no folder {source.videos}: counted as if all videos were there")
    if not source.videos and not any(os.path.exists(sample.video) for sample in read.samples):
        return Source(title, read, "no videos named, and none at the paths of the annotations: counted as if all were there")
    return Source(title, read)


def _print_samples(recipe: Recipe, sources: Sequence[Source], tests: Sequence[Source], out: TextIO) -> int:
    """Samples by task after defects; the steps that they make."""
    from videochat_r1.grpo.order import Order
    from videochat_r1.grpo.order import Source as Weighted

    out.write("\n# the samples, after defects\n")
    for source in (*sources, *tests):
        if source.loaded is None:
            out.write(f"{source.title}: not read. {source.fault}\n")
            say(f"{source.title} was not read, a run would stop here: {source.fault}")
            continue
        tasks = Counter(sample.task for sample in source.loaded.samples)
        defects = source.loaded.defects
        found = ", ".join(f"{code} x {count:,} ({defects.actions[code]})" for code, count in defects.counts.items())
        by_task = ", ".join(f"{task} {count:,}" for task, count in tasks.items())
        out.write(f"{source.title}: {by_task}; defects: {found or 'none'}\n")
        if source.fault:
            out.write(f"  {source.fault}\n")
            say(f"{source.title}: a run would stop here, {source.fault}")
    read = [(source.loaded.samples, each.weight) for source, each in zip(sources, recipe.data, strict=True) if source.loaded]
    if not read:
        return recipe.train.steps
    turns = len(Order([Weighted(samples=samples, weight=weight) for samples, weight in read], recipe.train.seed))
    return recipe.train.steps or max(1, math.ceil(recipe.train.epochs * turns / recipe.train.prompts_per_step))


def _print_prompt(
    recipe: Recipe, processing: Processing | None, samples: Sequence[Sample], config: dict[str, Any], out: TextIO
) -> PromptCounts:
    """One rendered prompt, and what prompts count."""
    from videochat_r1.tasks.base.loading import load_task

    first = samples[0] if samples else _invented(recipe)
    question = load_task(first.task).ask(first, recipe.asking)
    text = chat_text_of(processing, config, question, recipe.asking.order)
    out.write(f"\n# the prompt of {first.id}, one placeholder for the video\n{text}\n")
    if not samples:
        counts = PromptCounts()
        counts.most = counts.most_video = most_video_tokens(recipe, config)
        out.write(f"\n# tokens\nNo sample was read. A video takes {counted(counts.most_video, 'token')} at most.\n")
        return counts
    out.write("\n# tokens\n")
    counts = _counted(recipe, processing, config, samples)
    chosen = counts.prompts + len(counts.refused)
    some = f"of {chosen:,} samples, evenly chosen: " if chosen < len(samples) else ""
    out.write(f"{some}{counts.line()}\n" if processing is not None else f"video alone, in {some}{counts.line()}\n")
    if processing is None:
        out.write("No tokenizer of this model is at hand: give --tokenizer DIR to count the text too.\n")
    return counts


def _counted(recipe: Recipe, processing: Processing | None, config: dict[str, Any], samples: Sequence[Sample]) -> PromptCounts:
    """Tokens of the prompts of some samples of each task; of their videos alone where there is no tokenizer."""
    from videochat_r1.tasks.base.loading import load_task

    tasks = dict.fromkeys(sample.task for sample in samples)
    picked = [sample for task in tasks for sample in _evenly([each for each in samples if each.task == task])]
    if processing is not None:
        return walk(processing, picked, recipe.video, recipe.asking)
    counts = PromptCounts()
    planner = Planner(recipe.video, _geometry(config))
    for sample in picked:
        try:
            plan, is_assumed = planner.plan(load_task(sample.task), sample)
            if plan.video_tokens > (most := positions_of(config)):
                what = f"{sample.id}: the prompt has {plan.video_tokens} tokens of video, and the model takes {most}."
                raise DataError(what, "Lower video.total_pixels or video.max_frames; a prompt with video is never cut.")
        except (DataError, VideoError) as fault:
            counts.refuse(fault)
            continue
        counts.add(sample.id, plan.video_tokens, plan.video_tokens, is_assumed)
    return counts


def _invented(recipe: Recipe) -> Sample:
    """A sample that any task can ask about, for a recipe whose data are not here."""
    from videochat_r1.datasets.base.source import load_dataset
    from videochat_r1.types import Answer, Sample

    task = recipe.data[0].task or load_dataset(recipe.data[0].name).task or "temporal_grounding"
    times_s = tuple(float(second) for second in range(8))
    truth = Answer(
        spans=((1.0, 2.0),), boxes=((0.1, 0.1, 0.3, 0.3),) * 8, times_s=times_s, choice="A", label="high quality", events=("[EVENT]",)
    )
    options = ("(A) [OPTION]", "(B) [OPTION]")
    return Sample(id="an invented sample", task=task, video="", question="[QUESTION]", options=options, truth=truth, duration_s=30.0)


def chat_text_of(processing: Processing | None, config: dict[str, Any], question: str, order: str) -> str:
    """The chat in words, by the model's own template where there is one, else by its family's."""
    if processing is not None:
        from videochat_r1.policy.prompt import chat_text

        return chat_text(processing, question, "text_first" if order == "text_first" else "video_first")
    from types import SimpleNamespace

    from videochat_r1.policy.families.base import family_of
    from videochat_r1.policy.released import chat_of

    parts = [{"type": "text", "text": question}, {"type": "video"}]
    family = family_of(SimpleNamespace(model_type=config["model_type"]))
    return chat_of(family.chat_template, [{"role": "user", "content": parts if order == "text_first" else parts[::-1]}])


def _evenly(samples: Sequence[Sample]) -> Sequence[Sample]:
    if len(samples) <= COUNTED:
        return samples
    return [samples[index * (len(samples) - 1) // (COUNTED - 1)] for index in range(COUNTED)]


def _geometry(config: dict[str, Any]) -> Any:
    from videochat_r1.video.resize import Geometry

    vision = config["vision_config"]
    return Geometry(patch=vision["patch_size"], merge=vision["spatial_merge_size"], temporal_patch=vision["temporal_patch_size"])


def most_video_tokens(recipe: Recipe, config: dict[str, Any]) -> int:
    """The most that the budget allows: total_pixels, or all frames at the least size."""
    geometry, video = _geometry(config), recipe.video
    token = geometry.factor**2
    floor = (video.frames or video.max_frames) / geometry.temporal_patch * video.min_pixels * 1.05 / token
    most = max(video.total_pixels / token, floor)
    return int(min(most, video.max_tokens) if video.max_tokens else most)


def run_memory(recipe: Recipe, sizes: Sizes, load: Load) -> list[Part]:
    """The parts of a run's memory: what `train --dry-run` and `plan` print."""
    from videochat_r1.policy.memory import estimate

    return estimate(
        sizes,
        recipe.policy,
        prompt_tokens=load.prompt_tokens,
        video_tokens=load.video_tokens,
        completion_tokens=load.completion_tokens,
        group_size=load.group_size,
        prompts_per_step=load.prompts,
        batch_prompts=load.batch_prompts,
        token_budget=load.token_budget,
        keeps_reference=load.has_reference,
        optimizer=recipe.train.optimizer,
        bytes_each=load.bytes_each,
    )


def load_of(recipe: Recipe, prompt_tokens: int, video_tokens: int, completion_tokens: int = 0) -> Load:
    """What one step of a recipe does. completion_tokens: 0 takes what the recipe allows at most."""
    from videochat_r1.policy.cost import Load

    is_grpo = recipe.train.method == "grpo"
    return Load(
        prompt_tokens=prompt_tokens,
        video_tokens=video_tokens,
        completion_tokens=completion_tokens or recipe.rollout.max_tokens,
        group_size=recipe.grpo.group_size if is_grpo else 1,
        prompts=recipe.train.prompts_per_step,
        batch_prompts=recipe.rollout.batch_prompts,
        has_reference=is_grpo and recipe.grpo.kl_weight > 0,
        token_budget=recipe.train.token_budget,
        samples=is_grpo,
        optimizer=recipe.train.optimizer,
        bytes_each=4 if recipe.policy.dtype == "float32" else 2,
    )


def _print_memory(parts: Sequence[Part], parameters: int, out: TextIO) -> None:
    from videochat_r1.policy.memory import peak

    out.write(f"\n# memory of the GPU, estimated ({parameters:,} parameters)\n")
    for part in parts:
        out.write(f"{part.name:<19} {size_text(part.size):>10}   {part.formula}\n")
    out.write(f"{'at the fullest':<19} {size_text(peak(list(parts))):>10}   on one GPU: this version does not spread a run over several\n")


def size_text(count: int) -> str:
    """Bytes in GiB, or in MiB where they are few."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**28 else f"{count / 2**20:,.1f} MiB"
