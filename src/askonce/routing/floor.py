"""The floor under quality: a bound on the failing answers of cheap models that were served, true at all times.

Each time that a cheap model's answer might be served, a coin with a known probability ``p`` decides whether it is
*audited*: the reference model is asked too, its answer is served, and a judge says whether the cheap one would have
done. From the audits that failed follows a bound on the failing answers that were served unseen, and the coin is
thrown only where the bound stays below the allowed share of all requests whatever the audit says.

The bound: let the answers served unseen hold ``W`` failing ones. For a rate ``t`` with ``(1 - p) e^t < 1``, let
each failing answer multiply ``L`` by ``e^t`` if it is served, by ``f = (1 - (1 - p) e^t) / p`` if it is audited.
The mean of both is 1, so that ``L = exp(t W - G)``, with ``G`` the sum of ``-log f`` over failed audits, is a
non-negative martingale, and so is a mean of such over several ``t``. By Ville's inequality it ever reaches
``1 / alpha`` with probability at most ``alpha``: with confidence ``1 - alpha``, at all times at once, ``W`` is
below the value at which it would. (Ville 1939; Howard et al., Time-uniform Chernoff bounds, 2020.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RATES = tuple(0.02 * 1.7**step for step in range(9))
"""The rates ``t``, from 0.02 for many rare audits to 1.4 for few that are nearly sure."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The share of answers that must pass, and how sure that is.

    Attributes:
        min_quality: the share of all requests whose answer passes.
        confidence: the probability that it never falls below.
    """

    min_quality: float
    confidence: float

    def allowed(self, requests: float) -> float:
        """How many answers to so many requests may fail."""
        return (1 - self.min_quality) * requests

    def bound(self, evidence: Sequence[float]) -> float:
        """How many failing answers were served unseen at most.

        Args:
            evidence: ``G`` for each of `RATES`, the sum of `penalties`.
        """
        goal = math.log(len(RATES) / (1 - self.confidence))
        live = [(rate, known) for rate, known in zip(RATES, evidence, strict=True) if known < math.inf]
        if not live:
            return math.inf
        # Newton's method from the right, where one component alone is at the goal: the logarithm is convex.
        most = min((goal + known) / rate for rate, known in live)
        for _ in range(20):
            terms = [math.exp(rate * most - known - goal) for rate, known in live]
            over = sum(terms)
            step = math.log(over) * over / sum(rate * term for (rate, _), term in zip(live, terms, strict=True))
            most -= step
            if step < 1e-6 * (1 + most):
                break
        return max(most, 0.0)

    def fits(self, evidence: Sequence[float], p: float, room: float) -> bool:
        """Whether a coin with that probability of an audit leaves the bound within ``room`` even if it fails."""
        return self.bound([known + more for known, more in zip(evidence, penalties(p), strict=True)]) <= room


def penalties(p: float) -> list[float]:
    """What one failed audit adds to ``G`` for each of `RATES`; infinite where ``p`` is too small for the rate."""
    found = []
    for rate in RATES:
        left = 1 - (1 - p) * math.exp(rate)
        found.append(-math.log(left / p) if left > 0 else math.inf)
    return found


def usable(p: float) -> list[float]:
    """What throwing a coin with ``p`` adds to ``G`` whatever it shows: too small for a rate, it ends that one."""
    return [0.0 if (1 - p) * math.exp(rate) < 1 else math.inf for rate in RATES]
