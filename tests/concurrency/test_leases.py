"""Leases between processes, here between caches of one store."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from askonce import Cache, StoreUnavailable
from askonce.stores.memory import MemoryStore
from tests.support.application import Application, eventually, lookup


def leased(store: MemoryStore) -> int:
    return len(store._space("default").leases)


def test_a_lease_is_renewed_while_the_call_runs(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askonce.concurrency.claims.LEASE_SECONDS", 0.6)
    store._clock = time.time
    one, other = (Application(Cache(store, timeout_seconds=5)) for _ in range(2))  # also on a busy machine
    one.answer("first")  # the prices are loaded, for which all threads stand still
    one.calls, one.delay = 0, 2.0
    with ThreadPoolExecutor(1) as threads:
        leader = threads.submit(one.answer, "why?")
        eventually(lambda: one.calls == 1)
        assert other.answer("why?") == "exact: why?!"
        leader.result()
    assert other.calls == 0


def test_a_lease_is_released_even_if_the_store_failed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askonce.concurrency.claims.LEASE_SECONDS", 0.4)

    class Twice(MemoryStore):
        failures = 0

        def release(self, *args: Any) -> None:
            if self.failures < 2:  # with the answer, and then by itself
                self.failures += 1
                raise StoreUnavailable("twice")
            super().release(*args)

    store = Twice()
    application = Application(Cache(store))
    application.answer("why?")
    assert leased(store) == 1
    eventually(lambda: leased(store) == 0, seconds=0.3)


def test_closing_releases_the_lease_of_an_abandoned_lookup(store: MemoryStore) -> None:
    with Cache(store) as cache:
        lookup(Application(cache), "q")
        assert leased(store) == 1
    assert leased(store) == 0


async def test_the_lease_of_a_failed_task_is_released_soon(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.concurrency.claims.LEASE_SECONDS", 0.4)
    application = Application(Cache(store))
    await asyncio.create_task(application.cache.engine.alookup(application.request("q")))
    await asyncio.sleep(0.3)
    assert leased(store) == 0


async def test_the_lease_of_a_task_that_was_cancelled_while_taking_it_is_released_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("askonce.concurrency.claims.LEASE_SECONDS", 0.4)

    class RepliesLate(MemoryStore):
        async def alease(self, *args: Any) -> bool:
            taken = super().lease(*args)
            await asyncio.sleep(0.2)
            return taken

    store = RepliesLate()
    task = asyncio.create_task(Application(Cache(store)).aanswer("why?"))
    await asyncio.sleep(0.1)
    assert leased(store) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(eventually, lambda: leased(store) == 0)


async def test_after_a_slow_lookup_there_is_still_time_for_the_lease() -> None:
    timeout_seconds, caches = 3.0, 2

    class SlowAtFirst(MemoryStore):
        lookups = 0

        async def aget(self, *args: Any) -> bytes | None:
            self.lookups += 1
            if self.lookups <= caches:
                await asyncio.sleep(0.8 * timeout_seconds)
            return super().get(*args)

    store = SlowAtFirst()
    applications = [Application(Cache(store, timeout_seconds=timeout_seconds)) for _ in range(caches)]
    for one in applications:
        one.delay = 0.2
    await asyncio.gather(*(one.aanswer("why?") for one in applications))
    assert sum(one.calls for one in applications) == 1


async def test_who_waits_for_another_process_goes_on_when_the_store_fails_once() -> None:
    class FailsOnce(MemoryStore):
        to_fail: tuple[str, ...] = ()

        async def aget(self, *args: Any) -> bytes | None:
            if "get" in self.to_fail:
                await asyncio.sleep(0.3)  # more than half of the time that a request has for the store
            self.fail("get")
            return super().get(*args)

        async def alease(self, *args: Any) -> bool:
            if "get" not in self.to_fail:
                self.fail("lease")
            return super().lease(*args)

        def fail(self, operation: str) -> None:
            if operation in self.to_fail:
                self.to_fail = tuple(one for one in self.to_fail if one != operation)
                raise StoreUnavailable(operation)

    store = FailsOnce()
    leader, follower = (Application(Cache(store, timeout_seconds=0.5)) for _ in range(2))
    leader.delay = 2.0
    made = asyncio.create_task(leader.aanswer("why?"))
    await asyncio.sleep(0.5)
    waited = asyncio.create_task(follower.aanswer("why?"))
    await asyncio.sleep(0.3)
    store.to_fail = ("get", "lease")
    await asyncio.gather(made, waited)
    assert not store.to_fail
    assert leader.calls + follower.calls == 1
