"""All that is counted and learned, and which part of it other processes do not know yet."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from askonce.semantic.decision.counts import Counts
from askonce.semantic.decision.features import SIZE, Vector
from askonce.semantic.decision.model import Label, Model, label
from askonce.semantic.decision.shares import Seen, Share, Snapshot, encode

RECORDS = 100_000
"""Of how many answers, those judged last, it is known how often they were right."""


class Learned:
    """Sums, the model and the records of answers. Not thread-safe.

    Attributes:
        total: the sums over all processes, as far as they are known here.
        model: learned from the labels of all processes.
    """

    def __init__(self) -> None:
        self.total = Counts()
        self.model = Model()
        self._unshared = Counts()
        self._unshared_labels: list[Label] = []
        self._records: dict[bytes, tuple[int, int]] = {}
        self._seen = Seen()
        self._source = os.urandom(8)
        self._number = 0

    def record(self, answer: bytes) -> tuple[int, int]:
        """How often that answer was judged right and wrong."""
        return self._records.get(answer[:16], (0, 0))

    def count(self, change: Counts) -> None:
        """Adds to the sums."""
        self.total.add(change)
        self._unshared.add(change)

    def learn(self, answer: bytes, right: bool, weight: int, features: Vector) -> None:
        """Learns a label of this process."""
        learned = label(answer, right, weight, self.model.expected(features), features)
        self._unshared_labels.append(learned)
        self._remember([learned])

    def _remember(self, labels: Iterable[Label]) -> None:
        for one in labels:
            right, wrong = self._records.pop(one.answer, (0, 0))
            self._records[one.answer] = (right + one.weight * one.right, wrong + one.weight * (not one.right))
            if len(self._records) > RECORDS:
                del self._records[next(iter(self._records))]
            self.model.learn(one)

    def forget(self, answers: Iterable[bytes]) -> None:
        """Drops the records of these answers."""
        for answer in answers:
            self._records.pop(answer[:16], None)

    def share(self) -> bytes | None:
        """What is new in this process since the last call, or ``None``."""
        if self._unshared == Counts() and not self._unshared_labels:
            return None
        self._number += 1
        self._seen.add(self._source, self._number)
        share = Share(self._source, self._number, self._unshared, self._unshared_labels)
        self._unshared, self._unshared_labels = Counts(), []
        return encode(share)

    def merge(self, share: Share) -> bool:
        """Adds what a process shared; whether it was new."""
        new = self._seen.add(share.source, share.number)
        if new:
            self.total.add(share.tally)
            self._remember(share.labels)
        return new

    def snapshot(self, aim: tuple[float, float], recent: list[float]) -> Snapshot:
        """All but what was not shared yet: that follows in a share and would be counted twice."""
        total = Counts()
        total.add(self.total)
        total.add(self._unshared, sign=-1)
        unshared = {id(one) for one in self._unshared_labels}
        records = dict(self._records)
        for one in self._unshared_labels:
            if one.answer in records:
                right, wrong = records[one.answer]
                records[one.answer] = (right - one.weight * one.right, wrong - one.weight * (not one.right))
        model = self.model
        return Snapshot(
            seen=self._seen.stored(),
            tally=total,
            labels=[one for one in model.labels if id(one) not in unshared],
            count=model.count - sum(one.weight for one in self._unshared_labels),
            next_fit=model.next_fit,
            coefficients=model.coefficients.tobytes(),
            covariance=model.covariance.tobytes(),
            regime=model.regime,
            floor=model.floor,
            records=records,
            recent=recent,
            aim=aim,
        )

    def restore(self, kept: Snapshot) -> None:
        """Starts again from a snapshot, and adds what was not shared yet."""
        self._seen = Seen(kept.seen)
        self.total = kept.tally
        self.total.add(self._unshared)
        self._records = dict(kept.records)
        self.model = model = Model()
        model.coefficients = np.frombuffer(kept.coefficients).copy()
        model.covariance = np.frombuffer(kept.covariance).reshape(SIZE, SIZE).copy()
        model.regime, model.floor = kept.regime, kept.floor
        model.labels.extend(kept.labels)
        model.count, model.next_fit = kept.count, kept.next_fit
        self._remember(self._unshared_labels)
