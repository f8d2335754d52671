"""Whether a plan saves: by what the provider reported for the requests of a family, and by nothing else.

Before a plan is put in force it is *proven*: played by the provider's rule on the latest half of the requests, from
an empty cache, as if it had been in force for them. Their lengths, and what they cost without it, are the
provider's own figures. While it is in force an `Account` compares each bill with what the request would have cost
as it was made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from askonce.entries.entry import Usage
from askonce.prefix.optimize.plan import BreakpointPlan, cost_of, plan, rules_of_others
from askonce.prefix.optimize.replay import Replay, key_of, with_added
from askonce.prefix.optimize.statistics import LAST_BLOCK, Mark, statistics_of
from askonce.prefix.requests.chain import Chain
from askonce.prefix.requests.rules import ProviderRule
from askonce.prefix.tracking.history import Sent

_LEAST_SHARE, _STANDARD_ERRORS = 0.02, 2.0
"""A saving is proven if it is that share of the bill, and so many standard errors above nothing."""
_SIMPLE = 0.98
"""A plan that was fitted to the requests must cost less than this share of the simple ones."""
_ALLOWED, _RETURNED, _MARGIN = 0.02, 0.1, 1.5
_MOST_UNREPORTED = 50


@dataclass(frozen=True, slots=True)
class WatchedRequest:
    """A request that was answered.

    Attributes:
        sent: as the application made it, its length as the provider reported it.
        in_order: the same with its tools in one order.
        paid: what it cost as it was sent, in input tokens; ``None`` if the provider reported nothing.
    """

    sent: Sent
    in_order: Chain
    paid: float | None


@dataclass(frozen=True, slots=True)
class Proof:
    """That a plan would have saved.

    Attributes:
        plan: the plan.
        requests: on how many requests it was tried.
        saved: the share of their bill that it would have saved.
        drawdown: how far its bill was above the other in the meantime, in input tokens: writes come first.
    """

    plan: BreakpointPlan
    requests: int
    saved: float
    drawdown: float


def cost_of_usage(usage: Usage, chain: Chain, rule: ProviderRule, *, dearest: bool) -> float:
    """What a request cost, in input tokens, by what its provider reported.

    Usage does not show for how long each token was written. Of several lifetimes that the request sets, the
    ``dearest`` or the cheapest is taken for all.
    """
    names = [chain.segments[at].mark for at in chain.marks] or [chain.retention]
    multiples = [rule.lifetime(name).write_multiple for name in names]
    written = max(multiples) if dearest else min(multiples)
    read, wrote = usage.cache_read_tokens, usage.cache_write_tokens
    return usage.input_tokens - read - wrote + rule.read_multiple * read + written * wrote


def planned_chain(one: WatchedRequest, plan: BreakpointPlan | None) -> Chain:
    """A request as a plan would have it sent."""
    if plan is None:
        return one.sent.chain
    chain = one.in_order if plan.tools_sorted else one.sent.chain
    if plan.rule.marking != "automatic":
        chain = with_added(chain, plan.marks, plan.rule)
    if plan.rule.provider == "openai":
        key = chain.cache_key or key_of(chain, plan.keys)
        chain = replace(chain, cache_key=key, retention=chain.retention or plan.retention)
    return chain


def candidates(watched: Sequence[WatchedRequest], rule: ProviderRule) -> Iterator[BreakpointPlan]:
    """The simple plans, then the cheapest for these requests; none that changes nothing."""
    sent = [replace(one.sent, chain=one.in_order) for one in watched]
    statistics = statistics_of(sent, rule)
    made = plan(statistics, sent=sent)
    simple = [*rules_of_others(rule).values(), (Mark(LAST_BLOCK, rule.lifetimes[0].name),)]
    sets = [made.marks] if rule.marking == "automatic" else [*filter(None, simple), made.marks]
    orders = [False, True] if any(one.in_order is not one.sent.chain for one in watched) else [False]
    for marks in sets:
        expected = cost_of(statistics, marks) / len(sent) if marks != made.marks else made.cost_tokens
        for order in orders:
            if order or marks or made.keys > 1 or made.retention:
                yield replace(made, marks=marks, tools_sorted=order, cost_tokens=expected)


def proven(watched: Sequence[WatchedRequest], plan: BreakpointPlan, now: BreakpointPlan | None) -> Proof | None:
    """Whether a plan would have saved, compared with what is in force.

    Args:
        watched: requests from which the plan was not made, in the order of their times.
        plan: the plan.
        now: the plan that was in force when they were sent, if any.
    """
    known, tried = Replay(plan.rule), Replay(plan.rule)
    saved: list[float] = []
    paid = expected = cost = balance = peak = drawdown = 0.0
    for one in watched:
        predicted = known.cost(replace(one.sent, chain=planned_chain(one, now)))
        mine = tried.cost(replace(one.sent, chain=planned_chain(one, plan)))
        if one.paid is None:
            continue
        saved.append(one.paid - mine)
        paid, expected, cost = paid + one.paid, expected + predicted, cost + mine
        balance += one.paid - mine
        peak = max(peak, balance)
        drawdown = max(drawdown, peak - balance)
    number = len(saved)
    # Where the provider reads more than the rule says, or less, nothing is made of the difference.
    least = min(paid, expected) - cost
    if number < 2 or least <= _LEAST_SHARE * paid:
        return None
    mean = least / number
    spread = math.sqrt(sum((one - sum(saved) / number) ** 2 for one in saved) / (number - 1))
    if mean <= _STANDARD_ERRORS * spread / math.sqrt(number):
        return None
    return Proof(plan, number, least / paid, drawdown)


def best_proof(
    watched: Sequence[WatchedRequest], rule: ProviderRule, now: BreakpointPlan | None, *, longer_retention: bool
) -> Proof | None:
    """The plan of the greatest saving among those proven: made from the first half, tried on the second."""
    half = len(watched) // 2
    best: Proof | None = None
    for made in candidates(watched[:half], rule):
        allowed = made if longer_retention else replace(made, retention=None)
        proof = proven(watched[half:], allowed, now)
        if proof is not None and (best is None or 1 - proof.saved < _SIMPLE * (1 - best.saved)):
            best = proof
    return best


class Account:
    """What a plan saves while it is in force. The bill is compared with that of the requests as they were made.

    Args:
        rule: the provider's.
        watched: the requests before the plan, in the order of their times.
        drawdown: what the plan was seen to pay in advance, in input tokens.
    """

    def __init__(self, rule: ProviderRule, watched: Sequence[WatchedRequest], drawdown: float) -> None:
        self._plain = Replay(rule)
        expected = [self._plain.cost(one.sent) for one in watched]
        pairs = [(one.paid, cost) for one, cost in zip(watched, expected, strict=True) if one.paid is not None]
        paid, predicted = sum(bill for bill, _ in pairs), sum(cost for _, cost in pairs)
        self._trust = min(1.0, paid / predicted) if predicted else 1.0
        self._allowed = _ALLOWED * paid + _MARGIN * drawdown
        self._balance = self._peak = 0.0
        self._unreported = 0

    def allow(self, drawdown: float) -> None:
        """Another plan follows, which pays so much in advance."""
        self._allowed += _MARGIN * drawdown

    def still_pays(self, one: WatchedRequest) -> bool:
        """Take in a request that was sent by the plan."""
        plain = self._trust * self._plain.cost(one.sent)
        if one.paid is None:
            self._unreported += 1
            return self._unreported < _MOST_UNREPORTED
        self._unreported = 0
        self._balance += plain - one.paid
        self._peak = max(self._peak, self._balance)
        return self._peak - self._balance <= self._allowed + _RETURNED * self._peak
