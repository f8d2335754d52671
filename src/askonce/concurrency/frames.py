"""Threads, greenlets and tasks, and their calls."""

from __future__ import annotations

import gc
import inspect
import sys
import threading
from collections.abc import Collection
from types import CodeType, FrameType
from typing import Any

_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_TOP = 4


def is_task(one: object) -> bool:
    """Whether it is a task, and no thread: what gevent and eventlet have for threads may be of any class."""
    return hasattr(one, "get_coro")


def running_greenlet() -> Any:
    """The running greenlet, if this process may have any."""
    greenlets = sys.modules.get("greenlet")
    return None if greenlets is None else greenlets.getcurrent()


def current_frame(ident: int) -> FrameType | None:
    """The latest call of a thread; ``None`` if it has ended, or is no thread of the system but a greenlet.

    No garbage is collected meanwhile: the interpreter holds a lock of its own, and a finalizer that gives way to
    another thread, which then starts or ends one, would stop the whole process (CPython's issue 106883).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(ident)
    finally:
        if collects:
            gc.enable()


def calls_of(ident: int, blocking: Collection[CodeType] = ()) -> list[FrameType]:
    """The calls of a thread, the latest first.

    Of another thread only the first are looked at, and all of them only if one of these is ``blocking``: the calls
    of a thread that runs change meanwhile. At a generator or a coroutine it ends: once that is suspended, the call
    before it is no longer there, and to read it would end the process.
    """
    frame, others = current_frame(ident), ident != threading.get_ident()
    found: list[FrameType] = []
    while frame is not None:
        found.append(frame)
        if others and (
            frame.f_code.co_flags & _SUSPENDED
            or (len(found) == _TOP and not any(one.f_code in blocking for one in found))
        ):
            break
        frame = frame.f_back
    return found
