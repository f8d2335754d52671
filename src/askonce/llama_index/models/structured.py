"""Structured output of cached LLMs: an answer that its parser refuses is not stored.

LlamaIndex parses after the LLM's answer was stored. So a structured prediction records which answers the LLM gave
while it runs, and has them deleted where parsing fails: the next one reaches the model. One that succeeds without
a call of the LLM's chat went past the cache, which is counted and logged.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel, ValidationError

from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Place
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.llama_index.models.direct import routed


class WatchedPrediction:
    """What one prediction had of cached LLMs.

    Attributes:
        given: the answers.
        calls: whether an LLM's own chat or completion was called.
    """

    def __init__(self) -> None:
        self.given: list[tuple[CacheEngine, Request, Place | None]] = []
        self.calls = False

    def __enter__(self) -> None:
        self._token, self._known = running_prediction.set(self), len(self.given)

    def __exit__(self, *_: object) -> None:
        running_prediction.reset(self._token)
        outer = running_prediction.get()
        if outer is not None:
            outer.calls = outer.calls or self.calls
            outer.given += self.given[self._known :]

    def reject(self) -> None:
        for engine, request, place in self.given:
            engine.reject(request, place)

    async def areject(self) -> None:
        for engine, request, place in self.given:
            await engine.areject(request, place)

    def succeeded(self, llm: Any, name: str) -> None:
        """Count the prediction, if it went past the cache."""
        if not self.calls:
            llm._askonce.cache.engine.request("answer", functools.partial(_went_past, llm, name))


def _went_past(llm: Any, name: str) -> NormalForm:
    raise Uncacheable(
        f"{type(llm).__name__}.{name} called its provider past the class's own chat and completion;"
        " chat with the schema among its arguments, and askonce.httpx.CachedTransport below the SDK, are cached"
    )


running_prediction: ContextVar[WatchedPrediction | None] = ContextVar("askonce_running_prediction", default=None)
"""The prediction that runs; ``None`` where nobody parses what cached LLMs answer."""


def structured_methods(base: type) -> dict[str, Callable[..., Any]]:
    """The methods of the twin's class that parse, as far as the LLM's class has them."""
    makers = {
        "predict": _predict,  # with an ``output_parser`` of the LLM's
        "apredict": _apredict,
        "structured_predict": _predict,
        "astructured_predict": _apredict,
        "stream_structured_predict": _stream_predict,
        "astream_structured_predict": _astream_predict,
        "structured_predict_without_function_calling": _predict,  # Google's
        "predict_and_call": _predict,
        "apredict_and_call": _apredict,
    }
    own = {name: getattr(base, name, None) for name in makers}
    return {
        name: functools.wraps(method)(routed(name, method, makers[name](name, method)))
        for name, method in own.items()
        if method
    }


def _predict(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def structured_predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = WatchedPrediction()
        try:
            with watch:
                result = method(self, *args, **kwargs)
        except Exception:
            watch.reject()
            raise
        if _is_refused(result):
            watch.reject()
        watch.succeeded(self, name)
        return result

    return structured_predict


def _apredict(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    async def astructured_predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = WatchedPrediction()
        try:
            with watch:
                result = await method(self, *args, **kwargs)
        except Exception:
            await watch.areject()
            raise
        if _is_refused(result):
            await watch.areject()
        watch.succeeded(self, name)
        return result

    return astructured_predict


def _is_refused(result: Any) -> bool:
    """Whether a tool, such as the output class of a program, refused the arguments that the LLM gave it."""
    sources = getattr(result, "sources", None)
    return isinstance(sources, list) and any(
        isinstance(getattr(one, "exception", None), (ValidationError, TypeError)) for one in sources
    )


def _output_class(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    wanted = args[0] if args else kwargs.get("output_cls")
    return wanted if isinstance(wanted, type) else BaseModel


def _stream_predict(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def stream_structured_predict(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        watch, last = WatchedPrediction(), None
        with watch:
            parts = method(self, *args, **kwargs)
        try:
            while True:
                try:
                    with watch:
                        last = next(parts)
                except StopIteration:
                    break
                yield last
        except Exception:
            watch.reject()
            raise
        if not isinstance(last, _output_class(args, kwargs)):
            watch.reject()
        watch.succeeded(self, name)

    return stream_structured_predict


def _astream_predict(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    async def astream_structured_predict(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        watch = WatchedPrediction()
        with watch:
            parts = await method(self, *args, **kwargs)

        async def watched() -> AsyncIterator[Any]:
            last = None
            try:
                while True:
                    try:
                        with watch:
                            last = await anext(parts)
                    except StopAsyncIteration:
                        break
                    yield last
            except Exception:
                await watch.areject()
                raise
            if not isinstance(last, _output_class(args, kwargs)):
                await watch.areject()
            watch.succeeded(self, name)

        return watched()

    return astream_structured_predict
