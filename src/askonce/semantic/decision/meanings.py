"""Which answers were found to be the same.

Of models that word an answer differently each time, hardly two answers are equal texts. What a judge finds the same
has one meaning; the candidates near a question are weighed by meaning. Each question keeps its own answer.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from askonce.semantic.types import IndexedQuery

_MOST = 100_000
_SIZE = 16

Meant = tuple[bytes, bytes]
"""The first 16 bytes of a question's key, and the 16 bytes of its answer's meaning."""


class Meanings:
    """The meanings of answers, by question. By default it is the first 16 bytes of the answer's key.

    Not thread-safe.
    """

    def __init__(self, meant: Iterable[Meant] = ()) -> None:
        self._of: dict[bytes, bytes] = {}
        self._count: Counter[bytes] = Counter()
        self.take(meant)

    def of(self, query: IndexedQuery) -> bytes:
        """The meaning of a question's answer."""
        answer = query.answer[:_SIZE]
        return self._of.get(query.key[:_SIZE]) or self._of.get(answer, answer)

    def joined(self, meaning: bytes) -> int:
        """How many questions were found to have an answer of a meaning, the first one not counted."""
        return self._count[meaning]

    def join(self, key: bytes, meaning: bytes) -> Meant:
        """Note that the answer to the question with a key has a meaning; returns what others are to know."""
        meant = key[:_SIZE], meaning
        self.take([meant])
        return meant

    def renew(self, key: bytes) -> Meant | None:
        """Note that the question with a key has another answer; returns what others are to know, if anything."""
        short = key[:_SIZE]
        if short in self._of or self._count[short]:
            return self.join(key, os.urandom(_SIZE))
        return None

    def take(self, meant: Iterable[Meant]) -> None:
        """Take in what was noted, here or elsewhere."""
        for key, meaning in meant:
            self.forget(key)
            self._of[key] = meaning
            self._count[meaning] += 1
            if len(self._of) > _MOST:
                self.forget(next(iter(self._of)))

    def forget(self, key: bytes) -> None:
        """Forget a question."""
        meaning = self._of.pop(key[:_SIZE], None)
        if meaning is not None:
            self._count[meaning] -= 1
            if not self._count[meaning]:
                del self._count[meaning]

    def all(self) -> list[Meant]:
        """All that is noted, oldest first."""
        return list(self._of.items())
