"""Audits: some hits of retrievers are compared with a new search, after they were served."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from askonce.concurrency.drivers import SyncDriver
from askonce.engine.events import AuditOutcome, CacheEvent, EventQueue
from askonce.engine.request import Request
from askonce.entries.entry import Entry, Place
from askonce.provenance.corpora import Corpora
from askonce.stores.base import Clock
from askonce.stores.circuit_breaker import StoreDown

logger = logging.getLogger("askonce")


class Audits:
    """Compares stored results with new ones, and deletes those that differ.

    Args:
        corpora: which documents have changed.
        events: where events are emitted.
        forget: forgets what this process holds of entries.
        clock: seconds since the epoch.
    """

    def __init__(self, corpora: Corpora, events: EventQueue, forget: Callable[[Place], None], clock: Clock) -> None:
        self._corpora, self._events, self._forget, self._clock = corpora, events, forget, clock
        self._warned: set[str] = set()

    async def compare(
        self,
        driver: SyncDriver,
        request: Request,
        corpus: str,
        entry: Entry,
        is_same: Callable[[], Awaitable[bool]],
    ) -> None:
        """Audit one hit; not counted if documents change meanwhile, or the store or the search fails.

        Args:
            driver: of the caller.
            request: that was answered.
            corpus: the namespace of the change log.
            entry: the answer.
            is_same: searches anew, and says whether the result is the same.
        """
        before = await self._corpora.position(driver, corpus)
        if before is None or not before.is_stable or await self._corpora.have_changed(driver, entry.sources):
            return
        try:
            same = await is_same()
            if await self._corpora.position(driver, corpus) != before:
                return
            if not same:
                self._forget(request.place)
                await driver.call("delete", request.place.namespace, [request.place.key])
        except StoreDown:
            return
        except Exception:
            logger.info("askonce: an audit of a stored result failed", exc_info=True)
            return
        if not same:
            logger.log(
                logging.DEBUG if corpus in self._warned else logging.WARNING,
                "askonce: an audit found another result than the stored one, which was deleted: documents of %s"
                " change in ways that its corpus does not learn, or results depend on more than the key holds;"
                " stats().audited_wrong counts further ones",
                corpus,
            )
            self._warned.add(corpus)
        reason: AuditOutcome = "same" if same else "different"
        self._events.emit(
            CacheEvent(
                "audited", request.kind, request.model, self._clock(), request.place, reason,
                tenants=request.options.tenants, tags=request.options.tags,
            )
        )  # fmt: skip
