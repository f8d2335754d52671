"""How a SQLite store opens its file, shares it between threads and processes, and reads errors."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from askonce.errors import AskOnceError, ConfigError, ForeignStoreError, StoreError, StoreUnavailable
from askonce.stores import _sqlite_schema as sql

OLDEST_SQLITE = (3, 35, 0)  # RETURNING
MMAP_BYTES = 1024 * 1024 * 1024
CACHE_KIB = 32 * 1024  # filled by what is written; reads go through the map
WAL_BYTES = 64 * 1024 * 1024
CHECKPOINT_PAGES = 8000  # keys are random: the longer the WAL, the more writes share a page of the file

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip


def translate(error: sqlite3.Error, path: Path) -> AskOnceError:
    """What an error of SQLite means to a caller of a store."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the code tells details
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path}: {error}")
    if code == sqlite3.SQLITE_NOTADB:
        return ForeignStoreError(f"{path} is not a SQLite database; name another file, or move this one away")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"{path} is damaged ({error}); delete it, a cache fills again")
    return StoreError(f"{path}: {error}")


class Connections:
    """A store's connections to one file: one that writes, and one for each thread that reads.

    SQLite must not be carried over a fork, not even unused: before one, all connections are closed, and kept
    so until it is done. They open again by themselves.

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
        self._writer = self._new_handle()
        _alive.add(self)

    def reader(self) -> Handle:
        """The running thread's own connection."""
        try:
            handle: Handle = self._local.handle
        except AttributeError:
            handle = self._local.handle = self._new_handle()
        return handle

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read over the running thread's connection, with errors translated."""
        handle = self.reader()
        try:
            with handle.lock:
                yield handle.connection
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

    def close(self) -> None:
        """Close all, those of other threads too; what is used again opens again."""
        for handle in self._all():
            with handle.lock:
                handle.close()

    def hold(self) -> list[threading.Lock]:
        """Close all and keep them from opening; returns the locks to release."""
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

    def _new_handle(self) -> Handle:
        handle = Handle(self.path, self.timeout_seconds)
        with self._adding:
            self._handles.add(handle)
        return handle

    def _all(self) -> list[Handle]:
        with self._adding:
            return list(self._handles)


class Handle:
    """One connection: opened when it is first needed, and again after it was closed.

    Whoever uses the connection holds ``lock``, so that another thread can close it at any time.

    Args:
        path: the database's file.
        timeout_seconds: how long to wait for locks of other processes.
    """

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self.lock = threading.Lock()
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._open: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection."""
        if self._open is None:
            self._open = connect(self._path, self._timeout_seconds)
        return self._open

    def close(self) -> None:
        """Close the connection if it is open; the caller holds the lock."""
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


def connect(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Open the database in a file; make both if they do not exist.

    Raises:
        ConfigError: the file cannot be made; ``ForeignStoreError``: it is not ours.
        StoreUnavailable: it is locked, or the disk is full.
    """
    _create_file(path)
    connection = sqlite3.connect(path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)
    try:
        if not _is_ours(connection, path):
            _create_tables(connection, path, time.monotonic() + timeout_seconds)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise translate(error, path) from error
        raise
    return connection


def _create_file(path: Path) -> None:
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():  # SQLite gives -wal and -shm the mode of the file itself
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise ConfigError(f"cannot create {path}: {error.strerror}; name a file in a writable folder") from error
    except OSError as error:
        raise StoreUnavailable(f"cannot create {path}: {error.strerror}") from error
    if not path.is_file() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path} is no file in a writable folder (SQLite writes next to it); name another")


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; False for an empty database."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == sql.APPLICATION_ID and version == sql.FORMAT:
        return True
    if application == sql.APPLICATION_ID:
        raise ForeignStoreError(
            f"{path} has format {version}, this askonce reads {sql.FORMAT}: update askonce, or name another file"
        )
    if application or version or connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
        raise ForeignStoreError(f"{path} is a SQLite database of another program; name another file")
    return False


def _create_tables(connection: sqlite3.Connection, path: Path, deadline: float) -> None:
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:  # another process is doing the same: SQLite does not wait here
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_ours(connection, path):
            for statement in sql.SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {sql.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {sql.FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


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
