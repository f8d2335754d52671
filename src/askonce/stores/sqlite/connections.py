"""How a SQLite store shares its file between threads and processes."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from askonce.errors import StoreUnavailable
from askonce.stores.shutdown import refuse_at_exit
from askonce.stores.sqlite import schema as sql
from askonce.stores.sqlite.file import connect, create_file, identity, translate


class Connections:
    """A store's connections to one file: one that writes, and one for each thread that reads.

    SQLite connections must not be carried over a fork, not even unused: before one, all are closed, and stay
    closed until it is done. They open again when needed.

    Args:
        path: the database's file.
        timeout_seconds: how long to wait for other writers.
    """

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self.path = path
        self.timeout_seconds = timeout_seconds
        self._local = threading.local()
        self._adding = threading.Lock()
        self._handles: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._writer = self._new_handle(writes=True)
        self._file: tuple[int, int] | None = None
        _alive.add(self)

    def reader(self) -> Handle:
        """The running thread's own connection."""
        try:
            handle: Handle = self._local.handle
        except AttributeError:
            handle = self._local.handle = self._new_handle()
        return handle

    @contextmanager
    def reading(self) -> Iterator[Handle]:
        """Read over the running thread's connection, with errors translated."""
        handle = self.reader()
        try:
            with handle.lock:
                yield handle
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

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
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        finally:
            writer.lock.release()

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

    def hold(self) -> list[threading.Lock]:
        """Close all and prevent them from opening; returns the locks to release."""
        held = []
        for handle in self._all():
            if handle.lock.acquire(timeout=2 * self.timeout_seconds):
                handle.close()
                held.append(handle.lock)
        return held

    def begin_in_child(self) -> None:
        """Forget what threads of the parent hold."""
        self._adding = threading.Lock()
        for handle in list(self._handles):
            handle.lock = threading.Lock()

    def _new_handle(self, *, writes: bool = False) -> Handle:
        handle = Handle(self.path, self.timeout_seconds, writes=writes)
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
        writes: it is for writing.

    Attributes:
        file: which file was opened last.
        stale: another file has replaced the one that is open; the next use opens that one.
    """

    def __init__(self, path: Path, timeout_seconds: float, *, writes: bool = False) -> None:
        self.lock = threading.Lock()
        self._writes = writes
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
            self._open = connect(self._path, self._timeout_seconds, writes=self._writes)
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


_alive: weakref.WeakSet[Connections] = weakref.WeakSet()
_held: list[threading.Lock] = []


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
