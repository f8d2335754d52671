"""What is stored: one by one, as a whole, within its budget, and sealed."""

from askonce import Cache, cache_options
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
