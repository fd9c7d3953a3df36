"""Charades-STA: sentences about home videos, each with the span it happens in.

{"AO8RW": {"duration": 33.75, "timestamps": [[0.0, 6.9]], "sentences": ["a person is putting a book on a shelf."]}}

Gao et al. 2017, arXiv:1705.02101, in the JSON form of VideoChat-R1. Sentences are kept as published; ids are VIDEO/INDEX."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from videochat_r1.datasets.base import Dataset, DataSource, Item, Row, read_items


def rows(source: DataSource) -> Iterator[Row]:
    """A row for each sentence."""
    return captioned(read_items(Path(source.annotations), "object"))


def captioned(items: Iterable[Item]) -> Iterator[Row]:
    """The rows of a file of VIDEO: {"duration", "timestamps", "sentences"} entries, the video's file being VIDEO.mp4."""
    for item in items:
        entry = item.value
        spans = entry.get("timestamps") if isinstance(entry, dict) else None
        sentences = entry.get("sentences") if isinstance(entry, dict) else None
        if not isinstance(spans, list) or not isinstance(sentences, list):
            detail = "an entry has duration, timestamps (a list of [start, end]) and sentences (a list of texts)"
            yield Row(None, item.line, (("row_malformed", detail),), item.key or "")
            continue
        findings = []
        if len(spans) != len(sentences):
            findings.append(("lengths_differ", f"{len(spans)} timestamps for {len(sentences)} sentences"))
        for index, (span, sentence) in enumerate(zip(spans, sentences, strict=False)):
            value = {
                "id": f"{item.key}/{index}",
                "video": f"{item.key}.mp4",
                "question": sentence,
                "answer": {"spans": [span]},
                "duration_s": entry.get("duration"),
            }
            yield Row(value, item.line, tuple(findings), duration_due=True)
        if findings and not (spans and sentences):
            yield Row(None, item.line, tuple(findings), item.key or "")


DATASET = Dataset(name="charades_sta", task="temporal_grounding", rows=rows, tasks=("temporal_grounding",))
