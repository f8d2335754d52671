"""What all processes count together, in every store."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from askonce import Cache, ConfigError, StoreUnavailable, cache_options
from askonce.entries.entry import Answer, Usage
from askonce.stats import Stats
from askonce.stores.base import Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown
from askonce.stores.health import Lane
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from askonce.totals import writer
from askonce.totals.buckets import MOST_ROWS
from askonce.totals.records import merge_days, totals_namespace
from tests.support import servers
from tests.support.stores import FailingStore
from tests.totals.requests import USD, send

STORES = ("memory", "sqlite", "redis-8.2", "redis-cluster", "redis-sentinel", "mongodb")


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Cache]:
    """Makes caches over one store, as several processes do."""
    name, namespace = request.param, f"totals {os.urandom(6).hex()}"
    memory = MemoryStore()
    if name == "sqlite":
        url: Any = f"sqlite:///{tmp_path / 'cache.db'}"
    else:
        url = memory if name == "memory" else servers.start(name).url
    return lambda **settings: Cache(url, namespace=namespace, timeout_seconds=5, **settings)


def test_statistics_are_a_few_lines_to_read() -> None:
    counts = {"hits": 2, "misses": 3, "stored": 1, "not_stored": 2, "not_stored_reasons": {"empty": 2}}
    read = str(Stats(**counts, saved_usd=0.12, saved_seconds=3.2, errors=4, entries=1, size_bytes=12345))
    assert read.splitlines() == [
        "2 hits (40%) and 3 misses, 4 errors of the store",
        "stored 1, 2 not (empty: 2)",
        "saved $0.12, 3.2 s, 0 tokens",
        "spent 0 s, 0 tokens",
        "the store is up, 1 entry, 12,345 bytes",
    ]
    one = Stats(hits=1, misses=1, errors=1, bypassed=1, entries=2, size_bytes=1, store="up")
    assert str(one).splitlines()[0] == "1 hit (50%) and 1 miss, 1 bypassed, 1 error of the store"
    assert str(one).splitlines()[-1] == "the store is up, 2 entries, 1 byte"


def test_all_that_several_caches_do_is_counted_once_in_every_dimension(make: Callable[..., Cache]) -> None:
    with make() as first, make() as second:
        for cache in (first, second, first):
            send(cache, "why?")
        with cache_options(namespace="acme", tags=["prices", "shop"]):
            send(second, "how much?", model="gpt-4o-mini")
            send(second, "how much?", model="gpt-4o-mini")
        with cache_options(namespace="acme"), cache_options(namespace="a/b"):
            send(first, "cut off", Answer(b"bec", Usage(10, 5), "gpt-4o", truncated=True))
        with cache_options(bypass=True):
            send(first, "why?")
        assert second.flush()
        total = first.totals()
        assert (total.hits, total.misses, total.bypassed, total.stored, total.not_stored) == (3, 3, 1, 2, 1)
        assert (total.hit_kinds, total.miss_reasons) == ({"exact": 3}, {"absent": 3})
        assert total.not_stored_reasons == {"truncated": 1}
        assert (total.saved_input_tokens, total.saved_output_tokens) == (3000, 900)
        assert (total.spent_input_tokens, total.spent_output_tokens) == (2010, 605)
        assert total.saved_usd == pytest.approx(3 * USD)
        assert (total.entries, total.errors) == (2, 0) and total.size_bytes

        def hits_and_misses(by: Any) -> dict[str, tuple[int, int]]:
            return {name: (row.hits, row.misses) for name, row in first.totals(by).rows.items()}

        assert hits_and_misses("layer") == {"answer": (3, 3)}
        assert hits_and_misses("model") == {"gpt-4o": (2, 2), "gpt-4o-mini": (1, 1), "": (0, 0)}
        assert hits_and_misses("tenant") == {"": (2, 1), "acme": (1, 1), "acme/a%2Fb": (0, 1)}
        assert hits_and_misses("tag") == {"prices": (1, 1), "shop": (1, 1)}
        for by in ("hour", "day"):
            assert sum(row.hits for row in first.totals(by).rows.values()) == 3
        with cache_options(namespace="acme"):
            of_tenant = second.totals("tenant")
            assert (of_tenant.hits, of_tenant.misses, of_tenant.entries) == (1, 2, 1)
            assert list(of_tenant.rows) == ["acme", "acme/a%2Fb"]
    with make() as later:
        assert asyncio.run(later.atotals()).hits == 3
        assert later.stats().hits == 0


def test_totals_are_of_a_time_and_a_wrong_one_is_refused(store: MemoryStore) -> None:
    clock = FakeClock()
    with Cache(store, clock=clock) as cache:
        for _ in range(3):
            send(cache, "why?")
            clock.advance(3600)
        hours = cache.totals("hour").rows
        assert [row.hits for row in hours.values()] == [0, 1, 1]
        assert list(hours) == sorted(hours)
        began = datetime.datetime.fromtimestamp(clock() - 2 * 3600)
        for since in ("2h", datetime.timedelta(hours=2), began, began.isoformat()):
            assert (cache.totals(since=since).hits, cache.totals(since=since).misses) == (2, 0)
        assert cache.totals(since="1w").misses == 1
        for wrong in ("yesterday", 7, "2h "):
            with pytest.raises(ConfigError, match="since"):
                cache.totals(since=wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="by is one of"):
            cache.totals("colour")  # type: ignore[arg-type]


def test_totals_that_are_switched_off_leave_nothing_in_the_store(store: MemoryStore) -> None:
    with Cache(store, totals=False) as cache:
        send(cache, "why?")
        assert cache.flush()
        assert (cache.stats().misses, cache.totals().misses) == (1, 0)
    assert not list(store.scan(totals_namespace("default")))


# -- nothing is lost, and nothing counted twice --------------------------------------------------------------------


def test_what_happens_while_the_store_is_down_is_counted_when_it_is_back() -> None:
    store = FailingStore(failing=True)
    with Cache(store) as cache:
        for question in range(4):
            send(cache, question)
        assert not cache.flush()
        store.failing = False
        while not cache.flush():
            time.sleep(0.05)
        total = cache.totals()
        assert total.hits + total.misses == cache.stats().hits + cache.stats().misses
        assert total.miss_reasons["store down"] >= 4
        assert total.errors >= 3


def test_a_write_of_which_the_answer_is_lost_counts_once(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cache(store) as cache:
        send(cache, "why?")
        put = store.put

        def put_and_fail(*args: Any) -> int:
            put(*args)
            raise StoreUnavailable("the answer is lost")

        monkeypatch.setattr(store, "put", put_and_fail)
        assert not cache.flush()
        monkeypatch.undo()
        assert cache.flush()
        assert cache.totals().misses == 1


KILLED = """
import os, signal, sys
from askonce import Cache
from tests.totals.requests import send
cache = Cache(sys.argv[1], timeout_seconds=5)
for number in range(200):
    send(cache, (os.getpid(), number % 20))
cache.flush()
print("written", flush=True)
for number in range(50):
    send(cache, (os.getpid(), number))
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_that_are_killed_lose_what_was_not_written_and_others_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    ends = ["killed", "ends"] * 2
    started = [
        subprocess.Popen([sys.executable, "-c", KILLED, url, end], stdout=subprocess.PIPE, encoding="utf-8")
        for end in ends
    ]
    for process, end in zip(started, ends, strict=True):
        out, _ = process.communicate()
        assert out == "written\n"
        assert process.returncode == (-signal.SIGKILL if end == "killed" else 0)
    with Cache(url) as cache:
        total = cache.totals()
    assert 4 * 200 + 2 * 50 <= total.hits + total.misses <= 4 * 250


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_counts_what_it_does_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with Cache(url) as cache:
        send(cache, "why?")
        child = os.fork()
        if not child:
            send(cache, "why?")
            cache.flush()
            os._exit(0)
        os.waitpid(child, 0)
        total = cache.totals()
    assert (total.hits, total.misses) == (1, 1)


def test_what_was_not_written_when_the_interpreter_ends_is_written_without_a_new_thread(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(store)
    send(cache, "why?")

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    cache.close()
    monkeypatch.undo()
    with Cache(store) as later:
        assert later.totals().misses == 1


SECONDS = 3.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as outside of tests; and no cache of an earlier test has given up lately."""
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", SECONDS)
    monkeypatch.setattr(writer, "_gave_up_at", float("-inf"))


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Another process writes to the file of a SQLite store for so long."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(seconds, other.rollback)
    timer.start()
    yield
    timer.join()
    other.close()


END: dict[str, Callable[[Cache], object]] = {
    "close": lambda cache: cache.close(),
    "aclose": lambda cache: asyncio.run(cache.aclose()),
    "flush": lambda cache: cache.flush(),
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("end", END)
@pytest.mark.parametrize("open_breaker", [False, True])
def test_a_store_that_fails_for_a_moment_at_the_end_has_the_counts_all_the_same(
    tmp_path: Path, end: str, open_breaker: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    cache = Cache(url)
    for _ in range(20):
        send(cache, "why?")
    with locked(tmp_path / "cache.db", 1.5):
        while open_breaker and cache.engine.breaker.health.allows(Lane("put")):
            with contextlib.suppress(StoreDown):
                cache.engine.breaker.call(cache.store.put, "default", [Record(b"key", b"value", None)])
        END[end](cache)
    with Cache(url) as later:
        assert (later.totals().hits, later.totals().misses) == (19, 1)
    cache.close()


@pytest.mark.usefixtures("patient")
def test_a_redis_that_pauses_when_a_process_ends_has_its_counts() -> None:
    with servers.start("redis-8.2", private=True) as server:
        code = """
import sys
import redis
from askonce import Cache
from tests.totals.requests import send
cache = Cache(sys.argv[1])
for _ in range(50):
    send(cache, "why?")
redis.Redis.from_url(sys.argv[1]).execute_command("CLIENT", "PAUSE", 1500, "ALL")
"""
        subprocess.run([sys.executable, "-c", code, server.url], check=True)
        with Cache(server.url, timeout_seconds=5) as later:
            assert later.totals().hits + later.totals().misses == 50


@pytest.mark.usefixtures("patient")
def test_a_store_that_is_down_for_good_delays_the_end_of_many_caches_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with servers.start("redis-8.2", private=True) as server:
        caches = [Cache(server.url, namespace=f"cache {number}") for number in range(8)]
        for cache in caches:
            send(cache, "why?")
            send(cache, "why?")
        server.stop()
        caplog.clear()
        began = time.monotonic()
        for cache in caches:
            cache.close()
        assert SECONDS < time.monotonic() - began < 2 * SECONDS
    lost = [line for line in caplog.messages if "not in its totals" in line]
    assert len(lost) == 8
    assert all(" 2 requests are" in line for line in lost)


@pytest.mark.usefixtures("patient")
def test_the_counts_that_are_lost_are_those_that_were_not_written_yet(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore()
    with Cache(store) as cache:
        for number in range(5):
            send(cache, number)
        assert cache.flush()
        store.failing = True
        with cache_options(tags=["a", "b"]):
            send(cache, "the last one")
        assert not cache.flush()  # and waits; closing it does not wait again
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert [line for line in caplog.messages if " 1 request is not in its totals" in line]


@pytest.mark.usefixtures("patient")
def test_a_cache_that_is_closed_twice_waits_for_no_store(tmp_path: Path) -> None:
    cache = Cache(f"sqlite:///{tmp_path / 'cache.db'}")
    cache.close()
    send(cache, "why?")
    began = time.monotonic()
    asyncio.run(cache.aclose())
    assert not cache.flush()
    assert time.monotonic() - began < 1


# -- bounded -------------------------------------------------------------------------------------------------------


def test_many_tenants_are_counted_together_and_none_is_lost(store: MemoryStore) -> None:
    tenants = 2 * MOST_ROWS
    with Cache(store) as cache:
        for number in range(tenants):
            with cache_options(namespace=f"tenant {number}", bypass=True):
                send(cache, "why?")
        total = cache.totals("tenant")
    assert total.bypassed == tenants
    assert len(total.rows) == MOST_ROWS + 1
    assert total.rows["(other)"].bypassed == tenants - MOST_ROWS


class Interrupted(MemoryStore):
    """A store that fails at one of its calls."""

    left: int | None = None

    def _met(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise StoreUnavailable("interrupted")

    def put(self, *args: Any) -> int:
        self._met()
        return super().put(*args)

    def delete(self, *args: Any) -> int:
        self._met()
        return super().delete(*args)


@pytest.mark.parametrize("at", range(8))
def test_hours_become_days_and_every_moment_counts_all(at: int) -> None:
    clock = FakeClock()
    store = Interrupted(clock=clock)

    def merge() -> None:
        with Cache(store, clock=clock) as cache:
            engine = cache.engine
            assert engine.totals_writer is not None
            merge_days(CircuitBreaker(store, 1.0), engine.totals_writer.records, b"process", clock())

    def counted() -> int:
        with Cache(store, clock=clock, totals=False) as reader:
            return sum(row.bypassed for row in reader.totals("day").rows.values())

    for hour in range(24):
        for _ in range(2):
            with Cache(store, clock=clock) as cache, cache_options(bypass=True):
                send(cache, hour)
                assert cache.engine.totals_writer is not None
                cache.engine.totals_writer._merged_at = float("inf")
        clock.advance(6 * 3600)
    assert counted() == 48
    assert store.size(totals_namespace("default")).entries == 48
    for days in (0, 1, 1, 9, 1):
        clock.advance(days * 86_400 + 7 * 3600)
        store.left = at
        try:
            merge()
        except StoreDown:
            assert counted() == 48
        store.left = None
        clock.advance(120)  # the lease of whoever was interrupted
        merge()
        assert counted() == 48
    assert store.size(totals_namespace("default")).entries <= 7 + 1
    with Cache(store, clock=clock, totals=False) as reader:
        assert reader.totals(since="30d").bypassed == 48
    clock.advance(400 * 86_400)
    assert counted() == 0


# -- sealed --------------------------------------------------------------------------------------------------------


def test_the_name_of_a_tenant_or_a_tag_is_erased_and_what_it_counted_stays(store: MemoryStore) -> None:
    with Cache(store) as cache:
        for tenant in ("acme", "acme-2"):
            with cache_options(namespace=tenant, tags=["secret"]), cache_options(namespace="jane"):
                send(cache, "why?")
        assert cache.flush()
    with Cache(store) as cache:
        with cache_options(namespace="acme", tags=["secret"]):
            send(cache, "why?")
        assert cache.erase(tenant="acme").learned == {totals_namespace("default"): 1}  # its own it has not written
        assert cache.erase(tag="secret").learned == {totals_namespace("default"): 1}
        assert cache.erase(tenant="acme").learned == {}
        assert cache.flush()
        assert {name: row.misses for name, row in cache.totals("tenant").rows.items()} == {
            "(other)": 2,
            "acme-2/jane": 1,
        }
        assert {name: row.misses for name, row in cache.totals("tag").rows.items()} == {"(other)": 3}
        assert cache.totals().misses == 3
    assert not any(b"secret" in data or b"acme/" in data for _, data in store.scan(totals_namespace("default")))


def test_a_running_process_does_not_write_an_erased_name_again(store: MemoryStore) -> None:
    running, other = Cache(store), Cache(store)
    with running, other:
        for tenant in ("acme", "acme-2"):
            with cache_options(namespace=tenant, tags=[f"secret of {tenant}"]):
                send(running, "why?")
        assert running.flush()
        other.erase(tenant="acme")
        other.erase(tag="secret of acme-2")
        send(running, "of others")
        assert running.flush()
        assert {name: row.misses for name, row in other.totals("tenant").rows.items()} == {
            "": 1, "(other)": 1, "acme-2": 1,
        }  # fmt: skip
        assert {name: row.misses for name, row in other.totals("tag").rows.items() if name} == {"(other)": 2}
        with cache_options(namespace="acme"):
            send(running, "again")  # who comes again is counted again
        assert running.flush()
        assert other.totals("tenant").rows["acme"].misses == 1


def test_a_process_that_has_only_had_hits_learns_of_an_erasure(store: MemoryStore) -> None:
    with Cache(store) as before, cache_options(namespace="acme"):
        send(before, "why?")
    with Cache(store, totals=False) as other, Cache(store) as running:
        with cache_options(namespace="acme"):
            send(running, "why?")
        other.erase(tenant="acme")
        assert running.flush()
        assert list(other.totals("tenant").rows) == ["(other)"]


def test_what_is_counted_during_an_erasure_is_not_lost(store: MemoryStore) -> None:
    for at in range(4):
        namespace = f"application {at}"
        ending, other = Cache(store, namespace=namespace), Cache(store, namespace=namespace, totals=False)
        with cache_options(tags=["secret"]):
            send(ending, "why?")
        assert ending.flush()
        searched = 0

        def meanwhile(_: int, ending: Cache = ending, at: int = at) -> None:
            nonlocal searched
            searched += 1
            if searched == at:
                for number in range(10):
                    send(ending, f"{number}")
                ending.close()

        other.erase(tag="secret", progress=meanwhile)
        ending.close()
        assert other.totals().misses == (11 if searched >= at > 0 else 1)
        other.close()


def raw(folder: Path) -> Iterator[bytes]:
    for file in folder.iterdir():
        yield file.read_bytes()


def test_names_are_sealed_and_read_with_an_older_key(tmp_path: Path) -> None:
    old, new = b"o" * 32, b"n" * 32
    for keys in ([], [old]):
        folder = tmp_path / str(len(keys))
        url = f"sqlite:///{folder / 'cache.db'}"
        with Cache(url, encryption_keys=keys) as cache, cache_options(namespace="acme-co", tags=["secret-tag"]):
            send(cache, "why?", model="secret-model")
        for name in (b"secret-model", b"secret-tag", b"acme-co"):
            assert any(name in data for data in raw(folder)) == (not keys)
    with Cache(url, encryption_keys=[new, old]) as cache:
        assert cache.totals("tag").rows["secret-tag"].misses == 1
    with Cache(url, encryption_keys=[new]) as cache:
        assert cache.totals().misses == 0
