"""Who waits for whom in this process, so that nobody waits for what cannot come.

Two things are recognized. A *circle*: the caller waits for a leader that waits, over any number of steps, for
the caller. The steps are the flights that threads and tasks wait for, the calls that are made within a leader's
context (its child tasks, ``asyncio.to_thread``, the frameworks' executors), loops whose thread is blocked, and what
`askonce.concurrency.blocked` sees. A *full pool*: all threads of an executor or of AnyIO wait while work is queued
there, which may be what their leader needs. What is not recognized ends with ``max_wait``.

All of it is advice from a moment: a wrong guess costs a call of the model.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections.abc import Container, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from askonce.concurrency import blocked, pools
from askonce.concurrency.frames import is_task
from askonce.stores.fork import reset_after_fork

if TYPE_CHECKING:
    from askonce.concurrency.flight import Flight

leading: ContextVar[tuple[Flight, ...]] = ContextVar("askonce_leading", default=())
"""The flights that the running code makes the answers of."""


def lead(flight: Flight) -> tuple[Flight, ...]:
    """From now on the running context makes the answer of a flight; returns what to `leading.set` afterwards."""
    before = leading.get()
    leading.set((*(one for one in before if not one.resolved), flight))
    WAITS.record_works()
    return before


def running_task() -> Any:
    """The running task, if one is."""
    if "asyncio" in sys.modules:  # else none can be
        import asyncio

        with contextlib.suppress(RuntimeError):
            return asyncio.current_task()
    return None


class Waits:
    """The waits of this process."""

    def __init__(self) -> None:
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._of: dict[Any, Flight] = {}  # by task, or by the thread that is blocked
        # All of a thread: its own, or of tasks that it runs.
        self._within: dict[threading.Thread, list[Flight]] = {}
        # What is done for executors by threads that lead or wait.
        self._workers: weakref.WeakKeyDictionary[Any, threading.Thread] = weakref.WeakKeyDictionary()
        # For which tasks threads of AnyIO wait.
        self._borrowers: dict[threading.Thread, Any] = {}

    def record_works(self) -> None:
        """Record what the running thread does for executors: others do not see that below a coroutine."""
        works = blocked.own_works()
        if works:
            with self._lock:
                self._workers.update(dict.fromkeys(works, threading.current_thread()))

    @contextlib.contextmanager
    def waiting(self, flight: Flight, *, blocks: bool) -> Iterator[None]:
        """While the caller waits for a flight; ``blocks``: its whole thread does."""
        thread, task = threading.current_thread(), running_task()
        waiters = [one for one in (task, thread if blocks else None) if one is not None]
        led = [one for one in leading.get() if not one.resolved]
        self.record_works()
        with self._lock:
            self._of.update(dict.fromkeys(waiters, flight))
            self._within.setdefault(thread, []).append(flight)
            for one in led:
                one.awaited.append(flight)
        try:
            yield
        finally:
            with self._lock:
                for waiter in waiters:
                    self._of.pop(waiter, None)
                self._leave(thread, flight)
                for one in led:
                    one.awaited.remove(flight)

    def _leave(self, thread: threading.Thread, flight: Flight) -> None:
        flights = self._within.get(thread, [])
        if flight in flights:
            flights.remove(flight)
        if not flights:
            self._within.pop(thread, None)
            self._borrowers.pop(thread, None)

    def workers_on(self, futures: Container[int]) -> list[threading.Thread]:
        """The threads that make the results of some futures, by their ``id``, as far as that was recorded."""
        with self._lock:
            return [one for work, one in self._workers.items() if id(getattr(work, "future", None)) in futures]

    def closes_a_circle(self, flight: Flight, *, blocks: bool) -> bool:
        """Whether a flight cannot end while the caller waits for it."""
        thread, mine = threading.current_thread(), {threading.current_thread(), running_task(), *leading.get()}
        seen: set[Any] = {None}
        todo: list[Any] = [flight]
        with contextlib.suppress(Exception):  # what it sees of other threads changes meanwhile
            while todo:
                one = todo.pop()
                if one in seen:
                    continue
                if one in mine or (blocks and getattr(one, "thread", None) is thread):
                    return True
                seen.add(one)
                todo.extend(self._needed_by(one))
        return False

    def _needed_by(self, one: Any) -> Iterator[Any]:
        """What must go on, or end, for a flight, a thread or a task to go on."""
        yield self._of.get(one)
        if hasattr(one, "awaited"):  # a flight
            yield one.owner
            yield from list(one.awaited)
            yield self._of.get(one.thread)  # if its leader is a task, of a loop that this blocks
            yield from blocked.needed_by_thread(one.thread, self.workers_on, end=False)
        elif is_task(one):
            yield from blocked.needed_by_task(one, self.workers_on)
        else:
            yield from list(self._within.get(one, ()))
            yield from blocked.needed_by_thread(one, self.workers_on, end=True)

    def leave_full_pool(self, flight: Flight) -> bool:
        """Whether the caller is to wait no longer, since all threads of its pool wait while work is queued there.

        One caller of a pool at a time is to go on.
        """
        thread = threading.current_thread()
        executor, borrowed = pools.executor_of(thread), pools.borrowed_by(thread)
        with self._lock:
            if borrowed is not None:
                limiter, self._borrowers[thread] = borrowed
                full = pools.is_full_limiter(limiter, self._borrowers.values())
            else:
                full = executor is not None and pools.is_full_executor(executor, self._within)
            if full:
                self._leave(thread, flight)
            return full


WAITS = Waits()
