"""The two faces of the cache, synchronous and asynchronous, over one way of a request."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from askonce.entry import Entry
from askonce.flight import Flight, Flights
from askonce.guard import Guard

T = TypeVar("T")


class Embeds(Protocol):
    """Makes vectors of texts: `askonce.semantic.embedding.Embedder`."""

    def embed(self, text: str) -> Any: ...

    async def aembed(self, text: str) -> Any: ...


class Inline:
    """How a synchronous caller meets the store and the flights: every step is done before it returns.

    The way of a request (``askonce.way``) is written once, with ``await``. Driven by `run` over this class it
    never suspends, so that it runs without an event loop; over `Awaiting` it runs on one.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def call(self, operation: str, *args: Any) -> Any:
        """Call the store's method of that name."""
        return self._guard.call(getattr(self._guard.store, operation), *args)

    async def landing(self, flights: Flights, flight: Flight) -> Entry | None:
        """Wait for a flight."""
        return flights.wait(flight)

    async def embed(self, embedder: Embeds, text: str) -> Any:
        """The vector of a text."""
        return embedder.embed(text)

    async def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251  (this face runs without an event loop)


class Awaiting(Inline):
    """How an asynchronous caller meets them: see `Inline`."""

    async def call(self, operation: str, *args: Any) -> Any:
        return await self._guard.acall(getattr(self._guard.store, "a" + operation), *args)

    async def landing(self, flights: Flights, flight: Flight) -> Entry | None:
        return await flights.await_landing(flight)

    async def embed(self, embedder: Embeds, text: str) -> Any:
        return await embedder.aembed(text)

    async def pause(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)


def run(way: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that goes over `Inline` and so never suspends."""
    try:
        way.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    way.close()
    raise RuntimeError("a synchronous way suspended")
