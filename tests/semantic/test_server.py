"""Search among vectors on real servers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from askonce.concurrency.drivers import AsyncDriver, SyncDriver, run
from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, SemanticEntry
from askonce.errors import ConfigError, StoreUnavailable
from askonce.estimators.float16 import to_bytes
from askonce.semantic.index.server import ServerIndex
from askonce.semantic.types import IndexedQuery, Neighbour
from askonce.stores import Record, open_store
from askonce.stores.base import Store, VectorSearch
from askonce.stores.circuit_breaker import CircuitBreaker
from askonce.stores.memory import MemoryStore
from askonce.stores.redis import RedisStore
from tests.support import servers

PATIENT = 20.0
DIMENSIONS = 32
PARTITION = b"p" * 16
SEALED = Codec([b"k" * 32])


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)
    return vector / np.linalg.norm(vector)


def data(seed: int) -> bytes:
    return unit(seed).tobytes()


@pytest.fixture(params=["redis-8.2", "redis-cluster", "redis-sentinel"])
def store(request: pytest.FixtureRequest) -> Iterator[RedisStore]:
    if reason := servers.available(request.param):
        pytest.skip(reason)
    store = RedisStore(servers.start(request.param).url, timeout_seconds=PATIENT)
    yield store
    store.close()


@pytest.fixture
def namespace() -> str:
    return f"n{uuid.uuid4().hex}"


def nearest(seed: int, among: range) -> list[tuple[bytes, float]]:
    cosines = {number: float(unit(number) @ unit(seed)) for number in among}
    return [(b"%d" % number, cosines[number]) for number in sorted(cosines, key=lambda one: -cosines[one])[:5]]


def test_the_nearest_of_a_partition_are_found_with_their_cosines(store: RedisStore, namespace: str) -> None:
    assert isinstance(store, VectorSearch)
    store.vector_check()
    for number in range(100):
        store.vector_put(namespace, PARTITION, b"%d" % number, data(number))
        store.vector_put(namespace, bytes(16), b"other", data(number))
    found = store.vector_search(namespace, PARTITION, data(1000), 5)
    expected = nearest(1000, range(100))
    assert {key for key, _ in found[:3]} == {key for key, _ in expected[:3]}
    assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in expected], abs=0.01)
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    assert store.vector_search(namespace, b"absent", data(0), 5) == []
    store.vector_put(namespace, PARTITION, b"7", data(1000))  # in the place of what was there
    assert store.vector_search(namespace, PARTITION, data(1000), 1)[0][0] == b"7"
    assert store.vector_delete(namespace, PARTITION, [b"7", b"absent"]) == 1
    assert len(store.vector_search(namespace, PARTITION, data(1000), 200)) == 99
    assert store.vector_delete(namespace, PARTITION, [b"%d" % number for number in range(100)]) == 99
    assert store.vector_search(namespace, PARTITION, data(1000), 5) == []


def test_asynchronous_search_finds_the_same(store: RedisStore, namespace: str) -> None:
    async def use() -> None:
        await store.avector_check()
        await asyncio.gather(
            *(store.avector_put(namespace, PARTITION, b"%d" % number, data(number)) for number in range(20))
        )
        [(key, cosine)] = await store.avector_search(namespace, PARTITION, data(3), 1)
        assert key == b"3" and cosine == pytest.approx(1, abs=0.01)
        assert await store.avector_delete(namespace, PARTITION, [b"3"]) == 1
        await store.aclear(namespace)
        assert await store.avector_search(namespace, PARTITION, data(3), 1) == []
        await store.aclose()

    asyncio.run(use())


def test_clear_leaves_no_vectors_and_other_namespaces_theirs(
    store: RedisStore, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.stores.redis.plans.CLEARED", 3)
    for partition in range(20):
        for place in (namespace, namespace + "2"):
            store.vector_put(place, partition.to_bytes(16), b"k", data(0))
    store.clear(namespace)
    assert not any(store.vector_search(namespace, partition.to_bytes(16), data(0), 1) for partition in range(20))
    assert all(store.vector_search(namespace + "2", partition.to_bytes(16), data(0), 1) for partition in range(20))
    store.clear(namespace + "2")


def keys(store: RedisStore, namespace: str) -> set[bytes]:
    """What the server holds for a namespace."""
    client = store._server.connect()
    found = set(client.scan_iter(f"askonce:{{{namespace}.*"))
    client.close()
    return found


def test_expired_vectors_are_deleted_with_the_last_of_their_partition(store: RedisStore, namespace: str) -> None:
    now = time.time()
    store.vector_put(namespace, PARTITION, b"a", data(0), now + 1000)
    store.vector_put(namespace, PARTITION, b"b", data(1), now + 10)
    [name] = [key for key in keys(store, namespace) if key.endswith(PARTITION)]
    client = store._server.connect()
    assert 990 < client.ttl(name) <= 1002  # as long as the longest
    store.vector_put(namespace, PARTITION, b"c", data(2))
    assert client.ttl(name) == -1  # one of them never
    client.close()
    past = b"q" * 16
    store.vector_put(namespace, past, b"a", data(0), now - 100)
    assert store.vector_search(namespace, past, data(0), 1) == []
    store.vector_delete(namespace, PARTITION, [b"a", b"b", b"c"])
    for number in range(64):  # any put sweeps the names of its shard
        store.vector_put(namespace, number.to_bytes(16), b"a", data(0))
        store.vector_delete(namespace, number.to_bytes(16), [b"a"])
    assert keys(store, namespace) == set()


@pytest.mark.parametrize("server", ["redis-7.0", "valkey-9.1"])
def test_a_server_without_vector_sets_is_refused(server: servers.Name) -> None:
    if reason := servers.available(server):
        pytest.skip(reason)
    store = RedisStore(servers.start(server).url, timeout_seconds=PATIENT)
    with pytest.raises(ConfigError, match=r"has no vector sets, which came with Redis 8"):
        store.vector_check()
    with pytest.raises(ConfigError, match=r"has no vector sets, which came with Redis 8"):
        asyncio.run(_check(store))
    store.clear("namespace")  # is no matter of vectors there
    store.close()


async def _check(store: RedisStore) -> None:
    try:
        await store.avector_check()
    finally:
        await store.aclose()


def test_a_server_that_is_down_is_not_mistaken_for_one_without_vector_sets() -> None:
    with pytest.raises(StoreUnavailable):
        open_store("redis://127.0.0.1:1").vector_check()  # type: ignore[attr-defined]


# -- as an index -----------------------------------------------------------------------------------------------


class _Entries:
    def usable(self, namespace: str, key: bytes, data: bytes) -> Entry:
        return SEALED.decode(data, bound_to=key)


ENTRIES: Any = _Entries()


def add(index: ServerIndex, store: Store, namespace: str, number: int, answer: int | None = None) -> IndexedQuery:
    """A question whose entry is stored."""
    key = b"%d" % number
    pointer = b"" if answer is None else b"%d" % answer
    semantic = SemanticEntry(
        f"secret question {number}", PARTITION, to_bytes(unit(number)), "minilm", "yes", pointer
    )
    store.put(namespace, [Record(key, SEALED.encode(Entry(b"", 0.0, semantic=semantic), bound_to=key))])
    query = IndexedQuery(key, pointer or key, namespace, PARTITION, semantic.text)
    index.add(query, unit(number))
    return query


@pytest.mark.parametrize("asynchronous", [False, True])
def test_questions_are_found_while_their_entries_exist(
    store: RedisStore, namespace: str, asynchronous: bool
) -> None:
    guard = CircuitBreaker(store, PATIENT)
    index = ServerIndex(guard, "minilm", ENTRIES)
    other = ServerIndex(guard, "another model", ENTRIES)
    index.check()

    def search(index: ServerIndex, seed: int) -> list[Neighbour]:
        async def awaiting() -> list[Neighbour]:
            found = await index.search(AsyncDriver(guard), namespace, PARTITION, unit(seed), 10)
            await store.aclose()
            return found

        if asynchronous:
            return asyncio.run(awaiting())
        return run(index.search(SyncDriver(guard), namespace, PARTITION, unit(seed), 10))

    queries = [add(index, store, namespace, number, answer=0 if number in (1, 2) else None) for number in range(8)]
    found = search(index, 1)
    assert {one.query for one in found} == set(queries) and found[0].query == queries[1]
    assert [one.similarity for one in found] == pytest.approx(
        sorted((float(unit(1) @ unit(number)) for number in range(8)), reverse=True), abs=1e-3
    )
    assert {one.query.key: one.aliases for one in found} == {
        one.key: 3 if one.answer == b"0" else 1 for one in queries
    }
    assert search(other, 1) == []
    store.delete(namespace, [b"1", b"5"])
    assert {one.query.key for one in search(index, 1)} == {b"0", b"2", b"3", b"4", b"6", b"7"}
    index.remove([queries[2]])
    assert {one.query.key for one in search(index, 1)} == {b"0", b"3", b"4", b"6", b"7"}
    place = index._place(PARTITION)
    assert len(store.vector_search(namespace, place, data(1), 100)) == 5  # the vectors are gone as well
    client = store._server.connect()
    assert client.execute_command("VCARD", store._plans._vector_names(namespace, place)[0]) == 5
    client.close()


def test_a_store_without_vector_search_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory:// has no vector search; use Redis 8"):
        ServerIndex(CircuitBreaker(MemoryStore(), PATIENT), "minilm", ENTRIES)
