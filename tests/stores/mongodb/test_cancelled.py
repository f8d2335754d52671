"""Calls under asyncio that are cancelled while they wait for a connection."""

import asyncio
import contextlib
import random

from askonce import StoreUnavailable
from askonce.stores import open_store
from tests.support import servers

SECONDS = 0.1


def test_cancelled_calls_end_and_later_ones_are_served() -> None:
    """By a time limit that passes together with the driver's own, and by whoever waits for them."""

    async def calls() -> int:
        store = open_store(f"{servers.start('mongodb').url}&maxPoolSize=2", timeout_seconds=SECONDS)
        chance = random.Random(1)

        async def limited() -> None:
            with contextlib.suppress(TimeoutError, StoreUnavailable):
                async with asyncio.timeout(SECONDS):
                    await store.aget("cancelled", b"k")

        for _ in range(10):
            tasks = [asyncio.create_task(limited()) for _ in range(200)]
            for one in chance.sample(tasks, 100):
                await asyncio.sleep(chance.uniform(0, 0.003))
                one.cancel()
            if hang := len((await asyncio.wait(tasks, timeout=20))[1]):
                return hang
        await store.aclose()
        return 0

    with contextlib.closing(asyncio.new_event_loop()) as loop:  # `asyncio.run` would wait for what hangs
        assert loop.run_until_complete(calls()) == 0
