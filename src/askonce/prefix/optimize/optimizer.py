"""`PrefixOptimizer`: requests changed so that the provider's prompt cache reads more of them.

What is changed cannot change the answer: the order of tools and of the keys in their JSON, breakpoints, cache keys,
retention. What could is only proposed (`BreakpointPlan.proposals`).
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

from askonce.concurrency.background import BackgroundWorker
from askonce.concurrency.closing import Closing
from askonce.entries.entry import Usage
from askonce.errors import ConfigError
from askonce.prefix.optimize.breakpoints import ToolOrder, name_of, with_plan
from askonce.prefix.optimize.plan import BreakpointPlan, plan
from askonce.prefix.optimize.proof import (
    Account,
    Proof,
    WatchedRequest,
    best_proof,
    cost_of_usage,
    planned_chain,
)
from askonce.prefix.optimize.statistics import statistics_of
from askonce.prefix.requests.chain import Chain, chain_of
from askonce.prefix.requests.rules import ProviderRule, rule_for
from askonce.prefix.requests.tokens import Count, Counter, GivenCounter, LearnedCounter, tiktoken_counter
from askonce.prefix.requests.wire import compact, request_of
from askonce.prefix.tracking.history import Recent, Sent
from askonce.stores.fork import reset_after_fork

logger = logging.getLogger("askonce")

_MOST_FAMILIES, _MOST_REQUESTS, _MOST_REQUESTS_IN_ALL = 200, 500, 4_000
"""Plans are made from requests held in memory, some 20 kB each: so many of one family, so many in all."""
_LEAST_REQUESTS = 20
"""A plan is proven on no fewer. It is looked for after 20, 50, 100 and 200 requests, and then after each 250."""
_REVIEWED_AT, _REVIEWED_EVERY = (20, 50, 100, 200), 250
_NOT_GIVEN = ("NotGiven", "Omit")

optimizers: weakref.WeakValueDictionary[str, PrefixOptimizer] = weakref.WeakValueDictionary()
"""All that there are, by `PrefixOptimizer.name`: so that a tracker finds the one that changes what it sees."""


@dataclass(frozen=True, slots=True)
class OptimizedRequest:
    """A request on its way.

    Attributes:
        body: what to send.
        answered: to be called once with what the provider reported (`askonce.prefix.requests.usage.usage_of`), or
            with ``None`` if it reported nothing.
    """

    body: Mapping[str, Any]
    answered: Callable[[Usage | None], None]


@dataclass(slots=True)
class _Change:
    """A request as it was made, and as it is sent."""

    body: Mapping[str, Any]
    sent: Sent
    in_order: Chain
    rule: ProviderRule
    plan: BreakpointPlan | None
    chain: Chain


class _Family:
    """What is known of the requests of one family."""

    def __init__(self) -> None:
        self.watched: deque[WatchedRequest] = deque(maxlen=_MOST_REQUESTS)
        self.seen = 0
        self.least = _LEAST_REQUESTS
        self.proof: Proof | None = None
        self.account: Account | None = None

    @property
    def plan(self) -> BreakpointPlan | None:
        return None if self.proof is None else self.proof.plan


class PrefixOptimizer:
    """Changes the bodies of requests as a plan says, once it is proven that this saves. Thread-safe.

    A request is sent as it is until the provider's reports on the requests of its family prove that a plan saves. A
    plan that no longer saves is withdrawn. Breakpoints of the application, and those that the provider sets itself,
    always stay.

    Args:
        plan: for all requests to its provider, at once and unproven; ``None`` to learn one for each prompt family.
        longer_retention: a plan that is learned may have the provider cache prompts for longer than it does by
            itself (``prompt_cache_retention``), which agreements with it may forbid. Otherwise that is proposed.
        dry_run: change nothing, and say what would be changed.
        on_message: receives each message once; by default it is printed in a dry run, and logged otherwise.
        count_tokens: the tokens of a text; by default they are counted with ``tiktoken`` for OpenAI's models where
            its encoding is at hand, and estimated otherwise.
        clock: seconds since the epoch.

    Attributes:
        name: under which a tracker finds it.

    Raises:
        ConfigError: an argument is wrong.
    """

    def __init__(
        self,
        plan: BreakpointPlan | None = None,
        *,
        longer_retention: bool = False,
        dry_run: bool = False,
        on_message: Callable[[str], None] | None = None,
        count_tokens: Count | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if plan is not None and not isinstance(plan, BreakpointPlan):
            raise ConfigError(f"a plan is one of PrefixOptimizer.plans(), got a {type(plan).__name__}")
        self.name, self.dry_run, self._given = uuid4().hex, dry_run, plan
        self._longer_retention = longer_retention
        self._on_message = on_message or (print if dry_run else logger.info)
        self._counter = GivenCounter(count_tokens) if count_tokens is not None else None
        self._clock, self._tools = clock, ToolOrder()
        self.after_fork()
        # The worker's thread must not keep the optimizer alive.
        self._worker = BackgroundWorker("askonce-plan", partial(_replan_due, weakref.ref(self)))
        Closing(self, self._worker.close, 0.0)
        self._counters: dict[tuple[str, str], Counter] = {}
        self._families: Recent[str, _Family] = Recent(_MOST_FAMILIES)
        self._reported: Recent[str, None] = Recent(1_000)
        optimizers[self.name] = self
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()  # the garbage collector ends streams, whatever this thread is at
        self._due: dict[str, None] = {}

    def applied(self, body: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
        """The body as it is to be sent: changed, or in a dry run as it is."""
        change = self._guarded(body, provider)
        return body if change is None else change.body

    def sending(self, body: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
        """The body to be sent, where the usage that the provider reports stays unseen: so nothing is proven."""
        return self.start(body, provider).body

    def start(self, body: Mapping[str, Any], provider: str) -> OptimizedRequest:
        """A request that is sent now. What cannot be changed is sent as it is."""
        change = self._guarded(body, provider)
        if change is None:
            return OptimizedRequest(body, lambda usage: None)
        return OptimizedRequest(change.body, partial(self._answered, change))

    def _guarded(self, body: Mapping[str, Any], provider: str) -> _Change | None:
        try:
            return self._changed(body, provider)
        except Exception as error:
            if provider not in self._reported:
                self._reported[provider] = None
                # No more of the error: its text might hold some of the prompt.
                what = error if isinstance(error, ConfigError) else type(error).__name__
                logger.warning("askonce: a request to %s is sent as it is: %s", provider, what)
            return None

    def plans(self) -> dict[str, BreakpointPlan]:
        """The plans that are in force at the moment, by prompt family."""
        if self._given is not None:
            return {self._given.model: self._given}
        with self._lock:
            return {name: one.plan for name, one in self._families.items() if one.plan is not None}

    def replan(self) -> None:
        """Look now whether a plan is proven for a family; else done after 20 requests, 50, 100 ….

        It is done in a thread of its own then, since it takes some milliseconds for each request.
        """
        with self._lock:
            families = list(self._families)
        for family in families:
            self._replan(family)

    def _changed(self, body: Mapping[str, Any], provider: str) -> _Change | None:
        given = {name: value for name, value in body.items() if type(value).__name__ not in _NOT_GIVEN}
        if "extra_body" in given:
            return None  # who writes past the client knows best
        request = request_of(given, provider)
        rule = rule_for(provider, request.model)
        if rule is None:
            return None
        counter = self._counter_of(provider, request.model)
        plain = in_order = chain_of(request, provider, counter=counter, rule=rule)
        turned = self._tools.applied(given)
        if list(map(compact, _tools(given))) != list(map(compact, _tools(turned))):
            in_order = chain_of(request_of(turned, provider), provider, counter=counter, rule=rule)
        chosen = self._given or self._plan_of(plain.family)
        chain, changed = plain, dict(body)
        if chosen is not None and chosen.rule.name == rule.name:
            base, chain = (turned, in_order) if chosen.tools_sorted else (given, plain)
            written = with_plan(base, chain, chosen)
            chain = planned_chain(WatchedRequest(Sent(plain, 0.0), in_order, None), chosen)
            self._say_changes(given, written, provider)
            if not self.dry_run:
                changed = {**{name: body[name] for name in body if name not in given}, **written}
        sent = Sent(plain, self._clock())
        same = chosen is None or self.dry_run
        return _Change(body if same else changed, sent, in_order, rule, chosen, plain if same else chain)

    def _plan_of(self, family: str) -> BreakpointPlan | None:
        with self._lock:
            known = self._families.get(family)
            return None if known is None else known.plan

    def _say_changes(self, before: Mapping[str, Any], after: Mapping[str, Any], provider: str) -> None:
        for line in changes(before, after, provider):
            if line not in self._reported:
                self._reported[line] = None
                self._on_message(f"askonce: {'would be changed' if self.dry_run else 'changed'}: {line}")

    def _counter_of(self, provider: str, model: str) -> Counter:
        name = provider, model
        counter = self._counter or self._counters.get(name)
        if counter is None:
            counted = tiktoken_counter(model) if provider == "openai" else None
            counter = self._counters.setdefault(name, counted or LearnedCounter())
        return counter

    # -- what was reported -------------------------------------------------------------------------------------

    def _answered(self, change: _Change, usage: Usage | None) -> None:
        if self._given is not None:
            return
        reported = usage is not None and usage.input_tokens > 0
        paid, plain, in_order = None, change.sent.chain, change.in_order
        if usage is not None and reported:
            same = in_order is plain
            paid = cost_of_usage(usage, change.chain, change.rule, dearest=change.plan is not None)
            plain = plain.scaled(usage.input_tokens)
            in_order = plain if same else in_order.scaled(usage.input_tokens)
            counter = self._counter_of(plain.provider, plain.model)
            if isinstance(counter, LearnedCounter) and plain.features:
                counter.learn(plain.features, usage.input_tokens)
        one = WatchedRequest(replace(change.sent, chain=plain), in_order, paid)
        with self._lock:
            self._record(plain.family, change, one)

    def _record(self, name: str, change: _Change, one: WatchedRequest) -> None:
        family = self._families[name] = self._families.get(name) or _Family()
        in_force = None if self.dry_run else family.plan
        if change.plan is not family.plan and not self.dry_run:
            return  # sent before the plan changed
        family.watched.append(one)
        family.seen += 1
        if sum(len(each.watched) for each in self._families.values()) > _MOST_REQUESTS_IN_ALL:
            next(each for each in self._families.values() if each.watched).watched.popleft()
        if in_force is not None and family.account is not None and not family.account.still_pays(one):
            self._withdraw(name, family)
            return
        if family.seen >= family.least and (family.seen in _REVIEWED_AT or family.seen % _REVIEWED_EVERY == 0):
            self._due[name] = None
            self._worker.wake()

    def _withdraw(self, name: str, family: _Family) -> None:
        """A plan costs more than it saves: the requests are sent as they are, and the next proof must be longer."""
        self._on_message(f"askonce: the plan for {name} saves no longer, and is withdrawn")
        family.proof = family.account = None
        family.least *= 4
        family.seen = 0
        family.watched.clear()

    # -- plans -------------------------------------------------------------------------------------------------

    def _replan_due(self) -> None:
        while self._due:
            self._replan(self._due.popitem()[0])

    def _replan(self, name: str) -> None:
        with self._lock:
            family = self._families.get(name)
            watched = [] if family is None else sorted(family.watched, key=lambda one: one.sent.at)
        if family is None or sum(one.paid is not None for one in watched) < family.least:
            return
        chain, now = watched[-1].sent.chain, None if self.dry_run else family.plan
        rule = rule_for(chain.provider, chain.model)
        if rule is None:
            return
        try:
            proof = best_proof(watched, rule, now, longer_retention=self._longer_retention)
            self._propose(name, watched, rule)
        except Exception:
            logger.exception("askonce: no plan can be made for %s", name)
            return
        if proof is not None:
            self._put_in_force(name, family, watched, proof)

    def _put_in_force(self, name: str, family: _Family, watched: Sequence[WatchedRequest], proof: Proof) -> None:
        before = family.account
        account = before or Account(proof.plan.rule, watched, proof.drawdown)
        with self._lock:
            if family.account is not before:
                return  # withdrawn meanwhile
            if before is not None:
                before.allow(proof.drawdown)
            family.proof, family.account = proof, account
            if not self.dry_run:
                family.seen = 0
                family.watched.clear()
        self._on_message(
            f"askonce: a plan for {name} saves {proof.saved:.0%} of what {proof.requests} prompts cost"
            f"{'' if self.dry_run else ', and is in force'}"
        )

    def _propose(self, name: str, watched: Sequence[WatchedRequest], rule: ProviderRule) -> None:
        sent = [one.sent for one in watched]
        made = plan(statistics_of(sent, rule), sent=sent)
        proposals = list(made.proposals)
        if made.retention is not None and not self._longer_retention:
            proposals.append(
                f'prompt_cache_retention="{made.retention}" (PrefixOptimizer(longer_retention=True) sets it)'
            )
        for proposal in proposals:
            self._on_message(f"askonce: proposed for {name}: {proposal}")


def _replan_due(optimizer: weakref.ref[PrefixOptimizer]) -> None:
    if (found := optimizer()) is not None:
        found._replan_due()


def changes(before: Mapping[str, Any], after: Mapping[str, Any], provider: str) -> list[str]:
    """What differs between two bodies of a request, without any text of the prompt."""
    found = []
    old, new = _tools(before), _tools(after)
    if [name_of(one) for one in old] != [name_of(one) for one in new]:
        found.append(f"tools sorted: {', '.join(map(name_of, new))}")
    elif list(map(compact, old)) != list(map(compact, new)):
        found.append("keys in the JSON of tools sorted")
    marks = _marks(after, provider)
    if marks != _marks(before, provider):
        found.append(f"breakpoints: {', '.join(marks) or 'none'}")
    for name in ("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"):
        if before.get(name) != after.get(name):
            found.append(f"{name}: {after.get(name)}")
    return found


def _tools(body: Mapping[str, Any]) -> list[Any]:
    tools = body.get("tools") or (body.get("toolConfig") or {}).get("tools") or ()
    return [
        {name: value for name, value in one.items() if name != "cache_control"}
        for one in tools
        if isinstance(one, Mapping) and "cachePoint" not in one
    ]


def _marks(body: Mapping[str, Any], provider: str) -> list[str]:
    blocks = request_of(body, provider).blocks
    return [f"behind {one.label} ({one.mark or 'default'})" for one in blocks if one.mark is not None]
