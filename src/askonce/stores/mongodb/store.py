"""The store over MongoDB."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec

from askonce.errors import StoreError, StoreUnavailable
from askonce.eviction.policy import UNLIMITED, Budget, Policy
from askonce.stores import redact
from askonce.stores.base import DEFAULT_TIMEOUT_SECONDS, Clock, LogPage, Record, Size, Store, time_limit
from askonce.stores.mongodb import leases, log
from askonce.stores.mongodb.connect import CONNECT_SECONDS, Clients
from askonce.stores.mongodb.layout import Steps, T
from askonce.stores.mongodb.records import Records

P = ParamSpec("P")


class MongoDBStore(Store):
    """Stores records in MongoDB, with pymongo.

    One call takes at most the timeout, and `time_limit` for many records, or raises; ``clear``, ``delete_tag`` and
    ``scan`` take it for each page of at most a thousand records, and ``check`` takes up to three seconds and the
    timeout for each namespace that it recounts. Connections are opened at the first call.

    Accounts are exact under any number of processes. One that dies in the middle of a write leaves them too
    large, and the namespace evicts early, until they are recounted: by ``check`` if the last count is an
    hour old, or when an eviction finds nothing more to evict.

    Args:
        url: ``mongodb://user:password@host1,host2/database?options`` or ``mongodb+srv://``.
        timeout_seconds: how long one call may take.
        clock: seconds since the epoch. Machines that share a server should agree to about a second.

    Raises:
        ConfigError: the URL cannot be used.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, clock: Clock = time.time
    ) -> None:
        self.url = redact(url)
        self._clients = Clients(url, self.url)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._records = Records(self.url, timeout_seconds, clock)

    def _run(self, steps: Callable[Concatenate[Any, P], Steps[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._clients.run(self._timeout_seconds, steps, *args, **kwargs)

    async def _arun(self, steps: Callable[Concatenate[Any, P], Steps[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._clients.arun(self._timeout_seconds, steps, *args, **kwargs)

    # -- reading ------------------------------------------------------------------------------------------

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self._run(self._records.get, namespace, key)

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        return await self._arun(self._records.get, namespace, key)

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        seconds = time_limit(self._timeout_seconds, len(keys), 0)
        return self._clients.run(seconds, self._records.get_many, namespace, keys)

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        seconds = time_limit(self._timeout_seconds, len(keys), 0)
        return await self._clients.arun(seconds, self._records.get_many, namespace, keys)

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        after = b""
        while page := self._run(self._records.page, namespace, after):
            yield from page
            after = page[-1][0]

    async def ascan(self, namespace: str) -> AsyncIterator[tuple[bytes, bytes]]:
        after = b""
        while page := await self._arun(self._records.page, namespace, after):
            for row in page:
                yield row
            after = page[-1][0]

    def size(self, namespace: str) -> Size:
        return self._run(self._records.size, namespace)

    async def asize(self, namespace: str) -> Size:
        return await self._arun(self._records.size, namespace)

    # -- writing ------------------------------------------------------------------------------------------

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        seconds = time_limit(self._timeout_seconds, len(records), sum(len(record.value) for record in records))
        return self._clients.run(seconds, self._records.put, namespace, records, budget)

    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        seconds = time_limit(self._timeout_seconds, len(records), sum(len(record.value) for record in records))
        return await self._clients.arun(seconds, self._records.put, namespace, records, budget)

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        seconds = time_limit(self._timeout_seconds, len(hits), 0)
        self._clients.run(seconds, self._records.touch, namespace, hits, policy)

    async def atouch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        seconds = time_limit(self._timeout_seconds, len(hits), 0)
        await self._clients.arun(seconds, self._records.touch, namespace, hits, policy)

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
            of_page, more = self._run(self._records.delete_where, namespace, {"t": tag})
            deleted += of_page
        return deleted

    async def adelete_tag(self, namespace: str, tag: str) -> int:
        deleted, more = 0, True
        while more:
            of_page, more = await self._arun(self._records.delete_where, namespace, {"t": tag})
            deleted += of_page
        return deleted

    def clear(self, namespace: str) -> None:
        while self._run(self._records.clear, namespace):
            pass

    async def aclear(self, namespace: str) -> None:
        while await self._arun(self._records.clear, namespace):
            pass

    # -- between processes --------------------------------------------------------------------------------

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return self._run(leases.lease, namespace, key, owner, seconds, self._clock())

    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return await self._arun(leases.lease, namespace, key, owner, seconds, self._clock())

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        self._run(leases.release, namespace, key, owner)

    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        await self._arun(leases.release, namespace, key, owner)

    def log_append(self, namespace: str, event: bytes) -> int:
        return self._run(log.append, namespace, event, self._clock)

    async def alog_append(self, namespace: str, event: bytes) -> int:
        return await self._arun(log.append, namespace, event, self._clock)

    def log_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return self._run(log.read, namespace, after, limit, self._clock)

    async def alog_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return await self._arun(log.read, namespace, after, limit, self._clock)

    # -- life ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        try:
            stale = self._clients.run(CONNECT_SECONDS, self._records.check)
        except StoreError as error:
            self._clients.refuse(error)
        with suppress(StoreUnavailable):  # too large to be counted in time
            for namespace in stale:
                self._run(self._records.count_anew, namespace)

    def close(self) -> None:
        self._clients.close()

    async def aclose(self) -> None:
        await self._clients.aclose()
