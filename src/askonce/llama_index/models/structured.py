"""Structured output of cached LLMs: an answer that its parser refuses is not stored.

LlamaIndex parses after the LLM's answer was stored. So a structured prediction records which answers the LLM gave
while it runs, and has them deleted where parsing fails: the next one reaches the model.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel

from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Place

Given = list[tuple[CacheEngine, Request, Place | None]]
given_answers: ContextVar[Given | None] = ContextVar("askonce_given_answers", default=None)
"""The answers that cached LLMs gave to the running prediction; ``None`` where nobody parses them."""


class _Watch:
    """The answers given in one prediction."""

    def __init__(self) -> None:
        self.given: Given = []

    def __enter__(self) -> None:
        self._token = given_answers.set(self.given)

    def __exit__(self, *_: object) -> None:
        given_answers.reset(self._token)

    def reject(self) -> None:
        for engine, request, place in self.given:
            engine.reject(request, place)

    async def areject(self) -> None:
        for engine, request, place in self.given:
            await engine.areject(request, place)


def structured_methods(base: type) -> dict[str, Callable[..., Any]]:
    """The methods of the twin's class that parse, as far as the LLM's class has them."""
    makers = {
        "predict": _predict,  # with an ``output_parser`` of the LLM's
        "apredict": _apredict,
        "structured_predict": _predict,
        "astructured_predict": _apredict,
        "stream_structured_predict": _stream_predict,
        "astream_structured_predict": _astream_predict,
    }
    own = {name: getattr(base, name, None) for name in makers}
    return {name: functools.wraps(method)(makers[name](method)) for name, method in own.items() if method}


def _predict(method: Callable[..., Any]) -> Callable[..., Any]:
    def structured_predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = _Watch()
        try:
            with watch:
                return method(self, *args, **kwargs)
        except Exception:
            watch.reject()
            raise

    return structured_predict


def _apredict(method: Callable[..., Any]) -> Callable[..., Any]:
    async def astructured_predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = _Watch()
        try:
            with watch:
                return await method(self, *args, **kwargs)
        except Exception:
            await watch.areject()
            raise

    return astructured_predict


def _output_class(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    wanted = args[0] if args else kwargs.get("output_cls")
    return wanted if isinstance(wanted, type) else BaseModel


def _stream_predict(method: Callable[..., Any]) -> Callable[..., Any]:
    def stream_structured_predict(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        watch, last = _Watch(), None
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

    return stream_structured_predict


def _astream_predict(method: Callable[..., Any]) -> Callable[..., Any]:
    async def astream_structured_predict(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        watch = _Watch()
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

        return watched()

    return astream_structured_predict
