"""What is stored: one by one, as a whole, within its budget, and sealed."""

import os

import pytest

from askonce import Cache, cache_options
from askonce.entries.entry import Answer, Hit
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.support.application import Asker


async def test_answers_can_be_listed_and_deleted_one_by_one(store: MemoryStore, clock: FakeClock) -> None:
    asker = Asker(Cache(store, clock=clock, ttl=60, stale_if_error=60, local_ttl=60))
    asker.ask("old")
    clock.advance(61)
    for question in ("a", "b", "c"):
        asker.ask(question)
    with cache_options(namespace="other"):
        asker.ask("elsewhere")
    assert asker.cache.engine.delete(asker.request("a"))
    assert not asker.cache.engine.delete(asker.request("a"))
    assert await asker.cache.engine.adelete(asker.request("b"))
    assert [entry.payload for entry in asker.cache.entries()] == [b"c!"]
    assert [entry.payload async for entry in asker.cache.aentries()] == [b"c!"]
    assert asker.ask("a") == "a!"


def test_a_budget_holds_and_hits_decide_what_stays(store: MemoryStore) -> None:
    with Cache(store, max_entries=10, eviction="lfu") as cache:
        asker = Asker(cache)
        for number in range(40):
            asker.ask(str(number))
            asker.ask("favourite")
            cache.engine.flow.events.flush()
        assert cache.stats().entries == 10
        assert asker.ask("favourite") == "exact: favourite!"
        assert cache.stats().evicted == 31


def test_entries_are_sealed_on_request(store: MemoryStore) -> None:
    key = bytes(range(32))
    Asker(Cache(store, encryption_keys=[key])).ask("why?")
    (row,) = [value for _, value in store.scan("default")]
    assert b"why" not in row
    assert Asker(Cache(store, encryption_keys=[key])).ask("why?") == "exact: why?!"
    assert Asker(Cache(store)).ask("why?") == "why?!"


def test_an_answer_larger_than_the_limit_counts_as_not_stored() -> None:
    with Cache("memory://", max_bytes=1000) as cache:
        request = Asker(cache).request("why?")
        cache.engine.answer(request, lambda: os.urandom(5000), Answer)
        stats = cache.stats()
    assert (stats.stored, stats.entries, dict(stats.not_stored_reasons)) == (0, 0, {"too large": 1})


def test_a_value_of_thirty_megabytes_is_refused_with_one_line_and_hinders_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Cache("memory://") as cache:
        asker = Asker(cache)
        requests = [asker.request(question) for question in ("large", "small", "large too")]
        large = os.urandom(30_000_000)
        for _ in range(2):
            cache.engine.store_many(requests, [Answer(large), Answer(b"small"), Answer(large)], 1.0)
        found = cache.engine.lookup_many(requests)
        stats = cache.stats()
    assert [isinstance(one, Hit) for one in found] == [False, True, False]
    assert (stats.errors, stats.not_stored_reasons["too large"]) == (0, 4)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "is not stored (too large): 30,0" in line
