"""Nobody waits for what cannot come, nor longer than `max_wait`."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import pytest

from askonce import Cache
from askonce.stores.memory import MemoryStore
from tests.support.application import Application, lookup, pack, update

SOON = 40.0
"""In seconds; what is not recognized ends after a minute. Machines stand still for ten at times."""


class Nested(Application):
    """A model that makes further calls before it answers; synchronous, also under asyncio."""

    def __init__(self) -> None:
        super().__init__(Cache(MemoryStore()))
        self.inner: Callable[[str], object] = lambda question: None
        self.ainner: Any = None

    def model(self, question: str) -> str:
        if self.calls < 8:
            self.calls += 1
            self.inner(question)
        return f"{question}!"

    async def amodel(self, question: str) -> str:
        if self.ainner is None:
            return await asyncio.get_running_loop().run_in_executor(None, self.model, question)
        if self.calls < 8:
            self.calls += 1
            await self.ainner(question)
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


def in_a_loop_of_a_pool(application: Nested, question: str) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(application.aanswer(question))).result()


def in_a_loop_of_a_thread(application: Nested, question: str) -> Any:
    return in_a_thread(lambda: asyncio.run(application.aanswer(question)))


def in_another_loop(application: Nested, question: str) -> Any:
    """Where an application's loop runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        return asyncio.run_coroutine_threadsafe(application.aanswer(question), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def within(seconds: float, function: Callable[[], Any]) -> Any:
    """What a function returns; an error if that takes longer."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "it hangs"
    return result[0]


@pytest.mark.parametrize("elsewhere", [in_a_thread, in_a_pool, in_a_pool_of_a_pool])
def test_a_leader_that_calls_itself_in_another_thread_is_answered(elsewhere: Callable[[Any], Any]) -> None:
    application = Nested()
    application.inner = lambda question: application.calls < 2 and elsewhere(partial(application.answer, question))
    assert within(SOON, lambda: application.answer("why?")) == "why?!"
    assert application.cache.stats().not_awaited == 1


@pytest.mark.parametrize("elsewhere", [in_a_loop_of_a_pool, in_a_loop_of_a_thread, in_another_loop])
def test_a_leader_that_calls_itself_over_another_loop_is_answered(elsewhere: Callable[[Nested, str], Any]) -> None:
    """The call for itself is made by a coroutine, which calls once more in an executor."""
    application = Nested()
    again = application.cache.engine.answer
    request = application.request("why?")

    def call_again(question: str) -> None:
        if application.calls == 1:
            elsewhere(application, question)
        elif application.calls == 2:
            again(request, lambda: "by itself", pack)

    application.inner = call_again
    assert within(SOON, lambda: application.answer("why?")) == "why?!"
    assert application.cache.stats().not_awaited == 2


def in_a_task(application: Nested, question: str) -> Any:
    return asyncio.create_task(application.aanswer(question))


def in_the_executor(application: Nested, question: str) -> Any:
    return asyncio.get_running_loop().run_in_executor(None, application.answer, question)


def in_a_thread_with_the_context(application: Nested, question: str) -> Any:
    return asyncio.gather(asyncio.to_thread(application.answer, question), asyncio.sleep(0))


@pytest.mark.parametrize("elsewhere", [in_a_task, in_the_executor, in_a_thread_with_the_context])
def test_a_task_that_calls_itself_elsewhere_is_answered(elsewhere: Callable[[Any, str], Any]) -> None:
    application = Nested()

    async def call_again(question: str) -> None:
        if application.calls < 2:
            await elsewhere(application, question)

    application.ainner = call_again
    assert within(SOON, lambda: asyncio.run(application.aanswer("why?"))) == "why?!"


def test_a_leader_of_which_only_the_lookup_is_seen_may_look_up_its_own_key_in_a_task() -> None:
    application = Application(Cache(MemoryStore()))

    async def main() -> Any:
        engine, request = application.cache.engine, application.request("why?")
        await engine.alookup(request)
        await asyncio.create_task(engine.alookup(request))
        await engine.aupdate(request, lambda: pack("so"))
        return True

    assert within(SOON, lambda: asyncio.run(main()))


def test_leaders_that_wait_for_each_other_are_answered() -> None:
    application, both = Nested(), threading.Barrier(2)

    def other(question: str) -> None:
        if application.calls <= 2:
            both.wait()
            application.answer({"a": "b", "b": "a"}[question])

    application.inner = other

    def both_call() -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            return [answer.rpartition(" ")[2] for answer in pool.map(application.answer, "ab")]

    assert within(SOON, both_call) == ["a!", "b!"]


@pytest.mark.parametrize("workers", [1, 8])
def test_leaders_that_call_each_other_in_executors_are_answered(workers: int) -> None:
    """One worker each time, or one pool for all: over two steps, below the coroutines of the leaders' calls."""
    application = Nested()
    shared = ThreadPoolExecutor(workers) if workers > 1 else None

    def call(question: str) -> None:
        if application.calls <= 2:
            pool = shared or ThreadPoolExecutor(1)
            pool.submit(application.answer, "b" if question == "a" else "a").result()

    application.inner = call
    assert within(SOON, lambda: application.answer("a")) == "a!"
    assert application.cache.stats().not_awaited == 1


def test_tasks_that_wait_for_each_other_in_child_tasks_are_answered() -> None:
    application = Nested()

    async def other(question: str) -> None:
        await asyncio.sleep(0.05)
        if application.calls <= 2:
            await asyncio.create_task(application.aanswer({"a": "b", "b": "a"}[question]))

    application.ainner = other

    async def both_call() -> list[str]:
        return [
            answer.rpartition(" ")[2]
            for answer in await asyncio.gather(application.aanswer("a"), application.aanswer("b"))
        ]

    assert within(SOON, lambda: asyncio.run(both_call())) == ["a!", "b!"]


def test_loops_that_block_on_each_others_tasks_are_answered() -> None:
    application, both = Nested(), threading.Barrier(2)

    async def slowly(question: str) -> None:
        await asyncio.sleep(0.2)

    application.ainner = slowly

    async def main(own: str, other: str) -> str:
        leader = asyncio.create_task(application.aanswer(own))
        await asyncio.sleep(0.02)
        both.wait()
        application.answer(other)  # blocks the loop
        return (await leader).rpartition(" ")[2]

    def both_run() -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            return [*pool.map(lambda names: asyncio.run(main(*names)), ["ab", "ba"])]

    assert within(SOON, both_run) == ["a!", "b!"]


@pytest.mark.parametrize("watched", [False, True], ids=["call", "lookup"])
def test_waiters_do_not_use_up_the_pool_that_their_leader_needs(watched: bool) -> None:
    application = Application(Cache(MemoryStore(), lease_seconds=600))

    def call() -> str:
        if not watched:
            return application.answer("why?")
        lookup(application, "why?")
        update(application, "why?")
        return "why?!"

    async def lead(started: asyncio.Event) -> None:
        engine, request = application.cache.engine, application.request("why?")

        async def model() -> str:
            started.set()
            await asyncio.sleep(0.2)  # meanwhile the others take all threads
            return await asyncio.get_running_loop().run_in_executor(None, application.model, "why?")

        await engine.aanswer(request, model, pack)

    async def main() -> int:
        started = asyncio.Event()
        leader = asyncio.create_task(lead(started))
        await started.wait()
        answers = await asyncio.gather(*(asyncio.to_thread(call) for _ in range(40)))
        await leader
        return len(answers)

    assert within(SOON, lambda: asyncio.run(main())) == 40
    assert application.calls <= 3


@pytest.mark.parametrize("limited", [False, True], ids=["its own threads", "the application's limiter"])
@pytest.mark.parametrize("streams", [False, True], ids=["call", "generator"])
def test_waiters_do_not_use_up_the_threads_of_anyio_that_their_leader_needs(limited: bool, streams: bool) -> None:
    """As in FastAPI and Starlette, which call synchronous functions there."""
    anyio = pytest.importorskip("anyio")
    application = Application(Cache(MemoryStore()))

    async def main() -> int:
        limiter = anyio.CapacityLimiter(5) if limited else None

        async def items() -> AsyncIterator[str]:
            yield await anyio.to_thread.run_sync(application.answer, "why?", limiter=limiter)

        async def endpoint() -> list[str]:
            if streams:
                return [one async for one in items()]
            return [await anyio.to_thread.run_sync(application.answer, "why?", limiter=limiter)]

        async def model() -> str:
            await asyncio.sleep(0.2)  # meanwhile the others take all threads
            return await anyio.to_thread.run_sync(application.model, "why?", limiter=limiter)  # type: ignore[no-any-return]

        leader = asyncio.create_task(application.cache.engine.aanswer(application.request("why?"), model, pack))
        await asyncio.sleep(0.02)
        answers = await asyncio.gather(*(endpoint() for _ in range(45)))
        await leader
        return len(answers)

    assert within(SOON, lambda: asyncio.run(main())) == 45
    assert application.calls <= 3


def test_equal_requests_in_the_threads_of_anyio_still_make_one_call() -> None:
    anyio = pytest.importorskip("anyio")
    application = Application(Cache(MemoryStore()))
    application.delay = 1.0

    async def main() -> None:
        limiter = anyio.CapacityLimiter(4)
        await asyncio.gather(
            *(anyio.to_thread.run_sync(application.answer, "why?", limiter=limiter) for _ in range(40))
        )

    asyncio.run(main())
    assert application.calls == 1


def test_equal_requests_queued_in_one_pool_still_make_one_call() -> None:
    application = Application(Cache(MemoryStore()))
    application.delay = 1.0
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(application.answer, ["why?"] * 40))
    assert application.calls == 1


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_after_max_wait_one_caller_leads_for_all(asynchronous: bool) -> None:
    application = Application(Cache(MemoryStore(), max_wait=1.0))
    hanging, release = threading.Event(), threading.Event()

    def hang() -> str:
        hanging.set()
        release.wait(60)
        return "late"

    request = application.request("why?")
    threading.Thread(target=application.cache.engine.answer, args=(request, hang, pack), daemon=True).start()
    hanging.wait()
    application.delay = 0.1

    async def tasks() -> list[str]:
        return await asyncio.gather(*(application.aanswer("why?") for _ in range(20)))

    started = time.monotonic()
    if asynchronous:
        answers = within(SOON, lambda: asyncio.run(tasks()))
    else:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(application.answer, ["why?"] * 20))
    release.set()
    assert time.monotonic() - started >= 1.0
    assert len(answers) == 20 and application.calls == 1
    assert (application.cache.stats().not_awaited, application.cache.stats().max_wait) == (1, 1.0)


def test_a_model_that_hangs_holds_nobody_for_more_than_twice_max_wait() -> None:
    application = Application(Cache(MemoryStore(), max_wait=0.2))
    application.delay = 3.0
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(application.answer, ["why?"] * 8))
    assert time.monotonic() - started < SOON
    assert application.calls == 8


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_callers_have_is_given_up_without_a_collection_of_garbage(asynchronous: bool) -> None:
    class Document:
        """Something large."""

    application = Application(Cache(MemoryStore()))

    def miss() -> weakref.ref[Document]:
        document = Document()  # in a frame that calls the cache
        application.answer("sync")
        return weakref.ref(document)

    async def amiss() -> weakref.ref[Document]:
        document = Document()
        await application.aanswer("async")
        return weakref.ref(document)

    in_a_pool(lambda: None)  # from now on there are executors
    gc.collect()
    gc.disable()
    try:
        document = asyncio.run(amiss()) if asynchronous else miss()
        assert document() is None
    finally:
        gc.enable()
