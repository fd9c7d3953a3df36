"""Texts that end a completion: looked for as tokens come in, and found at the same token however many came in at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class StopTexts:
    """Looks for texts in growing completions. `found`: for each completion that holds one, its tokens up to the one that finished it."""

    def __init__(self, texts: Sequence[str], tokenizer: Any) -> None:
        self.texts, self.tokenizer = tuple(texts), tokenizer
        # A token holds one byte at least, so a text spans no more tokens than it has bytes; and three more, for a character that is cut.
        self.reach = max((len(text.encode()) for text in texts), default=0) + 3
        self.found: dict[int, int] = {}
        self._looked: dict[int, int] = {}

    def look(self, ids_AT: Tensor, lengths: Sequence[int]) -> dict[int, int]:
        """The completions in which a text stands now and did not before. lengths: tokens of each so far."""
        fresh: dict[int, int] = {}
        for index, length in enumerate(lengths):
            before = self._looked.get(index, 0)
            if index in self.found or length <= before:
                continue
            self._looked[index] = length
            ids = ids_AT[index, max(0, before - self.reach) : length].tolist()
            if self._stands_in(ids):
                offset = length - len(ids)
                first = next(end for end in range(before - offset, length - offset) if self._stands_in(ids[: end + 1]))
                fresh[index] = offset + first + 1
        self.found |= fresh
        return fresh

    def _stands_in(self, ids: Sequence[int]) -> bool:
        written = self.tokenizer.decode(ids, skip_special_tokens=True)
        return any(text in written for text in self.texts)
