"""What a failing store costs an application.

    make bench BENCH=chaos
    make bench BENCH=chaos ARGS="--seconds 20 --only redis-full fork"

Threads and tasks ask stored and new questions while a fault goes on. For each fault a row: how many of the stored
questions that the store could have served were served from it, what the cache added to a call (the model's time is
taken off), and the lines in the log. An answer that is not the question's, and an error that reaches a caller, end
the run. Needs the servers of the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from askonce import Cache
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from tests.support import servers

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


@dataclass
class Outcome:
    """What became of the questions.

    Attributes:
        hits: of stored questions, how many were answered from the cache.
        misses: of stored questions that the store could have served, how many were not.
        added: seconds that the cache added, of each call.
        lines: what the log said.
    """

    hits: int = 0
    misses: int = 0
    new: int = 0
    added: list[float] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def note(self, question: str, found: Any, added: float, servable: Callable[[str], bool]) -> None:
        answer = found.entry.payload if isinstance(found, Hit) else found
        assert answer == payload(question), "a wrong answer"
        self.added.append(added)
        if not question.startswith("stored"):
            self.new += 1
        elif isinstance(found, Hit):
            self.hits += 1
        elif servable(question):
            self.misses += 1

    def row(self, name: str) -> str:
        added = sorted(self.added)
        at = [1000 * added[min(int(share * len(added)), len(added) - 1)] for share in (0.5, 0.99, 1.0)]
        served = 100 * self.hits / max(self.hits + self.misses, 1)
        return (
            f"{name:34} {len(added):7,} {served:8.2f} % {at[0]:8.1f} {at[1]:8.1f} {at[2]:8.1f} {len(self.lines):5}"
        )


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
            outcome.note(question, found, time.monotonic() - began - called, servable)
            time.sleep(0.005)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


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
            outcome.note(question, found, time.monotonic() - began - called, servable)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(one(number) for number in range(TASKS)))


def measure(name: str, url: str, seconds: float, fault: Any, seed: int, dead: str | None = None) -> None:
    """Print the rows of one fault, under threads and under tasks; ``dead``: the node that cannot serve."""
    for kind in ("threads", "tasks"):
        outcome = Outcome()
        lines = Lines(outcome.lines)
        logging.getLogger("askonce").addHandler(lines)
        try:
            with Cache(url, namespace=f"{name} {kind}") as cache:
                cache.clear()
                for number in range(STORED):
                    question = f"stored {number}"
                    cache.engine.answer(
                        request_of(cache, question), lambda question=question: payload(question), Answer
                    )  # type: ignore[misc]
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
        print(outcome.row(f"{name}, {kind}"), flush=True)
        if os.environ.get("ASKONCE_CHAOS_LINES"):
            print("\n".join(outcome.lines))


# -- faults --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def none(cache: Cache) -> Iterator[None]:
    yield


def a_writer(path: Path) -> Callable[[Cache], contextlib.AbstractContextManager[None]]:
    """Another program holds the lock of a SQLite file for writing."""

    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()

    return fault


@contextlib.contextmanager
def a_full_disk(cache: Cache) -> Iterator[None]:
    """SQLite may not write a page more."""
    store: Any = cache.store
    writer = store._connections._writer
    with writer.lock:
        (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
        writer.connection.execute(f"PRAGMA max_page_count = {pages}")
    yield
    with writer.lock:
        writer.connection.execute("PRAGMA max_page_count = 1073741823")


def full_memory(url: str) -> Callable[[Cache], contextlib.AbstractContextManager[None]]:
    """Redis with ``noeviction`` and no memory left."""

    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 100_000)
            yield
            client.config_set("maxmemory", 0)

    return fault


def paused(server: servers.Server) -> Callable[[Cache], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        server.pause()
        yield
        server.resume()
        time.sleep(0.5)

    return fault


def stopped(server: servers.Server) -> Callable[[Cache], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        server.stop()
        yield
        server.restart()

    return fault


def a_dead_node(cluster: servers.Server) -> Callable[[Cache], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def fault(cache: Cache) -> Iterator[None]:
        for node in cluster.nodes:
            with redis.Redis(servers.HOST, node.port) as client:
                client.config_set("cluster-require-full-coverage", "no")
        cluster.nodes[2].stop(signal.SIGKILL)
        yield
        cluster.restart()

    return fault


# -- forks ---------------------------------------------------------------------------------------------------------


def forks(url: str, count: int) -> int:
    """How many of so many children hang that were forked while threads of their parent asked."""
    from tests.concurrency.test_fork import PROGRAM

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, str(count), "0.002"], capture_output=True, text=True, check=False
    )
    return int(done.stdout or -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each fault, for threads and for tasks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forks", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[], help="names of rows, or their beginnings")
    options = parser.parse_args()

    def wanted(name: str) -> bool:
        return not options.only or any(name.startswith(one) for one in options.only)

    print(f"{'fault':34} {'calls':>7} {'served':>10} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'lines':>5}")
    with tempfile.TemporaryDirectory() as folder, servers.start("redis-8.2", private=True) as server:
        file = Path(folder) / "cache.db"
        sqlite, seconds, seed = f"sqlite:///{file}", options.seconds, options.seed
        rows: dict[str, tuple[str, Any]] = {
            "sqlite": (sqlite, none),
            "sqlite-writer": (sqlite, a_writer(file)),
            "sqlite-full": (sqlite, a_full_disk),
            "redis": (server.url, none),
            "redis-full": (server.url, full_memory(server.url)),
            "redis-paused": (server.url, paused(server)),
            "redis-killed": (server.url, stopped(server)),
        }
        for name, (url, fault) in rows.items():
            if wanted(name):
                measure(name, url, seconds, fault, seed, "" if name in ("redis-paused", "redis-killed") else None)
        if wanted("cluster-node-dead"):
            with servers.start("redis-cluster", private=True) as cluster:
                dead = f":{cluster.nodes[2].port}"
                measure("cluster-node-dead", cluster.url, seconds, a_dead_node(cluster), seed, dead)
        for kind, url in {"memory": "memory://", "sqlite": sqlite, "redis": server.url}.items():
            if wanted("fork"):
                print(f"fork, {kind}: {forks(url, options.forks)} of {options.forks} children hang", flush=True)


if __name__ == "__main__":
    main()
