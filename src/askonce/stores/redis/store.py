"""The store over Redis."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from redis.exceptions import NoPermissionError

from askonce.errors import ConfigError, StoreError, StoreUnavailable
from askonce.eviction.policy import UNLIMITED, Budget, Policy
from askonce.stores.base import DEFAULT_TIMEOUT_SECONDS, Claimed, Clock, LogPage, Page, Record, Size, Store
from askonce.stores.redis import connect, errors, given, plans
from askonce.stores.redis.nodes import Nodes
from askonce.stores.redis.plans import Command, Plan, T
from askonce.stores.redis.rights import CLUSTER_RIGHTS, RIGHTS, VECTOR_RIGHTS
from askonce.stores.redis.vectors import VectorSets
from askonce.stores.shutdown import refuse_at_exit

logger = logging.getLogger("askonce")

_NO_WAIT = contextlib.nullcontext()
OLDEST = (6, 2)
CONNECTIONS = 64
"""How many connections an event loop uses at once; more calls wait for one, at most for the timeout."""
READ_BATCH = 128
"""How many lookups of one turn of the event loop go into one command at most."""


_Lookup = tuple[bytes, asyncio.Future[bytes | None]]


@dataclass(eq=False)
class _Loop:
    """The state of one event loop: a client, and the lookups that wait for the end of this turn."""

    client: Any
    is_given: bool = False  # the application opened the client
    nodes: Nodes | None = None  # of a cluster
    ending: AsyncGenerator[None, None] = field(init=False)
    lookups: dict[bytes, list[_Lookup]] = field(default_factory=dict)
    reads: set[asyncio.Task[None]] = field(default_factory=set)
    busy: bool = False  # a single lookup is in progress; others that arrive meanwhile are sent together
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS))


class RedisStore(VectorSets, Store):
    """Stores records on a Redis or Valkey server, version 6.2 or newer; no server modules are needed.

    On a cluster a namespace has 64 shards with an equal part of the budget each, so the evicted
    record is not always the lowest of all. Connections are opened when they are first needed.

    A command whose connection broke is sent once more on a new one. So an event may be twice in the change log
    if the connection breaks while it is appended.

    Args:
        store: a URL: ``redis://user:password@host:6379/0``, ``rediss://`` (TLS),
            ``unix:///path/to/redis.sock?db=0``, ``redis+cluster://host:port,host:port``,
            ``redis+sentinel://host:port,host:port/service/0``; also ``rediss+cluster://`` and
            ``rediss+sentinel://``. Options after ``?`` are passed to redis-py. Or a ready client, which is used
            with its own time limits and never closed: a synchronous one by threads, an asynchronous one on the
            first event loop that calls. For the others, clients with the same options and credentials are opened.
        timeout_seconds: how long to wait for a connection, and for each answer.
        clock: seconds since the epoch. Processes that share a server should have synchronized clocks.

    Raises:
        ConfigError: the URL is invalid.
    """

    def __init__(
        self, store: Any, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, clock: Clock = time.time
    ) -> None:
        given_client = None if isinstance(store, str) else store
        if given_client is None:
            self._server = connect.server_at(store, timeout_seconds)
        else:
            self._server = given.server_of(given_client, timeout_seconds)
        is_async = given_client is not None and given.is_asynchronous(given_client)
        self._given = None if is_async else given_client
        self._given_async = given_client if is_async else None
        self.url = self._server.url
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._shards = plans.CLUSTER_SHARDS if self._server.kind == "cluster" else 1
        self.rights = f"{RIGHTS} {CLUSTER_RIGHTS}" if self._server.kind == "cluster" else RIGHTS
        self.vector_rights = VECTOR_RIGHTS
        self._plans = plans.Plans(self._shards, clock)
        direct = self._server.kind == "single" and self._given is None
        self._readers = connect.Readers(self._server) if direct else None
        self._opened: tuple[int, Any] = (0, None)  # the client, and its process: none survives a fork
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()

    # -- sending ---------------------------------------------------------------------------------------------

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        refuse_at_exit(self.url)
        started = time.monotonic()
        while True:
            try:
                pid, client = self._opened
                if pid != os.getpid():
                    client = self._connect()
                return connect.exchange(client, commands)
            except errors.REDIS_ERRORS as error:
                if not self._may_be_stale(error, started):
                    raise errors.store_error(error, self.url) from error
                started = 0.0
            except BaseException:  # interrupted: a connection in the pool may have an answer still to receive
                self._opened = (0, None)
                raise

    async def _asend(self, here: _Loop, commands: Sequence[Command]) -> list[Any]:
        started = time.monotonic()
        while True:
            try:
                if here.nodes is not None:
                    await here.nodes.ready()
                async with asyncio.timeout(self._timeout_seconds) if here.room.locked() else _NO_WAIT:
                    await here.room.acquire()
                try:
                    return await connect.exchange_async(here.nodes or here.client, commands)
                finally:
                    here.room.release()
            except errors.REDIS_ERRORS as error:
                if not self._may_be_stale(error, started):
                    raise errors.store_error(error, self.url) from error
                started = 0.0

    def _may_be_stale(self, error: BaseException, started: float) -> bool:
        """Whether the server may have closed an idle connection, so that one more try on a new one is due."""
        return isinstance(error, errors.CLOSED) and time.monotonic() - started < self._timeout_seconds / 2

    def _run(self, plan: Plan[T]) -> T:
        try:
            commands = next(plan)
            while True:
                commands = plan.send(self._send(commands))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _arun(self, plan: Plan[T]) -> T:
        here = await self._here()
        try:
            commands = next(plan)
            while True:
                commands = plan.send(await self._asend(here, commands))
        except StopIteration as done:
            result: T = done.value
            return result

    def part(self, namespace: str, key: bytes) -> str:
        return self._node_of(plans.shard(namespace, plans.shard_of(key, self._shards)).values)

    def _node_of(self, name: bytes) -> str:
        """The node of a cluster that holds a key, as far as a client knows it."""
        if self._server.kind != "cluster":
            return ""
        clients = [here.client for here in list(self._loops.values())] + [self._opened[1]]
        return next(filter(None, (connect.node_of(client, name) for client in clients)), "")

    def _connect(self) -> Any:
        # No lock: with a cluster that is down, threads would wait for each other's time-outs. Of two clients
        # that are opened at the same time, one is dropped.
        client = self._server.connect() if self._given is None else self._given
        self._opened = (os.getpid(), client)
        return client

    async def _here(self) -> _Loop:
        """The state of the running event loop."""
        refuse_at_exit(self.url)
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            ready, self._given_async = self._given_async, None  # it belongs to one loop, the first
            client = self._server.connect_async() if ready is None else ready
            nodes = Nodes(client) if self._server.kind == "cluster" else None
            here = _Loop(client, is_given=ready is not None, nodes=nodes)
            here.ending = self._until_the_end(here)
            self._loops[loop] = here
            for other in [reference() for reference in self._loops.keyrefs()]:
                if other is not None and other.is_closed():
                    self._loops.pop(other, None)
            await anext(here.ending)
        return here

    async def _until_the_end(self, here: _Loop) -> AsyncGenerator[None, None]:
        # A loop closes its asynchronous generators before it ends: so connections are closed in time also
        # without a call of `aclose`, as with several `asyncio.run` in a row.
        try:
            yield
        finally:
            self._loops.pop(asyncio.get_running_loop(), None)
            if here.nodes is not None:
                await here.nodes.aclose()
            if not here.is_given:
                await connect.close_async(here.client)

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, namespace: str, key: bytes) -> bytes | None:
        refuse_at_exit(self.url)
        name = plans.shard(namespace, plans.shard_of(key, self._shards)).values
        if self._readers is not None:
            try:
                return plans.unpacked(self._readers.hget(name, key), self._clock())
            except errors.CLOSED:
                pass  # perhaps idle for too long: `_send` tries once more
            except errors.REDIS_ERRORS as error:
                raise errors.store_error(error, self.url) from error
        return plans.unpacked(self._send([("HGET", name, key)])[0], self._clock())

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        here = self._loops.get(asyncio.get_running_loop()) or await self._here()
        name = plans.shard(namespace, plans.shard_of(key, self._shards)).values
        if here.busy:
            return plans.unpacked(await self._lookup(here, name, key), self._clock())
        here.busy = True
        try:
            return plans.unpacked((await self._asend(here, [("HGET", name, key)]))[0], self._clock())
        finally:
            here.busy = False

    async def _lookup(self, here: _Loop, name: bytes, key: bytes) -> bytes | None:
        """One lookup of many: all of one turn of the event loop are sent together."""
        loop = asyncio.get_running_loop()
        if not here.lookups:
            loop.call_soon(self._send_lookups, here)
        found: asyncio.Future[bytes | None] = loop.create_future()
        here.lookups.setdefault(name, []).append((key, found))
        return await found

    def _send_lookups(self, here: _Loop) -> None:
        nodes: dict[str, dict[bytes, list[_Lookup]]] = {}  # one that is down fails only what lies there
        for name, waiting in here.lookups.items():
            nodes.setdefault(self._node_of(name), {})[name] = waiting
        here.lookups = {}
        for lookups in nodes.values():
            read = asyncio.get_running_loop().create_task(self._read(here, lookups))
            here.reads.add(read)
            read.add_done_callback(here.reads.discard)

    async def _read(self, here: _Loop, lookups: dict[bytes, list[_Lookup]]) -> None:
        batches = [
            (name, waiting[start : start + READ_BATCH])
            for name, waiting in lookups.items()
            for start in range(0, len(waiting), READ_BATCH)
        ]
        commands: list[Command] = [("HMGET", name, *(key for key, _ in batch)) for name, batch in batches]
        futures = [found for _, batch in batches for _, found in batch]
        try:
            replies = await self._asend(here, commands)
        except BaseException as error:
            for found in futures:
                if not found.done():
                    found.set_exception(error) if isinstance(error, Exception) else found.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for found, stored in zip(futures, itertools.chain.from_iterable(replies), strict=True):
                if not found.done():  # its caller may have been cancelled
                    found.set_result(stored)

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._run(self._plans.get_many(namespace, keys))

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return await self._arun(self._plans.get_many(namespace, keys))

    def get_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        return self._run(self._plans.get_many_with_log(namespace, keys, log, after, limit))

    async def aget_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int = 1000
    ) -> tuple[list[bytes | None], LogPage]:
        return await self._arun(self._plans.get_many_with_log(namespace, keys, log, after, limit))

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        for number in range(self._shards):
            seen: set[bytes] = set()  # HSCAN may give a record twice
            cursor = 0
            while True:
                cursor, page = self._run(self._plans.scan_page(namespace, number, cursor))
                yield from plans.fresh(page, seen, self._clock())
                if not cursor:
                    break

    async def ascan(self, namespace: str) -> AsyncIterator[tuple[bytes, bytes]]:
        for number in range(self._shards):
            seen: set[bytes] = set()
            cursor = 0
            while True:
                cursor, page = await self._arun(self._plans.scan_page(namespace, number, cursor))
                for row in plans.fresh(page, seen, self._clock()):
                    yield row
                if not cursor:
                    break

    def page(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        return self._run(self._plans.page(namespace, cursor, limit))

    async def apage(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        return await self._arun(self._plans.page(namespace, cursor, limit))

    def namespaces(self) -> list[str]:
        refuse_at_exit(self.url)
        try:
            client = self._opened[1] if self._opened[0] == os.getpid() else self._connect()
            found = {plans.namespace_in(name) for name in client.scan_iter(plans.NAMES, plans.SCANNED_NAMES)}
        except errors.REDIS_ERRORS as error:
            raise errors.store_error(error, self.url) from error
        return sorted(one for one in found if one is not None)

    async def anamespaces(self) -> list[str]:
        here = await self._here()
        try:
            if here.nodes is not None:
                await here.nodes.ready()
            names = here.client.scan_iter(plans.NAMES, plans.SCANNED_NAMES)
            found = {plans.namespace_in(name) async for name in names}
        except errors.REDIS_ERRORS as error:
            raise errors.store_error(error, self.url) from error
        return sorted(one for one in found if one is not None)

    def size(self, namespace: str) -> Size:
        return self._run(self._plans.size(namespace))

    async def asize(self, namespace: str) -> Size:
        return await self._arun(self._plans.size(namespace))

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        return self._run(self._plans.put(namespace, records, budget))

    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        return await self._arun(self._plans.put(namespace, records, budget))

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        self._run(self._plans.touch(namespace, hits, policy))

    async def atouch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        await self._arun(self._plans.touch(namespace, hits, policy))

    def evict(self, namespace: str, budget: Budget) -> int:
        return self._run(self._plans.evict(namespace, budget))

    async def aevict(self, namespace: str, budget: Budget) -> int:
        return await self._arun(self._plans.evict(namespace, budget))

    def delete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return self._run(self._plans.delete(namespace, keys))

    async def adelete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return await self._arun(self._plans.delete(namespace, keys))

    def delete_tag(self, namespace: str, tag: str) -> int:
        return self._run(self._plans.delete_tag(namespace, tag))

    async def adelete_tag(self, namespace: str, tag: str) -> int:
        return await self._arun(self._plans.delete_tag(namespace, tag))

    def clear(self, namespace: str) -> None:
        self._run(self._plans.clear(namespace))

    async def aclear(self, namespace: str) -> None:
        await self._arun(self._plans.clear(namespace))

    def erase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        return sum(
            self._run(self._plans.erase(namespace)) if keys is None else self.delete(namespace, keys)
            for namespace, keys in places.items()
        )

    async def aerase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        erased = 0
        for namespace, keys in places.items():
            if keys is None:
                erased += await self._arun(self._plans.erase(namespace))
            else:
                erased += await self.adelete(namespace, keys)
        return erased

    # -- between processes -----------------------------------------------------------------------------------

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return self._run(self._plans.lease(namespace, key, owner, seconds))

    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return await self._arun(self._plans.lease(namespace, key, owner, seconds))

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        self._run(self._plans.release(namespace, key, owner))

    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        await self._arun(self._plans.release(namespace, key, owner))

    def claim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        return self._run(self._plans.claim(namespace, key, owner, seconds, log, after))

    async def aclaim(
        self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int, limit: int = 1000
    ) -> Claimed:
        return await self._arun(self._plans.claim(namespace, key, owner, seconds, log, after))

    def fulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int, limit: int = 1000
    ) -> tuple[int, LogPage | None]:
        return self._run(self._plans.fulfil(namespace, record, budget, owner, log, after))

    async def afulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int, limit: int = 1000
    ) -> tuple[int, LogPage | None]:
        return await self._arun(self._plans.fulfil(namespace, record, budget, owner, log, after))

    def log_append(self, namespace: str, event: bytes) -> int:
        return self._run(self._plans.log_append(namespace, event))

    async def alog_append(self, namespace: str, event: bytes) -> int:
        return await self._arun(self._plans.log_append(namespace, event))

    def log_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return self._run(self._plans.log_read(namespace, after, limit))

    async def alog_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return await self._arun(self._plans.log_read(namespace, after, limit))

    # -- life ------------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        # One after the other: in a cluster each is a node's, and any will do.
        found = {}
        if info := self._allowed("INFO"):
            found = self._facts_in(info)
        if clock := self._allowed("TIME"):
            seconds, microseconds = clock
            found["clock"] = int(seconds) + int(microseconds) / 1e6
        return found

    def _allowed(self, command: str) -> Any:
        """The reply to a command that a user may lack the right to send; ``None`` without it."""
        try:
            [reply] = self._send([(command,)])
        except StoreError as error:
            if isinstance(error.__cause__, NoPermissionError):
                return None
            raise
        return reply

    @staticmethod
    def _facts_in(info: Mapping[str, Any]) -> dict[str, Any]:
        valkey = info.get("valkey_version")  # beside it is the version of Redis with which it is compatible
        return {
            "version": f"Valkey {valkey}" if valkey else str(info.get("redis_version", "")),
            "size_bytes": int(info.get("used_memory", 0)),
            "limit_bytes": int(info.get("maxmemory", 0)),
            "maxmemory_policy": str(info.get("maxmemory_policy", "")),
            "evicted_keys": int(info.get("evicted_keys", 0)),
            "persistent": bool(info.get("aof_enabled")) or int(info.get("rdb_saves", 0)) > 0,
        }

    def check(self) -> None:
        try:
            self._check_server()
            self.size("")  # whether we may use our keys and run scripts
            self._run(self._plans.eval_check())
        except StoreError as error:
            raise self._advised(error) from None

    def _advised(self, error: StoreError) -> Exception:
        """The error with advice, where waiting does not help."""
        advised = errors.config_error(error, self.url, self.rights)
        if advised or not self._server.tls or not isinstance(error, StoreUnavailable):
            return advised or error
        if self._server.answers_unencrypted():
            return ConfigError(f"{self.url} answers without TLS: check that the port speaks TLS, or use redis://")
        return StoreUnavailable(f"{error}; is this a TLS port?") if "imeout" in str(error) else error

    def _check_server(self) -> None:
        info = self._allowed("INFO")
        if info is None:
            return  # the store works nevertheless
        version = str(info.get("redis_version", "0"))
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise ConfigError(f"{self.url} is Redis {version}; askonce needs 6.2 or newer, or Valkey")
        if info.get("cluster_enabled") and self._server.kind != "cluster":
            raise ConfigError(f"{self.url} is a node of a cluster: use redis+cluster:// instead of redis://")
        policy = str(info.get("maxmemory_policy", ""))
        if policy.startswith("allkeys"):
            logger.warning(
                "askonce: %s has maxmemory-policy %s: when its memory is full it drops thousands of records at a "
                "time. Set maxmemory-policy to noeviction or volatile-ttl, and limit the cache by its own budget.",
                self.url,
                policy,
            )

    def close(self) -> None:
        (pid, client), self._opened = self._opened, (0, None)
        if self._readers is not None:
            self._readers.close()
        if pid == os.getpid() and client is not self._given:
            connect.close(client)

    async def aclose(self) -> None:
        here = self._loops.get(asyncio.get_running_loop())
        if here is not None:
            await here.ending.aclose()
        self.close()
