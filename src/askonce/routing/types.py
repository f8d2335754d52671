"""The values that the steps of a request and an adapter exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from askonce.storage.entries import USD_PER_SECOND


@dataclass(frozen=True, slots=True)
class RoutingRequest:
    """A request as far as the choice of a model needs it.

    Attributes:
        question: the user's last message.
        characters: length of the whole conversation.
        messages: how many messages it has.
        tools: whether tools are offered.
    """

    question: str
    characters: int = 0
    messages: int = 1
    tools: bool = False


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """A model's answer as far as it is verified and paid for.

    Attributes:
        text: the answer.
        cost_usd: what it cost; ``None`` if no price is known.
        seconds: how long it took.
        arguments: of the tools that it calls.
        logprobs: log-probabilities of its tokens, if it reports them.
        response: the framework's own object.
    """

    text: str
    cost_usd: float | None = None
    seconds: float = 0.0
    arguments: Sequence[Mapping[str, Any]] = ()
    logprobs: Sequence[float] | None = None
    response: Any = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a chat model says as a verifier or a judge, and what that cost.

    Attributes:
        accepted: yes or no; ``None`` if it says neither.
        model: its name.
        cost_usd: what the call cost; ``None`` if no price is known.
        seconds: how long it took.
    """

    accepted: bool | None
    model: str
    cost_usd: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelCall:
    """Step: call a model and send back its `ModelResponse`, or throw what it raised.

    Attributes:
        index: of the model.
        final: the caller gets its answer, unless it fails before the first token; so it may be streamed.
    """

    index: int
    final: bool


@dataclass(frozen=True, slots=True)
class Decide:
    """Step: call a function of the application's and send back what it returns, or throw what it raised.

    Attributes:
        function: a verifier or a judge; where it has an ``acall``, that is awaited instead in asynchronous code.
        arguments: what it is given.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


Step = ModelCall | Decide


@dataclass(slots=True)
class Bill:
    """What one request cost so far.

    Attributes:
        calls: the models called, in order.
        opinions: of verifiers and judges that are chat models, in order.
        spent_usd: of all calls whose price is known.
        unpriced_seconds: of the others.
        weight: of all calls: dollars, or seconds converted to dollars where no price is known.
        judge_weight: that of the judge's call, if there was one.
        answers: the response of each.
        unused: how many cheap answers were rejected.
        failed: the models that raised.
        learning: a cheap answer was paid for only to be compared.
        is_priced: the price of every call is known.
    """

    calls: list[int] = field(default_factory=list)
    opinions: list[Opinion] = field(default_factory=list)
    spent_usd: float = 0.0
    unpriced_seconds: float = 0.0
    weight: float = 0.0
    judge_weight: float | None = None
    answers: dict[int, ModelResponse] = field(default_factory=dict)
    unused: int = 0
    failed: list[int] = field(default_factory=list)
    learning: bool = False
    is_priced: bool = True

    @property
    def cost_usd(self) -> float | None:
        """What the request cost; ``None`` once the price of one call is unknown."""
        return self.spent_usd if self.is_priced else None

    def add(self, cost_usd: float | None, seconds: float) -> float:
        """Add a call, and return its weight."""
        if cost_usd is None:
            self.is_priced = False
            self.unpriced_seconds += seconds
        else:
            self.spent_usd += cost_usd
        weight = weight_of(cost_usd, seconds)
        self.weight += weight
        return weight


def weight_of(cost_usd: float | None, seconds: float) -> float:
    """What decisions weigh a call by: dollars, or seconds converted to dollars where no price is known."""
    return seconds * USD_PER_SECOND if cost_usd is None else cost_usd
