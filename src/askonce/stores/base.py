"""The contract of stores, which SQLite, Redis, MongoDB and memory implement.

A store holds bytes under a key in a namespace, with the few numbers needed to expire, evict and find them by tag.
It does not depend on models, prompts or policy beyond the formula in ``askonce.eviction.policy``. Every method has
an asynchronous twin with the prefix ``a``. ``askonce.testing.StoreConformance`` states the contract as tests; a
store that passes it can be given to ``Cache``.

Rules for all methods:

* An expired record does not exist: no method returns or counts it, whether or not it was swept.
* Errors of the client library are raised as ``StoreError`` (``StoreUnavailable`` when it is down or too slow).
* Threads, tasks and processes may call at the same time. A store survives ``fork``.
* A call returns within the store's timeout, and `time_limit` for many entries or bytes, or raises.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from askonce.eviction.policy import UNLIMITED, Budget, Policy

Clock = Callable[[], float]
"""Seconds since the epoch; tests pass one that they can move."""

DEFAULT_TIMEOUT_SECONDS = 0.25
LEAST_BYTES_PER_SECOND, LEAST_ENTRIES_PER_SECOND = 4_000_000, 100
"""A store that moves fewer is too slow."""


def time_limit(timeout_seconds: float, entries: int, size_bytes: int) -> float:
    """How long a call may take for so many entries of so many bytes."""
    return timeout_seconds + size_bytes / LEAST_BYTES_PER_SECOND + (entries - 1) / LEAST_ENTRIES_PER_SECOND


LARGEST_VALUE_BYTES = 16_000_000
"""What every store takes: a document of MongoDB holds as much."""
LEASE_SLACK = 1.25
"""A lease counts until its end, if that is at most so many of its lengths ahead. One that ends later was taken by a
process whose clock is ahead, and nobody waits for it."""
LOG_LENGTH = 10_000
"""How many events of a namespace's change log are retained at least."""


def log_begins(now: float) -> int:
    """The sequence of a new log's first event: milliseconds since the epoch.

    A log that was lost begins again beyond its last sequence, as long as it grew by at most a thousand events a
    second on average. So no old position is mistaken for one in the new log.
    """
    return int(now * 1000)


class Record(msgspec.Struct, frozen=True):
    """What ``put`` takes.

    Attributes:
        key: 1 to 64 bytes.
        value: up to `LARGEST_VALUE_BYTES`.
        expires_at: when the record ceases to exist, seconds since the epoch; ``None`` for never.
        weight: the factor of ``hits`` in the record's priority (see ``askonce.eviction.policy``).
        tags: names by which ``delete_tag`` finds the record.
        hits: how often it was requested as far as is known, this time included; at least 1.
    """

    key: bytes
    value: bytes
    expires_at: float | None = None
    weight: float = 0.0
    tags: tuple[str, ...] = ()
    hits: int = 1


class Size(msgspec.Struct, frozen=True):
    """What a namespace holds: records, and the sum of the lengths of their values."""

    entries: int = 0
    size_bytes: int = 0


class Page(msgspec.Struct, frozen=True):
    """Some records of a namespace.

    Attributes:
        records: as they were put, with the hits counted since; without tags, which not every store holds by name.
        cursor: where the next page begins; empty after the last one.
    """

    records: list[Record] = msgspec.field(default_factory=list)
    cursor: bytes = b""


class LogPage(msgspec.Struct, frozen=True):
    """A piece of a namespace's change log.

    ``head`` may exceed the last event of the newest page while another event is being appended, so a reader
    continues from the last event that it received, not from the head.

    Attributes:
        events: ``(sequence, event)``, oldest first.
        head: the sequence of the newest event in the log; 0 when there is no log: nothing was ever appended, or
            the log was lost.
        truncated: events after the requested position were deleted: the reader has missed some. It may also be
            True for a reader from the beginning of a log that is just full.
    """

    events: list[tuple[int, bytes]] = msgspec.field(default_factory=list)
    head: int = 0
    truncated: bool = False


class Claimed(msgspec.Struct, frozen=True):
    """What ``claim`` gives.

    Attributes:
        is_held: the owner holds the lease now.
        value: what was under the key then.
        page: of the change log; ``None``: it is to be read by itself.
    """

    is_held: bool
    value: bytes | None
    page: LogPage | None = None


class Store(abc.ABC):
    """A store of bytes. See the module's docstring for the rules that hold for every method."""

    url: str
    """The store's URL without credentials, for messages."""

    reads_at_once = False
    """Its asynchronous reads do not suspend, so that no timer could end them."""

    rights = ""
    """What its server's user needs, as one writes it there; empty where there are no users."""

    vector_rights = ""
    """What its user needs in addition for `VectorSearch`."""

    # -- reading ---------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def get(self, namespace: str, key: bytes) -> bytes | None:
        """The value under ``key``; one round trip."""

    @abc.abstractmethod
    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values under ``keys``, in their order; one round trip (on a cluster: one for each shard, at once)."""

    @abc.abstractmethod
    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        """All ``(key, value)`` of a namespace, in no order, read in pages.

        Records that are put or deleted meanwhile may or may not appear; none appears twice.
        """

    @abc.abstractmethod
    def page(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        """About ``limit`` records of a namespace, in no order; reads about as many, whatever the namespace holds.

        There may be fewer, as where values are long, and none before the end. While the namespace is written, a
        record that stays is in one page at least.

        Args:
            namespace: which.
            cursor: of the page before; empty to begin.
            limit: how many, at least 1.
        """

    @abc.abstractmethod
    def namespaces(self) -> list[str]:
        """The namespaces that hold records or a change log; some of them may be empty by now."""

    @abc.abstractmethod
    def size(self, namespace: str) -> Size:
        """How much the namespace holds now."""

    # -- writing ---------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        """Store records, each replacing what is under its key, and hold the namespace within its budget.

        For each record in turn: if the value alone is larger than the budget, nothing is stored and what was
        under the key is deleted; otherwise what was under the key is deleted, records with the lowest priority
        are evicted until the newcomer fits (each raises the inflation), and it is stored. Where the budget
        ``selects``, a newcomer that would evict a record of no lower priority evicts none and is not
        stored (see ``askonce.eviction.policy``); its priority is taken with the inflation as it stands before.

        Returns:
            how many records were evicted; a newcomer that was not admitted counts as one.
        """

    @abc.abstractmethod
    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        """Add hits to records and set their priorities anew. Keys without a record are skipped."""

    @abc.abstractmethod
    def evict(self, namespace: str, budget: Budget) -> int:
        """Evict until the namespace is within its budget; returns how many records were evicted."""

    @abc.abstractmethod
    def delete(self, namespace: str, keys: Sequence[bytes]) -> int:
        """Delete records; returns how many there were."""

    @abc.abstractmethod
    def delete_tag(self, namespace: str, tag: str) -> int:
        """Delete all records with that tag; returns how many there were."""

    @abc.abstractmethod
    def clear(self, namespace: str) -> None:
        """Delete all records of one namespace. Its change log and leases stay."""

    @abc.abstractmethod
    def erase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        """Delete so that nothing remains readable in files of the store, also of what was deleted before.

        It may take long, and other writers wait. What a server keeps of deleted data is the server's.

        Args:
            places: by namespace the keys of records; ``None``: the whole namespace with its name, its vectors and
                its change log, which counts as lost.

        Returns:
            how many records there were.
        """

    # -- between processes -----------------------------------------------------------------------------------

    @abc.abstractmethod
    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        """Try to become the owner that makes the record under ``key``.

        Returns:
            True if ``owner`` now holds the lease for ``seconds`` (also when it held it before), False if
            another owner does. No other owner is waited for longer than `LEASE_SLACK` times ``seconds`` by the
            clock of the caller, whatever the clock of that owner showed.
        """

    @abc.abstractmethod
    def release(self, namespace: str, key: bytes, owner: str) -> None:
        """Give a lease back; nothing happens if ``owner`` does not hold it."""

    @abc.abstractmethod
    def log_append(self, namespace: str, event: bytes) -> int:
        """Append to the namespace's change log.

        Returns:
            the event's sequence: one more than that of the event before. The first of a new log has
            `log_begins`, so that it is greater than all of a log that was lost.
        """

    @abc.abstractmethod
    def log_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        """Read at most ``limit`` events whose sequence is greater than ``after``; 0 reads from the beginning."""

    def get_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        """`get_many`, and `log_read` of the log of the namespace ``log``; one round trip where the store can."""
        return self.get_many(namespace, keys), self.log_read(log, after, limit)

    def claim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        """`lease`, then `get`; also `log_read` of the log of the namespace ``log``, if all is one round trip.

        So what a holder of the lease has put is found by the next one.
        """
        return Claimed(self.lease(namespace, key, owner, seconds), self.get(namespace, key))

    def fulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int, limit: int = 1000
    ) -> tuple[int, LogPage | None]:
        """`put` of one record, then `release` of its lease; also `log_read` after both, if all is one round trip.

        Returns:
            what ``put`` returns, and the page of the log; ``None``: it is to be read by itself.
        """
        evicted = self.put(namespace, [record], budget)
        self.release(namespace, record.key, owner)
        return evicted, None

    # -- life ------------------------------------------------------------------------------------------------

    def part(self, namespace: str, key: bytes) -> str:
        """The part of the store that holds a key, where parts fail by themselves: a node of a cluster. No I/O."""
        return ""

    def facts(self) -> dict[str, Any]:
        """What the server or the file says of itself, for ``askonce doctor``; plain data, and only what is known.

        ``version``; ``clock``, its time in seconds since the epoch; ``size_bytes``, ``limit_bytes`` and
        ``free_bytes`` of memory or disk; for a file ``path``, ``mode``, ``folder_mode``, ``wal_bytes``,
        ``journal_mode`` and ``damage``, empty if it has none; for Redis ``maxmemory_policy``, ``evicted_keys`` and
        ``persistent``.
        """
        return {}

    @abc.abstractmethod
    def check(self) -> None:
        """Check that the store can be used, and create what it needs.

        Raises:
            ConfigError: it cannot be used (wrong password, foreign file, unsupported version).
            StoreUnavailable: it is down now.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close connections that the store opened itself. May be called twice."""

    # -- asynchronous twins ----------------------------------------------------------------------------------

    @abc.abstractmethod
    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        """Asynchronous `get`."""

    @abc.abstractmethod
    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Asynchronous `get_many`."""

    @abc.abstractmethod
    def ascan(self, namespace: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Asynchronous `scan`."""

    @abc.abstractmethod
    async def apage(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        """Asynchronous `page`."""

    @abc.abstractmethod
    async def anamespaces(self) -> list[str]:
        """Asynchronous `namespaces`."""

    @abc.abstractmethod
    async def asize(self, namespace: str) -> Size:
        """Asynchronous `size`."""

    @abc.abstractmethod
    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        """Asynchronous `put`."""

    @abc.abstractmethod
    async def atouch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        """Asynchronous `touch`."""

    @abc.abstractmethod
    async def aevict(self, namespace: str, budget: Budget) -> int:
        """Asynchronous `evict`."""

    @abc.abstractmethod
    async def adelete(self, namespace: str, keys: Sequence[bytes]) -> int:
        """Asynchronous `delete`."""

    @abc.abstractmethod
    async def adelete_tag(self, namespace: str, tag: str) -> int:
        """Asynchronous `delete_tag`."""

    @abc.abstractmethod
    async def aclear(self, namespace: str) -> None:
        """Asynchronous `clear`."""

    @abc.abstractmethod
    async def aerase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        """Asynchronous `erase`."""

    @abc.abstractmethod
    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        """Asynchronous `lease`."""

    @abc.abstractmethod
    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        """Asynchronous `release`."""

    @abc.abstractmethod
    async def alog_append(self, namespace: str, event: bytes) -> int:
        """Asynchronous `log_append`."""

    @abc.abstractmethod
    async def alog_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        """Asynchronous `log_read`."""

    async def aget_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        """Asynchronous `get_many_with_log`."""
        return await self.aget_many(namespace, keys), await self.alog_read(log, after, limit)

    async def aclaim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        """Asynchronous `claim`."""
        is_held = await self.alease(namespace, key, owner, seconds)
        return Claimed(is_held, await self.aget(namespace, key))

    async def afulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int, limit: int = 1000
    ) -> tuple[int, LogPage | None]:
        """Asynchronous `fulfil`."""
        evicted = await self.aput(namespace, [record], budget)
        await self.arelease(namespace, record.key, owner)
        return evicted, None

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Asynchronous `close`: also closes what was opened on the running event loop."""


@runtime_checkable
class VectorSearch(Protocol):
    """Methods of a store in addition to `Store` if its server has vector search.

    A vector is float32, little-endian, of unit length. It belongs to a record only by its key: it is not deleted
    with the record, nor when that expires or is evicted, so the caller that finds no record deletes the vector.
    ``clear`` deletes the vectors too, and those of a partition are deleted when all have passed ``expires_at``.
    """

    def vector_check(self) -> None:
        """Check that the server can.

        Raises:
            ConfigError: it is of a kind or version that cannot.
            StoreUnavailable: it is down now.
        """

    def vector_put(
        self, namespace: str, partition: bytes, key: bytes, vector: bytes, expires_at: float | None = None
    ) -> None:
        """Store a vector under ``key``, replacing one that is there.

        Args:
            namespace: where the record is.
            partition: among which vectors of the namespace it is searched for; they have the same length.
            key: of the record.
            vector: see above.
            expires_at: when the record expires, seconds since the epoch; ``None`` for never.
        """

    def vector_search(self, namespace: str, partition: bytes, vector: bytes, k: int) -> list[tuple[bytes, float]]:
        """The keys of the ``k`` nearest vectors and their cosines, best first; approximately."""

    def vector_delete(self, namespace: str, partition: bytes, keys: Sequence[bytes]) -> int:
        """Delete vectors; returns how many there were."""

    async def avector_check(self) -> None:
        """Asynchronous `vector_check`."""

    async def avector_put(
        self, namespace: str, partition: bytes, key: bytes, vector: bytes, expires_at: float | None = None
    ) -> None:
        """Asynchronous `vector_put`."""

    async def avector_search(
        self, namespace: str, partition: bytes, vector: bytes, k: int
    ) -> list[tuple[bytes, float]]:
        """Asynchronous `vector_search`."""

    async def avector_delete(self, namespace: str, partition: bytes, keys: Sequence[bytes]) -> int:
        """Asynchronous `vector_delete`."""


def pages(store: Store, namespace: str) -> Iterator[list[Record]]:
    """All records of a namespace, page by page: see `Store.page`."""
    cursor, first = b"", True
    while first or cursor:
        page = store.page(namespace, cursor)
        yield page.records
        cursor, first = page.cursor, False
