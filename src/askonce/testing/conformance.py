"""What every store must do, as tests.

Subclass ``StoreConformance`` to test a store::

    class TestSQLite(StoreConformance):
        @pytest.fixture
        def open(self, tmp_path):
            return lambda clock=time.time: SQLiteStore(f"sqlite:///{tmp_path}/a.db", clock=clock)

        @pytest.fixture
        def url(self, tmp_path):
            return f"sqlite:///{tmp_path}/a.db"

Each test uses namespaces of its own, so that one server serves all of them, and runs twice: with the plain
methods and with their asynchronous twins.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from askonce.eviction import UNLIMITED, Budget, Policy
from askonce.stores import open_store
from askonce.stores.base import LOG_LENGTH, Record, Size, Store
from askonce.testing.clock import FakeClock
from askonce.testing.face import Call, Face
from askonce.testing.model import StoreModel

ODD_TAGS = ["doc:1", "doc:12", "two words", "größe ✓", "a\0b", "*", "x" * 200]
ODD_NAMESPACES = ["a", "a:b", "a/b", "{x}", "ü %", "*"]
TIGHT = Budget(max_bytes=16_384, max_entries=256)
"""Room for a good part of what `mixed_work` puts, on sharded stores too."""

Step = tuple[str, Any]


def steps() -> st.SearchStrategy[list[Step]]:
    """Random traces: few keys, so that they meet, and whole numbers, so that every store rounds alike."""
    keys = st.sampled_from([b"\0", b"a", b"aa", b"ab", b"b", b"\x7f", b"\x80\0", b"\xff", b"long" * 16])
    record = st.builds(
        lambda key, length, weight, ttl, tags: (key, b"v" * length, weight, ttl, tuple(tags)),
        keys,
        st.integers(0, 45),
        st.integers(0, 6),
        st.none() | st.integers(1, 12),
        st.lists(st.sampled_from(["x", "xy"]), max_size=2),
    )
    budget = st.builds(lambda entries, size: (size, entries), st.integers(1, 6), st.integers(1, 100))
    puts = st.tuples(st.just("put"), st.lists(record, min_size=1, max_size=3))
    return st.lists(
        puts
        | puts
        | st.tuples(st.just("touch"), st.dictionaries(keys, st.integers(1, 5), min_size=1, max_size=3))
        | st.tuples(st.just("delete"), st.lists(keys, max_size=2))
        | st.tuples(st.just("delete_tag"), st.sampled_from(["x", "xy"]))
        | st.tuples(st.just("advance"), st.integers(1, 5))
        | st.tuples(st.just("evict"), budget),
        min_size=4,
        max_size=30,
    )


async def mixed_work(call: Call, namespace: str, seed: int, rounds: int = 60) -> None:
    """Puts, gets, touches and deletes in random order, on keys that other workers use too."""
    dice = random.Random(seed)
    for _ in range(rounds):
        key = b"key %d" % dice.randrange(600)
        kind = dice.random()
        if kind < 0.5:
            records = [
                Record(
                    b"key %d" % dice.randrange(600),
                    dice.randbytes(dice.randrange(200)),
                    weight=1.0,
                    tags=("t",),
                )
                for _ in range(8)
            ]
            await call("put", namespace, records, TIGHT)
        elif kind < 0.7:
            await call("touch", namespace, {key: 1})
        elif kind < 0.9:
            await call("get", namespace, key)
        else:
            await call("delete", namespace, [key])


def work_in_process(url: str, namespace: str, seed: int) -> None:
    """`mixed_work` on a store of its own; runs in another process."""
    store = open_store(url, timeout_seconds=20)
    try:
        Face(store, None).at_once(lambda call, _: mixed_work(call, namespace, seed), times=1)
    finally:
        store.close()


class StoreConformance:
    """The contract of ``askonce.stores.base.Store``.

    A subclass gives the fixture ``open``, and ``url`` if processes share the data.
    """

    exact_eviction = True
    """Whether victims are chosen over the whole namespace; a sharded store chooses within shards."""

    # -- what a subclass gives -------------------------------------------------------------------------------

    @pytest.fixture
    def open(self) -> Callable[..., Store]:
        """A function of ``clock`` that gives a store over the same data each time it is called."""
        raise NotImplementedError("a subclass of StoreConformance defines the fixture `open`")

    @pytest.fixture
    def url(self) -> str | None:
        """For `open_store` in other processes; ``None`` where data is not shared between processes."""
        return None

    @pytest.fixture
    def log_length(self) -> int:
        """How many events are kept at least; a slow store patches its constant and gives a smaller one."""
        return LOG_LENGTH

    # -- what the tests use ----------------------------------------------------------------------------------

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def space(self) -> str:
        return uuid.uuid4().hex

    @pytest.fixture(params=["sync", "async"])
    def loop(self, request: pytest.FixtureRequest) -> Iterator[asyncio.Runner | None]:
        if request.param == "sync":
            yield None
        else:
            with asyncio.Runner() as runner:
                yield runner

    @pytest.fixture
    def store(self, open: Callable[..., Store], clock: FakeClock, loop: asyncio.Runner | None) -> Iterator[Face]:
        face = Face(open(clock=clock), loop)
        face.store.check()
        yield face
        face.close()
        face.store.close()

    # -- reading and writing ---------------------------------------------------------------------------------

    def test_get_gives_what_was_put_last(self, store: Face, space: str) -> None:
        assert store.get(space, b"k") is None
        assert store.put(space, [Record(b"k", b"one"), Record(b"other", b"x")]) == 0
        assert store.get(space, b"k") == b"one"
        store.put(space, [Record(b"k", b"two"), Record(b"k", b"three")])
        assert store.get(space, b"k") == b"three"
        assert store.size(space) == Size(2, 6)

    def test_get_many_keeps_order_duplicates_and_gaps(self, store: Face, space: str) -> None:
        store.put(space, [Record(b"a", b"1"), Record(b"b", b"2")])
        assert store.get_many(space, [b"b", b"none", b"a", b"b"]) == [b"2", None, b"1", b"2"]
        assert store.get_many(space, []) == []
        many = [b"%d" % number for number in range(1500)]
        assert store.get_many(space, [*many, b"a"]) == [None] * 1500 + [b"1"]

    def test_empty_calls_do_nothing(self, store: Face, space: str) -> None:
        assert store.put(space, []) == store.delete(space, []) == store.evict(space, UNLIMITED) == 0
        store.touch(space, {})
        store.clear(space)
        assert store.size(space) == Size()
        assert store.scan(space) == []

    @pytest.mark.parametrize("key", [b"\0", b"k" * 64, bytes(range(64)), bytes(range(192, 256))])
    def test_keys_and_values_are_any_bytes(self, store: Face, space: str, key: bytes) -> None:
        for value in (b"", b"\0", bytes(range(256)), "ü".encode(), b"x" * 100_000):
            store.put(space, [Record(key, value)])
            assert store.get(space, key) == value
            assert store.scan(space) == [(key, value)]
            assert store.size(space) == Size(1, len(value))

    def test_a_value_has_up_to_ten_megabytes(self, store: Face, space: str) -> None:
        value = random.Random(1).randbytes(10_000_000)
        store.put(space, [Record(b"large", value)], Budget(max_bytes=1_000_000_000))
        assert store.get(space, b"large") == value
        store.delete(space, [b"large"])

    def test_delete_returns_how_many_there_were(self, store: Face, space: str) -> None:
        store.put(space, [Record(b"a", b"1"), Record(b"b", b"22")])
        assert store.delete(space, [b"a", b"none", b"a"]) == 1
        assert store.get(space, b"a") is None
        assert store.size(space) == Size(1, 2)

    def test_scan_gives_each_record_once_over_many_pages(self, store: Face, space: str) -> None:
        content = {b"key %d" % number: b"value %d" % number for number in range(2_500)}
        records = [Record(key, value) for key, value in content.items()]
        for start in range(0, len(records), 500):
            store.put(space, records[start : start + 500])
        rows = store.scan(space)
        assert len(rows) == len(content)
        assert dict(rows) == content
        store.clear(space)
        assert store.scan(space) == []

    def test_a_second_store_sees_the_same_data(
        self, store: Face, open: Callable[..., Store], clock: FakeClock, space: str
    ) -> None:
        store.put(space, [Record(b"k", b"v")])
        second = open(clock=clock)
        assert second.get(space, b"k") == b"v"
        second.delete(space, [b"k"])
        assert store.get(space, b"k") is None
        second.close()

    # -- expiry ----------------------------------------------------------------------------------------------

    def test_a_record_is_there_until_its_second_of_expiry(self, store: Face, space: str, clock: FakeClock) -> None:
        store.put(space, [Record(b"k", b"v", clock() + 10), Record(b"ever", b"v")])
        clock.advance(9)
        assert store.get_many(space, [b"k", b"ever"]) == [b"v", b"v"]
        assert store.size(space) == Size(2, 2)
        clock.advance(1)
        assert store.get(space, b"k") is None
        assert store.get_many(space, [b"k", b"ever"]) == [None, b"v"]
        clock.advance(10 * 365 * 86_400)
        assert store.get(space, b"ever") == b"v"

    @pytest.mark.parametrize("seen_first_by", ["scan", "size", "delete", "delete_tag", "touch", "evict", "put"])
    def test_no_method_sees_an_expired_record(
        self, store: Face, space: str, clock: FakeClock, seen_first_by: str
    ) -> None:
        store.put(space, [Record(b"k%d" % n, b"vv", clock() + 5, 9.0, ("t",)) for n in range(3)])
        store.put(space, [Record(b"live", b"v", clock() + 50, 1.0, ("live",))])
        clock.advance(5)
        calls: dict[str, tuple[tuple[Any, ...], Any]] = {
            "scan": ((), [(b"live", b"v")]),
            "size": ((), Size(1, 1)),
            "delete": (([b"k0", b"k1"],), 0),
            "delete_tag": (("t",), 0),
            "touch": (({b"k0": 3},), None),
            "evict": ((Budget(max_entries=1),), 0),
            "put": (([Record(b"live", b"v")], Budget(max_entries=1)), 0),
        }
        args, expected = calls[seen_first_by]
        if self.exact_eviction or seen_first_by not in ("evict", "put"):
            assert getattr(store, seen_first_by)(space, *args) == expected
        assert store.size(space) == Size(1, 1)
        assert store.scan(space) == [(b"live", b"v")]
        assert store.get(space, b"k0") is None

    def test_an_overwrite_brings_its_own_expiry(self, store: Face, space: str, clock: FakeClock) -> None:
        store.put(space, [Record(b"a", b"1", clock() + 5), Record(b"b", b"1"), Record(b"c", b"1", clock() + 5)])
        store.put(space, [Record(b"a", b"2"), Record(b"b", b"2", clock() + 5), Record(b"c", b"2", clock() + 9)])
        clock.advance(5)
        assert store.get_many(space, [b"a", b"b", b"c"]) == [b"2", None, b"2"]
        assert store.size(space) == Size(2, 2)
        store.put(space, [Record(b"b", b"3")])
        assert store.get(space, b"b") == b"3"

    def test_a_record_that_is_put_too_late_is_not_there(self, store: Face, space: str, clock: FakeClock) -> None:
        store.put(space, [Record(b"k", b"old")])
        store.put(space, [Record(b"k", b"new", clock() - 1)])
        assert store.get(space, b"k") is None
        assert store.size(space) == Size()

    def test_expiry_follows_the_real_clock(
        self, open: Callable[..., Store], loop: asyncio.Runner | None, space: str
    ) -> None:
        store = Face(open(), loop)
        store.put(
            space, [Record(b"k", b"v", time.time() + 1, tags=("t",)), Record(b"long", b"v", time.time() + 99)]
        )
        assert store.get(space, b"k") == b"v"
        time.sleep(1.1)
        assert store.get_many(space, [b"k", b"long"]) == [None, b"v"]
        assert store.size(space) == Size(1, 1)
        store.close()
        store.store.close()

    # -- tags ------------------------------------------------------------------------------------------------

    def test_delete_tag_deletes_what_has_exactly_that_tag(self, store: Face, space: str) -> None:
        for number, tag in enumerate(ODD_TAGS):
            store.put(space, [Record(b"%d" % number, b"vv", tags=(tag, "all", tag))])
        store.put(space, [Record(b"untagged", b"v")])
        for number, tag in enumerate(ODD_TAGS[:-2]):
            assert store.delete_tag(space, tag) == 1
            assert store.get(space, b"%d" % number) is None
            assert store.delete_tag(space, tag) == 0
        assert store.delete_tag(space, "al") == store.delete_tag(space, "") == 0
        assert store.delete_tag(space, "all") == 2
        assert store.scan(space) == [(b"untagged", b"v")]
        assert store.size(space) == Size(1, 1)

    @pytest.mark.parametrize("way", ["overwrite", "delete", "evict", "clear", "expire", "delete_tag"])
    def test_tags_go_with_their_record(self, store: Face, space: str, clock: FakeClock, way: str) -> None:
        store.put(space, [Record(b"k", b"v", clock() + 5, tags=("old", "both"))])
        if way == "evict":
            store.put(space, [Record(b"x" * 8, b"x" * 64_000)], Budget(max_bytes=64_000))
            store.evict(space, Budget(max_bytes=1))
        elif way == "expire":
            clock.advance(5)
        elif way != "overwrite":
            args: dict[str, tuple[Any, ...]] = {"delete": ([b"k"],), "clear": (), "delete_tag": ("both",)}
            getattr(store, way)(space, *args[way])
        store.put(space, [Record(b"k", b"v", tags=("new", "both"))])
        assert store.delete_tag(space, "old") == 0
        assert store.get(space, b"k") == b"v"
        assert store.delete_tag(space, "new") == 1
        assert store.delete_tag(space, "both") == 0

    # -- namespaces ------------------------------------------------------------------------------------------

    def test_namespaces_are_apart(self, store: Face, space: str) -> None:
        names = [space + odd for odd in ODD_NAMESPACES]
        for number, name in enumerate(names):
            store.put(name, [Record(b"k", b"%d" % number, tags=("t",)), Record(b"k2", b"more")])
        for number, name in enumerate(names):
            assert store.get(name, b"k") == b"%d" % number
            assert sorted(store.scan(name)) == [(b"k", b"%d" % number), (b"k2", b"more")]
        for number, name in enumerate(names):
            assert store.delete_tag(name, "t") == 1
            store.clear(name)
            assert store.size(name) == Size()
            assert all(store.size(other) == Size(2, 5) for other in names[number + 1 :])

    def test_clear_leaves_log_and_leases(self, store: Face, space: str) -> None:
        store.put(space, [Record(b"k", b"v", tags=("t",))])
        assert store.lease(space, b"k", "anna", 60)
        store.log_append(space, b"event")
        store.clear(space)
        assert store.get(space, b"k") is None
        assert not store.lease(space, b"k", "bert", 60)
        assert store.log_read(space, 0).events == [(1, b"event")]
        assert store.log_append(space, b"next") == 2

    # -- budgets ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("policy", Policy)
    def test_limits_hold_after_every_put(self, store: Face, space: str, clock: FakeClock, policy: Policy) -> None:
        budget = Budget(TIGHT.max_bytes, TIGHT.max_entries, policy)
        dice = random.Random(7)
        for start in range(0, 600, 40):
            clock.advance(1)
            store.put(
                space,
                [
                    Record(b"key %d" % number, dice.randbytes(dice.randrange(200)), clock() + 500, dice.random())
                    for number in range(start, start + 40)
                ],
                budget,
            )
            size = store.size(space)
            assert not budget.exceeded_by(entries=size.entries, size_bytes=size.size_bytes)
        assert size.entries > 20
        rows = store.scan(space)
        assert size == Size(len(rows), sum(len(value) for _, value in rows))

    def test_a_value_larger_than_the_budget_deletes_the_old_one(self, store: Face, space: str) -> None:
        budget = Budget(max_bytes=64_000)
        store.put(space, [Record(b"k", b"old"), Record(b"other", b"v")], budget)
        assert store.put(space, [Record(b"k", b"x" * 64_001)], budget) == 0
        assert store.scan(space) == [(b"other", b"v")]
        assert store.size(space) == Size(1, 1)

    def test_evict_shrinks_a_namespace(self, store: Face, space: str) -> None:
        store.put(space, [Record(b"%d" % number, b"v" * 100, weight=number) for number in range(600)])
        evicted = store.evict(space, TIGHT)
        size = store.size(space)
        assert size.entries + evicted == 600
        assert not TIGHT.exceeded_by(entries=size.entries, size_bytes=size.size_bytes)
        assert store.evict(space, TIGHT) == 0

    def test_victims_have_the_lowest_priority_and_ties_the_smallest_key(self, store: Face, space: str) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_bytes=5, policy=Policy.LEC)
        store.put(space, [Record(key, b"v", weight=2) for key in (b"b", b"aa", b"c", b"a")], budget)
        store.put(space, [Record(b"z", b"v", weight=1)], budget)
        store.touch(space, {b"a": 1, b"none": 1}, Policy.LEC)
        assert store.put(space, [Record(b"new", b"vv", weight=9)], budget) == 2
        assert {key for key, _ in store.scan(space)} == {b"a", b"b", b"c", b"new"}
        assert store.put(space, [Record(b"all", b"v" * 5, weight=0)], budget) == 4
        assert store.scan(space) == [(b"all", b"v" * 5)]

    @pytest.mark.parametrize("policy", Policy)
    def test_random_traces_leave_what_the_model_says(self, store: Face, clock: FakeClock, policy: Policy) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_bytes=100, max_entries=5, policy=policy)

        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(steps())
        def follow(trace: list[Step]) -> None:
            space, model = uuid.uuid4().hex, StoreModel(clock)
            for name, what in trace:
                if name == "advance":
                    clock.advance(what)
                    continue
                if name == "put":
                    records = [
                        Record(key, value, None if ttl is None else clock() + ttl, weight, tags)
                        for key, value, weight, ttl, tags in what
                    ]
                    args: tuple[Any, ...] = (records, budget)
                elif name == "touch":
                    args = (what, policy)
                else:
                    args = (Budget(what[0], what[1], policy),) if name == "evict" else (what,)
                assert getattr(store, name)(space, *args) == getattr(model, name)(*args)
                assert dict(store.scan(space)) == model.content()
            assert store.size(space) == model.size()
            store.clear(space)

        follow()

    # -- leases ----------------------------------------------------------------------------------------------

    def test_a_lease_has_one_holder(self, store: Face, space: str, clock: FakeClock) -> None:
        assert store.lease(space, b"k", "anna", 10)
        assert not store.lease(space, b"k", "bert", 10)
        assert store.lease(space, b"other", "bert", 10)
        assert store.lease(space + "2", b"k", "bert", 10)
        store.release(space, b"k", "bert")
        assert not store.lease(space, b"k", "bert", 10)
        clock.advance(6)
        assert store.lease(space, b"k", "anna", 10)
        clock.advance(9)
        assert not store.lease(space, b"k", "bert", 10)
        store.release(space, b"k", "anna")
        assert store.lease(space, b"k", "bert", 10)

    def test_a_lease_ends_by_itself(self, store: Face, space: str, clock: FakeClock) -> None:
        assert store.lease(space, b"k", "anna", 10)
        clock.advance(10)
        assert store.lease(space, b"k", "bert", 10)
        store.release(space, b"k", "anna")
        assert not store.lease(space, b"k", "anna", 10)

    def test_of_eight_who_race_for_a_lease_one_wins(self, store: Face, space: str) -> None:
        for number in range(10):
            key = b"%d" % number

            async def race(call: Call, runner: int, key: bytes = key) -> bool:
                return bool(await call("lease", space, key, f"runner {runner}", 60.0))

            assert sum(store.at_once(race)) == 1

    # -- the change log --------------------------------------------------------------------------------------

    def test_the_log_counts_from_one_and_reads_on(self, store: Face, space: str) -> None:
        page = store.log_read(space, 0)
        assert (page.events, page.head, page.truncated) == ([], 0, False)
        events = [b"", b"\0\xff", b"three", b"four"]
        assert [store.log_append(space, event) for event in events] == [1, 2, 3, 4]
        assert store.log_append(space + "2", b"elsewhere") == 1
        page = store.log_read(space, 0)
        assert (page.events, page.head, page.truncated) == (list(enumerate(events, 1)), 4, False)
        page = store.log_read(space, 1, 2)
        assert (page.events, page.head, page.truncated) == ([(2, b"\0\xff"), (3, b"three")], 4, False)
        page = store.log_read(space, 4)
        assert (page.events, page.head, page.truncated) == ([], 4, False)

    def test_eight_append_to_the_log_without_gaps(self, store: Face, space: str) -> None:
        async def append(call: Call, writer: int) -> list[tuple[int, bytes]]:
            events = [b"%d %d" % (writer, number) for number in range(20)]
            return [(await call("log_append", space, event), event) for event in events]

        written = sorted(row for rows in store.at_once(append) for row in rows)
        page = store.log_read(space, 0)
        assert page.events == written
        assert [sequence for sequence, _ in written] == list(range(1, 161))

    def test_a_reader_learns_that_it_missed_events(
        self, open: Callable[..., Store], space: str, log_length: int
    ) -> None:
        store = open()
        head = log_length + log_length // 5 + 300
        for number in range(1, head + 1):
            assert store.log_append(space, b"%d" % number) == number
        page = store.log_read(space, 0, head)
        oldest = page.events[0][0]
        assert page.head == head
        assert page.events == [(number, b"%d" % number) for number in range(oldest, head + 1)]
        assert len(page.events) >= log_length
        assert page.truncated == (oldest > 1)
        assert not store.log_read(space, oldest - 1, 1).truncated
        assert store.log_read(space, max(oldest - 2, 0), 1).truncated == (oldest > 1)
        store.close()

    # -- many at once, and life ------------------------------------------------------------------------------

    @staticmethod
    def assert_accounts_agree(store: Face, space: str) -> None:
        rows = store.scan(space)
        size = store.size(space)
        assert len(dict(rows)) == len(rows) > 20
        assert size == Size(len(rows), sum(len(value) for _, value in rows))
        assert not TIGHT.exceeded_by(entries=size.entries, size_bytes=size.size_bytes)
        assert store.delete_tag(space, "t") == len(rows)
        assert store.size(space) == Size()

    def test_eight_at_once_keep_the_accounts(self, store: Face, space: str) -> None:
        store.at_once(lambda call, number: mixed_work(call, space, number))
        self.assert_accounts_agree(store, space)

    def test_four_processes_at_once_keep_the_accounts(self, store: Face, space: str, url: str | None) -> None:
        if url is None:
            pytest.skip("this store is not shared between processes")
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work_in_process, args=(url, space, seed)) for seed in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0] * 4
        self.assert_accounts_agree(store, space)

    def test_an_event_loop_may_follow_another(
        self, open: Callable[..., Store], clock: FakeClock, space: str
    ) -> None:
        store = open(clock=clock)

        async def work() -> bytes | None:
            await store.aput(space, [Record(b"k", b"v")])
            return await store.aget(space, b"k")

        assert [asyncio.run(work()) for _ in range(3)] == [b"v"] * 3
        assert store.get(space, b"k") == b"v"
        asyncio.run(store.aclose())
        store.close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_store_survives_a_fork(self, store: Face, space: str, url: str | None) -> None:
        store.put(space, [Record(b"parent", b"1")])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the parent has threads; all are idle
            child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(20)
                with asyncio.Runner() as runner:
                    forked = Face(store.store, runner if store.loop else None)
                    forked.put(space, [Record(b"child", b"2")])
                    code = 0 if forked.get_many(space, [b"parent", b"child"]) == [b"1", b"2"] else 2
            finally:
                os._exit(code)
        assert store.get(space, b"parent") == b"1"
        store.put(space, [Record(b"later", b"3")])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        expected = [b"1", b"3", None if url is None else b"2"]
        assert store.get_many(space, [b"parent", b"later", b"child"]) == expected

    def test_a_store_closes_twice(
        self, open: Callable[..., Store], loop: asyncio.Runner | None, space: str
    ) -> None:
        store = Face(open(), loop)
        store.put(space, [Record(b"k", b"v")])
        store.close()
        store.close()
        store.store.close()
        open().close()
