"""What a run gives to a retriever is part of the key, unless the retriever cannot read it."""

from __future__ import annotations

import functools
import importlib
import threading
import types
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict
from uuid import uuid4

import pytest
from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough, ensure_config
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import get_runtime

from askonce import Cache, ConfigError
from askonce.langchain import CachedRetriever, cached


@dataclass
class Person:
    user: str


class Personal(BaseRetriever):
    """Finds what the one who runs it may see."""

    given_by: str

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if self.given_by == "context":
            return [Document(f"{query} of {get_runtime(Person).context.user}")]
        configured = run_manager.metadata if self.given_by == "metadata" else ensure_config()["configurable"]
        return [Document(f"{query} of {configured['user']}")]


def of_person(retriever: BaseRetriever, given_by: str, user: str) -> list[str]:
    """What a user finds, whom the configuration of a run, its metadata, or the context of a graph names."""
    if given_by != "context":
        return texts((RunnablePassthrough() | retriever).invoke("salary", {given_by: {"user": user}}))  # type: ignore[misc]

    class State(TypedDict):
        found: list[str]

    graph = StateGraph(State, context_schema=Person)
    graph.add_node("find", lambda state: {"found": texts(retriever.invoke("salary"))})
    graph.add_edge(START, "find")
    graph.add_edge("find", END)
    found: list[str] = graph.compile().invoke({"found": []}, context=Person(user))["found"]
    return found


def texts(found: list[Document]) -> list[str]:
    return [one.page_content for one in found]


@pytest.fixture
def cache() -> Cache:
    return Cache("memory://")


@pytest.mark.parametrize("name", [None, "personal"])
@pytest.mark.parametrize("given_by", ["configurable", "metadata", "context"])
def test_each_user_is_given_their_own_documents(given_by: str, name: str | None, cache: Cache) -> None:
    retriever = CachedRetriever(Personal(given_by=given_by), cache, corpus="hr", name=name)
    found = [of_person(retriever, given_by, user) for user in ("ann", "bob", "ann")]
    assert found == [["salary of ann"], ["salary of bob"], ["salary of ann"]]
    assert cache.stats().hits == 1


def find_personal(self: Any, query: str, *, run_manager: Any) -> list[Document]:
    return [Document(f"{query} of {ensure_config()['configurable']['user']}")]


@pytest.mark.parametrize(
    "make",
    [
        lambda members: type("Made", (BaseRetriever,), members),
        lambda members: types.new_class("Made", (BaseRetriever,), exec_body=lambda space: space.update(members)),
    ],
)
def test_a_class_that_is_made_by_a_call_is_the_applications(make: Callable[[Any], Any], cache: Cache) -> None:
    """Its module is called ``abc``."""
    retriever = CachedRetriever(make({"_get_relevant_documents": find_personal})(), cache, corpus="c")
    for user in ("ann", "bob", "ann"):
        assert of_person(retriever, "configurable", user) == [f"salary of {user}"]
    assert cache.stats().hits == 1


def test_a_retriever_around_it_distinguishes_users_too(cache: Cache) -> None:
    inner = CachedRetriever(Personal(given_by="configurable"), cache, corpus="hr", name="inner")
    outer = CachedRetriever(inner, cache, corpus="hr")
    assert [of_person(outer, "configurable", user) for user in ("ann", "bob")] == [
        ["salary of ann"],
        ["salary of bob"],
    ]


def test_ids_of_runs_and_threads_are_no_part_of_the_key(cache: Cache) -> None:
    chain = RunnablePassthrough() | CachedRetriever(Personal(given_by="configurable"), cache, corpus="hr")
    for thread in ("1", "2"):
        ids = {"thread_id": thread, "checkpoint_id": thread, "checkpoint_ns": thread, "run_id": thread}
        chain.invoke(
            "salary",
            {"configurable": {"user": "ann", **ids}, "metadata": ids, "run_id": uuid4(), "run_name": thread},
        )
    assert cache.stats().hits == 1


class ByName(BaseRetriever):
    """Finds what is said under a name, which its code does not show."""

    name_of: str

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(ensure_config()["configurable"][self.name_of])]


@pytest.mark.parametrize("known_as", [None, "by name"])
@pytest.mark.parametrize(
    "name",
    [
        "x-user-id",
        "X-Organization-Id",
        "pull_request_id",
        "email_thread_id",
        "task_id",
        "project_run_id",
        "attempt",
        "x-forwarded-user",
        "X-Forwarded-Email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "thread_id",  # the field of the retriever names it
    ],
)
def test_a_name_that_only_looks_like_a_runs_id_counts(name: str, known_as: str | None, cache: Cache) -> None:
    chain = RunnablePassthrough() | CachedRetriever(ByName(name_of=name), cache, corpus="hr", name=known_as)
    assert [texts(chain.invoke("salary", {"configurable": {name: one}})) for one in "ab"] == [["a"], ["b"]]


class OfThread(BaseRetriever):
    """Finds the files of a conversation."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(ensure_config()["configurable"]["thread_id"])]


@pytest.mark.parametrize("name", [None, "files"])
def test_an_id_of_the_run_counts_if_the_retrievers_code_names_it(name: str | None, cache: Cache) -> None:
    chain = RunnablePassthrough() | CachedRetriever(OfThread(), cache, corpus="hr", name=name)
    assert [texts(chain.invoke("files", {"configurable": {"thread_id": one}})) for one in "aba"] == [
        ["a"],
        ["b"],
        ["a"],
    ]
    assert cache.stats().hits == 1


class OfKind(BaseRetriever):
    """Finds what is said under a name that it makes of others."""

    kind: str = "thread"

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(ensure_config()["configurable"][f"{self.kind}_id"])]


@pytest.mark.parametrize("name", [None, "files"])
def test_the_id_of_a_thread_counts_if_its_name_is_made_of_parts(name: str | None, cache: Cache) -> None:
    chain = RunnablePassthrough() | CachedRetriever(OfKind(), cache, corpus="hr", name=name)
    assert [texts(chain.invoke("files", {"configurable": {"thread_id": one}})) for one in "ab"] == [["a"], ["b"]]


def test_what_results_depend_on_can_be_named(cache: Cache) -> None:
    retriever = CachedRetriever(Personal(given_by="configurable"), cache, corpus="hr", depends_on=["user"])
    chain = RunnablePassthrough() | retriever
    for user, other in (("ann", "1"), ("ann", "2"), ("bob", "2")):
        given = {"user": user, "page": other, "api_key": "secret", "session": object()}
        assert texts(chain.invoke("salary", {"configurable": given})) == [f"salary of {user}"]
    assert (cache.stats().hits, cache.stats().misses) == (1, 2)
    with pytest.raises(ConfigError, match="list of names"):
        CachedRetriever(Personal(given_by="configurable"), cache, depends_on="user")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"access_token": "a"}, {"session": threading.Lock()}])
def test_what_has_no_place_in_a_key_is_not_cached(
    given: dict[str, Any], cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    chain = RunnablePassthrough() | CachedRetriever(Personal(given_by="configurable"), cache, corpus="hr")
    for _ in range(2):
        chain.invoke("salary", {"configurable": {"user": "ann", **given}})
    assert cache.stats().bypassed == 2


def test_langchains_own_retrievers_share_what_they_find(cache: Cache) -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    chain = RunnablePassthrough() | CachedRetriever(store.as_retriever(), cache, corpus="animals")
    for user in ("ann", "bob"):
        chain.invoke("owl", {"configurable": {"user": user}, "metadata": {"user": user}, "tags": [user]})
    assert cache.stats().kinds["retrieval"].hits == 1


language: ContextVar[str] = ContextVar("language", default="en")


class Multilingual(Embeddings):
    """Embeds a question by the language of its run or of its context."""

    def __init__(self, *, by_run: bool) -> None:
        self.model, self.by_run = "multilingual", by_run

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, 0.0] if one.startswith("en") else [0.0, 1.0] for one in texts]

    def embed_query(self, text: str) -> list[float]:
        given = ensure_config()["configurable"]["language"] if self.by_run else language.get()
        return self.embed_documents([given])[0]


@pytest.mark.parametrize("name", [None, "mine"])
@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize("by_run", [False, True])
def test_own_embeddings_may_read_the_run(by_run: bool, is_cached: bool, name: str | None, cache: Cache) -> None:
    own = Multilingual(by_run=by_run)
    store = InMemoryVectorStore(own)
    store.add_documents([Document("en: leave", id="1"), Document("de: Urlaub", id="2")])
    store.embedding = cached(own, Cache("memory://"), model="mine") if is_cached else own
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), cache, corpus="x", name=name)
    identities = []
    for given in ("en", "de", "en"):
        language.set(given)
        found = (RunnablePassthrough() | retriever).invoke("leave", {"configurable": {"language": given}})
        identities.append(found[0].page_content[:2])
    assert is_cached or identities == ["en", "de", "en"]  # vectors are cached by the text alone
    assert (cache.stats().kinds["retrieval"].misses, cache.stats().kinds["retrieval"].hits) == (2, 1)


def test_tags_of_the_application_count_and_those_of_chains_do_not(cache: Cache) -> None:
    retriever = CachedRetriever(Personal(given_by="configurable"), cache, corpus="hr")
    config: Any = {"configurable": {"user": "ann"}}
    (RunnablePassthrough() | retriever).invoke("salary", config)
    (RunnableLambda(str) | RunnablePassthrough() | {"found": retriever}).invoke("salary", config)
    assert cache.stats().hits == 1
    (RunnablePassthrough() | retriever).invoke("salary", {**config, "tags": ["vip"]})
    assert cache.stats().hits == 1


USER: ContextVar[str] = ContextVar("user", default="nobody")


def current_user() -> str:
    return USER.get()


def of_user(query: str) -> list[Document]:
    return [Document(current_user())]


def of(get: Any, query: str) -> list[Document]:
    return [Document(get())]


class Calling(BaseRetriever):
    """Finds by a function."""

    find: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        found: list[Document] = self.find(query)
        return found


class OfContext(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(current_user())]


@pytest.mark.parametrize("name", [None, "named"])
def test_a_context_variable_that_the_retrievers_code_uses_counts(name: str | None, cache: Cache) -> None:
    retriever = CachedRetriever(OfContext(), cache, corpus="people", name=name)
    for user in ("ann", "bob", "ann"):
        token = USER.set(user)
        assert [one.page_content for one in retriever.invoke("?")] == [user]
        USER.reset(token)
    assert cache.stats().hits == 1


def for_all(query: str) -> list[Document]:
    return [Document("for all")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Calling(find=functools.partial(of_user)),
        lambda: Calling(find=functools.partial(of, USER.get)),
        lambda: Calling(find=functools.lru_cache(maxsize=0)(of_user)),
        lambda: Calling(find=lambda query, find=of_user: find(query)),
        lambda: EnsembleRetriever(
            retrievers=[Calling(find=lambda query: for_all(query)), OfContext()], weights=[1, 1]
        ),
        lambda: EnsembleRetriever(
            retrievers=[OfContext(), Calling(find=lambda query: for_all(query))], weights=[1, 1]
        ),
    ],
)
def test_a_named_retriever_is_read_for_context_variables_to_its_end(
    make: Callable[[], BaseRetriever], cache: Cache
) -> None:
    retriever = CachedRetriever(make(), cache, corpus="people", name="named")
    for user in ("ann", "bob", "ann"):
        token = USER.set(user)
        assert user in texts(retriever.invoke("?"))
        USER.reset(token)
    assert cache.stats().hits == 1


PACKAGE = """
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ensure_config

class OfUser(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(ensure_config()["configurable"]["user"])]
"""


@pytest.mark.parametrize("name", [None, "own"])
def test_a_package_of_the_application_may_be_called_like_langchains(
    name: str | None, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "langchain_of_ours.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    retriever = importlib.import_module("langchain_of_ours").OfUser()
    chain = RunnablePassthrough() | CachedRetriever(retriever, cache, corpus="people", name=name)
    assert [texts(chain.invoke("?", {"configurable": {"user": user}})) for user in ("ann", "bob")] == [
        ["ann"],
        ["bob"],
    ]
