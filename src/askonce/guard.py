"""The guard around a store: whatever the store does, the application goes on.

An operation that fails or takes too long is counted, and the caller goes on as if the store held nothing. After
several failures in a row the circuit breaker opens: for a while the store is not asked at all, then one request
tries it again. One line is logged when the breaker opens and one when it closes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from askonce.errors import StoreError
from askonce.stores.base import Store

logger = logging.getLogger("askonce")
T = TypeVar("T")

_FAILURES_TO_OPEN = 3
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0


class Down(Exception):
    """The store did not do what it was asked; already counted."""


class Breaker:
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

    def failed(self, error: Exception) -> None:
        """Note that it did not."""
        with self._lock:
            self.errors += 1
            self.failures += 1
            if self.failures < _FAILURES_TO_OPEN:
                return
            opens = not self._pause
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            self._closed_until = time.monotonic() + self._pause * random.uniform(0.8, 1.2)
        if opens:
            logger.warning(
                "askonce: the store %s fails (%s); calls go to the model until it is back", self._name, error
            )


class Guard:
    """Lets calls through to a store as the breaker allows.

    Args:
        store: the store.
        timeout_seconds: how long an asynchronous call may take; synchronous ones are bounded by the store.
    """

    def __init__(self, store: Store, timeout_seconds: float) -> None:
        self.store = store
        self.timeout_seconds = timeout_seconds
        self.breaker = Breaker(store.url)

    def call(self, operation: Callable[..., T], *args: Any) -> T:
        """Call a method of the store.

        Raises:
            Down: it failed, or is not asked for now.
        """
        breaker = self.breaker
        if breaker.failures and not breaker.allows():
            raise Down
        try:
            result = operation(*args)
        except Exception as error:
            raise self._down(error) from error
        if breaker.failures:
            breaker.succeeded()
        return result

    async def acall(self, operation: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Asynchronous `call`."""
        breaker = self.breaker
        if breaker.failures and not breaker.allows():
            raise Down
        try:
            async with asyncio.timeout(self.timeout_seconds):
                result = await operation(*args)
        except Exception as error:
            raise self._down(error) from error
        if breaker.failures:
            breaker.succeeded()
        return result

    def _down(self, error: Exception) -> Down:
        if not isinstance(error, (StoreError, TimeoutError)):
            logger.exception("askonce: the store %s raised an error of its own", self.store.url)
        self.breaker.failed(error)
        return Down()
