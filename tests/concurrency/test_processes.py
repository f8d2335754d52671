"""Several processes with one store: they wait for one another, and share stored answers."""

import multiprocessing
import os
import signal
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from askonce import Cache
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from tests.support import servers

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # imported once, not by each process anew


def answer_of(url: str, calls: str, seconds: float, lease_seconds: float = 30.0) -> str:
    """Request one answer through a cache; the model writes a line into ``calls``."""

    def model() -> str:
        with Path(calls).open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return "because"

    with Cache(url, lease_seconds=lease_seconds, timeout_seconds=5) as cache:
        request = cache.engine.request("answer", lambda: NormalForm({"question": "why?"}))
        assert request is not None
        found = cache.engine.answer(request, model, lambda text: Answer(text.encode()))
        return found.entry.payload.decode() if isinstance(found, Hit) else found


def hit_and_wait(url: str, done: str) -> None:
    """Request one answer fifty times, signal it, and do not end."""
    cache = Cache(url, timeout_seconds=5)
    for _ in range(50):
        request = cache.engine.request("answer", lambda: NormalForm({"question": "why?"}))
        assert request is not None
        cache.engine.answer(request, lambda: b"because", Answer)
    Path(done).touch()
    time.sleep(60)


@pytest.fixture(params=["sqlite", "redis-8.2", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/cache.db"
    url = servers.start(request.param).url
    with Cache(url, timeout_seconds=5) as cache:
        cache.clear()
    return url


def test_identical_requests_of_processes_cause_one_call(url: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with ProcessPoolExecutor(6, mp_context=PROCESSES) as pool:
        answers = list(pool.map(answer_of, [url] * 12, [str(calls)] * 12, [1.0] * 12))
    assert answers == ["because"] * 12
    assert len(calls.read_text().splitlines()) == 1


def test_another_process_takes_over_from_a_killed_leader(url: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    leader = PROCESSES.Process(target=answer_of, args=(url, str(calls), 60.0, 2.0))
    leader.start()
    while not calls.exists():
        time.sleep(0.02)
    assert leader.pid is not None
    os.kill(leader.pid, signal.SIGKILL)
    leader.join()
    assert answer_of(url, str(calls), 0.0, 2.0) == "because"
    assert len(calls.read_text().splitlines()) == 2


def test_a_crash_loses_only_the_hits_since_the_last_flush(tmp_path: Path) -> None:
    file, done = tmp_path / "cache.db", tmp_path / "done"
    process = PROCESSES.Process(target=hit_and_wait, args=(f"sqlite:///{file}", str(done)))
    process.start()
    while not done.exists():
        time.sleep(0.02)
    with closing(sqlite3.connect(file)) as connection:
        deadline = time.monotonic() + 30
        while connection.execute("SELECT hits FROM entry").fetchone() != (50,):  # a second after the first hit
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert connection.execute("SELECT hits FROM entry").fetchone() == (50,)
