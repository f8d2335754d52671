"""Translates redis-py's errors, with advice on those that persist."""

from __future__ import annotations

import re

from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,
    TryAgainError,
)

from askonce.errors import ConfigError, StoreError, StoreUnavailable

CLOSED = (ConnectionError, AttributeError)
"""The connection was closed. AttributeError: by another task, after redis-py's asynchronous cluster client had an
error there, while it was in use here; the stream is ``None`` then."""
REDIS_ERRORS = (RedisError, RedisClusterException, OSError, *CLOSED)
"""What redis-py raises."""

_UNAVAILABLE = (
    *(*CLOSED, TimeoutError, ClusterDownError, RedisClusterException, OSError),
    *(ReadOnlyError, OutOfMemoryError, TryAgainError),
)
# Errors from within a script have the server's code in their text, not their class.
_UNAVAILABLE_CODES = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN)\b"
)
# The server's message -> the advice to the user, after the URL.
_ADVICE = [
    (
        r"NOPERM|[Nn]o permissions|user executing the script",
        " refused access: {words}. The user needs: {rights}",
    ),
    (r"called without any password", " has no password: leave it out of the URL"),
    (r"WRONGPASS|invalid (username-)?password", " refused access: the user or the password in the URL is wrong"),
    (
        r"NOAUTH|Authentication required",
        " refused access: the password is missing in the URL (redis://:password@host)",
    ),
    (
        r"DB index is out of range|invalid DB index",
        ": check the database number: 0–15 unless the server allows more",
    ),
    (r"unknown command\W+SENTINEL", " is not a Sentinel: use redis:// instead of redis+sentinel://"),
    (
        r"Cluster mode is not enabled",
        " is not a cluster: use redis:// instead of redis+cluster:// (or its user lacks the right +cluster|slots)",
    ),
    (r"MOVED|CROSSSLOT", " is a node of a cluster: use redis+cluster:// instead of redis://"),
    (r"CERTIFICATE_VERIFY_FAILED", ": its certificate is not trusted: give its authority with ?ssl_ca_certs=path"),
    # Not UNEXPECTED_EOF_WHILE_READING: a handshake with a server that shuts down ends with it.
    (r"\[SSL: (?!UNEXPECTED_EOF)\w+|\[SSL\]", ": TLS failed: check that the port speaks TLS"),
]


def store_error(error: BaseException, where: str) -> StoreError:
    """The store's error for an error of redis-py."""
    text = str(error).partition(" : <redis")[0]  # of a Sentinel's master: what follows are all options
    message = f"{where}: {type(error).__name__}: {text}"
    if isinstance(error, _UNAVAILABLE) or _UNAVAILABLE_CODES.search(str(error)):
        return StoreUnavailable(message)
    return StoreError(message)


def config_error(error: StoreError, where: str, rights: str) -> ConfigError | None:
    """The error for what persists, or ``None``; ``rights`` are those that the user needs."""
    for pattern, advice in _ADVICE:
        if re.search(pattern, f"{error} {error.__cause__}"):
            words = str(error).removeprefix(f"{where}: ")
            return ConfigError(where + advice.replace("{words}", words).replace("{rights}", rights))
    return None
