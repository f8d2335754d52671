"""A linear model that is learned as figures come in."""

from __future__ import annotations

import threading
from collections.abc import Sequence


class Regression:
    """Recursive least squares with a prior (Plackett, Biometrika 37, 1950). Thread-safe.

    Args:
        prior: the weights to begin with.
        doubt: their standard deviations: how far the true ones may be from them.
    """

    def __init__(self, prior: Sequence[float], doubt: Sequence[float]) -> None:
        size = range(len(prior))
        self.weights = list(prior)
        self.observations = 0
        self._covariance = [[doubt[i] ** 2 if i == j else 0.0 for j in size] for i in size]
        self._lock = threading.Lock()

    def __call__(self, features: Sequence[float]) -> float:
        """What the model says of these features."""
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
