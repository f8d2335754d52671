"""A store whose server or file does not see names and events: they are sealed with the application's keys.

A namespace and a tag become keyed digests, an event of the change log is encrypted; values are sealed already by
whoever made them. While several keys are listed, what was written under each is found: reads try them in turn,
deletions are done under all, events are appended under all and read under the first. So keys are rotated by listing
the new one last in all processes, then first, then alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from askonce.entries.codec import Codec
from askonce.entries.entry import Entry
from askonce.errors import CodecError
from askonce.eviction.policy import UNLIMITED, Budget, Policy
from askonce.stores.base import LogPage, Record, Size, Store

UNREADABLE = b"?"
"""In the place of an event that was not sealed with one of the keys, or was changed."""

_CACHED_NAMES = 10_000


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
        self.url = store.url

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

    def size(self, namespace: str) -> Size:
        return _sum([self._store.size(name(namespace)) for name in self._names])

    async def asize(self, namespace: str) -> Size:
        return _sum([await self._store.asize(name(namespace)) for name in self._names])

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        return self._store.put(self._first(namespace), self._records(records), budget)

    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
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

    # -- between processes -----------------------------------------------------------------------------------

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return self._store.lease(self._first(namespace), key, owner, seconds)

    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return await self._store.alease(self._first(namespace), key, owner, seconds)

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        self._store.release(self._first(namespace), key, owner)

    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        await self._store.arelease(self._first(namespace), key, owner)

    def log_append(self, namespace: str, event: bytes) -> int:
        sealed = self._sealed(namespace, event)
        return [self._store.log_append(name(namespace), sealed) for name in reversed(self._names)][-1]

    async def alog_append(self, namespace: str, event: bytes) -> int:
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

    # -- life ------------------------------------------------------------------------------------------------

    def part(self, namespace: str, key: bytes) -> str:
        return self._store.part(self._first(namespace), key)

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
