"""A ready client of the application's: it is used, never closed, and others like it are opened beside it."""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster

from askonce.errors import ConfigError
from askonce.stores.redis.connect import POOL, Server

RedisClient: TypeAlias = (
    redis.Redis | redis.cluster.RedisCluster | redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster
)

logger = logging.getLogger("askonce")

_ASYNCHRONOUS = (redis.asyncio.Redis, redis.asyncio.cluster.RedisCluster)
_CLUSTERS = (redis.cluster.RedisCluster, redis.asyncio.cluster.RedisCluster)
_SHARED = ("db", "username", "password", "credential_provider", "client_name", "protocol", "path")
"""The options by which another client is opened at the same server; with those that begin with ``ssl_``."""


def is_asynchronous(client: Any) -> bool:
    """Whether a client is for an event loop."""
    return isinstance(client, _ASYNCHRONOUS)


def server_of(client: Any, timeout_seconds: float) -> Server:
    """The server of a client: how to open others there, as ``redis.Redis`` for threads or for an event loop.

    Raises:
        ConfigError: it decodes answers, which are bytes here; or is of a kind that cannot be read.
    """
    try:
        if isinstance(client, _CLUSTERS):
            return _of_cluster(client, timeout_seconds)
        pool = client.connection_pool
        if hasattr(pool, "sentinel_manager"):
            sentinels = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
            hosts = [(given["host"], given["port"]) for given in sentinels]
            options = _options(pool.connection_kwargs, timeout_seconds)
            if "SSL" in pool.connection_class.__name__:
                options["ssl"] = True
            return Server(_named("redis+sentinel", hosts), "sentinel", hosts, pool.service_name, options)
        return _of_single(pool, timeout_seconds)
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"a {type(client).__name__} cannot be used as a store ({type(error).__name__}: {error}); give a "
            "redis.Redis, a redis.asyncio.Redis, a cluster's client, or a URL"
        ) from error


def _of_single(pool: Any, timeout_seconds: float) -> Server:
    given = pool.connection_kwargs
    options = _options(given, timeout_seconds) | {"max_connections": POOL}
    hosts = [(given["host"], given["port"])] if "host" in given else []
    if hosts:
        options["host"], options["port"] = hosts[0]
    name = pool.connection_class.__name__
    if name != "Connection":
        if not hasattr(redis, name):
            raise TypeError(f"its connections are {name}")
        options["connection_class"] = getattr(redis, name)
    url = _named("rediss" if "SSL" in name else "redis", hosts) if hosts else f"unix://{options['path']}"
    return Server(f"{url}/{given.get('db') or 0}" if hosts else url, "single", hosts, "", options)


def _of_cluster(client: Any, timeout_seconds: float) -> Server:
    nodes = client.nodes_manager.startup_nodes.values()
    hosts = [(node.host, int(node.port)) for node in nodes]
    given = getattr(client, "connection_kwargs", None) or client.nodes_manager.connection_kwargs
    options = _options(given, timeout_seconds)
    options.pop("db", None)
    if "SSL" in getattr(given.get("connection_class"), "__name__", "") or given.get("ssl"):
        options["ssl"] = True
    return Server(_named("redis+cluster", hosts), "cluster", hosts, "", options)


def _named(scheme: str, hosts: list[tuple[str, int]]) -> str:
    return f"{scheme}://" + ",".join(f"{host}:{port}" for host, port in hosts)


def _options(given: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
    if given.get("decode_responses"):
        raise ConfigError("a client with decode_responses=True cannot be used as a store: values are bytes")
    if given.get("socket_timeout") is None:
        logger.warning(
            "askonce: the Redis client has no socket_timeout, so that a server that hangs blocks its callers; "
            "give it one, such as socket_timeout=%s",
            timeout_seconds,
        )
    shared = {
        name: value
        for name, value in given.items()
        if value is not None and (name in _SHARED or name.startswith("ssl_"))
    }
    defaults = {"protocol": 2, "health_check_interval": 0, "decode_responses": False}
    times = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    return defaults | shared | times
