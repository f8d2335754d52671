"""The text of a document is stored once for all questions that find it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymongo
import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr
from pymongo.monitoring import CommandListener

from askonce import Cache, Corpus, cache_options
from askonce.langchain import CachedRetriever
from askonce.stores.base import Claimed
from askonce.stores.memory import MemoryStore
from askonce.stores.redis import connect
from askonce.testing import FakeClock
from tests.support import servers


def text(number: int) -> str:
    return f"document {number} " + random.Random(number).randbytes(1000).hex()


class Library(BaseRetriever):
    """Finds the documents whose numbers a question names."""

    _queries: list[str] = PrivateAttr(default_factory=list)
    _deleted: set[str] = PrivateAttr(default_factory=set)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        self._queries.append(query)
        numbers = [one for one in query.split() if one.isdigit() and one not in self._deleted]
        return [Document(text(int(one)), id=one, metadata={"page": int(one)}) for one in numbers]


class Desk:
    """Answers questions through one cache; counts searches."""

    def __init__(self, store: Any, **settings: Any) -> None:
        self.cache = Cache(store, **settings)
        self.corpus = Corpus(self.cache, name="library")
        self.library = Library()
        self.retriever = CachedRetriever(self.library, corpus=self.corpus, name="library", nearest=True)

    def searches(self, question: str) -> int:
        """How many searches a question takes now; what is found is right."""
        before = len(self.library._queries)
        found = self.retriever.invoke(question)
        after = len(self.library._queries)
        assert found == self.library.invoke(question)
        self.library._queries.pop()
        return after - before

    def stored(self) -> str:
        """All that lies readable in the store."""
        return " ".join(
            str(self.cache.engine.codec.decode(value, bound_to=key + namespace.encode()).payload)
            for namespace in ("default", "default:ann", "default:bob")
            for key, value in self.cache.store.scan(namespace)
        )


@pytest.fixture
def desk(clock: FakeClock) -> Iterator[Desk]:
    one = Desk(MemoryStore(clock=clock), clock=clock)
    yield one
    one.cache.close()


@pytest.fixture(params=["sqlite", "redis-8.2", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/cache.db" if request.param == "sqlite" else servers.start(request.param).url


def test_a_documents_text_is_stored_once(desk: Desk) -> None:
    for number in range(10):
        assert desk.searches(f"question {number}x 1 2") == 1
        assert desk.searches(f"question {number}x 1 2") == 0
    assert desk.cache.stats().size_bytes is not None
    assert desk.cache.stats().size_bytes < 3 * len(text(1) + text(2)) / 2  # type: ignore[operator]
    assert desk.stored().count(text(1)) == 1


def test_a_short_document_stays_in_its_result(desk: Desk) -> None:
    documents = [Document("short", id="a"), Document(text(1), id="b")]
    object.__setattr__(desk.library, "_get_relevant_documents", lambda query, run_manager: documents)
    assert desk.retriever.invoke("q") == documents == desk.retriever.invoke("q")
    assert desk.cache.stats().entries == 2
    assert desk.cache.invalidate("doc:a") == 1
    desk.retriever.invoke("q")
    assert desk.cache.stats().misses == 2


def test_what_was_invalidated_stays_so_when_its_text_is_stored_again(desk: Desk) -> None:
    for question in ("first 1 2", "second 1 3", "third 3"):
        desk.searches(question)
    assert desk.cache.invalidate("doc:1") == 1
    assert text(1) not in desk.stored()
    assert desk.searches("first 1 2") == 1  # its text is there again
    assert text(1) in desk.stored()
    assert desk.searches("second 1 3") == 1
    assert desk.searches("third 3") == 0
    assert [desk.searches(question) for question in ("first 1 2", "second 1 3")] == [0, 0]


def test_the_text_of_a_deleted_document_goes(desk: Desk) -> None:
    desk.searches("first 1 2")
    desk.library._deleted.add("1")
    with desk.corpus.writing(["1"], added=False):
        pass
    assert text(1) not in desk.stored()
    assert text(2) in desk.stored()
    assert desk.searches("first 1 2") == 1
    desk.cache.clear()
    assert desk.stored() == ""


@pytest.mark.parametrize(
    "delete", [Cache.invalidate, lambda cache, tag: cache.erase(tag=tag)], ids=["tag", "erase"]
)
def test_the_text_goes_with_any_tag_of_what_refers_to_it(desk: Desk, delete: Any) -> None:
    with cache_options(tags=["first"]):
        desk.searches("question a 1")
    with cache_options(tags=["second"]):
        desk.searches("question b 1")
    assert text(1) in desk.stored()
    delete(desk.cache, "second")
    assert text(1) not in desk.stored()
    assert desk.searches("question a 1") == 1


def test_a_damaged_or_missing_text_makes_a_miss(desk: Desk) -> None:
    desk.searches("first 1 2")
    damaged = desk.cache.store
    [(key, value)] = [row for row in damaged.scan("default") if text(1).encode()[:40] in _payload(desk, *row)]
    damaged._spaces["default"].held[key].record = type(
        damaged._spaces["default"].held[key].record
    )(  # type: ignore[attr-defined]
        key, value[:-1] + bytes([value[-1] ^ 1])
    )
    assert desk.searches("first 1 2") == 1
    assert desk.cache.stats().corrupt == 1
    assert desk.searches("first 1 2") == 0
    damaged.delete("default", [key])
    assert desk.searches("first 1 2") == 1
    assert desk.searches("first 1 2") == 0


def _payload(desk: Desk, key: bytes, value: bytes) -> bytes:
    return desk.cache.engine.codec.decode(value, bound_to=key + b"default").payload


def test_a_text_lives_as_long_as_what_refers_to_it(clock: FakeClock) -> None:
    desk = Desk(MemoryStore(clock=clock), clock=clock, ttl=100)
    desk.searches("first 1")
    clock.advance(60)
    desk.searches("second 1")
    clock.advance(60)
    assert desk.searches("second 1") == 0
    assert desk.searches("first 1") == 1
    with cache_options(ttl=10_000):
        desk.searches("third 1")
    clock.advance(500)
    with cache_options(ttl=10_000):
        assert desk.searches("third 1") == 0
    clock.advance(20_000)
    assert desk.cache.stats().entries == 0
    desk.cache.close()


@pytest.mark.parametrize("eviction", ["gdsf", "lru", "lfu", "lec"])
def test_a_text_that_is_in_use_is_evicted_after_what_refers_to_it(clock: FakeClock, eviction: Any) -> None:
    desk = Desk(MemoryStore(clock=clock), clock=clock, max_entries=30, eviction=eviction, admission="always")
    desk.searches("often 1 2")
    misses = 0
    for number in range(100):
        clock.advance(1)
        misses += desk.searches("often 1 2")
        desk.searches(f"seldom {100 + 2 * number} {101 + 2 * number}")
        desk.cache.flush()
    assert misses == 0
    assert 25 < (desk.cache.stats().entries or 0) <= 30
    desk.cache.close()


def test_what_does_not_fit_with_its_texts_is_not_stored(clock: FakeClock) -> None:
    desk = Desk(MemoryStore(clock=clock), clock=clock, max_bytes=4000)
    assert [desk.searches("much 1 2 3 4"), desk.searches("much 1 2 3 4"), desk.searches("little 1")] == [1, 1, 1]
    assert desk.searches("little 1") == 0
    assert desk.cache.stats().not_stored_reasons == {"too large": 2}
    desk.cache.close()


def test_a_sealed_store_shows_neither_texts_nor_which_are_equal(clock: FakeClock) -> None:
    keys: dict[bytes, set[bytes]] = {}
    for encryption_key in (b"a" * 32, b"b" * 32):
        store = MemoryStore(clock=clock)
        desk = Desk(store, clock=clock, encryption_keys=[encryption_key], totals=False)
        for tenant in ("ann", "bob"):
            with cache_options(namespace=tenant):
                assert [desk.searches("first 1"), desk.searches("first 1")] == [1, 0]
        spaces = [one for one in store._spaces if len(list(store.scan(one))) == 2]  # an entry and its text
        rows = [row for name in spaces for row in store.scan(name)]
        assert len({key for key, _ in rows}) == len(rows) == 4  # tenants share none
        assert all(text(1).encode()[:30] not in value for _, value in rows)
        keys[encryption_key] = {key for key, _ in rows if len(key) == 16}
        desk.cache.close()
    assert len(keys[b"a" * 32]) == 2
    assert not keys[b"a" * 32] & keys[b"b" * 32]


def test_an_answer_in_progress_reaches_those_who_wait_for_it(clock: FakeClock) -> None:
    desk = Desk(MemoryStore())

    async def concurrently() -> list[list[Document]]:
        return await asyncio.gather(*(desk.retriever.ainvoke("first 1 2") for _ in range(5)))

    inner = Library._get_relevant_documents

    def slow(query: str, run_manager: Any) -> list[Document]:
        time.sleep(0.05)
        return inner(desk.library, query, run_manager=run_manager)

    object.__setattr__(desk.library, "_get_relevant_documents", slow)
    found = asyncio.run(concurrently())
    assert len(desk.library._queries) == 1
    assert all(one == found[0] for one in found)
    assert [one.page_content for one in found[0]] == [text(1), text(2)]
    assert asyncio.run(concurrently())[0] == found[0]
    assert len(desk.library._queries) == 1
    desk.cache.close()


class Commands(CommandListener):
    """Counts commands."""

    count = 0

    def started(self, event: Any) -> None:
        self.count += 1

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass


class FilledMeanwhile(MemoryStore):
    """At the first claim another request for the same waits, and then another process stores the result."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], object]] = []

    def claim(self, *args: Any) -> Claimed:
        while self.meanwhile:
            self.meanwhile.pop(0)()
        return super().claim(*args)


def test_those_who_wait_get_the_whole_of_what_another_process_stored(caplog: pytest.LogCaptureFixture) -> None:
    store = FilledMeanwhile()
    one, another = (Desk(store, timeout_seconds=30) for _ in "12")
    question = "which 1 2"
    with ThreadPoolExecutor(1) as threads, one.cache, another.cache:
        for desk in (one, another):
            desk.retriever.invoke("another question 3")  # begins the corpus's log
        waiting: list[Future[list[Document]]] = []
        store.meanwhile = [
            lambda: waiting.append(threads.submit(one.retriever.invoke, question)),
            lambda: time.sleep(0.3),  # it has looked up, and waits
            lambda: another.retriever.invoke(question),
        ]
        assert one.retriever.invoke(question) == waiting[0].result(30) == one.library.invoke(question)
    assert one.library._queries == ["another question 3", question]  # the second one just now
    assert one.cache.stats().hits == 2
    assert "cannot be read" not in caplog.text


def test_a_hit_takes_two_round_trips_at_most(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listener, sent = Commands(), []
    client: Any = None
    if url.startswith("mongodb"):
        client = pymongo.MongoClient(url, event_listeners=[listener])
    for name, method in (("exchange", connect.exchange), ("exchange_async", connect.exchange_async)):
        monkeypatch.setattr(connect, name, lambda *args, send=method: sent.append(args) or send(*args))
    monkeypatch.setattr(
        connect.Readers,
        "hget",
        lambda *args, send=connect.Readers.hget: sent.append(args) or send(*args),
    )
    desk = Desk(client or url, timeout_seconds=5, namespace=f"trips {time.time()}")
    question = "first " + " ".join(map(str, range(20)))
    desk.searches(question)
    desk.cache.flush()
    for hit in (lambda: desk.retriever.invoke(question), lambda: asyncio.run(desk.retriever.ainvoke(question))):
        hit()
        sent.clear()
        listener.count = 0
        hit()
        assert len(sent) <= 2
        assert listener.count <= 2
    assert len(desk.library._queries) == 1
    assert desk.cache.stats().hits == 4
    desk.cache.close()
    if client is not None:
        client.close()
