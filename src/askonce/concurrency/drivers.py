"""Drivers of a flow: synchronous, without an event loop, or asynchronous on one.

The flow of a request (``askonce.engine.flow``) is written once, with ``await``. Driven by `run` over `SyncDriver`
it never suspends; over `AsyncDriver` it runs on an event loop.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from askonce.concurrency.singleflight import Flight, Outcome, SingleFlight
from askonce.stores.circuit_breaker import CircuitBreaker

if TYPE_CHECKING:  # in the functions that need it: with it, an import takes twice as long
    import asyncio

T = TypeVar("T")


class Embeds(Protocol):
    """Makes vectors of texts: `askonce.semantic.embedding.Embedder`."""

    def embed(self, text: str) -> Any: ...

    async def aembed(self, text: str) -> Any: ...


class SyncDriver:
    """Every step is done before it returns.

    Attributes:
        blocks: while a step waits, its whole thread does.
    """

    blocks = True

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker

    async def call(self, operation: str, *args: Any) -> Any:
        """Call the store's method of that name.

        Raises:
            StoreDown: the store failed, or the breaker is open.
        """
        return self._breaker.call(getattr(self._breaker.store, operation), *args)

    async def wait_for(self, flights: SingleFlight, flight: Flight, began: float) -> Outcome:
        """Wait for the result of a flight."""
        return flights.wait(flight, began)

    async def embed(self, embedder: Embeds, text: str) -> Any:
        """The vector of a text."""
        return embedder.embed(text)

    async def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251  (this driver runs without an event loop)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work in the background, in a copy of the running context."""
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run, work), name="askonce-refresh", daemon=True).start()


class AsyncDriver(SyncDriver):
    """Every step is awaited on the running event loop."""

    blocks = False

    def __init__(self, breaker: CircuitBreaker) -> None:
        super().__init__(breaker)
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(self, operation: str, *args: Any) -> Any:
        return await self._breaker.acall(getattr(self._breaker.store, "a" + operation), *args)

    async def wait_for(self, flights: SingleFlight, flight: Flight, began: float) -> Outcome:
        return await flights.await_result(flight, began)

    async def embed(self, embedder: Embeds, text: str) -> Any:
        return await embedder.aembed(text)

    async def pause(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        import asyncio

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel what runs in the background."""
        for task in list(self._tasks):
            task.cancel()


def run(flow: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over `SyncDriver`, which never suspends."""
    try:
        flow.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    flow.close()
    raise RuntimeError("a synchronous flow suspended")
