"""Indexed questions by vectors that the store's server stores and searches, for more than fit into a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import cast

import numpy as np

from askonce.concurrency.drivers import SyncDriver
from askonce.errors import ConfigError
from askonce.estimators.float16 import Vector, from_bytes
from askonce.semantic.entries import QuestionEntries
from askonce.semantic.types import IndexedQuery, Neighbour, vector_partition
from askonce.stores.base import VectorSearch
from askonce.stores.circuit_breaker import CircuitBreaker


class ServerIndex:
    """Finds indexed questions on the server, in two round trips: the nearest keys, and then their entries.

    The server stores vectors and keys alone; the texts are in the entries, sealed as these are. What one process
    adds, all others find at once. The vector of an entry that expired or was evicted is deleted by the next search
    that finds it.

    Args:
        breaker: the store's.
        embedder: identifies the embeddings; vectors of others are never found.
        entries: of the questions.

    Raises:
        ConfigError: the store's server cannot search.
    """

    def __init__(self, breaker: CircuitBreaker, embedder: str, entries: QuestionEntries) -> None:
        if not isinstance(breaker.store, VectorSearch):
            raise ConfigError(
                f"{breaker.store.url} has no vector search; use Redis 8, or Semantic(search='process')"
            )
        self._breaker, self._store = breaker, cast(VectorSearch, breaker.store)
        self._embedder = embedder
        self._entries = entries

    def check(self) -> None:
        """Check that the server can search.

        Raises:
            ConfigError: it is of a kind or version that cannot.
            StoreUnavailable: it is down now.
        """
        self._store.vector_check()

    def add(self, query: IndexedQuery, vector: Vector) -> None:
        """Add a question, in the place of one with the same key, whose entry is in the store.

        Args:
            query: the question.
            vector: float32, of the shape (dimensions,) and of unit length.

        Raises:
            StoreDown: the store failed.
        """
        put, place = self._store.vector_put, self._place(query.partition)
        self._breaker.call(put, query.namespace, place, query.key, _bytes(vector), query.expires_at)

    def remove(self, queries: Iterable[IndexedQuery]) -> None:
        """Remove questions.

        Raises:
            StoreDown: the store failed.
        """
        keys: dict[tuple[str, bytes], list[bytes]] = {}
        for one in queries:
            keys.setdefault((one.namespace, one.partition), []).append(one.key)
        for (namespace, partition), of_partition in keys.items():
            self._breaker.call(self._store.vector_delete, namespace, self._place(partition), of_partition)

    async def search(
        self, driver: SyncDriver, namespace: str, partition: bytes, vector: Vector, k: int = 10
    ) -> list[Neighbour]:
        """The questions of a partition that are nearest to a vector, best first.

        Their ``aliases`` count those among them alone. Similarities are exact to the 16 bits of a stored vector.

        Args:
            driver: of the caller.
            namespace: where the entries are.
            partition: which.
            vector: as in `add`.
            k: how many at most; fewer are returned when entries no longer exist.

        Raises:
            StoreDown: the store failed.
        """
        place = self._place(partition)
        found = await driver.call("vector_search", namespace, place, _bytes(vector), k)
        if not found:
            return []
        keys = [key for key, _ in found]
        rows = await driver.call("get_many", namespace, keys)
        missing = [key for key, data in zip(keys, rows, strict=True) if data is None]
        if missing:
            await driver.call("vector_delete", namespace, place, missing)
        near: list[tuple[float, IndexedQuery]] = []
        for key, data in zip(keys, rows, strict=True):
            entry = None if data is None else self._entries.usable(namespace, key, data)
            if entry is None or entry.semantic is None or entry.semantic.partition != partition:
                continue
            semantic = entry.semantic
            query = IndexedQuery(
                key, semantic.answer or key, namespace, partition, semantic.text, entry.fresh_until
            )
            near.append((float(from_bytes(semantic.vector) @ vector), query))
        near.sort(key=lambda row: -row[0])
        aliases = Counter(query.answer for _, query in near)
        return [Neighbour(query, max(-1.0, min(1.0, cosine)), aliases[query.answer]) for cosine, query in near]

    def _place(self, partition: bytes) -> bytes:
        return vector_partition(self._embedder, partition)


def _bytes(vector: Vector) -> bytes:
    return vector.astype(np.dtype("<f4")).tobytes()
