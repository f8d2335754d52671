"""What is learned online: which answers will fail, and what a call will cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

PRIOR_SD = 1.0


class Failing:
    """The probability that an answer fails, from the features of the request: Bayesian logistic regression.

    The posterior is a normal distribution, moved by each outcome to its new mode, with the curvature there
    (Laplace's approximation, one outcome at a time: Spiegelhalter and Lauritzen 1990).

    Args:
        mean: of the weights.
        covariance: of the weights.
    """

    def __init__(self, mean: Vector, covariance: NDArray[np.float32]) -> None:
        self.mean, self.covariance = mean, covariance

    @classmethod
    def unknowing(cls, features: int) -> Failing:
        """Before any outcome."""
        import numpy as np

        return cls(np.zeros(features, np.float32), np.eye(features, dtype=np.float32) * PRIOR_SD**2)

    def predict(self, x: Vector) -> tuple[float, float]:
        """The mean and the standard deviation of the log-odds of a failing answer."""
        return float(self.mean @ x), math.sqrt(max(float(x @ (self.covariance @ x)), 0.0))

    def learn(self, x: Vector, failed: bool) -> None:
        """Take in one outcome."""
        import numpy as np

        along = self.covariance @ x
        variance, before = max(float(along @ x), 1e-9), float(self.mean @ x)
        now = before
        for _ in range(8):  # Newton's method for the mode, which lies on a line
            p = sigmoid(now)
            now -= (now - before - variance * (failed - p)) / (1 + variance * p * (1 - p))
        p = sigmoid(now)
        self.mean += np.float32(failed - p) * along
        curvature = p * (1 - p)
        self.covariance -= np.float32(curvature / (1 + curvature * variance)) * np.outer(along, along)

    def copy(self) -> Failing:
        """One that learns on its own."""
        return Failing(self.mean.copy(), self.covariance.copy())


def sigmoid(log_odds: float) -> float:
    """The probability with these log-odds."""
    return 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))


def probability(mean: float, sd: float) -> float:
    """The mean of the sigmoid of a normal variable (MacKay's approximation, 1992)."""
    return sigmoid(mean / math.sqrt(1 + math.pi * sd * sd / 8))
