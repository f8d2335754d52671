"""The file of a SQLite store: creating and opening it, and translating its errors."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import time
from pathlib import Path

from askonce.errors import AskOnceError, ConfigError, ForeignStoreError, StoreError, StoreUnavailable
from askonce.stores.sqlite import schema as sql

if sys.platform != "win32":
    import fcntl

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
    """The store's error for an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the other bits are details
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path}: {error}")
    if code == sqlite3.SQLITE_NOTADB:
        return ForeignStoreError(f"{path} is not a SQLite database; use another file, or move this one")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"{path} is damaged ({error}); delete it; the cache fills again")
    return StoreError(f"{path}: {error}")


def connect(path: Path, timeout_seconds: float, *, writes: bool = False) -> sqlite3.Connection:
    """Open the database in a file; create it if the file is empty.

    A writing connection has no memory map: each page that it changes would be copied out of it first.

    Raises:
        ForeignStoreError: another program wrote it.
        StoreUnavailable: it is locked, or the disk is full.
    """
    connection = sqlite3.connect(path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)
    try:
        if not _is_ours(connection, path):
            _create_tables(connection, path, time.monotonic() + timeout_seconds)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA mmap_size = {0 if writes else MMAP_BYTES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise translate(error, path) from error
        raise
    return connection


def create_file(path: Path) -> None:
    """Create the file and its folders, for their owner only, if they do not exist.

    Raises:
        ConfigError: the file cannot be created.
        StoreUnavailable: it cannot be created now.
    """
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            _create_empty(path)
    except OSError as error:
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or error.errno == errno.EROFS:
            raise ConfigError(f"cannot create {path}: {error.strerror}; use a file in a writable folder") from error
        raise StoreUnavailable(f"cannot create {path}: {error.strerror}") from error
    if not path.is_file() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path} is not a file in a writable folder (SQLite writes next to it); use another")


def _create_empty(path: Path) -> None:
    """Create the file; first remove what an earlier file that was deleted while open left beside it."""
    if sys.platform == "win32":  # where an open file cannot be deleted
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # or another process's new files could be removed
        if not path.exists():
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives -wal and -shm the same mode
    finally:
        os.close(folder)


def identity(path: Path) -> tuple[int, int] | None:
    """Distinguishes a file from another one that replaces it while it is open; ``None`` if there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; False for an empty database."""
    # One statement, so that tables which another process creates meanwhile are seen as a whole or not at all.
    application, version, has_tables = connection.execute(sql.WHOSE).fetchone()
    if application == sql.APPLICATION_ID and version == sql.FORMAT:
        return True
    if application == sql.APPLICATION_ID:
        raise ForeignStoreError(
            f"{path} has format {version}, this askonce reads {sql.FORMAT}: update askonce, or use another file"
        )
    if application or version or has_tables:
        raise ForeignStoreError(f"{path} is a SQLite database of another program; use another file")
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
