"""The steps of one request through the models, for each strategy."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from askonce.options import current_options
from askonce.routing.features import features, with_score
from askonce.routing.policy import Coin, RoutingPolicy
from askonce.routing.strategies import Always, Cascade, Learned, Strategy
from askonce.routing.types import Bill, Decide, ModelCall, ModelResponse, Opinion, RoutingRequest, Step
from askonce.routing.verifiers import Verdict, Verify, verdict_of

if TYPE_CHECKING:
    from askonce.estimators.regression import Vector

Chosen = Generator[Step, Any, tuple[int, str]]
"""Ends with the model whose answer is given, and why."""
Warn = Callable[[str, Exception], None]


class RoutingRun:
    """One request.

    Args:
        strategy: how to choose.
        models: how many there are.
        request: the request.
        price: dollars for a call, from the model and its response; ``None`` where no price is known.
        price_of_opinion: the same of a verifier or a judge that is a chat model.
        warn: warns of something, once.

    Attributes:
        bill: what the request cost so far.
        open: if the application may report the outcome: the regression that learns it, and the features.
    """

    def __init__(
        self,
        strategy: Strategy,
        models: int,
        request: RoutingRequest,
        price: Callable[[int, ModelResponse], float | None],
        price_of_opinion: Callable[[Opinion], float | None],
        warn: Warn,
    ) -> None:
        self._strategy, self._last, self._request = strategy, models - 1, request
        self._price, self._price_of_opinion, self._warn = price, price_of_opinion, warn
        self.bill = Bill()
        self.open: tuple[str, bytes] | None = None

    def choose(self, policy: RoutingPolicy | None, embedding: Sequence[float] | None) -> Chosen:
        """The steps to the answer.

        Raises:
            Exception: what the last model that could be called raised.
        """
        if isinstance(self._strategy, Always):
            first = self._strategy.index % (self._last + 1)
            return (yield from self._first_that_answers(first, "always this one"))
        if isinstance(self._strategy, Cascade):
            return (yield from self._cascade())
        assert policy is not None
        if embedding is None and self._strategy.embed is not None:
            return (yield from self._first_that_answers(self._last, "the question could not be embedded"))
        x = features(self._request, current_options().tags, embedding)
        if self._strategy.verifier is not None:
            return (yield from self._verified(self._strategy, policy, x))
        return (yield from self._unverified(policy, x))

    # -- steps -------------------------------------------------------------------------------------------------

    def _call(self, index: int, *, final: bool) -> Generator[Step, Any, ModelResponse | None]:
        """Call a model; ``None`` if it failed and a more expensive one is left to call."""
        self.bill.calls.append(index)
        try:
            response: ModelResponse = yield ModelCall(index, final)
        except Exception as error:
            self.bill.failed.append(index)
            if index == self._last:
                raise
            self._warn(f"the model {index + 1} of a multiplexer failed, and the next one is called", error)
            return None
        self.bill.answers[index] = response
        self.bill.add(self._price(index, response), response.seconds)
        return response

    def _first_that_answers(self, first: int, why: str) -> Chosen:
        for index in range(first, self._last + 1):
            if (yield from self._call(index, final=True)) is not None:
                return index, why if index == first else "a cheaper one failed"
        raise AssertionError("the last model answers or raises")

    def _verify(self, verifier: Any, response: ModelResponse) -> Generator[Step, Any, Verdict]:
        try:
            result = yield Decide(Verify(verifier), (self._request, response))
            self._add_opinion(result)
            return verdict_of(result)
        except Exception as error:
            self._warn("a verifier failed, and the answer is not accepted", error)
            return Verdict(False)

    def _add_opinion(self, result: Any) -> float:
        """Add the call of a chat model that verified or judged, and return its weight; 0 for a function."""
        if not isinstance(result, Opinion):
            return 0.0
        self.bill.opinions.append(result)
        return self.bill.add(self._price_of_opinion(result), result.seconds)

    # -- cascade -----------------------------------------------------------------------------------------------

    def _cascade(self) -> Chosen:
        assert isinstance(self._strategy, Cascade)
        for index in range(self._last):
            response = yield from self._call(index, final=False)
            if response is not None:
                if (yield from self._verify(self._strategy.verifier, response)).accepted:
                    return index, "accepted by the verifier"
                self.bill.unused += 1
        return (yield from self._first_that_answers(self._last, self._why_last()))

    def _why_last(self) -> str:
        return "no cheaper answer was accepted" if self.bill.unused else "a cheaper one failed"

    # -- learned, with a verifier ------------------------------------------------------------------------------

    def _verified(self, strategy: Learned, policy: RoutingPolicy, x: Vector) -> Chosen:
        """Begin where the expected cost is least; with a judge or feedback, what is accepted is under the floor."""
        size = self._request.characters
        coin: Coin | None = None
        why = "the cheaper ones are expected to be rejected"
        index = policy.start(x, size)
        while index < self._last:
            response = yield from self._call(index, final=False)
            if response is None:
                why = "a cheaper one failed"
            else:
                verdict = yield from self._verify(strategy.verifier, response)
                seen = with_score(x, verdict.score)
                coin = policy.throw({index: seen}, size) if verdict.accepted and policy.has_floor else None
                is_final = verdict.accepted and (coin is None or coin.kind in ("serve", "audit") or coin.tight)
                policy.verified(index, x, is_final)
                if verdict.accepted and (coin is None or coin.kind == "serve"):
                    self._open(coin, seen)
                    return index, "accepted by the verifier"
                if coin is not None and coin.kind in ("audit", "shadow"):
                    return (yield from self._compare(strategy, policy, coin, seen))
                self.bill.unused += 1
                why = "no cheaper answer was accepted" if coin is None else _why_not(coin)
            index = policy.start(x, size, index + 1)
        if coin is None and policy.has_floor:
            policy.passed()
        return (yield from self._first_that_answers(self._last, why))

    # -- learned, without --------------------------------------------------------------------------------------

    def _unverified(self, policy: RoutingPolicy, x: Vector) -> Chosen:
        coin = policy.throw(dict.fromkeys(range(self._last), x), self._request.characters)
        if coin.kind == "pass":
            return (yield from self._first_that_answers(self._last, _why_not(coin)))
        try:
            response = yield from self._call(coin.index, final=coin.kind == "serve")
        except BaseException:
            policy.undo(coin)  # a stream that is abandoned, too
            raise
        if response is None:
            policy.undo(coin)
            return (yield from self._first_that_answers(self._last, "a cheaper one failed"))
        if coin.kind == "serve":
            self._open(coin, x)
            return coin.index, f"expected to do ({1 - coin.fails:.0%})"
        assert isinstance(self._strategy, Learned)
        return (yield from self._compare(self._strategy, policy, coin, x))

    def _compare(self, strategy: Learned, policy: RoutingPolicy, coin: Coin, x: Vector) -> Chosen:
        """Call the last model too, whose answer is given, and let the judge compare."""
        cheap = self.bill.answers[coin.index]
        self.bill.learning = coin.kind == "shadow"
        try:
            response = yield from self._call(self._last, final=True)
        except Exception as error:
            self._warn("the last model failed in an audit, and the cheap answer is given", error)
            policy.unresolved(coin)
            return coin.index, "the last model failed"
        except BaseException:
            policy.undo(coin)
            raise
        assert response is not None
        failed: bool | None = None
        try:
            result = yield Decide(strategy.judge, (self._request.question, cheap.text, response.text))
            self.bill.judge_weight = self._add_opinion(result)
            passes = result.accepted if isinstance(result, Opinion) else result
            failed = None if passes is None else not passes
        except Exception as error:
            self._warn("a judge failed", error)
        finally:
            policy.judged(coin, x, failed)
        return self._last, "audited" if coin.kind == "audit" else "called beside a cheaper one, to learn"

    def _open(self, coin: Coin | None, x: Vector) -> None:
        if coin is not None:
            self.open = f"wrong.{coin.index}", x.astype("float16").tobytes()


def _why_not(coin: Coin) -> str:
    if coin.tight:
        return "the floor under quality leaves no room"
    return f"a cheaper one is not worth the risk ({coin.fails:.0%} to fail)"
