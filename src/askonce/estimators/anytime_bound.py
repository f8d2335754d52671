"""What is certain about the number of wrong answers served: sums over requests, and the bounds that follow.

A would-be hit is *audited* - sent to the model all the same - with a probability ``p`` that is fixed before a coin
is thrown. The audits that turn out wrong therefore say how many wrong answers were served, on any stream and
without any model. Let ``W`` be the wrong answers served so far, and ``w`` run over the audits found wrong.

- The *charge* ``V = sum over w of (1 - p) / p``: ``W - V`` is a martingale, so ``E[W] = E[V]``.
- The *evidence* ``G(theta) = sum over w of -log f``, ``f = (1 - (1 - p) e^theta) / p``: ``exp(theta W - G)`` is a
  non-negative martingale from 1, so is its mean over several thetas, and by Ville's inequality
  ``W <= U``, the solution of ``mean exp(theta U - G) = 1 / (1 - confidence)``, holds at all times at once with that
  confidence. A theta whose ``f`` is not positive for a ``p`` ends there. The same with ``-theta`` bounds ``W`` from
  below.

An audit is charged as if it had been found wrong when the coin is thrown, and the charge is given back when it is
judged right: audits that are under way or never judged can only make the bounds stricter.

All sums are whole numbers (of 2^-32 where they are fractions), so that adding up the shares of several processes
gives the same in any order.
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec

UNIT = 2**32
THETAS = (0.8, 0.5, 0.32, 0.2, 0.125, 0.08, 0.05, 0.03, 0.018, 0.01)
_GROWTH = tuple(math.exp(theta) for theta in THETAS)
_LEAST_FACTOR = 0.02


class Counts(msgspec.Struct, array_like=True):
    """Sums over requests; those in `UNIT` s are marked so.

    Attributes:
        requests: all of them.
        served: those answered with a known answer.
        audits: would-be hits sent to the model.
        judged: audits that were judged.
        wrong: audits that were judged wrong.
        told: served answers that the application called wrong.
        labels: judged candidates, audits or not.
        served_doubt: the model's probability of being wrong, summed over what was served (in `UNIT` s).
        audited_doubt: the same over judged candidates near the threshold, each weighted by its chance to be
            served (in `UNIT` s).
        audited_wrong: those of them that were wrong, weighted likewise (in `UNIT` s).
        charge: ``V`` of the audits judged wrong (in `UNIT` s).
        open_charge: what those that are not judged would add (in `UNIT` s).
        above: the evidence for the upper bound, one for each theta (in `UNIT` s).
        open_above: what audits that are not judged would add (in `UNIT` s).
        below: the evidence for the lower bound, one for each theta (in `UNIT` s).
        ended: the thetas that ended, as bits.
    """

    requests: int = 0
    served: int = 0
    audits: int = 0
    judged: int = 0
    wrong: int = 0
    told: int = 0
    labels: int = 0
    served_doubt: int = 0
    audited_doubt: int = 0
    audited_wrong: int = 0
    charge: int = 0
    open_charge: int = 0
    above: tuple[int, ...] = (0,) * len(THETAS)
    open_above: tuple[int, ...] = (0,) * len(THETAS)
    below: tuple[int, ...] = (0,) * len(THETAS)
    ended: int = 0

    def add(self, other: Counts, sign: int = 1) -> None:
        """Adds another tally, or takes it away (a theta that has ended stays so)."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + sign * getattr(other, name))
        for name in _VECTORS:
            theirs = getattr(other, name)
            if any(theirs):
                setattr(self, name, tuple(a + sign * b for a, b in zip(getattr(self, name), theirs, strict=True)))
        self.ended |= other.ended


_VECTORS = ("above", "open_above", "below")
_SUMS = [name for name in Counts.__struct_fields__ if name not in (*_VECTORS, "ended")]


def units(number: float) -> int:
    """A number in `UNIT` s."""
    return round(number * UNIT)


def charge(probability: float) -> int:
    """What a wrong audit adds to ``V`` (in `UNIT` s)."""
    return units((1 - probability) / probability)


@lru_cache(maxsize=1024)
def evidence(probability: float) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """What a wrong audit adds to the evidence above and below, and the thetas that end when a coin is thrown."""
    factors = [(1 - (1 - probability) * growth) / probability for growth in _GROWTH]
    return (
        tuple(units(-math.log(factor)) if factor > _LEAST_FACTOR else 0 for factor in factors),
        tuple(units(math.log((1 - (1 - probability) / growth) / probability)) for growth in _GROWTH),
        sum(1 << index for index, factor in enumerate(factors) if factor <= _LEAST_FACTOR),
    )


def _alive(tally: Counts, *, judged: bool = False) -> list[tuple[float, float, float]]:
    """The thetas that have not ended, with ``e^theta`` and the evidence."""
    return [
        (theta, growth, (above if judged else above + open_) / UNIT)
        for index, (theta, growth, above, open_) in enumerate(
            zip(THETAS, _GROWTH, tally.above, tally.open_above, strict=True)
        )
        if not tally.ended >> index & 1
    ]


def at_most(tally: Counts, confidence: float, *, judged: bool = False) -> float:
    """``U``: with ``confidence``, at no time more wrong answers had been served.

    Args:
        tally: the sums so far.
        confidence: a probability.
        judged: leave out the audits that are not judged: what ``U`` will be if they all turn out right.
    """
    goal = len(THETAS) / (1 - confidence)
    alive = _alive(tally, judged=judged)

    def mixture(wrong: float) -> float:
        return sum(math.exp(min(60.0, theta * wrong - above)) for theta, _, above in alive)

    low, high = 0.0, float(max(1, tally.served))
    if mixture(high) < goal:
        return float(tally.served)
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (low, middle) if mixture(middle) >= goal else (middle, high)
    return high


def at_least(tally: Counts, confidence: float) -> float:
    """With ``confidence``, at no time fewer wrong answers had been served."""
    goal = len(THETAS) / (1 - confidence)

    def mixture(wrong: float) -> float:
        return sum(
            math.exp(min(60.0, below / UNIT - theta * wrong))
            for theta, below in zip(THETAS, tally.below, strict=True)
        )

    low, high = 0.0, float(max(1, tally.served))
    if mixture(0.0) < goal:
        return float(min(tally.told, tally.served))
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if mixture(middle) >= goal else (low, middle)
    return max(low, float(tally.told))


def affordable(tally: Counts, probability: float, line: float, confidence: float) -> bool:
    """Whether ``U`` stays at or below ``line`` if one more would-be hit is audited and found wrong.

    Serving it does not change ``U``.

    Args:
        tally: the sums so far.
        probability: that of the audit.
        line: a number of wrong answers.
        confidence: that of ``U``.
    """
    evidence_at_line = 0.0
    for theta, growth, above in _alive(tally):
        factor = (1 - (1 - probability) * growth) / probability
        if factor > _LEAST_FACTOR:
            evidence_at_line += math.exp(min(60.0, theta * line - above)) * factor
    return evidence_at_line >= len(THETAS) / (1 - confidence)
