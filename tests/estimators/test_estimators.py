"""Bounds and regressions, without anything that uses them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce.estimators.anytime_bound import at_least, at_most, endings, evidence, fits
from askonce.estimators.regression import LogisticRegression, probability

np = pytest.importorskip("numpy")
RATES = tuple(0.02 * 1.7**step for step in range(9))
evidences = st.lists(st.floats(0, 30), min_size=len(RATES), max_size=len(RATES))


def mixture(so_far: list[float], errors: float) -> float:
    return sum(math.exp(rate * errors - one) for rate, one in zip(RATES, so_far, strict=True)) / len(RATES)


@given(evidences)
def test_the_bound_is_where_the_martingale_reaches_its_limit(so_far: list[float]) -> None:
    bound = at_most(so_far, RATES, 0.95)
    assert bound == 0 or mixture(so_far, bound) == pytest.approx(20, rel=1e-3)


@given(evidences, st.floats(0, 50))
def test_fits_agrees_with_the_bound(so_far: list[float], room: float) -> None:
    if abs(at_most(so_far, RATES, 0.9) - room) > 1e-3:
        assert fits(so_far, RATES, room, 0.9) == (at_most(so_far, RATES, 0.9) <= room)


@given(st.floats(0.01, 0.99))
def test_the_martingale_has_a_constant_mean(p: float) -> None:
    for rate, one, ends in zip(RATES, evidence(p, RATES), endings(p, RATES), strict=True):
        if ends == 0:
            assert (1 - p) * math.exp(rate) + p * math.exp(-one) == pytest.approx(1)
        else:
            assert one == math.inf


@given(st.floats(0.05, 0.9), st.integers(0, 200))
def test_the_lower_bound_is_below_the_upper_one(p: float, errors: int) -> None:
    above = [errors * one if errors else 0.0 for one in evidence(p, RATES)]
    below = [errors * one for one in evidence(p, [-rate for rate in RATES])]
    assert 0 <= at_least(below, RATES, 0.9) <= errors * (1 - p) / p + 1e-6 <= at_most(above, RATES, 0.9) + 1e-5


def test_regression_learns_with_its_uncertainty() -> None:
    one, rng = LogisticRegression.untrained(8), np.random.default_rng(0)
    weights = rng.normal(size=8)
    start = one.predict(np.ones(8, np.float32))[1]
    for _ in range(2000):
        x = rng.normal(size=8).astype(np.float32)
        one.learn(x, bool(rng.random() < 1 / (1 + np.exp(-x @ weights))))
    assert one.predict(np.ones(8, np.float32))[1] < start / 5
    assert np.abs(one.mean - weights).max() < 0.3 and 0 < probability(*one.predict(weights.astype(np.float32))) < 1
