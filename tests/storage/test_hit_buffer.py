"""Hits are counted in the store, without waiting for it."""

import threading
from typing import Any

from askonce import Cache
from askonce.stores.memory import MemoryStore
from tests.support.application import Application, eventually


def test_no_hit_is_lost_on_close(store: MemoryStore) -> None:
    with Cache(store) as cache:
        application = Application(cache)
        for _ in range(6):
            application.answer("why?")
    (held,) = store._space("default").held.values()
    assert held.hits == 6


def test_a_hit_does_not_wait_for_the_write_of_its_count(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.answer("why?")
    writing, goes_on = threading.Event(), threading.Event()
    touch = store.touch

    def stuck(*args: Any) -> None:
        writing.set()
        assert goes_on.wait(60)
        touch(*args)

    store.touch = stuck  # type: ignore[method-assign]
    application.answer("why?")
    assert writing.wait(60)
    assert [application.answer("why?") for _ in range(1000)] == ["exact: why?!"] * 1000  # while the write goes on
    goes_on.set()
    application.cache.close()
    (held,) = store._space("default").held.values()
    assert held.hits == 1002


def test_hits_are_written_in_the_background(store: MemoryStore) -> None:
    application = Application(Cache(store))
    for _ in range(3):
        application.answer("why?")
    (held,) = store._space("default").held.values()
    eventually(lambda: held.hits == 3)
