"""All that is counted and learned, and the part of it that is not published yet."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from askonce.semantic.decision.counts import DecisionCounts
from askonce.semantic.decision.deltas import RuleDelta, RuleSnapshot
from askonce.semantic.decision.features import SIZE, Vector
from askonce.semantic.decision.meanings import Meanings, Meant
from askonce.semantic.decision.model import Label, Model, label
from askonce.semantic.types import IndexedQuery

RECORDS = 100_000
"""The number of meanings, those judged last, with a record of how often they were right."""


class RuleState:
    """Sums, the model, and the meanings and records of answers. Not thread-safe.

    Attributes:
        total: the sums over all processes, as far as this process has read them.
        model: learned from the labels of all processes.
    """

    def __init__(self) -> None:
        self.total = DecisionCounts()
        self.model = Model()
        self._records: dict[bytes, tuple[int, int]] = {}
        self._meanings = Meanings()
        self._new = DecisionCounts()
        self._new_labels: list[Label] = []
        self._new_meanings: list[Meant] = []

    # -- answers -----------------------------------------------------------------------------------------------

    def meaning(self, query: IndexedQuery) -> bytes:
        """The meaning of a question's answer, 16 bytes."""
        return self._meanings.of(query)

    def equals(self, meaning: bytes) -> int:
        """How many further questions were found to have an answer of a meaning."""
        return self._meanings.joined(meaning)

    def record(self, meaning: bytes) -> tuple[int, int]:
        """How often answers of a meaning were judged right and wrong."""
        return self._records.get(meaning, (0, 0))

    def join(self, key: bytes, query: IndexedQuery) -> None:
        """Note that the answer to the question with a key is the same as that to an indexed one."""
        self._new_meanings.append(self._meanings.join(key, self.meaning(query)))

    def renew(self, key: bytes) -> None:
        """Note that the question with a key has a fresh answer."""
        meant = self._meanings.renew(key)
        if meant is not None:
            self._new_meanings.append(meant)

    # -- what is counted and learned ---------------------------------------------------------------------------

    def count(self, change: DecisionCounts) -> None:
        """Add to the sums."""
        self.total.add(change)
        self._new.add(change)

    def learn(self, query: IndexedQuery, right: bool, weight: int, features: Vector) -> None:
        """Learn a label of this process."""
        learned = label(self.meaning(query), right, weight, self.model.expected(features), features)
        self._new_labels.append(learned)
        self._remember([learned])

    def _remember(self, labels: Iterable[Label]) -> None:
        for one in labels:
            right, wrong = self._records.pop(one.meaning, (0, 0))
            self._records[one.meaning] = (right + one.weight * one.right, wrong + one.weight * (not one.right))
            if len(self._records) > RECORDS:
                del self._records[next(iter(self._records))]
            self.model.learn(one)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop what is known of the questions with these keys, and of their answers."""
        for key in keys:
            self._records.pop(key[:16], None)
            self._meanings.forget(key)

    # -- shared ------------------------------------------------------------------------------------------------

    def take(self) -> RuleDelta | None:
        """What is new in this process since the last call, or ``None``."""
        if self._new == DecisionCounts() and not self._new_labels and not self._new_meanings:
            return None
        delta = RuleDelta(self._new, self._new_labels, self._new_meanings)
        self._new, self._new_labels, self._new_meanings = DecisionCounts(), [], []
        return delta

    def merge(self, delta: RuleDelta) -> None:
        """Add what another process learned."""
        self.total.add(delta.counts)
        self._remember(delta.labels)
        self._meanings.take(delta.meanings)

    def snapshot(self, recent: list[float], threshold: float, correction: float) -> RuleSnapshot:
        """All of it, with what `DecisionRule` adds."""
        total, model = DecisionCounts(), self.model
        total.add(self.total)
        return RuleSnapshot(
            counts=total,
            labels=list(model.labels),
            count=model.count,
            next_fit=model.next_fit,
            coefficients=model.coefficients.tobytes(),
            covariance=model.covariance.tobytes(),
            regime=model.regime,
            floor=model.floor,
            records=dict(self._records),
            recent=recent,
            threshold=threshold,
            correction=correction,
            meanings=self._meanings.all(),
        )

    def restore(self, snapshot: RuleSnapshot) -> None:
        """Begin from a snapshot, and add what `take` has not given out."""
        self.total = DecisionCounts()
        self.total.add(snapshot.counts)
        self.total.add(self._new)
        self._records = dict(snapshot.records)
        self.model = model = Model()
        model.coefficients = np.frombuffer(snapshot.coefficients).copy()
        model.covariance = np.frombuffer(snapshot.covariance).reshape(SIZE, SIZE).copy()
        model.regime, model.floor = snapshot.regime, snapshot.floor
        model.labels.extend(snapshot.labels)
        model.count, model.next_fit = snapshot.count, snapshot.next_fit
        self._remember(self._new_labels)
        self._meanings = Meanings([*snapshot.meanings, *self._new_meanings])
