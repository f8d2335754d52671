"""`Router`: which models, by which strategy, with what was learned and counted.

Its *steps* are a generator: it yields what is to be done next, a model to `ModelCall` or a function to call
(`Decide`), is sent what came of it, and ends with the mark that the answer carries. So the ways to call
(synchronous, asynchronous, streaming, of either framework) share every decision.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Generator, Sequence
from typing import Any

from askonce.cache import Cache, shared_cache
from askonce.concurrency.closing import Closing
from askonce.entries.codec import Codec
from askonce.errors import ConfigError
from askonce.routing.features import numpy
from askonce.routing.policy import RoutingPolicy
from askonce.routing.replica import SharedRouting
from askonce.routing.state import cost_sums
from askonce.routing.steps import RoutingRun
from askonce.routing.strategies import Learned, Strategy, check_strategy
from askonce.routing.types import Bill, ModelResponse, Opinion, RoutingRequest, Step, weight_of
from askonce.stats import RoutingStats
from askonce.stores import Client, Store

logger = logging.getLogger("askonce")

Steps = Generator[Step, Any, dict[str, Any]]


class Router:
    """Chooses among models.

    Args:
        names: of the models, the cheapest first.
        strategy: how to choose.
        state: the name of the shared state, where the strategy gives none.
        store: where it is shared, as `askonce.cache.shared_cache` takes it; opened only if the strategy learns.
        costs: dollars for a call of each model, where they are not to be read off the answers.

    Raises:
        ConfigError: the strategy does not suit the models, or costs are none.
        MissingExtraError: the strategy learns, and NumPy is not installed.
    """

    def __init__(
        self,
        names: Sequence[str],
        strategy: Strategy,
        *,
        state: Callable[[], str],
        store: str | Store | Client | Cache | None,
        costs: Sequence[float] | None = None,
    ) -> None:
        check_strategy(strategy, len(names))
        if costs is not None and (len(costs) != len(names) or not all(cost >= 0 for cost in costs)):
            raise ConfigError(f"costs are dollars for a call of each of the {len(names)} models; got {costs!r}")
        self.names, self.strategy, self._last = _distinct(names), strategy, len(names) - 1
        self._costs = None if costs is None else tuple(float(cost) for cost in costs)
        self._policy: RoutingPolicy | None = None
        self._cache: Cache | None = None
        if isinstance(strategy, Learned):
            numpy()  # raises here if it is missing
            self._cache = shared_cache(store, {})  # closes its store when it is no longer used
            namespace = f"multiplexer/{strategy.name or state()}/{strategy.measure}"
            self._shared = SharedRouting(self._cache.engine.breaker, self._cache.engine.codec, namespace)
            self._policy = RoutingPolicy(strategy, len(names), self._shared, self._costs)
        else:
            self._shared = SharedRouting(None, Codec(), "")
        self._warned: set[str] = set()
        Closing(self, self._shared.close)
        self._shared.begin()

    # -- one request -------------------------------------------------------------------------------------------

    def steps(self, request: RoutingRequest, embedding: Sequence[float] | None = None) -> Steps:
        """The steps to the answer of a request; see the module's text.

        Args:
            request: the request.
            embedding: of its question, from `embed`.

        Raises:
            Exception: what the last model that could be called raised.
        """
        self._shared.begin()
        run = RoutingRun(
            self.strategy, len(self.names), request, self._price, self._price_of_opinion, self._warn_once
        )
        try:
            index, why = yield from run.choose(self._policy, embedding)
        except BaseException:
            self._count(request, run.bill, None)
            raise
        self._count(request, run.bill, index)
        mark = {
            "model": self.names[index],
            "why": why,
            "cost_usd": run.bill.cost_usd,
            "calls": [self.names[one] for one in run.bill.calls],
        }
        if run.open is not None:
            key = os.urandom(16)
            self._shared.open(key, *run.open)
            mark["id"] = key.hex()
        return mark

    def embed(self, question: str) -> Sequence[float] | None:
        """The embedding of a question; ``None`` if the strategy embeds nothing, or that failed."""
        if not isinstance(self.strategy, Learned) or self.strategy.embed is None:
            return None
        try:
            embedding = self.strategy.embed(question)
            if all(map(math.isfinite, embedding)):
                return embedding
            raise ValueError("it is not finite")
        except Exception as error:
            self._warn_once("a question could not be embedded, and the last model is called", error)
            return None

    async def aembed(self, question: str) -> Sequence[float] | None:
        """`embed` in a thread, since it may call a provider."""
        if not isinstance(self.strategy, Learned) or self.strategy.embed is None:
            return None
        import asyncio

        return await asyncio.to_thread(self.embed, question)

    def _price(self, index: int, response: ModelResponse) -> float | None:
        """Dollars for a call, given or as priced."""
        return response.cost_usd if self._costs is None else self._costs[index]

    def _price_of_opinion(self, opinion: Opinion) -> float | None:
        """Dollars for the call of a verifier or a judge: as priced, or as given if it is one of the models."""
        if opinion.cost_usd is None and self._costs is not None and opinion.model in self.names:
            return self._costs[self.names.index(opinion.model)]
        return opinion.cost_usd

    def _weight(self, index: int, response: ModelResponse) -> float:
        return weight_of(self._price(index, response), response.seconds)

    def _count(self, request: RoutingRequest, bill: Bill, index: int | None) -> None:
        sums: dict[str, float] = {
            "spent": bill.spent_usd,
            "seconds": bill.unpriced_seconds,
            "weight": bill.weight,
        }
        for opinion in bill.opinions:
            sums[f"opinions.{opinion.model}"] = sums.get(f"opinions.{opinion.model}", 0.0) + 1
            if self._cache is not None:  # the models' own calls are counted where they are cached
                cost_usd = self._price_of_opinion(opinion)
                self._cache.engine.spent("routing", opinion.model, opinion.seconds, cost_usd or 0.0)
        if bill.judge_weight is not None:
            sums |= {"judge.n": 1.0, "judge.weight": bill.judge_weight}
        if bill.learning:
            answers = bill.answers.items()
            sums["learning.weight"] = bill.weight - sum(
                self._weight(one, answer) for one, answer in answers if one == self._last
            )
        for one in bill.calls:
            sums[f"calls.{one}"] = sums.get(f"calls.{one}", 0.0) + 1
        for one in bill.failed:
            sums[f"failed.{one}"] = 1.0
        for one, response in bill.answers.items():
            sums |= cost_sums(one, request.characters, self._weight(one, response))
            sums[f"priced.{one}"] = float(self._price(one, response) is not None)
        if index is not None:
            always = self._always(request, bill)
            sums |= {"requests": 1.0, f"answered.{index}": 1.0, "always.weight": always}
            sums["always"] = always if self._is_last_priced(bill) else bill.spent_usd
            sums["escalated"] = float(bill.unused > 0 or (bool(bill.failed) and index not in bill.failed))
        self._shared.add(sums)

    def _is_last_priced(self, bill: Bill) -> bool:
        if self._last in bill.answers:
            return self._price(self._last, bill.answers[self._last]) is not None
        return self._costs is not None or self._shared.state.sums[f"priced.{self._last}"] > 0

    def _always(self, request: RoutingRequest, bill: Bill) -> float:
        """The weight of what the last model would have cost: its call, or what one is expected to cost."""
        if self._last in bill.answers:
            return self._weight(self._last, bill.answers[self._last])
        if self._costs is not None:
            return self._costs[self._last]
        with self._shared.state.lock:
            known = self._shared.state.cost(self._last, request.characters)
        return bill.weight if known is None else known

    def _warn_once(self, what: str, why: Exception) -> None:
        """Warn of something, of each kind once."""
        logger.log(logging.DEBUG if what in self._warned else logging.WARNING, "askonce: %s: %s", what, why)
        self._warned.add(what)

    # -- for applications --------------------------------------------------------------------------------------

    def feedback(self, mark: Any, *, wrong: bool) -> bool:
        """Learn whether an answer was wrong.

        Args:
            mark: the metadata of the answer under ``askonce``.
            wrong: whether the answer was wrong.

        Returns:
            whether something was learned: nothing is from the last model's answers, nor from one answer twice.

        Raises:
            ConfigError: the strategy learns nothing from that.
            StoreError: the store failed; try again.
        """
        if self._policy is None or not self._policy.has_floor:
            raise ConfigError("only Learned with a judge, or with feedback=True, learns from feedback")
        key = mark.get("id") if isinstance(mark, dict) else None
        if not isinstance(key, str):
            return False
        found = self._shared.close_open(bytes.fromhex(key))
        if found is not None:
            self._policy.answered(found.learner, found.x, wrong)
        return found is not None

    def stats(self) -> RoutingStats:
        """Calls, costs and savings."""
        quality, at_least = (None, None) if self._policy is None else self._policy.quality()
        with self._shared.state.lock:
            sums = self._shared.state.sums

            def by_name(kind: str) -> dict[str, int]:
                return {name: round(sums[f"{kind}.{at}"]) for at, name in enumerate(self.names)}

            calls = by_name("calls")
            for name, times in list(sums.items()):
                if name.startswith("opinions."):
                    model = name.removeprefix("opinions.")
                    calls[model] = calls.get(model, 0) + round(times)
            return RoutingStats(
                requests=round(sums["requests"]),
                calls=calls,
                answers=by_name("answered"),
                failures=by_name("failed"),
                escalated=round(sums["escalated"]),
                audits=round(sums["audits"]),
                spent_usd=sums["spent"],
                unpriced_seconds=sums["seconds"],
                always_last_usd=sums["always"],
                quality=quality,
                quality_at_least=at_least,
                store=None if self._policy is None else ("up" if self._shared.is_current else "down"),
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Router:
        return self  # copies of a multiplexer learn together

    def sync(self) -> None:
        """Publish what was learned and read what others learned now; otherwise done within a second."""
        self._shared.sync()

    def close(self) -> None:
        """Publish what was learned, and end the thread that does so until there is more."""
        self._shared.close()


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names with a number where two models have the same one."""
    return tuple(
        name if list(names).count(name) == 1 else f"{name} ({list(names)[: at + 1].count(name)})"
        for at, name in enumerate(names)
    )
