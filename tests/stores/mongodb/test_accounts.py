"""The accounts stay exact, whatever happens between their steps."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
import uuid
from collections.abc import Callable, Generator
from typing import Any

import pymongo.errors
import pytest

from askonce.errors import ConfigError, StoreError
from askonce.eviction.policy import Budget
from askonce.stores.base import Record, Size, Store
from askonce.stores.mongodb import MongoDBStore
from askonce.stores.mongodb.connect import Clients
from askonce.testing import FakeClock


def _exact(store: Store, space: str) -> Size:
    rows = list(store.scan(space))
    return Size(len(rows), sum(len(value) for _, value in rows))


def _finish(steps: Generator[Any, Any, Any], result: Any) -> Any:
    while True:
        try:
            result = steps.send(result)
        except StopIteration as end:
            return end.value


TIGHT = Budget(max_entries=3)
RIVALS: dict[str, Callable[[Store, str], object]] = {
    "put": lambda store, space: store.put(space, [Record(b"b", b"rival"), Record(b"d", b"rival")], TIGHT),
    "delete": lambda store, space: store.delete(space, [b"a", b"b"]),
    "evict": lambda store, space: store.evict(space, Budget(max_entries=1)),
    "touch": lambda store, space: store.touch(space, {b"a": 5, b"b": 1, b"c": 2}),
    "clear": lambda store, space: store.clear(space),
}


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("operation", ["put", "delete", "evict"])
def test_a_concurrent_write_at_any_moment_leaves_the_accounts_exact(
    stores: list[MongoDBStore], database: Any, operation: str, rival: str
) -> None:
    mine, other = stores
    for moment in range(30):
        space = uuid.uuid4().hex
        mine.put(space, [Record(b"a", b"1", weight=1.0), Record(b"b", b"22", weight=2.0), Record(b"c", b"333")])
        steps = {
            "put": lambda space=space: mine._records.put(
                database, space, [Record(b"b", b"new", weight=1.0), Record(b"d", b"4444")], TIGHT
            ),
            "delete": lambda space=space: mine._records.delete_where(database, space, {}),
            "evict": lambda space=space: mine._records.evict(database, space, Budget(max_entries=1)),
        }[operation]()
        result = None
        try:
            for _ in range(moment):
                result = steps.send(result)
        except StopIteration:
            return  # every moment has had its rival
        RIVALS[rival](other, space)
        _finish(steps, result)
        exact = _exact(other, space)
        assert other.size(space) == exact, f"interrupted after {moment} calls"
        if operation != "delete":
            assert exact.entries <= 3


@pytest.mark.parametrize("calls", range(1, 7))
def test_a_put_that_dies_leaves_sums_too_large_until_a_recount(
    stores: list[MongoDBStore], database: Any, space: str, clock: FakeClock, calls: int
) -> None:
    mine, other = stores
    database["askonce.spaces"].delete_many({"_id": {"$ne": 0}})  # only so many are counted anew by one `check`
    mine.put(space, [Record(b"a", b"1"), Record(b"b", b"22"), Record(b"c", b"333")])
    steps, result = mine._records.put(database, space, [Record(b"b", b"2"), Record(b"d", b"4444")], TIGHT), None
    for _ in range(calls):
        try:
            result = steps.send(result)
        except StopIteration:
            break
    steps.close()
    exact, size = _exact(other, space), other.size(space)
    assert size.entries >= exact.entries
    assert size.size_bytes >= exact.size_bytes
    clock.advance(3_601)
    other.check()
    assert other.size(space) == exact


def test_a_record_put_while_the_one_before_it_is_removed_stays(
    stores: list[MongoDBStore], database: Any, space: str
) -> None:
    mine, other = stores
    mine.put(space, [Record(b"k", b"old")])
    removal, result = mine._records.delete(database, space, [b"k"]), None
    for _ in range(3):  # what it finds, its charge, its writes
        result = removal.send(result)
    assert other.get(space, b"k") is None
    other.put(space, [Record(b"k", b"new")])
    assert _finish(removal, result) == 1
    assert other.get(space, b"k") == b"new"
    assert other.size(space) == _exact(other, space) == Size(1, 3)


def test_an_eviction_that_finds_nothing_recounts(
    stores: list[MongoDBStore], database: Any, space: str, clock: FakeClock
) -> None:
    store, _ = stores
    store.put(space, [Record(b"a", b"1")])
    database["askonce.spaces"].update_one({"_id": space}, {"$inc": {"entries": 7, "size": 700}})
    clock.advance(60)
    budget = Budget(max_entries=5)
    store.put(space, [Record(b"b", b"22")], budget)
    assert store.size(space) == _exact(store, space) == Size(2, 3)


def _cut_off(after: int) -> Any:
    """Makes every put end with a time-out after so many of its calls, which are done."""

    def bounded(original: Any) -> Any:
        def run(self: Any, seconds: float, steps: Any, *args: Any, **kwargs: Any) -> Any:
            def shortened(*given: Any) -> Any:
                running, result = steps(*given), None
                for _ in range(after):
                    result = yield running.send(result)
                running.close()
                raise pymongo.errors.NetworkTimeout("timed out")

            return original(self, seconds, shortened, *args, **kwargs)

        return run

    return bounded(Clients.run)


@pytest.mark.parametrize("after", range(1, 5))
def test_puts_that_fail_take_no_room_away(
    stores: list[MongoDBStore], space: str, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    rng, (store, other), budget = random.Random(after), stores, Budget(max_bytes=15_000)

    def put(one: MongoDBStore) -> None:
        one.put(space, [Record(rng.randbytes(32), rng.randbytes(1500), None, 1e-6)], budget)

    for _ in range(10):
        put(store)
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(Clients, "run", _cut_off(after))
            for _ in range(20):
                with pytest.raises(StoreError):
                    put(store)
        assert store.size(space) == other.size(space) == _exact(other, space)
        for _ in range(15):
            put(store)
        assert store.size(space) == _exact(other, space) == Size(10, 15_000)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of pymongo, when it is cancelled
async def test_puts_that_are_cancelled_take_no_room_away(database_url: str, space: str, clock: FakeClock) -> None:
    rng, budget = random.Random(1), Budget(max_bytes=15_000)
    store = MongoDBStore(database_url, timeout_seconds=20, clock=clock)

    async def put() -> None:
        await store.aput(space, [Record(rng.randbytes(32), rng.randbytes(1500), None, 1e-6)], budget)

    await put()
    for number in range(60):
        task = asyncio.create_task(put())
        await asyncio.sleep(0.001 * (number % 12))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.sleep(1)  # what the server was still doing
    clock.advance(60)  # a cancelled call may run until its time limit; then the records are counted again
    for _ in range(12):
        await put()
    assert await store.asize(space) == Size(10, 15_000)
    await store.aclose()


def test_what_a_process_leaves_that_died_is_counted_by_another_one(
    stores: list[MongoDBStore], database: Any, space: str, clock: FakeClock
) -> None:
    mine, other = stores
    other.put(space, [Record(b"%d" % number, b"v" * 100, None, 1.0) for number in range(5)])
    budget = Budget(max_bytes=500)
    for number in range(20):  # after what it finds, its charge, the victims and its writes
        steps, result = mine._records.put(database, space, [Record(b"new %d" % number, b"v" * 100)], budget), None
        for _ in range(number % 6 + 1):
            result = steps.send(result)
        mine._records._ended.clear()  # as if it had died
        steps.close()
        mine._records._ended.clear()
    clock.advance(30 + mine._timeout_seconds)
    for number in range(8):
        other.put(space, [Record(b"next %d" % number, b"v" * 100, None, 2.0)], budget)
    assert other.size(space) == _exact(other, space) == Size(5, 500)
    clock.advance(60)
    other.put(space, [Record(b"last", b"v" * 100, None, 2.0)], budget)
    assert database["askonce.spaces"].find_one({"_id": space}).get("calls", {}) == {}


def test_writes_that_fail_among_writes_of_others_leave_the_full_room(database_url: str, space: str) -> None:
    budget, barrier = Budget(max_bytes=30_000), threading.Barrier(4)

    def work(seed: int) -> None:
        rng, store = random.Random(seed), MongoDBStore(database_url, timeout_seconds=0.03 if seed % 2 else 20)
        barrier.wait()
        for _ in range(40):
            with contextlib.suppress(StoreError):
                store.put(space, [Record(rng.randbytes(32), rng.randbytes(1000), None, 1e-6)], budget)
        store.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock = FakeClock(time.time() + 60)
    store = MongoDBStore(database_url, timeout_seconds=20, clock=clock)
    for number in range(40):
        store.put(space, [Record(b"%d" % number, b"v" * 1000, None, 1.0)], budget)
    assert store.size(space) == _exact(store, space) == Size(30, 30_000)
    store.close()


@pytest.mark.parametrize("name", [{"$gt": ""}, {"$ne": None}, ["a"], None, 5])
def test_what_is_no_text_is_refused_as_a_tag_and_as_a_namespace(
    stores: list[MongoDBStore], space: str, name: Any
) -> None:
    store, _ = stores
    store.put(space, [Record(b"k", b"v", tags=("a",))])
    calls: list[Callable[[], Any]] = [
        lambda: store.delete_tag(space, name),
        lambda: store.delete_tag(name, "a"),
        lambda: store.clear(name),
        lambda: store.size(name),
        lambda: store.evict(name, Budget(max_entries=1)),
        lambda: list(store.scan(name)),
        lambda: store.put(name, [Record(b"k", b"v")]),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="text"):
            call()
    assert store.get(space, b"k") == b"v"
