"""All that is counted and learned, and the part of it that is not published yet."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from askonce.semantic.decision.counts import DecisionCounts
from askonce.semantic.decision.deltas import RuleDelta, RuleSnapshot
from askonce.semantic.decision.features import SIZE, Vector
from askonce.semantic.decision.model import Label, Model, label

RECORDS = 100_000
"""The number of answers, those judged last, with a record of how often they were right."""


class RuleState:
    """Sums, the model and the records of answers. Not thread-safe.

    Attributes:
        total: the sums over all processes, as far as this process has read them.
        model: learned from the labels of all processes.
    """

    def __init__(self) -> None:
        self.total = DecisionCounts()
        self.model = Model()
        self._records: dict[bytes, tuple[int, int]] = {}
        self._new = DecisionCounts()
        self._new_labels: list[Label] = []

    def record(self, answer: bytes) -> tuple[int, int]:
        """How often that answer was judged right and wrong."""
        return self._records.get(answer[:16], (0, 0))

    def count(self, change: DecisionCounts) -> None:
        """Add to the sums."""
        self.total.add(change)
        self._new.add(change)

    def learn(self, answer: bytes, right: bool, weight: int, features: Vector) -> None:
        """Learn a label of this process."""
        learned = label(answer, right, weight, self.model.expected(features), features)
        self._new_labels.append(learned)
        self._remember([learned])

    def _remember(self, labels: Iterable[Label]) -> None:
        for one in labels:
            right, wrong = self._records.pop(one.answer, (0, 0))
            self._records[one.answer] = (right + one.weight * one.right, wrong + one.weight * (not one.right))
            if len(self._records) > RECORDS:
                del self._records[next(iter(self._records))]
            self.model.learn(one)

    def forget(self, answers: Iterable[bytes]) -> None:
        """Drop the records of these answers."""
        for answer in answers:
            self._records.pop(answer[:16], None)

    # -- shared ------------------------------------------------------------------------------------------------

    def take(self) -> RuleDelta | None:
        """What is new in this process since the last call, or ``None``."""
        if self._new == DecisionCounts() and not self._new_labels:
            return None
        delta = RuleDelta(self._new, self._new_labels)
        self._new, self._new_labels = DecisionCounts(), []
        return delta

    def merge(self, delta: RuleDelta) -> None:
        """Add what another process learned."""
        self.total.add(delta.counts)
        self._remember(delta.labels)

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
