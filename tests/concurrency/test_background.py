"""The threads of background work."""

from __future__ import annotations

import threading

import pytest

from askonce.concurrency.background import BackgroundWorker


@pytest.mark.parametrize("before", [True, False])
def test_a_worker_that_is_closed_while_its_thread_starts_ends(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the garbage collector, which may end the worker's owner at any moment of any thread."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def closing(thread: threading.Thread) -> None:
        if thread.name != "askonce-test":  # of something that is collected now
            return start(thread)
        if before:
            worker.close(5.0)
        start(thread)
        started.append(thread)
        if not before:
            worker.close(5.0)

    steps: list[int] = []
    worker = BackgroundWorker("askonce-test", lambda: steps.append(1))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", closing)
        worker.wake()
    started[0].join(60)
    assert not started[0].is_alive() and not steps
    worker.wake()
    assert len(started) == 1


def test_a_step_that_would_end_the_thread_does_not() -> None:
    ran: list[int] = []

    def step() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise SystemExit(1)

    worker = BackgroundWorker("test", step)
    try:
        for _ in range(2):
            worker.wake()
            assert worker.flush(5)
    finally:
        worker.close(1)
    assert len(ran) == 2
