"""Structured output of `cached` models: an answer that its parser refuses is not stored.

The parser runs after the model's answer was stored. So the chain records which answers its models gave while it
runs, and has them deleted where parsing fails: a retry reaches the model.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase

from askonce.concurrency.streams import aclosing, closing
from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Place

Given = list[tuple[CacheEngine, Request, Place | None]]
given_answers: ContextVar[Given | None] = ContextVar("askonce_given_answers", default=None)
"""The answers that cached models gave to the running chain; ``None`` where nobody parses them."""


def structured_overrides(base: type[BaseChatModel]) -> dict[str, Any]:
    """The method of the cached subclass that makes chains with a parser."""

    @functools.wraps(base.with_structured_output)
    def with_structured_output(self: Any, *args: Any, **kwargs: Any) -> Any:
        chain = base.with_structured_output(self, *args, **kwargs)
        return ParsedAnswer(bound=chain) if isinstance(chain, Runnable) else chain

    return {"with_structured_output": with_structured_output}


class _Watch:
    """The answers given in one run of a chain, and whether they could be parsed."""

    def __init__(self) -> None:
        self.given: Given = []
        self.result: Any = None

    def __enter__(self) -> _Watch:
        self._token = given_answers.set(self.given)
        return self

    def __exit__(self, *_: object) -> None:
        given_answers.reset(self._token)

    def see(self, part: Any) -> None:
        """Record a part of the result: of a stream the last one counts, of its maps each key."""
        if isinstance(self.result, dict) and _is_with_raw(self.result) and isinstance(part, dict):
            self.result = {**self.result, **part}
        else:
            self.result = part

    @property
    def is_parsed(self) -> bool:
        if isinstance(self.result, dict) and _is_with_raw(self.result):
            return self.result.get("parsing_error") is None and self.result.get("parsed") is not None
        return self.result is not None

    def reject(self) -> None:
        for engine, request, place in self.given:
            engine.reject(request, place)

    async def areject(self) -> None:
        for engine, request, place in self.given:
            await engine.areject(request, place)


def _is_with_raw(result: dict[str, Any]) -> bool:
    """Whether it is of a chain with ``include_raw``."""
    return bool(result) and result.keys() <= {"raw", "parsed", "parsing_error"}


class ParsedAnswer(RunnableBindingBase[Any, Any]):
    """A model with a parser behind it, as `with_structured_output` makes them."""

    def __getattr__(self, name: str) -> Any:
        """Whatever else the chain has, such as its steps."""
        if name.startswith("_") or "bound" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.bound, name)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        watch = _Watch()
        try:
            with watch:
                watch.see(super().invoke(input, config, **kwargs))
        except Exception:
            watch.reject()
            raise
        if not watch.is_parsed:
            watch.reject()
        return watch.result

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        watch = _Watch()
        try:
            with watch:
                watch.see(await super().ainvoke(input, config, **kwargs))
        except Exception:
            await watch.areject()
            raise
        if not watch.is_parsed:
            await watch.areject()
        return watch.result

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        return _watched(super().stream(input, config, **kwargs))

    def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        return _awatched(super().astream(input, config, **kwargs))

    def transform(self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        return _watched(super().transform(input, config, **kwargs))

    def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        return _awatched(super().atransform(input, config, **kwargs))

    # One by one, so that it is known whose answer could not be parsed.

    def batch(self, *args: Any, **kwargs: Any) -> list[Any]:
        return Runnable.batch(self, *args, **kwargs)

    async def abatch(self, *args: Any, **kwargs: Any) -> list[Any]:
        return await Runnable.abatch(self, *args, **kwargs)

    def batch_as_completed(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return Runnable.batch_as_completed(self, *args, **kwargs)

    def abatch_as_completed(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return Runnable.abatch_as_completed(self, *args, **kwargs)


def _watched(chunks: Iterator[Any]) -> Iterator[Any]:
    """A stream; between two of its chunks others run, whose answers are none of this chain's."""
    watch = _Watch()
    try:
        with closing(chunks):
            while True:
                try:
                    with watch:
                        chunk = next(chunks)
                except StopIteration:
                    break
                watch.see(chunk)
                yield chunk
    except Exception:
        watch.reject()
        raise
    if not watch.is_parsed:
        watch.reject()


async def _awatched(chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
    watch = _Watch()
    try:
        async with aclosing(chunks):
            while True:
                try:
                    with watch:
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
                watch.see(chunk)
                yield chunk
    except Exception:
        await watch.areject()
        raise
    if not watch.is_parsed:
        await watch.areject()
