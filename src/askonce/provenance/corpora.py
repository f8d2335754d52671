"""The change logs of one store's corpora: how they are written, and how far this process has read them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec

from askonce.changelog.journal import Journal
from askonce.concurrency.drivers import SyncDriver
from askonce.entries.codec import Codec
from askonce.entries.entry import Source
from askonce.errors import CodecError
from askonce.provenance.changes import ANYTHING, Change, Changes, ChangesPage
from askonce.stores.base import LogPage
from askonce.stores.circuit_breaker import StoreDown
from askonce.stores.fork import reset_after_fork

_CHECK_SECONDS = 0.2
"""While a write is open, every so often it is checked whether its lease ran out."""


ReadLog = Callable[[str, int], Awaitable[LogPage]]
"""Reads a page of the change log of a corpus, after a position; raises `StoreDown`."""


class Position(msgspec.Struct, frozen=True):
    """How far a change log goes.

    Attributes:
        sequence: of its last change.
        is_stable: no write is open: what is found now may be stored.
    """

    sequence: int
    is_stable: bool


class Corpora:
    """The changes of each corpus; each call reads its log to the end.

    Args:
        codec: seals the logs, if it has keys.
        lease_seconds: how long a lease of a write lasts that this process takes.
    """

    def __init__(self, codec: Codec, lease_seconds: float) -> None:
        self._codec, self._lease_seconds = codec, lease_seconds
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._owner = uuid.uuid4().hex
        self._changes: dict[str, Changes] = {}  # a thread of the parent may have been in the middle of a page
        self._check_at: dict[bytes, float] = {}

    def event(self, corpus: str, change: Change) -> bytes:
        """A change as an event of a corpus's log."""
        return Journal(self._codec, corpus).write(change)

    async def have_changed(
        self, driver: SyncDriver, sources: Sequence[Source], read: ReadLog | None = None
    ) -> bool:
        """Whether documents have changed since they were found; also if the store is down.

        Args:
            driver: of the caller.
            sources: which.
            read: reads a page of a log; ``None``: by the driver.
        """
        for corpus in dict.fromkeys(source.corpus for source in sources):
            changes = await self.changes(driver, corpus, read)
            if changes is None or any(changes.concern(one) for one in sources if one.corpus == corpus):
                return True
        return False

    def has_changed(self, source: Source) -> bool:
        """Whether documents are known to have changed, without reading a log."""
        changes = self._changes.get(source.corpus)
        return changes is not None and changes.are_known_to_concern(source)

    async def changes(self, driver: SyncDriver, corpus: str, read: ReadLog | None = None) -> Changes | None:
        """All changes of a corpus until now; ``None`` if the store is down. ``read`` as in `have_changed`."""
        read = read or partial(driver.call, "log_read")
        changes = self._changes.setdefault(corpus, Changes())
        try:
            await self._read(read, corpus, changes)
            if changes.open_writes and await self._end_lost_writes(driver, corpus, changes):
                await self._read(read, corpus, changes)
        except StoreDown:
            return None
        return changes

    async def position(self, driver: SyncDriver, corpus: str) -> Position | None:
        """The last position in the log of a corpus; begins a missing log. ``None`` if the store is down."""
        changes = await self.changes(driver, corpus)
        if changes is not None and not changes.position:
            try:
                await driver.call("log_append", corpus, self.event(corpus, ANYTHING))
            except StoreDown:
                return None
            changes = await self.changes(driver, corpus)
        return None if changes is None else Position(changes.position, not changes.open_writes)

    async def compare(self, driver: SyncDriver, corpus: str, states: Mapping[bytes, bytes]) -> bool:
        """See whether collections are in the states that the log of a corpus says; else anything may have changed.

        Args:
            driver: of the caller.
            corpus: the namespace of the log.
            states: of each collection, by its place.

        Returns:
            False if the store is down.
        """
        changes = await self.changes(driver, corpus)
        if changes is None:
            return False
        change = changes.since(states)
        if change is not None:
            try:
                await driver.call("log_append", corpus, self.event(corpus, change))
            except StoreDown:
                return False
        return True

    async def _read(self, read: ReadLog, corpus: str, changes: Changes) -> None:
        journal = Journal(self._codec, corpus)
        while True:
            after = changes.position
            page = await read(corpus, after)
            events = [(sequence, _change(journal, event)) for sequence, event in page.events]
            if not changes.learn(after, ChangesPage(events, page.head, page.truncated)):
                return

    async def _end_lost_writes(self, driver: SyncDriver, corpus: str, changes: Changes) -> bool:
        """End the writes whose process was killed; returns whether there was one.

        Only one reader gets the lease of a write after it ran out.
        """
        found, now = False, time.monotonic()
        for write in changes.open_writes:
            if now < self._check_at.get(write, 0.0):
                continue
            if await driver.call("lease", corpus, write, self._owner, self._lease_seconds):
                lost = Change(ids=None, ends=write)
                await driver.call("log_append", corpus, self.event(corpus, lost))
                self._check_at.pop(write, None)
                found = True
            else:
                self._check_at[write] = now + _CHECK_SECONDS
        return found


def _change(journal: Journal, event: bytes) -> Change | None:
    """The change in an event; ``None`` if it cannot be read: of a newer kind, or sealed with another key."""
    try:
        return journal.read(event, Change)
    except CodecError:
        return None
