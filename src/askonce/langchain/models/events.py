"""What `cached` overrides in chat models that make LangChain's protocol events themselves.

Elsewhere LangChain makes the events of the chunks of a stream, and nothing is to be done.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, cast

from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration

from askonce.cache import Cache
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.langchain.keys.model import parameters_of_model
from askonce.langchain.keys.requests import form_of_messages
from askonce.langchain.models.acceptance import gives_end_reason, requested_of
from askonce.langchain.models.answers import STREAM, STREAM_WITH_USAGE, marked, pack, unpack
from askonce.langchain.models.calls import (
    alimit,
    awithin,
    in_model_call,
    limit,
    model_name,
    requests_usage,
    within,
)
from askonce.langchain.models.streams import check_replay

try:
    from langchain_core.language_models._compat_bridge import message_to_events
except ImportError:  # private, so it may be missing in any version: then such models' events are not cached
    message_to_events = None  # type: ignore[assignment]

Messages = list[BaseMessage]
Stop = list[str] | None


def event_overrides(base: Any, cache: Cache) -> dict[str, Any]:
    """The methods of the cached subclass, of those that the model's class has."""
    if message_to_events is None:
        return {}
    makers = {"_stream_chat_model_events": _stream_of, "_astream_chat_model_events": _astream_of}
    return {name: make(base, cache) for name, make in makers.items() if getattr(base, name, None) is not None}


def _request(cache: Cache, model: Any, messages: Messages, stop: Stop, kwargs: dict[str, Any]) -> Request | None:
    def form() -> NormalForm:
        return form_of_messages(messages, parameters_of_model(model, stop, kwargs))

    headers = bool(getattr(model, "include_response_headers", False))
    read = partial(unpack, delivery=_delivery(model, kwargs), headers=headers, check=check_replay)
    return cache.engine.request("answer", form, unpack=read, semantic=True)


def _delivery(model: Any, kwargs: dict[str, Any]) -> int:
    return STREAM_WITH_USAGE if requests_usage(model, kwargs) else STREAM


def _is_last(event: Any) -> bool:
    """LangChain reads no further, so that all that is to be done must be done before it is passed on."""
    return bool(event.get("event") == "message-finish")


def _stream_of(base: Any, cache: Cache) -> Any:
    def _stream_chat_model_events(
        self: Any, messages: Messages, stop: Stop = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[Any]:
        whole = ChatModelStream()

        def produce() -> Iterator[Any]:
            return base._stream_chat_model_events(  # type: ignore[no-any-return]
                self, messages, stop=stop, run_manager=run_manager, **kwargs
            )

        def call() -> Iterator[Any]:
            limit(self)
            for event in within(self, produce):
                whole.dispatch(copy.deepcopy(event))
                yield event

        if in_model_call(self):
            yield from produce()
            return
        request = _request(cache, self, messages, stop, kwargs)
        if request is None:
            yield from call()
            return
        last = []
        for event in cache.engine.stream(request, call, lambda: _packed(whole, self, kwargs), _replayed):
            if _is_last(event):
                last.append(event)
            else:
                yield event
        yield from last

    return _stream_chat_model_events


def _astream_of(base: Any, cache: Cache) -> Any:
    async def _astream_chat_model_events(
        self: Any, messages: Messages, stop: Stop = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        whole = ChatModelStream()

        def produce() -> AsyncIterator[Any]:
            return base._astream_chat_model_events(  # type: ignore[no-any-return]
                self, messages, stop=stop, run_manager=run_manager, **kwargs
            )

        async def call() -> AsyncIterator[Any]:
            await alimit(self)
            async for event in awithin(self, produce):
                whole.dispatch(copy.deepcopy(event))
                yield event

        if in_model_call(self):
            events = produce()
        elif (request := _request(cache, self, messages, stop, kwargs)) is None:
            events = call()
        else:
            events = cache.engine.astream(request, call, lambda: _packed(whole, self, kwargs), _replayed)
        last = []
        async with aclosing(cast("AsyncGenerator[Any, None]", events)):
            async for event in events:
                if _is_last(event):
                    last.append(event)
                else:
                    yield event
        for event in last:
            yield event

    return _astream_chat_model_events


def _replayed(hit: Hit) -> Iterator[Any]:
    return message_to_events(cast("ChatGeneration", marked(hit, free=True)[0]).message)


def _packed(whole: ChatModelStream, model: Any, kwargs: dict[str, Any]) -> Answer | None:
    message = whole.output_message
    if message is None:
        return None
    return pack(
        [ChatGeneration(message=message)],
        model_name(model),
        delivery=_delivery(model, kwargs),
        requested=requested_of(model, kwargs),
        with_end_reason=gives_end_reason(model, streamed=True),
    )
