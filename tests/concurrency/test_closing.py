"""What is no longer used is closed, wherever the garbage collector finds it."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from askonce import Cache
from askonce.engine.events import CacheEvent
from askonce.stores.base import Policy, Record
from askonce.stores.memory import MemoryStore
from tests.support.application import Application, collect, eventually


class _Store(MemoryStore):
    """One lock for all writes; the collector runs within one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.doomed: Callable[[], object] = lambda: None
        self.collected = threading.Event()

    def put(self, namespace: str, records: Sequence[Record], *args: Any, **options: Any) -> Any:
        with self.lock:
            return super().put(namespace, records, *args, **options)

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        with self.lock:
            collect(self.doomed, 5.0)
            self.collected.set()
            super().touch(namespace, hits, policy)


def _hit(cache: Cache) -> None:
    application = Application(cache)
    assert [application.answer("q") for _ in range(2)] == ["q!", "exact: q!"]


def _hits(store: MemoryStore) -> int:
    with Cache(store) as cache:
        return cache.totals().hits


@pytest.mark.usefixtures("quick_collector")
def test_a_cache_that_is_collected_within_its_own_thread_is_closed() -> None:
    store = _Store()
    cache = Cache(store)
    store.doomed = weakref.ref(cache.engine)
    _hit(cache)
    cycle: list[Any] = [cache]
    cycle.append(cycle)
    del cache, cycle
    assert store.collected.wait(20) and store.doomed() is None
    eventually(lambda: _hits(store) == 1)


@pytest.mark.usefixtures("quick_collector")
def test_a_cache_that_is_collected_by_a_thread_that_holds_the_stores_lock_is_closed() -> None:
    store = _Store()
    cache = Cache(store)
    seen = weakref.ref(cache.engine)
    _hit(cache)
    cycle: list[Any] = [cache]
    cycle.append(cycle)
    with store.lock:
        del cache, cycle
        collect(seen)
    assert seen() is None
    eventually(lambda: _hits(store) == 1)


def test_a_cache_that_is_dropped_just_before_the_program_ends_is_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    program = f"""
from askonce import Cache
from tests.support.application import Application
application = Application(Cache({url!r}))
for _ in range(2):
    application.answer("q")
del application
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    with Cache(url) as cache:
        assert cache.totals().hits == 1


@pytest.mark.parametrize("use", [Cache.flush, Cache.stats, Cache.totals, Cache.close])
def test_a_listener_may_use_its_cache(use: Callable[[Cache], object]) -> None:
    done = threading.Event()

    def listener(event: CacheEvent) -> None:
        use(cache)
        done.set()

    cache = Cache("memory://", on_event=listener)
    Application(cache).answer("q")
    assert done.wait(20)
    cache.close()
