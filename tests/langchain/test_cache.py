"""LangChain's cache hook: its standard tests, the laws of its keys, and what comes out of it."""

from __future__ import annotations

import copy
import enum
import json
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.caches import BaseCache
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation
from langchain_tests.integration_tests import AsyncCacheTestSuite, SyncCacheTestSuite
from pydantic import BaseModel

from askonce import Cache, ConfigError, cache_options
from askonce.langchain import AskOnceCache
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.support import servers

STORES = ["memory", "sqlite", "redis-8.2", "mongodb"]


def open_cache(store: str, folder: Path, **options: Any) -> AskOnceCache:
    if store == "memory":
        return AskOnceCache("memory://", namespace=str(folder), **options)
    url = f"sqlite:///{folder / 'cache.db'}" if store == "sqlite" else servers.start(store).url  # type: ignore[call-overload]
    return AskOnceCache(url, namespace=str(folder), **options)


class TestStandardSync(SyncCacheTestSuite):
    @pytest.fixture(params=STORES)
    def cache(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
        cache = open_cache(request.param, tmp_path)
        yield cache
        cache.clear()
        cache.close()


class TestStandardAsync(AsyncCacheTestSuite):
    @pytest.fixture(params=STORES)
    async def cache(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        cache = open_cache(request.param, tmp_path)
        yield cache
        await cache.aclear()
        await cache.aclose()


# -- keys ------------------------------------------------------------------------------------------------------


def llm_string(kwargs: dict[str, Any] | None = None, /, **call: Any) -> str:
    """As a serializable chat model writes it."""
    constructor = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "chat_models", "openai", "ChatOpenAI"],
        "kwargs": {"model_name": "gpt-4o", "temperature": 0.5} | (kwargs or {}),
    }
    return json.dumps(constructor, sort_keys=True) + "---" + str(sorted({"stop": None, **call}.items()))


LLM = llm_string()
CACHE = AskOnceCache("memory://", namespace="keys")


def key(messages: list[BaseMessage], llm: str = LLM) -> bytes:
    form = CACHE.explain(dumps(messages), llm)
    digest = CACHE._digests.of(dumps(messages), llm)
    assert digest == form.digest(), "the short way to the key gives what the explained form does"
    return digest


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
args = st.dictionaries(texts, st.integers() | texts | st.none(), max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[BaseMessage]:
    messages: list[BaseMessage] = [SystemMessage(draw(texts))] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 3))):
        messages.append(HumanMessage(draw(texts)))
        if draw(st.booleans()):
            call = {"name": draw(st.sampled_from(["look", "add"])), "args": draw(args), "id": f"c{turn}"}
            messages.append(AIMessage(draw(texts), tool_calls=[call]))
            messages.append(ToolMessage(draw(texts), tool_call_id=f"c{turn}"))
        else:
            messages.append(AIMessage(draw(texts)))
    return messages


def retold(message: BaseMessage, run: str) -> BaseMessage:
    """The same message as another run, another provider's client or another machine writes it."""
    told = message.model_copy(update={"id": run, "response_metadata": {"run": run, "askonce": {"hit": "exact"}}})
    lines = message.content.replace("\r\n", "\n").replace("\r", "\n")
    told.content = unicodedata.normalize("NFD", lines).replace("\n", "\r\n")
    told.content = [{"type": "text", "text": told.content}]
    if isinstance(told, ToolMessage):
        told.tool_call_id += run
        told.artifact = {"rows": run}
    if isinstance(told, AIMessage):
        told.usage_metadata = {"input_tokens": len(run), "output_tokens": 1, "total_tokens": 1}
        told.tool_calls = [{**call, "id": f"{call['id']}{run}"} for call in told.tool_calls]
        told.additional_kwargs = {"refusal": None, "parsed": {"run": run}}
        if told.tool_calls:
            told.additional_kwargs["tool_calls"] = [{"id": run}]
    return told


@given(conversations(), st.uuids())
@settings(max_examples=60, deadline=None)
def test_what_differs_only_by_the_run_has_one_key(messages: list[BaseMessage], run: Any) -> None:
    assert key(messages) == key([retold(message, run.hex) for message in messages])


@given(conversations(), st.data())
@settings(max_examples=60, deadline=None)
def test_any_change_of_what_is_said_changes_the_key(messages: list[BaseMessage], data: st.DataObject) -> None:
    changed = copy.deepcopy(messages)
    at = data.draw(st.integers(0, len(messages) - 1))
    message = changed[at]
    change = data.draw(st.sampled_from(["text", "role", "drop", "case", "args", "name"]))
    if change == "text":
        message.content += " "
    elif change == "role":
        changed[at] = (SystemMessage if isinstance(message, HumanMessage) else HumanMessage)(message.content)
    elif change == "drop":
        del changed[at]
    elif change == "case":
        message.content += "a"
        messages[at].content += "A"
    elif change == "name":
        message.name = "Ann"
    elif not getattr(message, "tool_calls", None):
        message.content = "other" + message.content
    else:
        message.tool_calls[0]["args"]["one more"] = 1
    assert key(changed) != key(messages)


def test_messages_and_their_chunks_have_one_key() -> None:
    calls = [{"name": "add", "args": {"a": 1}, "id": "x", "type": "tool_call"}]
    whole = [HumanMessage("hi"), AIMessage("so", tool_calls=calls)]
    chunk = {"name": "add", "args": '{"a": 1}', "id": "y", "index": 0, "type": "tool_call_chunk"}
    assert key(whole) == key([HumanMessageChunk("hi"), AIMessageChunk("so", tool_call_chunks=[chunk])])


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": parameters or {"a": {"type": "integer"}}}
    return {"type": "function", "function": {"name": name, "description": "It's <E.a: 'x'>", "parameters": schema}}


class Color(enum.Enum):
    RED = "red"


class Place(BaseModel):
    city: str
    number: int


HI: list[BaseMessage] = [HumanMessage("hi")]
SECRET = {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LLM, llm_string({"openai_api_key": SECRET, "request_timeout": 3.0, "max_retries": 9, "streaming": True})),
        (
            LLM,
            llm_string(
                {"openai_api_key": "sk-1", "default_headers": {"Authorization": "Bearer x"}, "verbose": True}
            ),
        ),
        (LLM, llm_string(stream=True, stop=None, stream_options={"include_usage": True})),
        (LLM, llm_string({"name": "my model", "metadata": {"a": 1}})),
        (llm_string({"temperature": 1}), llm_string({"temperature": 1.0})),
        (llm_string(tools=[tool("a"), tool("b")]), llm_string(tools=[tool("b"), tool("a")])),
        (llm_string(mode=Color.RED), llm_string(mode="red")),
        (llm_string(response_format=Place), llm_string(response_format=Place.model_json_schema())),
        ("[('_type', 'fake'), ('api_key', SecretStr('**********'))]", "[('_type', 'fake')]"),
    ],
)
def test_parameters_that_cannot_change_the_answer_are_left_out(one: str, other: str) -> None:
    assert key(HI, one) == key(HI, other)


def test_parameters_that_can_change_the_answer_stay() -> None:
    different = [
        LLM,
        llm_string({"temperature": 0.6}),
        llm_string({"model_name": "gpt-4o-mini"}),
        llm_string({"openai_api_base": "http://elsewhere/v1"}),
        llm_string(stop=["\n"]),
        llm_string(tools=[tool("a")]),
        llm_string(tools=[tool("a", b={"type": "string"})]),
        llm_string(tools=[tool("a")], tool_choice="any"),
        llm_string(response_format=Place),
        llm_string(note="<E.a: 'x'>"),
        llm_string(note="'x'"),
        LLM.replace("ChatOpenAI", "AzureChatOpenAI"),
        "[('_type', 'fake')]",
        "[('_type', 'fake'), ('client', <Client of 'eu'>)]",
        "[('_type', 'fake'), ('client', <Client of 'us'>)]",
    ]
    assert len({key(HI, llm) for llm in different}) == len(different)


def test_images_count_by_their_bytes() -> None:
    def picture(encoded: str, **extra: Any) -> list[BaseMessage]:
        return [
            HumanMessage([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}, **extra}])
        ]

    same = [HumanMessage([{"type": "image", "base64": "aGk=", "mime_type": "image/png"}])]
    assert key(picture("aGk=")) == key(picture("aGk=", cache_control={"type": "ephemeral"})) == key(same)
    assert key(picture("aGk=")) != key(picture("aGkh"))


class Silent(BaseMessage):
    type: str = "silent"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return False


@pytest.mark.parametrize(
    ("prompt", "llm"),
    [
        (dumps(HI), "[('tool', <object object at 0x7f49>)]"),
        (dumps(HI), "[('schema', <class 'nowhere.Missing'>)]"),
        (dumps([Silent("x")]).replace("Silent(", "<Silent at 0x7f49>("), LLM),
    ],
)
def test_what_shows_only_its_address_is_not_cached(prompt: str, llm: str) -> None:
    with pytest.raises(ConfigError, match="not cached"):
        CACHE.explain(prompt, llm)
    CACHE.update(prompt, llm, [Generation(text="x")])
    assert CACHE.lookup(prompt, llm) is None


def test_explain_names_what_was_left_out() -> None:
    message = AIMessage("so", response_metadata={"a": 1}, usage_metadata=None)
    form = CACHE.explain(dumps([message]), llm_string({"openai_api_key": SECRET, "request_timeout": 2}))
    assert form.left_out == ("model.openai_api_key", "model.request_timeout", "messages[0].response_metadata")
    assert form.body["messages"] == [{"role": "assistant", "content": "so"}]


# -- values ----------------------------------------------------------------------------------------------------

CALL = {"name": "add", "args": {"a": [1, 2.5, None, "é"]}, "id": "call_1", "type": "tool_call"}
MESSAGES = [
    AIMessage("text", id="chatcmpl-1", name="Ann", response_metadata={"finish_reason": "stop", "model": "m"}),
    AIMessage("", tool_calls=[CALL], usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
    AIMessage(
        "", invalid_tool_calls=[{"name": "f", "args": "{", "id": "1", "error": "e", "type": "invalid_tool_call"}]
    ),
    AIMessage([{"type": "text", "text": "a", "index": 0}, {"type": "reasoning", "summary": []}, "b"]),
    AIMessage("late", additional_kwargs={"at": datetime(2026, 1, 1, tzinfo=UTC), "raw": b"\0"}, provider="extra"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_an_answer_comes_back_equal_and_new_each_time(message: AIMessage) -> None:
    put = [ChatGeneration(message=message, generation_info={"finish_reason": "stop", "logprobs": None})]
    CACHE.update(dumps(HI), LLM, put)
    first, second = (CACHE.lookup(dumps(HI), LLM) for _ in range(2))
    assert first is not None
    assert second is not None
    got = first[0].message
    assert got.response_metadata.pop("askonce")["hit"] == "exact"
    assert got.id == message.id or (message.id is None and got.id.startswith("lc_run-"))
    got.id = message.id
    assert first == put
    got.response_metadata["mine"] = got.tool_calls.append("changed")
    assert "mine" not in second[0].message.response_metadata
    assert second[0].message.tool_calls == message.tool_calls


def test_ids_that_langchain_made_of_a_run_are_new_in_each_hit() -> None:
    CACHE.update(dumps(HI), LLM, [ChatGeneration(message=AIMessage("x", id="lc_run--1-0"))])
    ids = {CACHE.lookup(dumps(HI), LLM)[0].message.id for _ in range(3)}
    assert len(ids) == 3
    assert "lc_run--1-0" not in ids


def test_chunks_become_whole_messages() -> None:
    CACHE.update(dumps(HI), LLM, [ChatGenerationChunk(message=AIMessageChunk("x"))])
    (generation,) = CACHE.lookup(dumps(HI), LLM)
    assert (type(generation), type(generation.message)) == (ChatGeneration, AIMessage)


@pytest.mark.parametrize("value", [object(), Place, 2**70], ids=["object", "class", "great number"])
def test_an_answer_that_is_no_plain_data_is_not_kept(value: Any) -> None:
    cache = AskOnceCache("memory://", namespace="odd")
    cache.clear()
    before = cache.stats().not_stored
    cache.update(dumps(HI), LLM, [ChatGeneration(message=AIMessage("x", additional_kwargs={"odd": value}))])
    assert cache.lookup(dumps(HI), LLM) is None
    assert cache.stats().not_stored == before + 1


@pytest.mark.parametrize(
    ("metadata", "content"),
    [
        ({"finish_reason": "length"}, "x"),
        ({"stop_reason": "max_tokens"}, "x"),
        ({"finishReason": "FinishReason.SAFETY"}, "x"),
        ({"finish_reason": "CONTENT_FILTER"}, "x"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "x"),
        ({"finish_reason": "stop"}, ""),
        ({"finish_reason": "stop"}, [{"type": "text", "text": ""}]),
    ],
)
def test_cut_off_and_empty_answers_are_not_kept(metadata: dict[str, Any], content: Any) -> None:
    cache = AskOnceCache("memory://", namespace="cut")
    cache.update(dumps(HI), LLM, [ChatGeneration(message=AIMessage(content, response_metadata=metadata))])
    assert cache.lookup(dumps(HI), LLM) is None
    wanting = AskOnceCache("memory://", cache_empty=True, cache_truncated=True, namespace="cut but kept")
    wanting.update(dumps(HI), LLM, [ChatGeneration(message=AIMessage(content, response_metadata=metadata))])
    assert wanting.lookup(dumps(HI), LLM) is not None


# -- wishes ----------------------------------------------------------------------------------------------------


async def test_wishes_hold_for_both_faces() -> None:
    cache = AskOnceCache("memory://", namespace="wishes")
    one, two = [Generation(text="one")], [Generation(text="two")]
    cache.update("p", LLM, one)
    with cache_options(bypass=True):
        assert cache.lookup("p", LLM) is None
        assert await cache.alookup("p", LLM) is None
        await cache.aupdate("p", LLM, two)
    with cache_options(namespace="tenant"):
        assert await cache.alookup("p", LLM) is None
        await cache.aupdate("p", LLM, two)
        assert cache.lookup("p", LLM) == two
    assert cache.lookup("p", LLM) == one
    with cache_options(refresh=True, tags=["prices"]):
        assert cache.lookup("p", LLM) is None
        cache.update("p", LLM, two)
    assert await cache.alookup("p", LLM) == two
    assert await cache.ainvalidate("prices") == 1
    assert await cache.alookup("p", LLM) is None
    assert (await cache.astats()).entries == 0


def test_a_time_to_live_of_a_block_holds(clock: FakeClock) -> None:
    cache = AskOnceCache(Cache(MemoryStore(clock=clock), clock=clock))
    with cache_options(ttl=60):
        cache.update("p", LLM, [Generation(text="one")])
    clock.advance(59)
    assert cache.lookup("p", LLM) == [Generation(text="one")]
    clock.advance(2)
    assert cache.lookup("p", LLM) is None
