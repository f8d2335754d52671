"""A store that fails does not fail a call, and is left alone for a while."""

import asyncio
import gc
import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from askonce import Cache, StoreUnavailable
from askonce.entries.entry import Hit
from askonce.stores.base import Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown
from askonce.stores.health import Lane, StoreHealth
from askonce.stores.memory import MemoryStore
from tests.support.application import Application, Both
from tests.support.stores import FailingStore


@pytest.fixture(autouse=True)
def no_cache_of_an_earlier_test() -> None:
    """One that is collected tries its store a last time, on a thread, and what it logs would be this test's."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "askonce-closing":
            thread.join()


def test_a_failing_store_is_bypassed_and_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.stores.health._FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr("askonce.stores.health._FIRST_CALM_SECONDS", 0.0)
    store = FailingStore()
    application = Application(Cache(store))
    store.failing = True
    with caplog.at_level(logging.WARNING, "askonce"):
        assert [application.answer("why?") for _ in range(20)] == ["why?!"] * 20
        assert len(caplog.records) == 1 and "down for a test" in caplog.text
        stats = application.cache.stats()
        assert stats.errors == store.calls < 15  # the breaker spares the rest
        assert stats.store == "down"
        store.failing = False
        deadline = time.monotonic() + 30  # each attempt that failed has doubled the pause
        while application.answer("why?") != "exact: why?!":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(caplog.records) == 2 and "has recovered" in caplog.text
    assert application.cache.stats().store == "up"


def test_calls_that_fail_together_open_the_breaker_once() -> None:
    health, lane = StoreHealth("test"), Lane("read")
    began = time.monotonic()
    for _ in range(50):
        health.failed(lane, StoreUnavailable("down"), began)
    assert health._lanes[lane].pause == 1.0
    health.failed(lane, StoreUnavailable("down"), time.monotonic())
    assert health._lanes[lane].pause == 2.0


@pytest.mark.parametrize("error", ["out of memory", "memory://: out of memory"])
def test_a_store_that_answers_but_stores_nothing_is_logged_once(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(MemoryStore):
        def put(self, *args: Any, **kwargs: Any) -> int:
            raise StoreUnavailable(error)

    application = Application(Cache(Full()))
    for _ in range(5):
        application.answer("why?")
    assert [record.getMessage() for record in caplog.records] == [
        "askonce: store memory:// does not store answers (out of memory)"
    ]


def test_a_slow_success_is_no_failure() -> None:
    class Late(MemoryStore):
        def get(self, namespace: str, key: bytes) -> bytes | None:
            time.sleep(0.05)
            return super().get(namespace, key)

    application = Application(Cache(Late(), timeout_seconds=0.01))
    assert [application.answer("why?") for _ in range(5)] == ["why?!"] + ["exact: why?!"] * 4
    assert (application.cache.stats().errors, application.cache.stats().store) == (0, "up")


async def test_an_asynchronous_call_does_not_wait_long_for_a_slow_store() -> None:
    store = FailingStore(hanging_seconds=60)
    application = Application(Cache(store, timeout_seconds=0.05))
    assert await asyncio.wait_for(application.aanswer("why?"), 5) == "why?!"
    assert application.cache.stats().errors >= 1


def test_an_unexpected_error_of_the_store_does_not_fail_a_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(MemoryStore):
        def get(self, namespace: str, key: bytes) -> bytes | None:
            raise TypeError("a bug")

    with Cache(Broken()) as cache:
        assert Application(cache).answer("why?") == "why?!"
    assert "a bug" in caplog.text


def test_a_failed_invalidation_raises() -> None:
    with pytest.raises(StoreUnavailable):
        Cache(FailingStore(failing=True)).invalidate("prices")


class Full(MemoryStore):
    """Reads well, and cannot write once it is full."""

    full = False

    def put(self, *args: Any, **kwargs: Any) -> int:
        if self.full:
            raise StoreUnavailable("the disk is full")
        return super().put(*args, **kwargs)


def test_a_store_that_cannot_write_still_serves_what_it_holds_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    store = Full()
    application = Application(Cache(store, lease_seconds=0))
    application.answer("stored")
    store.full = True
    for round_ in range(10):
        for number in range(5):
            application.answer(f"{round_} {number}")
        now[0] += 2
        assert application.answer("stored") == "exact: stored!"
    assert application.cache.stats().errors < 20
    store.full = False
    now[0] += 60
    assert application.answer("new") == "new!" and application.answer("new") == "exact: new!"
    now[0] += 10  # all is well for a while
    application.answer("new")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "askonce: store memory:// does not store answers (the disk is full)",
        "askonce: store memory:// has recovered",
    ]


@pytest.mark.parametrize(
    ("operation", "args"),
    [("log_read", ("n", 0)), ("get_many_with_log", ("n", [b"k"], "n", 0)), ("size", ("n",)), ("clear", ("n",))],
)
def test_an_operation_that_fails_takes_no_hit_away(
    operation: str, args: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    store.put("n", [Record(b"k", b"v")])
    breaker = CircuitBreaker(store, 1.0)

    def failing(*args: Any) -> Any:
        raise StoreUnavailable("not served")

    failing.__name__ = operation
    for _ in range(5):
        with pytest.raises(StoreDown):
            breaker.call(failing, *args)
    assert breaker.call(store.get, "n", b"k") == b"v"
    assert breaker.health.state == "closed"
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        f"askonce: store memory:// {'does not store answers' if operation == 'clear' else 'is failing'}"
    ]


def test_a_handler_of_log_lines_may_be_slow_and_may_call_the_cache() -> None:
    store = FailingStore()
    application = Application(Cache(store))
    store.failing, ended = True, []

    class Alert(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert application.cache.stats().errors
            other = threading.Thread(target=application.answer, args=("in another thread",), daemon=True)
            other.start()
            other.join(10)
            ended.append(not other.is_alive())

    handler, logger = Alert(), logging.getLogger("askonce")
    handler.lock = None  # of `logging` itself, for which threads that log would wait
    logger.addHandler(handler)
    try:
        for number in range(5):
            application.answer(f"{number}")
    finally:
        logger.removeHandler(handler)
    assert ended and all(ended)


def test_no_outage_of_reads_is_logged_before_one_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health, write, read = StoreHealth("test"), Lane("claim"), Lane("read")
    for _ in range(3):
        health.failed(write, StoreUnavailable("the disk is full"), time.monotonic())
    assert not caplog.records  # it may be down
    health.succeeded(read, "get", time.monotonic())
    assert [record.getMessage() for record in caplog.records] == [
        "askonce: store test does not store answers (the disk is full)"
    ]


def test_calls_under_way_when_a_store_fails_do_not_show_that_it_can_be_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health, write, read = StoreHealth("test"), Lane("claim"), Lane("read")
    before = time.monotonic()
    for _ in range(2):
        health.failed(write, StoreUnavailable("no permission"), time.monotonic())
    health.succeeded(read, "get", before)
    assert not caplog.records
    for _ in range(3):
        health.failed(read, StoreUnavailable("no permission"), time.monotonic())
    assert [record.getMessage() for record in caplog.records] == [
        "askonce: store test is failing (no permission); what fails is bypassed until it recovers"
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_store_that_stands_still_again_and_again_is_logged_once_until_that_is_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random.seed(seed)
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    store = FailingStore()
    application = Application(Cache(store, lease_seconds=0))
    for step in range(200):
        now[0] += 0.05
        store.failing = step < 100 and step % 10 < 6
        application.answer(f"{step}")
    for _ in range(10):
        now[0] += 5
        application.answer(f"{now[0]}")
    first, last = (record.getMessage() for record in caplog.records)
    assert "is failing" in first or "does not store" in first
    assert "has recovered" in last


@pytest.mark.parametrize("seed", range(20))
def test_a_store_that_fails_now_and_then_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random.seed(seed)  # pauses are of random length
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    store = FailingStore()
    application = Application(Cache(store, lease_seconds=0))
    for second in range(120):
        now[0] += 1
        store.failing = second % 4 < 3
        for number in range(5):
            application.answer(f"{second} {number}")
    assert len(caplog.records) <= 3


def test_the_random_numbers_of_the_application_stay_as_they_are() -> None:
    health, state = StoreHealth("memory://"), random.getstate()
    for _ in range(20):
        health.failed(Lane("read", ""), StoreUnavailable("down"), time.monotonic())
    assert not health.allows(Lane("read", ""))
    assert random.getstate() == state


def test_a_part_that_fails_costs_the_other_parts_nothing() -> None:
    class Cluster(MemoryStore):
        def part(self, namespace: str, key: bytes) -> str:
            return "dead" if key[0] % 2 else "alive"

        def get(self, namespace: str, key: bytes) -> bytes | None:
            if key[0] % 2:
                raise StoreUnavailable("down")
            return super().get(namespace, key)

        def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
            return [self.get(namespace, key) for key in keys]

    application = Application(Cache(Cluster(), lease_seconds=0))
    questions = [str(number) for number in range(60)]
    alive = {one for one in questions if not application.request(one).place.key[0] % 2}
    for _ in range(2):
        answers = {one: application.answer(one) for one in questions}
    assert {one for one in questions if answers[one].startswith("exact")} == alive
    found = application.cache.engine.lookup_many([application.request(one) for one in questions])
    assert {one for one, hit in zip(questions, found, strict=True) if isinstance(hit, Hit)} == alive


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_store_that_hangs_costs_a_request_one_time_out(asynchronous: bool) -> None:
    calls: list[float] = []

    class Hanging(MemoryStore):
        def get(self, namespace: str, key: bytes) -> bytes | None:
            calls.append(time.monotonic())
            time.sleep(0.2)
            raise StoreUnavailable("no answer in time")

        lease = put = release = get  # type: ignore[assignment]

        async def aget(self, namespace: str, key: bytes) -> bytes | None:
            calls.append(time.monotonic())
            await asyncio.sleep(60)
            return None

        alease = aput = arelease = aget  # type: ignore[assignment]

    both = Both(Application(Cache(Hanging(), timeout_seconds=0.2)), asynchronous)
    assert both.answer() == "why?!"
    assert len(calls) == 1


async def test_a_busy_event_loop_is_no_failure_of_the_store() -> None:
    class Prompt(MemoryStore):
        async def aget(self, namespace: str, key: bytes) -> bytes | None:
            await asyncio.sleep(0.01)
            return self.get(namespace, key)

    application = Application(Cache(Prompt(), timeout_seconds=0.05))
    application.answer("why?")

    async def busy() -> None:
        ends = time.thread_time() + 0.4
        while time.thread_time() < ends:
            pass

    answers = await asyncio.gather(application.aanswer("why?"), busy(), application.aanswer("why?"))
    assert answers[::2] == ["exact: why?!"] * 2
    assert application.cache.stats().errors == 0
