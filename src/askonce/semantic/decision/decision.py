"""The decision on one question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from askonce.semantic.decision.features import Vector
from askonce.semantic.types import IndexedQuery


@dataclass(slots=True, eq=False)
class Decision:
    """What is done about one question.

    Attributes:
        action: see `askonce.semantic.decision.rule`.
        reason: why: no candidate, learning, guard, doubtful, budget, audit or trusted.
        query: the candidate's nearest question.
        second: the nearest question of the next best answer, compared when the candidate was wrong.
        similarity: the cosine to ``query``.
        p_right: the probability that the candidate is right.
        p_wrong: the pessimistic probability that it is wrong; the decision depends on this one.
        audit_probability: with which probability this question is sent to the model though it could be served.
        features: see `askonce.semantic.decision.features.FEATURES`.
        judged: whether it was learned from.
        has_feedback: whether the application gave feedback.
    """

    action: Literal["serve", "audit", "miss", "past"]
    reason: str
    query: IndexedQuery | None = None
    second: IndexedQuery | None = None
    similarity: float = 0.0
    p_right: float = 0.0
    p_wrong: float = 1.0
    audit_probability: float = 1.0
    features: Vector | None = None
    judged: bool = False
    has_feedback: bool = False

    @property
    def answer(self) -> bytes | None:
        """The key of the candidate's answer."""
        return None if self.query is None else self.query.answer
