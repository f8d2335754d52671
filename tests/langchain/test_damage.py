"""What cannot be read is a counted miss that is made anew: each method, each kind of damage."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.retrievers import BaseRetriever
from langchain_openai import ChatOpenAI

from askonce import Cache
from askonce.langchain import AskOnceCache, CachedRetriever, cached
from askonce.stores.memory import MemoryStore
from tests.support.damage import survived
from tests.support.provider import Answer, Provider

loop = asyncio.new_event_loop()
run = loop.run_until_complete  # one loop: a client's connections are of the loop in which they were made


@pytest.fixture(autouse=True, scope="module")
def _closed_loop() -> Iterator[None]:
    yield
    loop.close()


def texts(chunks: Any) -> str:
    return "".join(chunk if isinstance(chunk, str) else chunk.text for chunk in chunks)


async def collected(chunks: Any) -> str:
    return texts([chunk async for chunk in chunks])


async def events(model: Any) -> str:
    chunks = [
        one["data"] async for one in model.astream_events("hi", version="v2") if one["event"].endswith("_stream")
    ]
    return texts(one["chunk"] for one in chunks)


def of(one: Any) -> str:
    return one if isinstance(one, str) else one.text


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda model: of(model.invoke("hi")),
    "ainvoke": lambda model: of(run(model.ainvoke("hi"))),
    "stream": lambda model: texts(model.stream("hi")),
    "astream": lambda model: run(collected(model.astream("hi"))),
    "batch": lambda model: of(model.batch(["hi", "hi"])[0]),
    "abatch": lambda model: of(run(model.abatch(["hi", "hi"]))[0]),
    "events": lambda model: run(events(model)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_a_cached_model(kind: str, way: str) -> None:
    if (kind, way) == ("completion", "events"):
        pytest.skip("LangChain makes no events of chunks where a completion model does not stream")
    store = MemoryStore()
    cache = Cache(store)
    inner: Any = FakeListChatModel(responses=["so"]) if kind == "chat" else FakeListLLM(responses=["so"])
    model = cached(inner, cache)
    right: Any = (lambda one: "so" in one) if way == "events" else (lambda one: one == "so")
    assert survived(store, lambda: WAYS[way](model), right, lambda: cache.stats().misses) > 50


@pytest.mark.parametrize("way", ["invoke", "stream", "astream", "stream_events"])
@pytest.mark.parametrize("fields", [{}, {"use_responses_api": True}, {"output_version": "v1"}], ids=str)
def test_a_cached_model_of_a_provider(fields: dict[str, Any], way: str, provider: Provider) -> None:
    provider.answer = lambda request: Answer("so it is")
    store = MemoryStore()
    cache = Cache(store)
    plain = ChatOpenAI(model="gpt-4.1", base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields)
    model: Any = cached(plain, cache)
    send = WAYS.get(way, lambda model: model.stream_events("hi", version="v3").output.text)
    if way == "stream_events" and not hasattr(model, "stream_events"):
        pytest.skip("this LangChain has no events of its own")
    assert survived(store, lambda: send(model), lambda one: one == "so it is", lambda: cache.stats().misses) > 50


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "abatch"])
@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_the_global_cache(kind: str, way: str) -> None:
    store = MemoryStore()
    own = AskOnceCache(store)
    set_llm_cache(own)
    model: Any = FakeListChatModel(responses=["so"]) if kind == "chat" else FakeListLLM(responses=["so"])
    assert survived(store, lambda: WAYS[way](model), lambda one: one == "so", lambda: own.stats().misses) > 50


class Half(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[0.5] * 4 for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.5] * 4


@pytest.mark.parametrize("way", ["embed_query", "embed_documents", "aembed_query", "aembed_documents"])
def test_embeddings(way: str) -> None:
    store = MemoryStore()
    cache = Cache(store)
    method = getattr(cached(Half(), cache, model="half"), way)
    about: Any = ["text"] if way.endswith("documents") else "text"
    send = (lambda: run(method(about))) if way.startswith("a") else (lambda: method(about))
    right = [[0.5] * 4] if way.endswith("documents") else [0.5] * 4
    assert survived(store, send, lambda one: one == right, lambda: cache.stats().misses) > 50


class Finds(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(query, id="a", metadata={"at": datetime.date(2026, 1, 2), "pair": (1, "two")})]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_retriever(way: str) -> None:
    store = MemoryStore()
    cache = Cache(store)
    method = getattr(CachedRetriever(Finds(), cache, name="finds"), way)
    send = (lambda: run(method("sky"))) if way.startswith("a") else (lambda: method("sky"))
    right = Finds().invoke("sky")
    assert survived(store, send, lambda one: one == right, lambda: cache.stats().misses) > 50


@pytest.mark.parametrize("way", ["invoke", "stream", "astream"])
def test_an_answer_with_tool_calls(way: str) -> None:
    call = {"name": "weather", "args": {"city": "Rome"}, "id": "1", "type": "tool_call"}
    answer = AIMessage("so", tool_calls=[call])
    store = MemoryStore()
    cache = Cache(store)

    class Calls(FakeListChatModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            return GenericFakeChatModel(messages=iter([answer]))._generate(*args, **kwargs)

    model = cached(Calls(responses=["so"]), cache)
    model.invoke("hi")
    assert survived(store, lambda: WAYS[way](model), lambda one: one == "so", lambda: cache.stats().misses) > 50
