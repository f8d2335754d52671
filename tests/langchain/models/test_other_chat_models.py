"""`cached` over models of other kinds than OpenAI's: completion models, and odd or older chat models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
)

from askonce.langchain import cached
from tests.langchain.samples import CALLS


class Old(BaseChatModel):
    """Streams inside of its calls, and takes no run manager."""

    model: str = "old"

    @property
    def _llm_type(self) -> str:
        return "old"

    def _generate(self, messages: list[BaseMessage], stop: Any = None) -> ChatResult:  # type: ignore[override]
        chunks = list(self._stream(messages, stop=stop))
        message = AIMessage("".join(str(chunk.message.content) for chunk in chunks))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        CALLS.append(messages)
        for word in ("one ", "two"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))


async def test_a_model_that_calls_its_own_methods_is_looked_up_once(url: str) -> None:
    model = cached(Old(), url)
    assert model.invoke("a").content == "one two"
    assert (await model.ainvoke("a")).content == "one two"
    assert [chunk.content async for chunk in model.astream("a")] == ["one ", "two", ""]
    assert len(CALLS) == 1
    assert (await cached(Old(model="new"), url).ainvoke("a")).content == "one two"
    stats = type(model)._askonce_cache.stats()
    assert (stats.misses, stats.hits, stats.stored) == (2, 2, 2)


class Blocks(BaseChatModel):
    """Answers in content blocks, and makes protocol events itself."""

    @property
    def _llm_type(self) -> str:
        return "blocks"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        CALLS.append(messages)
        content = [
            {"type": "reasoning", "reasoning": "hm"},
            {"type": "text", "text": "so it is", "annotations": []},
        ]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content, id="msg_1"))])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        raise AssertionError("only replayed")
        yield

    def _stream_chat_model_events(self, messages: list[BaseMessage], **kwargs: Any) -> Iterator[Any]:
        CALLS.append(messages)
        yield {"event": "message-start", "id": "msg_2", "metadata": {}}
        yield {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}}
        yield {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "native"}}
        yield {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "native"}}
        yield {"event": "message-finish", "reason": "stop"}


def test_content_blocks_are_replayed_one_by_one(url: str) -> None:
    model = cached(Blocks(), url)
    blocks = model.invoke("a").content
    chunks = list(model.stream("a"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert [{name: value for name, value in block.items() if name != "index"} for block in whole.content] == blocks
    assert len([chunk for chunk in chunks if chunk.content]) == 4
    assert len(CALLS) == 1


@pytest.mark.skipif(not hasattr(BaseChatModel, "stream_events"), reason="a later version of LangChain")
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_native_events_are_recorded_and_replayed(url: str) -> None:
    model = cached(Blocks(), url)
    texts = [model.stream_events("a", version="v3").output.text for _ in range(2)]
    assert texts == ["native", "native"]
    assert model.invoke("a").text == "native"
    assert len(CALLS) == 1


class Whole(BaseChatModel):
    """Neither streams nor is asynchronous."""

    @property
    def _llm_type(self) -> str:
        return "whole"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        CALLS.append(messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("all of it"))])


async def test_a_model_that_does_not_stream_still_does_not(url: str) -> None:
    model = cached(Whole(), url)
    assert [chunk.content for chunk in model.stream("a")] == ["all of it"]
    assert [chunk.content async for chunk in model.astream([HumanMessage("a")])] == ["all of it"]
    assert len(CALLS) == 1


class Async(BaseChatModel):
    """Streams asynchronously only."""

    @property
    def _llm_type(self) -> str:
        return "async"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        CALLS.append(messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("one two"))])

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        CALLS.append(messages)
        for word in ("one ", "two"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))


async def test_a_model_that_streams_only_asynchronously(url: str) -> None:
    model = cached(Async(), url)
    assert [chunk.content async for chunk in model.astream("a")] == ["one ", "two", ""]
    assert [chunk.content for chunk in model.stream("a")] == ["one two"]
    assert [chunk.content async for chunk in model.astream("a")] == ["one ", "two", ""]
    assert len(CALLS) == 1
