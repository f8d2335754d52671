"""The file of a SQLite store: creating and opening it, and translating its errors."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from askonce.errors import ConfigError, ForeignStoreError, StoreError, StoreUnavailable
from askonce.stores.sqlite import schema as sql

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("askonce")

OLDEST_SQLITE = (3, 35, 0)  # RETURNING
CACHE_KIB = 32 * 1024

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)  # it cannot decode its own text about a damaged file
_BESIDE, _ASIDE = ("-wal", "-shm"), ".damaged"
_AT_ODDS_WITH_ITS_INDEX = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_ROWID}
_NOTHING_SUCH = ("no such table", "no such column", "has no column", "no such index")

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip


class UnusableFile(StoreError):
    """The file is damaged, or not one of this format.

    Args:
        foreign: another program or a newer askonce may have written it.

    Attributes:
        is_replaced: it was set aside, so that the same can be done with a new file.
    """

    is_replaced = False

    def __init__(self, message: str, *, foreign: bool = False) -> None:
        super().__init__(message)
        self.foreign = foreign

    def as_config_error(self) -> ConfigError:
        """The error that refuses the file when a store is opened."""
        return ForeignStoreError(str(self)) if self.foreign else ConfigError(str(self))


def translate(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError:
    """The store's error for an error of SQLite."""
    details = getattr(error, "sqlite_errorcode", 0)
    code = details & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(
            f"{path}: {error}; make room on its disk, or delete the file (all namespaces): the cache fills again"
        )
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path}: {error}")
    if code == sqlite3.SQLITE_NOTADB:
        return UnusableFile(f"{path} is not a SQLite database; use another file, or move this one", foreign=True)
    if isinstance(error, UnicodeDecodeError):
        return UnusableFile(f"{path} is damaged; delete it; the cache fills again")
    lacks_its_tables = code == sqlite3.SQLITE_ERROR and any(text in str(error) for text in _NOTHING_SUCH)
    if lacks_its_tables or code == sqlite3.SQLITE_CORRUPT or details in _AT_ODDS_WITH_ITS_INDEX:
        return UnusableFile(f"{path} is damaged ({error}); delete it; the cache fills again")
    return StoreError(f"{path}: {error}")


def connect(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Open the database in a file; create it if the file is empty.

    The file is not mapped into memory: if another program cut it short, a read would end this process (SIGBUS).

    Raises:
        UnusableFile: it is damaged, or another program wrote it.
        StoreUnavailable: it is locked, or the disk is full.
    """
    connection = sqlite3.connect(path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)
    try:
        if not _is_ours(connection, path):
            _create_tables(connection, path, time.monotonic() + timeout_seconds)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # `Connections.transaction` does it
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA mmap_size = 0")  # some builds have another default
        connection.execute("PRAGMA secure_delete = FAST")  # what is deleted from a page is overwritten
    except BaseException as error:
        connection.close()
        if isinstance(error, SQLITE_ERRORS):
            raise translate(error, path) from error
        raise
    return connection


def create_file(path: Path) -> None:
    """Create the file and its folders, for their owner only, if they do not exist.

    Raises:
        ConfigError: the file cannot be created, or may not be read.
        StoreUnavailable: it cannot be created now.
    """
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            _create_empty(path)
    except OSError as error:
        raise _not_created(path, error) from error
    if not path.is_file() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path} is not a file in a writable folder (SQLite writes next to it); use another")
    if not os.access(path, os.R_OK):
        raise ConfigError(
            f"{path} belongs to the user with the id {path.stat().st_uid}, and this one has no permission to read "
            f"it; change its owner or its mode, or use another file"
        )


def check_creatable(path: Path) -> None:
    """See whether a file that does not exist could be created, and leave nothing behind.

    Raises:
        ConfigError: it cannot be.
        StoreUnavailable: it cannot be now.
    """
    import tempfile  # here: few look

    try:
        with tempfile.TemporaryFile(dir=nearest_folder(path)), contextlib.suppress(FileNotFoundError):
            path.stat()
    except OSError as error:
        raise _not_created(path, error) from error


def nearest_folder(path: Path) -> Path:
    """The folder of a file, or the nearest above it that exists."""
    return next(folder for folder in path.absolute().parents if folder.exists())


def _not_created(path: Path, error: OSError) -> ConfigError | StoreUnavailable:
    kinds = PermissionError | NotADirectoryError | FileExistsError
    if isinstance(error, kinds) or error.errno in (errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG):
        return ConfigError(f"cannot create {path}: {error.strerror}; use a file in a writable folder")
    return StoreUnavailable(f"cannot create {path}: {error.strerror}")


def _create_empty(path: Path) -> None:
    """Create the file; first remove what an earlier file that was deleted while open left beside it."""
    with _locked(path.parent):  # or another process's new files could be removed
        if not path.exists():
            if sys.platform != "win32":  # where an open file cannot be deleted
                for suffix in _BESIDE:
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives -wal and -shm the same mode


def set_aside(path: Path, file: tuple[int, int] | None) -> bool:
    """Rename a damaged file, so that a new one begins; returns whether it is no longer in the way.

    Args:
        path: its path.
        file: which file it is; another one that has replaced it stays.
    """
    aside = path.with_name(path.name + _ASIDE)  # one is enough, so that they do not fill the disk
    try:
        with _locked(path.parent):
            if identity(path) != file:
                return True
            for suffix in (*_BESIDE, ""):
                with suppress(FileNotFoundError):
                    path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    except OSError as error:
        logger.warning("askonce: %s is damaged and cannot be renamed: %s", path, error.strerror)
        return False
    logger.warning("askonce: %s is damaged; it is now %s, and a new cache begins", path, aside.name)
    return True


def remove_set_aside(path: Path) -> None:
    """Delete what `set_aside` renamed."""
    for suffix in (*_BESIDE, ""):
        path.with_name(f"{path.name}{_ASIDE}{suffix}").unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among the processes that create or rename files in a folder, where the file system can do that."""
    if sys.platform == "win32":
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network and container file systems do not lock folders
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


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
        raise UnusableFile(
            f"{path} has format {version}, this askonce reads {sql.FORMAT}: update askonce, or use another file",
            foreign=True,
        )
    if application or version or has_tables:
        raise UnusableFile(f"{path} is a SQLite database of another program; use another file", foreign=True)
    return False


def _create_tables(connection: sqlite3.Connection, path: Path, deadline: float) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # the file can become smaller; only before it has tables
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
