"""How likely a candidate is right, learned from every judged answer.

One logistic regression over all answers and partitions, with a Gaussian prior (a ridge), on the newest `WINDOW`
labels. Two corrections are added, since a regression is slow to notice a change and blind to what no feature
explains:

- the *regime*: a filter (Bayes' rule on each fresh label) over three states - the model's log-odds hold, are worse
  by 1.5, or are useless (worse by 4) - that closes the cache a handful of labels after a break;
- the *floor*: how much more often than predicted the candidates of which the model was nearly certain were wrong.

The model is a fold over the sequence of labels and nothing else: the same labels in the same order give the same
model, in one process or in many, however they were cut into deltas.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec
import numpy as np

from askonce.entries.decodable import decodable
from askonce.estimators.regression import sigmoid
from askonce.semantic.decision.features import PRIOR_MEAN, PRIOR_PRECISION, SIZE, Vector

WINDOW = 3000
_STORED = np.float16
_BLOCK = 256  # rows at a time: so few that BLAS starts no threads, which would wait for one another on busy cores
_SHIFTS = (0.0, -1.5, -4.0)
_TO_WORSE, _BACK = 1 / 1500, 1 / 60
_SURE = 0.2


@decodable
class Label(msgspec.Struct, frozen=True, array_like=True):
    """A judged candidate.

    Attributes:
        group: of the candidate's answer; 16 bytes.
        right: whether it was the same as the fresh answer.
        weight: as how many of a judge's labels it counts.
        expected: the probability of being right that the model had given it.
        features: as `Candidate.features`, in half precision.
    """

    group: bytes
    right: bool
    weight: int
    expected: float
    features: bytes


def label(group: bytes, right: bool, weight: int, expected: float, features: Vector) -> Label:
    """A label, its numbers as they are stored."""
    return Label(group, right, weight, expected, features.astype(_STORED).tobytes())


class Model:
    """The regression, its regime and its floor. Not thread-safe."""

    def __init__(self) -> None:
        self.coefficients: Vector = PRIOR_MEAN.copy()
        self.covariance: Vector = np.diag(1 / PRIOR_PRECISION)
        self.regime: tuple[float, float, float] = (1.0, 0.0, 0.0)
        self.floor = 0.0
        self.labels: deque[Label] = deque(maxlen=WINDOW)
        self.count = 0
        self.next_fit = 10

    def log_odds(self, features: Vector) -> tuple[float, float]:
        """The log-odds of being right, and the standard deviation of the model's own uncertainty about them."""
        return (
            float(features @ self.coefficients),
            math.sqrt(max(0.0, float(features @ self.covariance @ features))),
        )

    def right(self, log_odds: float) -> float:
        """The probability of being right at these log-odds, in view of the regime and the floor."""
        return (1.0 - self.floor) * sum(
            weight * sigmoid(log_odds + shift) for weight, shift in zip(self.regime, _SHIFTS, strict=True)
        )

    def expected(self, features: Vector) -> float:
        """The probability of being right, by the regression alone."""
        return sigmoid(float(features @ self.coefficients))

    def learn(self, label: Label) -> None:
        """Fold a label in."""
        features = np.frombuffer(label.features, _STORED).astype(np.float64)
        for _ in range(label.weight):
            self._watch(features, label.right)
            self.labels.append(label)
            self.count += 1
            if self.count >= self.next_fit:
                self._fit()
                self.next_fit = self.count + max(10, min(100, self.count // 10))

    def _watch(self, features: Vector, right: bool) -> None:
        log_odds = float(features @ self.coefficients)
        likelihoods = []
        for weight, shift in zip(self.regime, _SHIFTS, strict=True):
            chance = min(0.98, max(0.02, sigmoid(log_odds + shift)))
            likelihoods.append(weight * (chance if right else 1 - chance))
        normal, worse, broken = (weight / sum(likelihoods) for weight in likelihoods)
        self.regime = (
            normal * (1 - 2 * _TO_WORSE) + (worse + broken) * _BACK,
            worse * (1 - _BACK) + normal * _TO_WORSE,
            broken * (1 - _BACK) + normal * _TO_WORSE,
        )

    def _fit(self, steps: int = 3) -> None:
        """Newton's method from the coefficients so far; the penalised likelihood is strictly concave."""
        rows = np.frombuffer(b"".join(one.features for one in self.labels), _STORED).reshape(-1, SIZE)
        rows = rows.astype(np.float64)
        right = np.fromiter((one.right for one in self.labels), np.float64, len(self.labels))
        blocks = [(rows[at : at + _BLOCK], right[at : at + _BLOCK]) for at in range(0, len(rows), _BLOCK)]
        for _ in range(steps):
            hessian = np.diag(PRIOR_PRECISION)
            gradient = PRIOR_PRECISION * (PRIOR_MEAN - self.coefficients)
            for some, judged in blocks:
                chance = 1 / (1 + np.exp(-np.clip(some @ self.coefficients, -30, 30)))
                hessian += (some * (chance * (1 - chance))[:, None]).T @ some
                gradient += some.T @ (judged - chance)
            step = np.linalg.solve(hessian, gradient)
            longest = float(np.abs(step).max())
            self.coefficients = self.coefficients + step * min(1.0, 2.0 / longest if longest else 1.0)
        self.covariance = np.asarray(np.linalg.inv(hessian), np.float64)
        self._calibrate(right)

    def _calibrate(self, right: Vector) -> None:
        doubt = 1.0 - np.fromiter((one.expected for one in self.labels), np.float64, len(self.labels))
        sure = doubt < _SURE
        count = int(sure.sum())
        more = count - float(right[sure].sum()) - float(doubt[sure].sum())
        self.floor = min(0.2, max(0.0, more / (count + 50.0)))
