"""What callers share: leases, the change log, and the same records at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable

import pytest

from askonce.eviction.policy import UNLIMITED
from askonce.stores import open_store
from askonce.stores.base import Claimed, LogPage, Record, Size, Store
from askonce.testing._fixtures import TIGHT, StoreFixtures
from askonce.testing.clock import FakeClock
from askonce.testing.driver import Call, StoreDriver


async def mixed_work(call: Call, namespace: str, seed: int, rounds: int) -> None:
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


def work_in_process(url: str, namespace: str, seed: int, rounds: int) -> None:
    """`mixed_work` on a store of its own; runs in another process."""
    store = open_store(url, timeout_seconds=20)
    try:
        StoreDriver(store, None).at_once(lambda call, _: mixed_work(call, namespace, seed, rounds), times=1)
    finally:
        store.close()


class SharingTests(StoreFixtures):
    """Threads, tasks, processes and forks."""

    # -- leases ----------------------------------------------------------------------------------------------

    def test_a_lease_has_one_holder(self, store: StoreDriver, space: str, clock: FakeClock) -> None:
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

    def test_a_lease_expires(self, store: StoreDriver, space: str, clock: FakeClock) -> None:
        assert store.lease(space, b"k", "anna", 10)
        clock.advance(10)
        assert store.lease(space, b"k", "bert", 10)
        store.release(space, b"k", "anna")
        assert not store.lease(space, b"k", "anna", 10)

    def test_a_lease_from_a_clock_that_is_ahead_is_not_waited_for(
        self, store: StoreDriver, space: str, clock: FakeClock
    ) -> None:
        clock.advance(60)
        assert store.lease(space, b"k", "anna", 10)
        clock.advance(-60)
        assert store.lease(space, b"k", "bert", 10)
        clock.advance(2)  # as far as clocks that are set by the network may differ
        assert store.lease(space, b"near", "anna", 10)
        clock.advance(-2)
        assert not store.lease(space, b"near", "bert", 10)

    def test_one_of_eight_concurrent_owners_gets_a_lease(self, store: StoreDriver, space: str) -> None:
        for number in range(10):
            key = b"%d" % number

            async def race(call: Call, runner: int, key: bytes = key) -> bool:
                return bool(await call("lease", space, key, f"runner {runner}", 60.0))

            assert sum(store.at_once(race)) == 1

    def test_a_claim_finds_what_its_holder_before_has_put(
        self, store: StoreDriver, space: str, clock: FakeClock
    ) -> None:
        log = f"{space}:log"
        event = store.log_append(log, b"one")

        def claim(owner: str) -> Claimed:
            claimed: Claimed = store.claim(space, b"k", owner, 10, log, event)
            return claimed

        first = claim("anna")
        assert (first.is_held, first.value) == (True, None)
        assert first.page in (None, LogPage(head=event))
        assert not claim("bert").is_held
        assert claim("anna").is_held
        other = store.log_append(log, b"two")
        evicted, page = store.fulfil(space, Record(b"k", b"v", clock() + 60), TIGHT, "anna", log, event)
        assert evicted == 0
        assert page in (None, LogPage([(other, b"two")], other))
        found = claim("bert")
        assert (found.is_held, found.value) == (True, b"v")
        assert found.page in (None, LogPage([(other, b"two")], other))
        store.fulfil(space, Record(b"k", b"w", clock() + 60), TIGHT, "anna", log, event)
        assert not claim("anna").is_held, "the lease is another's"
        assert store.get(space, b"k") == b"w"
        clock.advance(61)
        assert claim("anna").value is None

    def test_an_event_after_a_record_was_put_finds_it(self, store: StoreDriver, space: str) -> None:
        """Whoever deletes appends to the log first; whoever puts reads it then: one of both sees the other."""
        log = f"{space}:log"
        begin = store.log_append(log, b"begin")

        async def put(call: Call, runner: int) -> bool:
            if runner % 2:
                await call("log_append", log, b"deleted")
                await call("delete", space, [b"k"])
                return False
            _, page = await call("fulfil", space, Record(b"k", b"v"), UNLIMITED, "anna", log, begin)
            page = page or await call("log_read", log, begin)
            return not page.events

        for _ in range(20):
            unaware = store.at_once(put, times=2)[0]
            assert not unaware or store.get(space, b"k") is None
            store.delete(space, [b"k"])
            begin = store.log_append(log, b"begin")

    # -- the change log --------------------------------------------------------------------------------------

    def test_a_log_begins_at_the_time_and_increases_by_one(
        self, store: StoreDriver, space: str, clock: FakeClock
    ) -> None:
        page = store.log_read(space, 0)
        assert (page.events, page.head, page.truncated) == ([], 0, False)
        events = [b"", b"\0\xff", b"three", b"four"]
        first = int(clock() * 1000)
        clock.advance(60)
        first += 60_000
        assert [store.log_append(space, event) for event in events] == list(range(first, first + 4))
        clock.advance(60)
        assert store.log_append(space + "2", b"elsewhere") == first + 60_000
        assert store.log_append(space, b"five") == first + 4

    def test_the_log_is_read_from_any_position(self, store: StoreDriver, space: str) -> None:
        events = [b"one", b"two", b"three", b"four"]
        first, *_, last = [store.log_append(space, event) for event in events]
        page = store.log_read(space, 0)
        assert (page.events, page.head, page.truncated) == (list(enumerate(events, first)), last, False)
        page = store.log_read(space, 0, 1)
        assert (page.events, page.head, page.truncated) == ([(first, b"one")], last, False)
        page = store.log_read(space, first, 2)
        assert (page.events, page.head, page.truncated) == (
            [(first + 1, b"two"), (first + 2, b"three")],
            last,
            False,
        )
        page = store.log_read(space, last)
        assert (page.events, page.head, page.truncated) == ([], last, False)

    def test_records_and_a_log_are_read_at_once(self, store: StoreDriver, space: str, clock: FakeClock) -> None:
        log = f"{space}:log"
        assert store.get_many_with_log(space, [b"a"], log, 0) == ([None], LogPage())
        store.put(space, [Record(b"a", b"1"), Record(b"b", b"2", expires_at=clock() + 60)])
        store.put(log, [Record(b"a", b"of another namespace")])
        first, last = [store.log_append(log, event) for event in (b"one", b"two")]
        values, page = store.get_many_with_log(space, [b"b", b"none", b"a", b"b"], log, first)
        assert (values, page.events, page.head) == ([b"2", None, b"1", b"2"], [(last, b"two")], last)
        clock.advance(61)
        many = [b"key %d" % number for number in range(600)]
        values, page = store.get_many_with_log(space, [b"b", *many, b"a"], log, last)
        assert (values, page.events, page.head) == ([None] * 601 + [b"1"], [], last)
        _, page = store.get_many_with_log(space, [], log, 0, 1)
        assert page.events == [(first, b"one")]

    def test_a_reader_of_a_lost_log_missed_events(self, store: StoreDriver, space: str) -> None:
        first = store.log_append(space, b"one")
        assert not store.log_read(space, first - 1).truncated
        page = store.log_read(space, first - 2)
        assert (page.events, page.truncated) == ([(first, b"one")], True)

    def test_eight_concurrent_appends_leave_no_gaps(self, store: StoreDriver, space: str) -> None:
        async def append(call: Call, writer: int) -> list[tuple[int, bytes]]:
            events = [b"%d %d" % (writer, number) for number in range(20)]
            return [(await call("log_append", space, event), event) for event in events]

        written = sorted(row for rows in store.at_once(append) for row in rows)
        page = store.log_read(space, 0)
        assert page.events == written
        first = written[0][0]
        assert [sequence for sequence, _ in written] == list(range(first, first + 160))

    def test_missed_events_are_reported_to_the_reader(
        self, open: Callable[..., Store], space: str, log_length: int
    ) -> None:
        store = open()
        first = store.log_append(space, b"0")
        count = log_length + log_length // 5 + 300
        for number in range(1, count):
            assert store.log_append(space, b"%d" % number) == first + number
        page = store.log_read(space, 0, count)
        oldest = page.events[0][0]
        assert page.head == first + count - 1
        assert page.events == [(sequence, b"%d" % (sequence - first)) for sequence in range(oldest, first + count)]
        assert len(page.events) >= log_length
        assert page.truncated == (oldest > first)
        assert not store.log_read(space, oldest - 1, 1).truncated
        assert store.log_read(space, oldest - 2, 1).truncated
        store.close()

    # -- many at once, and life ------------------------------------------------------------------------------

    @staticmethod
    def assert_accounts_agree(store: StoreDriver, space: str) -> None:
        rows = store.scan(space)
        size = store.size(space)
        assert len(dict(rows)) == len(rows) > 20
        assert size == Size(len(rows), sum(len(value) for _, value in rows))
        assert not TIGHT.exceeded_by(entries=size.entries, size_bytes=size.size_bytes)
        assert store.delete_tag(space, "t") == len(rows)
        assert store.size(space) == Size()

    def test_accounts_are_exact_under_eight_threads(self, store: StoreDriver, space: str) -> None:
        store.at_once(lambda call, number: mixed_work(call, space, number, self.work_rounds))
        self.assert_accounts_agree(store, space)

    def test_accounts_are_exact_under_four_processes(self, store: StoreDriver, space: str, url: str | None) -> None:
        if url is None:
            pytest.skip("this store is not shared between processes")
        if sys.platform == "win32":
            context = multiprocessing.get_context("spawn")
        else:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([__name__])  # imported once, not by each process
        args = [(url, space, seed, self.work_rounds) for seed in range(4)]
        workers = [context.Process(target=work_in_process, args=row) for row in args]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0] * 4
        self.assert_accounts_agree(store, space)

    def test_several_event_loops_one_after_the_other(
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
    def test_a_store_survives_a_fork(self, store: StoreDriver, space: str, url: str | None) -> None:
        store.put(space, [Record(b"parent", b"1")])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the parent has threads; all are idle
            child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(20)
                with asyncio.Runner() as runner:
                    forked = StoreDriver(store.store, runner if store.loop else None)
                    forked.put(space, [Record(b"child", b"2")])
                    code = 0 if forked.get_many(space, [b"parent", b"child"]) == [b"1", b"2"] else 2
            finally:
                os._exit(code)
        assert store.get(space, b"parent") == b"1"
        store.put(space, [Record(b"later", b"3")])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        expected = [b"1", b"3", None if url is None else b"2"]
        assert store.get_many(space, [b"parent", b"later", b"child"]) == expected

    def test_a_store_can_be_closed_twice(
        self, open: Callable[..., Store], loop: asyncio.Runner | None, space: str
    ) -> None:
        store = StoreDriver(open(), loop)
        store.put(space, [Record(b"k", b"v")])
        store.close()
        store.close()
        store.store.close()
        open().close()
