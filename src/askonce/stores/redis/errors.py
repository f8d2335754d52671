"""What redis-py's errors mean, and what to do about those that will not pass by themselves."""

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
# Errors from within a script keep the server's code in their text, and not their class.
_UNAVAILABLE_CODES = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN)\b"
)
# What the server says -> what the store's user is told, after the URL.
_ADVICE = [
    (
        r"NOPERM|[Nn]o permissions|user executing the script",
        " refused us: the user needs hash, sorted-set, list, string and scripting commands on keys askonce:* "
        "(ACL '~askonce:* +@all -@dangerous')",
    ),
    (r"called without any password", " has no password: leave it out of the URL"),
    (r"WRONGPASS|invalid (username-)?password", " refused us: the user or the password in the URL is wrong"),
    (r"NOAUTH|Authentication required", " refused us: the password is missing in the URL (redis://:password@host)"),
    (
        r"DB index is out of range|invalid DB index",
        ": check the database number: 0–15 unless the server allows more",
    ),
    (r"unknown command\W+SENTINEL", " is no Sentinel: use redis:// in place of redis+sentinel://"),
    (r"Cluster mode is not enabled", " is no cluster: use redis:// in place of redis+cluster://"),
    (r"MOVED|CROSSSLOT", " is a node of a cluster: use redis+cluster:// in place of redis://"),
    (r"CERTIFICATE_VERIFY_FAILED", ": its certificate is not trusted: name its authority with ?ssl_ca_certs=path"),
    # Not UNEXPECTED_EOF_WHILE_READING: so ends a handshake with a server that goes down.
    (r"\[SSL: (?!UNEXPECTED_EOF)\w+|\[SSL\]", ": TLS failed: check that the port speaks TLS"),
]


def store_error(error: BaseException, where: str) -> StoreError:
    """What an error of redis-py means to a store's caller."""
    text = str(error).partition(" : <redis")[0]  # of a Sentinel's master: what follows are all options
    said = f"{where}: {type(error).__name__}: {text}"
    if isinstance(error, _UNAVAILABLE) or _UNAVAILABLE_CODES.search(str(error)):
        return StoreUnavailable(said)
    return StoreError(said)


def config_error(error: StoreError, where: str) -> ConfigError | None:
    """The error for what will not go away by waiting, or ``None``."""
    for said, advice in _ADVICE:
        if re.search(said, f"{error} {error.__cause__}"):
            return ConfigError(where + advice)
    return None
