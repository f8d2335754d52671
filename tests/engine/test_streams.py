"""Streams are stored when they are complete, and replayed."""

import asyncio
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from askonce import Cache
from askonce.stores.memory import MemoryStore
from tests.support.application import Streamer, collect, gathered


def test_a_complete_stream_is_replayed(store: MemoryStore) -> None:
    streamer = Streamer(Cache(store))
    assert "".join(streamer.chunks("q")) == "q!"
    assert "".join(streamer.chunks("q")) == "exact: q!"
    assert asyncio.run(gathered(streamer.achunks("q"))) == "exact: q!"


async def test_an_abandoned_or_failed_stream_is_not_stored(store: MemoryStore) -> None:
    streamer = Streamer(Cache(store))
    half = streamer.chunks("question")
    next(half)
    half.close()  # type: ignore[attr-defined]
    ahalf = streamer.achunks("question")
    await anext(ahalf)
    await ahalf.aclose()  # type: ignore[attr-defined]
    streamer.fails = lambda call: call == 3
    with pytest.raises(RuntimeError):
        await gathered(streamer.achunks("question"))
    assert streamer.cache.stats().stored == 0
    assert await gathered(streamer.achunks("question")) == "question!"


def test_a_stream_that_is_left_closes_that_of_the_model_at_once(store: MemoryStore) -> None:
    closed = []

    def call_model() -> Iterator[str]:
        try:
            yield from "abc"
        finally:
            closed.append(True)

    streamer = Streamer(Cache(store))
    model = call_model()
    stream: Any = streamer.cache.engine.stream(
        streamer.request("question"), lambda: model, lambda: None, lambda hit: iter(())
    )
    next(stream)
    stream.close()
    assert closed == [True]


class Locked(MemoryStore):
    """A store that does one thing at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        with self.lock:
            super().release(namespace, key, owner)


@pytest.mark.usefixtures("quick_collector")
def test_the_garbage_collector_may_close_a_stream_while_its_thread_holds_a_lock() -> None:
    store = Locked()
    with Cache(store) as cache, ThreadPoolExecutor(1) as others:
        streamer = Streamer(cache)
        half: Any = [streamer.chunks("question")]
        next(half[0])
        half.append(half)
        stream = weakref.ref(half[0])
        del half
        with store.lock, cache.engine.flow.claims._flights._lock:
            collect(stream)
        assert "".join(others.submit(lambda: list(streamer.chunks("question"))).result(30)) == "question!"
        assert streamer.calls == 2 and not cache.engine.flow.claims._flights._in_progress


async def test_waiters_get_a_stream_when_it_is_complete(store: MemoryStore) -> None:
    streamer = Streamer(Cache(store))
    streamer.delay = 0.05
    streams = await asyncio.gather(*(gathered(streamer.achunks("q")) for _ in range(10)))
    assert streamer.calls == 1
    assert sorted(set(streams)) == ["coalesced: q!", "q!"]


def test_no_request_waits_for_a_stream_without_a_reader(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.concurrency.flight._IDLE_SECONDS", 0.2)
    streamer = Streamer(Cache(store))
    held = streamer.chunks("question")
    next(held)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(streamer.answer, "question").result(5) == "question!"
    assert "".join(held) == "uestion!"
