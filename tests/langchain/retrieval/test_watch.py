"""Changes of documents are seen, and only what they concern is looked for anew."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers import ParentDocumentRetriever
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import CharacterTextSplitter

from askonce import Cache, ConfigError, Corpus
from askonce.langchain import CachedRetriever, watch
from askonce.stores.memory import MemoryStore
from tests.langchain.retrieval.library import ANIMALS, KINDS, Fixed, Words, animals, found, library, text_of
from tests.support.change_log import changes_of, shown


def test_only_what_a_change_concerns_is_made_anew(words: list[str]) -> None:
    store, corpus = library()
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)

    def embedded(*queries: str) -> list[str]:
        words.clear()
        for query in queries:
            retriever.invoke(query)
        return list(words)

    both = ("barks", "works")
    assert embedded(*both, *both) == ["barks", "works"]
    store.delete(["dog"])
    assert embedded(*both) == ["barks"]
    store.add_documents(animals(cow="the cow barks"))
    assert embedded(*both) == ["barks", "works"]
    assert found(retriever.invoke("barks")) == ["cow"]
    store.add_texts(["barks"], ids=["ant"])
    assert embedded(*both) == ["barks", "works"]
    assert found(retriever.invoke("barks")) == ["ant"]
    corpus.changed(["ant"])
    assert embedded(*both) == ["barks"] + (["works"] if found(retriever.invoke("works")) == ["ant"] else [])
    store.delete()
    assert embedded(*both) == ["barks", "works"]


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
def test_a_retriever_of_ones_own_can_be_declared_to_find_the_nearest(nearest: bool | None, calls: int) -> None:
    inner = Fixed(documents=animals())
    corpus = Corpus(Cache(MemoryStore()))
    retriever = CachedRetriever(inner, corpus=corpus, name="fixed", nearest=nearest)
    retriever.invoke("a")
    corpus.changed(["none of them"])
    retriever.invoke("a")
    assert inner._calls == calls
    corpus.changed(["dog"])
    retriever.invoke("a")
    assert inner._calls == calls + 1


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_indexing_api_reports_what_it_writes_and_deletes(asynchronous: bool) -> None:
    corpus = Corpus(Cache(MemoryStore()), name="animals")
    store = watch(InMemoryVectorStore(Words()), corpus)
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
    records = InMemoryRecordManager("animals")
    records.create_schema()

    async def write(cleanup: str, **texts: str) -> dict[str, int]:
        await asyncio.sleep(0.001)  # the record manager distinguishes runs by their time
        documents = [Document(text, metadata={"source": name}) for name, text in texts.items()]
        options: Any = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "sha256"}
        if asynchronous:
            return dict(await aindex(documents, records, store, **options))  # type: ignore[call-overload]
        return dict(index(documents, records, store, **options))

    def contents(query: str) -> tuple[str, ...]:
        documents = retriever.invoke(query)
        assert documents == retriever.retriever.invoke(query)
        return tuple(one.page_content for one in documents)

    assert contents("cat") == ()
    assert (await write("incremental", cat="the cat sleeps", dog="the dog barks"))["num_added"] == 2
    assert contents("cat") == ("the cat sleeps",)
    assert (await write("incremental", cat="the cat barks"))["num_deleted"] == 1
    assert contents("cat") == ("the cat barks",)
    position = corpus.cache.engine.position(corpus.log)
    assert (await write("incremental", cat="the cat barks"))["num_skipped"] == 1
    assert corpus.cache.engine.position(corpus.log) == position
    assert (await write("full", dog="the dog barks"))["num_deleted"] == 1
    assert contents("cat") == ("the dog barks",)


def test_a_watched_store_is_the_store_and_each_write_is_reported_once() -> None:
    corpus = Corpus(Cache(MemoryStore()))
    plain = InMemoryVectorStore(Words())
    store = watch(plain, corpus)
    assert isinstance(store, InMemoryVectorStore)
    assert store.__class__ is InMemoryVectorStore
    assert watch(store, corpus) is store
    seen = 0

    def log() -> list[str]:
        nonlocal seen
        new = [shown(one) for one in changes_of(corpus)[seen:]]
        seen += len(new)
        return new

    store.add_texts(["the cat"])
    assert log() == ["[", "+]"]
    assert found(plain.similarity_search("cat")) == found(store.similarity_search("cat")) != []
    with pytest.raises(ValueError, match="same length"):
        store.add_documents(animals(), ids=["one"])
    assert log() == ["[one", "one+]"]  # some of them may be there
    store.delete(["one", "two"])
    assert log() == ["[one,two", "one,two]"]
    store.add_documents([Document("x", id=str(number)) for number in range(2500)])
    assert [one[:1] + one[-1:] for one in log()] == ["[9", "19", "29", "09", "19", "2]"]


class Shop(InMemoryVectorStore):
    """A store with methods of its own, and some that only the asynchronous side has."""

    def update_document(self, document_id: str, document: Document) -> None:
        super().add_documents([document], ids=[document_id])

    async def aupsert(self, items: list[Document]) -> None:
        await self.aadd_documents(items)

    def drop(self) -> None:
        self.store.clear()


async def test_all_that_changes_documents_is_reported() -> None:
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


class Interrupted(InMemoryStore):
    """Somebody searches just before documents are written."""

    before_write: Callable[[], Any] | None = None

    def mset(self, pairs: Any) -> None:
        if self.before_write is not None:
            self.before_write()
        super().mset(pairs)


class Parents:
    """Documents that are found by their parts."""

    def __init__(self) -> None:
        self.corpus = Corpus(Cache(MemoryStore()), name="animals")
        self.store = Interrupted()
        inner = ParentDocumentRetriever(
            vectorstore=InMemoryVectorStore(Words()), docstore=self.store, child_splitter=CharacterTextSplitter()
        )
        self.inner = watch(inner, self.corpus)
        self.retriever = CachedRetriever(self.inner, corpus=self.corpus, name="parents")

    def find(self) -> list[str]:
        found = sorted(one.page_content for one in self.retriever.invoke("barks"))
        assert found == sorted(one.page_content for one in self.inner.invoke("barks"))
        return found


def test_a_document_whose_parts_are_written_one_after_the_other_is_found() -> None:
    parents = Parents()
    parents.inner.add_documents([Document("a dog barks")])
    parents.store.before_write = lambda: parents.retriever.invoke("barks")
    parents.inner.add_documents([Document("a cow barks")])
    assert parents.find() == ["a cow barks", "a dog barks"]


async def test_what_is_written_to_the_stores_of_a_retriever_is_seen() -> None:
    parents = Parents()
    parents.inner.add_documents(animals(dog="the dog barks", cow="the cow barks"), ids=["1", "2"])
    assert parents.find() == ["the cow barks", "the dog barks"]
    parents.inner.docstore.mset([("1", Document("the dog barks no more"))])
    assert parents.find() == ["the cow barks", "the dog barks no more"]
    await parents.inner.docstore.amdelete(["2"])
    assert parents.find() == ["the dog barks no more"]
    parents.inner.vectorstore.delete(list(parents.inner.vectorstore.store))
    assert parents.find() == []
    ids = [one.ids for one in changes_of(parents.corpus)]
    assert ("2", "cow") in ids  # by its key, and by its own id


class Notes:
    """Writes documents in ways of its own."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def ingest(self, rows: dict[str, str]) -> None:
        self.rows.update(rows)

    async def aput_row(self, id: str, text: str) -> None:
        self.rows[id] = text

    def rows_of(self, id: str) -> str:
        return self.rows[id]


async def test_anything_with_methods_that_write_is_watched() -> None:
    corpus = Corpus(Cache(MemoryStore()))
    notes = watch(Notes(), corpus)
    notes.ingest({"a": "x"})
    await notes.aput_row("a", "y")
    assert notes.rows_of("a") == "y"
    assert [shown(one) for one in changes_of(corpus)] == ["[*", "*+]", "[a", "a+]"]


class Gated(InMemoryVectorStore):
    """A search can be stopped after it has looked, a write before it is done."""

    looked: threading.Event | None = None
    go_on: threading.Event

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        documents = super().similarity_search(query, k, **kwargs)
        if self.looked is not None:
            self.looked.set()
            self.go_on.wait(60)
        return documents


def test_a_search_that_was_under_way_during_a_write_is_not_served() -> None:
    corpus = Corpus(Cache(MemoryStore()), name="animals")
    store = watch(Gated(Words()), corpus)
    store.add_documents(animals(dog="the dog barks"))
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
    store.looked, store.go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(retriever.invoke, "barks")
        store.looked.wait(60)
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


def serve(store: InMemoryVectorStore, retriever: CachedRetriever, worker: int, turns: Any, seen: Any) -> None:
    """Write an animal of the worker's own, and search when all others did so, one after the other."""
    store.add_documents(animals(**{f"worker{worker}": "barks barks"}))
    turns.wait(10)
    for one in range(3):
        if one == worker:
            seen.put((found(retriever.invoke("barks")), found(store.as_retriever().invoke("barks"))))
        turns.wait(10)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_workers_serve_what_is_in_their_own_memory(tmp_path: Path) -> None:
    store, corpus = library(f"sqlite:///{tmp_path / 'cache.db'}")
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    fork = multiprocessing.get_context("fork")
    turns, seen = fork.Barrier(3), fork.Queue()
    workers = [fork.Process(target=serve, args=(store, retriever, number, turns, seen)) for number in (1, 2)]
    for one in workers:
        one.start()
    serve(store, retriever, 0, turns, seen)
    results = [seen.get(timeout=30) for _ in range(3)]
    for one in workers:
        one.join()
    assert [served for served, _ in results] == [searched for _, searched in results]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_workers_share_what_none_of_them_changed(tmp_path: Path) -> None:
    store, corpus = library(f"sqlite:///{tmp_path / 'cache.db'}")
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
    retriever.invoke("barks")
    fork = multiprocessing.get_context("fork")
    hits = fork.Queue()
    worker = fork.Process(target=lambda: (retriever.invoke("barks"), hits.put(retriever.cache.stats().hits)))
    worker.start()
    assert hits.get(timeout=30) == 1
    worker.join()


@pytest.mark.parametrize("given", ["animals", Cache("memory://"), None])
def test_watch_takes_a_corpus_only(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"watch takes a corpus.*Corpus\(store, name="):
        watch(InMemoryVectorStore(Words()), given)
