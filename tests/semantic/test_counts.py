"""The bounds by themselves: audits of answers that somebody else makes wrong."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askonce.semantic.decision.counts import DecisionCounts, affordable, at_least, at_most, charge, evidence

numbers = st.integers(-(2**40), 2**40)
vectors = st.lists(numbers, min_size=10, max_size=10).map(tuple)
several = st.builds(
    DecisionCounts,
    requests=numbers,
    served=numbers,
    open_charge=numbers,
    above=vectors,
    below=vectors,
    ended=st.integers(0, 1023),
)


def total(*several: DecisionCounts) -> DecisionCounts:
    sum_ = DecisionCounts()
    for counts in several:
        sum_.add(counts)
    return sum_


@given(several, several, several)
def test_counts_add_up_in_any_order_and_grouping(a: DecisionCounts, b: DecisionCounts, c: DecisionCounts) -> None:
    assert total(total(a, b), c) == total(a, total(b, c)) == total(c, b, a)


@settings(max_examples=50)
@given(st.floats(0.02, 1.0), st.floats(0.01, 500.0), st.floats(0.5, 0.99))
def test_an_affordable_audit_stays_below_the_line_when_it_is_wrong(
    probability: float, line: float, confidence: float
) -> None:
    counts = DecisionCounts(served=10**6)
    while affordable(counts, probability, line, confidence) and counts.audits < 50:
        above, _, ended = evidence(probability)
        counts.add(DecisionCounts(audits=1, above=above, ended=ended))
        assert at_most(counts, confidence) <= line * 1.0001 + 1e-3


@pytest.mark.parametrize("probability", [0.05, 0.2, 0.6])
def test_the_bounds_hold_at_every_moment_as_often_as_stated(probability: float) -> None:
    runs, luck = 150, random.Random(1)
    above, below, ended = evidence(probability)
    outside = 0
    charged = served = 0.0
    for _ in range(runs):
        counts, wrong, left = DecisionCounts(), 0, False
        for _ in range(400):
            if luck.random() < probability:
                counts.add(
                    DecisionCounts(audits=1, charge=charge(probability), above=above, below=below, ended=ended)
                )
            else:
                wrong += 1
                counts.add(DecisionCounts(served=1, ended=ended))
            left = (
                left or not (at_least(counts, 0.9) <= wrong <= at_most(counts, 0.9) + 1e-6)
                if wrong % 20 == 0
                else left
            )
        outside += left
        charged += counts.charge / 2**32
        served += wrong
    assert outside <= 0.2 * runs  # each side one in ten
    assert charged == pytest.approx(served, rel=0.1)


def test_the_weighted_mean_of_the_evidence_is_passed_seldom_by_an_adversary_who_stops_when_it_is() -> None:
    """The bound on wrong answers at all times at once, with audits that grow rarer: at most a tenth are above."""
    runs, above = 300, 0
    for seed in range(runs):
        coins, counts, wrong = random.Random(seed), DecisionCounts(), 0
        for number in range(120):
            probability = max(0.12, round(0.6 - 0.01 * number, 3))
            more, below, ended = evidence(probability)
            counts.add(DecisionCounts(served=1, ended=ended))
            if coins.random() < probability:
                counts.add(DecisionCounts(wrong=1, above=more, below=below))
            else:
                wrong += 1
            if wrong > at_most(counts, 0.9):
                above += 1
                break
    assert above <= 0.1 * runs
