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
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

from askonce.concurrency.background import BackgroundWorker, reset_after_fork
from askonce.errors import ConfigError
from askonce.prefix.optimize.breakpoints import Body, ToolOrder, name_of, with_marks
from askonce.prefix.optimize.plan import BreakpointPlan, plan
from askonce.prefix.optimize.statistics import statistics_of
from askonce.prefix.requests.chain import Chain, chain_of
from askonce.prefix.requests.rules import ProviderRule, rule_for
from askonce.prefix.requests.tokens import Count, Counter, GivenCounter, LearnedCounter, tiktoken_counter
from askonce.prefix.requests.wire import compact, request_of
from askonce.prefix.tracking.history import Recent, Sent

logger = logging.getLogger("askonce")

_MOST_FAMILIES, _MOST_REQUESTS, _MOST_KEPT = 200, 1_000, 4_000
"""Plans are made from requests kept in memory, some 20 kB each: so many of one family, so many in all."""
_PLANNED_AT = (20, 50, 100, 200)
"""After so many requests of a family there is a new plan, and then after each `_PLANNED_EVERY`."""
_PLANNED_EVERY = 500
_NOT_GIVEN = ("NotGiven", "Omit")

optimizers: weakref.WeakValueDictionary[str, PrefixOptimizer] = weakref.WeakValueDictionary()
"""All that there are, by `PrefixOptimizer.name`: so that a tracker finds the one that changes what it sees."""


class PrefixOptimizer:
    """Changes the bodies of requests as a plan says. Thread-safe.

    Args:
        plan: for all requests to its provider; ``None`` to learn one for each prompt family from the requests that
            pass. Until there is one, only tools are sorted.
        longer_retention: a plan that is learned may ask the provider to keep prompts for longer than it does by
            itself (``prompt_cache_retention``), which agreements with it may forbid. Otherwise that is proposed.
        dry_run: change nothing, and tell what would be changed.
        tell: is told, each thing once; by default it is printed in a dry run, and logged otherwise.
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
        tell: Callable[[str], None] | None = None,
        count_tokens: Count | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if plan is not None and not isinstance(plan, BreakpointPlan):
            raise ConfigError(f"a plan is one of PrefixOptimizer.plans(), got a {type(plan).__name__}")
        self.name, self.dry_run, self._given = uuid4().hex, dry_run, plan
        self._longer_retention = longer_retention
        self._tell = tell or (print if dry_run else logger.info)
        self._counter = GivenCounter(count_tokens) if count_tokens is not None else None
        self._clock, self._tools = clock, ToolOrder()
        self.after_fork()
        # The worker's thread must not keep the optimizer alive.
        self._worker = BackgroundWorker("askonce-plan", partial(_replan_due, weakref.ref(self)))
        weakref.finalize(self, self._worker.close, 0.0)
        self._counters: dict[tuple[str, str], Counter] = {}
        self._sent: Recent[str, deque[Sent]] = Recent(_MOST_FAMILIES)
        self._seen: Recent[str, int] = Recent(_MOST_FAMILIES)
        self._plans: dict[str, BreakpointPlan] = {}
        self._told: Recent[str, None] = Recent(1_000)
        optimizers[self.name] = self
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[str, None] = {}

    def applied(self, body: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
        """The body as it is to be sent: changed, or in a dry run as it is."""
        return self._guarded(body, provider, learn=False)

    def sending(self, body: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
        """The same, and learn from the request, which is sent now. What cannot be changed is sent as it is."""
        return self._guarded(body, provider, learn=self._given is None)

    def _guarded(self, body: Mapping[str, Any], provider: str, *, learn: bool) -> Mapping[str, Any]:
        try:
            changed, chain, rule = self._changed(body, provider)
            if learn and chain is not None and rule is not None:
                self._learn(chain, rule)
        except Exception as error:
            if provider not in self._told:
                self._told[provider] = None
                # No more of the error: its text might hold some of the prompt.
                what = error if isinstance(error, ConfigError) else type(error).__name__
                logger.warning("askonce: a request to %s is sent as it is: %s", provider, what)
            return body
        return changed

    def plans(self) -> dict[str, BreakpointPlan]:
        """The plans that hold at the moment, by prompt family."""
        if self._given is not None:
            return {self._given.model: self._given}
        with self._lock:
            return dict(self._plans)

    def replan(self) -> None:
        """Make a plan for each family from what was seen of it till now; else done after 20 requests, 50, 100 ….

        It is done in a thread of its own then, since it takes some milliseconds for each request.
        """
        with self._lock:
            families = list(self._sent)
        for family in families:
            self._replan(family)

    def _changed(
        self, body: Mapping[str, Any], provider: str
    ) -> tuple[Mapping[str, Any], Chain | None, ProviderRule | None]:
        given = {name: value for name, value in body.items() if type(value).__name__ not in _NOT_GIVEN}
        if "extra_body" in given:
            return body, None, None  # who writes past the client knows best
        changed: Body = self._tools.applied(given)
        request = request_of(changed, provider)
        rule = rule_for(provider, request.model)
        chain = chain_of(request, provider, counter=self._counter_of(provider, request.model), rule=rule)
        chosen = self._given or self._plans.get(chain.family)
        if chosen is not None and rule is not None and chosen.rule.name == rule.name:
            changed = with_marks(changed, chain, chosen)
        for line in changes(given, changed, provider):
            if line not in self._told:
                self._told[line] = None
                self._tell(f"askonce: {'would be changed' if self.dry_run else 'changed'}: {line}")
        if self.dry_run:
            return body, chain, rule
        return {**{name: body[name] for name in body if name not in given}, **changed}, chain, rule

    def _counter_of(self, provider: str, model: str) -> Counter:
        name = provider, model
        counter = self._counter or self._counters.get(name)
        if counter is None:
            counted = tiktoken_counter(model) if provider == "openai" else None
            counter = self._counters.setdefault(name, counted or LearnedCounter())
        return counter

    def _learn(self, chain: Chain, rule: ProviderRule) -> None:
        family = chain.family
        with self._lock:
            kept = self._sent[family] = self._sent.get(family) or deque(maxlen=_MOST_REQUESTS)
            kept.append(Sent(chain, self._clock()))
            if sum(map(len, self._sent.values())) > _MOST_KEPT:
                oldest = next(iter(self._sent))
                self._sent[oldest].popleft()
                if not self._sent[oldest]:
                    del self._sent[oldest]
            seen = self._seen[family] = self._seen.get(family, 0) + 1
        if seen in _PLANNED_AT or seen % _PLANNED_EVERY == 0:
            self._due[family] = None
            self._worker.wake()

    def _replan_due(self) -> None:
        while self._due:
            self._replan(self._due.popitem()[0])

    def _replan(self, family: str) -> None:
        with self._lock:
            sent = list(self._sent.get(family, ()))
        rule = rule_for(sent[-1].chain.provider, sent[-1].chain.model) if sent else None
        if rule is None:
            return
        try:
            made = plan(statistics_of(sent, rule), sent=sent)
        except Exception:
            logger.exception("askonce: no plan can be made for %s", family)
            return
        proposals = list(made.proposals)
        if made.retention is not None and not self._longer_retention:
            proposals.append(
                f'prompt_cache_retention="{made.retention}" (PrefixOptimizer(longer_retention=True) sets it)'
            )
            made = replace(made, retention=None)
        with self._lock:
            self._plans[family] = made
            for gone in set(self._plans) - set(self._sent):
                del self._plans[gone]
        for proposal in proposals:
            self._tell(f"askonce: proposed for {family}: {proposal}")


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
