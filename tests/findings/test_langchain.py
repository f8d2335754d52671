"""Known faults of the LangChain adapter; each test says what is right, and fails until it is so."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from types import ModuleType
from typing import Any
from zlib import crc32

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI

from askonce import Cache, Corpus
from askonce.langchain import CachedRetriever, cached, watch
from tests.support.provider import Answer, Call, Provider


def chat(provider: Provider, **fields: Any) -> ChatOpenAI:
    fields = {"model": "gpt-4.1"} | fields
    return ChatOpenAI(base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields)


def responses(provider: Provider, **fields: Any) -> ChatOpenAI:
    return chat(provider, use_responses_api=True, **fields)


# -- the same answer, in the same form ---------------------------------------------------------------------------


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


def call_then_answer(request: dict[str, Any]) -> Answer:
    has_result = any(item.get("type") == "function_call_output" for item in request["input"])
    return Answer("It is sunny.") if has_result else Answer("I look.", (Call("weather", {"city": "Paris"}),))


def summed(chunks: Any) -> AIMessageChunk:
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


def test_an_agent_that_was_invoked_is_streamed_without_a_call(provider: Provider, cache: Cache) -> None:
    provider.answer = call_then_answer
    agent = create_agent(cached(responses(provider, output_version="v1"), cache), [weather])
    question = {"messages": [HumanMessage("weather?")]}
    agent.invoke(question)
    assert len(provider.ledger) == 2
    assert list(agent.stream(question, stream_mode="messages"))
    assert len(provider.ledger) == 2


# -- misses where there could be hits ----------------------------------------------------------------------------


class Words(Embeddings):
    """A vector for each text."""

    model = "words"

    def __init__(self) -> None:
        self.model = "words"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float("cat" in text), float("owl" in text), 0.01 + crc32(text.encode()) / 2**40] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what was retrieved before a run counts as a source of its answers, which are then born outdated",
)
def test_an_answer_is_made_from_what_its_own_run_retrieved(provider: Provider, cache: Cache) -> None:
    corpus = Corpus(cache, name="animals")
    store = watch(InMemoryVectorStore(Words()), corpus)
    store.add_documents([Document("the cat sleeps", id="cat"), Document("the owl flies", id="owl")])
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
    model = cached(
        ChatOpenAI(model="gpt-4o", base_url=provider.openai_url, api_key="sk-none", max_retries=0), cache
    )
    prompt = ChatPromptTemplate.from_template("{context}: {question}")
    chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model

    assert [one.id for one in retriever.invoke("what does the cat do?")] == ["cat"]
    store.delete(["cat"])
    answers = [chain.invoke("what does the owl do?").content for _ in range(2)]
    assert ["the owl flies" in one for one in answers] == [True, True]
    assert provider.count == 1


# -- stores ------------------------------------------------------------------------------------------------------


class BlockingError(Exception):
    """As `blockbuster` raises it."""


@pytest.fixture
def no_blocking_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocking calls on an event loop raise an error, as `blockbuster` and with it `langgraph dev` have it."""

    def forbid(call: str) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise BlockingError(f"Blocking call to {call}")

    class Connection(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            forbid("sqlite3.Connection.execute")
            return super().execute(*args)

    def access(*args: Any, **kwargs: Any) -> bool:
        forbid("os.access")
        return can_access(*args, **kwargs)

    can_access, connect = os.access, sqlite3.connect
    blockbuster = ModuleType("blockbuster")
    blockbuster.__dict__["BlockingError"] = BlockingError
    monkeypatch.setitem(sys.modules, "blockbuster", blockbuster)
    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs))


@pytest.mark.usefixtures("no_blocking_calls")
def test_the_default_store_works_where_blocking_calls_are_forbidden(cache: Cache) -> None:
    model = cached(FakeListChatModel(responses=["one", "two"]), cache)

    async def three_answers() -> list[str]:
        return [(await model.ainvoke("hi")).text for _ in range(3)]

    answers = asyncio.run(three_answers())
    stats = cache.stats()
    assert (answers, stats.hits, stats.errors) == (["one"] * 3, 2, 0)


@pytest.mark.usefixtures("no_blocking_calls")
def test_a_cache_is_made_in_a_coroutine_where_blocking_calls_are_forbidden(url: str) -> None:
    async def make() -> Cache:
        return Cache(url)

    asyncio.run(make()).close()
