"""What threads and tasks wait for, as far as the standard library shows it.

A thread: the end of another (``Thread.join``), the result of a future (of an executor, or of a task of another
loop: ``asyncio.run_coroutine_threadsafe``), or the task that its event loop runs to the end (``asyncio.run``). A
task: other tasks, and threads of executors.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from types import CodeType, FrameType
from typing import Any

from askonce.concurrency.frames import calls_of, is_task
from askonce.concurrency.pools import executor_of

Workers = Callable[[Container[int]], list[threading.Thread]]
"""The threads that make the results of some futures, by their ``id``, as far as that was recorded."""
_DEEPEST_LOOP = 8
"""How far from the latest call a loop is that waits; if it is further, its thread does something."""


def needed_by_thread(thread: threading.Thread, workers: Workers, *, end: bool) -> Iterator[Any]:
    """The threads and tasks that a thread waits for.

    Args:
        thread: any.
        workers: what was recorded of threads.
        end: it is to come to its end; otherwise only to go on with the tasks of its event loop.
    """
    joins, results, loops = _blocking_calls()
    for depth, frame in enumerate(calls_of(thread.ident or 0, joins | results | loops)):
        if frame.f_code in joins:
            yield frame.f_locals["self"]
        elif frame.f_code in results:
            futures = list(frame.f_locals.get("fs") or [frame.f_locals["self"]])
            yield from _working_on(futures, workers)
            for future in futures:
                yield from filter(is_task, _held_by(getattr(future, "_done_callbacks", ())))
        elif frame.f_code in loops and end and depth < _DEEPEST_LOOP:
            yield from filter(is_task, [frame.f_locals.get("future"), frame.f_locals.get("task")])


def needed_by_task(task: Any, workers: Workers) -> Iterator[Any]:
    """The tasks that a task awaits, and the threads of executors."""
    futures: Any = sys.modules.get("concurrent.futures._base")
    todo = [getattr(task, "_fut_waiter", None)]
    for future in todo:
        if is_task(future):
            yield future
        elif future is not None:
            todo.extend(getattr(future, "_children", ()))  # those of `asyncio.gather`
            held = _held_by(callback for callback, _ in getattr(future, "_callbacks", None) or ())
            yield from _working_on([one for one in held if isinstance(one, futures.Future)], workers)


def own_works() -> list[Any]:
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


def _blocking_calls() -> tuple[set[CodeType], set[CodeType], set[CodeType]]:
    """The code of the calls that wait for threads, for futures, and for what an event loop runs."""
    futures: Any = sys.modules.get("concurrent.futures._base")
    results = set[CodeType]()
    if futures is not None:
        waits = (futures.Future.result, futures.Future.exception, futures.wait, futures.as_completed)
        results = {one.__code__ for one in waits}
    asyncio: Any = sys.modules.get("asyncio")
    loops = set[CodeType]()
    if asyncio is not None:
        loop = asyncio.BaseEventLoop
        loops = {loop.run_forever.__code__, loop.run_until_complete.__code__}
        loops.add(asyncio.Runner.run.__code__)  # of loops that are not written in Python
    return {threading.Thread.join.__code__}, results, loops


def _held_by(callbacks: Iterable[Any]) -> list[Any]:
    """What functions that will be called hold in their closures."""
    cells = [cell for one in callbacks for cell in getattr(one, "__closure__", None) or ()]
    held = []
    for cell in cells:
        with contextlib.suppress(ValueError):  # it is empty
            held.append(cell.cell_contents)
    return held


def _working_on(futures: list[Any], workers: Workers) -> Iterator[threading.Thread]:
    """The threads of executors that work on some futures, and lead or wait."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    if pools is None:
        return
    code, wanted = pools._WorkItem.run.__code__, {id(future) for future in futures}
    yield from workers(wanted)
    for thread in threading.enumerate():
        if executor_of(thread) is None:
            continue
        works = [
            one.f_locals.get("self")
            for one in calls_of(thread.ident or 0, set().union(*_blocking_calls()))
            if one.f_code is code
        ]
        if any(id(getattr(work, "future", None)) in wanted for work in works):
            yield thread
