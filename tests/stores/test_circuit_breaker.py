"""A store that fails does not fail a call, and is left alone for a while."""

import asyncio
import logging
import time
from typing import Any

import pytest

from askonce import Cache, StoreUnavailable
from askonce.stores.memory import MemoryStore
from tests.support.application import Asker
from tests.support.stores import FailingStore


def test_a_failing_store_is_bypassed_and_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.stores.circuit_breaker._FIRST_PAUSE_SECONDS", 0.05)
    store = FailingStore()
    asker = Asker(Cache(store))
    store.failing = True
    with caplog.at_level(logging.WARNING, "askonce"):
        assert [asker.ask("why?") for _ in range(20)] == ["why?!"] * 20
        assert len(caplog.records) == 1 and "down for a test" in caplog.text
        stats = asker.cache.stats()
        assert stats.errors == store.calls < 10  # the breaker spares the rest
        assert stats.store == "down"
        store.failing = False
        deadline = time.monotonic() + 30  # each attempt that failed has doubled the pause
        while asker.ask("why?") != "exact: why?!":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(caplog.records) == 2 and "has recovered" in caplog.text
    assert asker.cache.stats().store == "up"


def test_calls_that_fail_together_open_the_breaker_once() -> None:
    from askonce.stores.circuit_breaker import StoreHealth

    breaker = StoreHealth("test")
    began = time.monotonic()
    for _ in range(50):
        breaker.failed(StoreUnavailable("down"), began)
    assert breaker._pause == 1.0
    breaker.failed(StoreUnavailable("down"), time.monotonic())
    assert breaker._pause == 2.0


@pytest.mark.parametrize("error", ["out of memory", "memory://: out of memory"])
def test_a_store_that_answers_but_stores_nothing_is_logged_once(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(MemoryStore):
        def put(self, *args: Any, **kwargs: Any) -> int:
            raise StoreUnavailable(error)

    asker = Asker(Cache(Full()))
    for _ in range(5):
        asker.ask("why?")
    assert [record.getMessage() for record in caplog.records] == [
        "askonce: store memory:// does not store answers (out of memory)"
    ]


def test_a_store_that_answers_much_too_late_is_bypassed() -> None:
    class Late(MemoryStore):
        def get(self, namespace: str, key: bytes) -> bytes | None:
            time.sleep(0.05)
            return super().get(namespace, key)

    asker = Asker(Cache(Late(), timeout_seconds=0.01))
    for _ in range(5):
        asker.ask("why?")
    assert asker.cache.stats().store == "down"


async def test_an_asynchronous_call_does_not_wait_long_for_a_slow_store() -> None:
    store = FailingStore(hanging_seconds=60)
    asker = Asker(Cache(store, timeout_seconds=0.05))
    assert await asyncio.wait_for(asker.aask("why?"), 5) == "why?!"
    assert asker.cache.stats().errors >= 1


def test_an_unexpected_error_of_the_store_does_not_fail_a_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(MemoryStore):
        def get(self, namespace: str, key: bytes) -> bytes | None:
            raise TypeError("a bug")

    asker = Asker(Cache(Broken()))
    assert asker.ask("why?") == "why?!"
    assert "a bug" in caplog.text


def test_a_failed_invalidation_raises() -> None:
    with pytest.raises(StoreUnavailable):
        Cache(FailingStore(failing=True)).invalidate("prices")
