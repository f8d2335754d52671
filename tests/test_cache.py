"""The way of a request through the core, over a store in memory and over stores that fail."""

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from askonce.sharing import shared_cache

from askonce import Cache, ConfigError, StoreUnavailable, cache_options
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Miss, Usage
from askonce.eviction.policy import parse_bytes
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock


def pack(text: str) -> Answer:
    return Answer(text.encode(), Usage(10, 5), "gpt-4o", truncated="…" in text, empty=not text)


class Asker:
    """Asks a cache for texts, sync or async, and counts the calls of its model."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.calls = 0
        self.delay = 0.0
        self.fails: Callable[[int], bool] = lambda call: False

    def request(self, question: str) -> Request:
        request = self.cache.request(lambda: NormalForm({"question": question}))
        assert request is not None
        return request

    def model(self, question: str) -> str:
        self.calls += 1
        call = self.calls
        time.sleep(self.delay)
        if self.fails(call):
            raise RuntimeError(f"call {call} fails")
        return f"{question}!"

    async def amodel(self, question: str) -> str:
        self.calls += 1
        call = self.calls
        await asyncio.sleep(self.delay)
        if self.fails(call):
            raise RuntimeError(f"call {call} fails")
        return f"{question}!"

    def ask(self, question: str) -> str:
        return self.text(self.cache.answer(self.request(question), lambda: self.model(question), pack))

    async def aask(self, question: str) -> str:
        return self.text(await self.cache.aanswer(self.request(question), lambda: self.amodel(question), pack))

    @staticmethod
    def text(found: str | Hit) -> str:
        return f"{found.kind}: {found.entry.payload.decode()}" if isinstance(found, Hit) else found


class Both:
    """Calls either face, so that every behaviour is tested on both."""

    def __init__(self, asker: Asker, asynchronous: bool) -> None:
        self.asker, self.asynchronous = asker, asynchronous

    def ask(self, question: str = "why?") -> str:
        return asyncio.run(self.asker.aask(question)) if self.asynchronous else self.asker.ask(question)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def both(request: pytest.FixtureRequest, store: MemoryStore, clock: FakeClock) -> Callable[..., Both]:
    def make(**options: Any) -> Both:
        return Both(Asker(Cache(store, clock=clock, **options)), request.param)

    return make


# -- hits, and what may be used ------------------------------------------------------------------------------------


def test_a_question_is_asked_once(both: Callable[..., Both]) -> None:
    app = both()
    assert [app.ask(), app.ask(), app.ask("when?")] == ["why?!", "exact: why?!", "when?!"]
    assert app.asker.calls == 2


def test_what_is_saved_is_counted(both: Callable[..., Both], clock: FakeClock) -> None:
    app = both()
    app.asker.delay = 0.02
    for question in ("why?", "why?", "why?", "when?"):
        app.ask(question)
    stats = app.asker.cache.stats()
    assert (stats.hits, stats.misses, stats.stored, stats.errors) == (2, 2, 2, 0)
    assert (stats.entries, stats.hit_rate, stats.saved_tokens) == (2, 0.5, 30)
    assert stats.saved_seconds >= 0.04
    assert stats.saved_usd == pytest.approx(2 * (10 * 2.5e-6 + 5 * 10e-6))
    assert stats.size_bytes and stats.store == "up"


def test_an_answer_lives_as_long_as_it_may(both: Callable[..., Both], clock: FakeClock) -> None:
    app = both(ttl=60)
    app.ask()
    clock.advance(59)
    assert app.ask() == "exact: why?!"
    clock.advance(1)
    assert app.ask() == "why?!"


def test_who_asks_for_the_last_minutes_answer_is_not_given_an_older_one(
    both: Callable[..., Both], clock: FakeClock
) -> None:
    app = both()
    app.ask()
    clock.advance(61)
    with cache_options(ttl=60):
        assert app.ask() == "why?!"
        assert app.ask() == "exact: why?!"


def test_a_stale_answer_is_served_while_a_new_one_is_made(store: MemoryStore, clock: FakeClock) -> None:
    asker = Asker(Cache(store, clock=clock, ttl=60, stale_while_revalidate=30))
    asker.ask("why?")
    clock.advance(80)
    assert asker.ask("why?") == "stale: why?!"
    eventually(lambda: asker.calls == 2 and asker.cache.stats().stored == 2)
    assert asker.ask("why?") == "exact: why?!"
    clock.advance(91)
    assert asker.ask("why?") == "why?!"


async def test_a_stale_answer_is_served_while_a_new_one_is_made_async(store: MemoryStore, clock: FakeClock) -> None:
    asker = Asker(Cache(store, clock=clock, ttl=60, stale_while_revalidate=30))
    asker.delay = 0.01
    await asker.aask("why?")
    clock.advance(80)
    assert await asyncio.gather(*(asker.aask("why?") for _ in range(20))) == ["stale: why?!"] * 20
    await asyncio.sleep(0.1)
    assert asker.calls == 2
    assert await asker.aask("why?") == "exact: why?!"


def test_a_stale_answer_stands_in_when_the_model_fails(both: Callable[..., Both], clock: FakeClock) -> None:
    app = both(ttl=60, stale_if_error=3600)
    app.ask()
    clock.advance(100)
    app.asker.fails = lambda call: True
    assert app.ask() == "stale: why?!"
    clock.advance(3600)
    with pytest.raises(RuntimeError):
        app.ask()
    stats = app.asker.cache.stats()
    assert (stats.hits, stats.misses, stats.stale) == (1, 2, 1)


def test_errors_are_not_kept(both: Callable[..., Both]) -> None:
    app = both()
    app.asker.fails = lambda call: call == 1
    with pytest.raises(RuntimeError, match="call 1"):
        app.ask()
    assert app.ask() == "why?!"


@pytest.mark.parametrize(("question", "option"), [("", "cache_empty"), ("…", "cache_truncated")])
def test_empty_and_truncated_answers_are_kept_only_if_asked(
    both: Callable[..., Both], question: str, option: str
) -> None:
    def model(_: str) -> str:
        return question

    for options, expected in (({}, False), ({option: True}, True)):
        app = both(namespace=str(options), **options)
        app.asker.model = model  # type: ignore[method-assign]

        async def amodel(_: str) -> str:
            return question

        app.asker.amodel = amodel  # type: ignore[method-assign]
        app.ask("q")
        assert app.ask("q").startswith("exact") is expected
        assert app.asker.cache.stats().not_stored == (0 if expected else 2)


def test_an_answer_that_cannot_be_packed_reaches_the_caller_all_the_same(store: MemoryStore) -> None:
    cache = Cache(store)
    asker = Asker(cache)

    def broken(_: str) -> Answer:
        raise TypeError("cannot be packed")

    assert cache.answer(asker.request("q"), lambda: "a", broken) == "a"
    assert cache.answer(asker.request("q"), lambda: "a", lambda _: None) == "a"
    assert cache.stats().not_stored == 2


def test_a_corrupt_entry_is_a_miss_and_is_made_anew(both: Callable[..., Both], store: MemoryStore) -> None:
    app = both()
    app.ask()
    (record,) = [held.record for held in store._space("default").held.values()]
    store.put("default", [type(record)(record.key, b"\x01\x00" + record.key[:16] + b"garbage")])
    assert app.ask() == "why?!"
    assert app.ask() == "exact: why?!"
    assert app.asker.cache.stats().corrupt == 1


# -- wishes --------------------------------------------------------------------------------------------------------


def test_bypass_neither_looks_up_nor_keeps(store: MemoryStore) -> None:
    cache = Cache(store)
    with cache_options(bypass=True):
        assert cache.request(lambda: pytest.fail("named although bypassed")) is None
    assert cache.stats().bypassed == 1


def test_a_request_that_cannot_be_named_is_not_cached(store: MemoryStore) -> None:
    def form() -> NormalForm:
        raise Uncacheable("no meaning")

    assert Cache(store).request(form) is None


def test_refresh_asks_again_and_keeps_the_new_answer(both: Callable[..., Both]) -> None:
    app = both()
    app.ask()
    with cache_options(refresh=True):
        assert app.ask() == "why?!"
    assert app.ask() == "exact: why?!"
    assert app.asker.calls == 2


def test_answers_fall_with_their_tag(both: Callable[..., Both]) -> None:
    app = both()
    with cache_options(tags=["prices"]), cache_options(tags=["shop", "prices"]):
        app.ask("how much?")
    app.ask("why?")
    assert app.asker.cache.invalidate("prices") == 1
    assert app.ask("how much?") == "how much?!"
    assert app.ask("why?") == "exact: why?!"


def test_tenants_share_nothing(both: Callable[..., Both]) -> None:
    app = both(namespace="shop")
    app.ask()
    with cache_options(namespace="tenant-7"):
        assert app.ask() == "why?!"
        assert app.ask() == "exact: why?!"
        with cache_options(namespace="inner"):
            assert app.ask() == "why?!"
        app.asker.cache.clear()
        assert app.ask() == "why?!"
    assert app.ask() == "exact: why?!"


def test_namespaces_that_look_alike_are_apart(store: MemoryStore) -> None:
    def ask(namespace: str, *tenants: str) -> str:
        asker = Asker(Cache(store, namespace=namespace))
        if not tenants:
            return asker.ask("q")
        with cache_options(namespace=tenants[0]):
            return asker.ask("q")

    assert [ask("a"), ask("a/b"), ask("a", "b"), ask("a%2Fb")] == ["q!"] * 4


def test_wishes_end_with_their_block_also_when_it_fails() -> None:
    cache = Cache("memory://")
    with pytest.raises(KeyError), cache_options(bypass=True):
        raise KeyError
    assert cache.request(lambda: NormalForm({})) is not None


@pytest.mark.parametrize(
    "wrong",
    [{"ttl": 0}, {"ttl": -1}, {"ttl": "60"}, {"ttl": float("nan")}, {"tags": "prices"}, {"tags": [1]},
     {"namespace": ""}, {"namespace": 7}, {"namespace": "\ud800"}],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError), cache_options(**wrong):
        pass


# -- single flight -------------------------------------------------------------------------------------------------


async def test_a_thousand_tasks_that_ask_the_same_make_one_call(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.delay = 0.05
    answers = await asyncio.gather(*(asker.aask("why?") for _ in range(1000)))
    assert asker.calls == 1
    assert sorted(set(answers)) == ["coalesced: why?!", "why?!"]


def test_fifty_threads_that_ask_the_same_make_one_call(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.delay = 0.2
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(asker.ask, ["why?"] * 50))
    assert asker.calls == 1
    assert answers.count("why?!") == 1


def test_threads_and_event_loops_wait_for_one_another(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.delay = 0.2

    async def many() -> list[str]:
        return await asyncio.gather(*(asker.aask("why?") for _ in range(10)))

    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(asyncio.run, many()) for _ in range(3)]
        futures += [threads.submit(asker.ask, "why?") for _ in range(3)]
        for future in futures:
            future.result()
    assert asker.calls == 1


async def test_when_the_leader_fails_one_waiter_takes_over_at_once(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.delay = 0.05
    asker.fails = lambda call: call == 1
    answers = await asyncio.gather(*(asker.aask("why?") for _ in range(100)), return_exceptions=True)
    assert asker.calls == 2
    assert sum(isinstance(answer, RuntimeError) for answer in answers) == 1


async def test_when_the_model_is_down_nobody_waits_long_for_others(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.delay = 0.1
    asker.fails = lambda call: True
    started = time.monotonic()
    answers = await asyncio.gather(*(asker.aask("why?") for _ in range(100)), return_exceptions=True)
    assert all(isinstance(answer, RuntimeError) for answer in answers)
    assert time.monotonic() - started < 5  # one after the other it would be ten


async def test_a_cancelled_leader_lets_another_take_over(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.delay = 0.2
    leader = asyncio.create_task(asker.aask("why?"))
    await asyncio.sleep(0.02)
    waiter = asyncio.create_task(asker.aask("why?"))
    await asyncio.sleep(0.02)
    leader.cancel()
    assert await asyncio.wait_for(waiter, 5) == "why?!"


async def test_a_cancelled_waiter_disturbs_nobody(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.delay = 0.1
    leader = asyncio.create_task(asker.aask("why?"))
    await asyncio.sleep(0.02)
    waiters = [asyncio.create_task(asker.aask("why?")) for _ in range(2)]
    await asyncio.sleep(0.02)
    waiters[0].cancel()
    assert await leader == "why?!"
    assert await waiters[1] == "coalesced: why?!"


async def test_a_synchronous_call_inside_a_loop_does_not_wait_for_a_task_of_that_loop(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.delay = 0.05
    leader = asyncio.create_task(asker.aask("why?"))
    await asyncio.sleep(0.01)
    assert asker.ask("why?") == "why?!"
    await leader


# -- between processes, here: between caches -----------------------------------------------------------------------


def leased(store: MemoryStore) -> int:
    return len(store._space("default").leases)


def test_a_lease_is_renewed_while_the_call_runs(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askonce.engine.flow.LEASE_SECONDS", 0.2)
    store._clock = time.time
    one, other = Asker(Cache(store)), Asker(Cache(store))
    one.delay = 1.0
    with ThreadPoolExecutor(1) as threads:
        leader = threads.submit(one.ask, "why?")
        eventually(lambda: one.calls == 1)
        assert other.ask("why?") == "exact: why?!"
        leader.result()
    assert other.calls == 0


def test_a_lease_is_given_back_also_when_the_store_failed_to_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askonce.engine.flow.LEASE_SECONDS", 0.4)

    class Once(MemoryStore):
        failed = False

        def release(self, *args: Any) -> None:
            if not self.failed:
                self.failed = True
                raise StoreUnavailable("once")
            super().release(*args)

    store = Once()
    asker = Asker(Cache(store))
    asker.ask("why?")
    assert leased(store) == 1
    eventually(lambda: leased(store) == 0, seconds=0.3)


def test_a_look_up_that_came_to_nothing_holds_no_lease_when_its_cache_is_closed(store: MemoryStore) -> None:
    with Cache(store) as cache:
        look(Asker(cache), "q")
        assert leased(store) == 1
    assert leased(store) == 0


async def test_a_task_that_failed_holds_no_lease_for_long(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.engine.flow.LEASE_SECONDS", 0.4)
    asker = Asker(Cache(store))
    await asyncio.create_task(asker.cache.alookup(asker.request("q")))
    await asyncio.sleep(0.3)
    assert leased(store) == 0


# -- through look-up and update only -------------------------------------------------------------------------------


def look(asker: Asker, question: str, group: str | None = None) -> Hit | Miss:
    return asker.cache.lookup(asker.request(question), group)


def tell(asker: Asker, question: str) -> None:
    asker.cache.update(asker.request(question), lambda: pack(f"{question}!"))


def test_look_up_and_update_make_a_hit_that_knows_what_it_took(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    assert look(asker, "q") == Miss("absent")
    time.sleep(0.02)
    tell(asker, "q")
    hit = look(asker, "q")
    assert isinstance(hit, Hit) and hit.entry.cost_seconds >= 0.02


def test_a_thread_waits_for_the_update_of_another(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    look(asker, "q")
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(look, asker, "q")
        time.sleep(0.05)
        assert not other.done()
        tell(asker, "q")
        hit = other.result(5)
    assert isinstance(hit, Hit) and hit.kind == "coalesced"


def test_a_thread_that_looks_up_something_else_has_given_up(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    look(asker, "q")
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(look, asker, "q")
        time.sleep(0.05)
        look(asker, "something else")
        assert isinstance(other.result(5), Miss)


def test_a_batch_of_one_thread_is_led_together(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    assert isinstance(look(asker, "a", "batch"), Miss)
    assert isinstance(look(asker, "b", "batch"), Miss)
    assert isinstance(look(asker, "a", "batch"), Miss)  # a duplicate: it cannot wait for itself
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(look, asker, "a", "other")
        time.sleep(0.05)
        tell(asker, "a")
        assert isinstance(other.result(5), Hit)


def test_a_thread_that_ended_has_given_up(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    leader = threading.Thread(target=look, args=(asker, "q"))
    leader.start()
    leader.join()
    assert isinstance(look(asker, "q"), Miss)


async def test_a_task_that_ended_has_given_up(store: MemoryStore) -> None:
    asker = Asker(Cache(store))

    async def fail() -> None:
        await asker.cache.alookup(asker.request("q"))
        await asyncio.sleep(0.05)
        raise RuntimeError

    leader = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    waiters = [asyncio.create_task(asker.cache.alookup(asker.request("q"))) for _ in range(3)]
    with pytest.raises(RuntimeError):
        await leader
    done, pending = await asyncio.wait(waiters, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(done.pop().result(), Miss)
    await asyncio.wait_for(asyncio.gather(*pending), 5)


def test_a_leader_that_says_nothing_is_given_up_when_the_lease_runs_out(store: MemoryStore) -> None:
    asker = Asker(Cache(store, lease_seconds=0.3))
    look(asker, "q")  # this thread lives on and looks up nothing else
    with ThreadPoolExecutor(1) as threads:
        assert isinstance(threads.submit(look, asker, "q").result(5), Miss)


def test_of_many_that_find_a_stale_answer_one_makes_it_anew(store: MemoryStore, clock: FakeClock) -> None:
    asker = Asker(Cache(store, clock=clock, ttl=60, stale_while_revalidate=60))
    look(asker, "q")
    tell(asker, "q")
    clock.advance(70)
    assert isinstance(look(asker, "q"), Miss)
    with ThreadPoolExecutor(1) as threads:
        hit = threads.submit(look, asker, "q").result(5)
    assert isinstance(hit, Hit) and hit.kind == "stale"


# -- streams -------------------------------------------------------------------------------------------------------


class Streamer(Asker):
    def chunks(self, question: str) -> Iterator[str]:
        def produce() -> Iterator[str]:
            for letter in self.model(question):
                heard.append(letter)
                yield letter

        heard: list[str] = []
        return self.cache.stream(
            self.request(question), produce, lambda: pack("".join(heard)), lambda hit: iter(self.text(hit))
        )

    def achunks(self, question: str) -> AsyncIterator[str]:
        async def produce() -> AsyncIterator[str]:
            for letter in await self.amodel(question):
                heard.append(letter)
                yield letter

        heard: list[str] = []
        return self.cache.astream(
            self.request(question), produce, lambda: pack("".join(heard)), lambda hit: iter(self.text(hit))
        )


async def gathered(chunks: AsyncIterator[str]) -> str:
    return "".join([chunk async for chunk in chunks])


def test_a_complete_stream_is_replayed(store: MemoryStore) -> None:
    streamer = Streamer(Cache(store))
    assert "".join(streamer.chunks("q")) == "q!"
    assert "".join(streamer.chunks("q")) == "exact: q!"
    assert asyncio.run(gathered(streamer.achunks("q"))) == "exact: q!"


async def test_a_stream_that_is_abandoned_or_fails_is_not_kept(store: MemoryStore) -> None:
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


class Locked(MemoryStore):
    """A store that does one thing at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        with self.lock:
            super().release(namespace, key, owner)


def test_the_garbage_collector_may_close_a_stream_while_its_thread_holds_a_lock() -> None:
    store = Locked()
    with Cache(store) as cache, ThreadPoolExecutor(1) as others:
        streamer = Streamer(cache)
        half: Any = [streamer.chunks("question")]
        next(half[0])
        half.append(half)
        del half
        with store.lock, cache._way.flights._lock:
            gc.collect()
        assert "".join(others.submit(lambda: list(streamer.chunks("question"))).result(30)) == "question!"
        assert streamer.calls == 2 and not cache._way.flights._under_way


async def test_those_who_wait_for_a_stream_are_given_it_when_it_is_complete(store: MemoryStore) -> None:
    streamer = Streamer(Cache(store))
    streamer.delay = 0.05
    streams = await asyncio.gather(*(gathered(streamer.achunks("q")) for _ in range(10)))
    assert streamer.calls == 1
    assert sorted(set(streams)) == ["coalesced: q!", "q!"]


def test_a_stale_answer_stands_in_for_a_stream_that_fails_to_begin(store: MemoryStore, clock: FakeClock) -> None:
    streamer = Streamer(Cache(store, clock=clock, ttl=60, stale_if_error=60))
    "".join(streamer.chunks("q"))
    clock.advance(70)
    streamer.fails = lambda call: True
    assert "".join(streamer.chunks("q")) == "stale: q!"


async def test_a_stale_answer_stands_in_after_nothing_but_none_was_streamed(
    store: MemoryStore, clock: FakeClock
) -> None:
    cache = Cache(store, clock=clock, ttl=60, stale_if_error=60)
    asker = Asker(cache)
    asker.ask("q")
    clock.advance(70)

    def produce() -> Iterator[str | None]:
        yield None
        raise RuntimeError("the model fails when its stream is read")

    async def aproduce() -> AsyncIterator[str | None]:
        yield None
        raise RuntimeError("the model fails when its stream is read")

    def replay(hit: Hit) -> Iterator[str | None]:
        return iter([asker.text(hit)])

    assert list(cache.stream(asker.request("q"), produce, lambda: None, replay)) == [None, "stale: q!"]
    streamed = cache.astream(asker.request("q"), aproduce, lambda: None, replay)
    assert [chunk async for chunk in streamed] == [None, "stale: q!"]


# -- what is kept, by name and as a whole --------------------------------------------------------------------------


async def test_answers_can_be_listed_and_forgotten_one_by_one(store: MemoryStore, clock: FakeClock) -> None:
    asker = Asker(Cache(store, clock=clock, ttl=60, stale_if_error=60, local_ttl=60))
    asker.ask("old")
    clock.advance(61)
    for question in ("a", "b", "c"):
        asker.ask(question)
    with cache_options(namespace="other"):
        asker.ask("elsewhere")
    assert asker.cache.forget(asker.request("a"))
    assert not asker.cache.forget(asker.request("a"))
    assert await asker.cache.aforget(asker.request("b"))
    assert [entry.payload for entry in asker.cache.entries()] == [b"c!"]
    assert [entry.payload async for entry in asker.cache.aentries()] == [b"c!"]
    assert asker.ask("a") == "a!"


def test_a_stream_that_finds_a_stale_answer_makes_it_anew_or_gives_it_if_the_model_fails(
    store: MemoryStore, clock: FakeClock
) -> None:
    streamer = Streamer(Cache(store, clock=clock, ttl=60, stale_while_revalidate=60, stale_if_error=60))
    "".join(streamer.chunks("q"))
    clock.advance(70)
    streamer.fails = lambda call: call == 2
    assert "".join(streamer.chunks("q")) == "stale: q!"
    assert "".join(streamer.chunks("q")) == "q!"
    stats = streamer.cache.stats()
    assert (stats.hits, stats.misses, stats.stale) == (1, 2, 1)


def test_nobody_waits_for_a_stream_whose_reader_has_gone_away(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.concurrency.singleflight._IDLE_SECONDS", 0.2)
    streamer = Streamer(Cache(store))
    held = streamer.chunks("question")
    next(held)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(streamer.ask, "question").result(5) == "question!"
    assert "".join(held) == "uestion!"


# -- the store fails -----------------------------------------------------------------------------------------------


class Failing(MemoryStore):
    """A store whose every operation fails, or takes long, while it is told to."""

    failing = False
    hanging_seconds = 0.0
    asked = 0

    def _meet(self) -> None:
        self.asked += 1
        if self.failing:
            raise StoreUnavailable("down for a test")

    def get(self, namespace: str, key: bytes) -> bytes | None:
        self._meet()
        return super().get(namespace, key)

    def put(self, *args: Any, **kwargs: Any) -> int:
        self._meet()
        return super().put(*args, **kwargs)

    def lease(self, *args: Any) -> bool:
        self._meet()
        return super().lease(*args)

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        await asyncio.sleep(self.hanging_seconds)
        return self.get(namespace, key)


def test_when_the_store_fails_calls_go_to_the_model_and_one_line_tells(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.stores.circuit_breaker._FIRST_PAUSE_SECONDS", 0.05)
    store = Failing()
    asker = Asker(Cache(store))
    store.failing = True
    with caplog.at_level(logging.WARNING, "askonce"):
        assert [asker.ask("why?") for _ in range(20)] == ["why?!"] * 20
        assert len(caplog.records) == 1 and "down for a test" in caplog.text
        stats = asker.cache.stats()
        assert stats.errors == store.asked < 10  # the breaker spares the rest
        assert stats.store == "down"
        store.failing = False
        time.sleep(0.1)
        asker.ask("why?")
        assert asker.ask("why?") == "exact: why?!"
        assert len(caplog.records) == 2 and "is back" in caplog.text
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
def test_a_store_that_answers_but_keeps_nothing_is_told_once(error: str, caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryStore):
        def put(self, *args: Any, **kwargs: Any) -> int:
            raise StoreUnavailable(error)

    asker = Asker(Cache(Full()))
    for _ in range(5):
        asker.ask("why?")
    assert [record.getMessage() for record in caplog.records] == [
        "askonce: the store memory:// does not keep answers (out of memory)"
    ]


def test_a_store_that_answers_much_too_late_is_left_alone() -> None:
    class Late(MemoryStore):
        def get(self, namespace: str, key: bytes) -> bytes | None:
            time.sleep(0.05)
            return super().get(namespace, key)

    asker = Asker(Cache(Late(), timeout_seconds=0.01))
    for _ in range(5):
        asker.ask("why?")
    assert asker.cache.stats().store == "down"


async def test_an_asynchronous_call_does_not_wait_long_for_a_slow_store() -> None:
    store = Failing()
    store.hanging_seconds = 60
    asker = Asker(Cache(store, timeout_seconds=0.05))
    assert await asyncio.wait_for(asker.aask("why?"), 5) == "why?!"
    assert asker.cache.stats().errors >= 1


def test_an_error_that_is_the_stores_own_fault_does_not_break_a_call_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(MemoryStore):
        def get(self, namespace: str, key: bytes) -> bytes | None:
            raise TypeError("a bug")

    asker = Asker(Cache(Broken()))
    assert asker.ask("why?") == "why?!"
    assert "a bug" in caplog.text


def test_invalidation_does_not_pretend_to_have_worked() -> None:
    class StoreDown(MemoryStore):
        def delete_tag(self, namespace: str, tag: str) -> int:
            raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        Cache(StoreDown()).invalidate("prices")


# -- settings ------------------------------------------------------------------------------------------------------


def test_the_near_tier_spares_the_store_for_a_while(clock: FakeClock) -> None:
    store = Failing(clock=clock)
    asker = Asker(Cache(store, clock=clock, local_ttl=5))
    asker.ask("why?")
    asked = store.asked
    assert asker.ask("why?") == "exact: why?!"
    assert store.asked == asked
    clock.advance(5)
    asker.ask("why?")
    assert store.asked == asked + 1
    asker.cache.clear()
    assert asker.ask("why?") == "why?!"


def test_a_budget_holds_and_hits_decide_what_stays(store: MemoryStore) -> None:
    with Cache(store, max_entries=10, eviction="lfu") as cache:
        asker = Asker(cache)
        for number in range(40):
            asker.ask(str(number))
            asker.ask("favourite")
            cache._way.hits.flush()
        assert cache.stats().entries == 10
        assert asker.ask("favourite") == "exact: favourite!"
        assert cache.stats().evicted == 31


def test_no_hit_is_lost_on_close(store: MemoryStore) -> None:
    with Cache(store) as cache:
        asker = Asker(cache)
        for _ in range(6):
            asker.ask("why?")
    (held,) = store._space("default").held.values()
    assert held.hits == 6


def test_a_hit_does_not_wait_for_the_write_of_its_count(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    asker.ask("why?")
    writing, goes_on = threading.Event(), threading.Event()
    touch = store.touch

    def stuck(*args: Any) -> None:
        writing.set()
        assert goes_on.wait(10)
        touch(*args)

    store.touch = stuck  # type: ignore[method-assign]
    asker.ask("why?")
    assert writing.wait(10)
    assert [asker.ask("why?") for _ in range(1000)] == ["exact: why?!"] * 1000  # while the write goes on
    goes_on.set()
    asker.cache.close()
    (held,) = store._space("default").held.values()
    assert held.hits == 1002


def test_hits_reach_the_store_by_themselves(store: MemoryStore) -> None:
    asker = Asker(Cache(store))
    for _ in range(3):
        asker.ask("why?")
    (held,) = store._space("default").held.values()
    eventually(lambda: held.hits == 3)


def test_entries_are_sealed_on_request(store: MemoryStore) -> None:
    key = bytes(range(32))
    Asker(Cache(store, encryption_keys=[key])).ask("why?")
    (row,) = [value for _, value in store.scan("default")]
    assert b"why" not in row
    assert Asker(Cache(store, encryption_keys=[key])).ask("why?") == "exact: why?!"
    assert Asker(Cache(store)).ask("why?") == "why?!"


@pytest.mark.parametrize(
    "wrong",
    [{"ttl": 0}, {"max_bytes": "many"}, {"max_bytes": 0}, {"max_entries": -1}, {"eviction": "best"},
     {"namespace": ""}, {"local_ttl": -1}, {"stale_if_error": -1}, {"encryption_keys": [b"x"]},
     {"ttl": "3600"}, {"ttl": True}, {"namespace": 7}, {"encryption_keys": ["k" * 32]}, {"max_entries": 1.5},
     {"encryption_keys": b"k" * 32}, {"timeout_seconds": -1}, {"store": ""}, {"store": Path("x.db")}],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused_at_construction(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Cache(**{"store": "memory://", **wrong})


@pytest.mark.parametrize("url", ["", "cache.db", "mysql://host/db", "http://host", "redis:/host"])
def test_a_bad_url_is_refused_and_the_message_names_good_ones(url: str) -> None:
    from askonce import open_store

    with pytest.raises(ConfigError, match=r"sqlite:///cache\.db"):
        open_store(url)


@pytest.mark.parametrize(
    "url", ["mysql://me:hunter2@host/db?password=hunter2", "redsi://:a/hunter2@host", "x://u:hunter2?#@host/?a=b@c"]
)
def test_a_message_about_a_url_never_shows_a_password(url: str) -> None:
    from askonce import open_store

    with pytest.raises(ConfigError) as error:
        open_store(url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("512 MiB", 2**29), ("1.5k", 1500), ("7", 7), (9, 9), (None, None)]
)
def test_sizes_are_written_as_people_write_them(text: Any, size: int | None) -> None:
    assert parse_bytes(text) == size


def test_equal_urls_and_options_share_one_cache() -> None:
    one = shared_cache("memory://", {"ttl": 5})
    assert shared_cache("memory://", {"ttl": 5}) is one
    assert shared_cache("memory://", {"ttl": 6}) is not one
    assert shared_cache(one, {}) is one
    with pytest.raises(ConfigError, match="ttl"):
        shared_cache(one, {"ttl": 5})
    one.close()
    assert shared_cache("memory://", {"ttl": 5}) is not one


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def test_two_batches_that_look_up_in_opposite_order_do_not_wait_for_each_other() -> None:
    cache = Cache(MemoryStore(), lease_seconds=600)
    asker, both_lead = Asker(cache), threading.Barrier(2)

    def batch(questions: str) -> Hit | Miss:
        first = cache.lookup(asker.request(questions[0]), "batch")
        both_lead.wait()
        cache.lookup(asker.request(questions[1]), "batch")
        for question in questions:
            cache.update(asker.request(question), lambda question=question: pack(question))
        return first

    with ThreadPoolExecutor(2) as pool:
        assert all(isinstance(first, Miss) for first in pool.map(batch, ["ab", "ba"]))
    assert isinstance(cache.lookup(asker.request("a")), Hit)


def test_a_question_twice_in_a_batch_leaves_nobody_waiting() -> None:
    cache = Cache(MemoryStore(), lease_seconds=600)
    asker, one_leads = Asker(cache), threading.Event()
    request = asker.request("a")

    def batch() -> None:
        cache.lookup(request, "batch")
        one_leads.set()
        time.sleep(0.05)
        cache.lookup(request, "batch")
        cache.update(request, lambda: pack("a"))

    def other() -> Hit | Miss:
        one_leads.wait()
        return cache.lookup(request)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(batch)
        assert isinstance(pool.submit(other).result(), Hit)


def test_a_thread_that_left_the_call_it_leads_is_gone() -> None:
    cache = Cache(MemoryStore(), lease_seconds=600)
    request = Asker(cache).request("a")

    def fails() -> None:
        assert isinstance(cache.lookup(request, call=sys._getframe()), Miss)

    with ThreadPoolExecutor(1) as pool:  # whose thread lives on
        pool.submit(fails).result()
        assert isinstance(cache.lookup(request), Miss)
