"""How a SQLite store shares its file between threads and processes."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from askonce.errors import StoreError, StoreUnavailable
from askonce.stores.shutdown import refuse_at_exit
from askonce.stores.sqlite import schema as sql
from askonce.stores.sqlite.file import (
    SQLITE_ERRORS,
    UnusableFile,
    connect,
    create_file,
    identity,
    remove_set_aside,
    set_aside,
    translate,
)

SMALLEST_WAL_BYTES, LARGEST_WAL_BYTES = 4 * 2**20, 32 * 2**20
"""Keys are random: the longer the WAL, the more writes share a page of the file."""
_WAIT_FOR_READERS_MS = 50
_PAGE_BYTES = 4096
_FREE_PAGES, _FREE_SHARE = 64, 0.25
"""With more free pages than these, the file is made smaller."""
_PAGES_AT_ONCE = 1000
_REWRITTEN_BYTES = 8 * 2**20
"""A file up to this size is written anew after a deletion by the application: it takes about 0.1 s."""


class Connections:
    """A store's connections to one file: one that writes, and one for each thread that reads.

    SQLite connections must not be carried over a fork, not even unused: before one, all are closed, and stay
    closed until it is done. They open again when needed.

    Args:
        path: the database's file.
        timeout_seconds: how long to wait for other writers.
        replaceable: a damaged file is set aside, and a new one begun.

    Attributes:
        traces: what was deleted may still be in free pages or in the WAL; removed after the next transaction.
    """

    def __init__(self, path: Path, timeout_seconds: float, *, replaceable: bool = False) -> None:
        self.path = path
        self.timeout_seconds = timeout_seconds
        self._replaceable = replaceable
        self.traces = False
        self._local = threading.local()
        self._adding = threading.RLock()
        self._handles: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._writer = self._new_handle(threading.Lock)  # a transaction has none within
        self._file: tuple[int, int] | None = None
        _alive.add(self)

    def reader(self) -> Handle:
        """The running thread's own connection."""
        try:
            handle: Handle = self._local.handle
        except AttributeError:
            handle = self._local.handle = self._new_handle(threading.RLock)
        return handle

    @contextmanager
    def reading(self) -> Iterator[Handle]:
        """Read over the running thread's connection, with errors translated."""
        handle = self.reader()
        try:
            with handle.lock:
                yield handle
        except (*SQLITE_ERRORS, UnusableFile) as error:
            raise self.failed(error, handle) from error

    def failed(self, error: sqlite3.Error | UnicodeDecodeError | UnusableFile, handle: Handle) -> StoreError:
        """The store's error for that of a handle; a damaged file makes place for a new one, where that may be."""
        failure = error if isinstance(error, UnusableFile) else translate(error, self.path)
        if self._replaceable and isinstance(failure, UnusableFile):
            handle.stale = failure.is_replaced = set_aside(self.path, handle.file)
        return failure

    def deadline(self) -> float:
        """Until when (``time.monotonic``) a write that begins now may wait for others."""
        return time.monotonic() + self.timeout_seconds

    @contextmanager
    def transaction(self, deadline: float) -> Iterator[sqlite3.Connection]:
        """Write in one transaction: all of it, or nothing if an error is raised.

        Args:
            deadline: until when (``time.monotonic``) to wait for other threads and processes that write.
        """
        writer = self._writer
        if not writer.lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise StoreUnavailable(f"{self.path}: other writers took longer than {self.timeout_seconds} s")
        try:
            self._notice_another_file()
            connection = writer.connection
            wait_ms = max(int(1000 * (deadline - time.monotonic())), 0)
            connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                writer.roll_back()
                raise
            _bound_files(connection, self.path)
            if self.traces:
                self.traces = not _remove_traces(connection, deadline)
        except (*SQLITE_ERRORS, UnusableFile) as error:
            raise self.failed(error, writer) from error
        finally:
            writer.lock.release()

    def erase_traces(self) -> None:
        """Remove what was deleted from the whole file, and the damaged one that was set aside."""
        deadline = time.monotonic() + self.timeout_seconds
        while not self._erased_traces(deadline):
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self.path}: deleted, but traces remain, since it is being read: try again"
                )
            time.sleep(0.02)
        remove_set_aside(self.path)

    def _erased_traces(self, deadline: float) -> bool:
        writer = self._writer
        try:
            with writer.lock:
                return _remove_traces(writer.connection, deadline, thorough=True)
        except (*SQLITE_ERRORS, UnusableFile) as error:
            failure = self.failed(error, writer)
            if isinstance(failure, UnusableFile) and failure.is_replaced:
                return True  # by an empty one
            raise failure from error

    def _notice_another_file(self) -> None:
        """Stop using a file that was deleted or replaced while it was open."""
        file = identity(self.path)
        if file != self._file:
            self._file = file
            for handle in self._all():
                handle.stale = handle.file != file

    def close(self) -> None:
        """Close all, those of other threads too; each opens again at its next use."""
        for handle in self._all():
            with handle.lock:
                handle.close()

    def hold(self) -> list[Any]:
        """Close all and prevent them from opening; returns the locks to release."""
        held = []
        for handle in self._all():
            if handle.lock.acquire(timeout=2 * self.timeout_seconds):
                handle.close()
                held.append(handle.lock)
        return held

    def begin_in_child(self) -> None:
        """Forget what threads of the parent hold."""
        self._adding = threading.RLock()
        for handle in list(self._handles):
            handle.lock = handle.new_lock()

    def _new_handle(self, new_lock: Callable[[], Any]) -> Handle:
        handle = Handle(self.path, self.timeout_seconds, new_lock)
        with self._adding:
            self._handles.add(handle)
        return handle

    def _all(self) -> list[Handle]:
        with self._adding:
            return list(self._handles)


class Handle:
    """One connection: opened when it is first needed, and again after it was closed.

    A user of the connection holds ``lock``, so that another thread can close it at any time.

    Args:
        path: the database's file.
        timeout_seconds: how long to wait for locks of other processes.
        new_lock: makes its lock, which is reentrant if the handler of a signal may use the connection too.

    Attributes:
        file: which file was opened last.
        stale: another file has replaced the one that is open; the next use opens that one.
    """

    def __init__(self, path: Path, timeout_seconds: float, new_lock: Callable[[], Any]) -> None:
        self.new_lock, self.lock = new_lock, new_lock()
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._open: sqlite3.Connection | None = None
        self.file: tuple[int, int] | None = None
        self._spaces: dict[str, int] = {}
        self.stale = False

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection."""
        if self.stale:
            self.close()
        if self._open is None:
            refuse_at_exit(str(self._path))
            create_file(self._path)
            self.file = identity(self._path)
            self._open = connect(self._path, self._timeout_seconds)
        return self._open

    def space(self, namespace: str) -> tuple[sqlite3.Connection, int]:
        """The open connection, and the number of a namespace there: 0 while nothing was ever written to it.

        They belong together: the next use of `connection` may open another file, with other numbers.
        """
        connection = self.connection
        space = self._spaces.get(namespace, 0)
        if not space:
            row = connection.execute(sql.FIND_SPACE, (namespace,)).fetchone()
            if row:
                space = self._spaces[namespace] = row[0]
        return connection, space

    def close(self) -> None:
        """Close the connection if it is open; the caller holds the lock."""
        self._spaces.clear()
        self.stale = False
        if self._open is not None:
            self._open.close()
            self._open = None

    def roll_back(self) -> None:
        """End a transaction that failed, whatever it takes."""
        if self._open is not None and self._open.in_transaction:
            try:
                self._open.execute("ROLLBACK")
            except sqlite3.Error:
                self.close()

    def __del__(self) -> None:  # the thread that the handle belonged to has ended
        self.close()


def _bound_files(connection: sqlite3.Connection, path: Path) -> None:
    """Give free pages back, and begin the WAL anew when it is long. What cannot be done now is done later."""
    with suppress(sqlite3.OperationalError, OSError):
        pages, free = _pages(connection)
        if free > _FREE_PAGES and free > _FREE_SHARE * pages:
            connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
        longest = min(max(pages * _PAGE_BYTES, SMALLEST_WAL_BYTES), LARGEST_WAL_BYTES)
        if os.stat(f"{path}-wal").st_size > longest:
            connection.execute(f"PRAGMA busy_timeout = {_WAIT_FOR_READERS_MS}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _remove_traces(connection: sqlite3.Connection, deadline: float, *, thorough: bool = False) -> bool:
    """Remove what was deleted from free pages and the WAL; returns whether that could be done in time.

    SQLite overwrites what it deletes from a page, but a row that it moved before may remain in the gap of another
    page. So a small file is written anew, and with ``thorough`` a large one too.
    """
    wait_ms = max(int(1000 * (deadline - time.monotonic())), _WAIT_FOR_READERS_MS)
    connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        pages, free = _pages(connection)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        small = thorough or (pages - free) * _PAGE_BYTES <= _REWRITTEN_BYTES
        connection.executescript("VACUUM" if small else "PRAGMA incremental_vacuum")
        ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError:  # a reader or another writer is in the way
        return False
    return not busy


def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many pages the file has, and how many of them are free."""
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    ((free,),) = connection.execute("PRAGMA freelist_count").fetchall()
    return pages, free


_alive: weakref.WeakSet[Connections] = weakref.WeakSet()
_held: list[Any] = []


def _before_fork() -> None:
    for connections in list(_alive):
        _held.extend(connections.hold())


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_fork_in_child() -> None:
    _held.clear()
    for connections in list(_alive):
        connections.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
