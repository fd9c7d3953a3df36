"""Answers by content: a run that was killed goes on where it stopped, and an answer is never taken for another question's.

An answer's key is the SHA-256 of all that it follows from: the model's files, the words asked and where they stand, the video file and
how its clip is sampled, how tokens are drawn, and the seed. Rows are appended a batch at a time; a last line that a kill cut short is
dropped."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import TracebackType
from typing import IO, Any

from videochat_r1.errors import EnvironmentFault, UserFault

WHOLE_BYTES = 8 << 20
"""Files up to this size are hashed whole; of a larger video its size and BLOCKS evenly spread blocks."""
BLOCKS, BLOCK_BYTES = 64, 1 << 16
MODEL_FILES = ("*.json", "*.txt", "*.jinja", "*.safetensors")


def digest(value: Any) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("utf-8", "backslashreplace")).hexdigest()


class VideoDigests:
    """What stands for the content of a video in a key; each file is read once as long as its size and time of change stay."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], str] = {}

    def __call__(self, path: str) -> str:
        """Hexadecimal; "missing" where there is nothing at the path, "unreadable" where it may not be read, and "irregular" for a pipe or a
        device, which may never end."""
        try:
            stat = os.stat(path)
            if not S_ISREG(stat.st_mode) and not S_ISDIR(stat.st_mode):
                return "irregular"
            key = (path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
            if key not in self._known:
                self._known[key] = _folder_digest(path) if os.path.isdir(path) else _file_digest(path, stat.st_size)
            return self._known[key]
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return "missing"
        except OSError:
            return "unreadable"


def _file_digest(path: str, size: int, *, whole: bool = False) -> str:
    with open(path, "rb") as file:
        if whole or size <= WHOLE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        found = hashlib.sha256(str(size).encode())
        for block in range(BLOCKS):
            file.seek(block * (size - BLOCK_BYTES) // (BLOCKS - 1))
            found.update(file.read(BLOCK_BYTES))
        return found.hexdigest()


def _folder_digest(path: str) -> str:
    """Of a folder of numbered pictures: each one's name and content, of large ones as of videos."""
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_file())
    parts = [(name, _file_digest(os.path.join(path, name), os.path.getsize(os.path.join(path, name)))) for name in names]
    return digest(parts)


def model_digest(path: str, *, whole: bool = True) -> str:
    """SHA-256 over all files of a model that its answers follow from; of an adapter and of its base. Raises as model_folder does.

    whole: every byte, as answers that are kept need it. False takes large files in parts, as those of videos: enough to tell one model
    from another, and quick however large they are."""
    from videochat_r1.policy.processing import ADAPTER_FILE, base_of_adapter, model_folder

    folder = model_folder(path, weights=True)
    files = sorted({file for pattern in MODEL_FILES for file in folder.glob(pattern)})
    parts = [(file.name, _file_digest(str(file), file.stat().st_size, whole=whole)) for file in files]
    below = model_digest(base_of_adapter(folder), whole=whole) if (folder / ADAPTER_FILE).is_file() else ""
    return digest([parts, below])


def base_digest(adapter: Path) -> str:
    """What stands for the base model of a PEFT adapter's folder; "" for a model that is none, and for a base that is no folder here."""
    from videochat_r1.policy.processing import base_of_adapter

    try:
        base = base_of_adapter(adapter)
        return model_digest(base, whole=False) if os.path.isdir(base) else ""
    except (OSError, UserFault):  # loading it tells why
        return ""


class AnswerCache:
    """Answers of one model in a folder. Use it as a context manager; several processes have a file each, and read all of them.

    facts: what all its answers follow from beside their question, such as the model's digest; part of every key."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], rank: int = 0) -> None:
        self.facts = digest(facts)
        self.path = folder / ("answers.jsonl" if rank == 0 else f"answers.{rank}.jsonl")
        self.videos = VideoDigests()
        self.rows: dict[str, Mapping[str, Any]] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> AnswerCache:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise EnvironmentFault(
                f"{self.path.parent} is in use by another evaluation.", "Wait for it, or choose another --out."
            ) from None
        except OSError as fault:
            self._close()
            raise EnvironmentFault(f"{self.path} cannot be written: {fault.strerror}.", "Choose another folder with --out.") from None
        whole = self.path.read_bytes()
        if not whole.endswith(b"\n") and whole:
            os.truncate(self.path, whole.rfind(b"\n") + 1)
        for path in sorted(self.path.parent.glob("answers*.jsonl")):
            self.rows |= _rows(path)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what a full disk refused was told, and is cut off at the next start
                self._file.close()
            self._file = None

    def key(self, question: Mapping[str, Any]) -> str:
        """The key of an answer. question: what it follows from beside the facts of the cache, as JSON."""
        return digest([self.facts, dict(question)])

    def keep(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows, each with its "key", in one write. Raises EnvironmentFault where the disk refuses."""
        from videochat_r1.grpo.log import json_line

        assert self._file is not None, "outside of the with-block"
        new = list(rows)
        try:
            self._file.write(b"".join(map(json_line, new)))
            self._file.flush()
        except OSError as fault:
            raise EnvironmentFault(f"{self.path} cannot be written: {fault.strerror}.", "Make room; the same command goes on.") from None
        self.rows |= {row["key"]: row for row in new}


def _rows(path: Path) -> dict[str, Mapping[str, Any]]:
    """By key; lines that are no row are left out: they are answered again."""
    found: dict[str, Mapping[str, Any]] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line) if line.endswith(b"\n") else None
            if isinstance(row, dict) and isinstance(row.get("key"), str) and isinstance(row.get("text"), str):
                found[row["key"]] = row
    return found
