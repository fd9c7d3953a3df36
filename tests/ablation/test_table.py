"""Tables of ablations: what is read, what is refused, and what each cell trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from videochat_r1.ablation.cells import switch, training_samples
from videochat_r1.ablation.table import DEFAULT_TABLE, AblationTable, Cell, cell_recipe, read_table
from videochat_r1.errors import UsageError
from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Answer, Sample

TABLE = """
[world]
train = { temporal_grounding = 6, tracking = 3 }
[recipe.grpo]
kl_weight = 0.1
[[cell]]
name = "grpo"
"""


def written(folder, extra="", table=TABLE):
    path = folder / "table.toml"
    path.write_text(table + extra)
    return path


def test_the_default_table_holds_every_claim_that_is_to_be_tried():
    table = read_table(DEFAULT_TABLE)
    cells = {cell.name: cell for cell in table.cell}
    recipes = {name: cell_recipe(table, cell, Path("w"), 0) for name, cell in cells.items()}
    assert recipes["sft"].train.method == "sft"
    assert recipes["thinking"].asking.thinking and cells["thinking"].switched and cells["grpo"].switched
    assert any(cell.tasks == ("temporal_grounding",) for cell in cells.values())
    assert {recipe.grpo.kl_weight for recipe in recipes.values()} >= {0.0, 0.04, 0.12, 0.5}
    assert any(recipe.policy.lora_rank for recipe in recipes.values())
    rewards = {chosen for recipe in recipes.values() for chosen in recipe.asking.rewards.values()}
    assert rewards >= {"timestamp_tiou", "wasserstein", "tiou_wasserstein", "box_giou"}
    assert {recipe.grpo.advantage for recipe in recipes.values()} == {"group_std", "centred", "task_std"}
    assert {recipe.grpo.aggregation for recipe in recipes.values()} == {"sequence_mean", "token_mean", "constant_length"}
    assert recipes["gspo"].grpo.ratio == "sequence" and recipes["gspo"].grpo.updates_per_batch > 1
    for curve in ("GRPO", "SFT"):
        assert len([cell for cell in cells.values() if cell.curve == curve]) >= 4
    assert set(table.world.train) >= {"video_qa", "description"}, "general abilities stand in every table"


def test_a_cell_changes_what_it_says_and_nothing_else(tmp_path):
    table = read_table(
        written(tmp_path, '[[cell]]\nname = "lora"\nset = { "policy.lora_rank" = 4, "asking.rewards.tracking" = "box_giou" }')
    )
    plain, lora = (cell_recipe(table, cell, tmp_path / "world", 7) for cell in table.cell)
    assert plain.policy.path == str(SMALL_MODEL) and plain.video == SMALL_VIDEO
    assert plain.grpo.kl_weight == lora.grpo.kl_weight == 0.1
    assert (plain.train.seed, lora.train.seed) == (7, 7)
    assert (lora.policy.lora_rank, lora.asking.rewards) == (4, {"tracking": "box_giou"})
    same = lora.model_copy(update={"policy": plain.policy, "asking": plain.asking})
    assert same == plain
    assert table.recipe == {"grpo": {"kl_weight": 0.1}}, "a cell leaves the table's own recipe as it is"


@pytest.mark.parametrize(
    "extra, said",
    [
        ('[[cell]]\nname = "grpo"', "two cells are called 'grpo'"),
        ('[[cell]]\nname = "a b"', "'a b' is no name for a folder"),
        ('[[cell]]\nname = "b"\nagainst = "grp"', "compared with 'grp'. Did you mean 'grpo'"),
        ('[[cell]]\nname = "b"\ntasks = ["quality"]', "nothing to train 'quality' on"),
        (
            '[[cell]]\nname = "b"\nset = { "grpo.kl_wait" = 0.1 }',
            "cell b: grpo.kl_wait: there is no such field.\nDid you mean grpo.kl_weight",
        ),
        (
            '[[cell]]\nname = "b"\nset = { "asking.rewards.tracking" = "giou" }',
            "cell b: asking.rewards.tracking: the task has no reward 'giou'",
        ),
        ('[[cell]]\nname = "b"\nset = { "grpo.group_size" = 1 }', "cell b: grpo.group_size"),
        ("[[cells]]\nx = 1", "cells: there is no such field"),
    ],
)
def test_a_wrong_table_is_refused_with_its_cell_and_the_right_name(tmp_path, extra, said):
    with pytest.raises(UsageError) as fault:
        read_table(written(tmp_path, extra))
    assert said in str(fault.value)
    assert str(tmp_path) in str(fault.value)


def test_a_table_needs_cells_and_tasks_of_the_world(tmp_path):
    with pytest.raises(UsageError, match=r"no \[\[cell\]\]"):
        read_table(written(tmp_path, table="[world]\ntrain = { tracking = 2 }\n"))
    with pytest.raises(UsageError, match="the world has no task 'grounding'"):
        read_table(written(tmp_path, table=TABLE.replace("temporal_grounding", "grounding")))
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path / "none.toml")


def test_cells_are_chosen_by_name():
    table = read_table(DEFAULT_TABLE)
    assert [cell.name for cell in table.chosen(["sft", "grpo"])] == ["grpo", "sft"]
    assert table.chosen([]) == table.cell
    with pytest.raises(UsageError, match="no cell 'spt'.\nDid you mean 'sft'"):
        table.chosen(["spt"])


def samples(**counts):
    return [
        Sample(id=f"{task}/{index}", task=task, video="v", question="", truth=Answer())
        for task, count in counts.items()
        for index in range(count)
    ]


@pytest.mark.parametrize("count", range(3, 31))
def test_fewer_samples_are_a_part_of_more_and_every_task_has_its_share(count):
    own = samples(a=15, b=10, c=5)
    chosen = training_samples(own, Cell(name="x", samples=count))
    assert len(chosen) == count
    by_task = {task: sum(one.task == task for one in chosen) for task in "abc"}
    assert all(by_task.values())
    assert all(abs(by_task[task] - count * share) <= 1.5 for task, share in {"a": 0.5, "b": 1 / 3, "c": 1 / 6}.items())
    assert [one for one in own if one in chosen] == chosen
    for task, of_task in by_task.items():
        assert [one.id for one in chosen if one.task == task] == [f"{task}/{index}" for index in range(of_task)]


def test_tasks_alone_and_too_many_samples():
    own = samples(a=3, b=2)
    assert {one.task for one in training_samples(own, Cell(name="x", tasks=("b",)))} == {"b"}
    assert training_samples(own, Cell(name="x")) == own
    for count in (1, 6):
        with pytest.raises(UsageError, match=f"asks for {count} samples of 5"):
            training_samples(own, Cell(name="x", samples=count))


def test_switching_changes_thinking_alone():
    asking = Asking(thinking=True, order="video_first", rewards={"tracking": "box_giou"})
    assert switch(asking) == asking.model_copy(update={"thinking": False})
    assert switch(switch(asking)) == asking


def test_a_table_may_be_made_in_code():
    table = AblationTable(world={"train": {"tracking": 2}}, cell=({"name": "one"},))  # type: ignore[arg-type]
    assert cell_recipe(table, table.cell[0], Path("w"), 1).train.seed == 1
