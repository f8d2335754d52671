"""The circuit breaker around a store: a failing store never fails the application.

An operation that fails or takes too long is counted, and the caller continues as if the store were empty. Lookups,
and each other operation, are counted apart, and on a cluster by node: a full disk costs no hit. After several
failures in a row the breaker opens: for a while the store is not called for that at all, then one request tries it
again. One line is logged when trouble begins and one when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from askonce.errors import AskOnceError
from askonce.stores.base import Record, Store, time_limit
from askonce.stores.blocking import in_thread, is_forbidden
from askonce.stores.fork import reset_after_fork
from askonce.stores.health import Lane, StoreHealth

T = TypeVar("T")

_LOOKUPS = frozenset({"get", "get_many"})
"""Share a lane; every other operation has its own, so that what fails costs no hit."""
_KEYED = frozenset("get get_many put touch delete lease release claim fulfil".split())
_READS = frozenset("aget aget_many aget_many_with_log alog_read".split())
_READ_BYTES = 16_000
"""What a record that is read is taken to have; its length is not known before."""
_MOST_BUSY = 10
"""A call may take so many times its limit while the event loop is busy with other things."""
_TURN_SECONDS = 0.02


class StoreDown(Exception):
    """A call to the store failed, or was not made; already counted."""


class CircuitBreaker:
    """Lets calls through to a store as its health allows.

    Args:
        store: the store.
        timeout_seconds: how long an asynchronous call may take, and longer by its bytes; synchronous ones are
            bounded by the store.
    """

    def __init__(self, store: Store, timeout_seconds: float) -> None:
        self.store = store
        self.timeout_seconds = timeout_seconds
        self._closed = False
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self.health = StoreHealth(self.store.url)  # the parent's failures are the parent's

    def call(self, operation: Callable[..., T], *args: Any) -> T:
        """Call a method of the store.

        Raises:
            StoreDown: it failed, or the breaker is open.
        """
        health = self.health
        if health.is_troubled or self._closed:
            self._admit(operation, args)
        began = time.monotonic()
        try:
            try:
                result = operation(*args)
            except Exception as error:
                if not is_forbidden(error):
                    raise
                result = in_thread(operation, *args)
        except Exception as error:
            raise self._failed(operation, args, error, began) from error
        if health.is_troubled:
            health.succeeded(self._lane(operation, args), _name(operation), began)
        return result

    async def acall(self, operation: Callable[..., Awaitable[T]], *args: Any, seconds: float | None = None) -> T:
        """Asynchronous `call`.

        Args:
            operation: a method of the store.
            args: its arguments.
            seconds: how long it may take beside what its bytes take, if that is less than the store may.

        Raises:
            StoreDown: it failed or took too long, or the breaker is open.
        """
        import asyncio

        health = self.health
        if health.is_troubled or self._closed:
            self._admit(operation, args)
        began = time.monotonic()
        allowed = self.timeout_seconds if seconds is None else min(seconds, self.timeout_seconds)
        try:
            if self.store.reads_at_once and _name(operation) in _READS:
                result = await operation(*args)
            else:
                limit = time_limit(allowed, *_amount(operation, args))
                async with asyncio.timeout(None) as cut:
                    timer = _Timer(cut, limit)
                    try:
                        result = await operation(*args)
                    finally:
                        timer.cancel()
        except Exception as error:
            if isinstance(error, TimeoutError) and allowed < self.timeout_seconds / 2:
                raise StoreDown from error  # the request had no time left, which says nothing of the store
            raise self._failed(operation, args, error, began) from error
        if health.is_troubled:
            health.succeeded(self._lane(operation, args), _name(operation), began)
        return result

    @property
    def is_closed(self) -> bool:
        """Whether nothing is let through any more."""
        return self._closed

    def close(self) -> None:
        """Let nothing through any more."""
        self._closed = True

    def _admit(self, operation: Callable[..., Any], args: Sequence[Any]) -> None:
        if self._closed or not self.health.allows(self._lane(operation, args)):
            raise StoreDown

    def _lane(self, operation: Callable[..., Any], args: Sequence[Any]) -> Lane:
        name = _name(operation).removeprefix("a")
        part = ""
        if name in _KEYED and (key := _first_key(args[1])) is not None:
            part = self.store.part(args[0], key)
        return Lane("read" if name in _LOOKUPS else name, part)

    def _failed(
        self, operation: Callable[..., Any], args: Sequence[Any], error: Exception, began: float
    ) -> StoreDown:
        if not isinstance(error, (AskOnceError, TimeoutError)):
            self.health.unexpected(_name(operation), error)
        self.health.failed(self._lane(operation, args), error, began)
        return StoreDown()


def _name(operation: Callable[..., Any]) -> str:
    return getattr(operation, "__name__", "")  # a custom store's method may be any callable


def _first_key(of: Any) -> bytes | None:
    """The key that an argument is or has, or the first of several."""
    if isinstance(of, (bytes, Record)):
        return of if isinstance(of, bytes) else of.key
    if isinstance(of, Mapping):
        return next(iter(of), None)
    first = of[0] if isinstance(of, Sequence) and of else None
    return first.key if isinstance(first, Record) else first if isinstance(first, bytes) else None


def _amount(operation: Callable[..., Any], args: Sequence[Any]) -> tuple[int, int]:
    """How many entries a call moves, and about how many bytes; 0 for what moves few."""
    name = _name(operation)
    if name == "aput":
        return len(args[1]), sum(len(record.value) for record in args[1])
    if name == "afulfil":
        return 1, len(args[1].value)
    many = name in ("aget_many", "aget_many_with_log")
    return (len(args[1]), _READ_BYTES * len(args[1])) if many else (1, 0)


class _Timer:
    """Cuts a call off that takes too long; time in which the event loop itself was busy does not count."""

    def __init__(self, cut: Any, seconds: float) -> None:
        import asyncio

        self._cut, self._seconds = cut, seconds
        self._loop = asyncio.get_running_loop()
        self._began, self._worked = self._loop.time(), time.thread_time()
        self._due = self._began + seconds
        self._handle = self._loop.call_at(self._due, self._look)

    def cancel(self) -> None:
        """The call is over."""
        self._handle.cancel()

    def _look(self) -> None:
        now, left = self._loop.time(), 0.0
        if now - self._began < _MOST_BUSY * self._seconds:
            left = self._seconds - (now - self._began - (time.thread_time() - self._worked))
            if now - self._due > _TURN_SECONDS:  # late: the answer may be there, and not looked at yet
                left = max(left, _TURN_SECONDS)
        if left <= 0:
            self._cut.reschedule(now)
        else:
            self._due = now + left
            self._handle = self._loop.call_at(self._due, self._look)
