"""The store over Redis: the contract of all stores on every server, and what only a server can do to it."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import redis

from askonce.errors import ConfigError, StoreError, StoreUnavailable
from askonce.eviction.policy import Budget
from askonce.stores import Record, Size, open_store
from askonce.stores.base import Store
from askonce.stores.redis import RedisStore
from askonce.testing import FakeClock, StoreConformance
from tests.support import servers

PATIENT = 20.0
"""Seconds: in these tests a slow machine is no failure."""


class _OnServer(StoreConformance):
    server: servers.Name

    @pytest.fixture
    def url(self) -> str:
        if reason := servers.available(self.server):
            pytest.skip(reason)
        return servers.start(self.server).url

    @pytest.fixture
    def open(self, url: str) -> Callable[..., Store]:
        return lambda clock=time.time: RedisStore(url, timeout_seconds=PATIENT, clock=clock)


class _OnFurtherServer(_OnServer):
    # All behaviour is tested on every server, with fewer examples than on the first.
    trace_examples = 15
    work_rounds = 30

    @pytest.fixture
    def log_length(self, monkeypatch: pytest.MonkeyPatch) -> int:
        monkeypatch.setattr("askonce.stores.redis.plans.LOG_LENGTH", 100)
        return 100


class TestRedis82(_OnServer):
    server = "redis-8.2"


class TestRedis62(_OnFurtherServer):
    server = "redis-6.2"


class TestRedis70(_OnFurtherServer):
    server = "redis-7.0"


class TestValkey91(_OnFurtherServer):
    server = "valkey-9.1"


class TestSentinel(_OnFurtherServer):
    server = "redis-sentinel"


class TestCluster(_OnFurtherServer):
    server = "redis-cluster"
    exact_eviction = False


# -- fixtures ------------------------------------------------------------------------------------------------


@pytest.fixture
def space() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def server() -> servers.Server:
    return servers.start("redis-8.2")


@pytest.fixture
def store(server: servers.Server) -> Iterator[RedisStore]:
    store = RedisStore(server.url, timeout_seconds=PATIENT)
    yield store
    store.close()


@pytest.fixture
def admin(server: servers.Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def private() -> Iterator[servers.Server]:
    with servers.start("redis-8.2", private=True) as server:
        yield server


def calls_during(admin: redis.Redis, work: Callable[[], object]) -> Counter[str]:
    """Which commands the server ran meanwhile, from clients and from scripts."""
    admin.config_resetstat()
    work()
    return Counter(
        {name.removeprefix("cmdstat_"): row["calls"] for name, row in admin.info("commandstats").items()}
    )


# -- what is sent --------------------------------------------------------------------------------------------


def test_a_lookup_is_one_command(store: RedisStore, admin: redis.Redis, space: str) -> None:
    store.put(space, [Record(b"k", b"v")])
    store.get(space, b"k")  # opens the thread's connection
    ran = calls_during(admin, lambda: store.get(space, b"k"))
    assert ran - Counter({"config|resetstat": 1, "info": 1}) == Counter({"hget": 1})
    ran = calls_during(admin, lambda: store.get_many(space, [b"k", b"l"] * 50))
    assert ran - Counter({"config|resetstat": 1, "info": 1}) == Counter({"hmget": 1})


def test_no_operation_walks_the_keyspace(store: RedisStore, admin: redis.Redis, space: str) -> None:
    def everything() -> None:
        store.put(space, [Record(b"%d" % i, b"v", time.time() + 60, 1.0, ("t",)) for i in range(20)])
        store.put(space, [Record(b"k", b"v", time.time() + 60, 1.0, ("t",))], Budget(max_entries=5))
        store.touch(space, {b"k": 1})
        store.evict(space, Budget(max_entries=2))
        store.delete(space, [b"k"])
        store.delete_tag(space, "t")
        list(store.scan(space))
        store.size(space)
        store.lease(space, b"k", "me", 1)
        store.release(space, b"k", "me")
        store.log_append(space, b"e")
        store.log_read(space, 0)
        store.clear(space)

    ran = calls_during(admin, everything)
    reading = {
        "hget",
        "hlen",
        "hscan",
        "hexists",
        "zrange",
        "zrangebyscore",
        "zrangebylex",
        "zcard",
        "lrange",
        "llen",
        "get",
    }
    writing = {"hset", "hdel", "hincrby", "zadd", "zrem", "unlink", "set", "del", "rpush", "ltrim", "incr"}
    around = {"eval", "evalsha", "info", "config|resetstat", "client|setinfo", "select"}
    assert set(ran) <= reading | writing | around


def test_records_put_again_and_deleted_leave_no_keys(store: RedisStore, admin: redis.Redis, space: str) -> None:
    store.put(space, [Record(b"a", b"1", time.time() + 60, 1.0, ("t", "u")), Record(b"b", b"2")])
    store.put(space, [Record(b"a", b"1", None, 1.0, ("t",))])
    store.delete(space, [b"a", b"b"])
    [totals] = admin.keys(f"askonce:{{{space}.0}}:*")
    assert totals.endswith(b":s") and admin.hgetall(totals) == {b"size_bytes": b"0"}


def test_a_script_that_the_server_forgot_is_sent_again(store: RedisStore, admin: redis.Redis, space: str) -> None:
    store.put(space, [Record(b"k", b"v")])
    admin.script_flush()
    assert store.delete(space, [b"k"]) == 1
    admin.script_flush()
    store.touch(space, {b"%d" % i: 1 for i in range(200)})  # several calls in one pipeline
    admin.script_flush()
    assert asyncio.run(store.asize(space)) == Size()


def test_more_than_one_call_may_remove_is_removed_by_several(store: RedisStore, space: str) -> None:
    store.put(space, [Record(b"%d" % i, b"v", None, 1.0, ("t",)) for i in range(1000)])
    assert store.put(space, [Record(b"large", b"x" * 900)], Budget(max_bytes=1000)) == 900
    assert store.put(space, [Record(b"%d" % i, b"v", None, 1.0, ("t",)) for i in range(1000)]) == 0
    assert store.delete_tag(space, "t") == 1000
    assert store.size(space) == Size(1, 900)


def test_a_shard_that_the_server_cut_is_begun_anew(store: RedisStore, admin: redis.Redis, space: str) -> None:
    for suffix in "vmps":
        store.put(space, [Record(b"k", b"v")])
        admin.delete(f"askonce:{{{space}.0}}:{suffix}")
        assert store.put(space, [Record(b"l", b"w")], Budget(max_entries=1)) == 0
        assert store.size(space) == Size(1, 1)


def test_a_namespace_is_spread_over_the_nodes_of_a_cluster(space: str) -> None:
    store = RedisStore(servers.start("redis-cluster").url, timeout_seconds=PATIENT)
    store.put(space, [Record(b"%d" % i, b"v") for i in range(500)])
    names = {f"askonce:{{{space}.{shard}}}:v" for shard in range(64)}
    held = []
    for node in servers.start("redis-cluster").nodes:
        with redis.Redis(port=node.port) as client:
            held.append(len(names & {name.decode(errors="replace") for name in client.keys("askonce:*")}))
    assert sum(held) == 64 and min(held) > 5
    store.close()


# -- many at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["redis-8.2", "redis-cluster"])
async def test_two_hundred_tasks_look_up_at_once(name: servers.Name, space: str) -> None:
    store = RedisStore(servers.start(name).url, timeout_seconds=PATIENT)
    await store.aput(space, [Record(b"%d" % i, b"v%d" % i) for i in range(100)])

    async def look_up(number: int) -> bytes | None:
        await asyncio.sleep(0)
        return await store.aget(space, b"%d" % number)

    tasks = [asyncio.create_task(look_up(i)) for i in range(200)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks[1::7]:
        task.cancel()  # must not harm the others, which are sent with it
    found = await asyncio.gather(*tasks, return_exceptions=True)
    expected = [b"v%d" % i if i < 100 else None for i in range(200)]
    assert all(got == want for i, (got, want) in enumerate(zip(found, expected, strict=True)) if i % 7 != 1)
    assert all(isinstance(got, asyncio.CancelledError) for got in found[1::7])
    await store.aclose()


async def test_an_error_reaches_all_who_look_up_together(private: servers.Server, space: str) -> None:
    store = RedisStore(private.url)
    private.stop()
    found = await asyncio.gather(*(store.aget(space, b"k") for _ in range(50)), return_exceptions=True)
    assert {type(error) for error in found} == {StoreUnavailable}
    await store.aclose()


async def test_more_writers_than_connections_take_turns(store: RedisStore, space: str) -> None:
    await asyncio.gather(*(store.aput(space, [Record(b"%d" % i, b"v")]) for i in range(200)))
    assert (await store.asize(space)).entries == 200
    await store.aclose()


@pytest.mark.parametrize("name", ["redis-8.2", "redis-cluster"])
def test_sixty_four_threads_call_at_once(name: servers.Name, space: str) -> None:
    store = RedisStore(servers.start(name).url, timeout_seconds=PATIENT)
    with ThreadPoolExecutor(64) as threads:
        list(threads.map(lambda i: store.put(space, [Record(b"%d" % i, b"v")]), range(256)))
        assert all(threads.map(lambda i: store.get(space, b"%d" % i), range(256)))
    assert store.size(space).entries == 256
    store.close()


# -- trouble -------------------------------------------------------------------------------------------------


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
def test_a_server_that_stands_still_is_given_up(name: servers.Name, warm: bool, space: str) -> None:
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
        assert time.monotonic() - started < 10  # five calls of a quarter of a second, and much patience
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


def test_writes_go_on_after_a_failover(space: str) -> None:
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


def test_a_server_without_memory_is_unavailable_and_keeps_its_accounts(private: servers.Server, space: str) -> None:
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


# -- at the door ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", ["", ":wrong-secret@", "nobody:wrong-secret@"])
@pytest.mark.parametrize("kind", ["redis", "redis+cluster"])
def test_a_wrong_password_is_told_without_it(credentials: str, kind: str) -> None:
    server = servers.start("redis-8.2", password="right")
    fault = "is wrong$" if credentials else "is missing in the URL"
    with pytest.raises(ConfigError, match=f"password .*{fault}") as caught:
        open_store(f"{kind}://{credentials}127.0.0.1:{server.nodes[0].port}")
    told: BaseException | None = caught.value
    while told is not None:
        assert "wrong-secret" not in str(told)
        told = told.__cause__ or told.__context__


def test_the_right_password_opens(space: str) -> None:
    server = servers.start("redis-8.2", password="right")
    store = open_store(server.url)
    assert store.put(space, [Record(b"k", b"v")]) == 0
    assert "right" not in store.url
    store.close()


def test_a_user_who_may_only_use_our_keys_is_enough(server: servers.Server, admin: redis.Redis, space: str) -> None:
    admin.execute_command("ACL", "SETUSER", "cache", "on", ">pw", "~askonce:*", "+@all", "-@dangerous")
    admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~other:*", "+@read", "+info", "+client")
    port = server.nodes[0].port
    store = open_store(f"redis://cache:pw@127.0.0.1:{port}", timeout_seconds=PATIENT)
    store.put(space, [Record(b"k", b"v")])
    assert store.get(space, b"k") == b"v"
    store.close()
    with pytest.raises(ConfigError, match="askonce:"):
        open_store(f"redis://reader:pw@127.0.0.1:{port}", timeout_seconds=PATIENT)
    admin.execute_command("ACL", "DELUSER", "cache", "reader")


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:port",
        "redis://host:99999",
        "redis://host/first",
        "redis://host?colour=red",
        "redis://host?socket_timeout=soon",
        "redis://a:1,b:2",
        "redis://:pa:ss/word@host",
        "redis+cluster://a:1,b:2/3",
        "redis+sentinel://a:1,b:2",
        "redis+sentinel://a:1,b:x/service",
    ],
)
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisStore(url)
    assert "pa:ss" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_wrong_scheme_is_told_with_the_right_one(server: servers.Server) -> None:
    node = servers.start("redis-cluster").nodes[0]
    with pytest.raises(ConfigError, match=r"redis\+cluster://"):
        open_store(f"redis://127.0.0.1:{node.port}", timeout_seconds=PATIENT)
    with pytest.raises(ConfigError, match="use redis://"):
        open_store(server.url.replace("redis://", "redis+cluster://"), timeout_seconds=PATIENT)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("redis://127.0.0.1:{port}/99", "database number: 0–15"),
        ("redis+sentinel://127.0.0.1:{port}/main", "is no Sentinel: use redis://"),
        ("rediss://127.0.0.1:{port}", "port speaks TLS"),
        ("rediss+cluster://127.0.0.1:{port}", "port speaks TLS"),
        ("redis://:secret@127.0.0.1:{port}", "has no password"),
        ("redis://user:secret@127.0.0.1:{port}", "password in the URL is wrong$"),
    ],
)
def test_what_waiting_does_not_mend_is_an_error_of_configuration(
    server: servers.Server, url: str, advice: str
) -> None:
    with pytest.raises(ConfigError, match=advice) as caught:
        open_store(url.format(port=server.nodes[0].port), timeout_seconds=1)
    assert "secret" not in str(caught.value)


def test_a_port_of_another_protocol_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(10_000)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConfigError, match="port speaks TLS"):
            open_store(f"rediss://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=PATIENT)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_port_that_is_silent_about_tls_is_only_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_store(f"rediss://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.2).close()
    assert "is this a TLS port?" in caplog.text


def test_options_of_the_url_reach_the_connection(server: servers.Server, space: str) -> None:
    store = RedisStore(f"redis://127.0.0.1:{server.nodes[0].port}/3?client_name=shop&socket_timeout=5")
    store.put(space, [Record(b"k", b"v")])
    with redis.Redis(port=server.nodes[0].port, db=3) as admin:
        assert admin.exists(f"askonce:{{{space}.0}}:v")
        assert "shop" in {client["name"] for client in admin.client_list()}
    store.close()


def test_a_socket_is_an_address_too(space: str) -> None:
    node = servers.Node(servers._redis_command("redis-8.2", "--unixsocket", "redis.sock"))
    try:
        servers._start_redis(node)
        store = open_store(f"unix://{node.directory}/redis.sock?db=1", timeout_seconds=PATIENT)
        store.put(space, [Record(b"k", b"v")])
        assert asyncio.run(store.aget(space, b"k")) == b"v"
        store.close()
    finally:
        node.close()


def test_a_server_that_evicts_by_itself_is_warned_of(
    private: servers.Server, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(private.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
    with caplog.at_level(logging.WARNING, "askonce"):
        open_store(private.url, timeout_seconds=PATIENT).close()
    [warning] = caplog.messages
    assert "allkeys-lru" in warning and "noeviction" in warning


@pytest.mark.parametrize("lost", [["log"], ["head"], ["log", "head"]])
def test_a_log_of_which_the_server_dropped_a_key_begins_beyond_what_it_had_reached(
    server: servers.Server, admin: redis.Redis, space: str, lost: list[str]
) -> None:
    clock = FakeClock()
    store = RedisStore(server.url, timeout_seconds=PATIENT, clock=clock)
    last = [store.log_append(space, b"%d" % number) for number in range(3)][-1]
    assert admin.delete(*(f"askonce:{{{space}.0}}:{name}" for name in lost)) == len(lost)
    page = store.log_read(space, last)
    assert (page.events, page.head) == ([], 0)
    clock.advance(1)
    head = store.log_append(space, b"new")
    assert head > last
    page = store.log_read(space, 0)
    assert (page.events, page.head, page.truncated) == ([(head, b"new")], head, False)
    store.close()


def test_an_error_of_the_server_is_a_store_error(store: RedisStore, admin: redis.Redis, space: str) -> None:
    admin.set(f"askonce:{{{space}.0}}:v", "a string")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.get(space, b"k")
