"""What a cached LLM is, what a hit looks like, and what is not kept."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import inspect
import logging
import pickle
from collections.abc import Generator, Sequence
from pathlib import Path
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, ThinkingBlock
from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.mock import (
    MockFunctionCallingLLM,
    MockLLM,
    MockLLMWithChatMemoryOfLastCall,
    MockLLMWithNonyieldingChatStream,
)
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI

from askonce import Cache, ConfigError, cache_options
from askonce.entries.entry import Usage
from askonce.errors import StoreUnavailable
from askonce.llama_index import cached
from askonce.llama_index.models.answers import pack
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.llama_index.conftest import API_KEY, Events
from tests.llama_index.openai_server import OpenAIServer

HELLO = [ChatMessage(role="user", content="hello")]


def add(a: int) -> int:
    """Add."""
    return a


# -- what it is ----------------------------------------------------------------------------------------------------


def test_it_is_what_the_llm_is_and_leaves_the_llm_alone(openai: OpenAI, cache: Cache) -> None:
    before, cls = dict(openai.__dict__), type(openai)
    llm = cached(openai, cache)
    assert isinstance(llm, OpenAI) and isinstance(llm, FunctionCallingLLM)
    assert type(llm).__name__ == "OpenAI" and type(cached(openai, cache)) is type(llm)
    assert (llm.metadata, llm.class_name(), llm.to_dict()) == (openai.metadata, "openai_llm", openai.to_dict())
    assert llm._http_client is openai._http_client
    assert inspect.signature(llm.chat) == inspect.signature(openai.chat)
    llm.temperature = 0.9
    assert (type(openai), openai.__dict__) == (cls, before)


def test_cached_twice_is_cached_once(openai: OpenAI, cache: Cache) -> None:
    llm = cached(openai, cache)
    assert cached(llm) is llm and cached(llm, cache) is llm
    other = cached(llm, "memory://", namespace="other")
    assert other is not llm and type(other) is type(llm)
    with pytest.raises(ConfigError, match="int"):
        cached(3, cache)  # type: ignore[type-var]


def test_copies_share_the_cache(openai: OpenAI, server: OpenAIServer, cache: Cache) -> None:
    llm = cached(MockLLM(max_tokens=2), cache)
    for twin in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy()):
        twin.complete("hi")
    assert cache.stats().hits == 2
    warmer = cached(openai, cache).model_copy(update={"temperature": 0.7})
    cached(openai, cache).chat(HELLO)
    warmer.chat(HELLO)
    assert server.calls == 2


def test_it_can_be_pickled_and_finds_its_store_again(
    tmp_path: Path, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    llm = cached(MockLLM(max_tokens=2), f"sqlite:///{tmp_path}/cache.db")
    again = pickle.loads(pickle.dumps(llm))
    assert type(again) is type(llm) and again._askonce.cache is llm._askonce.cache
    assert type(pickle.loads(pickle.dumps(cached(MockLLM(), cache)))) is MockLLM
    assert "give a store's URL" in caplog.text
    llm._askonce.cache.close()


def test_of_a_structured_llm_the_one_inside_is_cached(openai: OpenAI, cache: Cache) -> None:
    from tests.llama_index.test_features import Album

    structured = openai.as_structured_llm(Album)
    wrapped = cached(structured, cache)
    assert cached(wrapped) is wrapped and wrapped.output_cls is Album and structured.llm is openai
    assert wrapped.chat(HELLO).raw == wrapped.chat(HELLO).raw == Album(title="Song of hello", tracks=3)
    assert cache.stats().hits == 1


# -- what a hit looks like -----------------------------------------------------------------------------------------


def test_a_hit_is_the_answer_marked_with_readable_raw(openai: OpenAI, server: OpenAIServer, cache: Cache) -> None:
    llm = cached(openai, cache)
    fresh, hit = llm.chat(HELLO), llm.chat(HELLO)
    assert server.calls == 1
    assert (hit.message, hit.delta, hit.logprobs) == (fresh.message, fresh.delta, fresh.logprobs)
    assert hit.raw == fresh.raw.model_dump()
    assert hit.raw["usage"]["prompt_tokens"] == hit.raw.usage.prompt_tokens == 1000
    assert hit.raw.usage.prompt_tokens_details.cached_tokens == 600
    assert hit.raw.choices[0].message.content == "You said: hello"
    mark = hit.additional_kwargs.pop("askonce")
    assert mark["hit"] == "exact" and hit.additional_kwargs == fresh.additional_kwargs
    (entry,) = cache.entries()
    assert entry.usage == Usage(1000, 20, 600, 0) and entry.cost_usd is not None and entry.cost_usd > 0
    hit.message.content = "changed by the application"
    hit.raw["usage"] = None
    assert llm.chat(HELLO).message == fresh.message and llm.chat(HELLO).raw.usage.total_tokens == 1020


@pytest.mark.parametrize("streamed_first", [True, False])
async def test_streamed_or_not_is_one_question(
    streamed_first: bool, openai: OpenAI, server: OpenAIServer, cache: Cache
) -> None:
    server.says = "  Ünicode, and\n\nmore  "
    llm = cached(openai, cache)
    if streamed_first:
        original = list(llm.stream_chat(HELLO))
    else:
        llm.chat(HELLO)
    sync = llm.stream_chat(HELLO)
    asynchronous = await llm.astream_chat(messages=HELLO)
    assert isinstance(sync, GeneratorType) and isinstance(asynchronous, AsyncGeneratorType)
    for chunks in (list(sync), [chunk async for chunk in asynchronous]):
        assert "".join(chunk.delta or "" for chunk in chunks) == server.says
        said = ""
        for chunk in chunks:
            said += chunk.delta or ""
            assert chunk.message.content == said
            assert chunk.additional_kwargs["askonce"]["hit"] == "exact"
        assert chunks[-1].raw.usage.prompt_tokens == 1000
        if streamed_first:
            assert chunks[-1].message == original[-1].message
            assert chunks[-1].raw == original[-1].raw.model_dump()
    assert llm.chat(HELLO).message.content == (await llm.achat(HELLO)).message.content == server.says
    assert server.calls == 1


def test_tool_calls_come_back_whole_and_the_next_turn_asks_the_same(
    openai: OpenAI, server: OpenAIServer, cache: Cache
) -> None:
    llm, tools = cached(openai, cache), [FunctionTool.from_defaults(add)]
    fresh, hit = (llm.chat_with_tools(tools, user_msg="three") for _ in range(2))
    *_, streamed = llm.stream_chat_with_tools(tools, user_msg="three")
    assert hit.message.blocks == fresh.message.blocks == streamed.message.blocks
    assert hit.message.additional_kwargs["tool_calls"][0].function.name == "add"
    for response in (fresh, hit, streamed):
        result = ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "call_1"})
        llm.chat([*HELLO, response.message, result])
    assert server.calls == 2


def test_mock_llms_whose_last_chunk_lags_behind_are_given_as_they_stream(cache: Cache) -> None:
    llm = cached(MockLLM(max_tokens=3), cache)
    for _ in range(2):
        assert "".join(chunk.delta or "" for chunk in llm.stream_complete("hi")) == "text text text"
    assert llm.complete("hi").text == "text text text"
    assert (cache.stats().hits, cache.stats().misses) == (2, 1)


def test_thoughts_are_replayed_before_the_text(cache: Cache) -> None:
    message = ChatMessage(role="assistant", blocks=[ThinkingBlock(content="hm, hm"), *HELLO[0].blocks])
    llm = cached(MockFunctionCallingLLM(response_generator=_always(message)), cache)
    llm._response_generator = generate_thinking
    llm.chat(HELLO)
    chunks = list(llm.stream_chat(HELLO))
    assert chunks[0].additional_kwargs["thinking_delta"] == "hm, hm"
    assert [chunk.delta for chunk in chunks] == ["", "hello", ""]
    assert chunks[-1].message == message and cache.stats().hits == 1


def _always(message: ChatMessage) -> Any:
    return lambda messages, **kwargs: message


def generate_thinking(messages: Sequence[ChatMessage], **kwargs: Any) -> ChatMessage:
    return ChatMessage(role="assistant", blocks=[ThinkingBlock(content="hm, hm"), *HELLO[0].blocks])


# -- what observers see --------------------------------------------------------------------------------------------


async def test_observers_see_a_miss_as_ever_and_a_hit_marked(
    openai: OpenAI, cache: Cache, events: Events, spans: SimpleSpanHandler
) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    openai.callback_manager = CallbackManager([counter])
    llm = cached(openai, cache)

    async def ask(llm: Any) -> tuple[list[str], list[str], int]:
        events.seen.clear()
        spans.completed_spans.clear()
        await llm.achat(HELLO)
        list(llm.stream_complete("hi"))
        gc.collect()
        names = list(dict.fromkeys(events.names()))
        return names, [span.id_.split("-")[0] for span in spans.completed_spans], counter.total_llm_token_count

    without = await ask(openai)
    miss = await ask(llm)
    assert miss[:2] == without[:2]
    assert not any(event.tags for event in events.seen)
    hit = await ask(llm)
    assert hit[:2] == without[:2] and hit[1] == ["OpenAI.achat", "OpenAI.stream_complete"]
    assert hit[2] == miss[2], "a token counter must not count an answer again"
    assert {event.tags["askonce.hit"] for event in events.seen} == {"exact"}
    assert len({event.span_id for event in events.seen}) == 2
    assert API_KEY not in repr([event.model_dump() for event in events.seen])


def test_a_stream_is_asked_for_at_its_call(openai: OpenAI, cache: Cache, spans: SimpleSpanHandler) -> None:
    llm = cached(openai, cache)
    for _ in range(2):
        spans.completed_spans.clear()
        stream = llm.stream_chat(HELLO)
        assert [span.id_.split("-")[0] for span in spans.completed_spans] == ["OpenAI.stream_chat"]
        list(stream)


def test_inner_endpoints_are_not_looked_up(cache: Cache) -> None:
    llm = cached(MockLLM(max_tokens=2), cache)  # its achat calls chat, which calls complete
    asyncio.run(llm.achat(HELLO))
    list(llm.stream_chat([*HELLO, *HELLO]))
    assert (cache.stats().misses, cache.stats().stored) == (2, 2)


class Threaded(MockLLM):
    """Its asynchronous endpoint runs the other one on a thread that knows nothing of the caller's context."""

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return await asyncio.get_running_loop().run_in_executor(None, self.chat, messages)


async def test_an_endpoint_that_runs_another_on_a_thread_does_not_wait_for_itself(cache: Cache) -> None:
    llm = cached(Threaded(max_tokens=2), cache)
    async with asyncio.timeout(10):
        assert (await llm.achat(HELLO)).message.content == "text text"
    assert llm.chat(HELLO).additional_kwargs["askonce"]["hit"] == "exact"


def test_what_the_model_remembers_it_remembers_on_the_copy(cache: Cache) -> None:
    original = MockLLMWithChatMemoryOfLastCall(max_tokens=1)
    llm = cached(original, cache)
    llm.chat(HELLO)
    assert (llm.last_chat_messages, original.last_chat_messages) == (HELLO, None)


# -- what is not kept ----------------------------------------------------------------------------------------------


async def test_streams_that_are_abandoned_or_fail_are_not_kept(
    openai: OpenAI, server: OpenAIServer, cache: Cache
) -> None:
    llm = cached(openai, cache)
    half: Generator[Any, None, None] = llm.stream_chat(HELLO)  # type: ignore[assignment]
    next(half)
    half.close()
    llm.stream_chat(HELLO)  # never read
    ahalf = await llm.astream_chat(HELLO)
    await anext(ahalf)
    await ahalf.aclose()
    server.breaks_off = True
    with pytest.raises(Exception, match="out of order"):
        list(llm.stream_chat(HELLO))
    server.breaks_off = False
    assert cache.stats().stored == 0
    assert llm.chat(HELLO).message.content == "You said: hello"


@pytest.mark.parametrize(("says", "finish"), [("cut o", "length"), ("I will not", "content_filter"), ("", "stop")])
def test_truncated_and_empty_answers_are_not_kept(
    says: str, finish: str, openai: OpenAI, server: OpenAIServer, cache: Cache
) -> None:
    server.says, server.finish = says, finish
    llm = cached(openai, cache)
    for _ in range(2):
        llm.chat(HELLO)
        list(llm.stream_chat([*HELLO, *HELLO]))
    assert server.calls == 4 and cache.stats().stored == 0 and cache.stats().not_stored == 4


def test_a_stream_without_chunks_is_not_kept(cache: Cache) -> None:
    llm = cached(MockLLMWithNonyieldingChatStream(max_tokens=2), cache)
    assert list(llm.stream_chat(HELLO)) == [] and cache.stats().stored == 0


class Opaque:
    pass


class Cited(ChatResponse):
    citations: list[dict[str, Any]] = Field(default_factory=list)


def test_only_what_comes_back_as_it_was_is_kept() -> None:
    message = ChatMessage(role="assistant", content="hi")
    assert pack(ChatResponse(message=message, raw=Opaque()), None) is None
    assert pack(ChatResponse(message=message, additional_kwargs={"it": Opaque()}), None) is None
    assert pack("no response", None) is None
    kept = pack(Cited(message=message, citations=[{"at": 1}], raw={"usage": {"input_tokens": 5}}), None)
    assert kept is not None and b"citations" in kept.payload


def test_what_cannot_be_named_is_asked_and_counted(cache: Cache) -> None:
    llm = cached(MockFunctionCallingLLM(response_generator=_always(HELLO[0])), cache)
    for _ in range(2):
        assert llm.chat(HELLO).message.content == "hello"
    with cache_options(bypass=True):
        cached(MockLLM(max_tokens=1), cache).complete("hi")
    assert cache.stats().bypassed == 3 and cache.stats().stored == 0


def test_what_cannot_be_read_back_is_asked_anew(openai: OpenAI, server: OpenAIServer, cache: Cache) -> None:
    from askonce.entries.entry import Answer
    from askonce.llama_index.keys.requests import chat_form

    llm = cached(openai, cache)
    request = cache.request(lambda: chat_form(llm, HELLO, {}))
    assert request is not None
    cache.store_many([request], [Answer(b"\xc1 no MessagePack")], 1.0)
    assert llm.chat(HELLO).message.content == "You said: hello"
    assert "".join(chunk.delta or "" for chunk in llm.stream_chat(HELLO)) == "You said: hello"
    assert server.calls == 2


# -- under load, and when things fail ------------------------------------------------------------------------------


async def test_a_thousand_at_once_are_one_call(openai: OpenAI, server: OpenAIServer, cache: Cache) -> None:
    server.delay_seconds = 0.2
    llm = cached(openai, cache)
    responses = await asyncio.gather(*(llm.achat(HELLO) for _ in range(1000)))
    assert server.calls == 1 and {response.message.content for response in responses} == {"You said: hello"}
    assert cache.stats().coalesced == 999


class StoreDown(MemoryStore):
    """A store that never answers."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        raise StoreUnavailable("down")

    put = lease = release = size = touch = get  # type: ignore[assignment]

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        raise StoreUnavailable("down")

    aput = alease = arelease = asize = atouch = aget  # type: ignore[assignment]


async def test_answers_come_when_the_store_is_down(openai: OpenAI) -> None:
    llm = cached(openai, Cache(StoreDown()))
    assert llm.chat(HELLO).message.content == "You said: hello"
    assert (await llm.achat(HELLO)).message.content == "You said: hello"
    assert "".join([chunk.delta async for chunk in await llm.astream_chat(HELLO)]) == "You said: hello"
    assert "".join(chunk.delta for chunk in llm.stream_complete("ho")) == "You said: ho"


async def test_errors_of_the_provider_come_through_and_stale_answers_stand_in(
    openai: OpenAI, server: OpenAIServer, clock: FakeClock
) -> None:
    llm = cached(openai, Cache("memory://", ttl=60, stale_if_error=60, clock=clock))
    llm.chat(HELLO)
    clock.advance(61)
    server.status = 500
    assert llm.chat(HELLO).additional_kwargs["askonce"]["hit"] == "stale"
    assert [chunk.delta for chunk in llm.stream_chat(HELLO)] == ["You", " said:", " hello", ""]
    assert [chunk.delta async for chunk in await llm.astream_chat(HELLO)] == ["You", " said:", " hello", ""]
    clock.advance(60)
    for ask in (lambda: llm.chat(HELLO), lambda: list(llm.stream_chat(HELLO))):
        with pytest.raises(Exception, match="out of order"):
            ask()


def test_the_api_key_is_nowhere(openai: OpenAI, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="askonce")
    with Cache(f"sqlite:///{tmp_path}/cache.db") as cache:
        llm = cached(openai, cache)
        for _ in range(2):
            llm.chat(HELLO)
            llm.complete("hi", extra_headers={"Authorization": f"Bearer {API_KEY}"})
        with contextlib.suppress(Exception):
            llm.chat(HELLO, strange=Opaque())
        rotated = cached(openai.model_copy(update={"api_key": API_KEY + "-rotated"}), cache)
        assert "askonce" in rotated.chat(HELLO).additional_kwargs
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert len(files) > 1000 and API_KEY.encode() not in files and API_KEY not in caplog.text


OPENAI = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
RESPONSES = {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}}
ANTHROPIC = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}
BEDROCK = {"inputTokens": 3, "outputTokens": 2, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 2}
GEMINI = {"prompt_token_count": 9, "candidates_token_count": 2, "cached_content_token_count": 4}


@pytest.mark.parametrize("usage", [
    ({"usage": OPENAI}, (9, 2, 4, 0)), ({"usage": RESPONSES}, (9, 2, 4, 0)), ({"usage": ANTHROPIC}, (9, 2, 4, 2)),
    ({"usage": BEDROCK}, (9, 2, 4, 2)), ({"usage_metadata": GEMINI}, (9, 2, 4, 0)), ({}, (0, 0, 0, 0)),
], ids=str)  # fmt: skip
def test_usage_is_the_whole_prompt_whoever_reports_it(usage: tuple[dict[str, Any], tuple[int, ...]]) -> None:
    raw, expected = usage
    answer = pack(CompletionResponse(text="hi", raw={"model": "some-model", **raw}), None)
    assert answer is not None and answer.usage == Usage(*expected) and answer.model == "some-model"


@pytest.mark.parametrize("raw", [
    {"stop_reason": "max_tokens"}, {"stopReason": "max_tokens"}, {"candidates": [{"finish_reason": "MAX_TOKENS"}]},
    {"finish_reason": "SAFETY"}, {"done_reason": "length"}, {"choices": [{"finish_reason": "content_filter"}]},
    {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
])  # fmt: skip
def test_cut_off_answers_are_known_whoever_cut_them(raw: dict[str, Any]) -> None:
    answer = pack(CompletionResponse(text="hi", raw=raw), None)
    assert answer is not None and answer.truncated
