"""Judgements that were had, kept in an SQLite file: a second run, a resumed one, and several at once pay for each only once.

Only whole judgements are kept, never failures, keys or what was sent: a row is a hash and the labels or events. A row is read as strictly
as a reply; one that does not hold what it should is asked for again. A cache that gives out is noted, and the run goes on without it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from videochat_r1.errors import EnvironmentFault

NOTES = logging.getLogger("videochat_r1.judge")
BUSY_S = 5.0  # how long a writer waits for another process
_TABLE = "CREATE TABLE IF NOT EXISTS judgements (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


class Cache:
    """{key: JSON value} in a file, or in memory for path None. Safe among processes (write-ahead log) and threads.

    Raises EnvironmentFault where the file cannot be opened or is no such cache."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._memory: dict[str, str] = {}
        self._pid = os.getpid()
        self._file = self._opened(path) if path is not None else None

    @staticmethod
    def _opened(path: Path) -> sqlite3.Connection:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            for command in (
                f"PRAGMA busy_timeout = {int(1000 * BUSY_S)}",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = NORMAL",
                _TABLE,
            ):
                file.execute(command)
            file.execute("SELECT key, value FROM judgements LIMIT 1").fetchone()
            return file
        except (sqlite3.Error, OSError) as fault:
            what = f"The judge's cache {path} cannot be used: {getattr(fault, 'strerror', None) or fault}."
            raise EnvironmentFault(what, "Name another file in judge.cache, or move this one away.") from None

    def get(self, key: str) -> Any:
        """The value kept under a key, or None."""
        with self._lock:
            text = self._memory.get(key)
            if text is None and (file := self._own()) is not None:
                try:
                    row = file.execute("SELECT value FROM judgements WHERE key = ?", (key,)).fetchone()
                except sqlite3.Error as fault:
                    return self._gave_out(fault)
                text = row[0] if row is not None and isinstance(row[0], str) else None
        if text is None:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None

    def put(self, key: str, value: Any) -> None:
        """Keep a value; one that another process kept meanwhile is replaced."""
        text = json.dumps(value)
        with self._lock:
            if self.path is None:
                self._memory[key] = text
            elif (file := self._own()) is not None:
                try:
                    file.execute("INSERT OR REPLACE INTO judgements VALUES (?, ?)", (key, text))
                except sqlite3.Error as fault:
                    self._gave_out(fault)

    def close(self) -> None:
        with self._lock:
            if self._file is not None and self._pid == os.getpid():
                self._file.close()
            self._file = None

    def _own(self) -> sqlite3.Connection | None:
        """This process's connection: one from before a fork must not be used."""
        if self._file is not None and self._pid != os.getpid():
            assert self.path is not None
            self._pid = os.getpid()
            self._file = None
            with contextlib.suppress(EnvironmentFault):
                self._file = self._opened(self.path)
        return self._file

    def _gave_out(self, fault: sqlite3.Error) -> None:
        """A lock that is held too long costs one judgement; anything else (a full or vanished disk) ends the use of the file."""
        if "locked" in str(fault) or "busy" in str(fault):
            return
        NOTES.warning("The judge's cache %s is not used any more: %s.", self.path, fault)
        self._file = None
