"""Stores of bytes. `open_store` opens one by its URL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from askonce.errors import AskOnceError, ConfigError, MissingExtraError, StoreUnavailable
from askonce.stores.base import DEFAULT_TIMEOUT_SECONDS, LogPage, Record, Size, Store
from askonce.stores.blocking import is_forbidden

if TYPE_CHECKING:
    from askonce.stores.mongodb.given import MongoDBClient
    from askonce.stores.redis.given import RedisClient

    Client: TypeAlias = RedisClient | MongoDBClient
else:
    Client = object
    """A ready client of a server."""

__all__ = ["Client", "LogPage", "Record", "Size", "Store", "open_store"]

logger = logging.getLogger("askonce")

# scheme -> (module, class in it, the extra that its client library is in)
_SCHEMES: dict[str, tuple[str, str, str]] = {
    "memory": ("askonce.stores.memory", "MemoryStore", ""),
    "sqlite": ("askonce.stores.sqlite.store", "SQLiteStore", ""),
    "redis": ("askonce.stores.redis", "RedisStore", "redis"),
    "rediss": ("askonce.stores.redis", "RedisStore", "redis"),
    "unix": ("askonce.stores.redis", "RedisStore", "redis"),
    "redis+cluster": ("askonce.stores.redis", "RedisStore", "redis"),
    "rediss+cluster": ("askonce.stores.redis", "RedisStore", "redis"),
    "redis+sentinel": ("askonce.stores.redis", "RedisStore", "redis"),
    "rediss+sentinel": ("askonce.stores.redis", "RedisStore", "redis"),
    "mongodb": ("askonce.stores.mongodb", "MongoDBStore", "mongodb"),
    "mongodb+srv": ("askonce.stores.mongodb", "MongoDBStore", "mongodb"),
}
# extra -> the top-level modules that it brings
_EXTRA_MODULES = {"redis": {"redis"}, "mongodb": {"pymongo", "bson"}}


def cache_directory() -> Path:
    """The folder of files without a configured path: the user's cache directory.

    Raises:
        ConfigError: there is no home directory.
    """
    import platformdirs  # here: importing it takes a millisecond

    try:
        folder = Path(platformdirs.user_cache_dir("askonce"))
    except RuntimeError as error:
        raise _homeless() from error
    if "~" in folder.parts:  # some versions do not notice that there is none
        raise _homeless()
    return folder


def _homeless() -> ConfigError:
    return ConfigError(
        "there is no home directory for the default store; give a URL such as 'sqlite:////data/cache.db', or set "
        "XDG_CACHE_HOME"
    )


def default_url() -> str:
    """The URL of the default store: a SQLite file in the user's cache directory."""
    from askonce.stores.sqlite.schema import FORMAT

    return f"sqlite:///{cache_directory() / f'cache-{FORMAT}.db'}"


def open_default_store(timeout_seconds: float) -> Store:
    """Open the default store. Since nobody named its file, one that is damaged is replaced.

    Raises:
        ConfigError: it cannot be used.
    """
    from askonce.stores.sqlite import SQLiteStore

    return _checked(SQLiteStore(default_url(), timeout_seconds=timeout_seconds, replaceable=True))


def redact(url: str) -> str:
    """A URL without its user name, password and query (where some drivers take credentials)."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    # By the last "@", and before the query is cut: an unescaped password may hold any of "/", "?" and "#".
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0]


def open_store(url: str | Client, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> Store:
    """Open the store at a URL, or over a ready client, and check that it can be used.

    ``memory://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``redis://host:6379/0``,
    ``rediss://``, ``unix:///path/to/redis.sock``, ``redis+cluster://h1:p,h2:p``,
    ``redis+sentinel://h1:p,h2:p/service``, ``mongodb://host/database``, ``mongodb+srv://``.

    A server that is down now is no error: a warning is logged, and the cache uses it as soon as it is up. Nor is
    any other one where blocking calls are forbidden (in a coroutine, under ``langgraph dev``): it is logged.

    Args:
        url: which store: a URL; or a client of Redis (synchronous or not, of a cluster or not) or a
            ``MongoClient``, which is never closed. So credentials may come from a provider, as for Entra ID or IAM.
        timeout_seconds: how long one call to it may take.

    Raises:
        ConfigError: the URL, the password or the file is wrong, or a package is missing.
    """
    return _checked(unchecked_store(url, timeout_seconds=timeout_seconds))


def unchecked_store(url: str | Client, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> Store:
    """As `open_store`, without a check: whether it can be used is not known before the first call.

    Raises:
        ConfigError: the URL is wrong, or a package is missing.
    """
    if timeout_seconds <= 0:
        raise ConfigError(f"timeout_seconds must be positive, got {timeout_seconds}")
    if not isinstance(url, str):
        if not is_client(url):  # a path, most likely
            raise ConfigError(f"a store is given by its URL, got {url!r}; for a file use 'sqlite:///path'")
        return _factory(_library(url))(url, timeout_seconds)
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"invalid store URL {redact(url)!r}; use {', '.join(f'{name}://' for name in _SCHEMES)}, "
            f"for example 'sqlite:///cache.db' or 'redis://localhost:6379/0'"
        )
    if scheme == "memory" and url.partition("://")[2]:
        raise ConfigError(f"{redact(url)!r}: memory:// takes no name; each memory store is separate")
    return _factory(scheme)(url, timeout_seconds)


def is_client(given: object) -> bool:
    """Whether it is a client of Redis or MongoDB."""
    return bool(_library(given))


def _library(given: object) -> str:
    """The scheme of the store that such a client can be, by the package of one of its classes; empty if none."""
    packages = {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
    return "redis" if "redis" in packages else "mongodb" if "pymongo" in packages else ""


def _checked(store: Store) -> Store:
    try:
        store.check()
    except StoreUnavailable as error:
        logger.warning("askonce: %s; bypassing the cache until it is up", error)
    except BaseException as error:
        if is_forbidden(error):  # on this thread, since it runs an event loop
            threading.Thread(target=_check_later, args=(store,), name="askonce-check", daemon=True).start()
            return store
        store.close()
        raise
    return store


def _check_later(store: Store) -> None:
    try:
        store.check()
    except AskOnceError as error:
        logger.warning("askonce: %s; bypassing the cache", error)


def _factory(scheme: str) -> Callable[[Any, float], Store]:
    module, name, extra = _SCHEMES[scheme]
    try:
        factory = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if extra and error.name is not None and error.name.partition(".")[0] in _EXTRA_MODULES[extra]:
            raise MissingExtraError(f"A {scheme}:// store", extra) from error
        raise
    if scheme == "memory":
        return lambda url, timeout_seconds: factory()
    return lambda url, timeout_seconds: factory(url, timeout_seconds=timeout_seconds)
