"""Identical requests at the same time make one call of the model."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from askonce import Cache
from askonce.stores.memory import MemoryStore
from tests.support.application import Application


async def test_a_thousand_identical_tasks_cause_one_call(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.delay = 0.05
    answers = await asyncio.gather(*(application.aanswer("why?") for _ in range(1000)))
    assert application.calls == 1
    assert sorted(set(answers)) == ["coalesced: why?!", "why?!"]


def test_fifty_identical_threads_cause_one_call(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.delay = 0.2
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(application.answer, ["why?"] * 50))
    assert application.calls == 1
    assert answers.count("why?!") == 1


def test_threads_and_event_loops_wait_for_one_another(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.delay = 0.2

    async def many() -> list[str]:
        return await asyncio.gather(*(application.aanswer("why?") for _ in range(10)))

    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(asyncio.run, many()) for _ in range(3)]
        futures += [threads.submit(application.answer, "why?") for _ in range(3)]
        for future in futures:
            future.result()
    assert application.calls == 1


async def test_when_the_leader_fails_one_waiter_takes_over_at_once(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.delay = 0.05
    application.fails = lambda call: call == 1
    answers = await asyncio.gather(*(application.aanswer("why?") for _ in range(100)), return_exceptions=True)
    assert application.calls == 2
    assert sum(isinstance(answer, RuntimeError) for answer in answers) == 1


async def test_when_the_model_is_down_waiters_fail_soon(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.delay = 0.1
    application.fails = lambda call: True
    answers = await asyncio.gather(*(application.aanswer("why?") for _ in range(100)), return_exceptions=True)
    assert all(isinstance(answer, RuntimeError) for answer in answers)
    assert application.most_at_once > 50  # and not one after the other


async def test_a_cancelled_leader_lets_another_take_over(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.delay = 0.2
    leader = asyncio.create_task(application.aanswer("why?"))
    await asyncio.sleep(0.02)
    waiter = asyncio.create_task(application.aanswer("why?"))
    await asyncio.sleep(0.02)
    leader.cancel()
    assert await asyncio.wait_for(waiter, 5) == "why?!"


async def test_a_cancelled_waiter_does_not_affect_others(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.delay = 0.1
    leader = asyncio.create_task(application.aanswer("why?"))
    await asyncio.sleep(0.02)
    waiters = [asyncio.create_task(application.aanswer("why?")) for _ in range(2)]
    await asyncio.sleep(0.02)
    waiters[0].cancel()
    assert await leader == "why?!"
    assert await waiters[1] == "coalesced: why?!"


async def test_a_synchronous_call_inside_a_loop_does_not_wait_for_a_task_of_that_loop(store: MemoryStore) -> None:
    application = Application(Cache(store))
    application.delay = 0.05
    leader = asyncio.create_task(application.aanswer("why?"))
    await asyncio.sleep(0.01)
    assert application.answer("why?") == "why?!"
    await leader
