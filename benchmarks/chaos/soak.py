"""Threads, tasks and event loops that come and go for a while: what the process holds meanwhile, and afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from askonce import Cache
from askonce.entries.entry import Answer, Hit
from benchmarks.chaos.load import payload, question_of, request_of

THREADS, TASKS, SAMPLES = 8, 24, 4


def held() -> tuple[float, int, int]:
    """What the process holds: MB of memory, descriptors, threads."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), threading.active_count()


class Soak:
    """Sends requests through one cache."""

    def __init__(self, cache: Cache, until: float) -> None:
        self.cache, self.until, self.seen = cache, until, Counter[str]()

    def record(self, question: str, found: bytes | Hit) -> None:
        answer = found.entry.payload if isinstance(found, Hit) else found
        self.seen["wrong"] += answer != payload(question)
        self.seen["calls"] += 1

    def in_a_thread(self, seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self.until:
            question = question_of(chance)
            request = request_of(self.cache, question)

            def model(question: str = question) -> bytes:
                time.sleep(0.01)
                return payload(question)

            found: bytes | Hit = self.cache.engine.answer(request, model, Answer)
            self.record(question, found)
            time.sleep(0.005)

    async def in_a_task(self, seed: int) -> None:
        chance, until = random.Random(seed), time.monotonic() + 1
        while time.monotonic() < min(until, self.until):
            question = question_of(chance)
            request = request_of(self.cache, question)

            async def model(question: str = question) -> bytes:
                await asyncio.sleep(0.01)
                return payload(question)

            answer: Awaitable[Any] = self.cache.engine.aanswer(request, model, Answer)
            pending = asyncio.ensure_future(answer)
            if chance.random() < 0.1:
                await asyncio.sleep(chance.uniform(0, 0.01))
                self.seen["cancelled"] += pending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self.record(question, await pending)
            await asyncio.sleep(0.005)

    async def in_tasks(self, seed: int) -> None:
        await asyncio.gather(*(self.in_a_task(seed + number) for number in range(TASKS)))

    def in_loops(self) -> None:
        """A new event loop each second."""
        for number in range(10**9):
            if time.monotonic() >= self.until:
                return
            asyncio.run(self.in_tasks(1000 * number))
            self.seen["loops"] += 1


def soak(url: str, seconds: float) -> tuple[str, ...]:
    """What was requested, and what the process held in each quarter of the time and at the end."""
    with Cache(url, namespace="soak", max_entries=5_000) as cache:
        one = Soak(cache, time.monotonic() + seconds)
        samples = []
        with ThreadPoolExecutor(THREADS + 1) as threads:
            running = [threads.submit(one.in_a_thread, number) for number in range(THREADS)]
            running.append(threads.submit(one.in_loops))
            for _ in range(SAMPLES):
                time.sleep(seconds / SAMPLES - 0.2)
                samples.append(held())
            for each in running:
                each.result()
        time.sleep(3)  # leases whose release was cancelled are released by a thread
        flights = len(cache.engine.flow.claims._flights._in_progress)
        leases = len(cache.engine.flow.claims._leases._held)
    gc.collect()
    samples.append(held())
    series = [" → ".join(f"{sample[column]:.0f}" for sample in samples) for column in range(3)]
    counts = (one.seen[name] for name in ("calls", "cancelled", "loops", "wrong"))
    return *(f"{count:,}" for count in counts), *series, f"{flights}, {leases}"
