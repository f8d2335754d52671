"""Which caller makes an answer: single flight in this process, a lease among processes.

A caller joins the flight of a place. The first one leads it: it takes the lease, makes the answer and resolves the
flight with it. The others wait.
"""

from __future__ import annotations

from types import FrameType

from askonce.concurrency.drivers import SyncDriver
from askonce.concurrency.leases import LEASE_SECONDS, Leases
from askonce.concurrency.singleflight import Flight, SingleFlight
from askonce.entries.entry import Entry, Place
from askonce.stores.circuit_breaker import CircuitBreaker

_DEFAULT_LOOKUP_SECONDS = 30.0


class Claims:
    """The claims of one cache on the answers that are being made.

    Args:
        breaker: the store's, for leases.
        lease_seconds: for how long others wait for a request of which only the lookup was seen; 0 for no leases.

    Attributes:
        watched: flights whose leaders are watched, by owner; empty if there are none.
    """

    def __init__(self, breaker: CircuitBreaker, lease_seconds: float) -> None:
        self._flights = SingleFlight(lease_seconds or _DEFAULT_LOOKUP_SECONDS)
        self.watched = self._flights.watched
        self._leases = Leases(breaker, self._flights.is_gone, min(lease_seconds, LEASE_SECONDS))

    def join(self, place: Place) -> tuple[Flight, bool]:
        """Join the flight of a place; returns it, and whether the caller now leads it."""
        return self._flights.join(place)

    async def take_lease(self, driver: SyncDriver, flight: Flight) -> bool:
        """Whether this process may make the answer; also if the store is down."""
        return await self._leases.take(driver, flight)

    async def wait(self, driver: SyncDriver, flight: Flight) -> Entry | None:
        """Wait for the answer of a flight; ``None`` if its leader failed or disappeared."""
        return await driver.wait_for(self._flights, flight)

    async def resolve(self, driver: SyncDriver, flight: Flight, entry: Entry | None) -> None:
        """End a flight: give its answer, or ``None``, to those who wait, and release the lease."""
        self._flights.resolve(flight, entry)
        await self._leases.release(driver, flight)

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
