"""What `cached` models of both kinds share: how they ask their provider, and what their answers depend on."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.load import dumpd
from langchain_core.rate_limiters import BaseRateLimiter

from askonce.langchain.keys.model import Parameters, parameters_from

# Where a model tells LangChain little of itself, these of its fields tell whether it answers alike.
_TELLING = (
    "model model_name model_id deployment_name temperature top_p top_k max_tokens seed n base_url endpoint"
    " endpoint_url system system_prompt model_kwargs"
).split()


def parameters_of_model(model: Any, stop: list[str] | None, kwargs: dict[str, Any]) -> Parameters:
    """What a model's answer depends on besides the prompt.

    Raises:
        Uncacheable: it holds something whose meaning cannot be told.
    """
    if model.is_lc_serializable():
        return parameters_from(dumpd(model), {**kwargs, "stop": stop})
    base = getattr(type(model), "_askonce_base", type(model))
    known = (
        model._get_invocation_params(stop=stop, **kwargs)
        if isinstance(model, BaseChatModel)
        else model._identifying_params
    )
    telling = {name: getattr(model, name) for name in _TELLING if name in type(model).model_fields}
    constructor = {"id": [base.__module__, base.__qualname__], "kwargs": telling}
    return parameters_from(constructor, {**known, **kwargs, "stop": stop})


def model_name(model: Any) -> str | None:
    """The name under which a model's provider sells it, if it has the usual field."""
    name = getattr(model, "model_name", None) or getattr(model, "model", None)
    return name if isinstance(name, str) else None


class LimitMisses(BaseRateLimiter):
    """Lets every call through when LangChain asks, which is before the look-up; misses ask the limiter itself."""

    def __init__(self, limiter: BaseRateLimiter) -> None:
        self.limiter = limiter

    def acquire(self, *, blocking: bool = True) -> bool:
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return True


def limit(model: Any) -> None:
    """Wait for the model's rate limiter, since the call goes to the provider."""
    limiter = getattr(model, "rate_limiter", None)
    if isinstance(limiter, LimitMisses):
        limiter.limiter.acquire(blocking=True)


async def alimit(model: Any) -> None:
    """Asynchronous `limit`."""
    limiter = getattr(model, "rate_limiter", None)
    if isinstance(limiter, LimitMisses):
        await limiter.limiter.aacquire(blocking=True)


_asking: ContextVar[frozenset[int]] = ContextVar("askonce_asking", default=frozenset())


class asking(AbstractContextManager[None]):
    """While it lasts, the model's own methods call one another without a look-up: it came before."""

    def __init__(self, model: Any) -> None:
        self._model = id(model)

    def __enter__(self) -> None:
        self._token = _asking.set(_asking.get() | {self._model})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _asking.reset(self._token)


def is_asking(model: Any) -> bool:
    """Whether the running code was called by the model itself on its way to the provider."""
    return id(model) in _asking.get()


def within(model: Any, source: Iterator[Any]) -> Iterator[Any]:
    """A stream of the model's own, marked so only while it runs: between two items others do."""
    try:
        while True:
            with asking(model):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


async def awithin(model: Any, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Asynchronous `within`."""
    try:
        while True:
            with asking(model):
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
            yield item
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


def is_told(method: Callable[..., Any]) -> bool:
    """Whether a method of an older kind of model takes a run manager."""
    parameters = inspect.signature(method).parameters
    return "run_manager" in parameters or any(
        one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()
    )


def streams_several(model: Any, kwargs: dict[str, Any]) -> bool:
    """A stream of several answers at once tells them apart in no way that could be kept."""
    return (kwargs.get("n") or getattr(model, "n", None) or 1) != 1
