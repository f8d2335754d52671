"""Pools of threads: which one a thread works for, and whether it can begin nothing more."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import weakref
from collections.abc import Collection, Container
from typing import Any

from askonce.concurrency.frames import calls_of


def executor_of(thread: threading.Thread) -> Any:
    """The ``ThreadPoolExecutor`` that a thread works for; ``None`` if it is nobody's."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    first = next(iter(getattr(thread, "_args", ())), None)
    pool = first() if isinstance(first, weakref.ref) else None
    return pool if pools is not None and isinstance(pool, pools.ThreadPoolExecutor) else None


def is_full_executor(pool: Any, waiting: Container[threading.Thread]) -> bool:
    """Whether work is queued in an executor whose threads all wait."""
    return bool(pool._work_queue.qsize()) and all(worker in waiting for worker in list(pool._threads))


def borrowed_by(thread: threading.Thread) -> tuple[Any, Any] | None:
    """The limiter of AnyIO by which the running thread works, and for which task; ``None`` if it does not.

    It stands where the task called ``anyio.to_thread.run_sync`` (so do Starlette and FastAPI for synchronous
    functions) and is suspended until the thread is done.
    """
    anyio: Any = sys.modules.get("anyio._backends._asyncio")
    if anyio is None or not isinstance(thread, anyio.WorkerThread):
        return None
    with contextlib.suppress(Exception):  # another version of AnyIO
        works = anyio.WorkerThread.run.__code__
        call = next(one for one in calls_of(threading.get_ident()) if one.f_code is works)
        for wake, _ in call.f_locals["future"]._callbacks:
            task = wake.__self__
            limiter = _limiter_in(task.get_coro(), anyio)
            if limiter is not None:
                return limiter, task
    return None


def is_full_limiter(limiter: Any, waiting: Collection[Any]) -> bool:
    """Whether tasks queue for a limiter all of whose borrowers are among those for which threads wait."""
    return bool(limiter._wait_queue) and set(limiter._borrowers) <= set(waiting)


def _limiter_in(coroutine: Any, anyio: Any) -> Any:
    """The limiter that a suspended coroutine, or one that it awaits, has entered to run something in a thread."""
    runs = anyio.AsyncIOBackend.run_sync_in_worker_thread.__func__.__code__
    while coroutine is not None:
        if getattr(coroutine, "cr_code", None) is runs:
            # On its stack, for the end of ``async with``: the limiter or its method, by Python's version.
            held = [getattr(one, "__self__", one) for one in gc.get_referents(coroutine)]
            return next((one for one in held if isinstance(one, anyio.CapacityLimiter)), None)
        coroutine = _awaited_in(coroutine)
    return None


def _awaited_in(coroutine: Any) -> Any:
    for name in ("cr_await", "ag_await", "gi_yieldfrom"):
        if hasattr(coroutine, name):
            return getattr(coroutine, name)
    # The next item of an asynchronous generator does not show of which.
    return next((one for one in gc.get_referents(coroutine) if hasattr(one, "ag_await")), None)
