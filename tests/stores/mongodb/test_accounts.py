"""The accounts stay exact, whatever happens between their steps."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator
from typing import Any

import pytest

from askonce.eviction.policy import Budget
from askonce.stores.base import Record, Size, Store
from askonce.stores.mongodb import MongoDBStore
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
