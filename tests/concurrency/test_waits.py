"""Nobody waits for what cannot come, nor longer than `max_wait`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import pytest

from askonce import Cache
from askonce.stores.memory import MemoryStore
from tests.support.application import Asker, lookup, pack, update

SOON = 40.0
"""In seconds; what is not recognized ends after a minute. Machines stand still for ten at times."""


class Nested(Asker):
    """A model that asks further questions before it answers; synchronous, also under asyncio."""

    def __init__(self) -> None:
        super().__init__(Cache(MemoryStore()))
        self.asks: Callable[[str], object] = lambda question: None
        self.aasks: Any = None

    def model(self, question: str) -> str:
        if self.calls < 8:
            self.calls += 1
            self.asks(question)
        return f"{question}!"

    async def amodel(self, question: str) -> str:
        if self.aasks is None:
            return await asyncio.get_running_loop().run_in_executor(None, self.model, question)
        if self.calls < 8:
            self.calls += 1
            await self.aasks(question)
        return f"{question}!"


def in_a_thread(function: Callable[[], Any]) -> Any:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()), daemon=True)
    thread.start()
    thread.join()
    return result[0]


def in_a_pool(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def in_a_pool_of_a_pool(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        wait([future := pool.submit(in_a_thread, function)])
        return future.result()


def within(seconds: float, function: Callable[[], Any]) -> Any:
    """What a function returns; an error if that takes longer."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "it hangs"
    return result[0]


@pytest.mark.parametrize("elsewhere", [in_a_thread, in_a_pool, in_a_pool_of_a_pool])
def test_a_leader_that_asks_itself_in_another_thread_is_answered(elsewhere: Callable[[Any], Any]) -> None:
    asker = Nested()
    asker.asks = lambda question: asker.calls < 2 and elsewhere(partial(asker.ask, question))
    assert within(SOON, lambda: asker.ask("why?")) == "why?!"
    assert asker.cache.stats().not_awaited == 1


def in_a_task(asker: Nested, question: str) -> Any:
    return asyncio.create_task(asker.aask(question))


def in_the_executor(asker: Nested, question: str) -> Any:
    return asyncio.get_running_loop().run_in_executor(None, asker.ask, question)


def in_a_thread_with_the_context(asker: Nested, question: str) -> Any:
    return asyncio.gather(asyncio.to_thread(asker.ask, question), asyncio.sleep(0))


@pytest.mark.parametrize("elsewhere", [in_a_task, in_the_executor, in_a_thread_with_the_context])
def test_a_task_that_asks_itself_elsewhere_is_answered(elsewhere: Callable[[Any, str], Any]) -> None:
    asker = Nested()

    async def ask_again(question: str) -> None:
        if asker.calls < 2:
            await elsewhere(asker, question)

    asker.aasks = ask_again
    assert within(SOON, lambda: asyncio.run(asker.aask("why?"))) == "why?!"


def test_a_leader_of_which_only_the_lookup_is_seen_may_ask_itself_in_a_task() -> None:
    asker = Asker(Cache(MemoryStore()))

    async def main() -> Any:
        engine, request = asker.cache.engine, asker.request("why?")
        await engine.alookup(request)
        await asyncio.create_task(engine.alookup(request))
        await engine.aupdate(request, lambda: pack("so"))
        return True

    assert within(SOON, lambda: asyncio.run(main()))


def test_leaders_that_ask_for_each_other_are_answered() -> None:
    asker, both = Nested(), threading.Barrier(2)

    def other(question: str) -> None:
        if asker.calls <= 2:
            both.wait()
            asker.ask({"a": "b", "b": "a"}[question])

    asker.asks = other

    def both_ask() -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            return [answer.rpartition(" ")[2] for answer in pool.map(asker.ask, "ab")]

    assert within(SOON, both_ask) == ["a!", "b!"]


def test_tasks_that_ask_for_each_other_in_child_tasks_are_answered() -> None:
    asker = Nested()

    async def other(question: str) -> None:
        await asyncio.sleep(0.05)
        if asker.calls <= 2:
            await asyncio.create_task(asker.aask({"a": "b", "b": "a"}[question]))

    asker.aasks = other

    async def both_ask() -> list[str]:
        return [answer.rpartition(" ")[2] for answer in await asyncio.gather(asker.aask("a"), asker.aask("b"))]

    assert within(SOON, lambda: asyncio.run(both_ask())) == ["a!", "b!"]


def test_loops_that_block_on_each_others_tasks_are_answered() -> None:
    asker, both = Nested(), threading.Barrier(2)

    async def slowly(question: str) -> None:
        await asyncio.sleep(0.2)

    asker.aasks = slowly

    async def main(own: str, other: str) -> str:
        leader = asyncio.create_task(asker.aask(own))
        await asyncio.sleep(0.02)
        both.wait()
        asker.ask(other)  # blocks the loop
        return (await leader).rpartition(" ")[2]

    def both_run() -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            return [*pool.map(lambda names: asyncio.run(main(*names)), ["ab", "ba"])]

    assert within(SOON, both_run) == ["a!", "b!"]


@pytest.mark.parametrize("watched", [False, True], ids=["call", "lookup"])
def test_waiters_do_not_use_up_the_pool_that_their_leader_needs(watched: bool) -> None:
    asker = Asker(Cache(MemoryStore(), lease_seconds=600))

    def ask() -> str:
        if not watched:
            return asker.ask("why?")
        lookup(asker, "why?")
        update(asker, "why?")
        return "why?!"

    async def lead(started: asyncio.Event) -> None:
        engine, request = asker.cache.engine, asker.request("why?")

        async def model() -> str:
            started.set()
            await asyncio.sleep(0.2)  # meanwhile the others take all threads
            return await asyncio.get_running_loop().run_in_executor(None, asker.model, "why?")

        await engine.aanswer(request, model, pack)

    async def main() -> int:
        started = asyncio.Event()
        leader = asyncio.create_task(lead(started))
        await started.wait()
        answers = await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(40)))
        await leader
        return len(answers)

    assert within(SOON, lambda: asyncio.run(main())) == 40
    assert asker.calls <= 3


def test_equal_requests_queued_in_one_pool_still_make_one_call() -> None:
    asker = Asker(Cache(MemoryStore()))
    asker.delay = 1.0
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(asker.ask, ["why?"] * 40))
    assert asker.calls == 1


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_after_max_wait_one_caller_leads_for_all(asynchronous: bool) -> None:
    asker = Asker(Cache(MemoryStore(), max_wait=0.3))
    hanging, release = threading.Event(), threading.Event()

    def hang() -> str:
        hanging.set()
        release.wait(60)
        return "late"

    request = asker.request("why?")
    threading.Thread(target=asker.cache.engine.answer, args=(request, hang, pack), daemon=True).start()
    hanging.wait()
    asker.delay = 0.1

    async def tasks() -> list[str]:
        return await asyncio.gather(*(asker.aask("why?") for _ in range(20)))

    started = time.monotonic()
    if asynchronous:
        answers = within(SOON, lambda: asyncio.run(tasks()))
    else:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(asker.ask, ["why?"] * 20))
    release.set()
    assert time.monotonic() - started >= 0.3
    assert len(answers) == 20 and asker.calls == 1
    assert (asker.cache.stats().not_awaited, asker.cache.stats().max_wait) == (1, 0.3)


def test_a_model_that_hangs_holds_nobody_for_more_than_twice_max_wait() -> None:
    asker = Asker(Cache(MemoryStore(), max_wait=0.2))
    asker.delay = 3.0
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(asker.ask, ["why?"] * 8))
    assert time.monotonic() - started < SOON
    assert asker.calls == 8
