"""Leases: of several processes that miss the same answer, one makes it.

A lease in the store is short, so that no process waits long for one that was killed. A thread renews it while its
flight is in progress; when the flight is resolved, or its leader has disappeared, the lease is released.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable

from askonce.concurrency.background import BackgroundWorker
from askonce.concurrency.drivers import SyncDriver
from askonce.concurrency.flight import Flight
from askonce.entries.entry import Place
from askonce.stores.base import LEASE_SLACK, Claimed
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown
from askonce.stores.fork import reset_after_fork

LEASE_SECONDS = 5.0
"""The longest that anybody waits for a process that was killed, by his own clock."""
_ROUNDS_PER_LEASE = 4


class Leases:
    """The leases that this process holds through one cache.

    Args:
        breaker: the store's.
        is_gone: whether the leader of a flight has disappeared; called by the thread.
        seconds: how long a lease lasts without being renewed; 0 to need none.
    """

    def __init__(self, breaker: CircuitBreaker, is_gone: Callable[[Flight], bool], seconds: float) -> None:
        self._breaker, self._is_gone, self._seconds = breaker, is_gone, seconds
        self._renewing = BackgroundWorker(
            "askonce-leases", self._renew_all, delay_seconds=seconds / _ROUNDS_PER_LEASE
        )
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._owner = uuid.uuid4().hex  # those held before belong to the parent
        self._held: dict[Place, Flight] = {}

    async def claim(self, driver: SyncDriver, flight: Flight, log: str, after: int) -> Claimed | None:
        """Try to become the one process that makes an answer, and look whether it is there.

        Args:
            driver: of the caller.
            flight: which this process leads.
            log: the namespace of a change log, of which a page may be read too.
            after: its position.

        Returns:
            ``None``: the store is down.
        """
        if not self._seconds:
            return await looked_up(driver, flight, log, after)
        seconds = self._seconds / LEASE_SLACK
        try:
            claimed: Claimed = await driver.call("claim", *flight.place, self._owner, seconds, log, after)
        except StoreDown:
            return None
        except BaseException:  # the caller was cancelled, and the store may have given it: the thread releases it
            self._hold(flight)
            raise
        if claimed.is_held:
            self._hold(flight)
        return claimed

    def owner(self, flight: Flight | None) -> str | None:
        """The owner of the lease of a flight in the store; ``None``: this process does not hold it."""
        return self._owner if flight is not None and self._held.get(flight.place) is flight else None

    async def release(self, driver: SyncDriver, flight: Flight) -> None:
        """Release the lease of a flight. If the store fails now, the thread tries again."""
        if self._held.get(flight.place) is flight:
            with contextlib.suppress(StoreDown):
                await driver.call("release", *flight.place, self._owner)
                self.forget(flight)

    def close(self) -> None:
        """Release all, and end the thread."""
        self._renewing.close(0.0)
        with self._lock:
            held, self._held = list(self._held.values()), {}
        for flight in held:
            with contextlib.suppress(StoreDown):
                self._breaker.call(self._breaker.store.release, *flight.place, self._owner)

    def _hold(self, flight: Flight) -> None:
        with self._lock:
            self._held[flight.place] = flight
        if not self._renewing.pending:
            self._renewing.wake()

    def forget(self, flight: Flight) -> None:
        """Renew and release the lease of a flight no more: it was released."""
        with self._lock:
            if self._held.get(flight.place) is flight:
                del self._held[flight.place]

    def _renew_all(self) -> None:
        with self._lock:
            held = list(self._held.values())
        for flight in held:
            self._renew(flight)
        if self._held:
            self._renewing.wake()

    def _renew(self, flight: Flight) -> None:
        store = self._breaker.store
        with contextlib.suppress(StoreDown):
            if flight.resolved or self._is_gone(flight):
                self._breaker.call(store.release, *flight.place, self._owner)
                self.forget(flight)
            elif not flight.stores and not self._breaker.call(
                store.lease, *flight.place, self._owner, self._seconds / LEASE_SLACK
            ):
                self.forget(flight)  # it expired, and another process leads now


async def looked_up(driver: SyncDriver, flight: Flight, log: str, after: int) -> Claimed | None:
    """`Leases.claim` where none is needed."""
    namespace, key = flight.place
    try:
        [value], page = await driver.call("get_many_with_log", namespace, [key], log, after)
    except StoreDown:
        return None
    return Claimed(True, value, page)
