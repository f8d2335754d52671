"""A hit is a new answer: it names nothing of the first call, and reports what a fresh one would."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_anthropic import ChatAnthropic
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver

from askonce import Cache
from askonce.langchain import AskOnceCache, cached
from askonce.langchain.keys.messages import conversation_of_messages
from askonce.langchain.models.streams import replay
from tests.langchain.models.conftest import Store
from tests.support.provider import Answer, Call, Provider


def chat(provider: Provider, **fields: Any) -> ChatOpenAI:
    fields = {"model": "gpt-4.1"} | fields
    return ChatOpenAI(base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields)


def summed(chunks: Any) -> AIMessageChunk:
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


# -- nothing of the first call -------------------------------------------------------------------------------------


@wrap_model_call
def last_message_alone(request: Any, handler: Any) -> Any:
    return handler(request.override(messages=request.messages[-1:]))


@pytest.mark.parametrize("responses", [False, True])
def test_a_hit_is_a_new_message_in_its_thread(store: Store, provider: Provider, responses: bool) -> None:
    provider.answer = lambda request: Answer()
    agent: Any = create_agent(
        store(chat(provider, use_responses_api=responses)),
        [],
        middleware=[last_message_alone],
        checkpointer=InMemorySaver(),
    )
    for _ in range(3):
        question = {"messages": [HumanMessage("opening hours?")]}
        messages = agent.invoke(question, {"configurable": {"thread_id": "1"}})["messages"]
    assert len(provider.ledger) == 1
    assert [message.type for message in messages] == ["human", "ai"] * 3


@pytest.mark.parametrize("streamed", [False, True])
def test_no_conversation_goes_on_from_a_response_of_another_user(
    store: Store, provider: Provider, streamed: bool
) -> None:
    requests: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> Answer:
        requests.append(request)
        return Answer()

    provider.answer = answer
    continued = []
    for user in ("Ann", "Bob"):
        model = store(chat(provider, use_responses_api=True, use_previous_response_id=True))
        history: list[BaseMessage] = [HumanMessage("hello")]
        first = summed(model.stream(history)) if streamed else model.invoke(history)
        history += [first, HumanMessage(f"I am {user}")]
        model.invoke(history)
        continued.append(requests[-1].get("previous_response_id"))
    assert continued[0] != continued[1]


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
@pytest.mark.parametrize("version", ["v0", "responses/v1", "v1"])
def test_two_hits_stand_in_one_history(
    store: Store, provider: Provider, cache: Cache, version: str, streamed: bool
) -> None:
    requests: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> Answer:
        requests.append(request)
        return call_then_answer(request)

    provider.answer = answer
    wrap = (lambda model: cached(model, cache)) if streamed else store  # LangChain's own cache takes no streams
    model = wrap(chat(provider, use_responses_api=True, output_version=version)).bind_tools([weather])
    history: list[BaseMessage] = []
    for _ in range(3):
        reply = summed(model.stream("weather?")) if streamed else model.invoke("weather?")
        history += [HumanMessage("weather?"), reply, ToolMessage("sunny", tool_call_id=reply.tool_calls[0]["id"])]
    assert len(requests) == 1
    model.invoke(history)
    sent = requests[-1]["input"]
    assert [item["type"] for item in sent] == ["message", "message", "function_call", "function_call_output"] * 3
    calls = [item["call_id"] for item in sent if "call_id" in item]
    assert calls[::2] == calls[1::2] and len(set(calls)) == 3
    assert not any("id" in item for item in sent[4:])
    again = [message.model_copy() for message in history]
    model.invoke([*history[:3], *again[3:]])
    assert len(requests) == 2


ITEMS = [
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
    {"type": "text", "text": "I look.", "id": "msg_1", "annotations": []},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": "{}"},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "run", "input": "ls"},
]
CALLED = [
    {"name": "weather", "args": {}, "id": "call_1"},
    {"name": "run", "args": {"__arg1": "ls"}, "id": "call_2"},
]


def test_a_hit_keeps_what_its_items_say_and_has_the_key_of_the_first_answer(cache: Cache) -> None:
    message = AIMessage(ITEMS, tool_calls=CALLED, response_metadata={"object": "response"})
    model = cached(Says(message=message), cache)
    first, hit = model.invoke("hi"), model.invoke("hi")
    reasoning, text, call, custom = hit.content
    assert reasoning == {"type": "reasoning", "summary": [], "encrypted_content": "sealed"}
    assert text == {"type": "text", "text": "I look.", "annotations": []}
    assert [call["call_id"], custom["call_id"]] == [one["id"] for one in hit.tool_calls]
    assert not {"call_1", "call_2"} & {one["id"] for one in hit.tool_calls}
    keys = []
    for message in (first, hit):
        results = [ToolMessage("so", tool_call_id=one["id"]) for one in message.tool_calls]
        keys.append(conversation_of_messages([HumanMessage("hi"), message, *results]).messages)
    assert keys[0] == keys[1]


def test_what_a_hosted_tool_did_stays_as_it_is(cache: Cache) -> None:
    items = [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, ITEMS[1]]
    model = cached(Says(message=AIMessage(items, response_metadata={"object": "response"})), cache)
    assert [model.invoke("hi").content for _ in range(2)] == [items, items]


class Says(BaseChatModel):
    """Says one message."""

    message: Any = None

    @property
    def _llm_type(self) -> str:
        return "says"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=copy.deepcopy(self.message))])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        raise NotImplementedError


def test_a_hit_names_no_container_and_no_conversation_of_the_first_call(cache: Cache) -> None:
    state = {"container": {"id": "c_1"}, "conversation": {"id": "conv_1"}, "id": "msg_1", "model_name": "m"}
    model = cached(Says(message=AIMessage("x", id="msg_1", response_metadata=state)), cache)
    model.invoke("hi")
    hit = model.invoke("hi")
    assert hit.id != "msg_1"
    assert hit.response_metadata.keys() == {"model_name", "askonce"}


# -- what a fresh answer would report ------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
def test_a_hit_says_that_it_cost_nothing(provider: Provider, cache: Cache, streamed: bool) -> None:
    model = cached(chat(provider, stream_usage=True), cache)
    model.invoke("hi")
    hit = summed(model.stream("hi")) if streamed else model.invoke("hi")
    assert hit.response_metadata["askonce"]["hit"] == "exact"
    assert hit.usage_metadata is not None
    assert dict(hit.usage_metadata).get("total_cost") == 0


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
def test_a_hit_has_the_usage_that_a_call_would_report(provider: Provider, cache: Cache, streamed: bool) -> None:
    model = cached(chat(provider), cache)
    for _ in range(2):
        summed(model.stream("hi"))
    assert len(provider.ledger) == 1
    for _ in range(2):
        answer = summed(model.stream("hi", stream_usage=True)) if streamed else model.invoke("hi")
        assert answer.usage_metadata is not None
    summed(model.stream("hi"))
    assert len(provider.ledger) == 2
    assert (cache.stats().hits, cache.stats().corrupt) == (3, 0)


async def test_what_a_global_cache_saw_streamed_serves_streams_alone(provider: Provider, cache: Cache) -> None:
    set_llm_cache(AskOnceCache(cache))
    for _ in range(2):
        streaming = await chat(provider, streaming=True, stream_usage=False).ainvoke("hi")
        assert streaming.content
    assert len(provider.ledger) == 1
    for _ in range(2):
        assert chat(provider).invoke("hi").usage_metadata["input_tokens"] > 0
    assert len(provider.ledger) == 2


def test_a_hit_has_the_headers_that_were_requested(provider: Provider, store: Store) -> None:
    store(chat(provider)).invoke("hi")
    for _ in range(2):
        answer = store(chat(provider, include_response_headers=True)).invoke("hi")
        assert "headers" in answer.response_metadata
    assert "headers" not in store(chat(provider)).invoke("hi").response_metadata
    assert len(provider.ledger) == 2


# -- streams -------------------------------------------------------------------------------------------------------


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


def call_then_answer(request: dict[str, Any]) -> Answer:
    has_result = any(item.get("type") == "function_call_output" for item in request["input"])
    return Answer("It is sunny.") if has_result else Answer("I look.", (Call("weather", {"city": "Paris"}),))


@pytest.mark.parametrize("version", ["v0", "responses/v1", "v1"])
def test_a_replayed_stream_adds_up_to_the_stored_message(provider: Provider, cache: Cache, version: str) -> None:
    provider.answer = call_then_answer
    model = cached(chat(provider, use_responses_api=True, output_version=version), cache).bind_tools([weather])
    model.invoke("weather?")
    stored, streamed = model.invoke("weather?"), summed(model.stream("weather?"))
    assert len(provider.ledger) == 1
    assert json.loads(renamed(streamed)) == json.loads(renamed(stored))
    assert streamed.tool_calls and streamed.content_blocks == streamed.content_blocks


def claude(provider: Provider, **fields: Any) -> ChatAnthropic:
    return ChatAnthropic(model="claude-opus-4-8", base_url=provider.anthropic_url, api_key="k", **fields)


@pytest.mark.parametrize("first", ["invoke", "stream"])
@pytest.mark.parametrize("make", [chat, claude])
def test_blocks_of_content_are_the_same_in_every_way(
    provider: Provider, cache: Cache, make: Callable[..., BaseChatModel], first: str
) -> None:
    provider.answer = lambda request: Answer(
        "I look.", (Call("weather", {"city": "Paris"}), Call("weather", {"city": "Rome"}))
    )
    plain_model = make(provider, output_version="v1", **({"stream_usage": True} if make is chat else {}))
    model = cached(plain_model, cache).bind_tools([weather])
    model.invoke("weather?") if first == "invoke" else list(model.stream("weather?"))
    hits = [model.invoke("weather?"), summed(model.stream("weather?"))]
    set_llm_cache(AskOnceCache(cache))
    hits.append(plain_model.bind_tools([weather]).invoke("weather?"))
    assert len(provider.ledger) == 1
    for hit in hits:
        assert [block["type"] for block in hit.content_blocks] == ["text", "tool_call", "tool_call"]
        assert [call["args"] for call in hit.tool_calls] == [{"city": "Paris"}, {"city": "Rome"}]
        assert hit.content == hit.content_blocks


@pytest.mark.parametrize("version", ["v0", "responses/v1", "v1"])
def test_a_hit_of_the_responses_api_shows_the_blocks_of_a_fresh_answer(
    store: Store, provider: Provider, version: str
) -> None:
    provider.answer = call_then_answer
    fresh, hit = (
        store(chat(provider, use_responses_api=True, output_version=version)).invoke("?") for _ in range(2)
    )
    assert len(provider.ledger) == 1
    assert [block["type"] for block in hit.content_blocks] == [block["type"] for block in fresh.content_blocks]


def renamed(message: AIMessage) -> str:
    """What a message says, as JSON, with one id for its tool call."""
    return json.dumps(plain(message)).replace(str(message.tool_calls[0]["id"]), "call")


def plain(message: AIMessage) -> dict[str, Any]:
    """What a message says; blocks of a stream have an index, which whole messages have not."""
    content = message.content
    if isinstance(content, list):
        content = [
            {name: value for name, value in block.items() if name != "index"} if isinstance(block, dict) else block
            for block in content
        ]
    metadata = {name: value for name, value in message.response_metadata.items() if name != "askonce"}
    return {
        "content": content,
        "tool_calls": message.tool_calls,
        "invalid": message.invalid_tool_calls,
        "usage": message.usage_metadata,
        "kwargs": message.additional_kwargs,
        "metadata": metadata,
    }


CALLS = [
    {"name": "add", "args": {"a": [1, 2.5, None, "é"]}, "id": "call_1", "type": "tool_call"},
    {"name": "add", "args": {}, "id": "call_2", "type": "tool_call"},
]
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "input_token_details": {"cache_read": 2}}
TEXT = {"type": "text", "text": "  Two words\n\nand  more "}
CITED = {**TEXT, "annotations": [{"type": "citation", "url": "https://a", "start_index": 0, "end_index": 3}]}
ANTHROPIC = {"type": "text", "text": "Said there.", "citations": [{"type": "char_location", "cited_text": "there"}]}
THINKING = {"type": "thinking", "thinking": "Let me think.", "signature": "sig"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Well"}]}
CONTENTS: list[Any] = [
    "",
    " one text\n of  words ",
    [TEXT],
    [CITED, TEXT],
    [THINKING, ANTHROPIC],
    [{"type": "redacted_thinking", "data": "x"}, TEXT, "a text", "another"],
    [REASONING, CITED],
    [{**TEXT, "index": 0}, {**TEXT, "index": 0}],
    [{**REASONING, "index": 1}, TEXT],
    [{**REASONING, "index": "lc_rs_0"}, {**TEXT, "index": "lc_txt_1"}],
]


def blocks_of(kind: str) -> list[Any]:
    """The blocks by which content shows the calls."""
    shapes: dict[str, Callable[[Any], Any]] = {
        "v1": lambda call: dict(call),
        "anthropic": lambda call: {
            "type": "tool_use", "id": call["id"], "name": call["name"], "input": call["args"],
        },
        "responses": lambda call: {
            "type": "function_call", "id": f"fc_{call['id']}", "call_id": call["id"],
            "name": call["name"], "arguments": "{}",
        },
    }  # fmt: skip
    return [shapes[kind](call) for call in CALLS] if kind in shapes else []


@pytest.mark.parametrize("shown", ["", "v1", "anthropic", "responses"])
@pytest.mark.parametrize("calls", [[], CALLS[:1], CALLS], ids=len)
@pytest.mark.parametrize("content", CONTENTS, ids=str)
@pytest.mark.parametrize("usage", [None, USAGE], ids=["no usage", "usage"])
def test_the_chunks_of_a_replay_add_up(content: Any, calls: Any, shown: str, usage: Any) -> None:
    if isinstance(content, list):
        content = [*content, *blocks_of(shown)[: len(calls)]]
    elif shown:
        return
    message = AIMessage(
        content,
        tool_calls=calls,
        usage_metadata=usage,
        additional_kwargs={"reasoning_content": "Let me think.", "function_call": {"name": "f", "arguments": "{}"}},
        response_metadata={
            "model_provider": "openai",
            "finish_reason": "stop",
            **({"output_version": "v1"} if shown == "v1" else {}),
        },
    )
    whole = summed(
        [
            chunk.message
            for chunk in replay(ChatGeneration(message=copy.deepcopy(message), generation_info={"seed": 1}))
        ]
    )
    assert plain(whole) == plain(message)


@pytest.mark.parametrize("first", ["invoke", "stream"])
def test_an_agent_is_streamed_without_a_call_after_the_same_question(
    provider: Provider, cache: Cache, first: str
) -> None:
    provider.answer = call_then_answer
    agent: Any = create_agent(
        cached(chat(provider, use_responses_api=True, output_version="responses/v1"), cache), [weather]
    )
    question = {"messages": [HumanMessage("weather?")]}
    agent.invoke(question) if first == "invoke" else list(agent.stream(question, stream_mode="messages"))
    assert len(provider.ledger) == 2


class Thinking(Says):
    """Streams what it thinks before what it says."""

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        thought = AIMessageChunk("", additional_kwargs={"reasoning_content": "Let me think."})
        yield ChatGenerationChunk(message=thought)
        yield ChatGenerationChunk(message=AIMessageChunk("Yes, "))
        yield ChatGenerationChunk(message=AIMessageChunk("it is."))


def test_a_replayed_stream_begins_with_its_reasoning(cache: Cache) -> None:
    model = cached(Thinking(), cache)

    def order() -> list[str]:
        kinds = []
        for chunk in model.stream("is it?"):
            kinds += ["reasoning"] if "reasoning_content" in chunk.additional_kwargs else []
            kinds += ["text"] if chunk.text else []
        return list(dict.fromkeys(kinds))

    assert [order(), order()] == [["reasoning", "text"]] * 2
    assert cache.stats().hits == 1
