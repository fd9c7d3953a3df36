"""One command line, run inside the test's own process."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny import tiny_policy

from videochat_r1.cli import main

ROOT = Path(__file__).parents[1]
DATA = ROOT / "../shared/data"


def ran(capsys, *tokens):
    """(exit code, stdout, stderr)."""
    capsys.readouterr()
    code = main([str(token) for token in tokens])
    out, err = capsys.readouterr()
    return code, out, err


def ran_json(capsys, *tokens):
    """What a command with --json prints: one object and nothing else."""
    code, out, err = ran(capsys, *tokens, "--json")
    assert code == 0, err
    return json.loads(out)


def fault(capsys, code, *tokens):
    """The one or two lines of a fault; nothing is on stdout and no traceback is shown."""
    found, out, err = ran(capsys, *tokens)
    assert found == code, err
    assert out == "" and "Traceback" not in err
    assert 1 <= len(err.splitlines()) <= 2, err
    return err


def saved_tiny_model(folder, family="qwen3_vl"):
    """A stock folder of a tiny random model."""
    tiny_policy(family, keep_reference=False).save(folder)
    return folder


TINY_VIDEO = {"min_frames": 2, "max_frames": 8, "total_pixels": 2048, "min_pixels": 64, "max_pixels": 256}


def tiny_recipe(folder, world, model, *, tasks=("temporal_grounding",), steps=2, **train):
    """A recipe file over the annotation files of a small world."""
    lines = ["[policy]", f'path = "{model}"', 'device = "cpu"', "lora_rank = 2"]
    for kind, split in (("data", "train"), ("test", "test")):
        lines += [f"[[{kind}]]", 'name = "jsonl"', f'annotations = "{world / split}.jsonl"', f'videos = "{world / "videos"}"', "limit = 3"]
    lines += ["[video]", *(f"{name} = {value}" for name, value in TINY_VIDEO.items())]
    lines += ["[rollout]", "max_tokens = 6", "[grpo]", "group_size = 2", "[train]", f"steps = {steps}", "prompts_per_step = 2", "lr = 1e-3"]
    lines += [f"{name} = {value}" for name, value in train.items()]
    path = folder / "tiny.toml"
    path.write_text("\n".join(lines) + "\n")
    return path
