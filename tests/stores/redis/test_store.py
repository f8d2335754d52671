"""The store over Redis: the contract of all stores on every server, and what only a server can do to it."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from askonce.errors import StoreUnavailable
from askonce.eviction.policy import Budget
from askonce.stores import Record, Size
from askonce.stores.base import LogPage, Store
from askonce.stores.redis import RedisStore, plans
from askonce.testing import FakeClock, StoreConformance
from tests.stores.redis.conftest import PATIENT
from tests.support import servers


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


def calls_during(admin: redis.Redis, work: Callable[[], object]) -> Counter[str]:
    """Which commands the server ran meanwhile, from clients and from scripts."""
    admin.config_resetstat()
    work()
    return Counter(
        {name.removeprefix("cmdstat_"): row["calls"] for name, row in admin.info("commandstats").items()}
    )


def test_a_lookup_is_one_command(store: RedisStore, admin: redis.Redis, space: str) -> None:
    store.put(space, [Record(b"k", b"v")])
    store.get(space, b"k")  # opens the thread's connection
    ran = calls_during(admin, lambda: store.get(space, b"k"))
    assert ran - Counter({"config|resetstat": 1, "info": 1}) == Counter({"hget": 1})
    ran = calls_during(admin, lambda: store.get_many(space, [b"k", b"l"] * 50))
    assert ran - Counter({"config|resetstat": 1, "info": 1}) == Counter({"hmget": 1})


def test_a_fulfilled_record_is_put_before_the_log_is_read(
    store: RedisStore, admin: redis.Redis, space: str
) -> None:
    """Also where the server lacks the script that puts and has the one that reads."""
    admin.script_flush()
    store.log_read(space, 0)
    with admin.monitor() as monitor:
        store.fulfil(space, Record(b"k", b"v"), Budget(max_entries=5), "me", space, 0)
        admin.echo("end")
        done = list(itertools.takewhile(lambda one: "ECHO" not in one, (c["command"] for c in monitor.listen())))
    names = [re.sub(r".*\b(HSET|LLEN)\b.*", r"\1", one, flags=re.DOTALL) for one in done]
    assert names.index("HSET") < len(names) - 1 - names[::-1].index("LLEN")


@pytest.mark.parametrize("name", ["redis-6.2", "redis-8.2"])
def test_the_log_is_read_where_the_server_takes_no_writes(name: servers.Name, space: str) -> None:
    if reason := servers.available(name):
        pytest.skip(reason)
    with servers.start(name, private=True) as server, redis.Redis.from_url(server.url) as admin:
        store = RedisStore(server.url, timeout_seconds=PATIENT)
        first = store.log_append(space, b"event")
        admin.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        assert store.log_read(space, 0).events == [(first, b"event")]
        assert store.get_many_with_log(space, [b"k"], space, first) == ([None], LogPage([], first))
        store.close()


@pytest.mark.parametrize("appended", [0, 1, 70, 500])
def test_a_log_that_drops_events_while_it_is_read_gives_no_gap(
    appended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.stores.redis.plans.LOG_LENGTH", 1000)
    head = 5000
    plan = plans.Plans(1, time.time).log_read("n", 4300, 5)
    commands = next(plan)
    while True:
        events = [b"%d" % number for number in range(head - 999, head + 1)]
        replies: list[object] = []
        for command in commands:
            low, high = command[2:] if command[0] == "LRANGE" else (0, -1)
            assert isinstance(low, int) and isinstance(high, int)
            replies.append({"GET": b"%d" % head, "LLEN": 1000}.get(str(command[0]), events[low : high + 1]))
        head, appended = head + appended, appended // 2
        try:
            commands = plan.send(replies)
        except StopIteration as done:
            page = done.value
            break
    begin = max(4301, page.head - 999)
    assert page.events == [(number, b"%d" % number) for number in range(begin, begin + 5)]
    assert page.truncated == (begin > 4301)


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
        store.claim(space, b"k", "me", 1, space, 0)
        store.fulfil(space, Record(b"k", b"v"), Budget(max_entries=5), "me", space, 0)
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


def test_large_removals_take_several_calls(store: RedisStore, space: str) -> None:
    store.put(space, [Record(b"%d" % i, b"v", None, 1.0, ("t",)) for i in range(1000)])
    assert store.put(space, [Record(b"large", b"x" * 900)], Budget(max_bytes=1000)) == 900
    assert store.put(space, [Record(b"%d" % i, b"v", None, 1.0, ("t",)) for i in range(1000)]) == 0
    assert store.delete_tag(space, "t") == 1000
    assert store.size(space) == Size(1, 900)


def test_a_damaged_shard_is_started_over(store: RedisStore, admin: redis.Redis, space: str) -> None:
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


@pytest.mark.parametrize("name", ["redis-8.2", "redis-cluster"])
async def test_two_hundred_concurrent_lookups(name: servers.Name, space: str) -> None:
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


async def test_an_error_reaches_all_lookups_of_a_batch(private: servers.Server, space: str) -> None:
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


@pytest.mark.parametrize("lost", [["log"], ["head"], ["log", "head"]])
def test_a_log_that_lost_a_key_begins_beyond_its_last_sequence(
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
