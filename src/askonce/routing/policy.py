"""The decisions of the strategy `Learned`: which model to begin with, and whether its answer is served unseen."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from askonce.estimators.anytime_bound import at_most, endings, evidence, fits
from askonce.estimators.regression import probability, sigmoid
from askonce.routing.judges import Judged
from askonce.routing.replica import SharedRouting
from askonce.routing.state import AnswerOutcome, outcome
from askonce.routing.strategies import Learned

if TYPE_CHECKING:
    from askonce.estimators.regression import Vector

RATES = tuple(0.02 * 1.7**step for step in range(9))
"""Of the bound on failing answers: from 0.02 for many rare audits to 1.4 for few that are nearly certain."""
_WINDOW, _ADJUST_EVERY = 512, 16
_AUDIT_SCALE, _LEAST_AUDITS, _MORE = 0.6, 0.08, 1.5
_PRIOR_FAILURES = 4.0
_ADVANCE_SHARE, _FIRST_ADVANCE, _MOST_ADVANCE = 0.05, 3.0, 20.0
"""What learning may cost before it has saved: a share of what the last model alone would have cost, but at first a
few and never more than so many of its calls."""
_GAINED_SHARE = 0.2
"""And of what it has saved, a share."""
_SPEND = 0.8
"""Share of the allowed failures that the threshold aims at; the bound guarantees the floor."""


@dataclass(frozen=True, slots=True)
class Coin:
    """What was decided about the answer of a cheap model.

    Attributes:
        index: the model.
        kind: ``serve`` it unseen; ``audit`` it, as the coin fell; call both to learn (``shadow``); or ``pass`` on.
        fails: the probability that it fails.
        p: of an audit, beforehand.
        tight: it would have been served, had there been room above the floor.
    """

    index: int
    kind: Literal["serve", "audit", "shadow", "pass"]
    fails: float
    p: float = 1.0
    tight: bool = False


class RoutingPolicy:
    """Decides by the shared state, and adds the outcomes to it.

    Args:
        strategy: the settings.
        models: how many there are.
        shared: the state.
        costs: dollars for a call of each model, where they were given.
    """

    def __init__(
        self, strategy: Learned, models: int, shared: SharedRouting, costs: tuple[float, ...] | None
    ) -> None:
        self._strategy, self._last, self._shared, self._costs = strategy, models - 1, shared, costs
        self._random = random.SystemRandom() if strategy.seed is None else random.Random(strategy.seed)
        self._reserved = [0.0] * len(RATES)
        self._recent: deque[tuple[float, float]] = deque(maxlen=_WINDOW)  # failing per saved share, and failing
        self._threshold = 1 - strategy.min_quality
        self._decided = 0

    @property
    def has_floor(self) -> bool:
        """Whether wrong answers that were served are found out."""
        return self._strategy.measure != "verifier"

    def _allowed(self, requests: float) -> float:
        """How many answers to so many requests may fail."""
        return (1 - self._strategy.min_quality) * requests

    def _evidence(self) -> list[float]:
        return [self._shared.state.sums[f"floor.{at}"] for at in range(len(RATES))]

    # -- costs -------------------------------------------------------------------------------------------------

    def cost(self, index: int, characters: int) -> float:
        """The expected cost of a call; for a model that was never called, by the order of the models."""
        if self._costs is not None:
            return self._costs[index]
        for other in [index, *range(self._last, -1, -1)]:
            known = self._shared.state.cost(other, characters)
            if known is not None:
                return float(known * (index + 1) / (other + 1))
        return index + 1.0

    # -- with a verifier: where to begin -----------------------------------------------------------------------

    def start(self, x: Vector, characters: int, first: int = 0) -> int:
        """The model to begin with, of those from ``first`` on: the least expected cost, with optimism.

        A model before the last costs its call and, with the probability of a rejection, the calls after it.
        """
        with self._shared.state.lock:
            best, least = self._last, self.cost(self._last, characters)
            for index in range(self._last - 1, first - 1, -1):
                mean, sd = self._shared.state.learner(f"rejected.{index}", len(x)).predict(x)
                expected = self.cost(index, characters) + sigmoid(mean - sd) * least
                if expected < least:
                    best, least = index, expected
            return best

    def verified(self, index: int, x: Vector, accepted: bool) -> None:
        """Learn the verdict of the verifier."""
        self._shared.add({}, [outcome(f"rejected.{index}", x, not accepted)])

    # -- with a judge or feedback: whether a cheap answer may be served ----------------------------------------

    def throw(self, candidates: dict[int, Vector], characters: int) -> Coin:
        """Choose among cheap models, and throw the coin.

        Args:
            candidates: the features by model; of a model that answered already, with its verifier's score.
            characters: length of the request.
        """
        with self._shared.state.lock:
            last = self.cost(self._last, characters)
            rated = [self._rate(index, x, characters, last) for index, x in candidates.items()]
            best = max(rated, key=lambda one: one.worth(self._threshold))
            self._adjust(best)
            wanted = best.ratio <= self._threshold
            if wanted and best.saved > 0:
                coin = self._with_room(best, last)
                if coin is not None:
                    return coin
            curious = best.hopeful <= self._threshold and self._can_afford_to_learn(best, last)
            kind: Literal["shadow", "pass"] = "shadow" if curious else "pass"
            return Coin(best.index, kind, best.fails, tight=wanted)

    def _judge_cost(self, last: float) -> float:
        """What the judge costs, as a share of the last model's call: as measured; a model at first as much."""
        if self._strategy.judge is None or not last:
            return 0.0
        sums = self._shared.state.sums
        if sums["judge.n"]:
            return sums["judge.weight"] / sums["judge.n"] / last
        return 1.0 if isinstance(self._strategy.judge, Judged) else 0.0

    def _can_afford_to_learn(self, rated: _Rated, last: float) -> bool:
        """Whether a cheap answer may be paid for only to be compared.

        It may if what is learned can pay, that is, if an answer that is served saves more than the rarest audits
        cost; and only for so much in all: an advance, and a share of what serving cheap answers has saved.
        """
        judge = self._judge_cost(last)
        if self._strategy.judge is None or rated.saved <= _LEAST_AUDITS * (1 + judge):
            return False
        sums = self._shared.state.sums
        always, learned, cost = sums["always.weight"], sums["learning.weight"], (1 - rated.saved + judge) * last
        advance = min(max(_ADVANCE_SHARE * always, _FIRST_ADVANCE * last), _MOST_ADVANCE * last)
        gained = max(0.0, always - sums["weight"] + learned)
        return learned + cost <= advance + _GAINED_SHARE * gained

    def _rate(self, index: int, x: Vector, characters: int, last: float) -> _Rated:
        mean, sd = self._shared.state.learner(f"wrong.{index}", len(x)).predict(x)
        sums = self._shared.state.sums
        ratio = (sums[f"observed.{index}"] + _PRIOR_FAILURES) / (sums[f"expected.{index}"] + _PRIOR_FAILURES)
        saved = 1 - self.cost(index, characters) / last if last else 0.0
        fails, hope = min(probability(mean, sd) * ratio, 1.0), min(sigmoid(mean - sd) * ratio, 1.0)
        if self._strategy.judge is None:
            fails = hope  # only what is served is learned from
        return _Rated(index, fails, hope, saved)

    def _adjust(self, rated: _Rated) -> None:
        """Every 16 requests, set the threshold to spend what the floor allows, going by the latest 512."""
        self._recent.append((rated.ratio, rated.fails))
        self._decided += 1
        if self._decided % _ADJUST_EVERY:
            return
        left = self._allowed(len(self._recent)) * _SPEND
        threshold = 0.0
        for ratio, fails in sorted(self._recent):
            left -= fails
            if left < 0 or ratio == math.inf:
                break
            threshold = ratio
        self._threshold = threshold

    def passed(self) -> None:
        """Count a request without a cheap answer that could be served."""
        with self._shared.state.lock:
            self._adjust(_Rated(self._last, 0.0, 1.0, 0.0))

    def _with_room(self, rated: _Rated, last: float) -> Coin | None:
        sums = self._shared.state.sums
        judge = self._judge_cost(last)
        room = self._allowed(sums["requests"] + 1) - sums["unresolved"]
        if self._strategy.judge is None:
            failing = sums["open"] + sums["wrong"]
            if failing + self._shared.processes > room:
                return None
            self._shared.add({"open": 1.0})
            return Coin(rated.index, "serve", rated.fails, 0.0)
        if sums["wrong"] + 1 > room:
            return None
        confidence = self._strategy.confidence
        known = _sum(self._evidence(), self._reserved)
        now = at_most(known, RATES, confidence)
        room = (
            now + (room - now) / self._shared.processes
        )  # a part for each process, since they see each other late
        planned = _AUDIT_SCALE / math.sqrt(1 + self._allowed(sums["requests"]))
        p = max(planned * math.sqrt(rated.fails / (1 - self._strategy.min_quality)), _LEAST_AUDITS)
        while p * (1 + judge) < rated.saved / (1 + judge):  # the more a judge costs, the rarer
            if fits(_sum(known, evidence(p, RATES)), RATES, room, confidence):  # even if an audit finds it failing
                self._shared.add(_floor_sums(endings(p, RATES)))
                return self._toss(rated, p)
            p *= _MORE
        return None

    def _toss(self, rated: _Rated, p: float) -> Coin:
        if self._random.random() >= p:
            return Coin(rated.index, "serve", rated.fails, p)
        self._reserve(p, 1)
        return Coin(rated.index, "audit", rated.fails, p)

    def _reserve(self, p: float, sign: int) -> None:
        """Until an audit is judged it counts as failed."""
        for at, more in enumerate(evidence(p, RATES)):
            if more < math.inf:
                self._reserved[at] += sign * more

    def judged(self, coin: Coin, x: Vector, failed: bool | None) -> None:
        """Add the judge's verdict on an answer; ``None`` if it has none, which counts as failed."""
        sums: dict[str, float] = {}
        with self._shared.state.lock:
            sums["audits"] = 1.0
            if coin.kind == "audit":
                self._reserve(coin.p, -1)
                if failed is not False:
                    sums |= _floor_sums(evidence(coin.p, RATES))
                    sums["missed"] = (1 - coin.p) / coin.p
            if failed is None:
                self._shared.add(sums)
                return
            if coin.kind == "audit" or coin.tight:
                sums |= {f"observed.{coin.index}": float(failed), f"expected.{coin.index}": self._raw(coin)}
            self._shared.add(sums, [outcome(f"wrong.{coin.index}", x, failed)])

    def _raw(self, coin: Coin) -> float:
        sums = self._shared.state.sums
        ratio = (sums[f"observed.{coin.index}"] + _PRIOR_FAILURES) / (
            sums[f"expected.{coin.index}"] + _PRIOR_FAILURES
        )
        return coin.fails / ratio

    def undo(self, coin: Coin) -> None:
        """Undo a decision, since the cheap model gave no answer that could be served."""
        with self._shared.state.lock:
            if coin.kind == "audit":
                self._reserve(coin.p, -1)
            elif coin.kind == "serve" and self._strategy.judge is None:
                self._shared.add({"open": -1.0})

    def unresolved(self, coin: Coin) -> None:
        """Count a cheap answer that was served and will never be judged as failing."""
        self.undo(coin)
        self._shared.add({"unresolved": 1.0})

    def answered(self, learner: str, x: bytes, wrong: bool) -> None:
        """Learn the feedback of the application on an answer."""
        sums = {"wrong" if wrong else "right": 1.0}
        if self._strategy.judge is None:
            sums["open"] = -1.0
        self._shared.add(sums, [AnswerOutcome(learner, x, wrong)])

    # -- what holds --------------------------------------------------------------------------------------------

    def quality(self) -> tuple[float | None, float | None]:
        """The estimated share of answers that pass, and the share that is sure."""
        with self._shared.state.lock:
            sums = self._shared.state.sums
            requests = sums["requests"]
            if not requests or not self.has_floor:
                return None, None
            if self._strategy.judge is None:
                known = sums["wrong"] + sums["unresolved"]
                return 1 - known / requests, 1 - (known + sums["open"]) / requests
            most = max(at_most(self._evidence(), RATES, self._strategy.confidence), sums["wrong"])
            most += sums["unresolved"]
            likely = sums["missed"] + sums["unresolved"]
            return max(1 - likely / requests, 0.0), max(1 - most / requests, 0.0)


def _sum(evidence: Sequence[float], more: Sequence[float]) -> list[float]:
    return [one + other for one, other in zip(evidence, more, strict=True)]


def _floor_sums(evidence: Sequence[float]) -> dict[str, float]:
    return {f"floor.{at}": more for at, more in enumerate(evidence) if more}


@dataclass(frozen=True, slots=True)
class _Rated:
    """A cheap model for one request.

    Attributes:
        index: the model.
        fails: the probability that its answer fails.
        hopeful: the same, optimistic where little is known.
        saved: the share of the last model's cost that it saves.
    """

    index: int
    fails: float
    hopeful: float
    saved: float

    @property
    def ratio(self) -> float:
        """Failing per saved share: what a saving is paid with."""
        return self.fails / self.saved if self.saved > 0 else math.inf

    def worth(self, threshold: float) -> float:
        """What is saved, less what its failing is worth at the going rate."""
        return self.saved - self.fails / threshold if threshold > 0 else -self.fails
