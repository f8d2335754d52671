"""Regressions that learn one observation at a time."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from askonce.stores.fork import reset_after_fork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

PRIOR_SD = 1.0


class LinearRegression:
    """Recursive least squares with a prior (Plackett, Biometrika 37, 1950). Thread-safe, without NumPy.

    Args:
        prior: the weights to begin with.
        doubt: their standard deviations: how far the true ones may be from them.
    """

    def __init__(self, prior: Sequence[float], doubt: Sequence[float]) -> None:
        size = range(len(prior))
        self.weights = list(prior)
        self.observations = 0
        self._covariance = [[doubt[i] ** 2 if i == j else 0.0 for j in size] for i in size]
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def __call__(self, features: Sequence[float]) -> float:
        """The value that is expected at these features."""
        return sum(w * x for w, x in zip(self.weights, features, strict=True))

    def learn(self, features: Sequence[float], value: float, noise: float) -> None:
        """Take in an observation whose error has the standard deviation ``noise``."""
        with self._lock:
            covariance = self._covariance
            gain = [sum(a * x for a, x in zip(row, features, strict=True)) for row in covariance]
            scale = noise**2 + sum(g * x for g, x in zip(gain, features, strict=True))
            error = value - self(features)
            self.weights = [w + g / scale * error for w, g in zip(self.weights, gain, strict=True)]
            self._covariance = [
                [entry - g * other / scale for entry, other in zip(row, gain, strict=True)]
                for row, g in zip(covariance, gain, strict=True)
            ]
            self.observations += 1


class LogisticRegression:
    """The log-odds of an event, from features: Bayesian logistic regression. Not thread-safe.

    The posterior is a normal distribution, moved by each outcome to its new mode, with the curvature there
    (Laplace's approximation, one outcome at a time: Spiegelhalter and Lauritzen 1990).

    Args:
        mean: of the weights, of the shape (features,).
        covariance: of the weights, of the shape (features, features).
    """

    def __init__(self, mean: Vector, covariance: Vector) -> None:
        self.mean, self.covariance = mean, covariance

    @classmethod
    def untrained(cls, features: int) -> LogisticRegression:
        """Before any outcome."""
        import numpy as np

        return cls(np.zeros(features, np.float32), np.eye(features, dtype=np.float32) * PRIOR_SD**2)

    def predict(self, x: Vector) -> tuple[float, float]:
        """The mean and the standard deviation of the log-odds."""
        return float(self.mean @ x), math.sqrt(max(float(x @ (self.covariance @ x)), 0.0))

    def learn(self, x: Vector, happened: bool) -> None:
        """Take in one outcome."""
        import numpy as np

        along = self.covariance @ x
        variance, before = max(float(along @ x), 1e-9), float(self.mean @ x)
        now = before
        for _ in range(8):  # Newton's method for the mode, which lies on a line
            p = sigmoid(now)
            now -= (now - before - variance * (happened - p)) / (1 + variance * p * (1 - p))
        p = sigmoid(now)
        self.mean += np.float32(happened - p) * along
        curvature = p * (1 - p)
        self.covariance -= np.float32(curvature / (1 + curvature * variance)) * np.outer(along, along)


def sigmoid(log_odds: float) -> float:
    """The probability with these log-odds."""
    return 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))


def probability(mean: float, sd: float) -> float:
    """The mean of the sigmoid of a normal variable (MacKay's approximation, 1992)."""
    return sigmoid(mean / math.sqrt(1 + math.pi * sd * sd / 8))
