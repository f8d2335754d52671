"""What `cached` models of both kinds share: how they call their provider."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from langchain_core.rate_limiters import BaseRateLimiter

from askonce.keys.counters import record_counters


def model_name(model: Any) -> str | None:
    """The name under which a model's provider sells it, if it has the usual field."""
    name = getattr(model, "model_name", None) or getattr(model, "model", None)
    return name if isinstance(name, str) else None


class LimitMisses(BaseRateLimiter):
    """Lets every call through when LangChain acquires it, before the lookup; misses acquire the limiter inside."""

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


_model_calls: ContextVar[frozenset[int]] = ContextVar("askonce_model_calls", default=frozenset())


class model_call(AbstractContextManager[None]):
    """While it lasts, the model's own methods call one another without a lookup, which was made before."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._token = _model_calls.set(_model_calls.get() | {id(self._model)})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _model_calls.reset(self._token)
        record_counters(self._model)


def in_model_call(model: Any) -> bool:
    """Whether the running code was called by the model itself on its way to the provider."""
    return id(model) in _model_calls.get()


def within(model: Any, source: Iterator[Any]) -> Iterator[Any]:
    """A stream of the model's own, marked so only while it runs: between two items others do."""
    try:
        while True:
            with model_call(model):
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
            with model_call(model):
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
            yield item
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


def accepts_callbacks(method: Callable[..., Any]) -> bool:
    """Whether a method of an older kind of model takes a run manager."""
    parameters = inspect.signature(method).parameters
    return "run_manager" in parameters or any(
        one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()
    )


def requests_usage(model: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a stream of the model has the usage, as far as its settings say."""
    wanted = kwargs.get("stream_usage", getattr(model, "stream_usage", None))
    extra = getattr(model, "model_kwargs", None)
    for given in (kwargs, extra if isinstance(extra, dict) else {}):
        options = given.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            wanted = True
    return bool(wanted)


def streams_several(model: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a stream holds several answers, which cannot be separated and so are not cached."""
    return (kwargs.get("n") or getattr(model, "n", None) or 1) != 1
