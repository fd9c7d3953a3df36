"""The folder of a run: one process at a time, two logs of JSON lines that never hold half a row, and what a resume cuts off.

metrics.jsonl has a row a step, rollouts.jsonl a row a completion. A checkpoint commits how long both were; whatever was written after it
is cut off on resume, so no step is missing and none is there twice."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from videochat_r1.counting import counted
from videochat_r1.errors import EnvironmentFault, Interrupted, UsageError, UserFault
from videochat_r1.strict_json import finite

NOTES = logging.getLogger("videochat_r1")

LOGS = ("metrics.jsonl", "rollouts.jsonl")
INPUTS = "inputs.json"
_NAMES_THE_RUN = "It names the run that the checkpoints belong to."
STARTED_WITH = frozenset(("run.lock", "run.json", "recipe.toml", INPUTS))  # what a run's folder has before anything was done


def timing_keys(row: Mapping[str, Any]) -> set[str]:
    """The keys of a metrics row that a clock or the machine decides (decodes run ahead of the step by as much as the threads get done; what
    a judge was asked depends on its cache). All others are the same bits in every run of a recipe."""
    # what a cache of vision features holds, and so how often the tower runs, depends on where a process began
    cached = ("cache/", "counts/vision_passes") if any(key.startswith("cache/") for key in row) else ()
    return {key for key in row if key.startswith(("seconds", "memory/", "throughput/", "counts/decodes", "judge/", *cached))}


def json_line(row: Mapping[str, Any]) -> bytes:
    """One row as a line of strict JSON in UTF-8. Numbers that JSON has no word for (NaN, infinities) become null."""
    text = json.dumps(finite(row), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"  # a lone surrogate becomes JSON's own \udXXX


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; a last line that was never finished is left out."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


class RowLog:
    """An append-only file of JSON lines. Rows that the disk refuses are kept and written when it takes them again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = path.stat().st_size if path.exists() else 0
        self._waiting = bytearray()
        self._file: IO[bytes] | None = None

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows; a full disk is noted and leaves them waiting."""
        self._waiting += b"".join(map(json_line, rows))
        try:
            self._write()
        except OSError as error:
            NOTES.warning("%s could not be written (%s); its rows wait in memory.", self.path.name, error.strerror)

    def commit(self) -> int:
        """Bring every row to the disk and give the file's size in bytes. Raises OSError where the disk refuses."""
        self._write()
        if self._file is not None:
            os.fsync(self._file.fileno())
        return self._size

    def cut(self, size: int) -> None:
        """Drop everything after the first `size` bytes."""
        self.close()
        if size < self._size:
            os.truncate(self.path, size)
        elif size > self._size:
            NOTES.warning("%s is shorter than when the checkpoint was written: rows of earlier steps are missing.", self.path.name)
            size = self._whole_rows()
            if size < self._size:
                os.truncate(self.path, size)  # or the next row would be a part of the broken one
        self._size, self._waiting = size, bytearray()

    @property
    def waiting(self) -> int:
        """Rows that the disk has refused so far."""
        return self._waiting.count(b"\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _whole_rows(self) -> int:
        """Bytes up to the end of the last whole row."""
        return self.path.read_bytes().rfind(b"\n") + 1 if self._size else 0

    def _write(self) -> None:
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
        if not self._waiting:
            return
        try:
            rest = memoryview(bytes(self._waiting))
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            os.truncate(self.path, self._size)  # never half a row
            raise
        self._size += len(self._waiting)
        self._waiting.clear()


class RunFolder:
    """A run's folder, held for this process until it is closed (the kernel lets go of it if the process is killed).

    Raises EnvironmentFault where the folder cannot be made or written, or another process holds it; UsageError where it already has a run
    and resume is False. Open it before a model is loaded: both are found out at once.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self._is_new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EnvironmentFault(
                f"The run folder {self.path} cannot be written: {error.strerror}.", "Choose another with --out."
            ) from None
        try:
            self._hold()
            if self.has_run and not resume:
                raise UsageError(f"{self.path} already holds a run.", "Go on with it with --resume, or choose another folder with --out.")
            self._require_logs()
            self.run_id = self._identify()
            self.logs = {name: RowLog(self.path / name) for name in LOGS}
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def has_run(self) -> bool:
        """Whether a run has taken a step here before. One that ended before, for want of its model or data, leaves the folder free."""
        return any((self.path / name).exists() for name in LOGS) or self.checkpoints.exists()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and self._is_new and issubclass(kind, UserFault) and not issubclass(kind, Interrupted):
            self._clear_if_nothing_was_done()
        self.close()

    def close(self) -> None:
        """Let another process have the folder."""
        for log in self.logs.values():
            log.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def require_present(self) -> None:
        """Raise EnvironmentFault if the folder was removed or replaced while the run was going on."""
        try:
            same = os.path.samestat(os.stat(self.path / "run.lock"), os.fstat(self._lock))
        except OSError:
            same = False
        if not same:
            raise EnvironmentFault(
                f"The run folder {self.path} was removed or replaced during the run.",
                "Nothing more can be saved; start again in a folder that stays.",
            )

    def commit(self) -> dict[str, int]:
        """Bring both logs to the disk; their sizes, for a checkpoint. Raises OSError where the disk refuses."""
        return {name: log.commit() for name, log in self.logs.items()}

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Cut both logs to what a checkpoint committed; {} empties them."""
        for name, log in self.logs.items():
            log.cut(sizes.get(name, 0))

    def require_written(self, mend: str) -> None:
        """At a run's end: raise EnvironmentFault, which tells the mend, where rows of a log could not be written to the last."""
        try:
            for log in self.logs.values():
                if log.waiting:
                    log.commit()
        except OSError as error:
            lost = ", ".join(f"{counted(log.waiting, 'row')} of {log.path}" for log in self.logs.values() if log.waiting)
            raise EnvironmentFault(f"Not written, and lost: {lost} ({error.strerror}).", mend) from None

    def _require_logs(self) -> None:
        for name in LOGS:
            if (self.path / name).is_dir():
                raise EnvironmentFault(f"{self.path / name} is a folder: no row can be written there.", "Move it elsewhere.")

    def _clear_if_nothing_was_done(self) -> None:
        """A run that was refused for its recipe, data or model leaves no folder behind where there was none before."""
        with contextlib.suppress(OSError):
            if {each.name for each in self.path.iterdir()} <= STARTED_WITH:
                for name in STARTED_WITH:
                    (self.path / name).unlink(missing_ok=True)
                self.path.rmdir()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise EnvironmentFault(
                    f"The run folder {self.path} cannot be locked: {error.strerror}.", "Choose a folder on a local disk with --out."
                ) from None
            raise EnvironmentFault(
                f"The run folder {self.path} is in use by {self._holder()}.",
                "Wait for that run, stop it, or choose another folder with --out.",
            ) from None
        holder = json_line({"pid": os.getpid(), "host": socket.gethostname(), "started": time.strftime("%Y-%m-%d %H:%M:%S %z")})
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, holder, 0)
        except OSError as error:
            raise EnvironmentFault(
                f"The run folder {self.path} cannot be written: {error.strerror}.", "Make room, or choose another with --out."
            ) from None

    def _holder(self) -> str:
        try:
            holder = json.loads(os.pread(self._lock, 4096, 0))
            return f"process {holder['pid']} on {holder['host']}, started {holder['started']}"
        except (ValueError, KeyError, TypeError):
            return "another process"

    def _identify(self) -> str:
        """The run's own id: a checkpoint of any other run is never taken for this one's."""
        path = self.path / "run.json"
        if path.exists():
            try:
                return str(json.loads(path.read_bytes())["run"])
            except (ValueError, KeyError, TypeError):
                raise EnvironmentFault(f"{path} is damaged. {_NAMES_THE_RUN}", self._mended_identity()) from None
        if any(self.checkpoints.glob("step-*")):
            raise EnvironmentFault(f"{path} is not there. {_NAMES_THE_RUN}", self._mended_identity())
        run_id = uuid.uuid4().hex
        write_whole(path, json_line({"run": run_id, "created": time.strftime("%Y-%m-%d %H:%M:%S %z")}))
        return run_id

    def _mended_identity(self) -> str:
        """What to put into run.json, which the newest checkpoint that can be read says too."""
        for path in sorted(self.checkpoints.glob("step-*/manifest.json"), reverse=True):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                line = json.dumps({"run": str(json.loads(path.read_bytes())["run"])})
                return f"To go on from {path.parent.name}, write this line into the file: {line}"
        return "Choose another folder with --out."


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that after any crash it is there whole or not at all. Raises EnvironmentFault where the disk refuses."""
    draft = path.with_name(f".tmp-{path.name}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # of a disk that is read-only
            draft.unlink(missing_ok=True)
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror}.", "Make room, or choose another folder with --out.") from None


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
