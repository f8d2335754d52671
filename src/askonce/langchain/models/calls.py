"""What `cached` models of both kinds share: how they call their provider."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import msgspec
from langchain_core.rate_limiters import BaseRateLimiter

from askonce.cache import Cache
from askonce.concurrency.streams import aclosing, closing
from askonce.engine.request import Request
from askonce.keys.counters import CallUnderWay
from askonce.langchain.keys.model import parameters_of_model


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
    """While it lasts, the model's own methods call one another without a lookup, which was made before.

    Args:
        model: the model.
        call: the call, which ends with it; ``None``: it goes on.
    """

    def __init__(self, model: Any, call: CallUnderWay | None = None) -> None:
        self._model, self._call = model, call

    def __enter__(self) -> None:
        self._token = _model_calls.set(_model_calls.get() | {id(self._model)})
        if self._call is not None:
            self._call.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _model_calls.reset(self._token)
        if self._call is not None:
            self._call.end(failed=kind is not None)


def in_model_call(model: Any) -> bool:
    """Whether the running code was called by the model itself on its way to the provider."""
    return id(model) in _model_calls.get()


def within(model: Any, begin: Callable[[], Iterator[Any]], call: CallUnderWay | None = None) -> Iterator[Any]:
    """A stream of the model's own, marked so only while it runs: between two items others do.

    Args:
        model: the model.
        begin: begins it.
        call: the call, which ends with it.
    """
    is_whole = False
    if call is not None:
        call.__enter__()
    try:
        with closing(begin()) as source:
            while True:
                with model_call(model):
                    try:
                        item = next(source)
                    except StopIteration:
                        is_whole = True
                        return
                yield item
    finally:
        if call is not None:
            call.end(failed=not is_whole)


async def awithin(
    model: Any, begin: Callable[[], AsyncIterator[Any]], call: CallUnderWay | None = None
) -> AsyncIterator[Any]:
    """Asynchronous `within`."""
    is_whole = False
    if call is not None:
        call.__enter__()
    try:
        async with aclosing(begin()) as source:
            while True:
                with model_call(model):
                    try:
                        item = await anext(source)
                    except StopAsyncIteration:
                        is_whole = True
                        return
                yield item
    finally:
        if call is not None:
            call.end(failed=not is_whole)


def check_model(
    cache: Cache,
    request: Request | None,
    call: CallUnderWay | None,
    model: Any,
    stop: list[str] | None,
    kwargs: dict[str, Any],
    *,
    asynchronous: bool = False,
) -> None:
    """`CacheEngine.check_model` for one of LangChain's.

    Raises:
        Uncacheable: the model was changed while it answered.
    """

    def now() -> msgspec.Raw:
        return msgspec.Raw(parameters_of_model(model, stop, kwargs, asynchronous=asynchronous).encoded)

    if request is not None:
        cache.engine.check_model(request, call, now)


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
