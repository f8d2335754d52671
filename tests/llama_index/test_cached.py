"""`cached` of LlamaIndex: one verb for LLMs, embedding models and retrievers, and what it says of all else."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool

from askonce import Cache, ConfigError, Corpus
from askonce.llama_index import CachedRetriever, cached
from askonce.stores.memory import MemoryStore


@pytest.fixture
def cache() -> Cache:
    return Cache(MemoryStore())


def index() -> VectorStoreIndex:
    return VectorStoreIndex([TextNode(text="Thirty days of holiday.", id_="1")], embed_model=MockEmbedding(8))


def test_an_llm(cache: Cache) -> None:
    llm = cached(MockLLM(), cache)
    assert isinstance(llm, MockLLM)
    assert [llm.complete("hi there").text for _ in range(2)] == ["hi there"] * 2
    assert cache.stats().hits == 1


def test_an_embedding_model(cache: Cache) -> None:
    embed_model = cached(MockEmbedding(4), cache)
    assert isinstance(embed_model, MockEmbedding)
    assert embed_model.get_query_embedding("hi") == embed_model.get_query_embedding("hi")
    assert cache.stats().hits == 1


def test_a_retriever(cache: Cache) -> None:
    retriever = cached(index().as_retriever(), corpus=Corpus(cache), name="handbook", empty_ttl=5)
    assert isinstance(retriever, CachedRetriever)
    first, second = (retriever.retrieve("holiday") for _ in range(2))
    assert first == second
    assert cache.stats().hits >= 1


def test_a_retriever_needs_a_corpus(cache: Cache) -> None:
    with pytest.raises(ConfigError, match="corpus="):
        cached(index().as_retriever(), cache)  # type: ignore[call-overload]


def chat_engine() -> SimpleChatEngine:
    return SimpleChatEngine(llm=MockLLM(), memory=ChatMemoryBuffer.from_defaults(), prefix_messages=[])


def look_up(question: str) -> str:
    """Look something up."""
    return question


@pytest.mark.parametrize(
    ("make", "instead"),
    [
        (index, r"cached\(index\.as_retriever\(\), corpus=…\)"),
        (lambda: index().vector_store, r"cached\(index\.as_retriever\(\), corpus=…\)"),
        (lambda: index().as_query_engine(llm=MockLLM()), r"cached\(llm\), cached\(retriever, corpus=…\)"),
        (chat_engine, r"cached\(llm\), cached\(retriever, corpus=…\)"),
        (lambda: FunctionTool.from_defaults(look_up), "tools are not cached"),
        (lambda: MockLLM, r"cached\(MockLLM\(…\)\)"),
        (lambda: "sqlite:///cache.db", "not a str"),
        (lambda: 3, "not a int"),
    ],
)
def test_of_all_else_it_says_what_to_wrap(make: Any, instead: str) -> None:
    with pytest.raises(ConfigError, match=instead):
        cached(make())


@pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20"
)  # a workflow reads all attributes
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
def test_of_an_agent_it_says_to_wrap_its_llm() -> None:
    agent = FunctionAgent(llm=MockFunctionCallingLLM(), tools=[look_up])
    with pytest.raises(ConfigError, match=r"FunctionAgent\(llm=cached\(llm\)"):
        cached(agent)  # type: ignore[call-overload]


def test_used_as_a_decorator_it_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"no decorator.*llm = cached\("):

        @cached  # type: ignore[call-overload]
        def answer(question: str) -> str:
            return question

    with pytest.raises(ConfigError, match=r"no decorator.*llm = cached\("):

        @cached(ttl=60)  # type: ignore[call-overload, untyped-decorator]
        def other(question: str) -> str:
            return question


def test_pickled_it_uses_the_same_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    llm, embed_model = (
        cached(MockLLM(), url, namespace="pickled"),
        cached(MockEmbedding(4), url, namespace="pickled"),
    )
    assert llm.complete("hi").additional_kwargs.get("askonce") is None
    again = pickle.loads(pickle.dumps(llm))
    assert again.complete("hi").additional_kwargs["askonce"]["hit"] == "exact"
    assert pickle.loads(pickle.dumps(embed_model)).get_query_embedding("hi") == [0.5] * 4
