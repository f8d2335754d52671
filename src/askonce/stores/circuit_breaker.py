"""The circuit breaker around a store: a failing store never fails the application.

An operation that fails or takes too long is counted, and the caller continues as if the store were empty. After
several failures in a row the breaker opens: for a while the store is not called at all, then one request tries it
again. One line is logged when the breaker opens and one when it closes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from askonce.errors import StoreError
from askonce.stores.base import Store

logger = logging.getLogger("askonce")
T = TypeVar("T")

_FAILURES_TO_OPEN = 3
_TIMEOUTS_TO_FAIL = 2  # a synchronous call cannot be cut off: one that takes so much longer counts as failed
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0


class StoreDown(Exception):
    """A call to the store failed, or was not made; already counted."""


class StoreHealth:
    """Counts failures in a row, and decides whether the store may be called.

    Args:
        name: the store, for the log.

    Attributes:
        failures: how many calls failed since the last one that succeeded.
        errors: how many calls failed in all.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self.failures = 0
        self._pause = 0.0
        self._closed_until = 0.0
        self._opened_at = 0.0
        self.errors = 0

    @property
    def state(self) -> Literal["closed", "open"]:
        """``closed`` while the store is called, ``open`` while it is not."""
        return "open" if self._pause else "closed"

    def allows(self) -> bool:
        """Whether the store may be called now. While open, one caller is let through after each pause."""
        if not self._pause:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._closed_until:
                return False
            self._closed_until = now + self._pause  # the next caller waits for this one's outcome
            return True

    def succeeded(self) -> None:
        """Record that the store answered."""
        with self._lock:
            was_open, self.failures, self._pause = bool(self._pause), 0, 0.0
        if was_open:
            logger.warning("askonce: store %s has recovered", self._name)

    def failed(self, error: Exception, began: float) -> None:
        """Record that it did not answer a call that began then (on the monotonic clock)."""
        import random  # here: few stores fail

        with self._lock:
            self.errors += 1
            self.failures += 1
            opens = not self._pause
            if (opens and self.failures < _FAILURES_TO_OPEN) or began < self._opened_at:
                return  # or the call began before the breaker opened, and adds nothing
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            self._opened_at = time.monotonic()
            self._closed_until = self._opened_at + self._pause * random.uniform(0.8, 1.2)
        if opens:
            logger.warning(
                "askonce: store %s is failing (%s); bypassing the cache until it recovers",
                self._name,
                error_text(error, self._name),
            )


def error_text(error: Exception, store: str) -> str:
    """The text of an error, without the store's name before it; its kind if it has none."""
    return str(error).removeprefix(f"{store}: ") or (
        "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    )


class CircuitBreaker:
    """Lets calls through to a store as the breaker allows.

    Args:
        store: the store.
        timeout_seconds: how long an asynchronous call may take; synchronous ones are bounded by the store.
    """

    def __init__(self, store: Store, timeout_seconds: float) -> None:
        self.store = store
        self.timeout_seconds = timeout_seconds
        self.health = StoreHealth(store.url)
        self._logged: set[str] = set()  # operations whose failure was logged, until they succeed
        self._closed = False

    def call(self, operation: Callable[..., T], *args: Any) -> T:
        """Call a method of the store.

        Raises:
            StoreDown: it failed, or the breaker is open.
        """
        health = self.health
        if (health.failures and not health.allows()) or self._closed:
            raise StoreDown
        began = time.monotonic()
        try:
            result = operation(*args)
        except Exception as error:
            raise self._down(operation, error, began) from error
        if time.monotonic() - began > _TIMEOUTS_TO_FAIL * self.timeout_seconds:
            health.failed(TimeoutError(f"an answer took {time.monotonic() - began:.1f} s"), began)
        elif health.failures or self._logged:
            self._succeeded(operation)
        return result

    async def acall(self, operation: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Asynchronous `call`."""
        import asyncio

        health = self.health
        if (health.failures and not health.allows()) or self._closed:
            raise StoreDown
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                result = await operation(*args)
        except Exception as error:
            raise self._down(operation, error, began) from error
        if health.failures or self._logged:
            self._succeeded(operation)
        return result

    def close(self) -> None:
        """Let nothing through any more."""
        self._closed = True

    def _succeeded(self, operation: Callable[..., Any]) -> None:
        self._logged.discard(operation.__name__)
        if self.health.failures:
            self.health.succeeded()

    def _down(self, operation: Callable[..., Any], error: Exception, began: float) -> StoreDown:
        name = operation.__name__
        if name not in self._logged:
            self._logged.add(name)
            if not isinstance(error, (StoreError, TimeoutError)):
                logger.error("askonce: store %s raised an unexpected error", self.store.url, exc_info=error)
            elif name in ("put", "aput") and self.health.state == "closed":
                # A full store still answers, so the breaker does not open.
                logger.warning(
                    "askonce: store %s does not store answers (%s)",
                    self.store.url,
                    error_text(error, self.store.url),
                )
        self.health.failed(error, began)
        return StoreDown()
