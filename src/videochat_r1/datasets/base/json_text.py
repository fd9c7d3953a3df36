"""JSON and JSONL files, item by item, each with the line it stands on.

The standard library parses; what is added is what people who own the file need: where it breaks, why, and the mend. Whatever the bytes,
a file gives items or a DataError."""

from __future__ import annotations

import codecs
import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from videochat_r1.errors import DataError
from videochat_r1.spelling import near

FILE_LIMIT_BYTES = 2 << 30
LIKELY = (".json", ".jsonl", ".csv", ".parquet")
_SPACE = re.compile(r"[ \t\n\r]*")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Item:
    """One entry of the outermost list or object, or one line of a JSONL file."""

    key: str | None  # of an entry of an object
    value: Any
    line: int  # the first line of it, from 1


class OtherFormat(DataError):
    """A sound JSON file whose outside is not what the format has: it is of another data set."""


OTHER_FORMAT = "Check that --dataset names the format of this file."


class _DuplicateKey(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKey(key)
            seen.add(key)
    return whole


# NaN and Infinity, which JSON does not have but Python writes, come through as floats: the row that holds them is at fault, not the file.
_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def read_items(path: Path, outermost: Literal["list", "object"]) -> Iterator[Item]:
    """The items of a JSON or JSONL file.

    outermost: what the format has on the outside. "list" takes a JSON list or JSONL rows; "object" takes a JSON object of key: entry, or
    JSONL lines that are such objects. Raises DataError, with line and column, for a file that is missing, not UTF-8 or not JSON."""
    text, fault = _decoded(path)
    start = _skip(text, 0)
    if fault is not None:
        if start < len(text) and _is_jsonl(text, start, outermost):
            yield from _lines(path, text, outermost)  # a line that is no JSON before the one that is not UTF-8 is told first
        raise fault
    if start == len(text):
        raise DataError(f"{path}: the file is empty.", "Fetch or write it again, or give another.")
    if text.startswith("version https://git-lfs", start):
        raise DataError(f"{path}: this is a Git LFS pointer, not the file itself.", "Fetch the file's content with: git lfs pull")
    if text[start] == "<":
        raise DataError(
            f"{path}:1:1: this is a web page (HTML or XML), not JSON.", "Fetch the annotation file itself, not the page that shows it."
        )
    if _is_jsonl(text, start, outermost):
        yield from _lines(path, text, outermost)
        return
    expected = "[" if outermost == "list" else "{"
    if text[start] in "[{" and text[start] != expected:
        came = "a list" if text[start] == "[" else "an object"
        want = "a list of rows" if outermost == "list" else "an object of video: entry"
        raise OtherFormat(f"{_at(path, text, start)}: expected {want}, found {came}.", OTHER_FORMAT)
    yield from _entries(path, text, start)


def read_text(path: Path) -> str:
    """The text of a regular UTF-8 file, without a byte order mark. Raises DataError."""
    text, fault = _decoded(path)
    if fault is not None:
        raise fault
    return text


def _decoded(path: Path) -> tuple[str, DataError | None]:
    """The text of a file, or the whole lines of it before the first that is not UTF-8, and that fault. Raises DataError for a file that is
    no text or cannot be read."""
    check_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path!s}: {error.strerror or error}.", "Check the path and who may read it.") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: this is UTF-16.", f"Save it as UTF-8: iconv -f UTF-16 -t UTF-8 {path.name}")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode(), None
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise DataError(f"{path}: this is a binary file, not JSON.", "Give the JSON or JSONL file itself.") from None
        line = data.count(b"\n", 0, error.start) + 1
        before = data.rfind(b"\n", 0, error.start)
        what = f"{path}:{line}:{error.start - before}: byte 0x{data[error.start]:02x} is not UTF-8; the file looks like Latin-1."
        fault = DataError(what, f"Save it as UTF-8: iconv -f LATIN1 -t UTF-8 {path.name}")
        return data[: before + 1].decode(), fault


def check_file(path: Path) -> None:
    """Raises DataError for what is not there, is no regular file, or is too large."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(f"No file {path}.", _near(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"{path!s}: {getattr(error, 'strerror', None) or error}.", "Check the path and who may read it.") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a file.", "Give the JSON or JSONL file itself.")
    if status.st_size > FILE_LIMIT_BYTES:
        raise DataError(f"{path} has {status.st_size:,} bytes; at most {FILE_LIMIT_BYTES:,} are read.", "Split the file.")


def _near(path: Path) -> str:
    """The file that was probably meant: one whose name a slip of the fingers turns into this one. Else the annotation files beside it."""
    try:
        files = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return f"There is no folder {path.parent} either. Check the path."
    stems = set(near(path.stem, (Path(name).stem for name in files), len(files)))  # an ending that many share makes no two names alike
    if close := near(path.name, (name for name in files if Path(name).stem in stems), 1):
        return f"Did you mean {close[0]}?"
    likely = sorted(name for name in files if name.endswith(LIKELY))
    return (
        f"The folder {path.parent} holds: {', '.join(likely[:8])}."
        if likely
        else f"Check the path; {path.parent} holds no annotation file."
    )


def _is_jsonl(text: str, start: int, outermost: str) -> bool:
    """Whether every line is a value by itself, judged by the first."""
    if text[start] != "{":
        return False
    end = _LINE_END.search(text, start)
    line_end = end.start() if end else len(text)
    if outermost == "list":
        return text[start:line_end].rstrip() != "{"  # else an object written over many lines: not a list of rows
    if _skip(text, line_end) == len(text):
        return False
    try:
        _, stop = json.JSONDecoder().raw_decode(text, start)
    except (RecursionError, ValueError):
        return False
    return stop <= line_end


def _lines(path: Path, text: str, outermost: str) -> Iterator[Item]:
    start, line = 0, 1
    while start < len(text):
        end = _LINE_END.search(text, start)
        stop = end.start() if end else len(text)
        first = _skip(text, start)
        if first < stop:
            value, after = _value(path, text, first, stop)
            if _skip(text, after) < stop:
                _fail(
                    path,
                    text,
                    _skip(text, after),
                    "there is more on the line after the row",
                    "One row a line: put the rest on a line of its own.",
                )
            if outermost == "list":
                yield Item(None, value, line)
            elif isinstance(value, dict):
                yield from (Item(key, entry, line) for key, entry in value.items())
            else:
                raise OtherFormat(f"{_at(path, text, first)}: expected an object of video: entry.", OTHER_FORMAT)
        start, line = (end.end() if end else len(text)), line + 1


def _entries(path: Path, text: str, start: int) -> Iterator[Item]:
    """The entries of the list or object that begins at `start`, each parsed by itself so that its line is known."""
    close = "]" if text[start] == "[" else "}"
    if text[start] not in "[{":
        _value(path, text, start, len(text))
        _fail(path, text, start, "expected a list or an object of rows", "Check that this is the annotation file.")
    keys: set[str] = set()
    line, counted = 1, 0
    position = _skip(text, start + 1)
    first = True
    while not text.startswith(close, position):
        if not first:
            if not text.startswith(",", position):
                _expected(path, text, position, f"a comma or {close}")
            comma, position = position, _skip(text, position + 1)
            if text.startswith(close, position):
                _fail(path, text, comma, f"a comma before the closing {close}", "Delete that comma.")
        first = False
        entry_start, key = position, None
        if close == "}":
            if not text.startswith('"', position):
                _expected(path, text, position, "a key in double quotes")
            key, position = _value(path, text, position, len(text))
            if key in keys:
                _duplicate(path, text, entry_start, key)
            keys.add(key)
            position = _skip(text, position)
            if not text.startswith(":", position):
                _expected(path, text, position, "a colon after the key")
            position = _skip(text, position + 1)
        value, position = _value(path, text, position, len(text))
        line, counted = line + text.count("\n", counted, entry_start), entry_start
        yield Item(key, value, line)
        position = _skip(text, position)
    after = _skip(text, position + 1)
    if after < len(text):
        _fail(path, text, after, f"there is more after the closing {close}", "Remove what follows, or put one row a line (JSONL).")


def _value(path: Path, text: str, start: int, limit: int) -> tuple[Any, int]:
    """The value that begins at `start` and the position after it. `limit` is where it must have ended."""
    try:
        if start >= len(text):
            raise json.JSONDecodeError("Expecting value", text, start)
        value, stop = _DECODER.raw_decode(text, start)
    except RecursionError:
        _fail(path, text, start, "values are nested too deep", "An annotation nests a few levels; check that this is the annotation file.")
    except _DuplicateKey as error:
        second = list(re.finditer(re.escape(json.dumps(error.key, ensure_ascii=False)) + r"\s*:", text[start:limit]))
        _duplicate(path, text, start + second[1].start() if len(second) > 1 else start, error.key)
    except json.JSONDecodeError as error:
        _broken(path, text, error, limit)
    except ValueError as error:  # an integer of thousands of digits
        _fail(path, text, start, str(error).split(";")[0][:200], "Check the numbers of this entry.")
    if stop > limit:
        _fail(
            path,
            text,
            limit,
            "the row is cut off at the end of its line",
            "One whole row a line; fetch the file again if it was cut short.",
        )
    return value, stop


def _broken(path: Path, text: str, error: json.JSONDecodeError, limit: int) -> NoReturn:
    position = min(error.pos, len(text))
    if error.msg.startswith("Unterminated string") or _skip(text, position) >= limit:
        end = len(text[:limit].rstrip())
        _fail(
            path,
            text,
            end,
            "the file or line ends in the middle of a value",
            "It was cut short: fetch it again, or delete the unfinished row.",
        )
    before = text[:position].rstrip()
    if before.endswith(",") and text[position : position + 1] in ("]", "}"):
        _fail(path, text, len(before) - 1, f"a comma before the closing {text[position]}", "Delete that comma.")
    if error.msg.startswith("Illegal trailing comma"):  # how Python 3.13 and later put it
        _fail(path, text, position, "a comma before the closing bracket", "Delete that comma.")
    if text[position : position + 1] == "'":
        _fail(
            path,
            text,
            position,
            "a single quote",
            'JSON has double quotes only. A Python literal is saved as JSON with: json.dump(rows, open(path, "w"))',
        )
    _fail(path, text, position, error.msg[0].lower() + error.msg[1:], "Mend the file there.")


def _expected(path: Path, text: str, position: int, what: str) -> NoReturn:
    if position >= len(text):
        _fail(path, text, len(text.rstrip()), "the file ends in the middle of a value", "It was cut short: fetch it again.")
    _fail(path, text, position, f"expected {what}, found {text[position]!r}", "Mend the file there.")


def _duplicate(path: Path, text: str, position: int, key: str) -> NoReturn:
    _fail(
        path,
        text,
        position,
        f"the key {key[:80]!r} stands twice in one object",
        "Keep one of the two: a reader would silently drop the other.",
    )


def _fail(path: Path, text: str, position: int, reason: str, mend: str) -> NoReturn:
    raise DataError(f"{_at(path, text, position)}: {reason}.", mend) from None


def _at(path: Path, text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"{path}:{line}:{position - text.rfind(chr(10), 0, position)}"


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
