"""How adapters ask: for one answer, for a stream, before and after a call that they do not make, or for many."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from askonce.concurrency.drivers import AsyncDriver, SyncDriver, run
from askonce.engine.flow import RequestFlow
from askonce.engine.request import Leader, Request
from askonce.entries.entry import Answer, Hit, Miss

if TYPE_CHECKING:  # in the functions that need it: with it, an import takes twice as long
    import asyncio

logger = logging.getLogger("askonce")
T = TypeVar("T")


class CacheEngine:
    """The part of `Cache` that adapters call with a request that they named.

    Args:
        way: what the requests meet.
        inline: the face for synchronous callers.
        awaiting: the face for asynchronous ones.
    """

    def __init__(self, way: RequestFlow, inline: SyncDriver, awaiting: AsyncDriver) -> None:
        self._way, self._sync_driver, self._awaiting = way, inline, awaiting
        self._refreshes: set[asyncio.Task[None]] = set()

    # -- for adapters that make the call themselves ------------------------------------------------------------

    def answer(self, request: Request, compute: Callable[[], T], pack: Callable[[T], Answer | None]) -> T | Hit:
        """Find the answer to a request, or make and keep it.

        Args:
            request: what is asked.
            compute: asks the model.
            pack: turns what the model gave into what is kept; ``None`` if it cannot be kept.

        Returns:
            a hit, or just what ``compute`` returned.

        Raises:
            Exception: what ``compute`` raised.
        """
        found = run(self._way.lookup(self._sync_driver, request))
        if isinstance(found, Hit):
            return found
        if isinstance(found, Leader):
            return run(self._make(self._sync_driver, request, found, _sync_driver(compute), pack))  # type: ignore[arg-type]
        refresh = self._refresh(self._sync_driver, request, found, _sync_driver(compute), pack)
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run, refresh), name="askonce-refresh", daemon=True).start()
        return self._way.serve_stale(request, found)

    async def aanswer(
        self, request: Request, compute: Callable[[], Awaitable[T]], pack: Callable[[T], Answer | None]
    ) -> T | Hit:
        """Asynchronous `answer`."""
        found = await self._way.lookup(self._awaiting, request)
        if isinstance(found, Hit):
            return found
        if isinstance(found, Leader):
            return await self._make(self._awaiting, request, found, compute, pack)
        import asyncio

        task = asyncio.create_task(self._refresh(self._awaiting, request, found, compute, pack))
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)
        return self._way.serve_stale(request, found)

    async def _make(
        self,
        driver: SyncDriver,
        request: Request,
        lead: Leader,
        compute: Callable[[], Awaitable[T]],
        pack: Callable[[T], Answer | None],
    ) -> T | Hit:
        try:
            result = await compute()
        except BaseException as error:
            stale = await self._way.fail(driver, request, lead, error)
            if stale is None:
                raise
            logger.warning("askonce: the model failed (%s); a stale answer stands in", error)
            return stale
        await self._way.complete(driver, request, lead, lambda: pack(result))
        return result

    async def _refresh(
        self,
        driver: SyncDriver,
        request: Request,
        stale: Miss,
        compute: Callable[[], Awaitable[T]],
        pack: Callable[[T], Answer | None],
    ) -> None:
        # Without the stale answer, which has been served: what fails here is only told.
        lead = await self._way.lead_revalidation(driver, request, Miss(stale.reason))
        if lead is not None:
            try:
                await self._make(driver, request, lead, compute, pack)
            except Exception as error:
                logger.warning("askonce: a stale answer could not be made anew: %s", error)

    def stream(
        self,
        request: Request,
        produce: Callable[[], Iterator[T]],
        pack: Callable[[], Answer | None],
        replay: Callable[[Hit], Iterator[T]],
    ) -> Iterator[T]:
        """`answer` for a stream. One that fails or is abandoned half way is not kept.

        Args:
            request: what is asked.
            produce: asks the model. ``None`` among its chunks is passed on and is nothing yet: a model that fails
                after it may still be stood in for by a stale answer. So an adapter can have the model asked by
                the stream's first step, and leave the reading of it to whoever gets the rest.
            pack: turns what was produced, when it is complete, into what is kept.
            replay: turns a hit into a stream.
        """
        lead = run(self._lead_or_hit(self._sync_driver, request))
        if isinstance(lead, Hit):
            yield from replay(lead)
            return
        begun = False
        try:
            for chunk in produce():
                begun = begun or chunk is not None
                with lead.reading():
                    yield chunk
        except GeneratorExit:
            if lead.flight is not None:
                self._way.flights.drop(lead.flight)
            raise
        except BaseException as error:
            stale = run(self._way.fail(self._sync_driver, request, lead, error))
            if stale is None or begun:
                raise
        else:
            run(self._way.complete(self._sync_driver, request, lead, pack))
            return
        yield from replay(stale)

    async def astream(
        self,
        request: Request,
        produce: Callable[[], AsyncIterator[T]],
        pack: Callable[[], Answer | None],
        replay: Callable[[Hit], Iterator[T]],
    ) -> AsyncIterator[T]:
        """Asynchronous `stream`."""
        lead = await self._lead_or_hit(self._awaiting, request)
        if isinstance(lead, Hit):
            for chunk in replay(lead):
                yield chunk
            return
        begun = False
        try:
            async with _closing(produce()) as chunks:
                async for chunk in chunks:
                    begun = begun or chunk is not None
                    with lead.reading():
                        yield chunk
        except BaseException as error:
            stale = await self._way.fail(self._awaiting, request, lead, error)
            if stale is None or begun:
                raise
        else:
            await self._way.complete(self._awaiting, request, lead, pack)
            return
        for chunk in replay(stale):
            yield chunk

    async def _lead_or_hit(self, driver: SyncDriver, request: Request, *, waits: bool = True) -> Hit | Leader:
        """`RequestFlow.seek` where a stale answer is made anew by the first caller that finds it."""
        found = await self._way.lookup(driver, request, waits=waits)
        if not isinstance(found, Miss):
            return found
        lead = await self._way.lead_revalidation(driver, request, found)
        if lead is None:
            return self._way.serve_stale(request, found)
        self._way.counters.add(misses=1)
        return lead

    # -- for adapters that see only the look-up before a call and the update after it --------------------------

    def lookup(self, request: Request, group: str | None = None, call: FrameType | None = None) -> Hit | Miss:
        """Look up. On a miss the caller is to make the answer and `update`; others wait for it meanwhile.

        Args:
            request: what is asked.
            group: look-ups of one thread or task with an equal group are one batch; any other look-up tells
                that the answers which it was to make before will not come.
            call: the call that will bring the answer; if it ends without, those who wait go on.
        """
        return run(self._lookup(self._sync_driver, request, group, call))

    async def alookup(self, request: Request, group: str | None = None) -> Hit | Miss:
        """Asynchronous `lookup`."""
        return await self._lookup(self._awaiting, request, group)

    async def _lookup(
        self, driver: SyncDriver, request: Request, group: str | None, call: FrameType | None = None
    ) -> Hit | Miss:
        waits = True
        if self._way.flights.any_led:
            await self._way.fail_group(driver, group)
            # Two batches that lead what the other waits for would wait for ever.
            waits = not self._way.flights.leading()
        found = await self._lead_or_hit(driver, request, waits=waits)
        if isinstance(found, Hit):
            return found
        if found.flight is not None:
            self._way.flights.watch(found.flight, group, call)
        return found.miss

    def update(self, request: Request, pack: Callable[[], Answer | None]) -> None:
        """Keep the answer that was made after a miss; ``pack`` as in `answer`."""
        run(self._update(self._sync_driver, request, pack))

    async def aupdate(self, request: Request, pack: Callable[[], Answer | None]) -> None:
        """Asynchronous `update`."""
        await self._update(self._awaiting, request, pack)

    async def _update(self, driver: SyncDriver, request: Request, pack: Callable[[], Answer | None]) -> None:
        flight = self._way.flights.owned((request.namespace, request.key))
        lead = Leader(Miss("absent"))
        if flight is not None:
            lead = Leader(lead.miss, flight, flight.started, flight.trial)
        await self._way.complete(driver, request, lead, pack)

    # -- for adapters that ask for many at once ----------------------------------------------------------------

    def lookup_many(self, requests: Sequence[Request]) -> list[Hit | Miss]:
        """Look up requests of one namespace in one round trip, waiting for nobody."""
        return run(self._way.lookup_many(self._sync_driver, requests))

    async def alookup_many(self, requests: Sequence[Request]) -> list[Hit | Miss]:
        """Asynchronous `lookup_many`."""
        return await self._way.lookup_many(self._awaiting, requests)

    def store_many(self, requests: Sequence[Request], answers: Sequence[Answer], seconds: float) -> None:
        """Keep the answers to requests of one namespace, made together in ``seconds``, in one round trip."""
        run(self._way.store_many(self._sync_driver, requests, answers, seconds))

    async def astore_many(self, requests: Sequence[Request], answers: Sequence[Answer], seconds: float) -> None:
        """Asynchronous `store_many`."""
        await self._way.store_many(self._awaiting, requests, answers, seconds)

    # -- for adapters that find documents ----------------------------------------------------------------------

    def position(self, corpus: str) -> int | None:
        """How far the change log of a corpus goes, before documents are looked for in it.

        Args:
            corpus: the namespace of the log.

        Returns:
            ``None`` if the store does not tell; then what is found is not to be kept.
        """
        return run(self._way.position(self._sync_driver, corpus))

    async def aposition(self, corpus: str) -> int | None:
        """Asynchronous `position`."""
        return await self._way.position(self._awaiting, corpus)


@contextlib.asynccontextmanager
async def _closing(chunks: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close a stream that is abandoned now, and not when its garbage is collected."""
    try:
        yield chunks
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


def _sync_driver(compute: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def call() -> T:
        return compute()

    return call
