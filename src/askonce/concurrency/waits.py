"""Who waits for whom in this process, so that nobody waits for what cannot come.

Three things are recognized. A *circle*: the caller waits for a leader that waits, over any number of steps, for
the caller. The steps are the flights that threads and tasks wait for, the calls that are made within a leader's
context (its child tasks, ``asyncio.to_thread``, the frameworks' executors), loops whose thread is blocked, and
threads that are waited for by ``Thread.join`` and ``Future.result``. A *full pool*: all threads of an executor wait
while work is queued there, which may be what their leader needs. What is not recognized ends with ``max_wait``.

All of it is advice from a moment: a wrong guess costs a call of the model.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import weakref
from collections.abc import Container, Iterator
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any

from askonce.concurrency.frames import current_frame
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
        self._lock = threading.Lock()
        self._of: dict[Any, Flight] = {}  # by task, or by the thread that is blocked
        # All of a thread: its own, or of tasks that it runs.
        self._within: dict[threading.Thread, list[Flight]] = {}
        # What is done for executors by threads that lead or wait.
        self._workers: weakref.WeakKeyDictionary[Any, threading.Thread] = weakref.WeakKeyDictionary()

    def record_works(self) -> None:
        """Record what the running thread does for executors: others do not see that below a coroutine."""
        works = _own_works()
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
        if isinstance(one, threading.Thread):
            yield from list(self._within.get(one, ()))
            yield from _joined_by(one)
        elif hasattr(one, "awaited"):  # a flight
            yield one.owner
            yield from list(one.awaited)
            yield self._of.get(one.thread)  # if its leader is a task, of a loop that this blocks
            yield from _joined_by(one.thread)
        else:
            yield from _awaited_by(one)

    def leave_full_pool(self, flight: Flight) -> bool:
        """Whether the caller is to wait no longer, since all threads of its pool wait while work is queued there.

        One caller of a pool at a time is to go on.
        """
        thread = threading.current_thread()
        pool = _pool_of(thread)
        if pool is None or not pool._work_queue.qsize():
            return False
        with self._lock:
            full = all(worker in self._within for worker in list(pool._threads))
            if full:
                self._leave(thread, flight)
            return full


WAITS = Waits()


# -- what the standard library shows of threads and tasks -------------------------------------------------------


def _pool_of(thread: threading.Thread) -> Any:
    """The executor that a thread works for; ``None`` if it is nobody's."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    first = next(iter(getattr(thread, "_args", ())), None)
    pool = first() if isinstance(first, weakref.ref) else None
    return pool if pools is not None and isinstance(pool, pools.ThreadPoolExecutor) else None


_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_TOP = 4


def _frames(ident: int) -> list[FrameType]:
    """The calls of a thread, the latest first.

    Of another thread only the first are looked at, and all of them only if these wait for a thread or a future: the
    calls of a thread that runs change meanwhile. At a generator or a coroutine it ends: once that is suspended, the
    call before it is no longer there, and to read it would end the process.
    """
    frame, others = current_frame(ident), ident != threading.get_ident()
    found: list[FrameType] = []
    while frame is not None:
        found.append(frame)
        if others and (
            frame.f_code.co_flags & _SUSPENDED
            or (len(found) == _TOP and not any(one.f_code in _blocking_calls() for one in found))
        ):
            break
        frame = frame.f_back
    return found


def _blocking_calls() -> tuple[Any, ...]:
    """The code of the calls that wait for threads and futures."""
    futures: Any = sys.modules.get("concurrent.futures._base")
    join = threading.Thread.join.__code__
    if futures is None:
        return (join,)
    return join, futures.Future.result.__code__, futures.wait.__code__, futures.as_completed.__code__


def _joined_by(thread: threading.Thread) -> Iterator[threading.Thread]:
    """The threads whose end, or whose result, a thread waits for."""
    join, *results = _blocking_calls()
    for frame in _frames(thread.ident or 0):
        if frame.f_code is join:
            yield frame.f_locals["self"]
        elif frame.f_code in results:
            waited_for = frame.f_locals.get("fs") or [frame.f_locals["self"]]
            yield from _working_on(list(waited_for))


def _working_on(futures: list[Any]) -> Iterator[threading.Thread]:
    """The threads of executors that work on some futures, and lead or wait."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    if pools is None:
        return
    code, wanted = pools._WorkItem.run.__code__, {id(future) for future in futures}
    yield from WAITS.workers_on(wanted)
    for thread in threading.enumerate():
        if _pool_of(thread) is None:
            continue
        works = [one.f_locals.get("self") for one in _frames(thread.ident or 0) if one.f_code is code]
        if any(id(getattr(work, "future", None)) in wanted for work in works):
            yield thread


def _own_works() -> list[Any]:
    """What the running thread does for executors."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    if pools is None:
        return []
    code, works = pools._WorkItem.run.__code__, []
    frame: FrameType | None = sys._getframe()
    while frame is not None:  # a list of them would be in itself, and hold what callers have
        if frame.f_code is code:
            works.append(frame.f_locals.get("self"))
        frame = frame.f_back
    return works


def _awaited_by(task: Any) -> Iterator[Any]:
    """The tasks that a task awaits, and the threads of executors."""
    futures: Any = sys.modules.get("concurrent.futures._base")
    todo = [getattr(task, "_fut_waiter", None)]
    for future in todo:
        if hasattr(future, "get_coro"):  # a task
            yield future
        elif future is not None:
            todo.extend(getattr(future, "_children", ()))  # those of `asyncio.gather`
            callbacks = [callback for callback, _ in getattr(future, "_callbacks", None) or ()]
            cells = [cell for one in callbacks for cell in getattr(one, "__closure__", None) or ()]
            with contextlib.suppress(ValueError):  # a cell is empty
                held = [cell.cell_contents for cell in cells]
                yield from _working_on([one for one in held if isinstance(one, futures.Future)])
