"""Asynchronous writes of a SQLite store: one thread does them, those that wait at a moment in one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from askonce.stores.fork import reset_after_fork
from askonce.stores.sqlite.connections import Connections
from askonce.stores.sqlite.file import UnusableFile

if TYPE_CHECKING:  # it takes longer than to open the file
    import asyncio

_MOST_AT_ONCE = 64


class QueuedWrite(NamedTuple):
    """A write that somebody waits for.

    Attributes:
        work: what is to be done within a transaction.
        done: gets its result.
    """

    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


class _Outcome(NamedTuple):
    done: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class WriteQueue:
    """The writes that wait. Thread-safe.

    Args:
        connections: to the file.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._waiting: deque[QueuedWrite] = deque()  # those of the parent are the parent's

    def add(self, write: QueuedWrite) -> bool:
        """Add a write; returns whether `work` is to be called by the thread that writes."""
        with self._lock:
            self._waiting.append(write)
            return len(self._waiting) == 1

    def work(self) -> None:
        """Do all writes that wait."""
        while writes := self._next():
            outcomes = self._together(writes)
            for loop in {one.done.get_loop() for one in outcomes}:
                of_loop = [one for one in outcomes if one.done.get_loop() is loop]
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(_deliver, of_loop)

    def _next(self) -> list[QueuedWrite]:
        """The next writes; one whose caller was cancelled is not done."""
        with self._lock:
            while self._waiting:
                some = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
                if wanted := [one for one in some if not one.done.done()]:
                    return wanted
        return []

    def _together(self, writes: list[QueuedWrite], *, again: bool = True) -> list[_Outcome]:
        """Do writes in one transaction; if one fails, each in its own, so that its failure is no other's.

        ``again``: in a new file, if this one is damaged and was replaced.
        """
        begun = False
        try:
            with self._connections.transaction(self._connections.deadline()) as connection:
                begun = True
                outcomes = [_Outcome(one.done, one.work(connection)) for one in writes]
            return outcomes
        except BaseException as error:
            if again and isinstance(error, UnusableFile) and error.is_replaced:
                return self._together(writes, again=False)
            if begun and len(writes) > 1:
                return [outcome for one in writes for outcome in self._together([one])]
            return [_Outcome(one.done, None, error) for one in writes]


def _deliver(outcomes: list[_Outcome]) -> None:
    for done, result, error in outcomes:
        if not done.done():
            done.set_result(result) if error is None else done.set_exception(error)
