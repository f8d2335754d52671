"""How long an answer lives, and when an older one is served all the same."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from askonce import Cache, cache_options
from askonce.entries.entry import Hit, Miss
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.support.application import Application, Both, Streamer, eventually, lookup, update


def test_an_answer_expires_after_its_ttl(both: Callable[..., Both], clock: FakeClock) -> None:
    app = both(ttl=60)
    app.answer()
    clock.advance(59)
    assert app.answer() == "exact: why?!"
    clock.advance(1)
    assert app.answer() == "why?!"


def test_stale_options_without_a_ttl_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    for options in ({"stale_while_revalidate": 30}, {"stale_if_error": 30}):
        for ttl, lines in ((60, 0), (None, 1)):
            caplog.clear()
            Cache(MemoryStore(), ttl=ttl, **options).close()
            assert caplog.text.count("without ttl") == lines


def test_a_shorter_ttl_applies_to_stored_answers(both: Callable[..., Both], clock: FakeClock) -> None:
    app = both()
    app.answer()
    clock.advance(61)
    with cache_options(ttl=60):
        assert app.answer() == "why?!"
        assert app.answer() == "exact: why?!"


def test_a_stale_answer_is_served_while_a_new_one_is_made(store: MemoryStore, clock: FakeClock) -> None:
    application = Application(Cache(store, clock=clock, ttl=60, stale_while_revalidate=30))
    application.answer("why?")
    clock.advance(80)
    assert application.answer("why?") == "stale: why?!"
    eventually(lambda: application.calls == 2 and application.cache.stats().stored == 2)
    assert application.answer("why?") == "exact: why?!"
    clock.advance(91)
    assert application.answer("why?") == "why?!"


async def test_a_stale_answer_is_served_while_a_new_one_is_made_async(store: MemoryStore, clock: FakeClock) -> None:
    application = Application(Cache(store, clock=clock, ttl=60, stale_while_revalidate=30))
    application.delay = 0.01
    await application.aanswer("why?")
    clock.advance(80)
    assert await asyncio.gather(*(application.aanswer("why?") for _ in range(20))) == ["stale: why?!"] * 20
    await asyncio.sleep(0.1)
    assert application.calls == 2
    assert await application.aanswer("why?") == "exact: why?!"


def test_a_stale_answer_is_served_when_the_model_fails(both: Callable[..., Both], clock: FakeClock) -> None:
    app = both(ttl=60, stale_if_error=3600)
    app.answer()
    clock.advance(100)
    app.application.fails = lambda call: True
    assert app.answer() == "stale: why?!"
    clock.advance(3600)
    with pytest.raises(RuntimeError):
        app.answer()
    stats = app.application.cache.stats()
    assert (stats.hits, stats.misses, stats.stale) == (1, 2, 1)


class Failure(Exception):
    """An error as an SDK raises it: with the status, on itself or on its response."""

    def __init__(self, status: int, on: str) -> None:
        super().__init__(f"status {status}")
        if on == "botocore":
            self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}
        elif on == "response":
            self.response = SimpleNamespace(status_code=status)
        else:
            setattr(self, on, status)


@pytest.mark.parametrize("on", ["status_code", "status", "code", "response", "botocore"])
def test_a_request_that_is_refused_gets_no_stale_answer(
    both: Callable[..., Both], clock: FakeClock, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    app = both(ttl=60, stale_if_error=3600)
    app.answer()
    clock.advance(100)
    later, refused = (408, 429, 500, 503, 529), (400, 401, 403, 404, 422)
    statuses = iter((*later, *refused))

    def fail(*_: object) -> str:
        raise Failure(next(statuses), on)

    async def afail(*_: object) -> str:
        return fail()

    monkeypatch.setattr(app.application, "model", fail)
    monkeypatch.setattr(app.application, "amodel", afail)
    for _ in later:
        assert app.answer() == "stale: why?!"
    for _ in refused:
        with pytest.raises(Failure):
            app.answer()


def test_one_of_many_requests_revalidates_a_stale_answer(store: MemoryStore, clock: FakeClock) -> None:
    application = Application(Cache(store, clock=clock, ttl=60, stale_while_revalidate=60))
    lookup(application, "q")
    update(application, "q")
    clock.advance(70)
    assert isinstance(lookup(application, "q"), Miss)
    with ThreadPoolExecutor(1) as threads:
        hit = threads.submit(lookup, application, "q").result(5)
    assert isinstance(hit, Hit) and hit.kind == "stale"


def test_a_stale_answer_is_served_when_a_stream_fails_to_begin(store: MemoryStore, clock: FakeClock) -> None:
    streamer = Streamer(Cache(store, clock=clock, ttl=60, stale_if_error=60))
    "".join(streamer.chunks("q"))
    clock.advance(70)
    streamer.fails = lambda call: True
    assert "".join(streamer.chunks("q")) == "stale: q!"


async def test_a_stale_answer_is_served_after_only_none_was_streamed(store: MemoryStore, clock: FakeClock) -> None:
    cache = Cache(store, clock=clock, ttl=60, stale_if_error=60)
    application = Application(cache)
    application.answer("q")
    clock.advance(70)

    def produce() -> Iterator[str | None]:
        yield None
        raise RuntimeError("the model fails when its stream is read")

    async def aproduce() -> AsyncIterator[str | None]:
        yield None
        raise RuntimeError("the model fails when its stream is read")

    def replay(hit: Hit) -> Iterator[str | None]:
        return iter([application.text(hit)])

    assert list(cache.engine.stream(application.request("q"), produce, lambda: None, replay)) == [None, "stale: q!"]
    streamed = cache.engine.astream(application.request("q"), aproduce, lambda: None, replay)
    assert [chunk async for chunk in streamed] == [None, "stale: q!"]


def test_a_stream_revalidates_a_stale_answer_or_serves_it_on_errors(store: MemoryStore, clock: FakeClock) -> None:
    streamer = Streamer(Cache(store, clock=clock, ttl=60, stale_while_revalidate=60, stale_if_error=60))
    "".join(streamer.chunks("q"))
    clock.advance(70)
    streamer.fails = lambda call: call == 2
    assert "".join(streamer.chunks("q")) == "stale: q!"
    assert "".join(streamer.chunks("q")) == "q!"
    stats = streamer.cache.stats()
    assert (stats.hits, stats.misses, stats.stale) == (1, 2, 1)
