"""Which caller makes an answer: single flight in this process, a lease among processes.

A caller joins the flight of a place. The first one leads it: it takes the lease, makes the answer and resolves the
flight with it. The others wait.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Literal

from askonce.concurrency.drivers import SyncDriver
from askonce.concurrency.flight import Flight
from askonce.concurrency.leases import LEASE_SECONDS, Leases, looked_up
from askonce.concurrency.singleflight import Outcome, SingleFlight
from askonce.concurrency.waits import WAITS, leading
from askonce.entries.entry import Entry, Place
from askonce.stores.base import Claimed
from askonce.stores.circuit_breaker import CircuitBreaker

Claim = Literal["found", "taken", "of another", "unknown"]
"""How a claim ends: the answer is there; this process makes it; another one does; the store is down."""

_DEFAULT_LOOKUP_SECONDS = 30.0
_FAILURES_TO_OUTLIVE = 2
_FIRST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS, _POOL_SECONDS = 0.02, 0.25, 0.5


class Claims:
    """The claims of one cache on the answers that are being made.

    Args:
        breaker: the store's, for leases.
        lease_seconds: for how long others wait for a request of which only the lookup was seen; 0 for no leases.
        max_wait: how long others wait for a call.

    Attributes:
        watched: flights whose leaders are watched, by owner; empty if there are none.
    """

    def __init__(self, breaker: CircuitBreaker, lease_seconds: float, max_wait: float) -> None:
        url = breaker.store.url if breaker.store.url != "memory://" else f"memory {id(breaker.store)}"
        self._flights = SingleFlight(lease_seconds or _DEFAULT_LOOKUP_SECONDS, max_wait, url)
        self._max_wait = max_wait
        self.watched = self._flights.watched
        self._leases = Leases(breaker, self._flights.is_gone, min(lease_seconds, LEASE_SECONDS))

    def join(self, place: Place) -> tuple[Flight, bool]:
        """Join the flight of a place; returns it, and whether the caller now leads it."""
        return self._flights.join(place)

    async def claim(self, driver: SyncDriver, flight: Flight, log: str, after: int) -> Claimed | None:
        """Try to become the one process that makes an answer, and look whether it is there; see `Leases.claim`."""
        if any((one.store, one.place) == (flight.store, flight.place) for one in leading.get() if not one.resolved):
            # The lease is held for this very call, by another cache of this store.
            return await looked_up(driver, flight, log, after)
        return await self._leases.claim(driver, flight, log, after)

    @property
    def not_awaited(self) -> int:
        """How many callers called the model themselves, since the wait was too long or would not have ended."""
        return self._flights.not_awaited

    async def wait(self, driver: SyncDriver, flight: Flight, began: float) -> Outcome:
        """Wait for the answer of a flight, or until the caller is to make it; see `SingleFlight.wait`."""
        return await driver.wait_for(self._flights, flight, began)

    async def wait_for_lease(
        self, driver: SyncDriver, flight: Flight, claim: Callable[[], Awaitable[Claim]]
    ) -> None:
        """Wait until this process may make the answer of a flight, or another process has made it.

        Who has seen that another process makes it goes on waiting when the store fails once or twice: a busy
        machine is the likely cause, and a second call of the model costs more.

        Args:
            driver: of the caller.
            flight: which this process leads.
            claim: tries to become the one; the last outcome counts, also where waiting would not end, or took
                ``max_wait``.
        """
        began, pause = time.monotonic(), _FIRST_LOOK_SECONDS
        waits, failures = False, 0
        while (outcome := await claim()) in ("of another", "unknown"):
            failures = failures + 1 if outcome == "unknown" else 0
            if failures > (_FAILURES_TO_OUTLIVE if waits else 0) or self.is_gone(flight):
                return
            waits = True
            with WAITS.waiting(flight, blocks=driver.blocks):
                await driver.pause(pause)
                waited = time.monotonic() - began
                if waited >= self._max_wait or (waited >= _POOL_SECONDS and WAITS.leave_full_pool(flight)):
                    self._flights.not_awaited += 1
                    break
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
            driver.renew(lost=False)
        else:
            return
        await claim()  # it may have come since the last look

    async def resolve(self, driver: SyncDriver, flight: Flight, entry: Entry | None) -> None:
        """End a flight: give its answer, or ``None``, to those who wait, and release the lease."""
        self._flights.resolve(flight, entry)
        await self._leases.release(driver, flight)

    def lease_owner(self, flight: Flight | None) -> str | None:
        """Who holds the lease of a flight, as the store has it; ``None``: not this process."""
        return self._leases.owner(flight)

    def released(self, flight: Flight) -> None:
        """The lease of a flight was released together with something else."""
        self._leases.forget(flight)

    def resolve_here(self, flight: Flight, entry: Entry | None) -> None:
        """End a flight for which no lease was taken."""
        self._flights.resolve(flight, entry)

    def is_gone(self, flight: Flight) -> bool:
        """Whether the leader of a flight has disappeared; then the flight is resolved."""
        return self._flights.is_gone(flight)

    def drop(self, flight: Flight) -> None:
        """The reader of a stream has closed it. Takes no lock: the garbage collector closes streams too."""
        self._flights.drop(flight)

    # -- leaders of which only the lookup is seen, and then the update --------------------------------------

    def watch(self, flight: Flight, group: str | None, call: FrameType | None) -> None:
        """Watch a flight whose leader does not report failures."""
        self._flights.watch(flight, group, call)

    def owned(self, place: Place) -> Flight | None:
        """The flight of a place that the running thread or task leads."""
        return self._flights.owned(place)

    async def release_others(self, driver: SyncDriver, group: str | None) -> bool:
        """Release what the running thread or task led and has evidently abandoned, since it looks up again.

        Returns:
            whether it may wait for others: not while it leads flights that they may be waiting for.
        """
        for flight in self._flights.abandoned(group):
            await self._leases.release(driver, flight)
        return not self._flights.leading()

    def close(self) -> None:
        """Release all leases."""
        self._leases.close()
