"""`cached` of LangChain: one verb for models, embeddings and retrievers, and what it says of all else."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore

from askonce import Cache, ConfigError, Corpus
from askonce.langchain import CachedEmbeddings, CachedRetriever, cached
from askonce.stores.memory import MemoryStore


@pytest.fixture
def cache() -> Cache:
    return Cache(MemoryStore())


def model() -> FakeListChatModel:
    return FakeListChatModel(responses=["one", "two"])


def vector_store() -> InMemoryVectorStore:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([Document("Thirty days of holiday.", id="1")])
    return store


def test_a_chat_model(cache: Cache) -> None:
    asked = cached(model(), cache)
    assert isinstance(asked, FakeListChatModel)
    assert [asked.invoke("hi").content for _ in range(2)] == ["one", "one"]


def test_a_completion_model(cache: Cache) -> None:
    asked = cached(FakeListLLM(responses=["one", "two"]), cache)
    assert [asked.invoke("hi") for _ in range(2)] == ["one", "one"]


def test_embeddings(cache: Cache) -> None:
    embeddings = cached(DeterministicFakeEmbedding(size=4), cache, model="fake")
    assert isinstance(embeddings, CachedEmbeddings)
    assert embeddings.embed_query("hi") == embeddings.embed_query("hi")
    assert cache.stats().hits == 1


def test_a_retriever(cache: Cache) -> None:
    retriever = cached(vector_store().as_retriever(), corpus=Corpus(cache), name="handbook", empty_ttl=5)
    assert isinstance(retriever, CachedRetriever)
    assert retriever.empty_ttl == 5
    assert retriever.invoke("holiday") == retriever.invoke("holiday")
    assert cache.stats().hits == 1


def test_a_retriever_needs_a_corpus(cache: Cache) -> None:
    with pytest.raises(ConfigError, match="corpus="):
        cached(vector_store().as_retriever(), cache)  # type: ignore[call-overload]


@tool
def look_up(question: str) -> str:
    """Look something up."""
    return question


def agent() -> Any:
    return create_agent(model(), [look_up])


@pytest.mark.parametrize(
    ("make", "instead"),
    [
        (lambda: model() | StrOutputParser(), r"prompt \| cached\(model\)"),
        (lambda: model().bind(stop=["."]), r"cached\(model\)\.bind"),
        (agent, r"create_agent\(cached\(model\), tools\)"),
        (vector_store, r"cached\(store\.as_retriever\(\), corpus=…\)"),
        (lambda: init_chat_model(configurable_fields=("model",)), "init_chat_model"),
        (lambda: look_up, "tools are not cached"),
        (lambda: FakeListChatModel, r"cached\(FakeListChatModel\(…\)\)"),
        (lambda: "sqlite:///cache.db", "not a str"),
        (lambda: AIMessage("hi"), "not a AIMessage"),
    ],
)
def test_of_all_else_it_says_what_to_wrap(make: Any, instead: str) -> None:
    with pytest.raises(ConfigError, match=instead):
        cached(make())


def test_used_as_a_decorator_it_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"no decorator.*model = cached\("):

        @cached  # type: ignore[call-overload]
        def answer(question: str) -> str:
            return question

    with pytest.raises(ConfigError, match=r"no decorator.*model = cached\("):

        @cached(ttl=60)  # type: ignore[call-overload, untyped-decorator]
        def other(question: str) -> str:
            return question


def test_pickled_it_uses_the_same_store() -> None:
    asked = cached(model(), "memory://", namespace="pickled")
    asked.invoke("hi")
    again = pickle.loads(pickle.dumps(asked))
    assert again.invoke("hi").response_metadata["askonce"]["hit"] == "exact"
