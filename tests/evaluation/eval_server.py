"""Imports everything once, then forks a child for each life of a command: `python -m tests.evaluation.eval_server`, a JSON command a line.

A command: {"argv": [...], "processes": how many, "end": null or [signal number, after how many kept batches, "before" | "torn" | "after"]};
the reply: [[exit code, negative for a signal, stdout, stderr], ...], one a process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import sys
import tempfile

import torch
import transformers  # noqa: F401
from transformers.models.qwen3_vl import modeling_qwen3_vl  # noqa: F401

from videochat_r1.cli import main as run
from videochat_r1.evaluation import answer_cache, evaluate, run_report  # noqa: F401
from videochat_r1.policy import model  # noqa: F401
from videochat_r1.rollout import native  # noqa: F401


def end_at(number: int, after: int, when: str) -> None:
    """From now on this process sends itself a signal at the so-manyth batch of answers."""
    keep, done = answer_cache.AnswerCache.keep, 0

    def ending(self, rows):
        nonlocal done
        done += 1
        if done == after and when != "after":
            if when == "torn":
                self._file.write(b'{"key": "0123456789", "text": "half a li')
                self._file.flush()
            os.kill(os.getpid(), number)
        keep(self, rows)
        if done == after and when == "after":
            os.kill(os.getpid(), number)

    answer_cache.AnswerCache.keep = ending


def live(command: dict, rank: int, port: int, path: str) -> None:
    """One life, in this process, which ends with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would its children
    out, err = io.StringIO(), io.StringIO()
    if command["processes"] > 1:
        count = str(command["processes"])
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    if command["end"]:
        end_at(*command["end"])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command["argv"])
    with open(path, "w") as file:
        json.dump([code, out.getvalue(), err.getvalue()], file)
    os._exit(code)


def lived(command: dict) -> list:
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        children = []
        for rank in range(command["processes"]):
            path = os.path.join(folder, str(rank))
            child = os.fork()
            if child == 0:
                try:
                    live(command, rank, port, path)
                finally:
                    os._exit(70)
            children.append((child, path))
        found = []
        for child, path in children:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            told = ["", ""]
            if os.path.exists(path):
                with open(path) as file:
                    told = json.load(file)[1:]
            found.append([code, *told])
        return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(lived(json.loads(line))), flush=True)
