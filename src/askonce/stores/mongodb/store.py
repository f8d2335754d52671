"""The store over MongoDB."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec

from pymongo import MongoClient

from askonce.errors import ConfigError, StoreError
from askonce.eviction.policy import UNLIMITED, Budget, Policy
from askonce.stores import redact
from askonce.stores.base import (
    DEFAULT_TIMEOUT_SECONDS,
    Claimed,
    Clock,
    LogPage,
    Page,
    Record,
    Size,
    Store,
    time_limit,
)
from askonce.stores.mongodb import leases, log
from askonce.stores.mongodb.connect import CONNECT_SECONDS, Clients
from askonce.stores.mongodb.given import GivenClient
from askonce.stores.mongodb.layout import Steps, T
from askonce.stores.mongodb.records import Records

P = ParamSpec("P")
ERASED_AT_ONCE = 1_000


class MongoDBStore(Store):
    """Stores records in MongoDB, with pymongo.

    One call takes at most the timeout, and `time_limit` for many records, or raises; ``clear``, ``delete_tag`` and
    ``scan`` take it for each page of at most a thousand records, and ``check`` takes up to three seconds.
    Connections are opened at the first call.

    Accounts are exact under any number of processes. After a write that failed or was cancelled half-way, the next
    one of that process counts the records; after a process that died, the next one of any process does, some
    seconds later. More than 100,000 records are not counted: there the sums stay off by what such a write changed.

    Args:
        store: ``mongodb://user:password@host1,host2/database?options``, ``mongodb+srv://``, or a ready client,
            which event loops use in threads, and which is never closed. Its database is its default one, or
            ``askonce``.
        timeout_seconds: how long one call may take.
        clock: seconds since the epoch. Machines that share a server should agree to about a second.

    Raises:
        ConfigError: the URL cannot be used.
    """

    def __init__(
        self,
        store: str | MongoClient[Any],
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        clock: Clock = time.time,
    ) -> None:
        self._clients = Clients(store, redact(store)) if isinstance(store, str) else GivenClient(store)
        self.url, self.rights = self._clients.name, self._clients.rights
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._records = Records(self.url, timeout_seconds, clock)

    def _run(self, steps: Callable[Concatenate[Any, P], Steps[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        _text(args[0])
        return self._clients.run(self._timeout_seconds, steps, *args, **kwargs)

    async def _arun(self, steps: Callable[Concatenate[Any, P], Steps[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        _text(args[0])
        return await self._clients.arun(self._timeout_seconds, steps, *args, **kwargs)

    # -- reading ------------------------------------------------------------------------------------------

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self._run(self._records.get, namespace, key)

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        return await self._arun(self._records.get, namespace, key)

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        seconds = time_limit(self._timeout_seconds, len(keys), 0)
        return self._clients.run(seconds, self._records.get_many, _text(namespace), keys)

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        seconds = time_limit(self._timeout_seconds, len(keys), 0)
        return await self._clients.arun(seconds, self._records.get_many, _text(namespace), keys)

    def get_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        seconds, of = time_limit(self._timeout_seconds, len(keys), 0), (_text(namespace), keys, _text(log))
        return self._clients.run(seconds, self._records.get_many_with_log, *of, after, limit)

    async def aget_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        seconds, of = time_limit(self._timeout_seconds, len(keys), 0), (_text(namespace), keys, _text(log))
        return await self._clients.arun(seconds, self._records.get_many_with_log, *of, after, limit)

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        page = self._run(self._records.page, namespace, b"")
        while page.records:
            for record in page.records:
                yield record.key, record.value
            page = self._run(self._records.page, namespace, page.cursor) if page.cursor else Page()

    async def ascan(self, namespace: str) -> AsyncIterator[tuple[bytes, bytes]]:
        page = await self._arun(self._records.page, namespace, b"")
        while page.records:
            for record in page.records:
                yield record.key, record.value
            page = await self._arun(self._records.page, namespace, page.cursor) if page.cursor else Page()

    def page(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        seconds = time_limit(self._timeout_seconds, limit, 0)
        return self._clients.run(seconds, self._records.page, _text(namespace), cursor, limit)

    async def apage(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        seconds = time_limit(self._timeout_seconds, limit, 0)
        return await self._clients.arun(seconds, self._records.page, _text(namespace), cursor, limit)

    def namespaces(self) -> list[str]:
        return self._run(self._records.namespaces, "")

    async def anamespaces(self) -> list[str]:
        return await self._arun(self._records.namespaces, "")

    def size(self, namespace: str) -> Size:
        return self._run(self._records.size, namespace)

    async def asize(self, namespace: str) -> Size:
        return await self._arun(self._records.size, namespace)

    # -- writing ------------------------------------------------------------------------------------------

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        seconds = time_limit(self._timeout_seconds, len(records), sum(len(record.value) for record in records))
        return self._clients.run(seconds, self._records.put, _text(namespace), records, budget)

    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        seconds = time_limit(self._timeout_seconds, len(records), sum(len(record.value) for record in records))
        return await self._clients.arun(seconds, self._records.put, _text(namespace), records, budget)

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        seconds = time_limit(self._timeout_seconds, len(hits), 0)
        self._clients.run(seconds, self._records.touch, _text(namespace), hits, policy)

    async def atouch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        seconds = time_limit(self._timeout_seconds, len(hits), 0)
        await self._clients.arun(seconds, self._records.touch, _text(namespace), hits, policy)

    def evict(self, namespace: str, budget: Budget) -> int:
        return self._run(self._records.evict, namespace, budget)

    async def aevict(self, namespace: str, budget: Budget) -> int:
        return await self._arun(self._records.evict, namespace, budget)

    def delete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return self._run(self._records.delete, namespace, keys)

    async def adelete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return await self._arun(self._records.delete, namespace, keys)

    def delete_tag(self, namespace: str, tag: str) -> int:
        deleted, more = 0, True
        while more:
            of_page, more = self._run(self._records.delete_where, namespace, {"t": _text(tag)})
            deleted += of_page
        return deleted

    async def adelete_tag(self, namespace: str, tag: str) -> int:
        deleted, more = 0, True
        while more:
            of_page, more = await self._arun(self._records.delete_where, namespace, {"t": _text(tag)})
            deleted += of_page
        return deleted

    def clear(self, namespace: str) -> None:
        while self._run(self._records.clear, namespace):
            pass

    async def aclear(self, namespace: str) -> None:
        while await self._arun(self._records.clear, namespace):
            pass

    def erase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        erased = 0
        for namespace, keys in places.items():
            if keys is None:
                erased += self.size(namespace).entries
                self.clear(namespace)
                self._run(self._records.erase, namespace)
            else:
                for start in range(0, len(keys), ERASED_AT_ONCE):
                    erased += self.delete(namespace, keys[start : start + ERASED_AT_ONCE])
        return erased

    async def aerase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        erased = 0
        for namespace, keys in places.items():
            if keys is None:
                erased += (await self.asize(namespace)).entries
                await self.aclear(namespace)
                await self._arun(self._records.erase, namespace)
            else:
                for start in range(0, len(keys), ERASED_AT_ONCE):
                    erased += await self.adelete(namespace, keys[start : start + ERASED_AT_ONCE])
        return erased

    # -- between processes --------------------------------------------------------------------------------

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return self._run(leases.lease, namespace, key, owner, seconds, self._clock())

    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return await self._arun(leases.lease, namespace, key, owner, seconds, self._clock())

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        self._run(leases.release, namespace, key, owner)

    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        await self._arun(leases.release, namespace, key, owner)

    def claim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        return self._run(self._claim, namespace, key, owner, seconds, log, after, limit)

    async def aclaim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        return await self._arun(self._claim, namespace, key, owner, seconds, log, after, limit)

    def _claim(
        self, db: Any, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int
    ) -> Steps[Claimed]:
        """Two round trips, where three calls would be three."""
        is_held = yield from leases.lease(db, namespace, key, owner, seconds, self._clock())
        values, page = yield from self._records.get_many_with_log(db, namespace, [key], _text(log), after, limit)
        return Claimed(is_held, values[0], page)

    def log_append(self, namespace: str, event: bytes) -> int:
        return self._run(log.append, namespace, event, self._clock)

    async def alog_append(self, namespace: str, event: bytes) -> int:
        return await self._arun(log.append, namespace, event, self._clock)

    def log_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return self._run(log.read, namespace, after, limit, self._clock)

    async def alog_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return await self._arun(log.read, namespace, after, limit, self._clock)

    # -- life ---------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        return self._run(self._records.facts, "")

    def check(self) -> None:
        try:
            self._clients.run(CONNECT_SECONDS, self._records.check)
        except StoreError as error:
            self._clients.refuse(error)

    def close(self) -> None:
        self._clients.close()

    async def aclose(self) -> None:
        await self._clients.aclose()


def _text(name: object) -> str:
    """A namespace or a tag: a text, since MongoDB takes a mapping for a query."""
    if not isinstance(name, str):
        raise ConfigError(f"a namespace and a tag are texts, got a {type(name).__name__}")
    return name
