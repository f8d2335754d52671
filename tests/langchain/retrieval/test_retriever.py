"""Cached retrievers, and answers with their sources."""

from __future__ import annotations

import asyncio
import datetime
import http
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from askonce import Cache, Corpus, StoreError, cache_options
from askonce.langchain import CachedEmbeddings, CachedRetriever, watch
from askonce.stores.base import Record
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.langchain.retrieval.library import KINDS, Fixed, Words, animals, failing, found, library
from tests.support.stores import FailingStore


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_back_equals_what_the_retriever_gave(kind: str, words: list[str]) -> None:
    store, corpus = library()
    inner = KINDS[kind](store)
    expected = inner.invoke("flies at night")
    assert expected
    retriever = CachedRetriever(inner, corpus=corpus)
    assert retriever.invoke("flies at night") == expected
    words.clear()
    again = [
        retriever.invoke("Flies at night?"),
        await retriever.ainvoke("flies  at night"),
        *retriever.batch(["flies at night", "FLIES AT NIGHT"]),
        *await retriever.abatch(["flies at night."]),
        (RunnablePassthrough() | retriever).invoke("flies at night"),
    ]
    assert all(one == expected for one in again)
    assert not words  # a hit embeds nothing
    again[0][0].metadata["spoiled"] = True
    assert retriever.invoke("flies at night") == expected
    assert await CachedRetriever(KINDS[kind](store), corpus=corpus).ainvoke("flies at night") == expected


async def test_concurrent_equal_queries_cause_one_search(words: list[str]) -> None:
    store, corpus = library()
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    words.clear()
    with ThreadPoolExecutor(8) as threads:
        assert len({str(one) for one in threads.map(retriever.invoke, ["flies at night"] * 8)}) == 1
    await asyncio.gather(*(retriever.ainvoke("barks") for _ in range(8)))
    assert words == ["flies at night", "barks"]


@pytest.mark.parametrize(
    "document",
    [
        Document("x", metadata={"thing": object}),
        Document("x", metadata={"zone": datetime.UTC}),
        type("Own", (Document,), {})(page_content="x"),
    ],
)
def test_what_cannot_be_given_back_equal_is_passed_through_with_one_warning(
    document: Document, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Fixed(documents=[document])
    retriever = CachedRetriever(inner, Cache(MemoryStore()), name="fixed")
    with caplog.at_level(logging.WARNING, "askonce"):
        assert retriever.invoke("a") == retriever.invoke("a") == retriever.invoke("b") == [document]
    assert inner._calls == 3
    assert [record.message for record in caplog.records if "common types" in record.message] != []
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
        datetime.date(2026, 1, 1),
        uuid.UUID(int=7),
        Decimal("1.10"),
        (1, {2, 3}),
        {4: {"deep": (None, b"5")}},
        http.HTTPStatus.OK,
        np.float32(0.5),
        np.datetime64("2026-01-02"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_of_everyday_types_comes_back_with_them(value: object) -> None:
    metadata = {"value": value, 7: value}
    inner = Fixed(documents=[Document("x", id="x", metadata=metadata)])
    retriever = CachedRetriever(inner, Cache(MemoryStore()), name="fixed")
    fresh, hit = retriever.invoke("a"), retriever.invoke("a")
    assert hit == fresh == [Document("x", id="x", metadata=metadata)]
    assert [type(one) for one in hit[0].metadata.values()] == [type(value)] * 2
    assert inner._calls == 1


def test_empty_results_have_a_ttl_of_their_own(clock: FakeClock) -> None:
    inner = Fixed()
    cache = Cache(MemoryStore(clock=clock), clock=clock, ttl=1000)
    retriever = CachedRetriever(inner, cache, name="fixed", empty_ttl=30)
    assert retriever.invoke("a") == retriever.invoke("a") == []
    assert inner._calls == 1
    clock.advance(31)
    inner.documents.append(Document("x"))
    assert retriever.invoke("a") == [Document("x")]
    clock.advance(900)
    retriever.invoke("a")
    assert inner._calls == 2
    never = CachedRetriever(Fixed(), cache, name="other", empty_ttl=0)
    assert never.invoke("a") == never.invoke("a") == []
    assert never.retriever._calls == 2


async def test_without_the_store_documents_are_retrieved_all_the_same(words: list[str]) -> None:
    broken = FailingStore()
    store, corpus = library(Cache(broken))
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    expected = retriever.invoke("barks")
    broken.failing = True
    assert retriever.invoke("barks") == await retriever.ainvoke("barks") == expected
    with pytest.raises(StoreError):  # before it is written, or else what is outdated might be served later
        store.add_documents(animals(cow="a cow barks"))
    assert "cow" not in found(retriever.invoke("barks"))


def test_what_is_corrupt_is_looked_for_anew() -> None:
    store, corpus = library()
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    expected = retriever.invoke("barks")
    cache = corpus.cache
    for spoil in (lambda value: value[:-3], lambda value: b"", lambda value: b"\xff" * 40):
        ((key, value),) = cache.store.scan(cache.namespace)
        cache.store.put(cache.namespace, [Record(key, spoil(value))])
        assert retriever.invoke("barks") == retriever.invoke("barks") == expected


def test_a_retriever_that_fails_is_called_again() -> None:
    inner = Fixed(documents=[Document("x")])
    retriever = CachedRetriever(inner, Cache(MemoryStore()), name="fixed")
    failing.add("a")
    with pytest.raises(RuntimeError, match="index down"):
        retriever.invoke("a")
    failing.clear()
    assert retriever.invoke("a") == [Document("x")]
    with cache_options(bypass=True):
        retriever.invoke("a")
    assert inner._calls == 3


async def test_query_embeddings_are_cached_where_the_store_has_cached_embeddings(words: list[str]) -> None:
    corpus = Corpus(Cache(MemoryStore()), name="animals")
    store = watch(InMemoryVectorStore(CachedEmbeddings(Words(), corpus.cache)), corpus)
    store.add_documents(animals())
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    retriever.invoke("barks")
    store.delete(["dog"])
    words.clear()
    assert "dog" not in found(await retriever.ainvoke("barks"))
    assert not words
