"""Drivers of a flow: synchronous, without an event loop, or asynchronous on one.

The flow of a request (``askonce.engine.flow``) is written once, with ``await``. Driven by `run` over `SyncDriver`
it never suspends; over `AsyncDriver` it runs on an event loop.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from askonce.concurrency.beside import beside
from askonce.concurrency.flight import Flight
from askonce.concurrency.singleflight import Outcome, SingleFlight
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

if TYPE_CHECKING:  # in the functions that need it: with it, an import takes twice as long
    import asyncio

T = TypeVar("T")


def waiting_time() -> float:
    """Seconds that this thread has waited, since some moment; its own work, as that of other tasks, is left out."""
    return time.monotonic() - time.thread_time()


class Embeds(Protocol):
    """Makes vectors of texts: `askonce.semantic.embedding.Embedder`."""

    def embed(self, text: str) -> Any: ...

    async def aembed(self, text: str) -> Any: ...


class StoreBudget:
    """How long one request may wait for the store.

    Args:
        seconds: how long, once before the model is called and once after it.
        spent: what was spent before.
        lost: what of that in a call that failed. If that is half of the time, nothing more is called.
    """

    def __init__(self, seconds: float, spent: float, lost: float) -> None:
        self._seconds, self._spent, self._lost = seconds, spent, lost

    def renew(self, *, lost: bool) -> None:
        """Nothing is spent now; what was ``lost`` stays lost."""
        self._spent = 0.0
        if not lost:
            self._lost = 0.0

    @contextlib.contextmanager
    def spending(self) -> Iterator[float]:
        """While a call is made; gives how long it may take.

        Raises:
            StoreDown: no time is left.
        """
        left = self._seconds - self._spent
        if left <= 0 or self._lost >= self._seconds / 2:
            raise StoreDown
        began = waiting_time()
        try:
            yield left
        except StoreDown:
            self._lost += waiting_time() - began
            raise
        finally:
            self._spent += waiting_time() - began


class SyncDriver:
    """Every step is done before it returns.

    Attributes:
        blocks: while a step waits, its whole thread does.
    """

    blocks = True

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._budget: StoreBudget | None = None

    def for_request(self, spent: float = 0.0, *, failed: bool = False) -> Self:
        """A driver whose calls of the store have one time budget together.

        Args:
            spent: by the lookup. A slow one that found its answer still leaves half of the time for a lease: a
                second call of the model takes longer.
            failed: the lookup failed.
        """
        one, seconds = copy.copy(self), self._breaker.timeout_seconds
        one._budget = StoreBudget(seconds, spent if failed else min(spent, seconds / 2), spent if failed else 0.0)
        return one

    def renew(self, *, lost: bool = True) -> None:
        """Count the time of the calls anew, after something else took time; what was ``lost`` stays lost."""
        if self._budget is not None:
            self._budget.renew(lost=lost)

    async def call(self, operation: str, *args: Any) -> Any:
        """Call the store's method of that name.

        Raises:
            StoreDown: the store failed, the breaker is open, or the request's time for the store is spent.
        """
        function = getattr(self._breaker.store, operation)
        if self._budget is None:
            return self._breaker.call(function, *args)
        with self._budget.spending():
            return self._breaker.call(function, *args)

    async def beside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work that takes long, so that it holds up nobody else."""
        return work(*arguments)

    def part(self, namespace: str, key: bytes) -> str:
        """The part of the store that holds a key."""
        return self._breaker.store.part(namespace, key)

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
        function = getattr(self._breaker.store, "a" + operation)
        if self._budget is None:
            return await self._breaker.acall(function, *args)
        with self._budget.spending() as seconds:
            return await self._breaker.acall(function, *args, seconds=seconds)

    async def beside(self, work: Callable[..., T], *arguments: Any) -> T:
        return await beside(work, *arguments)

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
