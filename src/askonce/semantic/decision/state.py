"""All that is counted and learned, and the part of it that is not published yet."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from askonce.semantic.decision.answer_groups import AnswerGroups, Membership
from askonce.semantic.decision.counts import DecisionCounts
from askonce.semantic.decision.deltas import RuleDelta, RuleSnapshot
from askonce.semantic.decision.features import SIZE, Vector
from askonce.semantic.decision.model import Label, Model, label
from askonce.semantic.types import IndexedQuery

RECORDS = 100_000
"""The number of groups, those judged last, with a record of how often they were right."""


class RuleState:
    """Sums, the model, and the groups and records of answers. Not thread-safe.

    Attributes:
        total: the sums over all processes, as far as this process has read them.
        model: learned from the labels of all processes.
    """

    def __init__(self) -> None:
        self.total = DecisionCounts()
        self.model = Model()
        self._records: dict[bytes, tuple[int, int]] = {}
        self._groups = AnswerGroups()
        self._new = DecisionCounts()
        self._new_labels: list[Label] = []
        self._new_groups: list[Membership] = []

    # -- answers -----------------------------------------------------------------------------------------------

    def group(self, query: IndexedQuery) -> bytes:
        """The group of a question's answer, 16 bytes."""
        return self._groups.of(query)

    def equals(self, group: bytes) -> int:
        """How many further questions were found to have an answer of a group."""
        return self._groups.joined(group)

    def record(self, group: bytes) -> tuple[int, int]:
        """How often answers of a group were judged right and wrong."""
        return self._records.get(group, (0, 0))

    def join(self, key: bytes, query: IndexedQuery) -> None:
        """Record that the answer to the question with a key is the same as that to an indexed one."""
        self._new_groups.append(self._groups.join(key, self.group(query)))

    def renew(self, key: bytes) -> None:
        """Record that the question with a key has a fresh answer."""
        member = self._groups.renew(key)
        if member is not None:
            self._new_groups.append(member)

    # -- what is counted and learned ---------------------------------------------------------------------------

    def count(self, change: DecisionCounts) -> None:
        """Add to the sums."""
        self.total.add(change)
        self._new.add(change)

    def learn(self, query: IndexedQuery, right: bool, weight: int, features: Vector) -> None:
        """Learn a label of this process."""
        learned = label(self.group(query), right, weight, self.model.expected(features), features)
        self._new_labels.append(learned)
        self._remember([learned])

    def _remember(self, labels: Iterable[Label]) -> None:
        for one in labels:
            right, wrong = self._records.pop(one.group, (0, 0))
            self._records[one.group] = (right + one.weight * one.right, wrong + one.weight * (not one.right))
            if len(self._records) > RECORDS:
                del self._records[next(iter(self._records))]
            self.model.learn(one)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop what is known of the questions with these keys, and of their answers."""
        for key in keys:
            self._records.pop(key[:16], None)
            self._groups.forget(key)

    # -- shared ------------------------------------------------------------------------------------------------

    def take(self) -> RuleDelta | None:
        """What is new in this process since the last call, or ``None``."""
        if self._new == DecisionCounts() and not self._new_labels and not self._new_groups:
            return None
        delta = RuleDelta(self._new, self._new_labels, self._new_groups)
        self._new, self._new_labels, self._new_groups = DecisionCounts(), [], []
        return delta

    def merge(self, delta: RuleDelta) -> None:
        """Add what another process learned."""
        self.total.add(delta.counts)
        self._remember(delta.labels)
        self._groups.take(delta.groups)

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
            groups=self._groups.all(),
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
        self._groups = AnswerGroups([*snapshot.groups, *self._new_groups])
