"""Checkpoints: whole or not at all, never believed when damaged, and a full disk costs nothing that was there before."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal

import pytest
import torch

from videochat_r1.errors import EnvironmentFault
from videochat_r1.grpo.checkpoint import Checkpoints, NotWritten, disk_text

TENSORS = {
    "policy": {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5], dtype=torch.bfloat16)},
    "optimizer": {"exp_avg.w": torch.ones(2, 3)},
}


def tensors_of(step):
    return {file: {name: tensor + step for name, tensor in named.items()} for file, named in TENSORS.items()}


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(folder=tmp_path / "checkpoints", run_id="a", keep=2)


def names(checkpoints):
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_what_is_saved_comes_back_to_the_bit(checkpoints):
    path = checkpoints.save(7, TENSORS, {"position": 12, "lr": 0.1 + 0.2})
    loaded = checkpoints.newest()
    assert (loaded.path, loaded.step, loaded.state) == (path, 7, {"position": 12, "lr": 0.1 + 0.2})
    assert loaded.tensors.keys() == TENSORS.keys()
    for file, named in TENSORS.items():
        for name, tensor in named.items():
            assert torch.equal(loaded.tensors[file][name], tensor)
            assert loaded.tensors[file][name].dtype == tensor.dtype


def test_only_safetensors_and_json_are_written(checkpoints):
    path = checkpoints.save(1, TENSORS, {})
    assert sorted(each.name for each in path.iterdir()) == ["manifest.json", "optimizer.safetensors", "policy.safetensors", "state.json"]


def test_the_newest_few_are_kept(checkpoints):
    for step in (1, 2, 3, 10):
        checkpoints.save(step, tensors_of(step), {})
    assert [name[:13] for name in names(checkpoints)] == ["step-00000003", "step-00000010"]
    assert checkpoints.newest().step == 10


def test_no_checkpoint_is_none(checkpoints):
    assert checkpoints.newest() is None


def test_no_changed_byte_is_ever_believed(checkpoints):
    path = checkpoints.save(1, TENSORS, {"position": 3})
    draw = random.Random(0)
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        places = range(len(content)) if len(content) < 300 else draw.sample(range(len(content)), 300)
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 1 << draw.randrange(8)
            file.write_bytes(changed)
            with pytest.raises(EnvironmentFault, match="None of the 1 checkpoints"):
                checkpoints.newest()
        for sixteenth in range(16):
            file.write_bytes(content[: len(content) * sixteenth // 16])
            with pytest.raises(EnvironmentFault):
                checkpoints.newest()
        file.unlink()
        with pytest.raises(EnvironmentFault):
            checkpoints.newest()
        file.write_bytes(content)
    assert checkpoints.newest().state == {"position": 3}


def test_a_damaged_checkpoint_falls_back_to_the_one_before(checkpoints, caplog):
    checkpoints.save(1, tensors_of(1), {})
    newest = checkpoints.save(2, tensors_of(2), {})
    (newest / "policy.safetensors").write_bytes(b"")
    assert checkpoints.newest().step == 1
    assert "policy.safetensors was changed" in caplog.text
    assert "Going on from step 1" in caplog.text
    assert names(checkpoints)[0].startswith("damaged-step-00000002")
    checkpoints.save(2, tensors_of(2), {})
    assert checkpoints.newest().step == 2


def test_another_runs_checkpoint_is_not_taken(checkpoints, tmp_path, caplog):
    other = Checkpoints(folder=tmp_path / "other", run_id="b", keep=2)
    shutil.copytree(other.save(9, TENSORS, {}), checkpoints.folder / "step-00000009-0123456789abcdef")
    checkpoints.save(1, TENSORS, {})
    assert checkpoints.newest().step == 1
    assert "manifest was changed" in caplog.text
    shutil.copytree(other.save(9, TENSORS, {}), checkpoints.folder / other.newest().path.name)
    assert checkpoints.newest().step == 1
    assert "belongs to another run than run.json names" in caplog.text


def test_half_written_ones_are_swept(checkpoints):
    checkpoints.save(1, TENSORS, {})
    shutil.copytree(checkpoints.newest().path, checkpoints.folder / ".tmp-step-00000002")
    assert checkpoints.newest().step == 1
    assert len(names(checkpoints)) == 1


@pytest.mark.parametrize(
    "point, newest, left",
    [("after_tensors", 1, 1), ("after_manifest", 1, 1), ("before_rename", 1, 1), ("after_rename", 2, 2), ("prune", 2, 1)],
)
def test_killed_inside_the_write(tmp_path, point, newest, left):
    checkpoints = Checkpoints(folder=tmp_path / "checkpoints", run_id="a", keep=1)
    checkpoints.save(1, tensors_of(1), {})
    child = os.fork()
    if child == 0:
        os.environ["VIDEOCHAT_R1_FAILPOINT"] = f"ckpt:{point}"
        try:
            checkpoints.save(2, tensors_of(2), {})
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    loaded = checkpoints.newest()
    assert loaded.step == newest
    assert torch.equal(loaded.tensors["policy"]["w"], tensors_of(newest)["policy"]["w"])
    assert len(names(checkpoints)) == left


def test_sizes_are_told_in_the_unit_that_shows_them():
    assert [disk_text(count) for count in (0, 700 << 10, 1 << 29, 5 << 29)] == ["0 kB", "700 kB", "512.0 MB", "2.5 GB"]


@pytest.mark.parametrize("failing", ["fsync", "rename", "mkdir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_leaves_the_previous_one(checkpoints, monkeypatch, failing, code):
    checkpoints.save(1, TENSORS, {})

    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, refuse)
        with pytest.raises(NotWritten, match=r"[kM]B needed, .* [MG]B free"):
            checkpoints.save(2, TENSORS, {})
        assert len(names(checkpoints)) == 1
    assert checkpoints.newest().step == 1
    checkpoints.save(2, TENSORS, {})
    assert checkpoints.newest().step == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a child with a limit of its own")
def test_a_file_system_that_is_full_in_the_middle_of_the_tensors(checkpoints):
    import resource

    checkpoints.save(1, TENSORS, {})
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            checkpoints.save(2, {"policy": {"w": torch.zeros(10_000)}}, {})
        except NotWritten:
            os._exit(42)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert len(names(checkpoints)) == 1
    assert checkpoints.newest().step == 1
