"""The loop. A step: prompts, completions, rewards, advantages, the reference's log-probs, a gradient, an update.

Each video is decoded once and goes through the vision tower once a step, for rollout, reference and policy alike. A run can be killed at
any instant and goes on from its last checkpoint to the same bits."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from videochat_r1.counting import counted
from videochat_r1.errors import EnvironmentFault, Interrupted, NumericalStop, UsageError
from videochat_r1.evaluation.answer_cache import base_digest
from videochat_r1.grpo.advantage import TaskScales, advantages
from videochat_r1.grpo.answers import gold, judged, rewards_of
from videochat_r1.grpo.batches import Batch, batches
from videochat_r1.grpo.checkpoint import Checkpoint, Checkpoints, NotWritten, bytes_of, disk_text
from videochat_r1.grpo.config import GrpoConfig, TrainConfig
from videochat_r1.grpo.drawn import Drawn, joined, lacking, taken
from videochat_r1.grpo.log import NOTES, RunFolder, write_whole
from videochat_r1.grpo.loss import token_weights
from videochat_r1.grpo.metrics import (
    Clock,
    completion_figures,
    gap_figures,
    learning_figures,
    loss_of,
    machine_figures,
    reward_figures,
    update_figures,
)
from videochat_r1.grpo.optimizer import Optimizer, learning_rate
from videochat_r1.grpo.order import Order, Source
from videochat_r1.grpo.recipe import OTHER_RUN, described, require_resumable
from videochat_r1.grpo.records import keep_nonfinite, rollout_rows
from videochat_r1.grpo.signals import StopSignal
from videochat_r1.grpo.state import Progress, data_fingerprint, plateau, random_tensors, restore_random, seed_random
from videochat_r1.grpo.update import Learner, Lesson, Watched
from videochat_r1.policy.config import ASKED
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.feature_cache import FeatureCache
from videochat_r1.policy.model import Policy
from videochat_r1.policy.shared_prefix import row_tokens
from videochat_r1.rollout.base import Engine, Sampling, seed_of
from videochat_r1.section import Section
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Completion, Group, Prompt
from videochat_r1.video.clips import ClipLoader

if TYPE_CHECKING:
    from videochat_r1.judge.base import Judge

__all__ = ["GrpoConfig", "Outcome", "Source", "TrainConfig", "Trainer"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: after `step` steps, because they were all ("steps") or because the reward rose no more ("plateau")."""

    step: int
    reason: str
    seconds: float
    unscorable: int = 0  # completions that could not be scored


class Trainer:
    """Trains a policy on samples, with GRPO or on gold answers, and keeps its run folder.

    folder: opened by the caller before the model was loaded; where it holds checkpoints the run goes on from the newest whole one.
    recipe: all sections that the run depends on, by name, compared on resume; the four given here if none. on_step: called with each row of
    metrics after it is logged. judge: of captions (judge/). Raises UsageError on resume with a recipe that is refused (resume_anyway allows
    it, and moved names the fields whose path alone is another).
    """

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        loader: ClipLoader,
        sources: Sequence[Source],
        *,
        folder: RunFolder,
        asking: Asking,
        sampling: Sampling,
        grpo: GrpoConfig,
        train: TrainConfig,
        recipe: Mapping[str, Section] | None = None,
        resume_anyway: bool = False,
        moved: Collection[str] = (),
        on_step: Callable[[Row], None] | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.policy, self.engine, self.loader = policy, engine, loader
        self.folder, self.asking, self.grpo, self.config = folder, asking, grpo, train
        self.sampling = sampling
        self.recipe = recipe or {"asking": asking, "rollout": sampling, "grpo": grpo, "train": train}
        self.resume_anyway, self.moved = resume_anyway, moved
        self.on_step = on_step
        self.judge = judge
        self.order = Order(sources, train.seed, easy_first=train.order == "easy_first")
        self.data = data_fingerprint(sources)
        self.steps = train.steps or max(1, math.ceil(train.epochs * len(self.order) / train.prompts_per_step))
        self.optimizer = Optimizer(policy.parameters(), train)
        self.videos = FeatureCache(policy)
        self.learner = Learner(policy, self.optimizer, grpo, train.token_budget)
        self.scales = TaskScales(grpo.task_std_decay)
        self.progress = Progress()
        self.checkpoints = Checkpoints(folder.checkpoints, folder.run_id, train.keep_checkpoints)
        self._failed_checkpoints = 0
        self._saved_step = -1
        self._checkpoint_seconds = 0.0

    def run(self) -> Outcome:
        """Train to the last step; what is learned is then in the run folder's policy/.

        Raises Interrupted after SIGTERM or Ctrl-C (the step finished and saved), NumericalStop after non-finite numbers in several steps in
        a row, EnvironmentFault where the machine gives out, DataError where no sample can be used or a truth is at fault.
        """
        self._resume()
        reason = "steps"
        with StopSignal() as stop, closing(self._batches()) as todo:
            for step in range(self.progress.step + 1, self.steps + 1):
                clock = Clock()
                batch, row = self._step(step, todo, clock)
                self._finish(step, batch, row, clock)
                if plateau(self.progress.rewards, self.config.plateau_steps, self.config.plateau_gain):
                    reason = "plateau"
                if stop.received or reason == "plateau" or step == self.steps or step % self.config.checkpoint_every == 0:
                    self._save()
                if stop.received and reason == "steps" and step < self.steps:
                    kept = "it is saved" if self._saved_step == step else f"it could not be saved: {self._goes_on()}"
                    what = f"Stopped by {stop.received.name} after step {step} of {self.steps}; {kept}."
                    raise Interrupted(what, "Go on with --resume (the demo: with the same command).")
                if reason == "plateau":
                    break
        if self._saved_step != self.progress.step:
            self._save()
        self._save_policy()
        self.folder.require_written(f"The policy of step {self.progress.step} is in {self.folder.path / 'policy'}; {self._goes_on()}.")
        return Outcome(self.progress.step, reason, self.progress.seconds, self.progress.unscorable)

    def _step(self, step: int, todo: Generator[Batch], clock: Clock) -> tuple[Batch, Row]:
        """One batch from its prompts to the update; what was learned from, and its row of metrics."""
        counted = dict(self.policy.counters)
        every = [self._drawn(step, todo, clock)]
        if self.config.method == "sft":
            drawn, row = every[0], {}
            lesson = self._lesson(drawn.batch, drawn.completions, None)
        else:
            size = self.config.prompts_per_step
            while len(every) <= self.grpo.refill and lacking(every, size):
                every.append(self._drawn(step, todo, clock))
            groups = [group for one in every for group in one.groups]
            places = taken(groups, size)
            drawn = joined(every, places) if len(every) > 1 else every[0]
            lesson, row = self._rewarded(drawn, clock), reward_figures(groups)
            self.progress.unscorable += sum(bool(rollout.unscorable) for group in groups for rollout in group.rollouts)
            if self.grpo.refill:
                row |= {"refill/batches": len(every) - 1, "refill/lacking": lacking(every, size)}
            if self.judge is not None and any(rollout.reading.verdict is not None for group in groups for rollout in group.rollouts):
                row |= {f"judge/{name}": value for name, value in self.judge.figures().items() if math.isfinite(value)}
            if self.config.log_rollouts:
                self.folder.logs["rollouts.jsonl"].append(
                    rollout_rows(step, groups, dict(zip(places, lesson.advantages or [], strict=True)))
                )
        row |= completion_figures([task for one in every for task in one.batch.tasks], [own for one in every for own in one.completions])
        row |= self._update(step, drawn.batch, lesson, list(drawn.features), clock)
        row |= self.videos.row()
        row |= {f"counts/{name}": self.policy.counters[name] - counted.get(name, 0) for name in ("vision_passes", "prefills")}
        pairs = zip(drawn.batch.prompts, drawn.completions, strict=True)
        row["tokens"] = sum(row_tokens(len(prompt), [len(each) for each in group]) for prompt, group in pairs)
        return drawn.batch, row

    def _drawn(self, step: int, todo: Generator[Batch], clock: Clock) -> Drawn:
        """The next batch, looked at, answered and scored."""
        with clock("data"):
            batch = next(todo)
        with clock("vision"):
            features = self._look(batch.prompts)
        if self.config.method == "sft":
            return Drawn(batch, features, gold(self.policy, batch, self.asking), ())
        with clock("rollout"):
            completions = self._complete(batch, features)
        with clock("reward"):
            groups = judged(batch, completions, self.asking, self.grpo.reward_deadline_s, self.judge)
            self._require_scored(step, groups)
        return Drawn(batch, features, completions, groups)

    def _rewarded(self, drawn: Drawn, clock: Clock) -> Lesson:
        """What is to be learned from completions and their rewards."""
        batch, completions = drawn.batch, drawn.completions
        with clock("reward"):
            advantages_G = advantages(batch.tasks, [rewards_of(group) for group in drawn.groups], self.grpo, self.scales)
        with clock("reference"):
            reference = self.learner.reference_logprobs(batch.prompts, completions, drawn.features) if self.grpo.kl_weight else None
        return self._lesson(batch, completions, [each.tolist() for each in advantages_G], reference, drawn.groups)

    def _update(self, step: int, batch: Batch, lesson: Lesson, features: list[VisionFeatures], clock: Clock) -> Row:
        """The optimizer's steps on one batch. Non-finite numbers skip the update, are counted and dumped."""
        lr = learning_rate(step, self.steps, self.config)
        updates: list[list[list[Watched]]] = []
        norms: list[float] = []
        is_finite = True
        for index in range(self.grpo.updates_per_batch if lesson.advantages is not None else 1):
            with clock("policy"):
                is_stale = index > 0 and self.policy.trains_vision
                updates.append(self.learner.gradient(lesson, None if is_stale else features))
            with clock("optimizer"):
                is_finite = math.isfinite(loss_of(updates[-1], lesson.weights))
                norms.append(self.optimizer.step(lr) if is_finite else math.nan)
            is_finite = is_finite and math.isfinite(norms[-1])
            if not is_finite:
                self.optimizer.clear()
                break
        self.progress.nonfinite_in_a_row = 0 if is_finite else self.progress.nonfinite_in_a_row + 1
        self.progress.skipped_updates += not is_finite
        row = {"lr": lr, **update_figures(updates, lesson.weights, norms), **learning_figures(batch.tasks, updates[0])}
        if lesson.advantages is not None:
            row |= gap_figures(lesson.completions, updates[0])
        if not is_finite:
            NOTES.warning("Step %d: loss or gradient is not finite; the update is skipped and the batch kept in nonfinite/.", step)
            keep_nonfinite(self.folder.path / "nonfinite", step, [turn.sample.id for turn in batch.turns], lesson, updates[-1], row)
        return row

    def _finish(self, step: int, batch: Batch, row: Row, clock: Clock) -> None:
        """Note that the step is complete, and log it."""
        progress = self.progress
        progress.step, progress.position = step, batch.position
        progress.quarantined += batch.unusable
        if "reward" in row:
            progress.rewards = [*progress.rewards, row["reward"]][-2 * self.config.plateau_steps :] if self.config.plateau_steps else []
        row = {"step": step, "epoch": batch.position / len(self.order), **row}
        row |= {
            "counts/quarantined": progress.quarantined,
            "counts/skipped_updates": progress.skipped_updates,
            "counts/decodes": self.loader.counters["decodes"],
        }
        row |= {"seconds/checkpoint": self._checkpoint_seconds, **clock.row(row["tokens"]), **machine_figures()}
        progress.seconds += row["seconds/step"] + self._checkpoint_seconds
        self._checkpoint_seconds = 0.0
        self.folder.require_present()
        self.folder.logs["metrics.jsonl"].append([row])
        if self.on_step is not None:
            self.on_step(row)
        if progress.nonfinite_in_a_row >= self.config.nonfinite_steps:
            what = f"Loss or gradient was not finite in {counted(progress.nonfinite_in_a_row, 'step')} in a row; the last was step {step}."
            kept = f"The batches are in {self.folder.path / 'nonfinite'}."
            raise NumericalStop(what, f"{kept} Lower train.lr, or train in float32; --resume goes on from the last checkpoint.")

    # -- the parts of a step

    def _require_scored(self, step: int, groups: Sequence[Group]) -> None:
        """Raises EnvironmentFault where more completions than the recipe allows could not be scored; the step does not count."""
        lost = [(group.sample, rollout.unscorable) for group in groups for rollout in group.rollouts if rollout.unscorable]
        count = sum(len(group.rollouts) for group in groups)
        if len(lost) > self.grpo.unscorable_limit * count:
            sample, reason = lost[0]
            share = f"{len(lost):,} of {count:,} completions of step {step} cannot be scored"
            what = f"{share}; the first, of sample {sample.id} by {sample.task}: {reason}."
            whose = sample.task if sample.task.endswith(".py") else "the reward or its judge"
            raise EnvironmentFault(what, f"Mend {whose} and go on with --resume, or raise grpo.unscorable_limit.")

    def _batches(self) -> Generator[Batch]:
        return batches(self.order, self.progress.position, self.config.prompts_per_step, self.loader, self.policy, self.asking)

    def _look(self, prompts: Sequence[Prompt]) -> list[VisionFeatures]:
        """What the tower makes of each video: one pass for all, or one each where memory does not hold that."""
        try:
            return self.videos.look(prompts)
        except torch.OutOfMemoryError:
            pass
        torch.cuda.empty_cache()
        try:
            return [self.videos.look([prompt])[0] for prompt in prompts]
        except torch.OutOfMemoryError:
            mend = "Turn one of: video.total_pixels down, train.prompts_per_step down, policy.train_vision off."
            raise EnvironmentFault("Out of GPU memory in the vision tower with one video at a time.", mend) from None

    def _complete(self, batch: Batch, features: Sequence[VisionFeatures]) -> list[list[Completion]]:
        """group_size completions of each prompt, fewer prompts at a time where memory gives out: they come out the same."""
        seeds = [seed_of(self.config.seed, turn.visit, turn.sample.id) for turn in batch.turns]
        seen = [VisionFeatures(each.embeds_VD.detach(), tuple(deep.detach() for deep in each.deepstack_VD)) for each in features]
        while True:
            try:
                return self.engine.complete(
                    batch.prompts, per_prompt=self.grpo.group_size, sampling=self.sampling, seeds=seeds, features=seen
                )
            except torch.OutOfMemoryError:
                if self.sampling.batch_prompts == 1:
                    mend = "Turn one of: rollout.max_tokens down, grpo.group_size down, video.total_pixels down."
                    raise EnvironmentFault("Out of GPU memory while sampling one prompt's completions.", mend) from None
            torch.cuda.empty_cache()
            self.sampling = self.sampling.model_copy(update={"batch_prompts": max(1, self.sampling.batch_prompts // 2)})
            NOTES.warning("Out of GPU memory: from now on %s at a time.", counted(self.sampling.batch_prompts, "prompt"))

    def _lesson(
        self,
        batch: Batch,
        completions: Sequence[Sequence[Completion]],
        advantages_G: Sequence[Sequence[float]] | None,
        reference: Sequence[Sequence[Tensor]] | None = None,
        groups: Sequence[Group] = (),
    ) -> Lesson:
        flat = [each for group in completions for each in group]
        is_gold = advantages_G is None
        kept = [is_gold or not (self.grpo.mask_truncated and each.stop == "length") for each in flat]
        if groups:  # of a group with one score there is no lead to learn from
            told = [not rollout.unscorable and len(group.scored) > 1 for group in groups for rollout in group.rollouts]
            kept = [keep and is_told for keep, is_told in zip(kept, told, strict=True)]
        aggregation = "token_mean" if is_gold else self.grpo.aggregation
        weights = token_weights([len(each) for each in flat], kept, aggregation, self.grpo.constant_length or self.sampling.max_tokens)
        ends = [0]
        for group in completions:
            ends.append(ends[-1] + len(group))
        is_off_policy = not is_gold and self.grpo.updates_per_batch > 1
        return Lesson(
            prompts=batch.prompts,
            completions=completions,
            weights=[weights[start:stop] for start, stop in pairwise(ends)],
            advantages=advantages_G,
            reference=reference,
            old=[[each.logprobs_T for each in group] for group in completions] if is_off_policy else None,
        )

    # -- what is written

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        return {"policy": dict(self.optimizer.parameters), "optimizer": self.optimizer.tensors(), "random": random_tensors()}

    def _save(self) -> None:
        """Write a checkpoint. One that fails is noted, and the run goes on; too many in a row stop it."""
        clock = Clock()
        with clock("checkpoint"):
            try:
                state = {
                    "progress": self.progress.plain(),
                    "task_moments": self.scales.moments,
                    "token_budget": self.learner.token_budget,
                    "batch_prompts": self.sampling.batch_prompts,
                    "logs": self.folder.commit(),
                    "recipe": described(self.recipe),
                    "data": self.data,
                }
                self.checkpoints.save(self.progress.step, self._tensors(), state)
                self._failed_checkpoints, self._saved_step = 0, self.progress.step
            except (NotWritten, OSError) as error:
                self._failed_checkpoints += 1
                last = self.checkpoints.last_step()
                before = "There is none before it." if last is None else f"That of step {last} is untouched."
                NOTES.warning("The checkpoint of step %d was not written: %s. %s", self.progress.step, error, before)
                if self._failed_checkpoints >= self.config.checkpoint_failures:
                    what = f"{counted(self._failed_checkpoints, 'checkpoint')} in a row could not be written to {self.folder.path}: {error}"
                    raise EnvironmentFault(what, f"Make room on the disk; {self._goes_on()}.") from None
        self._checkpoint_seconds = clock.seconds["checkpoint"]

    def _goes_on(self) -> str:
        """From where a resumed run would."""
        last = self.checkpoints.last_step()
        return "no checkpoint is there, --resume begins at the first step" if last is None else f"--resume goes on from step {last}"

    def _save_policy(self) -> None:
        """Put the trained policy in policy/, whole: a folder that is there already is replaced at the end."""
        import tomli_w

        draft, final, old = (self.folder.path / name for name in (".tmp-policy", "policy", ".tmp-policy-before"))
        for each in (draft, old):
            shutil.rmtree(each, ignore_errors=True)
        said = {"video": self.loader.config, "asking": self.asking}
        asked: dict[str, Any] = {name: section.model_dump(mode="json") for name, section in said.items()}
        asked["rollout"] = {"max_tokens": self.sampling.max_tokens}
        try:
            self.policy.save(draft)
            base = base_digest(draft)
            write_whole(draft / ASKED, tomli_w.dumps({**({"base": {"digest": base}} if base else {}), **asked}).encode())
        except EnvironmentFault as fault:
            shutil.rmtree(draft, ignore_errors=True)
            raise EnvironmentFault(fault.what, f"Make room, or see who owns the folder; {self._goes_on()}.") from None
        if final.exists():
            final.rename(old)
        draft.rename(final)
        shutil.rmtree(old, ignore_errors=True)

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint, or begin; either way both logs hold exactly the steps that are complete."""
        found = self.checkpoints.newest()
        if found is None:
            self.folder.cut({})
            seed_random(self.config.seed)
            needed = 3 * bytes_of({"policy": dict(self.optimizer.parameters)}) * (self.config.keep_checkpoints + 1)
            if (free := shutil.disk_usage(self.folder.path).free) < needed:
                NOTES.warning("Checkpoints will take about %s; %s has %s free.", disk_text(needed), self.folder.path, disk_text(free))
            return
        self._restore(found)
        self.folder.cut(found.state["logs"])

    def _restore(self, found: Checkpoint) -> None:
        state = found.state
        recipe_then = dict(state["recipe"])
        require_resumable(recipe_then, self.recipe, anyway=self.resume_anyway, moved=self.moved)
        if state["data"] != self.data:
            if not self.resume_anyway:
                raise UsageError("The samples are not those that the run was started with.", OTHER_RUN)
            NOTES.warning("Changed on resume: the samples.")
        shapes = {name: tuple(weight.shape) for name, weight in found.tensors["policy"].items()}
        if shapes != {name: tuple(weight.shape) for name, weight in self.optimizer.parameters.items()}:
            mend = "Give the recipe the policy it had, or start another run with --out."
            raise UsageError("The checkpoint's weights are not those that this policy trains.", mend)
        with torch.no_grad():
            for name, weight in self.optimizer.parameters.items():
                weight.copy_(found.tensors["policy"][name])
        self.optimizer.load(found.tensors["optimizer"])
        self.scales = TaskScales(self.grpo.task_std_decay, state["task_moments"])
        self.progress = Progress(**state["progress"])
        self._saved_step = self.progress.step
        if recipe_then.get("train", {}).get("token_budget") == self.config.token_budget:
            self.learner.token_budget = state["token_budget"]  # what memory was found to hold
        self.sampling = self.sampling.model_copy(update={"batch_prompts": min(self.sampling.batch_prompts, state["batch_prompts"])})
        restore_random(found.tensors["random"])
