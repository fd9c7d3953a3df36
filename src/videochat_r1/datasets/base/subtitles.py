"""What is said in a video: subtitle files beside its annotations, as the text that goes before the question.

Read are SubRip files (Video-MME) and the JSON of LongVideoBench, a list of {"start": "00:00:01.2", "end": ..., "line": ...} or
{"timestamp": [1.2, 3.4], "text": ...}. A file of another kind gives no lines, and a finding says so: a question can be asked without."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from videochat_r1.datasets.base.defects import printable
from videochat_r1.datasets.base.examine import Finding
from videochat_r1.datasets.base.source import DataSource
from videochat_r1.rewards.numbers import read_seconds

FILE_LIMIT_BYTES = 16 << 20
NONE = "No subtitles available"
"""What stands in a prompt for a video without subtitles, as in Video-MME's."""

_TIMES = re.compile(r"(\d{1,3}:\d{2}:\d{2})[,.](\d{1,3})[ \t]{1,4}-->[ \t]{1,4}(\d{1,3}:\d{2}:\d{2})[,.](\d{1,3})")
_MARKUP = re.compile(r"<[^<>]{1,200}>|\{\\[^{}]{1,200}\}")


@dataclass(frozen=True)
class Line:
    """One subtitle, in seconds of the video."""

    start_s: float
    end_s: float
    text: str


def subtitles_of(source: DataSource, name: Any, start_s: float = 0.0) -> tuple[str, tuple[Finding, ...]]:
    """The subtitles of one video as text, a line each, and what is wrong with them; "" where the source asks for none.

    name: the file in the source's folder of subtitles. start_s: where the video begins in what the subtitles count from."""
    if not source.subtitles:
        return "", ()
    if not isinstance(name, str) or not PurePosixPath(name).name or "\0" in name:
        return NONE, (("subtitles_missing", f"{printable(name, 60)!r} is not the name of a subtitle file"),)
    path = os.path.join(source.subtitles, PurePosixPath(name).name)  # the last part alone: an annotation opens no file elsewhere
    lines = _read(path)
    if isinstance(lines, str):
        return NONE, (("subtitles_missing", lines),)
    lines = tuple(Line(line.start_s - start_s, line.end_s - start_s, line.text) for line in lines if line.end_s > start_s)
    if source.subtitle_lines:
        lines = spoken_at(lines, source.subtitle_lines)
    return "\n".join(line.text for line in lines) or NONE, ()


def spoken_at(lines: Sequence[Line], moments: int) -> tuple[Line, ...]:
    """The lines that are spoken at so many moments, evenly from 0 to the end of the last line: Video-MME gives a model that sees N frames
    the subtitles of those N moments."""
    if not lines:
        return ()
    end_s = max(line.end_s for line in lines)
    asked = [end_s * index / max(moments - 1, 1) for index in range(moments)]
    return tuple(line for line in lines if any(line.start_s <= moment < line.end_s for moment in asked))


@lru_cache(maxsize=4)
def _read(path: str) -> tuple[Line, ...] | str:
    """The lines of a file, or what is wrong with it. Several questions about a video follow each other in the annotations."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        return f"{printable(path)}: {getattr(error, 'strerror', None) or error}"
    if len(data) > FILE_LIMIT_BYTES:
        return f"{printable(path)} has more than {FILE_LIMIT_BYTES:,} bytes"
    text = data.decode("utf-8-sig", errors="replace")
    lines = _json(text) if path.lower().endswith(".json") else _srt(text)
    return lines if lines is not None else f"{printable(path)} holds no subtitles that can be read"


def _srt(text: str) -> tuple[Line, ...] | None:
    lines: list[Line] = []
    for block in re.split(r"\r?\n[ \t]*\r?\n", text):
        found = _TIMES.search(block)
        if found is None:
            continue
        start, start_ms, end, end_ms = found.groups()
        said = " ".join(_MARKUP.sub("", block[found.end() :]).split())
        start_s, end_s = read_seconds(f"{start}.{start_ms}"), read_seconds(f"{end}.{end_ms}")
        if said and start_s is not None and end_s is not None:
            lines.append(Line(start_s, end_s, said))
    return tuple(lines) if lines or not text.strip() else None


def _json(text: str) -> tuple[Line, ...] | None:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(rows, list):
        return None
    lines = [line for row in rows if isinstance(row, dict) and (line := _json_line(row)) is not None]
    return tuple(lines) if lines or not rows else None


def _json_line(row: dict[Any, Any]) -> Line | None:
    said = row.get("text") if "timestamp" in row else row.get("line")
    times = row.get("timestamp") if "timestamp" in row else [row.get("start"), row.get("end")]
    if not isinstance(said, str) or not isinstance(times, list) or len(times) != 2:
        return None
    start_s, end_s = (_seconds(time) for time in times)
    said = " ".join(_MARKUP.sub("", said).split())
    if not said or start_s is None:
        return None
    return Line(start_s, start_s + 1e6 if end_s is None else end_s, said)  # an open end: to the end of the video


def _seconds(time: Any) -> float | None:
    if isinstance(time, str):
        return read_seconds(time)
    return float(time) if isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time < 1e9 else None
