"""Several processes with one store: they wait for one another, and share what is kept."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from askonce import Cache
from askonce.entry import Answer, Hit
from askonce.keys import Form
from tests.support import servers

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # imported once, not by each process anew


def ask(url: str, calls: str, seconds: float, lease_seconds: float = 30.0) -> str:
    """Ask one question through a cache; the model leaves a line in ``calls``."""

    def model() -> str:
        with Path(calls).open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return "because"

    with Cache(url, lease_seconds=lease_seconds, timeout_seconds=5) as cache:
        request = cache.request(lambda: Form({"question": "why?"}))
        assert request is not None
        found = cache.answer(request, model, lambda text: Answer(text.encode()))
        return found.entry.payload.decode() if isinstance(found, Hit) else found


@pytest.fixture(params=["sqlite", "redis-8.2", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/cache.db"
    url = servers.start(request.param).url
    with Cache(url, timeout_seconds=5) as cache:
        cache.clear()
    return url


def test_processes_that_ask_the_same_make_one_call(url: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with PROCESSES.Pool(6) as pool:
        answers = pool.starmap(ask, [(url, str(calls), 1.0)] * 12, chunksize=1)
    assert answers == ["because"] * 12
    assert len(calls.read_text().splitlines()) == 1


def test_when_the_leading_process_is_killed_another_takes_over(url: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    leader = PROCESSES.Process(target=ask, args=(url, str(calls), 60.0, 2.0))
    leader.start()
    while not calls.exists():
        time.sleep(0.02)
    assert leader.pid is not None
    os.kill(leader.pid, signal.SIGKILL)
    leader.join()
    assert ask(url, str(calls), 0.0, 2.0) == "because"
    assert len(calls.read_text().splitlines()) == 2
