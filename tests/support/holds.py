"""How long an event loop was held at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator


class Holds:
    """Attributes: longest_seconds: the most work of the loop's thread, by its own clock, between two turns."""

    longest_seconds = 0.0


@contextlib.asynccontextmanager
async def holds_of_the_loop() -> AsyncIterator[Holds]:
    """Measure the running loop; without the collector, which looks at all that a program holds."""
    holds = Holds()

    async def take_turns() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            holds.longest_seconds = max(holds.longest_seconds, time.thread_time() - began)

    gc.disable()
    turns = asyncio.create_task(take_turns())
    try:
        await asyncio.sleep(0)
        yield holds
        await asyncio.sleep(0)
    finally:
        gc.enable()
        turns.cancel()
