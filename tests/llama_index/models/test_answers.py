"""What a hit looks like, and what is not stored."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ThinkingBlock
from llama_index.core.bridge.pydantic import Field
from llama_index.core.llms.mock import (
    MockFunctionCallingLLM,
    MockLLM,
    MockLLMWithNonyieldingChatStream,
)
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI, OpenAIResponses
from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem

from askonce import Cache, cache_options
from askonce.entries.entry import Usage
from askonce.llama_index import cached
from askonce.llama_index.keys.messages import conversation_of
from askonce.llama_index.models.answers import pack, unpack
from tests.llama_index.samples import HELLO, add
from tests.support.provider import Provider, Talk


def test_a_hit_is_the_answer_marked_with_readable_raw(openai: OpenAI, provider: Provider, cache: Cache) -> None:
    llm = cached(openai, cache)
    fresh, hit = llm.chat(HELLO), llm.chat(HELLO)
    assert provider.count == 1
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
    streamed_first: bool, openai: OpenAI, talk: Talk, provider: Provider, cache: Cache
) -> None:
    talk.says = "  Ünicode, and\n\nmore  "
    llm = cached(openai, cache)
    if streamed_first:
        original = list(llm.stream_chat(HELLO))
    else:
        llm.chat(HELLO)
    sync = llm.stream_chat(HELLO)
    asynchronous = await llm.astream_chat(messages=HELLO)
    assert isinstance(sync, GeneratorType) and isinstance(asynchronous, AsyncGeneratorType)
    for chunks in (list(sync), [chunk async for chunk in asynchronous]):
        assert "".join(chunk.delta or "" for chunk in chunks) == talk.says
        content = ""
        for chunk in chunks:
            content += chunk.delta or ""
            assert chunk.message.content == content
            assert chunk.additional_kwargs["askonce"]["hit"] == "exact"
        assert chunks[-1].raw.usage.prompt_tokens == 1000
        if streamed_first:
            assert chunks[-1].message == original[-1].message
            assert chunks[-1].raw == original[-1].raw.model_dump()
    assert llm.chat(HELLO).message.content == (await llm.achat(HELLO)).message.content == talk.says
    assert provider.count == 1


def test_tool_calls_come_back_whole_and_the_next_turn_has_the_same_request(
    openai: OpenAI, provider: Provider, cache: Cache
) -> None:
    llm, tools = cached(openai, cache), [FunctionTool.from_defaults(add)]
    fresh, hit = (llm.chat_with_tools(tools, user_msg="three") for _ in range(2))
    *_, streamed = llm.stream_chat_with_tools(tools, user_msg="three")
    assert hit.message.blocks == fresh.message.blocks == streamed.message.blocks
    assert hit.message.additional_kwargs["tool_calls"][0].function.name == "add"
    for response in (fresh, hit, streamed):
        result = ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "call_1"})
        llm.chat([*HELLO, response.message, result])
    assert provider.count == 2


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


async def test_streams_that_are_abandoned_or_fail_are_not_stored(openai: OpenAI, talk: Talk, cache: Cache) -> None:
    llm = cached(openai, cache)
    half: Generator[Any, None, None] = llm.stream_chat(HELLO)  # type: ignore[assignment]
    next(half)
    half.close()
    llm.stream_chat(HELLO)  # never read
    ahalf = await llm.astream_chat(HELLO)
    await anext(ahalf)
    await ahalf.aclose()
    talk.breaks = "fails"
    with pytest.raises(Exception, match="out of order"):
        list(llm.stream_chat(HELLO))
    talk.breaks = ""
    assert cache.stats().stored == 0
    assert llm.chat(HELLO).message.content == "You said: hello"


@pytest.mark.parametrize(("says", "finish"), [("cut o", "length"), ("I will not", "content_filter"), ("", "stop")])
def test_truncated_and_empty_answers_are_not_stored(
    says: str, finish: str, openai: OpenAI, talk: Talk, provider: Provider, cache: Cache
) -> None:
    talk.says, talk.finish = says, finish
    llm = cached(openai, cache)
    for _ in range(2):
        llm.chat(HELLO)
        list(llm.stream_chat([*HELLO, *HELLO]))
    assert provider.count == 4 and cache.stats().stored == 0 and cache.stats().not_stored == 4


def test_a_stream_without_chunks_is_not_stored(cache: Cache) -> None:
    llm = cached(MockLLMWithNonyieldingChatStream(max_tokens=2), cache)
    assert list(llm.stream_chat(HELLO)) == [] and cache.stats().stored == 0


class Opaque:
    pass


class Cited(ChatResponse):
    citations: list[dict[str, Any]] = Field(default_factory=list)


def test_only_what_comes_back_as_it_was_is_stored() -> None:
    message = ChatMessage(role="assistant", content="hi")
    assert pack(ChatResponse(message=message, additional_kwargs={"it": Opaque()}), None) is None
    assert pack("no response", None) is None
    packed = pack(Cited(message=message, citations=[{"at": 1}], raw={"usage": {"input_tokens": 5}}), None)
    assert packed is not None and b"citations" in packed.payload


def test_without_a_key_the_model_is_called_and_the_bypass_is_counted(cache: Cache) -> None:
    llm = cached(MockFunctionCallingLLM(response_generator=_always(HELLO[0])), cache)
    for _ in range(2):
        assert llm.chat(HELLO).message.content == "hello"
    with cache_options(bypass=True):
        cached(MockLLM(max_tokens=1), cache).complete("hi")
    assert cache.stats().bypassed == 3 and cache.stats().stored == 0


def test_the_model_is_called_again_for_what_cannot_be_read_back(
    openai: OpenAI, provider: Provider, cache: Cache
) -> None:
    from askonce.entries.entry import Answer
    from askonce.llama_index.keys.requests import chat_form

    llm = cached(openai, cache)
    request = cache.engine.request("answer", lambda: chat_form(llm, HELLO, {}))
    assert request is not None
    cache.engine.store_many([request], [Answer(b"\xc1 no MessagePack")], 1.0)
    assert llm.chat(HELLO).message.content == "You said: hello"
    assert "".join(chunk.delta or "" for chunk in llm.stream_chat(HELLO)) == "You said: hello"
    assert provider.count == 1  # it was made anew, and stored


# -- answers of OpenAI's Responses API


SUMMARY = [{"type": "summary_text", "text": "Well"}]
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": SUMMARY, "content": None}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": "{}"}


def answered() -> ChatResponse:
    """An answer as LlamaIndex makes it of a thought and a call."""
    output = [ResponseReasoningItem.model_validate(THOUGHT), ResponseFunctionToolCall.model_validate(CALL)]
    response = OpenAIResponses._parse_response_output(output)
    response.raw = {"object": "response", "id": "resp_1", "status": "completed", "output": [THOUGHT, CALL]}
    return response


def test_a_hit_names_no_item_of_the_first_answer_and_has_its_key() -> None:
    first = answered()
    packed = pack(first, "m")
    assert packed is not None
    hits = [unpack(packed.payload, of_chat=True) for _ in range(2)]
    calls = []
    for hit in hits:
        thought, call = hit.message.blocks
        assert thought.content == "Well" and "id" not in thought.additional_information
        assert hit.raw["output"][1]["call_id"] == call.tool_call_id
        calls.append(call.tool_call_id)
    assert len({"call_1", *calls}) == 3 and all(one.startswith("call_") for one in calls)
    keys = []
    for message, call in ((first.message, "call_1"), *zip([hit.message for hit in hits], calls, strict=True)):
        result = ChatMessage(role="tool", content="7", additional_kwargs={"tool_call_id": call})
        keys.append(conversation_of([message, result]).messages)
    assert keys[0] == keys[1] == keys[2]


def test_ids_of_other_answers_stay() -> None:
    response = answered()
    response.raw = {"object": "chat.completion"}
    packed = pack(response, "m")
    assert packed is not None
    assert unpack(packed.payload, of_chat=True).message == response.message
