"""What processes share of what they learned: no text; questions are known by the first 16 bytes of their keys."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from askonce.entries.decodable import decodable
from askonce.semantic.decision.answer_groups import Membership
from askonce.semantic.decision.counts import DecisionCounts
from askonce.semantic.decision.features import SIZE
from askonce.semantic.decision.model import Label


@decodable
class RuleDelta(msgspec.Struct, frozen=True, array_like=True):
    """What one process counted and learned: sums, labels and groups of answers, oldest first.

    Raises:
        ValueError: a label is not valid.
    """

    counts: DecisionCounts
    labels: list[Label]
    groups: list[Membership] = []

    def __post_init__(self) -> None:
        _check(self.labels, ())
        _check_groups(self.groups)


@decodable
class RuleSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """All that was counted and learned: sums, model, how often answers were right, and their groups.

    Raises:
        ValueError: something is not valid.
    """

    counts: DecisionCounts
    labels: list[Label]
    count: int
    next_fit: int
    coefficients: bytes
    covariance: bytes
    regime: tuple[float, float, float]
    floor: float
    records: dict[bytes, tuple[int, int]]
    recent: list[float]
    threshold: float
    correction: float
    groups: list[Membership] = []

    def __post_init__(self) -> None:
        _check_groups(self.groups)
        if len(self.coefficients) != 8 * SIZE or len(self.covariance) != 8 * SIZE * SIZE:
            raise ValueError(f"a model has {SIZE} coefficients")
        model = (*np.frombuffer(self.coefficients), *np.frombuffer(self.covariance))
        _check(self.labels, (*model, *self.regime, *self.recent, self.floor, self.threshold, self.correction))


def _check(labels: Iterable[Label], numbers: Iterable[float]) -> None:
    if not all(len(label.features) == 2 * SIZE and 0 < label.weight < 100 for label in labels):
        raise ValueError(f"a label has {SIZE} features and a weight from 1 to 99")
    rows = np.frombuffer(b"".join(label.features for label in labels), np.float16)
    if not (np.isfinite(rows).all() and np.isfinite([*numbers, *(label.expected for label in labels)]).all()):
        raise ValueError("a number is not finite")


def _check_groups(groups: Iterable[Membership]) -> None:
    if any(len(one) != 16 for member in groups for one in member):
        raise ValueError("a group and a key have 16 bytes each")
