"""Faults of stores, each a context in which it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from askonce import Cache
from tests.support import servers

Fault = Callable[[Cache], AbstractContextManager[None]]
_SPAWN = multiprocessing.get_context("spawn")


@contextlib.contextmanager
def none(cache: Cache) -> Iterator[None]:
    yield


def a_writer(path: Path) -> Fault:
    """Another program holds the lock of a SQLite file for writing."""

    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()

    return fault


@contextlib.contextmanager
def a_full_disk(cache: Cache) -> Iterator[None]:
    """SQLite may not write a page more."""
    store: Any = cache.store
    writer = store._connections._writer
    with writer.lock:
        (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
        writer.connection.execute(f"PRAGMA max_page_count = {pages}")
    yield
    with writer.lock:
        writer.connection.execute("PRAGMA max_page_count = 1073741823")


def full_memory(url: str) -> Fault:
    """Redis with ``noeviction`` and no memory left."""

    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 100_000)
            yield
            client.config_set("maxmemory", 0)

    return fault


def paused(server: servers.Server) -> Fault:
    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        server.pause()
        yield
        server.resume()
        time.sleep(0.5)

    return fault


def stopped(server: servers.Server) -> Fault:
    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        server.stop()
        yield
        server.restart()

    return fault


def a_dead_node(cluster: servers.Server, number: int) -> Fault:
    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        for node in cluster.nodes:
            with redis.Redis(servers.HOST, node.port) as client:
                client.config_set("cluster-require-full-coverage", "no")
        cluster.nodes[number].stop(signal.SIGKILL)
        yield
        cluster.restart()

    return fault


def a_failover(sentinel: servers.Sentinel) -> Fault:
    """The master is killed, and its replica takes over."""

    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        sentinel.kill_master()
        yield
        sentinel.restart()

    return fault


class FarAway:
    """A proxy before a server, in a process of its own, that hands on what it is given after a while."""

    def __init__(self, url: str) -> None:
        self._delay = _SPAWN.Value("d", 0.0)
        port, parent = servers._free_port(), urlsplit(url)
        self.url = f"{parent.scheme}://127.0.0.1:{port}{parent.path}"
        self._process = _SPAWN.Process(target=_hand_on, args=(port, parent.port, self._delay), daemon=True)
        self._process.start()
        self._wait_for(port)

    def by(self, seconds: float) -> Fault:
        """Each answer comes so much later."""

        @contextlib.contextmanager
        def fault(cache: Cache) -> Iterator[None]:
            self._delay.value = seconds
            yield
            self._delay.value = 0.0
            time.sleep(2 * seconds)

        return fault

    def close(self) -> None:
        self._process.terminate()

    @staticmethod
    def _wait_for(port: int) -> None:
        for _ in range(200):
            with contextlib.suppress(redis.RedisError), redis.Redis("127.0.0.1", port) as client:
                client.ping()
                return
            time.sleep(0.05)
        raise TimeoutError("the proxy does not answer")


def _hand_on(port: int, server_port: int, delay: Any) -> None:
    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        loop, free = asyncio.get_running_loop(), 0.0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                # In order, but without waiting for one another: a line that is long, not narrow.
                free = max(free, loop.time() + (delay.value if late else 0.0))
                loop.call_at(free, writer.write, data)
        loop.call_at(free, writer.close)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server_port)
        await asyncio.gather(pipe(reader, back, late=False), pipe(there, writer, late=True))

    async def serve() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(serve())
