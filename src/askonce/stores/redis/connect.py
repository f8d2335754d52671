"""Redis URLs and clients."""

from __future__ import annotations

import os
import socket
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
from redis.crc import key_slot
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from askonce.errors import ConfigError
from askonce.stores import redact
from askonce.stores.redis import plans
from askonce.stores.redis.nodes import Nodes
from askonce.stores.redis.plans import Command

# Connections to each node: as many threads can be in a call at the same time.
POOL = 512
FIRST_TRIES = 3
# redis-py 6 took the count of a cluster's retries into its `retry` object.
_CLUSTER_TAKES_RETRY = int(redis.__version__.partition(".")[0]) >= 6


@dataclass(frozen=True, repr=False)  # no repr: it would show the password
class Server:
    """The server at a URL; opens clients for it.

    Attributes:
        url: without credentials.
        kind: ``single``, ``cluster`` or ``sentinel``.
        hosts: host and port of each node; empty for a socket.
        service: name of the master that Sentinels watch.
        options: of every connection, as redis-py names them.
    """

    url: str
    kind: str
    hosts: list[tuple[str, int]]
    service: str
    options: dict[str, Any]

    @property
    def tls(self) -> bool:
        """Whether connections are to be encrypted."""
        return "ssl" in self.options or self.options.get("connection_class") is redis.SSLConnection

    def answers_unencrypted(self) -> bool:
        """Whether the first host speaks Redis without TLS. No password is sent."""
        try:
            with socket.create_connection(self.hosts[0], self.options["socket_timeout"]) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(1) in (b"+", b"-")
        except OSError:
            return False

    def connect(self) -> Any:
        """A synchronous client. For a cluster this queries the nodes for their slots."""
        options = self.options | {"retry": Retry(NoBackoff(), 0)}
        if self.kind == "cluster":
            # If its first node is down, it takes another one for its first command, the server's list of commands.
            options["retry"] = Retry(NoBackoff(), FIRST_TRIES)
            nodes = [redis.cluster.ClusterNode(*host) for host in self.hosts]  # type: ignore[no-untyped-call]
            client = redis.cluster.RedisCluster(startup_nodes=nodes, **_cluster_options(options))
            client.retry = Retry(NoBackoff(), 0)
            return client
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
        """Options for querying the Sentinels one after the other, in no more time than one call may take."""
        shared = {name: value for name, value in options.items() if name.startswith(("ssl", "retry", "protocol"))}
        patience = options["socket_timeout"] / len(self.hosts)
        return shared | {"socket_timeout": patience, "socket_connect_timeout": patience}


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
        # The error's text may quote a part of the password: only its kind is reported.
        raise ConfigError(
            f"invalid URL {where} ({type(error).__name__}): check host:port, the database number, that "
            f"odd characters in user and password are percent-encoded, and the options after '?'"
        ) from None
    return server


def _read(parts: SplitResult, where: str, timeout_seconds: float) -> Server:
    scheme, _, kind = parts.scheme.partition("+")
    kind = kind or "single"
    if scheme != "unix" and "@" in parts.path + parts.query + parts.fragment and not parts.username:
        # Not shown: it is a part of the password.
        raise ConfigError("the store's URL has '/', '?' or '#' in user or password: percent-encode them")
    credentials, at, netloc = parts.netloc.rpartition("@")
    first, _, rest = parts.path.strip("/").partition("/")
    service, database = (unquote(first), rest) if kind == "sentinel" else ("", parts.path.strip("/"))
    if kind == "sentinel" and not service:
        raise ConfigError(f"{where} has no service name; use redis+sentinel://host:26379,host:26379/service")
    hosts: list[tuple[str, int]] = []
    if scheme == "unix":
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigError(f"{where}: this system has no Unix sockets; use redis://")
        options = parse_url(f"unix://{credentials}{at}/?{parts.query}")  # type: ignore[no-untyped-call]
        options["path"] = unquote(netloc + parts.path)
    else:
        if (database and not database.isdecimal()) or (kind == "cluster" and int(database or 0)):
            raise ConfigError(f"{where}: invalid database {database!r}" + " of a cluster" * (kind == "cluster"))
        hosts = [_host(host, 26379 if kind == "sentinel" else 6379) for host in netloc.split(",")]
        options = parse_url(f"{scheme}://{credentials}{at}/{database}?{parts.query}")  # type: ignore[no-untyped-call]
        if kind == "single":
            options["host"], options["port"] = hosts[0]
            if len(hosts) > 1:
                raise ConfigError(f"{where} has several hosts: use redis+cluster:// or redis+sentinel://")
        elif options.pop("connection_class", None) is not None:
            options["ssl"] = True
        if kind == "cluster":
            options.pop("db", None)
    defaults = {
        "protocol": 2,  # no HELLO, no pushes: faster to connect
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "health_check_interval": 0,
        "max_connections": POOL,
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
    """Make a connection object that never connects, so that unknown options raise now, not in the first call."""
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
        # Taken while it is in use, and put back by a completed read: so after an interrupt at any point, or in a
        # signal's handler that reads too, a reply still to be received is never the answer to the next read.
        opened = self._here.__dict__.pop("opened", None)
        if opened is None or opened[0] != os.getpid():
            opened = os.getpid(), self._server.connection()
            self._all.add(opened[1])
        connection = opened[1]
        try:
            connection.send_command("HGET", name, key)
            value: bytes | None = connection.read_response()
        except BaseException:
            connection.disconnect()
            raise
        self._here.opened = opened
        return value

    def close(self) -> None:
        """Close all; a thread that reads again connects again."""
        for connection in list(self._all):
            connection.disconnect()


def node_of(client: Any, name: bytes) -> str:
    """The node of a cluster that holds a key, as far as a client knows; empty if it does not."""
    slots = getattr(getattr(client, "nodes_manager", None), "slots_cache", None)
    nodes = slots.get(key_slot(name)) if slots else None
    return str(nodes[0].name) if nodes else ""


def close(client: Any) -> None:
    """Close a client and its connections to Sentinels."""
    client.close()
    for sentinel in _sentinels(client):
        sentinel.close()


async def close_async(client: Any) -> None:
    """Close an asynchronous client likewise."""
    await client.aclose()
    for sentinel in _sentinels(client):
        await sentinel.aclose()
    if isinstance(client, redis.asyncio.cluster.RedisCluster):
        # After an error it considers itself not yet opened, and closes nothing.
        nodes = client.nodes_manager
        for node in (*nodes.nodes_cache.values(), *nodes.startup_nodes.values()):
            await node.disconnect()


def _sentinels(client: Any) -> list[Any]:
    pool = getattr(client, "connection_pool", None)
    return getattr(getattr(pool, "sentinel_manager", None), "sentinels", [])


def exchange(client: Any, commands: Sequence[Command]) -> list[Any]:
    """Send commands together and return their replies; a script that the server lacks is sent to it."""
    if len(commands) == 1:
        try:
            return [client.execute_command(*commands[0])]
        except NoScriptError:
            return [client.execute_command(*plans.with_source(commands[0]))]
    pipeline = _pipeline(client)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = pipeline.execute(raise_on_error=False)
    for position in plans.to_send_again(commands, _lacking(replies)):
        replies[position] = client.execute_command(*plans.with_source(commands[position]))
    return _checked(replies)


async def exchange_async(client: Any, commands: Sequence[Command]) -> list[Any]:
    """Asynchronous `exchange`; the client of a cluster is its `Nodes`."""
    if len(commands) == 1:
        try:
            return [await client.execute_command(*commands[0])]
        except NoScriptError:
            return [await client.execute_command(*plans.with_source(commands[0]))]
    replies: list[Any]
    if isinstance(client, Nodes):
        replies = await client.execute_commands(commands)
    else:
        pipeline = _pipeline(client)
        for command in commands:
            pipeline.execute_command(*command)
        replies = await pipeline.execute(raise_on_error=False)
    for position in plans.to_send_again(commands, _lacking(replies)):
        replies[position] = await client.execute_command(*plans.with_source(commands[position]))
    return _checked(replies)


def _pipeline(client: Any) -> Any:
    return client.pipeline(transaction=False)


def _lacking(replies: Sequence[Any]) -> list[int]:
    """Which commands' scripts the server lacks."""
    return [position for position, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
