"""Which caller leads a lookup, which ones wait for it, and how an abandoned flight is detected."""

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from askonce import Cache
from askonce.concurrency.flight import Flight
from askonce.concurrency.singleflight import Outcome, SingleFlight
from askonce.entries.entry import Hit, Miss
from askonce.stores.memory import MemoryStore
from tests.support.application import Application, lookup, pack, update


def test_a_thread_waits_for_the_update_of_another(store: MemoryStore) -> None:
    application = Application(Cache(store))
    lookup(application, "q")
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(lookup, application, "q")
        time.sleep(0.05)
        assert not other.done()
        update(application, "q")
        hit = other.result(5)
    assert isinstance(hit, Hit) and hit.kind == "coalesced"


def test_a_thread_that_looks_up_something_else_has_abandoned_its_flight(store: MemoryStore) -> None:
    application = Application(Cache(store))
    lookup(application, "q")
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(lookup, application, "q")
        time.sleep(0.05)
        lookup(application, "something else")
        assert isinstance(other.result(5), Miss)


def test_a_batch_of_one_thread_has_one_leader(store: MemoryStore) -> None:
    application = Application(Cache(store))
    assert isinstance(lookup(application, "a", "batch"), Miss)
    assert isinstance(lookup(application, "b", "batch"), Miss)
    assert isinstance(lookup(application, "a", "batch"), Miss)  # a duplicate: it cannot wait for itself
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(lookup, application, "a", "other")
        time.sleep(0.05)
        update(application, "a")
        assert isinstance(other.result(5), Hit)


def test_an_ended_thread_has_abandoned_its_flight(store: MemoryStore) -> None:
    application = Application(Cache(store))
    leader = threading.Thread(target=lookup, args=(application, "q"))
    leader.start()
    leader.join()
    assert isinstance(lookup(application, "q"), Miss)


async def test_an_ended_task_has_abandoned_its_flight(store: MemoryStore) -> None:
    application = Application(Cache(store))

    async def fail() -> None:
        await application.cache.engine.alookup(application.request("q"))
        await asyncio.sleep(0.05)
        raise RuntimeError

    leader = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    waiters = [asyncio.create_task(application.cache.engine.alookup(application.request("q"))) for _ in range(3)]
    with pytest.raises(RuntimeError):
        await leader
    done, pending = await asyncio.wait(waiters, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(done.pop().result(), Miss)
    await asyncio.wait_for(asyncio.gather(*pending), 5)


def test_a_silent_leader_is_abandoned_after_the_lease_time(store: MemoryStore) -> None:
    application = Application(Cache(store, lease_seconds=0.3))
    lookup(application, "q")  # this thread lives on and looks up nothing else
    with ThreadPoolExecutor(1) as threads:
        assert isinstance(threads.submit(lookup, application, "q").result(5), Miss)


def test_batches_in_opposite_order_do_not_deadlock() -> None:
    cache = Cache(MemoryStore(), lease_seconds=600)
    application, both_lead = Application(cache), threading.Barrier(2)

    def batch(questions: str) -> Hit | Miss:
        first = cache.engine.lookup(application.request(questions[0]), "batch")
        both_lead.wait()
        cache.engine.lookup(application.request(questions[1]), "batch")
        for question in questions:
            cache.engine.update(application.request(question), lambda question=question: pack(question))
        return first

    with ThreadPoolExecutor(2) as pool:
        assert all(isinstance(first, Miss) for first in pool.map(batch, ["ab", "ba"]))
    assert isinstance(cache.engine.lookup(application.request("a")), Hit)


def test_a_question_twice_in_a_batch_does_not_block() -> None:
    cache = Cache(MemoryStore(), lease_seconds=600)
    application, one_leads = Application(cache), threading.Event()
    request = application.request("a")

    def batch() -> None:
        cache.engine.lookup(request, "batch")
        one_leads.set()
        time.sleep(0.05)
        cache.engine.lookup(request, "batch")
        cache.engine.update(request, lambda: pack("a"))

    def other() -> Hit | Miss:
        one_leads.wait()
        return cache.engine.lookup(request)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(batch)
        assert isinstance(pool.submit(other).result(), Hit)


def test_a_thread_that_left_its_call_has_abandoned_its_flight() -> None:
    cache = Cache(MemoryStore(), lease_seconds=600)
    request = Application(cache).request("a")

    def fails() -> None:
        assert isinstance(cache.engine.lookup(request, call=sys._getframe()), Miss)

    with ThreadPoolExecutor(1) as pool:  # whose thread lives on
        pool.submit(fails).result()
        assert isinstance(cache.engine.lookup(request), Miss)


async def test_many_who_wait_look_seldom(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = SingleFlight._look

    def counted(self: SingleFlight, flight: Flight, began: float, *, blocks: bool) -> Outcome | None:
        nonlocal looks
        looks += 1
        return look(self, flight, began, blocks=blocks)

    monkeypatch.setattr(SingleFlight, "_look", counted)
    application = Application(Cache(store))
    application.delay = 2.0
    answers = await asyncio.gather(*(application.aanswer("q") for _ in range(400)))
    assert application.calls == 1 and len(answers) == 400
    assert looks < 400


async def test_many_wait_no_longer_than_max_wait(store: MemoryStore) -> None:
    application = Application(Cache(store, max_wait=0.3))
    application.delay = 1.0
    await asyncio.gather(*(application.aanswer("q") for _ in range(400)))
    assert application.calls > 1
