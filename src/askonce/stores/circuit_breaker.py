"""The guard around a store: whatever the store does, the application goes on.

An operation that fails or takes too long is counted, and the caller goes on as if the store held nothing. After
several failures in a row the circuit breaker opens: for a while the store is not asked at all, then one request
tries it again. One line is logged when the breaker opens and one when it closes.
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
    """The store did not do what it was asked; already counted."""


class StoreHealth:
    """Counts failures in a row, and says whether the store may be asked.

    Args:
        name: the store, for the log.

    Attributes:
        failures: how many calls failed since the last one that did not; 0 when all is well.
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
        """``closed`` when all is well, ``open`` while the store is left alone."""
        return "open" if self._pause else "closed"

    def allows(self) -> bool:
        """Whether the store may be asked now. While open, one caller is let through after each pause."""
        if not self._pause:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._closed_until:
                return False
            self._closed_until = now + self._pause  # whoever comes next waits for this one's outcome
            return True

    def succeeded(self) -> None:
        """Note that the store answered."""
        with self._lock:
            was_open, self.failures, self._pause = bool(self._pause), 0, 0.0
        if was_open:
            logger.warning("askonce: the store %s is back", self._name)

    def failed(self, error: Exception, began: float) -> None:
        """Note that it did not answer a call that began then (on the monotonic clock)."""
        import random  # here: few stores fail

        with self._lock:
            self.errors += 1
            self.failures += 1
            opens = not self._pause
            if (opens and self.failures < _FAILURES_TO_OPEN) or began < self._opened_at:
                return  # or it was asked before it was left alone, and tells nothing new
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            self._opened_at = time.monotonic()
            self._closed_until = self._opened_at + self._pause * random.uniform(0.8, 1.2)
        if opens:
            logger.warning(
                "askonce: the store %s fails (%s); calls go to the model until it is back",
                self._name,
                error_text(error, self._name),
            )


def error_text(error: Exception, store: str) -> str:
    """What an error says, without the store's name before it; some say nothing."""
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
        self._told: set[str] = set()  # operations whose failure was told, until they succeed
        self._closed = False

    def call(self, operation: Callable[..., T], *args: Any) -> T:
        """Call a method of the store.

        Raises:
            Down: it failed, or is not asked for now.
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
        elif health.failures or self._told:
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
        if health.failures or self._told:
            self._succeeded(operation)
        return result

    def close(self) -> None:
        """Let nothing through any more."""
        self._closed = True

    def _succeeded(self, operation: Callable[..., Any]) -> None:
        self._told.discard(operation.__name__)
        if self.health.failures:
            self.health.succeeded()

    def _down(self, operation: Callable[..., Any], error: Exception, began: float) -> StoreDown:
        name = operation.__name__
        if name not in self._told:
            self._told.add(name)
            if not isinstance(error, (StoreError, TimeoutError)):
                logger.error("askonce: the store %s raised an error of its own", self.store.url, exc_info=error)
            elif name in ("put", "aput") and self.health.state == "closed":
                # A store that is full goes on answering, so that no breaker opens.
                logger.warning(
                    "askonce: the store %s does not keep answers (%s)",
                    self.store.url,
                    error_text(error, self.store.url),
                )
        self.health.failed(error, began)
        return StoreDown()
