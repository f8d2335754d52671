"""The indexed questions, in an index of this process or on the server."""

from __future__ import annotations

import abc
import contextlib
from typing import Any

from askonce.concurrency.drivers import SyncDriver
from askonce.estimators.float16 import Vector
from askonce.semantic.index.index import Index
from askonce.semantic.index.server import ServerIndex
from askonce.semantic.index.shared import SharedQuestions
from askonce.semantic.types import IndexedQuery, Neighbour, Question
from askonce.stores.base import Clock
from askonce.stores.circuit_breaker import StoreDown

_NEIGHBOURS = 10


class QueryIndex(abc.ABC):
    """The operations on indexed questions."""

    @abc.abstractmethod
    async def nearest(
        self, driver: SyncDriver, namespace: str, question: Question, vector: Vector
    ) -> list[Neighbour]:
        """The indexed questions of the same partition that are nearest, best first."""

    @abc.abstractmethod
    def add(self, query: IndexedQuery, vector: Vector) -> None:
        """Add a question whose entry is in the store; it replaces one with the same key."""

    @abc.abstractmethod
    def discard(self, query: IndexedQuery) -> None:
        """Remove a question that its entry no longer answers."""

    @abc.abstractmethod
    def forget(self, namespace: str, key: bytes) -> None:
        """Remove what an entry that no longer exists answered."""

    @abc.abstractmethod
    def clear(self, namespace: str) -> None:
        """Remove all questions of a namespace."""

    @abc.abstractmethod
    def count(self) -> int | None:
        """How many are indexed; ``None`` if the server counts them."""


class LocalQueryIndex(QueryIndex):
    """Those in the index of this process; changes are published to other processes.

    Args:
        index: this process's.
        shared: publishes what is added and discarded.
        clock: seconds since the epoch.
    """

    def __init__(self, index: Index, shared: SharedQuestions, clock: Clock) -> None:
        self._index, self._shared, self._clock = index, shared, clock

    async def nearest(
        self, driver: SyncDriver, namespace: str, question: Question, vector: Vector
    ) -> list[Neighbour]:
        return self._index.search(question.partition, vector, _NEIGHBOURS, now=self._clock())

    def add(self, query: IndexedQuery, vector: Vector) -> None:
        self._index.add(query, vector)
        self._shared.announce(query.namespace, query.key)

    def discard(self, query: IndexedQuery) -> None:
        self._shared.discard(query.namespace, [query.key])

    def forget(self, namespace: str, key: bytes) -> None:
        self._shared.discard(namespace, [key])

    def clear(self, namespace: str) -> None:
        self._index.remove_namespace(namespace)
        self._shared.clear(namespace)

    def count(self) -> int | None:
        return len(self._index)


class ServerQueryIndex(QueryIndex):
    """Those on the server, shared by all processes.

    Args:
        server: searches.
    """

    def __init__(self, server: ServerIndex) -> None:
        self._server = server

    async def nearest(
        self, driver: SyncDriver, namespace: str, question: Question, vector: Vector
    ) -> list[Neighbour]:
        try:
            return await self._server.search(driver, namespace, question.partition, vector, _NEIGHBOURS)
        except StoreDown:
            return []

    def add(self, query: IndexedQuery, vector: Vector) -> None:
        self._server.add(query, vector)

    def discard(self, query: IndexedQuery) -> None:
        with contextlib.suppress(StoreDown):
            self._server.remove([query])

    def forget(self, *_: Any) -> None:
        """A search deletes the vector of an entry that no longer exists."""

    def clear(self, *_: Any) -> None:
        """The store's ``clear`` has deleted the vectors too."""

    def count(self) -> int | None:
        return None
