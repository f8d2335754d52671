"""Processes that are killed while they write or make an answer."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from askonce import Cache
from askonce.entries.entry import Answer, Hit
from askonce.errors import StoreError
from askonce.stores import open_store
from askonce.stores.base import Store
from benchmarks.chaos.load import answer_to, payload, request_of
from tests.stores.sqlite.files import assert_sound

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # imported once, not by each process anew
WRITERS, LONGEST_LIFE = 3, 0.8
CALLERS, CALLER_THREADS, MODEL_SECONDS = 8, 64, 2.0


@contextlib.contextmanager
def running(count: int, target: Any, *args: Any) -> Iterator[list[Any]]:
    """Processes, each of which is given its number and the arguments; killed at the end."""
    processes = [PROCESSES.Process(target=target, args=(number, *args)) for number in range(count)]
    for one in processes:
        one.start()
    try:
        yield processes
    finally:
        for one in processes:
            one.kill()
            one.join()


# -- writers -------------------------------------------------------------------------------------------------------


def write(number: int, url: str, journal: str, seed: int) -> None:
    """Request new answers without end, and list those whose answers another connection reads from the store."""
    reading = open_store(url)
    with Cache(url, namespace="kills") as cache, Path(f"{journal}.{number}").open("ab", buffering=0) as lines:
        for count in range(10**9):
            question = f"{seed} {number} {count}"
            answer_to(cache, question)
            with contextlib.suppress(StoreError):
                if reading.get(*request_of(cache, question).place) is not None:
                    lines.write(f"{question}\n".encode())


def written(folder: Path) -> list[str]:
    return [line for file in folder.glob("journal.*") for line in file.read_text().splitlines()]


def kills(url: str, folder: Path, rounds: int, seed: int) -> tuple[str, ...]:
    """Kill writers at random moments, and read all that they had stored."""
    chance, killed = random.Random(seed), 0
    for one in range(rounds):
        with running(WRITERS, write, url, str(folder / "journal"), one) as writers:
            for writer in writers:
                time.sleep(chance.uniform(0.0, LONGEST_LIFE))
                writer.kill()
                killed += 1
    lost = wrong = errors = 0
    questions = written(folder)
    with Cache(url, namespace="kills", timeout_seconds=30) as cache:
        for question in questions:
            try:
                answer, was_hit = answer_to(cache, question)
            except Exception:
                errors += 1
                continue
            lost += not was_hit
            wrong += answer != payload(question)
        off = accounts_off(cache.store, "kills")
    if url.startswith("sqlite"):
        assert_sound(Path(url.removeprefix("sqlite:///")))
    return f"{rounds:,}", f"{killed:,}", f"{len(questions):,}", str(lost), str(wrong), str(errors), str(off)


def accounts_off(store: Store, namespace: str) -> int:
    """By how many entries and bytes the store's account differs from what it holds."""
    held = [len(value) for _, value in store.scan(namespace)]
    size = store.size(namespace)
    return abs(size.entries - len(held)) + abs(size.size_bytes - sum(held))


# -- callers of one question ---------------------------------------------------------------------------------------


def call(number: int, url: str, journal: str, question: str) -> None:
    """Request one answer in many threads; a line for each call of the model, and for each answer."""

    def write(line: str) -> None:
        lines.write(f"{line} {os.getpid()} {time.monotonic()}\n".encode())

    def model() -> bytes:
        write("called")
        time.sleep(MODEL_SECONDS)
        return payload(question)

    def warm_up(one: int) -> None:
        answer_to(cache, f"warm up {number} {one}")  # as in a process that runs for some time, connections are open
        begin.wait()
        found: bytes | Hit = cache.engine.answer(request_of(cache, question), model, Answer)
        answer = found.entry.payload if isinstance(found, Hit) else found
        write("answered" if answer == payload(question) else "wrong")

    begin = threading.Barrier(CALLER_THREADS)
    with (
        Cache(url, namespace="flights") as cache,
        Path(f"{journal}.{number}").open("ab", buffering=0) as lines,
        ThreadPoolExecutor(CALLER_THREADS) as threads,
    ):
        list(threads.map(warm_up, range(CALLER_THREADS)))


def flights(url: str, folder: Path, leaders: int) -> tuple[str, ...]:
    """Many callers of one question in several processes, of which as many leaders are killed, one after another."""
    began, killed = time.monotonic(), set[int]()
    with running(CALLERS, call, url, str(folder / "journal"), f"killed {leaders}") as processes:
        while any(one.is_alive() for one in processes) and time.monotonic() - began < 120:
            called = {int(line.split()[1]) for line in written(folder) if line.startswith("called")}
            for pid in called - killed if len(killed) < leaders else ():
                time.sleep(0.2)
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                break
            time.sleep(0.02)
        hung = sum(one.is_alive() for one in processes)
    seen = [line.split() for line in written(folder)]
    first = min(float(line[2]) for line in seen if line[0] == "called")
    last = max(float(line[2]) for line in seen if line[0] == "answered")
    counts = {word: sum(line[0] == word for line in seen) for word in ("called", "answered", "wrong")}
    expected = (CALLERS - len(killed)) * CALLER_THREADS
    return (
        str(len(killed)), f"{counts['answered']:,} of {expected:,}", str(counts["called"]),
        f"{last - first:.1f} s", str(counts["wrong"]), str(hung),
    )  # fmt: skip
