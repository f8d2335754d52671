"""How a Redis server is reached: URLs, clients, and what their errors mean."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

from askonce.errors import ConfigError, StoreError, StoreUnavailable
from askonce.stores import redact
from askonce.stores.redis import plans
from askonce.stores.redis.plans import Command

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
_REFUSED = re.compile(
    r"WRONGPASS|NOAUTH|NOPERM|invalid (username-)?password|Authentication required|[Nn]o permissions"
    r"|user executing the script|called without any password"
)
# Connections to each node: as many threads can be in a call at the same time.
_POOL = 512
# redis-py 6 took the count of a cluster's retries into its `retry` object.
_CLUSTER_TAKES_RETRY = int(redis.__version__.partition(".")[0]) >= 6


@dataclass(frozen=True, repr=False)  # no repr: it would show the password
class Server:
    """Where a URL points, and how to open clients for it.

    Attributes:
        url: without credentials.
        kind: ``single``, ``cluster`` or ``sentinel``.
        hosts: host and port of each node named; empty for a socket.
        service: name of the master that Sentinels watch.
        options: of every connection, as redis-py names them.
    """

    url: str
    kind: str
    hosts: list[tuple[str, int]]
    service: str
    options: dict[str, Any]

    def connect(self) -> Any:
        """A synchronous client. For a cluster this asks the nodes for their slots."""
        options = self.options | {"retry": Retry(NoBackoff(), 0)}
        if self.kind == "cluster":
            nodes = [redis.cluster.ClusterNode(*host) for host in self.hosts]  # type: ignore[no-untyped-call]
            return redis.cluster.RedisCluster(startup_nodes=nodes, **_cluster_options(options))
        if self.kind == "sentinel":
            sentinel = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]
                self.hosts, sentinel_kwargs=self._of_sentinels(options), **options
            )
            return sentinel.master_for(self.service)  # type: ignore[no-untyped-call]
        return redis.Redis.from_pool(redis.ConnectionPool(**options))

    def connection(self) -> Any:
        """A single connection to a single server; it connects itself, anew after each error."""
        options = {name: value for name, value in self.options.items() if name != "max_connections"}
        connection_class: Any = options.pop("connection_class", redis.Connection)
        return connection_class(**options, retry=Retry(NoBackoff(), 0))

    def connect_async(self) -> Any:
        """An asynchronous client, for one event loop."""
        options = self.options | {"retry": redis.asyncio.retry.Retry(NoBackoff(), 0)}
        if self.kind == "cluster":
            nodes = [redis.asyncio.cluster.ClusterNode(*host) for host in self.hosts]
            return redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, **_cluster_options(options))
        if self.kind == "sentinel":
            sentinel = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]
                self.hosts, sentinel_kwargs=self._of_sentinels(options), **options
            )
            return sentinel.master_for(self.service)
        if "connection_class" in options:  # the class of the same name for asyncio
            options["connection_class"] = getattr(redis.asyncio, options["connection_class"].__name__)
        return redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(**options))

    def _of_sentinels(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options for asking the Sentinels, one after the other in no more time than one call may take."""
        kept = {name: value for name, value in options.items() if name.startswith(("ssl", "retry", "protocol"))}
        patience = options["socket_timeout"] / len(self.hosts)
        return kept | {"socket_timeout": patience, "socket_connect_timeout": patience}


def _cluster_options(options: dict[str, Any]) -> dict[str, Any]:
    return options if _CLUSTER_TAKES_RETRY else options | {"cluster_error_retry_attempts": 1}


def server_at(url: str, timeout_seconds: float) -> Server:
    """Read a URL.

    Raises:
        ConfigError: it cannot be read, or has an option that redis-py does not know.
    """
    where = redact(url)
    try:
        server = _read(urlsplit(url), where, timeout_seconds)
    except ConfigError:
        raise
    except (TypeError, ValueError, RedisError) as error:
        # The error's text may quote a part of the password: only its kind is told.
        raise ConfigError(
            f"{where} cannot be read ({type(error).__name__}): check host:port, the database number, that "
            f"odd characters in user and password are percent-encoded, and the options after '?'"
        ) from None
    return server


def _read(parts: SplitResult, where: str, timeout_seconds: float) -> Server:
    scheme, _, kind = parts.scheme.partition("+")
    kind = kind or "single"
    if scheme != "unix" and "@" in parts.path + parts.query + parts.fragment and not parts.username:
        # Not shown: what stands there is a part of the password.
        raise ConfigError("The store's URL has '/', '?' or '#' in user or password: percent-encode them")
    credentials, at, netloc = parts.netloc.rpartition("@")
    first, _, rest = parts.path.strip("/").partition("/")
    service, database = (unquote(first), rest) if kind == "sentinel" else ("", parts.path.strip("/"))
    if kind == "sentinel" and not service:
        raise ConfigError(f"{where} names no service: redis+sentinel://host:26379,host:26379/service")
    hosts: list[tuple[str, int]] = []
    if scheme == "unix":
        options = parse_url(f"unix://{credentials}{at}/?{parts.query}")  # type: ignore[no-untyped-call]
        options["path"] = unquote(netloc + parts.path)
    else:
        if (database and not database.isdecimal()) or (kind == "cluster" and int(database or 0)):
            raise ConfigError(f"{where}: {database!r} is no database" + " of a cluster" * (kind == "cluster"))
        hosts = [_host(host, 26379 if kind == "sentinel" else 6379) for host in netloc.split(",")]
        options = parse_url(f"{scheme}://{credentials}{at}/{database}?{parts.query}")  # type: ignore[no-untyped-call]
        if kind == "single":
            options["host"], options["port"] = hosts[0]
            if len(hosts) > 1:
                raise ConfigError(f"{where} names several hosts: use redis+cluster:// or redis+sentinel://")
        elif options.pop("connection_class", None) is not None:
            options["ssl"] = True
        if kind == "cluster":
            options.pop("db", None)
    defaults = {
        "protocol": 2,  # no HELLO, no pushes: one thing less for a connection to do
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "health_check_interval": 0,
        "max_connections": _POOL,
    }
    options = defaults | options | {"decode_responses": False}
    _try_options(options)
    return Server(where, kind, hosts, service, options)


def _host(host: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if parts.port == 0 or any(character.isspace() for character in host):
        raise ValueError
    return parts.hostname or "localhost", parts.port or default_port


def _try_options(options: dict[str, Any]) -> None:
    """Make a connection object that never connects, so that unknown options show now and not in the first call."""
    tried = {name: value for name, value in options.items() if name not in ("max_connections", "ssl")}
    default = redis.SSLConnection if "ssl" in options else redis.Connection
    connection_class: Any = tried.pop("connection_class", default)
    connection_class(**tried)


class Readers:
    """A connection for each thread, for single reads from a single server.

    Without redis-py's pool and retries around it, a command takes a third less time.

    Args:
        server: where to.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._here = threading.local()
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()

    def hget(self, name: bytes, key: bytes) -> bytes | None:
        """One field of a hash.

        Raises:
            RedisError: as redis-py raises it.
        """
        try:
            pid, connection = self._here.opened
        except AttributeError:
            pid, connection = 0, None
        if pid != os.getpid():
            connection = self._server.connection()
            self._here.opened = (os.getpid(), connection)
            self._all.add(connection)
        connection.send_command("HGET", name, key)
        value: bytes | None = connection.read_response()
        return value

    def close(self) -> None:
        """Close all; a thread that reads again connects again."""
        for connection in list(self._all):
            connection.disconnect()


def close(client: Any) -> None:
    """Close a client and the connections to Sentinels that it asked."""
    client.close()
    for sentinel in _sentinels(client):
        sentinel.close()


async def close_async(client: Any) -> None:
    """Close an asynchronous client likewise."""
    await client.aclose()
    for sentinel in _sentinels(client):
        await sentinel.aclose()
    if isinstance(client, redis.asyncio.cluster.RedisCluster):
        # After an error it holds itself for not yet opened, and closes nothing.
        nodes = client.nodes_manager
        for node in (*nodes.nodes_cache.values(), *nodes.startup_nodes.values()):
            await node.disconnect()


def _sentinels(client: Any) -> list[Any]:
    pool = getattr(client, "connection_pool", None)
    return getattr(getattr(pool, "sentinel_manager", None), "sentinels", [])


def exchange(client: Any, commands: Sequence[Command]) -> list[Any]:
    """Send commands together and give their replies; a server that does not know a script is sent it."""
    if len(commands) == 1:
        try:
            return [client.execute_command(*commands[0])]
        except NoScriptError:
            return [client.execute_command(*plans.with_source(commands[0]))]
    pipeline = _pipeline(client)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = pipeline.execute(raise_on_error=False)
    for position, reply in enumerate(replies):
        if isinstance(reply, NoScriptError):
            replies[position] = client.execute_command(*plans.with_source(commands[position]))
    return _checked(replies)


async def exchange_async(client: Any, commands: Sequence[Command]) -> list[Any]:
    """Asynchronous `exchange`."""
    if len(commands) == 1:
        try:
            return [await client.execute_command(*commands[0])]
        except NoScriptError:
            return [await client.execute_command(*plans.with_source(commands[0]))]
    pipeline = _pipeline(client)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    for position, reply in enumerate(replies):
        if isinstance(reply, NoScriptError):
            replies[position] = await client.execute_command(*plans.with_source(commands[position]))
    return _checked(replies)


def _pipeline(client: Any) -> Any:
    return client.pipeline(transaction=False)


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def store_error(error: BaseException, where: str) -> StoreError:
    """What an error of redis-py means to a store's caller."""
    said = f"{where}: {type(error).__name__}: {error}"
    if isinstance(error, _UNAVAILABLE) or _UNAVAILABLE_CODES.search(str(error)):
        return StoreUnavailable(said)
    return StoreError(said)


def config_error(error: StoreError, where: str) -> ConfigError | None:
    """The error for what will not go away by waiting, or ``None``."""
    text = str(error)
    if _REFUSED.search(text):
        return ConfigError(
            f"{where} refused us: check user and password in the URL, and that the user may run hash, sorted-set, "
            f"list, string and scripting commands on keys askonce:* (ACL '~askonce:* +@all -@dangerous'); "
            f"the server said: {_REFUSED.search(text).group()}"  # type: ignore[union-attr]
        )
    if "Cluster mode is not enabled" in text:
        return ConfigError(f"{where} is no cluster: use redis:// in place of redis+cluster://")
    if "MOVED" in text or "CROSSSLOT" in text:
        return ConfigError(f"{where} is a node of a cluster: use redis+cluster:// in place of redis://")
    return None
