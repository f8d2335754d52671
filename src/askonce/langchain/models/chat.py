"""What `cached` overrides in chat models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, cast

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from askonce.cache import Cache
from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Place
from askonce.keys.counters import CallUnderWay
from askonce.keys.normal_form import NormalForm
from askonce.langchain.keys.model import parameters_of_model
from askonce.langchain.keys.requests import form_of_messages
from askonce.langchain.models.acceptance import gives_end_reason, requested_of
from askonce.langchain.models.answers import STREAM, STREAM_WITH_USAGE, WHOLE, mark, marked, pack, unpack
from askonce.langchain.models.calls import (
    accepts_callbacks,
    alimit,
    awithin,
    check_model,
    in_model_call,
    limit,
    model_call,
    model_name,
    requests_usage,
    streams_several,
    within,
)
from askonce.langchain.models.events import event_overrides
from askonce.langchain.models.streams import Recording, check_replay, last_chunk, replay
from askonce.langchain.models.structured import given_answers, structured_overrides

Messages = list[BaseMessage]


def overrides(base: type[BaseChatModel], cache: Cache) -> dict[str, Any]:
    """The methods of the cached subclass of a chat model's class."""
    methods: dict[str, Any] = {**_generating(base, cache)}
    if base._stream is not BaseChatModel._stream:
        methods["_stream"] = _stream_of(base, cache)
    if base._stream is not BaseChatModel._stream or base._astream is not BaseChatModel._astream:
        methods["_astream"] = _astream_of(base, cache)
    return methods | event_overrides(base, cache) | structured_overrides(base)


def _request(
    cache: Cache,
    model: Any,
    messages: Messages,
    stop: list[str] | None,
    kwargs: dict[str, Any],
    delivery: int | None = None,
    *,
    asynchronous: bool = False,
) -> Request | None:
    def form() -> NormalForm:
        parameters = parameters_of_model(model, stop, kwargs, asynchronous=asynchronous)
        return form_of_messages(messages, parameters)

    headers = bool(getattr(model, "include_response_headers", False))
    if delivery is None:
        delivery = WHOLE if hasattr(model, "stream_usage") else STREAM  # others' streams have what they have
    read = partial(unpack, delivery=delivery, headers=headers, check=check_replay)
    return cache.engine.request("answer", form, unpack=read, semantic=True)


def _pack_result(result: ChatResult, model: Any, kwargs: dict[str, Any]) -> Answer | None:
    generations = [_shown(generation, model) for generation in _whole(result)]
    return pack(
        generations,
        model_name(model),
        result.llm_output,
        requested=requested_of(model, kwargs),
        with_end_reason=gives_end_reason(model, streamed=False),
    )


def _shown(generation: ChatGeneration, model: Any) -> ChatGeneration:
    """A generation with its content in the form that the model's ``output_version`` sets.

    LangChain makes it so after the call. Stored as it was, an answer could not be replayed as a stream: of chunks
    LangChain does not know which blocks are one.
    """
    if getattr(model, "output_version", None) != "v1":
        return generation
    message = generation.message
    metadata = {**message.response_metadata, "output_version": "v1"}
    message = message.model_copy(update={"content": message.content_blocks, "response_metadata": metadata})
    return ChatGeneration(message=message, generation_info=generation.generation_info)


# -- whole answers ---------------------------------------------------------------------------------------------


def _generating(base: type[BaseChatModel], cache: Cache) -> dict[str, Any]:
    goes_async = base._agenerate is not BaseChatModel._agenerate
    sync_takes_manager, async_takes_manager = accepts_callbacks(base._generate), accepts_callbacks(base._agenerate)

    def _generate(
        self: Any, messages: Messages, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        made: CallUnderWay | None = None

        def call() -> ChatResult:
            nonlocal made
            limit(self)
            with model_call(self, made := CallUnderWay(self)):
                return base._generate(self, messages, stop=stop, **manager_argument, **kwargs)

        def packed(result: ChatResult) -> Answer | None:
            check_model(cache, request, made, self, stop, kwargs)
            return _pack_result(result, self, kwargs)

        manager_argument = {"run_manager": run_manager} if sync_takes_manager else {}
        if in_model_call(self):
            return base._generate(self, messages, stop=stop, **manager_argument, **kwargs)
        request = _request(cache, self, messages, stop, kwargs)
        if request is None:
            return call()
        found = cache.engine.answer(request, call, packed)
        return _result(found, cache.engine, request)

    async def _agenerate(
        self: Any, messages: Messages, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        made: CallUnderWay | None = None

        async def call() -> ChatResult:
            nonlocal made
            await alimit(self)
            with model_call(self, made := CallUnderWay(self)):
                return await base._agenerate(self, messages, stop=stop, **manager_argument, **kwargs)

        def packed(result: ChatResult) -> Answer | None:
            check_model(cache, request, made, self, stop, kwargs, asynchronous=goes_async)
            return _pack_result(result, self, kwargs)

        manager_argument = {"run_manager": run_manager} if async_takes_manager else {}
        if in_model_call(self):
            return await base._agenerate(self, messages, stop=stop, **manager_argument, **kwargs)
        request = _request(cache, self, messages, stop, kwargs, asynchronous=goes_async)
        if request is None:
            return await call()
        found = await cache.engine.aanswer(request, call, packed)
        return _result(found, cache.engine, request)

    return {"_generate": _generate, "_agenerate": _agenerate}


def _whole(result: ChatResult) -> list[ChatGeneration]:
    """The generations as LangChain completes them before it hands them on, or to its own cache."""
    output = result.llm_output if len(result.generations) == 1 and result.llm_output else {}
    whole = []
    for generation in result.generations:
        message = generation.message
        metadata = {**output, **(generation.generation_info or {}), **message.response_metadata}
        message = message.model_copy(update={"response_metadata": metadata})
        whole.append(ChatGeneration(message=message, generation_info=generation.generation_info))
    return whole


def _result(answer: ChatResult | Hit, engine: CacheEngine, request: Request) -> ChatResult:
    given = given_answers.get()
    if given is not None:
        given.append((engine, request, _place(answer, request)))
    if isinstance(answer, Hit):
        return ChatResult(generations=cast("list[ChatGeneration]", marked(answer, free=True)))
    mark(answer.generations, engine.mark_of_fresh(request))
    return answer


def _place(answer: Any, request: Request) -> Place | None:
    """Where an answer was found, if that is not the request's own place."""
    return Place(request.place.namespace, answer.key) if isinstance(answer, Hit) and answer.key else None


# -- streams ---------------------------------------------------------------------------------------------------


def _replayed(hit: Hit) -> Iterator[ChatGenerationChunk]:
    return replay(cast("ChatGeneration", marked(hit, free=True)[0]))


def _stream_of(base: type[BaseChatModel], cache: Cache) -> Callable[..., Iterator[ChatGenerationChunk]]:
    def _stream(
        self: Any, messages: Messages, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        recording, given = Recording(), given_answers.get()
        delivery = STREAM_WITH_USAGE if requests_usage(self, kwargs) else STREAM
        manager_argument = {} if run_manager is None else {"run_manager": run_manager}

        made: CallUnderWay | None = None

        def call() -> Iterator[ChatGenerationChunk]:
            nonlocal made
            limit(self)
            made = CallUnderWay(self)
            begin = partial(base._stream, self, messages, stop=stop, **manager_argument, **kwargs)
            for chunk in within(self, begin, made):
                yield recording.add(chunk)

        def packed() -> Answer | None:
            check_model(cache, request, made, self, stop, kwargs)
            return _pack_stream(recording, self, kwargs, delivery)

        replaying = False

        def again(hit: Hit) -> Iterator[ChatGenerationChunk]:
            nonlocal replaying
            replaying = True
            if given is not None and request is not None:
                given.append((cache.engine, request, _place(hit, request)))
            for chunk in _replayed(hit):
                if run_manager is not None:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

        if in_model_call(self):
            yield from base._stream(self, messages, stop=stop, **manager_argument, **kwargs)
            return
        request = None
        if not streams_several(self, kwargs):
            request = _request(cache, self, messages, stop, kwargs, delivery)
        if request is None:
            yield from call()
        else:
            yield from cache.engine.stream(request, call, packed, again)
            if given is not None and (not given or given[-1][1] is not request):
                given.append((cache.engine, request, None))
            if not (replaying or recording.is_empty) and (shown := cache.engine.mark_of_fresh(request)):
                yield last_chunk(shown)

    return _stream


def _astream_of(base: type[BaseChatModel], cache: Cache) -> Callable[..., AsyncIterator[ChatGenerationChunk]]:
    goes_async = base._astream is not BaseChatModel._astream

    async def _astream(
        self: Any, messages: Messages, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        recording, given = Recording(), given_answers.get()
        delivery = STREAM_WITH_USAGE if requests_usage(self, kwargs) else STREAM
        manager_argument = {} if run_manager is None else {"run_manager": run_manager}
        replaying = False
        made: CallUnderWay | None = None

        async def call() -> AsyncIterator[ChatGenerationChunk]:
            nonlocal made
            await alimit(self)
            made = CallUnderWay(self)
            begin = partial(base._astream, self, messages, stop=stop, **manager_argument, **kwargs)
            async for chunk in awithin(self, begin, made):
                yield recording.add(chunk)

        def packed() -> Answer | None:
            check_model(cache, request, made, self, stop, kwargs, asynchronous=goes_async)
            return _pack_stream(recording, self, kwargs, delivery)

        def again(hit: Hit) -> Iterator[ChatGenerationChunk]:
            nonlocal replaying
            replaying = True
            if given is not None and request is not None:
                given.append((cache.engine, request, _place(hit, request)))
            return _replayed(hit)

        if in_model_call(self):
            async for chunk in base._astream(self, messages, stop=stop, **manager_argument, **kwargs):
                yield chunk
            return
        request = None
        if not streams_several(self, kwargs):
            request = _request(cache, self, messages, stop, kwargs, delivery, asynchronous=goes_async)
        chunks = call() if request is None else cache.engine.astream(request, call, packed, again)
        async with aclosing(cast("AsyncGenerator[ChatGenerationChunk, None]", chunks)):
            async for chunk in chunks:
                if replaying and run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        if request is None or replaying:
            return
        if given is not None:
            given.append((cache.engine, request, None))
        if not recording.is_empty and (shown := cache.engine.mark_of_fresh(request)):
            yield last_chunk(shown)

    return _astream


def _pack_stream(recording: Recording, model: Any, kwargs: dict[str, Any], delivery: int) -> Answer | None:
    generations = [_shown(generation, model) for generation in recording.generations()]
    if not generations:
        return None
    return pack(
        generations,
        model_name(model),
        delivery=delivery,
        requested=requested_of(model, kwargs),
        with_end_reason=gives_end_reason(model, streamed=True),
    )
