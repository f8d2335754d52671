"""The corpora of one store, as far as this process has read their change logs."""

from __future__ import annotations

from askonce.concurrency.drivers import SyncDriver
from askonce.entries.entry import Entry
from askonce.provenance.changes import ANYTHING, Changes
from askonce.stores.base import LogPage
from askonce.stores.circuit_breaker import StoreDown
from askonce.stores.fork import reset_after_fork


class Corpora:
    """The changes of each corpus; each call reads its log to the end."""

    def __init__(self) -> None:
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._changes: dict[str, Changes] = {}  # a thread of the parent may have been in the middle of a page

    async def is_outdated(self, driver: SyncDriver, entry: Entry) -> bool:
        """Whether documents that an entry was found in, or made from, have changed; also if the store is down."""
        for corpus in dict.fromkeys(source.corpus for source in entry.sources):
            changes = await self.changes(driver, corpus)
            if changes is None or any(changes.concern(one) for one in entry.sources if one.corpus == corpus):
                return True
        return False

    async def changes(self, driver: SyncDriver, corpus: str) -> Changes | None:
        """All changes of a corpus until now; ``None`` if the store is down."""
        changes = self._changes.setdefault(corpus, Changes())
        try:
            while True:
                after = changes.position
                page: LogPage = await driver.call("log_read", corpus, after)
                if not changes.learn(after, page):
                    return changes
        except StoreDown:
            return None

    async def position(self, driver: SyncDriver, corpus: str) -> int | None:
        """The last position in the log of a corpus; begins a missing log. ``None`` if the store is down."""
        changes = await self.changes(driver, corpus)
        if changes is not None and not changes.position:
            try:
                await driver.call("log_append", corpus, ANYTHING)
            except StoreDown:
                return None
            changes = await self.changes(driver, corpus)
        return None if changes is None else changes.position
