"""What is stored: one by one, as a whole, within its budget, and sealed."""

import os

import pytest

from askonce import Cache, cache_options
from askonce.entries.entry import Answer, Hit
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.support.application import Application


async def test_answers_can_be_listed_and_deleted_one_by_one(store: MemoryStore, clock: FakeClock) -> None:
    application = Application(Cache(store, clock=clock, ttl=60, stale_if_error=60, local_ttl=60))
    application.answer("old")
    clock.advance(61)
    for question in ("a", "b", "c"):
        application.answer(question)
    with cache_options(namespace="other"):
        application.answer("elsewhere")
    assert application.cache.engine.delete(application.request("a"))
    assert not application.cache.engine.delete(application.request("a"))
    assert await application.cache.engine.adelete(application.request("b"))
    assert [entry.payload for entry in application.cache.entries()] == [b"c!"]
    assert [entry.payload async for entry in application.cache.aentries()] == [b"c!"]
    assert application.answer("a") == "a!"


def test_a_budget_holds_and_hits_decide_what_stays(store: MemoryStore) -> None:
    with Cache(store, max_entries=10, eviction="lfu") as cache:
        application = Application(cache)
        for number in range(40):
            application.answer(str(number))
            application.answer("favourite")
            cache.engine.flow.events.flush()
        assert cache.stats().entries == 10
        assert application.answer("favourite") == "exact: favourite!"
        assert cache.stats().evicted == 31


def test_entries_are_sealed_on_request(store: MemoryStore) -> None:
    key = bytes(range(32))
    cache = Cache(store, encryption_keys=[key])
    Application(cache).answer("why?")
    (row,) = [value for _, value in cache.store.scan("default")]
    assert store.size("default").entries == 0  # the name is sealed, too
    assert b"why" not in row
    assert Application(Cache(store, encryption_keys=[key])).answer("why?") == "exact: why?!"
    assert Application(Cache(store)).answer("why?") == "why?!"


def test_an_answer_larger_than_the_limit_counts_as_not_stored() -> None:
    with Cache("memory://", max_bytes=1000) as cache:
        request = Application(cache).request("why?")
        cache.engine.answer(request, lambda: os.urandom(5000), Answer)
        stats = cache.stats()
    assert (stats.stored, stats.entries, dict(stats.not_stored_reasons)) == (0, 0, {"too large": 1})


def test_a_value_of_thirty_megabytes_is_refused_with_one_line_and_hinders_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Cache("memory://") as cache:
        application = Application(cache)
        requests = [application.request(question) for question in ("large", "small", "large too")]
        large = os.urandom(30_000_000)
        for _ in range(2):
            cache.engine.store_many(requests, [Answer(large), Answer(b"small"), Answer(large)], 1.0)
        found = cache.engine.lookup_many(requests)
        stats = cache.stats()
    assert [isinstance(one, Hit) for one in found] == [False, True, False]
    assert (stats.errors, stats.not_stored_reasons["too large"]) == (0, 4)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "is not stored (too large): 30,0" in line
