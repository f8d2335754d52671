"""What `cached` overrides in completion models."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, cast

from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult

from askonce.cache import Cache
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Miss
from askonce.keys.counters import CallUnderWay
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.langchain.keys.model import parameters_of_model
from askonce.langchain.keys.requests import form_of_prompt
from askonce.langchain.models.answers import marked, pack, unpack
from askonce.langchain.models.calls import (
    accepts_callbacks,
    awithin,
    check_model,
    in_model_call,
    model_call,
    model_name,
    streams_several,
    within,
)
from askonce.langchain.models.prompts import record_prompt_parts_of_completion

_WORDS = re.compile(r"\S+\s*|\s+")


def overrides(base: type[BaseLLM], cache: Cache) -> dict[str, Any]:
    """The methods of the cached subclass of a completion model's class."""
    methods = {"_generate": _generate_of(base, cache), "_agenerate": _agenerate_of(base, cache)}
    if base._stream is not BaseLLM._stream:
        methods["_stream"] = _stream_of(base, cache)
    if base._stream is not BaseLLM._stream or base._astream is not BaseLLM._astream:
        methods["_astream"] = _astream_of(base, cache)
    return methods


def _request(
    cache: Cache,
    model: Any,
    prompt: str,
    stop: list[str] | None,
    kwargs: dict[str, Any],
    *,
    asynchronous: bool = False,
) -> Request | None:
    def form() -> NormalForm:
        return form_of_prompt(prompt, parameters_of_model(model, stop, kwargs, asynchronous=asynchronous))

    return cache.engine.request("answer", form, unpack=unpack, semantic=True)


def _pack(result: LLMResult, model: Any, position: int = 0) -> Answer | None:
    alone = len(result.generations) == 1
    return pack(result.generations[position], model_name(model), result.llm_output if alone else None)


def _checked(
    request: Request, model: Any, check: Callable[[Request], None], result: LLMResult, position: int = 0
) -> Answer | None:
    check(request)
    return _pack(result, model, position)


# -- whole answers ---------------------------------------------------------------------------------------------


def _generate_of(base: type[BaseLLM], cache: Cache) -> Any:
    takes_manager = accepts_callbacks(base._generate)

    def _generate(
        self: Any, prompts: list[str], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        made: CallUnderWay | None = None

        def call(missing: list[str]) -> LLMResult:
            nonlocal made
            with model_call(self, made := CallUnderWay(self)):
                return base._generate(self, missing, stop=stop, **manager_argument, **kwargs)

        def check(request: Request) -> None:
            check_model(cache, request, made, self, stop, kwargs)

        manager_argument = {"run_manager": run_manager} if takes_manager else {}
        if in_model_call(self):
            return call(prompts)
        requests = [_request(cache, self, prompt, stop, kwargs) for prompt in prompts]
        if len(prompts) == 1 and requests[0] is not None:
            found = cache.engine.answer(
                requests[0], lambda: call(prompts), partial(_checked, requests[0], self, check)
            )
            return LLMResult(generations=[marked(found)]) if isinstance(found, Hit) else found
        batch = _PromptBatch(self, prompts, requests)
        batch.found(cache.engine.lookup_many(batch.named))
        if batch.missing:
            started = time.monotonic()
            result = call([prompts[position] for position in batch.missing])
            cache.engine.store_many(*batch.made(result, check), time.monotonic() - started)
        return batch.result

    return _generate


def _agenerate_of(base: type[BaseLLM], cache: Cache) -> Any:
    goes_async = base._agenerate is not BaseLLM._agenerate
    takes_manager = accepts_callbacks(base._agenerate)

    async def _agenerate(
        self: Any, prompts: list[str], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        made: CallUnderWay | None = None

        async def call(missing: list[str]) -> LLMResult:
            nonlocal made
            with model_call(self, made := CallUnderWay(self)):
                return await base._agenerate(self, missing, stop=stop, **manager_argument, **kwargs)

        def check(request: Request) -> None:
            check_model(cache, request, made, self, stop, kwargs, asynchronous=goes_async)

        manager_argument = {"run_manager": run_manager} if takes_manager else {}
        if in_model_call(self):
            return await call(prompts)
        record_prompt_parts_of_completion()
        requests = [_request(cache, self, prompt, stop, kwargs, asynchronous=goes_async) for prompt in prompts]
        if len(prompts) == 1 and requests[0] is not None:
            found = await cache.engine.aanswer(
                requests[0], lambda: call(prompts), partial(_checked, requests[0], self, check)
            )
            return LLMResult(generations=[marked(found)]) if isinstance(found, Hit) else found
        batch = _PromptBatch(self, prompts, requests)
        batch.found(await cache.engine.alookup_many(batch.named))
        if batch.missing:
            started = time.monotonic()
            result = await call([prompts[position] for position in batch.missing])
            await cache.engine.astore_many(*batch.made(result, check), time.monotonic() - started)
        return batch.result

    return _agenerate


class _PromptBatch:
    """Several prompts of one call: what is found is left out of the call to the provider, which stays one.

    Attributes:
        named: the requests that may be found.
        missing: the positions of the prompts that are not.
        result: the whole, in the order of the prompts.
    """

    def __init__(self, model: Any, prompts: list[str], requests: list[Request | None]) -> None:
        self._model, self._requests = model, requests
        self.named = [request for request in requests if request is not None]
        self.missing: list[int] = []
        self.result = LLMResult(generations=[[] for _ in prompts])

    def found(self, found: list[Hit | Miss]) -> None:
        """Record what the lookup of ``named`` found."""
        hits = iter(found)
        for position, request in enumerate(self._requests):
            one = None if request is None else next(hits)
            if isinstance(one, Hit):
                self.result.generations[position] = marked(one)
            else:
                self.missing.append(position)

    def made(
        self, result: LLMResult, check: Callable[[Request], None]
    ) -> tuple[list[Request], list[Answer | None]]:
        """Record what the provider gave for ``missing``; returns what of it to store, if a check allows it."""
        requests: list[Request] = []
        answers: list[Answer | None] = []
        for at, position in enumerate(self.missing):
            self.result.generations[position] = result.generations[at]
            request = self._requests[position]
            if request is not None:
                requests.append(request)
                try:
                    answers.append(_checked(request, self._model, check, result, at))
                except Uncacheable:
                    answers.append(None)
        self.result.llm_output = result.llm_output
        return requests, answers


# -- streams ---------------------------------------------------------------------------------------------------


def _replayed(hit: Hit) -> Iterator[GenerationChunk]:
    generation = marked(hit)[0]
    words = _WORDS.findall(generation.text)
    for word in words[:-1]:
        yield GenerationChunk(text=word)
    yield GenerationChunk(text=words[-1] if words else "", generation_info=generation.generation_info)


def _pack_stream(chunks: list[GenerationChunk], model: Any) -> Answer | None:
    if not chunks:
        return None
    merged = chunks[0]
    for chunk in chunks[1:]:
        merged += chunk
    return pack([Generation(text=merged.text, generation_info=merged.generation_info)], model_name(model))


def _stream_of(base: Any, cache: Cache) -> Any:
    def _stream(
        self: Any, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        chunks: list[GenerationChunk] = []
        made: CallUnderWay | None = None

        def call() -> Iterator[GenerationChunk]:
            nonlocal made
            made = CallUnderWay(self)
            begin = partial(base._stream, self, prompt, stop=stop, run_manager=run_manager, **kwargs)
            for chunk in within(self, begin, made):
                chunks.append(chunk)
                yield chunk

        def packed() -> Answer | None:
            check_model(cache, request, made, self, stop, kwargs)
            return _pack_stream(chunks, self)

        def again(hit: Hit) -> Iterator[GenerationChunk]:
            for chunk in _replayed(hit):
                if run_manager is not None:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

        plain = in_model_call(self) or streams_several(self, kwargs)
        request = None if plain else _request(cache, self, prompt, stop, kwargs)
        if request is None:
            yield from call()
        else:
            yield from cache.engine.stream(request, call, packed, again)

    return _stream


def _astream_of(base: Any, cache: Cache) -> Any:
    goes_async = base._astream is not BaseLLM._astream

    async def _astream(
        self: Any, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[GenerationChunk]:
        chunks: list[GenerationChunk] = []
        replaying = False
        made: CallUnderWay | None = None

        async def call() -> AsyncIterator[GenerationChunk]:
            nonlocal made
            made = CallUnderWay(self)
            begin = partial(base._astream, self, prompt, stop=stop, run_manager=run_manager, **kwargs)
            async for chunk in awithin(self, begin, made):
                chunks.append(chunk)
                yield chunk

        def packed() -> Answer | None:
            check_model(cache, request, made, self, stop, kwargs, asynchronous=goes_async)
            return _pack_stream(chunks, self)

        def again(hit: Hit) -> Iterator[GenerationChunk]:
            nonlocal replaying
            replaying = True
            return _replayed(hit)

        plain = in_model_call(self) or streams_several(self, kwargs)
        request = None if plain else _request(cache, self, prompt, stop, kwargs, asynchronous=goes_async)
        stream = call() if request is None else cache.engine.astream(request, call, packed, again)
        async with aclosing(cast("AsyncGenerator[GenerationChunk, None]", stream)):
            async for chunk in stream:
                if replaying and run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    return _astream
