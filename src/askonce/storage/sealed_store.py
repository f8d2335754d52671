"""A store whose server or file does not see names and events: they are sealed with the application's keys.

A namespace and a tag become keyed digests, an event of the change log is encrypted; values are sealed already by
whoever made them. While several keys are listed, what was written under each is found: reads try them in turn,
deletions are done under all, events are appended under all and read under the first. So keys are rotated by listing
the new one last in all processes, then first, then alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from askonce.entries.codec import Codec
from askonce.entries.entry import Entry
from askonce.errors import CodecError
from askonce.eviction.policy import UNLIMITED, Budget, Policy
from askonce.stores.base import Claimed, LogPage, Page, Record, Size, Store

UNREADABLE = b"?"
"""In the place of an event that was not sealed with one of the keys, or was changed."""

_CACHED_NAMES = 10_000
_REGISTER = "\0names"
"""The namespace whose records are the names of the others, sealed: nobody could list them by their digests."""


def _namer(key: bytes) -> Callable[[str], str]:
    """From a name to its digest under a key."""
    own = hashlib.blake2b(key, digest_size=32, person=b"askonce names").digest()

    @lru_cache(_CACHED_NAMES)
    def name(readable: str) -> str:
        return hashlib.blake2b(readable.encode("utf-8", "surrogatepass"), digest_size=16, key=own).hexdigest()

    return name


class SealedStore(Store):
    """The contract of a store, over another one that sees no names.

    Args:
        store: the other one, which is closed by whoever opened it.
        encryption_keys: as for `askonce.Cache`; at least one.

    Raises:
        ConfigError: a key has the wrong length.
    """

    def __init__(self, store: Store, encryption_keys: Sequence[bytes]) -> None:
        self._store, self._codec = store, Codec(encryption_keys)
        self._names = [_namer(key) for key in encryption_keys]
        self._first = self._names[0]
        self._registered: set[str] = set()
        self.url = store.url

    @property
    def unsealed(self) -> Store:
        """The other one."""
        return self._store

    def unknown_namespaces(self) -> int:
        """How many namespaces the other store has that are sealed with none of these keys."""
        own = {name(one) for one in (_REGISTER, *self.namespaces()) for name in self._names}
        return sum(is_sealed_name(one) and one not in own for one in self._store.namespaces())

    def forget_names(self) -> None:
        """Another process erased some: the name of what is written from now on is stored anew."""
        self._registered = set()

    def store_names(self, namespaces: Iterable[str]) -> None:
        """Store the names of namespaces that were erased, and begin anew."""
        for one in namespaces:
            self._register(one)

    def _name_record(self, namespace: str) -> Record:
        digest = self._first(namespace).encode()
        name = Entry(namespace.encode("utf-8", "surrogatepass"), 0.0)
        return Record(digest, self._codec.encode(name, bound_to=_place(_REGISTER)))

    def _register(self, namespace: str) -> None:
        """Store the name of a namespace that this process writes to for the first time."""
        if namespace not in self._registered:
            self._store.put(self._first(_REGISTER), [self._name_record(namespace)])
            self._record(namespace)

    async def _aregister(self, namespace: str) -> None:
        if namespace not in self._registered:
            await self._store.aput(self._first(_REGISTER), [self._name_record(namespace)])
            self._record(namespace)

    def _record(self, namespace: str) -> None:
        if len(self._registered) >= _CACHED_NAMES:
            self._registered = set()
        self._registered.add(namespace)

    def _names_in(self, rows: Sequence[bytes]) -> list[str]:
        found = set()
        for data in rows:
            with suppress(CodecError):
                name = self._codec.decode(data, bound_to=_place(_REGISTER)).payload
                found.add(name.decode("utf-8", "surrogatepass"))
        return sorted(found)

    def _sealed_places(self, places: Mapping[str, Sequence[bytes] | None]) -> dict[str, Sequence[bytes] | None]:
        """The places under all keys, and the names of those that go altogether."""
        sealed = {name(one): keys for one, keys in places.items() for name in self._names}
        gone = [one for one, keys in places.items() if keys is None]
        self._registered.difference_update(gone)
        for register in self._names:
            sealed[register(_REGISTER)] = [name(one).encode() for one in gone for name in self._names]
        return sealed

    def _records(self, records: Sequence[Record]) -> list[Record]:
        name = self._first
        return [
            Record(one.key, one.value, one.expires_at, one.weight, tuple(map(name, one.tags)), one.hits)
            for one in records
        ]

    def _sealed(self, namespace: str, event: bytes) -> bytes:
        return self._codec.encode(Entry(event, 0.0), bound_to=_place(namespace))

    def _opened(self, namespace: str, page: LogPage) -> LogPage:
        events = []
        for sequence, event in page.events:
            try:
                events.append((sequence, self._codec.decode(event, bound_to=_place(namespace)).payload))
            except CodecError:
                events.append((sequence, UNREADABLE))
        return LogPage(events, page.head, page.truncated)

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, namespace: str, key: bytes) -> bytes | None:
        for name in self._names:
            value = self._store.get(name(namespace), key)
            if value is not None:
                return value
        return None

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        for name in self._names:
            value = await self._store.aget(name(namespace), key)
            if value is not None:
                return value
        return None

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = [None] * len(keys)
        for name in self._names:
            if missing := [at for at, value in enumerate(values) if value is None]:
                found = self._store.get_many(name(namespace), [keys[at] for at in missing])
                for at, value in zip(missing, found, strict=True):
                    values[at] = value
        return values

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = [None] * len(keys)
        for name in self._names:
            if missing := [at for at, value in enumerate(values) if value is None]:
                found = await self._store.aget_many(name(namespace), [keys[at] for at in missing])
                for at, value in zip(missing, found, strict=True):
                    values[at] = value
        return values

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        seen: set[bytes] = set()
        for name in self._names:
            for key, value in self._store.scan(name(namespace)):
                if key not in seen:
                    yield key, value
                if len(self._names) > 1:
                    seen.add(key)

    async def ascan(self, namespace: str) -> AsyncIterator[tuple[bytes, bytes]]:
        seen: set[bytes] = set()
        for name in self._names:
            async for key, value in self._store.ascan(name(namespace)):
                if key not in seen:
                    yield key, value
                if len(self._names) > 1:
                    seen.add(key)

    def page(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        at = cursor[0] if cursor else 0
        return self._following(at, self._store.page(self._names[at](namespace), cursor[1:], limit))

    async def apage(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        at = cursor[0] if cursor else 0
        return self._following(at, await self._store.apage(self._names[at](namespace), cursor[1:], limit))

    def _following(self, at: int, page: Page) -> Page:
        """A page of the records under one of the keys; those of the next key follow."""
        if page.cursor:
            return Page(page.records, bytes([at]) + page.cursor)
        return Page(page.records, bytes([at + 1]) if at + 1 < len(self._names) else b"")

    def namespaces(self) -> list[str]:
        return self._names_in([value for name in self._names for _, value in self._store.scan(name(_REGISTER))])

    async def anamespaces(self) -> list[str]:
        rows = [value for name in self._names async for _, value in self._store.ascan(name(_REGISTER))]
        return self._names_in(rows)

    def size(self, namespace: str) -> Size:
        return _sum([self._store.size(name(namespace)) for name in self._names])

    async def asize(self, namespace: str) -> Size:
        return _sum([await self._store.asize(name(namespace)) for name in self._names])

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        self._register(namespace)
        return self._store.put(self._first(namespace), self._records(records), budget)

    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        await self._aregister(namespace)
        return await self._store.aput(self._first(namespace), self._records(records), budget)

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        for name in self._names:
            self._store.touch(name(namespace), hits, policy)

    async def atouch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        for name in self._names:
            await self._store.atouch(name(namespace), hits, policy)

    def evict(self, namespace: str, budget: Budget) -> int:
        return sum([self._store.evict(name(namespace), budget) for name in self._names])

    async def aevict(self, namespace: str, budget: Budget) -> int:
        return sum([await self._store.aevict(name(namespace), budget) for name in self._names])

    def delete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return sum([self._store.delete(name(namespace), keys) for name in self._names])

    async def adelete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return sum([await self._store.adelete(name(namespace), keys) for name in self._names])

    def delete_tag(self, namespace: str, tag: str) -> int:
        return sum([self._store.delete_tag(name(namespace), name(tag)) for name in self._names])

    async def adelete_tag(self, namespace: str, tag: str) -> int:
        return sum([await self._store.adelete_tag(name(namespace), name(tag)) for name in self._names])

    def clear(self, namespace: str) -> None:
        for name in self._names:
            self._store.clear(name(namespace))

    async def aclear(self, namespace: str) -> None:
        for name in self._names:
            await self._store.aclear(name(namespace))

    def erase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        registered = self.namespaces()
        return self._store.erase(self._sealed_places(places)) - self._gone(places, registered)

    async def aerase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        registered = await self.anamespaces()
        return await self._store.aerase(self._sealed_places(places)) - self._gone(places, registered)

    @staticmethod
    def _gone(places: Mapping[str, Sequence[bytes] | None], registered: Sequence[str]) -> int:
        """How many names are erased, which are records of the store and none of the application's."""
        return sum(keys is None and one in registered for one, keys in places.items())

    # -- between processes -----------------------------------------------------------------------------------

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        self._register(namespace)
        return self._store.lease(self._first(namespace), key, owner, seconds)

    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        await self._aregister(namespace)
        return await self._store.alease(self._first(namespace), key, owner, seconds)

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        self._store.release(self._first(namespace), key, owner)

    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        await self._store.arelease(self._first(namespace), key, owner)

    def log_append(self, namespace: str, event: bytes) -> int:
        self._register(namespace)
        sealed = self._sealed(namespace, event)
        return [self._store.log_append(name(namespace), sealed) for name in reversed(self._names)][-1]

    async def alog_append(self, namespace: str, event: bytes) -> int:
        await self._aregister(namespace)
        sealed = self._sealed(namespace, event)
        return [await self._store.alog_append(name(namespace), sealed) for name in reversed(self._names)][-1]

    def log_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return self._opened(namespace, self._store.log_read(self._first(namespace), after, limit))

    async def alog_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return self._opened(namespace, await self._store.alog_read(self._first(namespace), after, limit))

    def get_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        name = self._first
        values, page = self._store.get_many_with_log(name(namespace), keys, name(log), after, limit)
        if None in values and len(self._names) > 1:
            values = self.get_many(namespace, keys)
        return values, self._opened(log, page)

    async def aget_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        name = self._first
        values, page = await self._store.aget_many_with_log(name(namespace), keys, name(log), after, limit)
        if None in values and len(self._names) > 1:
            values = await self.aget_many(namespace, keys)
        return values, self._opened(log, page)

    def claim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        self._register(namespace)
        name = self._first
        found = self._store.claim(name(namespace), key, owner, seconds, name(log), after, limit)
        value = found.value
        if value is None and len(self._names) > 1:
            value = self.get(namespace, key)
        return Claimed(found.is_held, value, found.page and self._opened(log, found.page))

    async def aclaim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        await self._aregister(namespace)
        name = self._first
        found = await self._store.aclaim(name(namespace), key, owner, seconds, name(log), after, limit)
        value = found.value
        if value is None and len(self._names) > 1:
            value = await self.aget(namespace, key)
        return Claimed(found.is_held, value, found.page and self._opened(log, found.page))

    def fulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int, limit: int = 1000
    ) -> tuple[int, LogPage | None]:
        self._register(namespace)
        name, (sealed,) = self._first, self._records([record])
        evicted, page = self._store.fulfil(name(namespace), sealed, budget, owner, name(log), after, limit)
        return evicted, page and self._opened(log, page)

    async def afulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int, limit: int = 1000
    ) -> tuple[int, LogPage | None]:
        await self._aregister(namespace)
        name, (sealed,) = self._first, self._records([record])
        evicted, page = await self._store.afulfil(name(namespace), sealed, budget, owner, name(log), after, limit)
        return evicted, page and self._opened(log, page)

    # -- life ------------------------------------------------------------------------------------------------

    def part(self, namespace: str, key: bytes) -> str:
        return self._store.part(self._first(namespace), key)

    def facts(self) -> dict[str, Any]:
        return self._store.facts()

    def check(self) -> None:
        self._store.check()

    def close(self) -> None:
        self._store.close()

    async def aclose(self) -> None:
        await self._store.aclose()


def _place(log: str) -> bytes:
    """What an event is bound to."""
    name = log.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, digest_size=16).digest() + name


def _sum(sizes: Sequence[Size]) -> Size:
    return Size(sum(one.entries for one in sizes), sum(one.size_bytes for one in sizes))


def unknown_namespaces(store: Store) -> int:
    """How many namespaces of a store, sealed or not, are sealed with other keys than it has."""
    if isinstance(store, SealedStore):
        return store.unknown_namespaces()
    return sum(map(is_sealed_name, store.namespaces()))


def is_sealed_name(namespace: str) -> bool:
    """Whether a namespace of a store is one of a sealed store over it."""
    return re.fullmatch("[0-9a-f]{32}", namespace) is not None
