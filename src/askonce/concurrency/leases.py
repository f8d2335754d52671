"""Leases: of several processes that miss the same answer, one makes it.

A lease in the store is short, so that nobody waits long for a process that was killed. While the flight that it is
for is under way, a thread renews it; when the flight has landed, or its leader is gone, the lease is given back.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable

from askonce.concurrency.drivers import SyncDriver
from askonce.concurrency.singleflight import Flight
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

LEASE_SECONDS = 5.0
_ROUNDS_PER_LEASE = 4


class Leases:
    """The leases that this process holds through one cache.

    Args:
        guard: the way to the store.
        is_gone: whether the leader of a flight will not land it any more; called by the thread.
        seconds: how long a lease lasts without being renewed; 0 to need none.
    """

    def __init__(self, breaker: CircuitBreaker, is_gone: Callable[[Flight], bool], seconds: float) -> None:
        self._breaker, self._is_gone, self._seconds = breaker, is_gone, seconds
        self._changed = threading.Condition()
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._owner = uuid.uuid4().hex
        self._held: dict[tuple[str, bytes], Flight] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    async def take(self, driver: SyncDriver, flight: Flight) -> bool:
        """Try to become the one process that makes an answer; also True if the store cannot be asked."""
        if not self._seconds:
            return True
        if self._pid != os.getpid():  # a fork: what was held is the parent's
            self._changed = threading.Condition()
            self._start_afresh()
        try:
            if not await driver.call("lease", *flight.name, self._owner, self._seconds):
                return False
        except StoreDown:
            return True
        with self._changed:
            self._held[flight.name] = flight
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._keep, name="askonce-leases", daemon=True)
                self._thread.start()
            self._changed.notify()
        return True

    async def give_back(self, driver: SyncDriver, flight: Flight) -> None:
        """Let other processes lead. If the store fails now, the thread tries again."""
        if self._held.get(flight.name) is flight:
            with contextlib.suppress(StoreDown):
                await driver.call("release", *flight.name, self._owner)
                self._forget(flight)

    def close(self) -> None:
        """Give all back, and end the thread."""
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closed = True
            held, self._held = list(self._held.values()), {}
            self._changed.notify()
        for flight in held:
            with contextlib.suppress(StoreDown):
                self._breaker.call(self._breaker.store.release, *flight.name, self._owner)

    def _forget(self, flight: Flight) -> None:
        with self._changed:
            if self._held.get(flight.name) is flight:
                del self._held[flight.name]

    def _keep(self) -> None:
        while True:
            with self._changed:
                while not self._held and not self._closed:
                    self._changed.wait()
                if not self._closed:
                    self._changed.wait_for(lambda: self._closed, timeout=self._seconds / _ROUNDS_PER_LEASE)
                if self._closed:
                    return
                held = list(self._held.values())
            for flight in held:
                self._renew(flight)

    def _renew(self, flight: Flight) -> None:
        store = self._breaker.store
        with contextlib.suppress(StoreDown):
            if flight.resolved or self._is_gone(flight):
                self._breaker.call(store.release, *flight.name, self._owner)
                self._forget(flight)
            elif not self._breaker.call(store.lease, *flight.name, self._owner, self._seconds):
                self._forget(flight)  # it ran out, and another process leads now
