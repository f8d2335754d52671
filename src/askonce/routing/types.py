"""The values that the steps of a request and an adapter exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


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
class Ask:
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


Step = Ask | Decide


@dataclass(slots=True)
class Bill:
    """What one request cost so far.

    Attributes:
        calls: the models called, in order.
        cost_usd: of all calls; ``None`` once the price of one is unknown.
        weight: of all calls: dollars, or seconds converted to dollars where no price is known.
        answers: the response of each.
        unused: how many cheap answers were rejected.
        failed: the models that raised.
    """

    calls: list[int] = field(default_factory=list)
    cost_usd: float | None = 0.0
    weight: float = 0.0
    answers: dict[int, ModelResponse] = field(default_factory=dict)
    unused: int = 0
    failed: list[int] = field(default_factory=list)
