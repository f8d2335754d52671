"""Whether a question is answered with a cached answer, and the bound on wrong answers that this guarantees.

For every question with a neighbour the rule decides on one of three actions:

- *miss*: call the model. The candidate's answer is compared with the fresh one afterwards: a free label.
- *serve*: answer with the candidate.
- *audit*: a would-be hit for which the model is called all the same, as a coin with a set probability decides.

A candidate is served while the model's pessimistic probability of being wrong is below a threshold, which is set so
that the expected wrong answers spend what is left of the budget, and while two budgets allow it for either side of
the coin. With ``d = max_error``, ``n`` requests so far, ``W`` wrong answers served so far, on any stream:

1. ``E[W] <= d E[n]`` at every stopping time, since the charge never passes ``d n``;
2. ``W <= d n + slack sqrt(d n)`` at all times at once, with the stated confidence.

``docs/research/semantic.md`` has the proofs and what they assume. The sums behind them are explained in
`askonce.semantic.decision.counts`.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from askonce.errors import ConfigError
from askonce.semantic.decision.counts import (
    UNIT,
    DecisionCounts,
    affordable,
    at_least,
    at_most,
    charge,
    evidence,
    units,
)
from askonce.semantic.decision.decision import Decision
from askonce.semantic.decision.deltas import RuleDelta, RuleSnapshot
from askonce.semantic.decision.features import Candidate, candidate
from askonce.semantic.decision.state import RuleState
from askonce.semantic.types import IndexedQuery, Neighbour
from askonce.stats import SemanticStats

WARM_LABELS = 200
"""How many labels are learned before the first hit."""
FEEDBACK_WEIGHT = 3
"""How many of a judge's labels the application's feedback counts for."""

_LEAST_AUDITED = 0.02
_AUDITING = (0.9, 2.24)  # how much is audited, at first and later; the budgets may demand more
_AUDITING_LATER = 3000  # requests; rare audits are weak evidence, which is what binds later
_WEIGHED = (0.8, 1.5)  # how much rarer and more often than usual the surest and the most doubtful are audited
_PLANNED = 1.05  # share of the budget that the model's estimate may plan to use
_MOST_PLANNED = 1.6  # the same at one time, if less was used before
_PESSIMISM = 1.0  # standard deviations of the model's own uncertainty taken off the log-odds
_PRIOR_WRONG = 3.0  # pseudo wrong answers behind the model's own estimate of what is served wrong
_RESERVE = (1.0, 1.6)  # standard deviations of the number of wrong answers held in reserve, at first and later
_RESERVE_LATER = 6000  # requests: at first a standard deviation is a large part of the budget
_NEAR = 0.1  # weight of a label just below the threshold in the correction of the model's estimate
_PACE = 0.9  # share of the certified head-room spent per horizon
_HORIZON = 0.2  # of the requests so far
_RECENT = 800  # requests on which the threshold is chosen
_EVERY = 20  # requests between two choices


class DecisionRule:
    """Decides, learns, and shares what it learned. Thread-safe.

    Args:
        max_error: the share of requests that may be answered wrongly.
        confidence: of the bounds.

    Raises:
        ConfigError: ``max_error`` is not above 0 and at most 0.5, or ``confidence`` not within 0.5 and 1.
    """

    def __init__(self, max_error: float, confidence: float = 0.9) -> None:
        if not 0 < max_error <= 0.5:
            raise ConfigError(f"max_error is a share of requests above 0 and at most 0.5; got {max_error!r}")
        if not 0.5 <= confidence < 1:
            raise ConfigError(f"confidence is a probability from 0.5 to below 1; got {confidence!r}")
        self.max_error = max_error
        self.confidence = confidence
        self.slack = min(8.0, max(4.0, 400 * max_error))
        self._lock = threading.RLock()
        self._state = RuleState()
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._decided = 0
        self._threshold = 0.0
        self._correction = 1.0

    def line(self, requests: float) -> float:
        """What the second bound allows: wrong answers among that many requests."""
        budget = self.max_error * requests
        return budget + self.slack * math.sqrt(budget)

    # ------------------------------------------------------------ deciding

    def decide(self, text: str, neighbours: Sequence[Neighbour], coin: float) -> Decision:
        """What to do about a question; the request is counted in the same step.

        Args:
            text: of the question.
            neighbours: the nearest indexed questions of its partition, nearest first.
            coin: a fresh random number, uniform in [0, 1), that whoever writes questions cannot foresee.
        """
        found = candidate(text, neighbours, self._state) if neighbours else None
        with self._lock:
            decision = Decision("miss", "no candidate") if found is None else self._decide(found, coin)
            self._account(decision)
        return decision

    def preview(self, text: str, neighbours: Sequence[Neighbour]) -> Decision:
        """What `decide` would do now if the question were not audited; nothing is counted."""
        found = candidate(text, neighbours, self._state) if neighbours else None
        with self._lock:
            return Decision("miss", "no candidate") if found is None else self._decide(found, 1.0)

    def past(self, text: str, neighbours: Sequence[Neighbour]) -> Decision:
        """The decision on a question that was answered before, to be judged; nothing is counted."""
        decision = self.preview(text, neighbours)
        decision.action = "past"
        return decision

    def _decide(self, found: Candidate, coin: float) -> Decision:
        log_odds, uncertainty = self._state.model.log_odds(found.features)
        p_wrong = 1.0 - self._state.model.right(log_odds - _PESSIMISM * uncertainty)
        decision = Decision(
            "miss",
            "doubtful",
            found.query,
            found.second,
            found.similarity,
            self._state.model.right(log_odds),
            p_wrong,
            features=found.features,
        )
        if self._state.total.labels < WARM_LABELS:
            decision.reason = "learning"
        elif found.guarded:
            decision.reason = "guard"
        elif p_wrong <= self._threshold:
            probability = self._audit_probability(p_wrong)
            decision.audit_probability = probability
            if probability >= 1.0:
                decision.reason = "budget"
            elif coin < probability:
                decision.action, decision.reason = "audit", "audit"
            else:
                decision.action, decision.reason = "serve", "trusted"
        return decision

    def _audit_probability(self, p_wrong: float) -> float:
        """A schedule, and more when the budgets demand it; 1 when the hit cannot be afforded."""
        total = self._state.total
        budget = self.max_error * (total.requests + 1)
        if total.served_doubt / UNIT * self._correction + p_wrong > _PLANNED * budget:
            return 1.0
        line = self.line(total.requests + 1)
        # Where candidates are wrong with probabilities p, audits in proportion to sqrt(p) estimate the number of
        # wrong ones with the least variance for what they cost.
        usual = (total.served_doubt / UNIT + 0.5) / (total.served + 10)
        low, high = _WEIGHED
        auditing = _between(_AUDITING, total.requests / _AUDITING_LATER)
        weight = min(high, max(low, math.sqrt(p_wrong / usual)))
        probability = max(_LEAST_AUDITED, weight * auditing / math.sqrt(1 + line))
        left = budget - (total.charge + total.open_charge) / UNIT - total.reported_wrong
        probability = max(probability, 1 / (1 + max(0.0, left)))
        probability = min(1.0, math.ceil(1000 * probability) / 1000)  # so that their evidence can be cached
        line -= total.reported_wrong
        while probability < 1.0 and not affordable(total, probability, line, self.confidence):
            probability = min(1.0, math.ceil(1100 * probability) / 1000)
        return probability

    def _account(self, decision: Decision) -> None:
        change = DecisionCounts(requests=1)
        if decision.features is not None and decision.reason != "guard":
            self._recent.append(decision.p_wrong)
        if decision.action == "serve":
            change.served, change.served_doubt = 1, units(decision.p_wrong)
        if decision.audit_probability < 1.0:
            above, _, change.ended = evidence(decision.audit_probability)
            if decision.action == "audit":
                change.audits, change.open_charge, change.open_above = 1, charge(decision.audit_probability), above
        self._state.count(change)
        self._decided += 1
        if self._decided % _EVERY == 0:
            self._aim()

    def _aim(self) -> None:
        """Sets the threshold: the largest that spends what is left of the budgets over the horizon.

        What it spends are the expected wrong answers per request, over the newest requests.
        """
        total, requests, share = self._state.total, self._state.total.requests, self.max_error
        doubt = _PRIOR_WRONG + total.audited_doubt / UNIT
        ratio = (_PRIOR_WRONG + total.audited_wrong / UNIT) / doubt
        deviation = math.sqrt(_PRIOR_WRONG + total.audited_wrong / UNIT) / doubt
        self._correction = ratio + deviation
        served = total.served_doubt / UNIT
        spent = ratio * served
        reserve = _between(_RESERVE, requests / _RESERVE_LATER)
        spent += reserve * math.sqrt(spent * max(1.0, ratio) + (deviation * served) ** 2)
        horizon = max(150.0, _HORIZON * requests)
        certified = at_most(total, self.confidence, judged=True) + total.reported_wrong
        rate = min(
            (_PLANNED * share * (requests + horizon) - spent) / horizon,
            _MOST_PLANNED * share,
            _PACE * (0.97 * self.line(requests + horizon) - certified) / horizon,
        )
        self._threshold = self._spending(max(0.0, rate) / max(ratio, 0.5))

    def _spending(self, rate: float) -> float:
        """The largest threshold at which so many wrong answers per request are expected, by the newest requests."""
        doubts = np.sort(np.array(self._recent))
        if len(doubts) < 50:
            return 0.0
        count = np.searchsorted(np.cumsum(doubts) / len(doubts), rate)
        return min(0.5, float(doubts[count - 1])) if count else 0.0

    # ------------------------------------------------------------ learning

    def learn(self, decision: Decision, right: bool) -> None:
        """Learn the judge's verdict on a miss or an audit: was the candidate's answer the same as the fresh one?

        A second judgement of one decision is ignored. An audit that is never judged stays charged as a wrong one.
        A question of the past changes neither the count of requests nor a budget.

        Raises:
            ValueError: the decision has no candidate, or it was served.
        """
        if decision.features is None or decision.query is None or decision.action == "serve":
            raise ValueError("only a miss or an audit with a candidate can be judged")
        with self._lock:
            if decision.judged:
                return
            decision.judged = True
            probability = decision.audit_probability
            if decision.action == "past":
                weight = self._weight_of_past(decision)
            elif decision.action == "audit":
                weight = 1 - probability
            elif decision.reason == "budget":
                weight = 1.0
            else:
                weight = _NEAR if decision.p_wrong < 2 * self._threshold else 0.0
            change = DecisionCounts(
                audited_doubt=units(decision.p_wrong * weight), audited_wrong=units(0 if right else weight)
            )
            if decision.action == "audit":
                above, below, _ = evidence(probability)
                change.judged, change.open_charge = 1, -charge(probability)
                change.open_above = tuple(-part for part in above)
                if not right:
                    change.wrong, change.charge, change.above, change.below = 1, charge(probability), above, below
            self._learn(decision, right, 1, change)

    def _weight_of_past(self, decision: Decision) -> float:
        """1 for a candidate that would have been served if the budgets had allowed it, else 0."""
        if decision.reason == "guard":
            return 0.0
        self._recent.append(decision.p_wrong)
        return float(decision.p_wrong <= self._spending(_MOST_PLANNED * self.max_error))

    def feedback(self, decision: Decision, right: bool) -> None:
        """Learn the application's feedback on a served answer; nothing is learned for any other decision.

        It counts as `FEEDBACK_WEIGHT` of a judge's labels. A wrong answer is also taken off both budgets, like
        those that the audits account for.
        """
        if decision.action != "serve" or decision.features is None or decision.query is None:
            return
        with self._lock:
            if decision.has_feedback:
                return
            decision.has_feedback = True
            change = DecisionCounts()
            if not right:
                change.reported_wrong = 1
                change.audited_doubt, change.audited_wrong = units(decision.p_wrong), UNIT
            self._learn(decision, right, FEEDBACK_WEIGHT, change)

    def _learn(self, decision: Decision, right: bool, weight: int, change: DecisionCounts) -> None:
        assert decision.query is not None
        assert decision.features is not None
        change.labels = 1
        self._state.count(change)
        self._state.learn(decision.query, right, weight, decision.features)

    def join(self, key: bytes, query: IndexedQuery) -> None:
        """The answer to the question with a key was found to be the same as that to an indexed question."""
        with self._lock:
            self._state.join(key, query)

    def renew(self, key: bytes) -> None:
        """The question with a key has a fresh answer, which is not yet known to be the same as any."""
        with self._lock:
            self._state.renew(key)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop what is known of questions that are no longer stored, and of their answers.

        What was learned from them in general stays.
        """
        with self._lock:
            self._state.forget(keys)

    # ------------------------------------------------------------ sharing

    def take(self) -> RuleDelta | None:
        """All that this process counted and learned since the last call, for `merge`; ``None`` if nothing."""
        with self._lock:
            return self._state.take()

    def merge(self, delta: RuleDelta) -> None:
        """Add what another process counted and learned."""
        with self._lock:
            self._state.merge(delta)
            self._aim()

    def snapshot(self) -> tuple[RuleDelta | None, RuleSnapshot]:
        """`take`, and the whole state, for `restore`."""
        with self._lock:
            new = self._state.take()
            return new, self._state.snapshot(list(self._recent), self._threshold, self._correction)

    def restore(self, snapshot: RuleSnapshot) -> None:
        """Replace all that was merged by a snapshot; what `take` has not given out stays."""
        with self._lock:
            self._state.restore(snapshot)
            self._recent = deque(self._recent or snapshot.recent, maxlen=_RECENT)
            self._threshold, self._correction = snapshot.threshold, snapshot.correction

    def stats(self) -> SemanticStats:
        """What was counted, and the bounds that follow."""
        with self._lock:
            total = DecisionCounts()
            total.add(self._state.total)
        requests = max(1, total.requests)
        either = (1 + self.confidence) / 2
        return SemanticStats(
            requests=total.requests,
            hits=total.served,
            audits=total.audits,
            unjudged=total.audits - total.judged,
            judged=total.labels,
            wrong_found=total.wrong,
            reported_wrong=total.reported_wrong,
            estimated_error=max(total.charge / UNIT, total.reported_wrong) / requests,
            error_low=at_least(total, either) / requests,
            error_high=at_most(total, either) / requests,
            certified_error=at_most(total, self.confidence) / requests,
            max_error=self.max_error,
        )


def _between(ends: tuple[float, float], share: float) -> float:
    """From the first to the second, and no further."""
    return ends[0] + (ends[1] - ends[0]) * min(1.0, share)
