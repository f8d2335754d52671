"""Cached retrievers, and answers that know their sources."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import pytest
from langchain.agents import create_agent
from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MergerRetriever,
    MultiQueryRetriever,
    MultiVectorRetriever,
)
from langchain_classic.retrievers.document_compressors import EmbeddingsFilter
from langchain_classic.retrievers.self_query.base import SelfQueryRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.stores import InMemoryStore
from langchain_core.structured_query import StructuredQuery, Visitor
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import Field, PrivateAttr

from askonce import Cache, ConfigError, Corpus, StoreError, cache_options
from askonce.langchain import AskOnceCache, CachedEmbeddings, CachedRetriever, cached, watch
from askonce.stores.base import Record
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock

ANIMALS = {
    "cat": "the cat sleeps all day",
    "dog": "the dog barks at the cat",
    "owl": "the owl flies at night",
    "bat": "the bat flies at night too",
    "ant": "the ant works all day",
}


class Words(Embeddings):
    """A vector counts words; what it is asked is counted too."""

    model = "words"
    asked: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.model = "words"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.extend(texts)
        vocabulary = sorted({word for text in ANIMALS.values() for word in text.split()})
        return [
            [
                crc32(text.lower().encode()) / 2**34,
                *(float(text.lower().split().count(word)) for word in vocabulary),
            ]
            for text in texts  # no two of them are just as near
        ]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture(autouse=True)
def words() -> list[str]:
    Words.asked.clear()
    return Words.asked


def animals(**texts: str) -> list[Document]:
    return [Document(text, id=name, metadata={"legs": len(name)}) for name, text in (texts or ANIMALS).items()]


def library(cache: Cache | str | None = None, name: str = "animals") -> tuple[InMemoryVectorStore, Corpus]:
    """A watched store of documents, and its corpus."""
    corpus = Corpus(Cache(MemoryStore()) if cache is None else cache, name=name)
    store = watch(InMemoryVectorStore(Words()), corpus)
    store.add_documents(animals())
    return store, corpus


def found(documents: list[Document]) -> list[str | None]:
    return [one.id for one in documents]


# -- what comes back -----------------------------------------------------------------------------------------------


def at_night(document: Document) -> bool:
    return "night" in document.page_content


def everything(_: Any) -> StructuredQuery:
    return StructuredQuery(query="night", filter=None, limit=None)


class Untranslated(Visitor):
    def visit_operation(self, operation: Any) -> Any: ...
    def visit_comparison(self, comparison: Any) -> Any: ...
    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        return structured_query.query, {"filter": at_night}


def several(store: InMemoryVectorStore) -> BaseRetriever:
    parents = InMemoryStore()
    parents.mset([(name, Document(f"All of: {text}", metadata={"doc_id": name})) for name, text in ANIMALS.items()])
    children = InMemoryVectorStore(Words())
    children.add_documents([Document(text, metadata={"doc_id": name}) for name, text in ANIMALS.items()])
    return MultiVectorRetriever(vectorstore=children, docstore=parents, id_key="doc_id")


def self_query(store: InMemoryVectorStore) -> BaseRetriever:
    return SelfQueryRetriever(
        vectorstore=store,
        llm_chain=RunnableLambda(everything),
        structured_query_translator=Untranslated(),
    )


KINDS: dict[str, Callable[[InMemoryVectorStore], BaseRetriever]] = {
    "similarity": lambda store: store.as_retriever(search_kwargs={"k": 2}),
    "filter": lambda store: store.as_retriever(search_kwargs={"k": 2, "filter": at_night}),
    "mmr": lambda store: store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 3}),
    "ensemble": lambda store: EnsembleRetriever(
        retrievers=[store.as_retriever(), store.as_retriever(search_type="mmr")], weights=[0.4, 0.6]
    ),
    "merger": lambda store: MergerRetriever(retrievers=[store.as_retriever(), store.as_retriever()]),
    "multi-query": lambda store: MultiQueryRetriever.from_llm(
        store.as_retriever(search_kwargs={"k": 2}), llm=FakeListChatModel(responses=["who barks?\nwho flies?"])
    ),
    "self-query": self_query,
    "compression": lambda store: ContextualCompressionRetriever(
        base_retriever=store.as_retriever(), base_compressor=EmbeddingsFilter(embeddings=Words(), k=2)
    ),
    "multi-vector": several,
    "a cached one": lambda store: CachedRetriever(store.as_retriever(), Cache(MemoryStore()), corpus="inner"),
}


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


async def test_what_is_asked_at_once_is_looked_for_once(words: list[str]) -> None:
    store, corpus = library()
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    words.clear()
    with ThreadPoolExecutor(8) as threads:
        assert len({str(one) for one in threads.map(retriever.invoke, ["flies at night"] * 8)}) == 1
    await asyncio.gather(*(retriever.ainvoke("barks") for _ in range(8)))
    assert words == ["flies at night", "barks"]


class Fixed(BaseRetriever):
    """Returns what it is given, and counts."""

    documents: list[Any] = Field(default_factory=list, exclude=True)
    k: int = 9
    _asked: int = PrivateAttr(default=0)

    def _get_relevant_documents(self, query: str, *, run_manager: Any, k: int | None = None) -> list[Document]:
        self._asked += 1
        if query in failing:
            raise RuntimeError("index down")
        return self.documents[: k or self.k]


failing: set[str] = set()


@pytest.mark.parametrize(
    "document",
    [
        Document("x", metadata={"at": datetime.date(2026, 1, 1)}),
        Document("x", metadata={"pair": (1, 2)}),
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
    assert inner._asked == 3
    assert [record.message for record in caplog.records if "plain data" in record.message] != []
    assert len(caplog.records) == 1


def test_empty_results_are_kept_for_a_time_of_their_own(clock: FakeClock) -> None:
    inner = Fixed()
    cache = Cache(MemoryStore(clock=clock), clock=clock, ttl=1000)
    retriever = CachedRetriever(inner, cache, name="fixed", empty_ttl=30)
    assert retriever.invoke("a") == retriever.invoke("a") == []
    assert inner._asked == 1
    clock.advance(31)
    inner.documents.append(Document("x"))
    assert retriever.invoke("a") == [Document("x")]
    clock.advance(900)
    retriever.invoke("a")
    assert inner._asked == 2
    never = CachedRetriever(Fixed(), cache, name="other", empty_ttl=0)
    assert never.invoke("a") == never.invoke("a") == []
    assert never.retriever._asked == 2


# -- the key -------------------------------------------------------------------------------------------------------


def test_what_changes_results_changes_the_key_and_nothing_else_does() -> None:
    store, corpus = library()
    other, _ = library(corpus.cache, "plants")

    def is_asked(retriever: BaseRetriever, query: str = "flies at night", **kwargs: Any) -> bool:
        before = corpus.cache.stats().misses
        retriever.invoke(query, **kwargs)
        return corpus.cache.stats().misses > before

    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    assert is_asked(retriever)
    for same in (
        CachedRetriever(store.as_retriever(tags=["other"], metadata={"run": 1}), corpus=corpus),
        CachedRetriever(InMemoryVectorStore(CachedEmbeddings(Words(), corpus.cache)).as_retriever(), corpus=corpus),
    ):
        assert not is_asked(same)
    for differs in (
        CachedRetriever(store.as_retriever(search_kwargs={"k": 2}), corpus=corpus),
        CachedRetriever(store.as_retriever(search_kwargs={"k": 2, "filter": at_night}), corpus=corpus),
        CachedRetriever(store.as_retriever(search_type="mmr"), corpus=corpus),
        CachedRetriever(other.as_retriever(), corpus.cache, corpus="plants"),
        CachedRetriever(store.as_retriever(), corpus=corpus, name="mine"),
        CachedRetriever(store.as_retriever(), corpus=corpus, ignore_case=False),
    ):
        assert is_asked(differs)
        assert not is_asked(differs)
    assert is_asked(retriever, k=1)
    assert not is_asked(retriever, k=1)
    assert retriever.invoke("flies at night", filter=lambda document: False) == []
    assert retriever.invoke("flies at night", filter=lambda document: True) != []
    retriever.retriever.search_kwargs["k"] = 3
    assert is_asked(retriever)
    strict = CachedRetriever(store.as_retriever(), corpus=corpus, ignore_punctuation=False)
    assert [is_asked(strict, "owl"), is_asked(strict, "OWL"), is_asked(strict, "owl?")] == [True, False, True]


def test_filters_are_told_apart_whatever_their_fields_are_called() -> None:
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
        (lambda: InMemoryVectorStore(Words()).as_retriever(), "corpus='…'"),
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
def test_what_cannot_be_told_is_said_at_once(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        CachedRetriever(make(), Cache(MemoryStore()))


class Nameless(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]: ...
    def embed_query(self, text: str) -> list[float]: ...


def test_wrong_arguments_are_said_at_once() -> None:
    store, corpus = library()
    retriever = store.as_retriever()
    with pytest.raises(ConfigError, match="empty_ttl"):
        CachedRetriever(retriever, corpus=corpus, empty_ttl=-1)
    with pytest.raises(ConfigError, match="a corpus has a store"):
        CachedRetriever(retriever, "sqlite:///x.db", corpus=corpus)
    with pytest.raises(ConfigError, match="vector store"):
        watch(retriever, corpus)


# -- changes -------------------------------------------------------------------------------------------------------


def test_only_what_a_change_concerns_is_made_anew(words: list[str]) -> None:
    store, corpus = library()
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)

    def asked(*queries: str) -> list[str]:
        words.clear()
        for query in queries:
            retriever.invoke(query)
        return list(words)

    both = ("barks", "works")
    assert asked(*both, *both) == ["barks", "works"]
    store.delete(["dog"])
    assert asked(*both) == ["barks"]
    store.add_documents(animals(cow="the cow barks"))
    assert asked(*both) == ["barks", "works"]
    assert found(retriever.invoke("barks")) == ["cow"]
    store.add_texts(["barks"], ids=["ant"])
    assert asked(*both) == ["barks", "works"]
    assert found(retriever.invoke("barks")) == ["ant"]
    corpus.changed(["ant"])
    assert asked(*both) == ["barks"] + (["works"] if found(retriever.invoke("works")) == ["ant"] else [])
    store.delete()
    assert asked(*both) == ["barks", "works"]


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("a cached one", "multi-vector")])
async def test_no_retriever_serves_what_is_outdated(kind: str) -> None:
    store, corpus = library()
    inner = KINDS[kind](store)
    retriever = CachedRetriever(inner, corpus=corpus)
    queries = ["flies at night", "barks at the cat", "all day"]
    for step, name in enumerate(["bat", "dog", "owl", "cat"]):
        await retriever.abatch(queries)
        if step % 2:
            store.delete([name])
        else:
            await store.adelete([name])
        assert retriever.batch(queries) == inner.batch(queries)
        await store.aadd_documents(animals(**{f"{name}{step}": ANIMALS[name] + " at night"}))
        assert await retriever.abatch(queries) == inner.batch(queries)


def test_a_document_that_was_weighed_and_not_returned_counts_where_it_matters() -> None:
    store, corpus = library()
    mmr = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 3, "lambda_mult": 0.1})
    retriever = CachedRetriever(mmr, corpus=corpus)
    before = found(retriever.invoke("flies at night"))
    for name in [name for name in ANIMALS if name not in before]:
        store.delete([name])
        assert retriever.invoke("flies at night") == mmr.invoke("flies at night")


@pytest.mark.parametrize(("nearest", "calls"), [(None, 2), (True, 1)])
def test_of_a_retriever_of_ones_own_it_can_be_said_that_it_finds_the_nearest(
    nearest: bool | None, calls: int
) -> None:
    inner = Fixed(documents=animals())
    corpus = Corpus(Cache(MemoryStore()))
    retriever = CachedRetriever(inner, corpus=corpus, name="fixed", nearest=nearest)
    retriever.invoke("a")
    corpus.changed(["none of them"])
    retriever.invoke("a")
    assert inner._asked == calls
    corpus.changed(["dog"])
    retriever.invoke("a")
    assert inner._asked == calls + 1


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_indexing_api_tells_of_what_it_writes_and_deletes(asynchronous: bool) -> None:
    corpus = Corpus(Cache(MemoryStore()), name="animals")
    store = watch(InMemoryVectorStore(Words()), corpus)
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
    records = InMemoryRecordManager("animals")
    records.create_schema()

    async def write(cleanup: str, **texts: str) -> dict[str, int]:
        await asyncio.sleep(0.001)  # the record keeper tells runs apart by their time
        documents = [Document(text, metadata={"source": name}) for name, text in texts.items()]
        options: Any = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "sha256"}
        if asynchronous:
            return dict(await aindex(documents, records, store, **options))  # type: ignore[call-overload]
        return dict(index(documents, records, store, **options))

    def asks(query: str) -> tuple[str, ...]:
        documents = retriever.invoke(query)
        assert documents == retriever.retriever.invoke(query)
        return tuple(one.page_content for one in documents)

    assert asks("cat") == ()
    assert (await write("incremental", cat="the cat sleeps", dog="the dog barks"))["num_added"] == 2
    assert asks("cat") == ("the cat sleeps",)
    assert (await write("incremental", cat="the cat barks"))["num_deleted"] == 1
    assert asks("cat") == ("the cat barks",)
    position = corpus.cache.position(corpus.log)
    assert (await write("incremental", cat="the cat barks"))["num_skipped"] == 1
    assert corpus.cache.position(corpus.log) == position
    assert (await write("full", dog="the dog barks"))["num_deleted"] == 1
    assert asks("cat") == ("the dog barks",)


def test_a_watched_store_is_the_store_and_each_write_is_told_once() -> None:
    corpus = Corpus(Cache(MemoryStore()))
    plain = InMemoryVectorStore(Words())
    store = watch(plain, corpus)
    assert isinstance(store, InMemoryVectorStore)
    assert store.__class__ is InMemoryVectorStore
    assert watch(store, corpus) is store
    before = corpus.cache.position(corpus.log) or 0
    store.add_texts(["the cat"])
    assert corpus.cache.position(corpus.log) == before + 1
    assert found(plain.similarity_search("cat")) == found(store.similarity_search("cat")) != []
    with pytest.raises(ValueError, match="same length"):
        store.add_documents(animals(), ids=["one"])
    assert corpus.cache.position(corpus.log) == before + 3  # some of them may be there
    store.delete(["one", "two"])
    assert corpus.cache.position(corpus.log) == before + 4
    store.add_documents([Document("x", id=str(number)) for number in range(2500)])
    assert corpus.cache.position(corpus.log) == before + 8


class Shop(InMemoryVectorStore):
    """A store with methods of its own, and some that only the asynchronous side has."""

    def update_document(self, document_id: str, document: Document) -> None:
        super().add_documents([document], ids=[document_id])

    async def aupsert(self, items: list[Document]) -> None:
        await self.aadd_documents(items)

    def drop(self) -> None:
        self.store.clear()


async def test_all_that_changes_documents_is_told_of() -> None:
    corpus = Corpus(Cache(MemoryStore()), name="animals")
    store = watch(Shop(Words()), corpus)
    await store.aadd_texts(["the dog barks"], ids=["dog"])
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)

    def text() -> str:
        assert retriever.invoke("barks") == store.as_retriever(search_kwargs={"k": 1}).invoke("barks")
        return text_of(retriever.invoke("barks"))

    assert text() == "the dog barks"
    store.update_document("dog", Document("the dog sleeps"))
    assert text() == "the dog sleeps"
    await store.aupsert([Document("barks")])
    assert text() == "barks"
    await store.adelete(["dog"])
    store.drop()
    assert text() == ""


class Gated(InMemoryVectorStore):
    """A search can be stopped after it has looked, a write before it is done."""

    looked: threading.Event | None = None
    go_on: threading.Event

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        documents = super().similarity_search(query, k, **kwargs)
        if self.looked is not None:
            self.looked.set()
            self.go_on.wait(10)
        return documents


def test_a_search_that_was_under_way_during_a_write_is_not_served() -> None:
    corpus = Corpus(Cache(MemoryStore()), name="animals")
    store = watch(Gated(Words()), corpus)
    store.add_documents(animals(dog="the dog barks"))
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
    store.looked, store.go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(retriever.invoke, "barks")
        store.looked.wait(10)
        store.looked = None
        store.add_documents(animals(cow="barks barks barks"))
        late = threads.submit(retriever.invoke, "barks")  # waits for the slow one, which is outdated
        store.go_on.set()
        assert found(slow.result()) == ["dog"]
        assert found(late.result()) == ["cow"]
    assert found(retriever.invoke("barks")) == ["cow"]


def write_a_dog(url: str) -> None:
    corpus = Corpus(url, name="animals")
    watch(InMemoryVectorStore(Words()), corpus).add_documents(animals(dog="the dog barks"))


def test_what_another_process_wrote_is_seen_at_the_next_retrieval(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    store, corpus = library(url)
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    retriever.invoke("barks")
    store.store["dog"]["text"] = "changed"  # as it would be in a store that processes share
    assert "changed" not in str(retriever.invoke("barks"))
    process = multiprocessing.get_context("spawn").Process(target=write_a_dog, args=(url,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert "changed" in str(retriever.invoke("barks"))


# -- faults --------------------------------------------------------------------------------------------------------


class Failing(MemoryStore):
    down = False

    def get(self, *args: Any) -> Any:
        return self._or_fail(super().get, *args)

    def put(self, *args: Any) -> Any:
        return self._or_fail(super().put, *args)

    def log_read(self, *args: Any) -> Any:
        return self._or_fail(super().log_read, *args)

    def log_append(self, *args: Any) -> Any:
        return self._or_fail(super().log_append, *args)

    def _or_fail(self, method: Any, *args: Any) -> Any:
        if self.down:
            raise StoreError("down")
        return method(*args)


async def test_without_the_store_documents_are_retrieved_all_the_same(words: list[str]) -> None:
    broken = Failing()
    store, corpus = library(Cache(broken))
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    expected = retriever.invoke("barks")
    broken.down = True
    assert retriever.invoke("barks") == await retriever.ainvoke("barks") == expected
    with pytest.raises(StoreError):  # or else what is outdated would be served later
        store.add_documents(animals(cow="a cow barks"))
    assert "cow" in found(retriever.invoke("barks"))


def test_what_is_corrupt_is_looked_for_anew() -> None:
    store, corpus = library()
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    expected = retriever.invoke("barks")
    cache = corpus.cache
    for spoil in (lambda value: value[:-3], lambda value: b"", lambda value: b"\xff" * 40):
        ((key, value),) = cache.store.scan(cache.namespace)
        cache.store.put(cache.namespace, [Record(key, spoil(value))])
        assert retriever.invoke("barks") == retriever.invoke("barks") == expected


def test_a_retriever_that_fails_is_asked_again() -> None:
    inner = Fixed(documents=[Document("x")])
    retriever = CachedRetriever(inner, Cache(MemoryStore()), name="fixed")
    failing.add("a")
    with pytest.raises(RuntimeError, match="index down"):
        retriever.invoke("a")
    failing.clear()
    assert retriever.invoke("a") == [Document("x")]
    with cache_options(bypass=True):
        retriever.invoke("a")
    assert inner._asked == 3


# -- answers know their sources ------------------------------------------------------------------------------------


PROMPT = ChatPromptTemplate.from_template("Answer from {context}: {question}")


def text_of(documents: list[Document]) -> str:
    return " ".join(one.page_content for one in documents)


class Assistant:
    """Retrieves and answers in many ways, through one cache."""

    def __init__(self, url: str, model: Any) -> None:
        self.cache = Cache(url)
        self.store, self.corpus = library(self.cache)
        self.retriever = CachedRetriever(self.store.as_retriever(search_kwargs={"k": 1}), corpus=self.corpus)
        self.model = model(self.cache)
        inputs = RunnableParallel(context=self.retriever | text_of, question=RunnablePassthrough())
        self.chain = inputs | PROMPT | self.model

    def in_a_chain(self, query: str) -> Any:
        return self.chain.invoke(query)

    async def in_an_awaited_chain(self, query: str) -> Any:
        return await self.chain.ainvoke(query)

    def in_a_streamed_chain(self, query: str) -> Any:
        total = None
        for chunk in self.chain.stream(query):
            total = chunk if total is None else total + chunk
        return total

    def in_a_batch(self, query: str) -> Any:
        return self.chain.batch([query, "all day"])[0]

    async def in_an_awaited_batch(self, query: str) -> Any:
        return (await self.chain.abatch([query, "all day"]))[0]

    def in_a_function(self, query: str) -> Any:
        return self.model.invoke(f"{text_of(self.retriever.invoke(query))} {query}")

    async def in_an_async_function(self, query: str) -> Any:
        documents = await self.retriever.ainvoke(query)
        return await self.model.ainvoke(f"{text_of(documents)} {query}")

    def by_a_batch_of_retrievals(self, query: str) -> Any:
        documents = self.retriever.batch([query, query.upper()])[0]
        return self.model.invoke(f"{text_of(documents)} {query}")

    async def by_an_awaited_batch_of_retrievals(self, query: str) -> Any:
        documents = (await self.retriever.abatch([query, query.upper()]))[0]
        return await self.model.ainvoke(f"{text_of(documents)} {query}")

    def by_two_chains(self, query: str) -> Any:
        context = (RunnablePassthrough() | self.retriever | text_of).invoke(query)
        return (PROMPT | self.model).invoke({"context": context, "question": query})

    def with_a_thread_of_its_own(self, query: str) -> Any:
        def retrieve(query: str) -> str:
            with ThreadPoolExecutor(1) as threads:
                return text_of(
                    threads.submit(contextvars.copy_context().run, self.retriever.invoke, query).result()
                )

        return (
            {"context": RunnableLambda(retrieve), "question": RunnablePassthrough()} | PROMPT | self.model
        ).invoke(query)

    def _agent(self, query: str) -> tuple[Any, dict[str, Any]]:
        @tool
        def search(city: str) -> str:
            """Search."""
            return text_of(self.retriever.invoke(query))

        return create_agent(self.model, [search]), {"messages": [("user", query)]}

    def by_an_agent(self, query: str) -> Any:
        agent, asked = self._agent(query)
        return agent.invoke(asked)["messages"][-1]

    async def by_an_awaited_agent(self, query: str) -> Any:
        agent, asked = self._agent(query)
        return (await agent.ainvoke(asked))["messages"][-1]


WAYS = [name for name in vars(Assistant) if name.startswith(("in_", "by_", "with_"))]


@pytest.fixture(params=["set_llm_cache", "cached"])
def assistant(request: pytest.FixtureRequest, openai: Callable[..., Any], tmp_path: Path) -> Iterator[Assistant]:
    def model(cache: Cache) -> Any:
        if request.param == "cached":
            return cached(openai(), cache)
        set_llm_cache(AskOnceCache(cache))
        return openai()

    made = Assistant(f"sqlite:///{tmp_path / 'cache.db'}", model)
    yield made
    made.cache.close()


@pytest.mark.parametrize("way", WAYS)
async def test_answers_know_what_they_were_made_from_and_fall_with_it(assistant: Assistant, way: str) -> None:
    if way == "in_a_streamed_chain" and not hasattr(type(assistant.model), "_askonce_cache"):
        pytest.skip("LangChain asks no cache when it streams")

    async def ask() -> Any:
        """In a context of its own, as each request to a server has."""
        answer = contextvars.Context().run(getattr(assistant, way), "who barks")
        if asyncio.iscoroutine(answer):
            answer = await asyncio.create_task(answer, context=contextvars.Context())
        return answer

    first = await ask()
    again = await ask()
    assert again.content == first.content
    assert "askonce" not in first.response_metadata
    assert "dog" in again.response_metadata["askonce"]["sources"]
    if way != "in_a_batch":
        assert again.response_metadata["askonce"]["sources"] == ["dog"]
    assistant.corpus.changed(["owl"])
    assert "askonce" in (await ask()).response_metadata
    assistant.corpus.changed(["dog"])
    changed = await ask()
    assert "askonce" not in changed.response_metadata
    assert (await ask()).content == changed.content != first.content
    assert assistant.cache.invalidate("doc:dog") >= 2  # a retrieval and an answer
    assert "askonce" not in (await ask()).response_metadata
    assert "askonce" in (await ask()).response_metadata


def test_questions_that_follow_one_another_keep_their_sources_apart(assistant: Assistant) -> None:
    for _ in range(2):
        answers = [
            assistant.in_a_chain("who barks"),
            assistant.in_a_function("works"),
            assistant.by_two_chains("owl"),
        ]
    assert [one.response_metadata["askonce"]["sources"] for one in answers] == [["dog"], ["ant"], ["owl"]]


async def test_a_vector_is_made_from_its_text_alone(words: list[str]) -> None:
    store, corpus = library()
    embeddings = CachedEmbeddings(Words(), corpus.cache)
    CachedRetriever(store.as_retriever(), corpus=corpus).invoke("barks")
    embeddings.embed_query("barks")
    words.clear()
    corpus.changed(ANIMALS)
    await embeddings.aembed_query("barks")
    assert not words


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
