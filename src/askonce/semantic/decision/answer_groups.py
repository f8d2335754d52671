"""Which answers were found to be the same.

Of models that word an answer differently each time, hardly two answers are equal texts. Answers that a judge found
the same form a group; the candidates near a question are weighed by group. Each question has its own answer.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from askonce.semantic.types import IndexedQuery

_MOST = 100_000
_SIZE = 16

Membership = tuple[bytes, bytes]
"""The first 16 bytes of a question's key, and the 16 bytes of its answer's group."""


class AnswerGroups:
    """The groups of answers, by question. By default it is the first 16 bytes of the answer's key.

    Not thread-safe.
    """

    def __init__(self, members: Iterable[Membership] = ()) -> None:
        self._of: dict[bytes, bytes] = {}
        self._count: Counter[bytes] = Counter()
        self.take(members)

    def of(self, query: IndexedQuery) -> bytes:
        """The group of a question's answer."""
        answer = query.answer[:_SIZE]
        return self._of.get(query.key[:_SIZE]) or self._of.get(answer, answer)

    def joined(self, group: bytes) -> int:
        """How many questions were found to have an answer of a group, the first one not counted."""
        return self._count[group]

    def join(self, key: bytes, group: bytes) -> Membership:
        """Put the answer to the question with a key into a group; returns what other processes need."""
        member = key[:_SIZE], group
        self.take([member])
        return member

    def renew(self, key: bytes) -> Membership | None:
        """Record that the question with a key has another answer; returns what others need, if anything."""
        short = key[:_SIZE]
        if short in self._of or self._count[short]:
            return self.join(key, os.urandom(_SIZE))
        return None

    def take(self, members: Iterable[Membership]) -> None:
        """Take in what was recorded, here or elsewhere."""
        for key, group in members:
            self.forget(key)
            self._of[key] = group
            self._count[group] += 1
            if len(self._of) > _MOST:
                self.forget(next(iter(self._of)))

    def forget(self, key: bytes) -> None:
        """Forget a question."""
        group = self._of.pop(key[:_SIZE], None)
        if group is not None:
            self._count[group] -= 1
            if not self._count[group]:
                del self._count[group]

    def all(self) -> list[Membership]:
        """All that is recorded, oldest first."""
        return list(self._of.items())
