"""videochat-r1 data difficulty: what a policy gets of each training sample, and which groups would teach it anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from videochat_r1.commands.display import print_json, print_table, say
from videochat_r1.commands.options import Command, Given, option, seed_option
from videochat_r1.commands.policies import PolicyOptions
from videochat_r1.commands.soundness import defects_line
from videochat_r1.commands.sources import SourceOptions, none_usable
from videochat_r1.counting import counted
from videochat_r1.errors import Interrupted
from videochat_r1.rollout.base import RolloutConfig

if TYPE_CHECKING:
    from videochat_r1.types import Sample

BARS = " ▁▂▃▄▅▆▇█"


class Difficulty(SourceOptions, PolicyOptions):
    """Sample a policy several times on each training sample, and tell by task what share of the groups would give a gradient. The file of
    results serves [[data]] difficulty: samples are filtered, weighted and ordered by it. The same command goes on after a kill."""

    split: Literal["train", "test"] = option("train", "what the data serve for, which decides what is done about a defect")
    group_size: int = option(8, "completions of each sample", ge=2)
    out: str = option("difficulty.jsonl", "the file that rows are appended to", "FILE")
    rollout: RolloutConfig = option(RolloutConfig, "how completions are drawn")
    reward_deadline_s: float = option(10.0, "seconds that the rewards of a task in a .py file may take over one completion", ge=0.0)
    seed: int = seed_option("of the draws")
    json_: bool = option(False, "print one JSON object")


def run(options: Difficulty, out: TextIO, fields: Given) -> int:
    from videochat_r1.datasets.base.difficulty import require_own_file, summary
    from videochat_r1.datasets.base.reading import read_samples
    from videochat_r1.evaluation.manner import settled
    from videochat_r1.runs import ended_by_signals

    require_own_file(Path(options.out))
    path, sections = settled(options.policy, {"video": options.video, "asking": options.asking, "rollout": options.rollout}, say)
    options = options.model_copy(update={**sections, "policy": path})
    loaded = read_samples(options.source())
    if line := defects_line(loaded.defects):
        say(line)
    with ended_by_signals():
        try:
            rows = _measured(options, loaded.samples)
        except KeyboardInterrupt:
            raise Interrupted("Stopped; what is measured stays.", "The same command goes on.") from None
    if all(row["fault"] for row in rows):
        raise none_usable(loaded.samples, [row["fault"] for row in rows])
    found = summary(rows)
    say(f"{counted(len(rows), 'sample')} in {options.out}.")
    if options.json_:
        print_json({"file": options.out, "group_size": options.group_size, "tasks": found}, out)
    else:
        print_summary(found, options.group_size, out)
    return 0


def _measured(options: Difficulty, samples: list[Sample]) -> list[dict[str, Any]]:
    from videochat_r1.commands.quiet import quiet_libraries
    from videochat_r1.evaluation.live import Live
    from videochat_r1.grpo.difficulty import Keys, measure, measured
    from videochat_r1.policy.config import PolicyConfig
    from videochat_r1.policy.model import load_policy
    from videochat_r1.rollout.base import make_engine
    from videochat_r1.runs import require_room
    from videochat_r1.video.clips import ClipLoader

    key = Keys(options.policy, options.asking, options.video, options.rollout, options.group_size, options.seed)
    keys = [key(sample) for sample in samples]
    path = Path(options.out)
    rows = measured(path, keys)
    if all(each in rows for each in keys):
        return [rows[each] for each in keys]
    quiet_libraries()
    policy = load_policy(PolicyConfig(path=options.policy, device=options.device, dtype=options.dtype), keep_reference=False)
    require_room(options.rollout.max_tokens, policy.max_positions)
    engine = make_engine(options.rollout.engine, policy)
    loader = ClipLoader(options.video, policy.geometry)
    with Live(len(samples), title="Measuring", unit="samples") as live:
        return measure(
            policy,
            engine,
            loader,
            samples,
            keys,
            path,
            options.asking,
            options.rollout,
            group_size=options.group_size,
            seed=options.seed,
            deadline_s=options.reward_deadline_s,
            on_measured=live.on_count,
        )


def print_summary(found: dict[str, dict[str, Any]], group_size: int, out: TextIO) -> None:
    """A row a task, and how its samples lie from easy to hard."""
    head = ["", "samples", "with gradient", "never right", "always right", "mean reward", "difficulty", "easy to hard"]
    rows = [head]
    for task, figures in found.items():
        shares = [f"{figures[name]:.1f} %" if name in figures else "" for name in ("with_gradient", "never_right", "always_right")]
        means = [f"{figures[name]:.2f}" if name in figures else "" for name in ("reward_mean", "difficulty_mean")]
        rows.append([task, f"{figures['n']:,}", *shares, *means, bars(figures["histogram"])])
    print_table(f"groups of {group_size}", rows, out)
    lost = {task: figures for task, figures in found.items() if figures["unreadable"] or figures["unscorable"]}
    for task, figures in lost.items():
        unreadable, unscorable = counted(figures["unreadable"], "video"), counted(figures["unscorable"], "completion")
        out.write(f"  {task}: {unreadable} not readable, {unscorable} without a score\n")


def bars(counts: list[int]) -> str:
    """Counts as a row of small bars; a count above zero shows."""
    top = max(counts, default=0)
    return "".join(BARS[-(-count * (len(BARS) - 1) // top)] if top else BARS[0] for count in counts)


COMMAND = Command(Difficulty, run)
