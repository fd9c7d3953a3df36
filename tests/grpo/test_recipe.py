"""What a changed recipe means on resume, and that every field of every section says it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil

import pytest

import videochat_r1
from videochat_r1.errors import UsageError
from videochat_r1.grpo.config import GrpoConfig, TrainConfig
from videochat_r1.grpo.recipe import compare, described, names_a_place, require_resumable, unclassified
from videochat_r1.section import Section, free, refused, warned


def sections():
    """Every Section of the package, wherever it is."""
    found = {}
    for module in pkgutil.walk_packages(videochat_r1.__path__, "videochat_r1."):
        if module.name.endswith("__main__"):
            continue
        if module.name.endswith("lmms_eval.model") and importlib.util.find_spec("lmms_eval") is None:  # which no extra of ours brings
            continue
        for _, each in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(each, Section) and each is not Section and each.__module__.startswith("videochat_r1."):
                found[f"{each.__module__}.{each.__qualname__}"] = each
    return found


def test_every_field_of_every_section_says_what_its_change_means():
    found = sections()
    assert {"videochat_r1.grpo.config.GrpoConfig", "videochat_r1.grpo.config.TrainConfig", "videochat_r1.rollout.base.Sampling"} <= set(
        found
    )
    assert {name: unclassified(section) for name, section in found.items() if unclassified(section)} == {}


def test_a_field_that_says_nothing_is_found():
    class Silent(Section):
        loud: int = free(1, "says it")
        silent: int = 2

    assert unclassified(Silent) == ["silent"]


class Inner(Section):
    path: str = refused("a", "what")
    note: str = free("", "what")


class Outer(Section):
    inner: Inner = refused(Inner, "what")
    sources: tuple[Inner, ...] = refused((), "what")
    betas: tuple[float, float] = warned((0.9, 0.999), "what")


def test_the_same_recipe_has_no_changes():
    recipe = {"grpo": GrpoConfig(), "train": TrainConfig(), "outer": Outer(sources=(Inner(), Inner(path="b")))}
    assert compare(described(recipe), recipe) == []


def test_each_changed_field_with_its_class():
    before = described({"grpo": GrpoConfig(), "train": TrainConfig(), "outer": Outer(sources=(Inner(), Inner(path="b")))})
    after = {
        "grpo": GrpoConfig(group_size=4, clip_high=0.28),
        "train": TrainConfig(lr=1e-5, checkpoint_every=10),
        "outer": Outer(inner=Inner(note="x"), sources=(Inner(), Inner(path="c")), betas=(0.9, 0.95)),
    }
    assert [(change.field, change.before, change.after, change.on_resume) for change in compare(before, after)] == [
        ("grpo.group_size", 8, 4, "refused"),
        ("grpo.clip_high", 0.2, 0.28, "warned"),
        ("train.lr", 1e-6, 1e-5, "warned"),
        ("train.checkpoint_every", 50, 10, "free"),
        ("outer.inner.note", "", "x", "free"),
        ("outer.sources.1.path", "b", "c", "refused"),
        ("outer.betas", [0.9, 0.999], [0.9, 0.95], "warned"),
    ]


def test_one_more_source_is_a_change_of_the_field():
    before = described({"outer": Outer(sources=(Inner(),))})
    assert [(change.field, change.on_resume) for change in compare(before, {"outer": Outer(sources=(Inner(), Inner()))})] == [
        ("outer.sources", "refused")
    ]


def test_a_field_from_a_later_version_counts_where_it_is_not_its_default():
    before = described({"outer": Outer()})
    del before["outer"]["betas"]
    assert compare(before, {"outer": Outer()}) == []
    assert [change.field for change in compare(before, {"outer": Outer(betas=(0.5, 0.5))})] == ["outer.betas"]


def test_what_matters_is_refused_with_the_difference_shown(caplog):
    before = described({"grpo": GrpoConfig(), "train": TrainConfig()})
    changed = {"grpo": GrpoConfig(group_size=4), "train": TrainConfig(lr=1e-5)}
    with pytest.raises(UsageError, match=r"grpo.group_size: 8 -> 4\n  train.lr: 1e-06 -> 1e-05\n.*--resume-anyway"):
        require_resumable(before, changed, anyway=False)
    require_resumable(before, changed, anyway=True)
    assert "grpo.group_size: 8 -> 4" in caplog.text
    require_resumable(before, {"grpo": GrpoConfig(), "train": TrainConfig(lr=1e-5)}, anyway=False)
    caplog.clear()
    require_resumable(before, {"grpo": GrpoConfig(), "train": TrainConfig(keep_checkpoints=5)}, anyway=False)
    assert "train.keep_checkpoints: 2 -> 5" in caplog.text  # free, and shown all the same


def test_a_path_that_was_moved_with_what_it_holds_is_told_and_allowed(caplog):
    before = described({"outer": Outer(sources=(Inner(path="a"), Inner(path="b")))})
    after = {"outer": Outer(sources=(Inner(path="a"), Inner(path="c")))}
    require_resumable(before, after, anyway=False, moved={"outer.sources.1.path"})
    assert "Changed on resume: outer.sources.1.path: 'b' -> 'c'" in caplog.text
    with pytest.raises(UsageError, match="sources.1"):
        require_resumable(before, after, anyway=False, moved={"outer.sources.0.path"})
    fields = ("policy.path", "data.10.annotations", "data.0.videos", "data.0.task", "policy.dtype", "test.0.videos")
    assert [names_a_place(field) for field in fields] == [True, True, True, False, False, False]


def test_another_way_to_write_the_path_of_one_file_is_no_change(tmp_path, monkeypatch):
    (tmp_path / "b").write_text("")
    monkeypatch.chdir(tmp_path)
    before = described({"outer": Outer(sources=(Inner(path="b"),))})
    assert compare(before, {"outer": Outer(sources=(Inner(path=str(tmp_path / "b")),))}) == []
    assert [change.field for change in compare(before, {"outer": Outer(sources=(Inner(path=str(tmp_path / "c")),))})] == [
        "outer.sources.0.path"
    ]
