"""The entries of questions, as the semantic cache reads and replaces them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from askonce.entries.entry import Entry, Place
from askonce.stores.circuit_breaker import CircuitBreaker

_AT_ONCE = 100
"""How many entries are read in one round trip."""


class UsableEntries(Protocol):
    """Finds which entries can be used: `askonce.engine.lookup.Lookup`."""

    def usable(self, place: Place, data: bytes) -> Entry | None:
        """The entry in the bytes at a place, if it can be read and is fresh."""


class ReplaceableEntries(Protocol):
    """Replaces entries: `askonce.storage.entries.EntryStorage`."""

    def replace(self, place: Place, entry: Entry) -> int:
        """Store an entry in place of the one at its place; returns by how many bytes it is smaller."""


class QuestionEntries:
    """Entries whose questions were embedded by the cache's own embeddings; all others are skipped.

    Args:
        breaker: the store's.
        lookup: finds which entries can be used.
        storage: replaces entries.
        embedder: the identity of the embeddings.

    Raises, wherever the store is called:
        StoreDown: it failed.
    """

    def __init__(
        self, breaker: CircuitBreaker, lookup: UsableEntries, storage: ReplaceableEntries, embedder: str
    ) -> None:
        self._breaker, self._lookup, self._storage, self._embedder = breaker, lookup, storage, embedder

    def usable(self, namespace: str, key: bytes, data: bytes) -> Entry | None:
        """The entry in the bytes under a key, if it can be used now."""
        entry = self._lookup.usable(Place(namespace, key), data)
        if entry is None or entry.semantic is None or entry.semantic.embedder != self._embedder:
            return None
        return entry

    def get(self, namespace: str, key: bytes) -> Entry | None:
        """The entry under a key, if it can be used now."""
        data = self._breaker.call(self._breaker.store.get, namespace, key)
        return None if data is None else self.usable(namespace, key, data)

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        """Keys and the bytes under them; ``None`` where there is no entry."""
        for begin in range(0, len(keys), _AT_ONCE):
            some = keys[begin : begin + _AT_ONCE]
            yield from zip(some, self._breaker.call(self._breaker.store.get_many, namespace, some), strict=True)

    def scan(self, namespace: str) -> list[tuple[bytes, bytes]]:
        """All keys of a namespace and the bytes under them."""
        return self._breaker.call(lambda: list(self._breaker.store.scan(namespace)))

    def replace(self, namespace: str, key: bytes, entry: Entry) -> int:
        """Store an entry in place of the one under its key; returns by how many bytes it is smaller."""
        return self._storage.replace(Place(namespace, key), entry)
