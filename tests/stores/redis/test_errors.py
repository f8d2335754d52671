"""Servers that are down, hang, fail over or run out of memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import redis

from askonce.errors import StoreError, StoreUnavailable
from askonce.stores import Record, Size
from askonce.stores.redis import RedisStore
from tests.stores.redis.conftest import PATIENT
from tests.support import servers


def test_a_server_that_is_down_is_unavailable_until_it_is_up(private: servers.Server, space: str) -> None:
    store = RedisStore(private.url, timeout_seconds=PATIENT)
    store.check()
    private.stop()
    for call in (store.check, lambda: store.get(space, b"k"), lambda: asyncio.run(store.aget(space, b"k"))):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            call()
    private.restart()
    store.put(space, [Record(b"k", b"v")])
    assert store.get(space, b"k") == asyncio.run(store.aget(space, b"k")) == b"v"
    store.close()


@pytest.mark.parametrize("name", ["redis-8.2", "redis-cluster", "redis-sentinel"])
@pytest.mark.parametrize("warm", [True, False])
def test_a_server_that_hangs_times_out(name: servers.Name, warm: bool, space: str) -> None:
    server = servers.start(name)
    store = RedisStore(server.url)
    if warm:
        store.check()
    server.pause()
    try:
        started = time.monotonic()
        for call in (store.check, lambda: store.get(space, b"k"), lambda: store.put(space, [Record(b"k", b"v")])):
            with pytest.raises(StoreUnavailable):
                call()

        async def twins() -> None:
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await asyncio.gather(*(store.aget(space, b"k") for _ in range(20)))
            await store.aclose()

        asyncio.run(twins())
        assert time.monotonic() - started < 40  # five calls of a quarter of a second, and much patience
    finally:
        server.resume()


@pytest.mark.parametrize("name", ["redis-8.2", "redis-cluster"])
def test_a_connection_closed_by_the_server_is_replaced(name: servers.Name, space: str) -> None:
    server = servers.start(name)
    store = RedisStore(server.url, timeout_seconds=PATIENT)

    def kill_connections() -> None:
        for node in server.nodes:
            with redis.Redis(port=node.port) as admin:
                admin.client_kill_filter(_type="normal", skipme=True)

    store.put(space, [Record(b"k", b"v")])
    kill_connections()
    assert store.get(space, b"k") == b"v"
    kill_connections()
    assert store.get_many(space, [b"k", b"l", b"m"]) == [b"v", None, None]

    async def twins() -> None:
        assert await store.aget(space, b"k") == b"v"
        kill_connections()
        assert await store.aget(space, b"k") == b"v"
        kill_connections()
        assert await asyncio.gather(*(store.aget(space, b"k") for _ in range(20))) == [b"v"] * 20
        kill_connections()
        assert (await store.asize(space)).entries == 1
        await store.aclose()

    asyncio.run(twins())


@pytest.mark.parametrize(
    "read",
    [lambda store, space, key: store.get(space, key), lambda store, space, key: store.get_many(space, [key])[0]],
    ids=["get", "get_many"],
)
def test_an_interrupted_read_leaves_no_answer_to_the_next_one(
    store: RedisStore, space: str, read: Callable[..., bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(space, [Record(b"a", b"of a"), Record(b"b", b"of b")])
    assert read(store, space, b"a") == b"of a"
    # As while the answer is on its way, so that redis-py's pool finds nothing when it looks.
    monkeypatch.setattr("redis.connection.AbstractConnection.can_read", lambda *_, **__: False)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr("redis.connection.AbstractConnection.read_response", interrupted)  # the command is sent
            with pytest.raises(KeyboardInterrupt):
                read(store, space, b"a")
        assert read(store, space, b"b") == b"of b"


READ_AT_THE_END = """
import sys
from askonce.errors import StoreUnavailable
from askonce.stores.redis import RedisStore
class Last:
    store = RedisStore(sys.argv[1])
    def __del__(self, sys=sys, StoreUnavailable=StoreUnavailable):
        assert sys.is_finalizing()
        for call in (lambda: self.store.get("n", b"k"), lambda: self.store.size("n")):
            try:
                call()
            except StoreUnavailable as error:
                print(error)
last = Last()
"""


def test_a_call_while_the_interpreter_ends_is_refused(server: servers.Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_AT_THE_END, server.url], capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    assert done.stdout.count("shutting down") == 2


def test_writes_continue_after_a_failover(space: str) -> None:
    with servers.start("redis-sentinel", private=True) as server:
        store = RedisStore(server.url)
        store.put(space, [Record(b"k", b"v")])
        asyncio.run(store.aput(space, [Record(b"l", b"w")]))
        server.kill_master()

        def put_soon(put: Callable[[], object]) -> None:
            deadline = time.monotonic() + 30
            while True:
                try:
                    put()
                    return
                except StoreUnavailable:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)

        put_soon(lambda: store.put(space, [Record(b"k", b"after")]))
        put_soon(lambda: asyncio.run(store.aput(space, [Record(b"l", b"after")])))
        assert store.get_many(space, [b"k", b"l"]) == [b"after", b"after"]
        store.close()


def test_a_server_without_memory_is_unavailable_and_its_accounts_stay_exact(
    private: servers.Server, space: str
) -> None:
    store = RedisStore(private.url, timeout_seconds=PATIENT)
    with redis.Redis.from_url(private.url) as admin:
        admin.config_set("maxmemory", "1mb")
        large = [Record(b"%d" % i, b"x" * 900_000) for i in range(3)]
        with pytest.raises(StoreUnavailable, match="OutOfMemory"):
            store.put(space, large)
        admin.config_set("maxmemory", "0")
    held = dict(store.scan(space))
    assert store.size(space) == Size(len(held), sum(map(len, held.values())))
    store.close()


def test_an_error_of_the_server_is_a_store_error(store: RedisStore, admin: redis.Redis, space: str) -> None:
    admin.set(f"askonce:{{{space}.0}}:v", "a string")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.get(space, b"k")
