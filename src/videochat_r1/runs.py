"""A recipe's parts put together: the policy loaded, its steps run, its answers taken. `train` and the demo are made of these."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from videochat_r1.config import Recipe
from videochat_r1.errors import UsageError
from videochat_r1.grpo.signals import heeded, once, restore

if TYPE_CHECKING:
    from videochat_r1.evaluation.evaluate import Answered
    from videochat_r1.grpo.log import RunFolder
    from videochat_r1.grpo.order import Source
    from videochat_r1.grpo.trainer import Outcome
    from videochat_r1.policy.model import Policy
    from videochat_r1.rollout.base import Engine
    from videochat_r1.types import Sample
    from videochat_r1.video.clips import ClipLoader


def load(recipe: Recipe) -> tuple[Policy, Engine, ClipLoader]:
    """The recipe's policy, its engine, and what loads its clips. Raises as load_policy and require_room do."""
    from videochat_r1.policy.model import load_policy
    from videochat_r1.rollout.base import make_engine
    from videochat_r1.video.clips import ClipLoader

    keeps = recipe.grpo.kl_weight > 0 and recipe.train.method == "grpo"
    policy = load_policy(recipe.policy, keep_reference=keeps, seed=recipe.train.seed)
    require_room(recipe.rollout.max_tokens, policy.max_positions)
    return policy, make_engine(recipe.rollout.engine, policy), ClipLoader(recipe.video, policy.geometry)


def require_room(max_tokens: int, positions: int) -> None:
    """Raises UsageError where a completion of max_tokens is more than a model takes, prompt and completion together."""
    if max_tokens >= positions:
        what = f"rollout.max_tokens is {max_tokens:,}, and the model takes {positions:,} tokens, prompt and completion together."
        raise UsageError(what, "Lower rollout.max_tokens.")


def sources_of(recipe: Recipe, data: Sequence[Sequence[Sample]]) -> list[Source]:
    """What a trainer draws from: the samples of each [[data]] table."""
    from videochat_r1.grpo.order import Source

    return [Source(samples=samples, weight=source.weight, name=source.name) for samples, source in zip(data, recipe.data, strict=True)]


def run_steps(
    recipe: Recipe,
    folder: RunFolder,
    policy: Policy,
    engine: Engine,
    loader: ClipLoader,
    data: Sequence[Sequence[Sample]],
    anyway: bool = False,
    title: str = "Training",
    moved: Collection[str] = (),
) -> Outcome:
    """Train the policy in its run folder, with live progress. moved: as the trainer takes it. Raises what Trainer.run raises."""
    from videochat_r1.evaluation.live import Live
    from videochat_r1.grpo.trainer import Trainer
    from videochat_r1.judge import in_force

    trainer = Trainer(
        policy,
        engine,
        loader,
        sources_of(recipe, data),
        folder=folder,
        asking=recipe.asking,
        sampling=recipe.rollout,
        grpo=recipe.grpo,
        train=recipe.train,
        recipe=recipe.sections(),
        resume_anyway=anyway,
        moved=moved,
        judge=in_force(),
    )
    with Live(trainer.steps, title=title) as live:
        trainer.on_step = live.on_step
        return trainer.run()


def answers(
    recipe: Recipe, policy: Policy, engine: Engine, loader: ClipLoader, samples: Sequence[Sample], folder: Path, name: str
) -> list[Answered]:
    """The likeliest answer of the policy as it is now to every sample, kept in the run folder."""
    from videochat_r1.evaluation.answers_file import write_predictions
    from videochat_r1.evaluation.evaluate import answer
    from videochat_r1.evaluation.live import Live

    greedy = recipe.rollout.model_copy(update={"temperature": 0.0, "top_k": 0, "top_p": 1.0})
    with Live(len(samples), title=f"Evaluating the {name} model", unit="answers") as live:
        live.begin(0)
        found = answer(
            policy,
            engine,
            loader,
            samples,
            recipe.asking,
            greedy,
            seed=recipe.train.seed,
            on_answered=lambda done: live.on_step({"step": done}),
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / f"{name}.predictions.jsonl", found)
    return found


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and a closed terminal do what Ctrl-C does. The trainer's own handlers take over while it steps."""

    def stop(number: int, frame: FrameType | None) -> Any:
        once(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, stop) for each in heeded(signal.SIGTERM)}
    try:
        yield
    finally:
        restore(before)
