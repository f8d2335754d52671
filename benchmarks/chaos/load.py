"""Threads and tasks that request stored and new answers while a fault goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from askonce import Cache
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from benchmarks.chaos.faults import Fault

STORED = 200
THREADS, TASKS = 8, 24
MODEL_SECONDS = 0.05


def payload(question: str) -> bytes:
    """The only right answer to a question: every foreign or damaged one is noticed."""
    return random.Random(question).randbytes(400)


def request_of(cache: Cache, question: str) -> Request:
    request = cache.engine.request("answer", lambda: NormalForm({"question": question}))
    assert request is not None
    return request


def answer_to(cache: Cache, question: str) -> tuple[bytes, bool]:
    """The answer to a question, and whether it came from the cache."""
    found = cache.engine.answer(request_of(cache, question), partial(payload, question), Answer)
    return (found.entry.payload, True) if isinstance(found, Hit) else (found, False)


@dataclass
class Outcome:
    """What became of the questions.

    Attributes:
        hits: of stored questions, how many were answered from the cache.
        misses: of stored questions that the store could have served, how many were not.
        servable: how many the store could have served.
        added: seconds that the cache added, of each call.
        lines: what the log said.
    """

    hits: int = 0
    misses: int = 0
    servable: int = 0
    added: list[float] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def count_answer(self, question: str, found: Any, added: float, servable: Callable[[str], bool]) -> None:
        answer = found.entry.payload if isinstance(found, Hit) else found
        assert answer == payload(question), "a wrong answer"
        self.added.append(added)
        if question.startswith("stored"):
            can = servable(question)
            self.servable += can
            self.hits += isinstance(found, Hit)
            self.misses += can and not isinstance(found, Hit)

    def row(self, name: str) -> tuple[str, ...]:
        added = sorted(self.added)
        at = [1000 * added[min(int(share * len(added)), len(added) - 1)] for share in (0.5, 0.99, 1.0)]
        served = f"{self.hits / (self.hits + self.misses):.2%}" if self.servable else "–"
        return name, f"{len(added):,}", served, *(f"{one:.1f}" for one in at), str(len(self.lines))


class Lines(logging.Handler):
    """Collects the lines of the log."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{time.monotonic():.1f} {record.getMessage()}")


def question_of(rng: random.Random) -> str:
    return f"stored {rng.randrange(STORED)}" if rng.random() < 0.8 else f"new {rng.random()}"


def threads_of(cache: Cache, outcome: Outcome, until: float, servable: Callable[[str], bool], seed: int) -> None:
    def one(number: int) -> None:
        rng = random.Random(seed + number)
        while time.monotonic() < until:
            question, called = question_of(rng), 0.0

            def model() -> bytes:
                nonlocal called
                began = time.monotonic()
                time.sleep(MODEL_SECONDS)
                called = time.monotonic() - began
                return payload(question)  # noqa: B023  (called at once)

            began = time.monotonic()
            found = cache.engine.answer(request_of(cache, question), model, Answer)
            outcome.count_answer(question, found, time.monotonic() - began - called, servable)
            time.sleep(0.005)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(one, range(THREADS)))  # which raises what one of them has raised


async def tasks_of(
    cache: Cache, outcome: Outcome, until: float, servable: Callable[[str], bool], seed: int
) -> None:
    async def one(number: int) -> None:
        rng = random.Random(1000 + seed + number)
        while time.monotonic() < until:
            question, called = question_of(rng), 0.0

            async def model() -> bytes:
                nonlocal called
                began = time.monotonic()
                await asyncio.sleep(MODEL_SECONDS)
                called = time.monotonic() - began
                return payload(question)  # noqa: B023  (called at once)

            began = time.monotonic()
            found = await cache.engine.aanswer(request_of(cache, question), model, Answer)
            outcome.count_answer(question, found, time.monotonic() - began - called, servable)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(one(number) for number in range(TASKS)))


def measure(
    name: str, url: str, seconds: float, fault: Fault, seed: int, dead: str | None = None
) -> Iterator[tuple[str, ...]]:
    """The rows of one fault, under threads and under tasks; ``dead``: the node that cannot serve."""
    for kind in ("threads", "tasks"):
        outcome = Outcome()
        lines = Lines(outcome.lines)
        logging.getLogger("askonce").addHandler(lines)
        try:
            with Cache(url, namespace=f"{name} {kind}") as cache:
                cache.clear()
                for number in range(STORED):
                    answer_to(cache, f"stored {number}")
                gone = {
                    question
                    for question in (f"stored {number}" for number in range(STORED))
                    if dead is not None and dead in cache.engine.store.part(*request_of(cache, question).place)
                }

                def can(question: str, gone: set[str] = gone) -> bool:
                    return question not in gone

                with fault(cache):
                    until = time.monotonic() + seconds
                    if kind == "threads":
                        threads_of(cache, outcome, until, can, seed)
                    else:
                        asyncio.run(tasks_of(cache, outcome, until, can, seed))
        finally:
            logging.getLogger("askonce").removeHandler(lines)
        yield outcome.row(f"{name}, {kind}")
        if os.environ.get("ASKONCE_CHAOS_LINES"):
            print("\n".join(outcome.lines))
