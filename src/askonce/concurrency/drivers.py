"""The two faces of the cache, synchronous and asynchronous, over one way of a request."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from askonce.concurrency.singleflight import Flight, SingleFlight
from askonce.entries.entry import Entry
from askonce.stores.circuit_breaker import CircuitBreaker

T = TypeVar("T")


class Embeds(Protocol):
    """Makes vectors of texts: `askonce.semantic.embedding.Embedder`."""

    def embed(self, text: str) -> Any: ...

    async def aembed(self, text: str) -> Any: ...


class SyncDriver:
    """How a synchronous caller meets the store and the flights: every step is done before it returns.

    The way of a request (``askonce.engine.flow``) is written once, with ``await``. Driven by `run` over this class
    it never suspends, so that it runs without an event loop; over `AsyncDriver` it runs on one.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker

    async def call(self, operation: str, *args: Any) -> Any:
        """Call the store's method of that name."""
        return self._breaker.call(getattr(self._breaker.store, operation), *args)

    async def wait_for(self, flights: SingleFlight, flight: Flight) -> Entry | None:
        """Wait for a flight."""
        return flights.wait(flight)

    async def embed(self, embedder: Embeds, text: str) -> Any:
        """The vector of a text."""
        return embedder.embed(text)

    async def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251  (this face runs without an event loop)


class AsyncDriver(SyncDriver):
    """How an asynchronous caller meets them: see `SyncDriver`."""

    async def call(self, operation: str, *args: Any) -> Any:
        return await self._breaker.acall(getattr(self._breaker.store, "a" + operation), *args)

    async def wait_for(self, flights: SingleFlight, flight: Flight) -> Entry | None:
        return await flights.await_result(flight)

    async def embed(self, embedder: Embeds, text: str) -> Any:
        return await embedder.aembed(text)

    async def pause(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)


def run(way: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that goes over `SyncDriver` and so never suspends."""
    try:
        way.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    way.close()
    raise RuntimeError("a synchronous way suspended")
