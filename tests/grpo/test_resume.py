"""A run that is killed at random instants and goes on ends with the same bits as one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.grpo.small_run import fingerprint

FAILPOINTS = ("after_tensors", "after_manifest", "before_rename", "after_rename", "prune")


class ForkServer:
    """Lives of a run, each in a child of a process that has imported everything."""

    def __init__(self):
        root = Path(__file__).parents[2]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.grpo.fork_server"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root, env=environment)

    def live(self, path, recipe, *, kill_after=None, failpoint=""):
        command = {"path": str(path), "recipe": recipe, "kill_after": kill_after, "failpoint": failpoint}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        while True:
            reply = json.loads(self.process.stdout.readline())
            if reply["path"] == str(path):  # an earlier test that was given up may have left its reply
                return reply

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server():
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def alone(server, tmp_path_factory):
    """The fingerprint of a run of each recipe that was left alone, and how long it took."""
    found = {}
    for recipe in ("lora", "full"):
        path = tmp_path_factory.mktemp("alone") / recipe
        life = server.live(path, recipe)
        assert life["status"] == 0
        found[recipe] = fingerprint(path), life["seconds"]
    return found


def assert_complete(path, expected):
    found = fingerprint(path)
    steps = [row["step"] for row in found["metrics"]]
    assert steps == list(range(1, len(steps) + 1))
    for name in expected:
        assert found[name] == expected[name], name
    assert not list(path.rglob(".tmp-*"))


@pytest.mark.parametrize("recipe, kills_wanted", [("lora", 18), ("full", 6)])
def test_killed_at_random_instants(server, alone, tmp_path, recipe, kills_wanted):
    expected, seconds = alone[recipe]
    assert max(row["reward_std"] for row in expected["metrics"]) > 0
    assert expected["hashes"].keys() == {"policy.safetensors", "optimizer.safetensors", "random.safetensors"}
    draw = random.Random(len(recipe))
    kills = runs = 0
    while kills < kills_wanted:
        runs += 1
        path = tmp_path / f"run{runs}"
        status = -signal.SIGKILL
        while status != 0:
            if kills < kills_wanted:
                whole = not path.exists()
                life = server.live(path, recipe, kill_after=draw.uniform(0, 0.8 * seconds))
                status = life["status"]
                kills += status == -signal.SIGKILL
                if status == 0 and whole:  # the run that was left alone was timed while the machine was busier
                    seconds = min(seconds, life["seconds"])
            else:
                status = server.live(path, recipe)["status"]
            assert status in (0, -signal.SIGKILL)
        assert_complete(path, expected)


def test_killed_inside_the_write(server, alone, tmp_path):
    expected, _ = alone["full"]
    kills = 0
    path = tmp_path / "run"
    for failpoint in (*FAILPOINTS, *reversed(FAILPOINTS)):
        kills += server.live(path, "full", failpoint=f"ckpt:{failpoint}")["status"] == -signal.SIGKILL
    assert kills >= 8  # `prune` kills only once there is something to prune; the run needs five steps
    assert server.live(path, "full")["status"] == 0
    assert_complete(path, expected)


def test_a_damaged_newest_checkpoint_costs_only_time(server, alone, tmp_path):
    expected, seconds = alone["lora"]
    path = tmp_path / "run"
    assert server.live(path, "lora")["status"] == 0
    newest = max((path / "checkpoints").glob("step-*"))
    content = bytearray((newest / "optimizer.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "optimizer.safetensors").write_bytes(content)
    assert server.live(path, "lora")["status"] == 0
    assert_complete(path, expected)


def test_a_finished_run_that_is_resumed_changes_nothing(server, alone, tmp_path):
    path = tmp_path / "run"
    for _ in range(2):
        assert server.live(path, "full")["status"] == 0
        assert_complete(path, alone["full"][0])
