"""`cached` of LangChain: one verb for models, embeddings and retrievers, and what it says of all else."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import Generation
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from askonce import Cache, ConfigError, Corpus
from askonce.langchain import AskOnceCache, CachedEmbeddings, CachedRetriever, cached
from askonce.stores.memory import MemoryStore
from tests.support.provider import Answer, Provider


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
    chat = cached(model(), cache)
    assert isinstance(chat, FakeListChatModel)
    assert [chat.invoke("hi").content for _ in range(2)] == ["one", "one"]


def test_a_completion_model(cache: Cache) -> None:
    chat = cached(FakeListLLM(responses=["one", "two"]), cache)
    assert [chat.invoke("hi") for _ in range(2)] == ["one", "one"]


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
        (lambda: look_up, "tools are not cached"),
        (lambda: FakeListChatModel, r"cached\(FakeListChatModel\(…\)\)"),
        (lambda: "sqlite:///cache.db", "not a str.*no decorator"),
        (lambda: "gpt-5-mini", "init_chat_model"),
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


def test_pickled_it_uses_the_same_store(tmp_path: Path) -> None:
    original = cached(model(), f"sqlite:///{tmp_path}/cache.db", namespace="pickled")
    original.invoke("hi")
    again = pickle.loads(pickle.dumps(original))
    assert again.invoke("hi").response_metadata["askonce"]["hit"] == "exact"
    type(original)._askonce_cache.close()


def in_a_cache(url: str) -> Any:
    return AskOnceCache(url)


def a_model_with_a_cache(url: str) -> Any:
    return FakeListChatModel(responses=["yes"], cache=AskOnceCache(url))


def a_model_over_a_cache(url: str) -> Any:
    return cached(model(), Cache(url))


def embeddings_over(url: str) -> Any:
    return cached(DeterministicFakeEmbedding(size=4), url, model="fake")


MAKERS = [in_a_cache, a_model_with_a_cache, a_model_over_a_cache, embeddings_over]


@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("make", MAKERS)
def test_what_was_given_a_url_is_copied(
    make: Callable[[str], Any], way: Callable[[Any], Any], tmp_path: Path
) -> None:
    made = make(f"sqlite:///{tmp_path}/cache.db")
    assert type(way(made)).__qualname__ == type(made).__qualname__
    for cache in [one for one in gc.get_objects() if isinstance(one, Cache)]:
        cache.close()


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_in_memory_is_not_pickled(make: Callable[[str], Any]) -> None:
    with pytest.raises(TypeError, match="URL"):
        pickle.dumps(make("memory://"))


def test_caches_in_memory_are_each_their_own() -> None:
    one, other = AskOnceCache("memory://"), AskOnceCache("memory://")
    one.update("prompt", "model", [Generation(text="stored")])
    assert one.lookup("prompt", "model")
    assert other.lookup("prompt", "model") is None


def chosen(provider: Provider) -> Any:
    return init_chat_model(
        configurable_fields=("model", "temperature"), model_provider="openai", base_url=provider.openai_url,
        api_key="sk-none", max_retries=0,
    )  # fmt: skip


def of(name: str) -> dict[str, Any]:
    return {"configurable": {"model": name}}


@pytest.mark.parametrize("way", ["invoke", "stream", "batch", "bound", "configured", "structured"])
def test_models_that_are_chosen_at_run_time_are_cached(way: str, provider: Provider, cache: Cache) -> None:
    class City(BaseModel):
        name: str

    provider.answer = lambda request: Answer('{"name": "Rome"}')
    chat: Any = cached(chosen(provider), cache)

    def answer_of(name: str) -> Any:
        match way:
            case "stream":
                return "".join(chunk.text for chunk in chat.stream("hi", of(name)))
            case "batch":
                return [one.content for one in chat.batch(["hi", "hi"], of(name))]
            case "bound":
                return chat.bind_tools([weather]).invoke("hi", of(name)).content
            case "configured":
                return chat.with_config({"tags": ["a"], **of(name)}).invoke("hi").content
            case "structured":
                return chat.with_structured_output(City).invoke("hi", of(name))
        return chat.invoke("hi", of(name)).content

    assert answer_of("gpt-4.1") == answer_of("gpt-4.1")
    answer_of("gpt-5.6")
    answer_of("gpt-4.1")
    assert [row.model for row in provider.ledger] == ["gpt-4.1", "gpt-5.6"]
    assert cached(chat) is chat


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return city


async def test_models_that_are_chosen_at_run_time_are_cached_asynchronously(
    provider: Provider, cache: Cache
) -> None:
    chat: Any = cached(chosen(provider), cache)
    fresh = await chat.ainvoke("hi", of("gpt-4.1"))
    assert [chunk async for chunk in chat.astream("hi", of("gpt-4.1"))]
    hit = await chat.ainvoke("hi", of("gpt-4.1"))
    assert (hit.content, len(provider.ledger)) == (fresh.content, 1)


PERSON = """
class Person(BaseModel):
    name: str
"""


def test_a_schema_defined_again_in_the_same_words_is_the_same(
    provider: Provider, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = ModuleType("notebook")
    notebook.__dict__["BaseModel"] = BaseModel
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    set_llm_cache(AskOnceCache(cache))
    provider.answer = lambda request: Answer('{"name": "Ada"}')
    classes = []
    for cell in (PERSON, PERSON, PERSON + "    age: int = 0\n"):
        exec(cell, notebook.__dict__)
        classes.append(notebook.__dict__["Person"])
        chat = ChatOpenAI(model="gpt-4.1", base_url=provider.openai_url, api_key="sk-none", max_retries=0)
        assert chat.with_structured_output(classes[-1]).invoke("who?").name == "Ada"
    assert len(provider.ledger) == 2


def test_a_request_that_is_nested_too_deeply_goes_to_the_model() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"deeper": deep}
    with Cache("memory://") as cache:
        model = cached(FakeListChatModel(responses=["so"]), cache)
        message = HumanMessage("why?")
        message.additional_kwargs["deep"] = deep
        assert model._generate([message]).generations[0].text == "so"
        assert cache.stats().bypassed == 1
