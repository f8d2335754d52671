"""The plain values that the parts of the semantic cache exchange."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from askonce.entries.entry import Entry


@lru_cache(64)
def _digest_of_embedder(embedder: str) -> bytes:
    return hashlib.blake2b(embedder.encode(), digest_size=16).digest()


def vector_partition(embedder: str, partition: bytes) -> bytes:
    """Among which vectors of a server the questions of a partition are, made by that embedder."""
    return hashlib.blake2b(partition, digest_size=16, key=_digest_of_embedder(embedder)).digest()


@dataclass(frozen=True, slots=True)
class Question:
    """The question of a request, and all that must be equal for another answer to be used.

    Attributes:
        text: the question.
        partition: a 16-byte digest of everything else in the request, its namespace included.
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
        """Whether the entry under its key still holds this question."""
        semantic = entry.semantic
        return semantic is not None and (semantic.partition, semantic.answer or self.key) == (
            self.partition,
            self.answer,
        )


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An indexed question near the one that is looked up.

    Attributes:
        query: which.
        similarity: the cosine of the two vectors.
        aliases: how many indexed questions have its answer.
    """

    query: IndexedQuery
    similarity: float
    aliases: int


@dataclass(frozen=True, slots=True)
class LearnReport:
    """What was learned from past questions and answers.

    Attributes:
        stored: how many of them are stored now that were not.
        compared: how many were compared with earlier ones.
        judge_calls: how often the judge called a model.
        judge_usd: what that cost, as far as prices are known.
        undecided: comparisons without a verdict.
        judge_failures: those of them on which the judge raised an error, which the log has.
    """

    stored: int
    compared: int
    judge_calls: int
    judge_usd: float
    undecided: int = 0
    judge_failures: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a judge compares: may one answer be used for the other?

    Attributes:
        question: the question of this request.
        cached_question: the indexed question whose answer might have been served.
        fresh_answer: what the model answered to it.
        cached_answer: the cached answer.
    """

    question: str
    cached_question: str
    fresh_answer: str
    cached_answer: str

    def turned_round(self) -> Comparison:
        """The same two answers, the other one first."""
        return Comparison(self.cached_question, self.question, self.cached_answer, self.fresh_answer)
