"""Charades-STA: sentences about home videos, each with the span it happens in.

{"AO8RW": {"duration": 33.75, "timestamps": [[0.0, 6.9]], "sentences": ["a person is putting a book on a shelf."]}}

Gao et al. 2017, arXiv:1705.02101, in the JSON form of VideoChat-R1. Sentences are kept as published; ids are VIDEO/INDEX.

Or in the official form, lines such as "AO8RW 0.0 6.9##a person is putting a book on a shelf." (charades_sta_test.txt of
github.com/jiyanggao/TALL). It has no durations: they are taken from the column "length" of Charades_v1_test.csv (or _train) of Charades,
where that lies beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from videochat_r1.datasets.base import Dataset, DataSource, Item, Row, read_items, read_rows
from videochat_r1.datasets.base.examine import Finding
from videochat_r1.datasets.base.json_text import read_text
from videochat_r1.rewards.numbers import read_number


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each sentence."""
    path = Path(source.annotations)
    return _official(path) if path.suffix.lower() == ".txt" else captioned(read_items(path, "object"))


def _official(path: Path) -> Iterator[Row]:
    """The rows of an official text file."""
    lengths = _lengths(path.with_name(f"Charades_v1_{'train' if 'train' in path.stem else 'test'}.csv"))
    seen: Counter[str] = Counter()
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        place, parted, sentence = line.partition("##")
        words = place.split()
        if not parted or len(words) != 3:
            detail = 'a line is "VIDEO START END##SENTENCE"'
            yield Row(None, number, (("row_malformed", detail),), words[0][:40] if words else "")
            continue
        video, start, end = words
        seconds = [read_number(word) for word in (start, end)]
        value = {
            "id": f"{video}/{seen[video]}",
            "video": f"{video}.mp4",
            "question": sentence,
            "answer": {"spans": [[read if read is not None else word for read, word in zip(seconds, (start, end), strict=True)]]},
            "duration_s": lengths.get(video),
        }
        seen[video] += 1
        yield Row(value, number, duration_due=bool(lengths))


def _lengths(path: Path) -> dict[str, float]:
    """Video -> seconds, from the table of Charades; empty where it is not there."""
    if not path.is_file():
        return {}
    rows = (item.value for item in read_rows(path) if isinstance(item.value, dict))
    pairs = ((row.get("id", ""), read_number(row.get("length", ""))) for row in rows)
    return {video: length for video, length in pairs if length}


def captioned(
    items: Iterable[Item],
    *,
    times: str = "timestamps",
    texts: str = "sentences",
    folder: str = "",
    meta: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Row]:
    """The rows of a file of VIDEO: {"duration", TIMES, TEXTS} entries, the video's file being FOLDER + VIDEO.mp4. meta: of every row."""
    for item in items:
        entry = item.value
        spans = entry.get(times) if isinstance(entry, dict) else None
        sentences = entry.get(texts) if isinstance(entry, dict) else None
        if not isinstance(spans, list) or not isinstance(sentences, list):
            detail = f"an entry has duration, {times} (a list of [start, end]) and {texts} (a list of texts)"
            yield Row(None, item.line, (("row_malformed", detail),), item.key or "")
            continue
        findings: tuple[Finding, ...] = ()
        if len(spans) != len(sentences):
            findings = (("lengths_differ", f"{len(spans)} {times} for {len(sentences)} {texts}"),)
        for index, (span, sentence) in enumerate(zip(spans, sentences, strict=False)):
            value = {
                "id": f"{item.key}/{index}",
                "video": f"{folder}{item.key}.mp4",
                "question": sentence,
                "answer": {"spans": [span]},
                "duration_s": entry.get("duration"),
                "meta": dict(meta),
            }
            yield Row(value, item.line, findings, duration_due=True)
        if findings and not (spans and sentences):
            yield Row(None, item.line, findings, item.key or "")


DATASET = Dataset(name="charades_sta", task="temporal_grounding", rows=rows, tasks=("temporal_grounding",))
