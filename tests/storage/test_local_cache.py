"""The local cache spares the store."""

from askonce import Cache
from askonce.testing import FakeClock
from tests.support.application import Application
from tests.support.stores import FailingStore


def test_the_local_cache_saves_reads_for_a_while(clock: FakeClock) -> None:
    store = FailingStore(clock=clock)
    application = Application(Cache(store, clock=clock, local_ttl=5))
    application.answer("why?")
    calls = store.calls
    assert application.answer("why?") == "exact: why?!"
    assert store.calls == calls
    clock.advance(5)
    application.answer("why?")
    assert store.calls == calls + 1
    application.cache.clear()
    assert application.answer("why?") == "why?!"
