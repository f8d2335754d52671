"""The store in a SQLite file: no server, safe under many threads and processes.

The file is in WAL mode: a reader never waits for a writer, so that reads are done at once, in asynchronous code
too (a hop to another thread costs ten times the read), unless blocking calls are forbidden there. Each thread reads
over a connection of its own. Writes go over one connection, each as one transaction; asynchronous ones are done by
one thread, those that wait at the same moment in one transaction.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from askonce.errors import ConfigError
from askonce.eviction.policy import UNLIMITED, Budget, Policy
from askonce.stores.base import (
    DEFAULT_TIMEOUT_SECONDS,
    LOG_LENGTH,
    Claimed,
    Clock,
    LogPage,
    Page,
    Record,
    Size,
    Store,
    log_begins,
)
from askonce.stores.blocking import is_forbidden
from askonce.stores.sqlite import schema as sql
from askonce.stores.sqlite.connections import Connections, Handle
from askonce.stores.sqlite.file import OLDEST_SQLITE, SQLITE_ERRORS, UnusableFile
from askonce.stores.sqlite.space import REAPED_AT_ONCE, Space, is_erased
from askonce.stores.sqlite.writes import QueuedWrite, WriteQueue

if TYPE_CHECKING:  # in the functions that need it: it takes longer than to open the file
    from concurrent.futures import ThreadPoolExecutor

P = ParamSpec("P")
T = TypeVar("T")

PAGE_ROWS = 256
PAGE_BYTES = 4_000_000
ERASED_AT_ONCE = 1000


class SQLiteStore(Store):
    """Stores records in a SQLite file, readable by its owner only. Opened when first needed.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``; folders are created.
        timeout_seconds: how long one call may wait for other writers.
        clock: seconds since the epoch.
        replaceable: a file that is damaged is renamed, and a new one begun; otherwise it is refused.

    Raises:
        ConfigError: the URL does not name a file, or SQLite is older than 3.35.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        clock: Clock = time.time,
        replaceable: bool = False,
    ) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ConfigError(
                f"a SQLite store needs SQLite 3.35 or newer; this Python has {sqlite3.sqlite_version}: use a "
                "Python that was built with a newer one, or another store, such as 'redis://localhost:6379/0' or 'memory://'"
            )
        scheme, _, path = url.partition(":///")
        if scheme.lower() != "sqlite" or not path or path == ":memory:":
            raise ConfigError(
                f"{url!r} does not name a file; use 'sqlite:///relative.db', 'sqlite:////absolute.db' or 'memory://'"
            )
        self.url = url
        self._connections = Connections(_file_of(path), timeout_seconds, replaceable=replaceable)
        self._writes = WriteQueue(self._connections)
        self._clock = clock
        self._replaceable = replaceable
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._threads_pid = 0
        self.reads_at_once = True

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, namespace: str, key: bytes) -> bytes | None:
        handle = self._connections.reader()
        try:
            with handle.lock:
                connection, space = handle.space(namespace)
                row = connection.execute(sql.GET, (space, key)).fetchone()
            if row is None or (row[1] is not None and row[1] <= self._clock()):
                return None
        except (*SQLITE_ERRORS, UnusableFile) as error:
            raise self._connections.failed(error, handle) from error
        value: bytes = row[0]
        return value

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._connections.reading() as handle:
            return self._values(handle, namespace, keys)

    def get_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        with self._connections.reading() as handle:
            return self._values(handle, namespace, keys), self._log_page(handle, log, after, limit)

    def _values(self, handle: Handle, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        rows: list[tuple[bytes, bytes, float | None]] = []
        connection, space = handle.space(namespace)
        for start in range(0, len(keys), sql.MOST_KEYS):
            some = sql.padded(keys[start : start + sql.MOST_KEYS])
            rows += connection.execute(sql.get_many(len(some)), (space, *some)).fetchall()
        now = self._clock()
        found = {key: value for key, value, expires_at in rows if expires_at is None or expires_at > now}
        return [found.get(key) for key in keys]

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        last, more = b"", True
        while more:
            page, more = self._page(namespace, last, PAGE_ROWS)
            for record in page:
                yield record.key, record.value
                last = record.key

    def page(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        records, more = self._page(namespace, cursor, limit)
        return Page(records, records[-1].key if more else b"")

    def namespaces(self) -> list[str]:
        with self._connections.reading() as handle:
            names = [name for (name,) in handle.connection.execute(sql.SPACES).fetchall()]
        return [name for name in names if not is_erased(name)]

    def size(self, namespace: str) -> Size:
        with self._connections.reading() as handle:
            connection, space = handle.space(namespace)
            row = connection.execute(sql.SIZE, {"space": space, "now": self._clock()}).fetchone()
        return Size(*row) if row else Size()

    def _page(self, namespace: str, after: bytes, limit: int) -> tuple[list[Record], bool]:
        """Records with greater keys, not many bytes of them; and whether there may be more."""
        records: list[Record] = []
        size_bytes = 0
        with self._connections.reading() as handle:
            connection, space = handle.space(namespace)
            cursor = connection.execute(sql.PAGE, (space, after, self._clock(), limit))
            for key, value, expires_at, weight, hits in cursor:
                if not isinstance(value, bytes):
                    value = b""  # as somebody else has damaged it
                records.append(Record(key, value, expires_at, weight, hits=hits))
                size_bytes += len(value)
                if size_bytes >= PAGE_BYTES:
                    break
            cursor.close()  # ends the read: an open one prevents the WAL from being reset
        return records, len(records) == limit or size_bytes >= PAGE_BYTES

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        return self._write(self._put, namespace, records, budget)

    def _put(
        self, connection: sqlite3.Connection, namespace: str, records: Sequence[Record], budget: Budget
    ) -> int:
        return self._put_in(Space(connection, namespace, self._clock()), records, budget)

    @staticmethod
    def _put_in(space: Space, records: Sequence[Record], budget: Budget) -> int:
        space.reap(REAPED_AT_ONCE + 2 * len(records))  # more than are added, so that none expired remains
        evicted = 0
        present = space.present([record.key for record in records])
        last = {record.key: record for record in records}
        if space.has_room(records, budget):
            for key in present.intersection(last):
                space.delete(key)
            space.put_all(list(last.values()), budget.policy)
            space.save()
            return 0
        for record in records:
            if record.key in present:
                space.delete(record.key)
            present.add(record.key)
            if budget.admits(len(record.value)):
                if budget.selects and space.refuses(record, budget):
                    evicted += 1
                    continue
                evicted += space.put(record, budget)
        space.save()
        return evicted

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        self._write(self._touch, namespace, hits, policy)

    def _touch(
        self, connection: sqlite3.Connection, namespace: str, hits: Mapping[bytes, int], policy: Policy
    ) -> None:
        now = self._clock()
        space = Space.there(connection, namespace, now)
        if space is None:
            return
        common = {"space": space.id, "inflation": space.inflation, "now": now}
        rows = [{**common, "key": key, "hits": count} for key, count in hits.items()]
        connection.executemany(sql.TOUCH[policy], rows)

    def evict(self, namespace: str, budget: Budget) -> int:
        return self._write(self._change, namespace, lambda space: space.make_room(budget, 0, 0))

    def delete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return self._write(self._change, namespace, lambda space: sum(map(space.delete, keys)))

    def delete_tag(self, namespace: str, tag: str) -> int:
        return self._write(self._wipe, namespace, lambda space: space.delete_tag(tag))

    def clear(self, namespace: str) -> None:
        self._write(self._wipe, namespace, Space.clear)

    def erase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        erased = 0
        for namespace, keys in places.items():
            if keys is None:
                erased += self._write(self._wipe, namespace, lambda space: space.erase(namespace))  # noqa: B023
                continue
            for start in range(0, len(keys), ERASED_AT_ONCE):
                erased += self.delete(namespace, keys[start : start + ERASED_AT_ONCE])
        self._connections.erase_traces()
        return erased

    def _change(self, connection: sqlite3.Connection, namespace: str, change: Callable[[Space], int]) -> int:
        space = Space.there(connection, namespace, self._clock())
        if space is None:
            return 0
        result = change(space)
        space.save()
        return result

    def _wipe(self, connection: sqlite3.Connection, namespace: str, change: Callable[[Space], int]) -> int:
        """`_change`; what it deletes does not remain readable in the file."""
        space = Space.there(connection, namespace, self._clock())
        if space is None:
            return 0
        before = space.entries
        result = change(space)
        space.save()
        if space.entries < before:
            self._connections.traces = True
        return result

    def _write(
        self, operation: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kw: P.kwargs
    ) -> T:
        """Do an operation as one transaction, waiting no longer than the timeout for threads and processes.

        If the file is damaged and a new one begins, it is done there.
        """
        deadline = self._connections.deadline()
        try:
            with self._connections.transaction(deadline) as connection:
                return operation(connection, *args, **kw)
        except UnusableFile as error:
            if not error.is_replaced:
                raise
        with self._connections.transaction(deadline) as connection:
            return operation(connection, *args, **kw)

    async def _awrite(
        self, operation: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kw: P.kwargs
    ) -> T:
        """`_write` in the one thread that does all asynchronous writes, so that the event loop never waits."""
        import asyncio

        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._writes.add(QueuedWrite(lambda connection: operation(connection, *args, **kw), done)):
            self._thread("write").submit(self._writes.work)
        return await done

    async def _aread(self, read: Callable[P, T], *args: P.args, **kw: P.kwargs) -> T:
        """A read, done at once; from the first time that this is forbidden, in a thread."""
        if self.reads_at_once:
            try:
                return read(*args, **kw)
            except Exception as error:
                if not is_forbidden(error):
                    raise
                self.reads_at_once = False
        return await self._in_thread("read", partial(read, *args, **kw))

    async def _in_thread(self, name: str, work: Callable[[], T]) -> T:
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(self._thread(name), work)

    def _thread(self, name: str) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        if self._threads_pid != os.getpid():  # after a fork they are in the parent
            self._threads, self._threads_pid = {}, os.getpid()
        if name not in self._threads:
            self._threads[name] = ThreadPoolExecutor(1, thread_name_prefix=f"askonce-sqlite-{name}")
        return self._threads[name]

    # -- between processes -----------------------------------------------------------------------------------

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return self._write(self._lease, namespace, key, owner, seconds)

    def _lease(
        self, connection: sqlite3.Connection, namespace: str, key: bytes, owner: str, seconds: float
    ) -> bool:
        return Space(connection, namespace, self._clock()).lease(key, owner, seconds)

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        self._write(self._release, namespace, key, owner)

    def _release(self, connection: sqlite3.Connection, namespace: str, key: bytes, owner: str) -> None:
        if (space := Space.there(connection, namespace, self._clock())) is not None:
            space.release(key, owner)

    def claim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        return self._write(self._claim, namespace, key, owner, seconds, log, after, limit)

    def _claim(
        self,
        connection: sqlite3.Connection,
        namespace: str,
        key: bytes,
        owner: str,
        seconds: float,
        log: str,
        after: int,
        limit: int,
    ) -> Claimed:
        now = self._clock()
        space = Space(connection, namespace, now)
        is_held = space.lease(key, owner, seconds)
        row = connection.execute(sql.GET, (space.id, key)).fetchone()
        is_there = row is not None and (row[1] is None or row[1] > now)
        page = self._log_in(connection, log, after, limit)
        return Claimed(is_held, row[0] if is_there else None, page)

    def fulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int, limit: int = 1000
    ) -> tuple[int, LogPage | None]:
        return self._write(self._fulfil, namespace, record, budget, owner, log, after, limit)

    def _fulfil(
        self,
        connection: sqlite3.Connection,
        namespace: str,
        record: Record,
        budget: Budget,
        owner: str,
        log: str,
        after: int,
        limit: int,
    ) -> tuple[int, LogPage | None]:
        space = Space(connection, namespace, self._clock())
        evicted = self._put_in(space, [record], budget)
        space.release(record.key, owner)
        return evicted, self._log_in(connection, log, after, limit)

    def log_append(self, namespace: str, event: bytes) -> int:
        return self._write(self._log_append, namespace, event)

    def _log_append(self, connection: sqlite3.Connection, namespace: str, event: bytes) -> int:
        now = self._clock()
        space = Space(connection, namespace, now)
        ((head,),) = connection.execute(sql.NEXT_SEQUENCE, (log_begins(now), space.id)).fetchall()
        connection.execute(sql.APPEND, (space.id, head, event))
        connection.execute(sql.TRIM, (space.id, head - LOG_LENGTH))
        return int(head)

    def log_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        with self._connections.reading() as handle:
            return self._log_page(handle, namespace, after, limit)

    def _log_page(self, handle: Handle, namespace: str, after: int, limit: int) -> LogPage:
        connection, space = handle.space(namespace)
        head, *_ = connection.execute(sql.LOG_STATE, {"space": space}).fetchone() or (0,)
        if after >= head:
            return LogPage(head=head)
        connection.execute("BEGIN")  # all reads see one state
        try:
            return self._log_in(connection, namespace, after, limit)
        finally:
            connection.execute("COMMIT")

    @staticmethod
    def _log_in(connection: sqlite3.Connection, namespace: str, after: int, limit: int) -> LogPage:
        """A page of a log, read within a transaction."""
        state = connection.execute(sql.LOG_STATE_BY_NAME, {"name": namespace}).fetchone()
        if state is None or after >= state[1]:
            return LogPage(head=state[1] if state else 0)
        space, head, oldest = state
        events = connection.execute(sql.LOG_READ, (space, after, limit)).fetchall()
        retained = head + 1 - (oldest or 1)
        return LogPage(events, head, truncated=after < head - retained if after else retained >= LOG_LENGTH)

    # -- life ------------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        path = self._connections.path
        with self._connections.reading() as handle:
            ((mode,),) = handle.connection.execute("PRAGMA journal_mode").fetchall()
            damage = [text for (text,) in handle.connection.execute("PRAGMA quick_check(1)").fetchall()]
        wal = path.with_name(path.name + "-wal")
        return {
            "version": sqlite3.sqlite_version,
            "path": str(path),
            "size_bytes": path.stat().st_size,
            "wal_bytes": wal.stat().st_size if wal.exists() else 0,
            "journal_mode": mode,
            "damage": "" if damage == ["ok"] else "; ".join(damage),
            "mode": stat.S_IMODE(path.stat().st_mode),
            "folder_mode": stat.S_IMODE(path.parent.stat().st_mode),
            "free_bytes": shutil.disk_usage(path.parent).free,
        }

    def check(self) -> None:
        for may_be_replaced in (self._replaceable, False):
            try:
                self.size("")  # opens the file, and reads
                return
            except UnusableFile as error:
                if not may_be_replaced:
                    raise error.as_config_error() from error

    def close(self) -> None:
        threads, self._threads = self._threads, {}
        if self._threads_pid == os.getpid():
            for thread in threads.values():
                thread.shutdown()
        self._connections.close()

    # -- asynchronous twins: reads are done at once, writes by the writing thread -----------------------------

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        return await self._aread(self.get, namespace, key)

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return await self._aread(self.get_many, namespace, keys)

    async def aget_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        return await self._aread(self.get_many_with_log, namespace, keys, log, after, limit)

    async def ascan(self, namespace: str) -> AsyncIterator[tuple[bytes, bytes]]:
        last, more = b"", True
        while more:
            page, more = await self._aread(self._page, namespace, last, PAGE_ROWS)
            for record in page:
                yield record.key, record.value
                last = record.key

    async def apage(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        return await self._aread(self.page, namespace, cursor, limit)

    async def anamespaces(self) -> list[str]:
        return await self._aread(self.namespaces)

    async def asize(self, namespace: str) -> Size:
        return await self._aread(self.size, namespace)

    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        return await self._awrite(self._put, namespace, records, budget)

    async def atouch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        await self._awrite(self._touch, namespace, hits, policy)

    async def aevict(self, namespace: str, budget: Budget) -> int:
        return await self._awrite(self._change, namespace, lambda space: space.make_room(budget, 0, 0))

    async def adelete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return await self._awrite(self._change, namespace, lambda space: sum(map(space.delete, keys)))

    async def adelete_tag(self, namespace: str, tag: str) -> int:
        return await self._awrite(self._wipe, namespace, lambda space: space.delete_tag(tag))

    async def aclear(self, namespace: str) -> None:
        await self._awrite(self._wipe, namespace, Space.clear)

    async def aerase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        return await self._in_thread("write", partial(self.erase, places))

    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return await self._awrite(self._lease, namespace, key, owner, seconds)

    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        await self._awrite(self._release, namespace, key, owner)

    async def aclaim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        return await self._awrite(self._claim, namespace, key, owner, seconds, log, after, limit)

    async def afulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int, limit: int = 1000
    ) -> tuple[int, LogPage | None]:
        return await self._awrite(self._fulfil, namespace, record, budget, owner, log, after, limit)

    async def alog_append(self, namespace: str, event: bytes) -> int:
        return await self._awrite(self._log_append, namespace, event)

    async def alog_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return await self._aread(self.log_read, namespace, after, limit)

    async def aclose(self) -> None:
        import asyncio

        await asyncio.to_thread(self.close)


def _file_of(path: str) -> Path:
    """The file that a URL names after ``sqlite:///``."""
    named = (
        path[1:] if path[2:3] == ":" and path[0] == "/" and os.name == "nt" else path
    )  # as in sqlite:////C:/x.db
    file = Path(named)
    try:
        return (file.expanduser() if named.startswith("~") else file).absolute()
    except RuntimeError as error:
        raise ConfigError(f"'sqlite:///{path}': there is no home directory; give the path of a file") from error
    except Exception as error:
        if not is_forbidden(error):
            raise
        return file  # it is resolved where it is opened
