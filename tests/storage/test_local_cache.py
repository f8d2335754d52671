"""The local cache spares the store."""

from askonce import Cache
from askonce.testing import FakeClock
from tests.support.application import Asker
from tests.support.stores import FailingStore


def test_the_local_cache_saves_reads_for_a_while(clock: FakeClock) -> None:
    store = FailingStore(clock=clock)
    asker = Asker(Cache(store, clock=clock, local_ttl=5))
    asker.ask("why?")
    calls = store.calls
    assert asker.ask("why?") == "exact: why?!"
    assert store.calls == calls
    clock.advance(5)
    asker.ask("why?")
    assert store.calls == calls + 1
    asker.cache.clear()
    assert asker.ask("why?") == "why?!"
