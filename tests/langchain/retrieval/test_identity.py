"""What changes the results of a retriever changes its key."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_classic.retrievers import (
    EnsembleRetriever,
    TimeWeightedVectorStoreRetriever,
)
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, chain
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from askonce import Cache, ConfigError, Corpus
from askonce.langchain import CachedEmbeddings, CachedRetriever, watch
from askonce.stores.memory import MemoryStore
from tests.langchain.retrieval.library import Fixed, Words, animals, at_night, found, library


def test_what_changes_results_changes_the_key_and_nothing_else_does() -> None:
    corpus = Corpus(Cache(MemoryStore()), name="animals")
    store = InMemoryVectorStore(Words())
    store.add_documents(animals())
    other, _ = library(corpus.cache, "plants")
    same_documents = InMemoryVectorStore(CachedEmbeddings(Words(), corpus.cache))
    same_documents.add_documents(animals())

    def is_called(retriever: BaseRetriever, query: str = "flies at night", **kwargs: Any) -> bool:
        before = corpus.cache.stats().misses
        retriever.invoke(query, **kwargs)
        return corpus.cache.stats().misses > before

    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    assert is_called(retriever)
    for same in (
        CachedRetriever(store.as_retriever(tags=["other"], metadata={"run": 1}), corpus=corpus),
        CachedRetriever(same_documents.as_retriever(), corpus=corpus),
    ):
        assert not is_called(same)
    for differs in (
        CachedRetriever(store.as_retriever(search_kwargs={"k": 2}), corpus=corpus),
        CachedRetriever(store.as_retriever(search_kwargs={"k": 2, "filter": at_night}), corpus=corpus),
        CachedRetriever(store.as_retriever(search_type="mmr"), corpus=corpus),
        CachedRetriever(other.as_retriever(), corpus.cache, corpus="plants"),
        CachedRetriever(store.as_retriever(), corpus=corpus, name="mine"),
        CachedRetriever(store.as_retriever(), corpus=corpus, ignore_case=False),
    ):
        assert is_called(differs)
        assert not is_called(differs)
    assert is_called(retriever, k=1)
    assert not is_called(retriever, k=1)
    assert retriever.invoke("flies at night", filter=lambda document: False) == []
    assert retriever.invoke("flies at night", filter=lambda document: True) != []
    retriever.retriever.search_kwargs["k"] = 3
    assert is_called(retriever)
    strict = CachedRetriever(store.as_retriever(), corpus=corpus, ignore_punctuation=False)
    assert [is_called(strict, "owl"), is_called(strict, "OWL"), is_called(strict, "owl?")] == [True, False, True]


def test_filters_have_keys_of_their_own_whatever_their_fields_are_called() -> None:
    inner = Fixed()
    retriever = CachedRetriever(Filtered(store={}), Cache(MemoryStore()), name="filtered")
    for fields in (
        {"tags": "a"},
        {"tags": "b"},
        {"metadata": {"token": "a"}},
        {"metadata": {"token": "b"}},
        {"k": 1},
    ):
        assert retriever.invoke("x", filter=fields)[0].metadata == fields
    assert inner.documents == []


class Filtered(BaseRetriever):
    store: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any, filter: Any = None) -> list[Document]:
        return [Document("x", metadata=filter)]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Filtered(store=threading.Lock()), "store: .*name="),
        (
            lambda: InMemoryVectorStore(Words()).as_retriever(search_kwargs={"filter": lambda _: True}),
            "lambda.*name=",
        ),
        (lambda: InMemoryVectorStore(Nameless()).as_retriever(), "Nameless does not show which model"),
        (lambda: Placeless(Words()).as_retriever(), "Placeless does not show where.*corpus='…'"),
        (lambda: TimeWeightedVectorStoreRetriever(vectorstore=InMemoryVectorStore(Words())), "the time.*name="),
        (lambda: InMemoryVectorStore(Words()).as_retriever().with_retry(), r"corpus=…\).with_retry"),
        (lambda: chain(found), "class Search"),
        (
            lambda: EnsembleRetriever(
                retrievers=[Filtered(store="a").configurable_fields(store=ConfigurableField("s"))], weights=[1]
            ),
            "configurable",
        ),
        (lambda: Filtered(store=[[number] for number in range(2000)]), "more than 1000 parts"),
        (lambda: Words(), "takes a retriever"),
    ],
)
def test_what_has_no_key_is_refused_at_once(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        CachedRetriever(make(), Cache(MemoryStore()))


class Placeless(VectorStore):
    """Holds a client that shows nothing."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.collection_name, self._client, self._embeddings = "animals", object(), embeddings

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> Any: ...
    def similarity_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        return []


class Nameless(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]: ...
    def embed_query(self, text: str) -> list[float]: ...


def test_wrong_arguments_are_refused_at_once() -> None:
    store, corpus = library()
    retriever = store.as_retriever()
    with pytest.raises(ConfigError, match="empty_ttl"):
        CachedRetriever(retriever, corpus=corpus, empty_ttl=-1)
    with pytest.raises(ConfigError, match="a corpus has a store"):
        CachedRetriever(retriever, "sqlite:///x.db", corpus=corpus)
    with pytest.raises(ConfigError, match="no method that writes"):
        watch(object(), corpus)


@pytest.mark.parametrize("name", [None, "by name"])
def test_a_hit_takes_as_many_calls_whatever_the_retriever_holds(name: str | None) -> None:
    def calls_of_a_hit(texts: list[str]) -> int:
        retriever = CachedRetriever(Holding(texts=texts), "memory://", corpus="c", name=name)
        for _ in range(2):
            retriever.invoke("why?")
        events: list[str] = []
        sys.setprofile(lambda _frame, event, _argument: events.append(event))
        try:
            retriever.invoke("why?")
        finally:
            sys.setprofile(None)
        assert retriever.cache.stats().hits == 2
        return len(events)

    few, many = (calls_of_a_hit([f"text {one}" for one in range(count)]) for count in (50, 5_000))
    assert many < few + 1_000  # some things are done once in a while


class Holding(BaseRetriever):
    texts: list[str]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [Document(self.texts[0], id="1")]
