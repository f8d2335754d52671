"""Bounds on a number of unseen errors that hold at all times at once.

Each time that something unverified might be accepted, a coin with a known probability ``p`` decides whether it is
*audited* instead. From the audits that found an error follows a bound on the number ``W`` of errors that were
accepted unseen, on any stream and without any model.

For a rate ``t``, let each error multiply ``L`` by ``e^t`` if it is accepted, and by ``f = (1 - (1 - p) e^t) / p``
if it is audited. The mean of both is 1, so that ``L = exp(t W - G)``, with the *evidence* ``G`` the sum of
``-log f`` over the audits that found an error, is a non-negative martingale that starts at 1, and so is the mean of
several over a few rates. By Ville's inequality that mean ever reaches ``1 / (1 - confidence)`` with probability at
most ``1 - confidence``: with that confidence, at all times at once, ``W`` is below the value at which it would. The
same with ``-t`` bounds ``W`` from below. A rate whose ``f`` is not positive for some ``p`` ends when that coin is
thrown: its evidence is infinite from then on. (Ville 1939; Howard et al., Time-uniform Chernoff bounds, 2020.)

Evidence is one number for each rate. An audit in progress can be counted as if it had found an error; that
only makes the bounds stricter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEAST_FACTOR = 0.02
"""A rate whose ``f`` is smaller ends, since one error would be too little evidence."""


def factor(probability: float, rate: float) -> float:
    """``f``: by what an audit with that probability that finds an error multiplies ``L``; 0 if the rate ends."""
    found = (1 - (1 - probability) * math.exp(rate)) / probability
    return found if found > _LEAST_FACTOR else 0.0


def evidence(probability: float, rates: Sequence[float]) -> list[float]:
    """What an audit with that probability that finds an error adds to ``G``; infinite for a rate that ends."""
    factors = (factor(probability, rate) for rate in rates)
    return [-math.log(one) if one else math.inf for one in factors]


def endings(probability: float, rates: Sequence[float]) -> list[float]:
    """What throwing a coin with that probability adds to ``G`` whatever it shows: infinite for a rate that ends."""
    return [0.0 if factor(probability, rate) else math.inf for rate in rates]


def at_most(evidence: Sequence[float], rates: Sequence[float], confidence: float) -> float:
    """With ``confidence``, at no time more errors were accepted; infinite if all rates have ended.

    Args:
        evidence: ``G``, for each of the rates.
        rates: several numbers above 0, small ones for many errors.
        confidence: a probability.
    """
    goal = _log_goal(rates, confidence)
    live = [(rate, so_far) for rate, so_far in zip(rates, evidence, strict=True) if so_far < math.inf]
    if not live:
        return math.inf
    return max(_crossing(live, goal), 0.0)


def at_least(evidence: Sequence[float], rates: Sequence[float], confidence: float) -> float:
    """With ``confidence``, at no time fewer errors were accepted.

    Args:
        evidence: for each rate the sum of `evidence` at minus that rate.
        rates: as in `at_most`.
        confidence: a probability.
    """
    return max(-_crossing(list(zip(rates, evidence, strict=True)), _log_goal(rates, confidence)), 0.0)


def fits(evidence: Sequence[float], rates: Sequence[float], room: float, confidence: float) -> bool:
    """Whether `at_most` is no more than ``room``."""
    terms = (math.exp(min(60.0, rate * room - so_far)) for rate, so_far in zip(rates, evidence, strict=True))
    return sum(terms) >= len(rates) / (1 - confidence)


def _log_goal(rates: Sequence[float], confidence: float) -> float:
    return math.log(len(rates) / (1 - confidence))


def _crossing(live: Sequence[tuple[float, float]], goal: float) -> float:
    """Where the sum of ``exp(rate x - evidence)`` reaches ``exp(goal)``."""
    # Newton's method from the right, where one component alone is at the goal: the logarithm is convex.
    most = min((goal + so_far) / rate for rate, so_far in live)
    for _ in range(20):
        terms = [math.exp(rate * most - so_far - goal) for rate, so_far in live]
        over = sum(terms)
        step = math.log(over) * over / sum(rate * term for (rate, _), term in zip(live, terms, strict=True))
        most -= step
        if step < 1e-6 * (1 + abs(most)):
            break
    return most
