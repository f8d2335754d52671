"""The plain values that the parts of the semantic cache hand to one another."""

from __future__ import annotations

from dataclasses import dataclass

from askonce.entries.entry import Entry


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and all that must be equal for another answer to do.

    Attributes:
        text: what is compared by its meaning.
        partition: 16 bytes that name everything else about the request, its namespace included.
    """

    text: str
    partition: bytes


@dataclass(frozen=True, slots=True)
class IndexedQuery:
    """A question that was answered.

    Attributes:
        key: the entry under which it is stored.
        answer: the entry that holds its answer: its own, or of an alias that of another question.
        namespace: where both are stored.
        partition: as in `Question`.
        text: as in `Question`.
        expires_at: from when on it is no longer stored, seconds since the epoch; ``None`` for never.
    """

    key: bytes
    answer: bytes
    namespace: str
    partition: bytes
    text: str
    expires_at: float | None = None

    def is_in(self, entry: Entry) -> bool:
        """Whether the entry under its key still is what is known of it."""
        semantic = entry.semantic
        return semantic is not None and (semantic.partition, semantic.answer or self.key) == (
            self.partition,
            self.answer,
        )


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An indexed question near one that is asked.

    Attributes:
        query: which.
        similarity: the cosine of the two vectors.
        aliases: how many indexed questions have its answer.
    """

    query: IndexedQuery
    similarity: float
    aliases: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a judge is asked: may one answer stand for the other?

    Attributes:
        question: the question that was asked now.
        known_question: the indexed question whose answer might have been served.
        fresh_answer: what the model answered now.
        known_answer: the cached answer.
    """

    question: str
    known_question: str
    fresh_answer: str
    known_answer: str
