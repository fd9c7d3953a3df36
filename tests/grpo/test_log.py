"""The run folder: one process at a time, whole rows only, and clear words when the folder fails."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from videochat_r1.errors import EnvironmentFault, UsageError
from videochat_r1.grpo.log import RowLog, RunFolder, json_line, read_rows, timing_keys, write_whole

HOLD = """
import sys, time
from videochat_r1.grpo.log import RunFolder
folder = RunFolder(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""

LOOK = """
import sys
from videochat_r1.grpo.config import TrainConfig
from videochat_r1.grpo.log import RunFolder
RunFolder(sys.argv[1])
sys.exit("torch" in sys.modules)
"""


def test_rows_are_strict_json_whatever_a_model_wrote():
    line = json_line({"text": 'a "quote"\n\ud800 \x00 你好', "loss": math.nan, "more": {"x": [math.inf, 1.5]}})
    assert line.count(b"\n") == 1
    row = json.loads(line)
    assert row == {"text": 'a "quote"\n\ud800 \x00 你好', "loss": None, "more": {"x": [None, 1.5]}}
    assert "你好".encode() in line


def test_what_was_not_committed_is_cut(tmp_path):
    log = RowLog(tmp_path / "metrics.jsonl")
    log.append([{"step": 1}])
    size = log.commit()
    log.append([{"step": 2}])
    log.commit()
    log.cut(size)
    log.append([{"step": 2, "again": True}])
    assert read_rows(log.path) == [{"step": 1}, {"step": 2, "again": True}]
    log.close()


def test_a_full_disk_leaves_no_half_row_and_loses_none(tmp_path, monkeypatch, caplog):
    log = RowLog(tmp_path / "metrics.jsonl")
    log.append([{"step": 1}])

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, content):
            self.file.write(bytes(content[:3]))
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            self.file.close()

    real, log._file = log._file, Full(log._file)
    log.append([{"step": 2}])
    assert "No space left on device" in caplog.text
    assert log.path.read_bytes() == b'{"step":1}\n'
    with pytest.raises(OSError, match="No space left"):
        log.commit()
    log._file = real
    log.append([{"step": 3}])
    assert [row["step"] for row in read_rows(log.path)] == [1, 2, 3]
    log.close()


def test_a_log_shorter_than_committed_is_said(tmp_path, caplog):
    log = RowLog(tmp_path / "metrics.jsonl")
    log.append([{"step": 1}])
    log.cut(500)
    assert "shorter" in caplog.text


@pytest.mark.parametrize("left", [0, 5, 11, 15])
def test_a_log_that_was_cut_short_loses_no_later_row(tmp_path, left):
    path = tmp_path / "metrics.jsonl"
    log = RowLog(path)
    log.append([{"step": 1}, {"step": 2}])
    size = log.commit()
    log.close()
    os.truncate(path, left)
    log = RowLog(path)
    log.cut(size)
    log.append([{"step": 3}])
    assert [row["step"] for row in read_rows(path)] == [1, 3][left < 11 :]
    assert log.commit() == path.stat().st_size
    log.close()


def test_keys_of_time_and_machine():
    assert timing_keys({"step": 1, "reward": 1.0, "seconds/step": 2.0, "memory/rss_mb": 3, "throughput/tokens_per_second": 1.0}) == {
        "seconds/step",
        "memory/rss_mb",
        "throughput/tokens_per_second",
    }


def test_a_second_run_is_refused_and_a_killed_one_lets_go(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentFault, match=rf"in use by process {process.pid} on .+, started 20\d\d-") as refusal:
            RunFolder(folder, resume=True)
        assert refusal.value.exit_code == 4
        process.send_signal(signal.SIGKILL)
        process.wait()
        RunFolder(folder, resume=True).close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_folder_with_a_run_is_not_begun_again(tmp_path):
    with RunFolder(tmp_path) as folder:
        run_id = folder.run_id
    with RunFolder(tmp_path) as folder:  # no step was taken: the folder is free
        folder.logs["metrics.jsonl"].append([{"step": 1}])
    with pytest.raises(UsageError, match="already holds a run"):
        RunFolder(tmp_path)
    with RunFolder(tmp_path, resume=True) as folder:
        assert folder.run_id == run_id


def test_a_run_that_did_nothing_leaves_no_folder_where_there_was_none(tmp_path):
    with pytest.raises(UsageError), RunFolder(tmp_path / "new") as folder:
        write_whole(folder.path / "recipe.toml", b"")
        raise UsageError("The model is not there.", "")
    assert not (tmp_path / "new").exists()
    for kept, made in (("step", "metrics.jsonl"), ("own", "notes.txt"), ("before", "")):
        (tmp_path / kept).mkdir() if kept == "before" else None
        with pytest.raises(UsageError), RunFolder(tmp_path / kept) as folder:
            if made:
                (folder.path / made).write_text("x")
            raise UsageError("What came later.", "")
        assert (tmp_path / kept / made).exists() and (tmp_path / kept / "run.json").exists()


def test_a_disk_that_refuses_the_draft_and_its_removal_is_said(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(EnvironmentFault, match="Read-only file system"):
        write_whole(tmp_path / "run.json", b"{}")


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentFault, match="cannot be written: Permission denied"):
        RunFolder(tmp_path)


def test_a_folder_that_vanishes_is_said(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.require_present()
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(EnvironmentFault, match="removed or replaced"):
        folder.require_present()
    folder.close()


def test_a_folder_in_a_logs_place_is_said(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(EnvironmentFault, match=r"metrics\.jsonl is a folder"):
        RunFolder(tmp_path, resume=True)


def test_a_damaged_run_json_is_said(tmp_path):
    RunFolder(tmp_path).close()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(EnvironmentFault, match="damaged"):
        RunFolder(tmp_path, resume=True)


@pytest.mark.parametrize("harm, said", [(Path.unlink, "is not there"), (lambda path: path.write_text("{}"), "is damaged")])
def test_a_run_json_that_no_longer_names_the_run_can_be_written_again(tmp_path, harm, said):
    with RunFolder(tmp_path) as folder:
        run_id = folder.run_id
    (tmp_path / "checkpoints" / "step-00000002-0").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000002-0" / "manifest.json").write_text(json.dumps({"run": run_id}))
    harm(tmp_path / "run.json")
    with pytest.raises(EnvironmentFault, match=rf"run\.json {said}\. It names the run") as told:
        RunFolder(tmp_path, resume=True)
    line = told.value.mend.removeprefix("To go on from step-00000002-0, write this line into the file: ")
    (tmp_path / "run.json").write_text(line)
    with RunFolder(tmp_path, resume=True) as folder:
        assert folder.run_id == run_id


def test_the_folder_is_found_out_before_torch_is_imported(tmp_path):
    assert subprocess.run([sys.executable, "-c", LOOK, str(tmp_path / "run")], check=False).returncode == 0
