"""Imports everything once, then forks a child for each life of a run: `python -m tests.grpo.fork_server`, one JSON command a line.

A command: {"path": run folder, "recipe": name, "kill_after": seconds or null, "failpoint": name or ""}; the reply: {"path": the command's,
"status": the child's exit code, negative for a signal, "seconds": how long it lived}."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

import torch
from tests.grpo.small_run import Source, letters, run_in, spans
from tests.tiny import tiny_policy

from videochat_r1.errors import UserFault

RECIPES = {
    "lora": lambda: {
        "policy": tiny_policy("qwen2_5_vl", lora_rank=2, adapter_noise=0.0),
        "train": {"steps": 7, "checkpoint_every": 2, "plateau_steps": 3, "plateau_gain": -9.0, "warmup": 2, "schedule": "cosine"},
        "grpo": {"advantage": "task_std"},
        "sources": [Source(samples=letters(5, broken=(2,)), weight=0.6), Source(samples=spans(3))],
    },
    "full": lambda: {
        "policy": tiny_policy("qwen3_vl", train_vision=True),
        "train": {"steps": 5, "checkpoint_every": 1, "keep_checkpoints": 1, "lr": 1e-3, "token_budget": 150},
        "grpo": {"updates_per_batch": 2, "aggregation": "token_mean"},
    },
}


def live(command: dict, options: dict) -> int:
    """One life of a run, in this process; its exit code."""
    os.environ["VIDEOCHAT_R1_FAILPOINT"] = command["failpoint"]
    try:
        run_in(command["path"], resume=True, **options)
    except UserFault as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code
    return 0


def main() -> None:
    torch.set_num_threads(1)
    recipes = {name: recipe() for name, recipe in RECIPES.items()}  # built once; a child gets its own copy by the fork
    for line in sys.stdin:
        command = json.loads(line)
        start = time.monotonic()
        ending, held = os.pipe()  # held open by the child: what is read ends where the child does
        child = os.fork()
        if child == 0:
            try:
                os._exit(live(command, recipes[command["recipe"]]))
            finally:
                os._exit(70)
        os.close(held)
        if not select.select([ending], [], [], command["kill_after"])[0]:
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(ending)
        print(json.dumps({"path": command["path"], "status": status, "seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    main()
