"""What observers see of a cached LLM."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms.mock import (
    MockLLM,
    MockLLMWithChatMemoryOfLastCall,
)
from llama_index.llms.openai import OpenAI

from askonce import Cache
from askonce.llama_index import cached
from tests.llama_index.conftest import API_KEY, Events
from tests.llama_index.samples import HELLO


async def test_observers_see_a_miss_as_ever_and_a_hit_marked(
    openai: OpenAI, cache: Cache, events: Events, spans: SimpleSpanHandler
) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    openai.callback_manager = CallbackManager([counter])
    llm = cached(openai, cache)

    async def observed(llm: Any) -> tuple[list[str], list[str], int]:
        events.seen.clear()
        spans.completed_spans.clear()
        await llm.achat(HELLO)
        list(llm.stream_complete("hi"))
        gc.collect()
        names = list(dict.fromkeys(events.names()))
        return names, [span.id_.split("-")[0] for span in spans.completed_spans], counter.total_llm_token_count

    without = await observed(openai)
    miss = await observed(llm)
    assert miss[:2] == without[:2]
    assert not any(event.tags for event in events.seen)
    hit = await observed(llm)
    assert hit[:2] == without[:2] and hit[1] == ["OpenAI.achat", "OpenAI.stream_complete"]
    assert hit[2] == miss[2], "a token counter must not count an answer again"
    assert {event.tags["askonce.hit"] for event in events.seen} == {"exact"}
    assert len({event.span_id for event in events.seen}) == 2
    assert API_KEY not in repr([event.model_dump() for event in events.seen])


def test_a_stream_is_requested_at_its_call(openai: OpenAI, cache: Cache, spans: SimpleSpanHandler) -> None:
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
    """Its asynchronous endpoint runs the other one on a thread without the caller's context."""

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
