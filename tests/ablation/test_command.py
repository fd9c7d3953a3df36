"""The command on a tiny model: cells are trained once, kept, gone on with, and told."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.command_line import TINY_VIDEO, fault, ran, ran_json, saved_tiny_model

TABLE = """
title = "A small table"
[world]
train = {{ temporal_grounding = 4, description = 2 }}
test = 2
[recipe.policy]
path = "{model}"
device = "cpu"
[recipe.video]
{video}
[recipe.rollout]
max_tokens = 5
[recipe.grpo]
group_size = 2
[recipe.train]
steps = 2
prompts_per_step = 2
lr = 1e-3
checkpoint_every = 1
[[cell]]
name = "grpo"
group = "All"
curve = "GRPO"
[[cell]]
name = "few"
group = "All"
against = "grpo"
samples = 3
curve = "GRPO"
set = {{ "policy.lora_rank" = 2 }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ablate")


@pytest.fixture(scope="module")
def table(folder):
    video = "\n".join(f"{name} = {value}" for name, value in TINY_VIDEO.items())
    path = folder / "table.toml"
    path.write_text(TABLE.format(model=saved_tiny_model(folder / "model"), video=video))
    return path


def test_a_table_is_run_kept_gone_on_with_and_written_again(table, folder, capsys):
    out = folder / "out"
    code, _, err = ran(capsys, "ablate", table, "--out", out, "--seeds", "0", "--only", "grpo")
    assert code == 0, err
    done = out / "cells" / "grpo" / "seed-0" / "done.json"
    before = done.read_bytes(), done.stat().st_mtime_ns
    assert not (out / "cells" / "grpo" / "seed-0" / "checkpoints").exists()

    found = ran_json(capsys, "ablate", table, "--out", out, "--seeds", "0,1")
    assert (done.read_bytes(), done.stat().st_mtime_ns) == before, "what is done is not done again"
    assert found["seeds"] == [0, 1] and set(found["cells"]) == {"grpo", "few"}
    assert found["cells"]["few"]["trained_on"] == 3
    for cell in found["cells"].values():
        assert set(cell["results"]) == {"temporal_grounding", "description"}
        assert len(cell["results"]["temporal_grounding"]["mIoU"]["by_seed"]) == 2
    assert json.loads((out / "ablation.json").read_text()) == found

    page = folder / "docs" / "results.md"
    code, printed, _ = ran(capsys, "ablate", "--out", out, "--markdown", page)
    assert (code, printed.strip()) == (0, str(page))
    assert "`few`" in page.read_text() and "(data_efficiency.png)" in page.read_text()
    assert "Made by `videochat-r1 ablate --out runs/ablation`." in page.read_text(), "a machine's own folders are not told"
    assert (page.parent / "data_efficiency.png").exists()

    shutil.rmtree(done.parent / "evaluation")  # answers that are missing come from the policy that was saved
    again = ran_json(capsys, "ablate", table, "--out", out, "--seeds", "0,1")
    assert again["cells"]["grpo"]["results"] == found["cells"]["grpo"]["results"]

    changed = folder / "changed.toml"
    changed.write_text(table.read_text().replace("lr = 1e-3", "lr = 2e-3"))
    code, _, err = ran(capsys, "ablate", changed, "--out", out, "--seeds", "0")
    assert code == 2
    assert "Cell grpo, seed 0, was done otherwise: train.lr: 0.001 -> 0.002.\nRemove " in err


def test_a_page_without_results_is_refused(folder, capsys):
    assert "There are no results in" in fault(capsys, 3, "ablate", "--out", folder / "nothing", "--markdown", folder / "x.md")


def test_a_wrong_cell_is_named(table, folder, capsys):
    assert "Did you mean 'grpo'" in fault(capsys, 2, "ablate", table, "--out", folder / "other", "--only", "grop")
