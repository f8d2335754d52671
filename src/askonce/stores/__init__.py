"""Stores of bytes. `open_store` opens one by its URL."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from askonce.errors import ConfigError, MissingExtraError, StoreUnavailable
from askonce.stores.base import DEFAULT_TIMEOUT_SECONDS, LogPage, Record, Size, Store

__all__ = ["LogPage", "Record", "Size", "Store", "open_store"]

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
    """The folder of files without a configured path: the user's cache directory."""
    import platformdirs  # here: importing it takes a millisecond

    return Path(platformdirs.user_cache_dir("askonce"))


def default_url() -> str:
    """The URL of the default store: a SQLite file in the user's cache directory."""
    return f"sqlite:///{cache_directory() / 'cache.db'}"


def open_default_store(timeout_seconds: float) -> Store:
    """Open the default store.

    Raises:
        ConfigError: it cannot be used.
    """
    return open_store(default_url(), timeout_seconds=timeout_seconds)


def redact(url: str) -> str:
    """A URL without its user name, password and query (where some drivers take credentials)."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    # By the last "@", and before the query is cut: an unescaped password may hold any of "/", "?" and "#".
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0]


def open_store(url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> Store:
    """Open the store at a URL, and check that it can be used.

    ``memory://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``redis://host:6379/0``,
    ``rediss://``, ``unix:///path/to/redis.sock``, ``redis+cluster://h1:p,h2:p``,
    ``redis+sentinel://h1:p,h2:p/service``, ``mongodb://host/database``, ``mongodb+srv://``.

    A server that is down now is no error: a warning is logged, and the cache uses it as soon as it is up.

    Args:
        url: which store.
        timeout_seconds: how long one call to it may take.

    Raises:
        ConfigError: the URL, the password or the file is wrong, or a package is missing.
    """
    if not isinstance(url, str):  # a path, most likely
        raise ConfigError(f"a store is given by its URL, got {url!r}; for a file use 'sqlite:///path'")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"invalid store URL {redact(url)!r}; use {', '.join(f'{name}://' for name in _SCHEMES)}, "
            f"for example 'sqlite:///cache.db' or 'redis://localhost:6379/0'"
        )
    if scheme == "memory" and url.partition("://")[2]:
        raise ConfigError(f"{redact(url)!r}: memory:// takes no name; each memory store is separate")
    if timeout_seconds <= 0:
        raise ConfigError(f"timeout_seconds must be positive, got {timeout_seconds}")
    store = _factory(scheme)(url, timeout_seconds)
    try:
        store.check()
    except StoreUnavailable as error:
        logger.warning("askonce: %s; bypassing the cache until it is up", error)
    except BaseException:
        store.close()
        raise
    return store


def _factory(scheme: str) -> Callable[[str, float], Store]:
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
