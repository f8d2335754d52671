"""What is counted of requests, in whole numbers, and the bounds on wrong answers that follow.

A would-be hit is *audited*, that is sent to the model all the same, with a probability ``p`` that is fixed before a
coin is thrown. The *charge* ``V = sum of (1 - p) / p`` over the audits found wrong estimates the wrong answers
served without bias; `askonce.estimators.anytime_bound` derives the bounds.

An audit is charged as if it had been found wrong when the coin is thrown, and the charge is given back when it is
judged right: audits that are in progress or never judged can only make the bounds stricter.

Fractions are whole numbers of 2^-32, so that adding up the deltas of several processes gives the same in any order.
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec

from askonce.entries.decodable import decodable
from askonce.estimators import anytime_bound

UNIT = 2**32
RATES = (0.8, 0.5, 0.32, 0.2, 0.125, 0.08, 0.05, 0.03, 0.018, 0.01)
_WEIGHTS = (0.04, 0.17, 0.2, 0.17, 0.13, 0.09, 0.07, 0.05, 0.04, 0.04)
"""Of the rates in the mean: high ones decide during the first thousands of requests."""
_START = tuple(-math.log(len(RATES) * weight) for weight in _WEIGHTS)
"""A weight is evidence from the beginning: the mean of ``exp(-start) L`` over the rates begins at 1 too."""


@decodable
class DecisionCounts(msgspec.Struct, array_like=True):
    """Sums over requests; those in `UNIT` s are marked so.

    Attributes:
        requests: all of them.
        served: those answered with a cached answer.
        audits: would-be hits sent to the model.
        judged: audits that were judged.
        wrong: audits that were judged wrong.
        reported_wrong: served answers that the application reported as wrong.
        labels: judged candidates, audits or not.
        served_doubt: the model's probability of being wrong, summed over what was served (in `UNIT` s).
        audited_doubt: the same over judged candidates near the threshold, each weighted by its chance to be
            served (in `UNIT` s).
        audited_wrong: those of them that were wrong, weighted likewise (in `UNIT` s).
        charge: ``V`` of the audits judged wrong (in `UNIT` s).
        open_charge: what those that are not judged would add (in `UNIT` s).
        above: the evidence for the upper bound, one for each rate (in `UNIT` s).
        open_above: what audits that are not judged would add (in `UNIT` s).
        below: the evidence for the lower bound, one for each rate (in `UNIT` s).
        ended: the rates that ended, as bits.
    """

    requests: int = 0
    served: int = 0
    audits: int = 0
    judged: int = 0
    wrong: int = 0
    reported_wrong: int = 0
    labels: int = 0
    served_doubt: int = 0
    audited_doubt: int = 0
    audited_wrong: int = 0
    charge: int = 0
    open_charge: int = 0
    above: tuple[int, ...] = (0,) * len(RATES)
    open_above: tuple[int, ...] = (0,) * len(RATES)
    below: tuple[int, ...] = (0,) * len(RATES)
    ended: int = 0

    def __post_init__(self) -> None:
        if any(len(getattr(self, name)) != len(RATES) for name in _VECTORS):
            raise ValueError(f"evidence is {len(RATES)} numbers")

    def add(self, other: DecisionCounts) -> None:
        """Add other sums."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _VECTORS:
            theirs = getattr(other, name)
            if any(theirs):
                setattr(self, name, tuple(a + b for a, b in zip(getattr(self, name), theirs, strict=True)))
        self.ended |= other.ended


_VECTORS = ("above", "open_above", "below")
_SUMS = [name for name in DecisionCounts.__struct_fields__ if name not in (*_VECTORS, "ended")]


def units(number: float) -> int:
    """A number in `UNIT` s."""
    return round(number * UNIT)


def charge(probability: float) -> int:
    """What a wrong audit adds to ``V`` (in `UNIT` s)."""
    return units((1 - probability) / probability)


@lru_cache(maxsize=1024)
def evidence(probability: float) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """What a wrong audit adds to the evidence above and below, and the rates that end when a coin is thrown."""
    above = anytime_bound.evidence(probability, RATES)
    below = anytime_bound.evidence(probability, [-rate for rate in RATES])
    return (
        tuple(0 if one == math.inf else units(one) for one in above),
        tuple(map(units, below)),
        sum(1 << index for index, one in enumerate(above) if one == math.inf),
    )


def _above(counts: DecisionCounts, *, judged: bool = False) -> list[float]:
    return [
        math.inf if counts.ended >> index & 1 else _START[index] + (above if judged else above + open_) / UNIT
        for index, (above, open_) in enumerate(zip(counts.above, counts.open_above, strict=True))
    ]


def at_most(counts: DecisionCounts, confidence: float, *, judged: bool = False) -> float:
    """With ``confidence``, at no time more wrong answers had been served.

    Args:
        counts: the sums so far.
        confidence: a probability.
        judged: leave out the audits that are not judged: what the bound will be if they all turn out right.
    """
    return min(anytime_bound.at_most(_above(counts, judged=judged), RATES, confidence), float(counts.served))


def at_least(counts: DecisionCounts, confidence: float) -> float:
    """With ``confidence``, at no time fewer wrong answers had been served."""
    # The evidence below is that at the negative rates: there the mean of exp(-rate W - G) is a martingale.
    least = anytime_bound.at_least([one / UNIT for one in counts.below], RATES, confidence)
    return max(min(least, float(counts.served)), float(min(counts.reported_wrong, counts.served)))


def affordable(counts: DecisionCounts, probability: float, line: float, confidence: float) -> bool:
    """Whether `at_most` stays at or below ``line`` if one more would-be hit is audited and found wrong.

    Serving it does not change the bound.

    Args:
        counts: the sums so far.
        probability: that of the audit.
        line: a number of wrong answers.
        confidence: that of the bound.
    """
    more = anytime_bound.evidence(probability, RATES)
    evidence = [so_far + one for so_far, one in zip(_above(counts), more, strict=True)]
    return anytime_bound.fits(evidence, RATES, line, confidence)
