"""The names nearest to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """At most `count` known names that a slip of the fingers turns into `word`, the likeliest first; none where nothing is alike.

    Ranked by edit distance, then by likeness (difflib): in words of two or three letters one slip is half of the word."""
    bare = _bare(word)
    ranked = []
    for name in dict.fromkeys(known):
        distance, likeness = edits(bare, _bare(name)), difflib.SequenceMatcher(None, bare, _bare(name)).ratio()
        if distance <= max(1, max(len(bare), len(name)) // 3) or likeness >= 0.7:
            ranked.append((distance, -likeness, name))
    return [name for _, _, name in sorted(ranked)[:count]]


def did_you_mean(word: str, known: Iterable[str], show: str = "{}") -> str:
    """A sentence that names the nearest known words, or all of them. show: how a name is written, such as "--{}"."""
    names = list(known)
    close = near(word, names)
    if not close:
        return f"Known: {', '.join(show.format(name) for name in names)}." if names else ""
    return f"Did you mean {' or '.join(show.format(name) for name in close)}?"


def edits(first: str, second: str) -> int:
    """Letters put in, left out, changed, or swapped with their neighbour between two words (optimal string alignment distance)."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        before, above, row = row, before, [i]
        for j, b in enumerate(second, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                best = min(best, above[j - 2] + 1)
            row.append(best)
    return row[-1]


def _bare(word: str) -> str:
    return word.lower().replace("-", "_")
