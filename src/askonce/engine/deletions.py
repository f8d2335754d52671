"""Deletions that processes share, so that none stores an answer afterwards that another one deleted meanwhile.

Whoever deletes by a tag, a namespace or more appends that to a log of the store first. Whoever makes an answer
reads the log before the model is called, and again once the answer is stored: if the answer was deleted in between,
it is deleted once more. So is an answer made from a document that was deleted after it was retrieved. A hit reads
nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection

import msgspec

from askonce.changelog.journal import Journal
from askonce.concurrency.drivers import SyncDriver
from askonce.engine.history import Deletion, RequestHistory
from askonce.entries.codec import Codec
from askonce.entries.decodable import decodable
from askonce.errors import CodecError
from askonce.stores.base import Clock, LogPage
from askonce.stores.circuit_breaker import StoreDown
from askonce.stores.fork import reset_after_fork

_PAGE = 1000
_MOST_OWN = 1000
"""Older ones are taken for another process's."""
_MOST_SKEW_SECONDS = 60.0
"""Of the clocks of two machines."""
_NEVER_REACHED = 2**53
"""Beyond the end of every log."""


@decodable
class DeletionEvent(msgspec.Struct, frozen=True, array_like=True):
    """A deletion in the log.

    Attributes:
        namespace: of the entries.
        at: seconds since the epoch.
        tag: by which they are found; ``None``: all.
        within: of the namespaces within that one, too.
        erased: digests of names that are erased from totals.
    """

    namespace: str
    at: float
    tag: str | None = None
    within: bool = False
    erased: tuple[bytes, ...] = ()


class SharedDeletions:
    """The deletions in one cache's namespace and those of its tenants. Thread-safe.

    Args:
        codec: seals events, if it has keys.
        namespace: the cache's.
        history: records each deletion.
        clock: seconds since the epoch.
        erased: called when another process has erased whatever it may be.

    Attributes:
        log: the namespace of the log.
    """

    def __init__(
        self,
        codec: Codec,
        namespace: str,
        history: RequestHistory,
        clock: Clock,
        erased: Callable[[], object] = lambda: None,
    ) -> None:
        self.log = f"{namespace}:deletions"
        self._journal = Journal(codec, self.log)
        self._namespace, self._history, self._clock = namespace, history, clock
        self._position: int | None = None
        self._known_from, self._known_since = 0, float("inf")  # the log, and on the monotonic clock
        self._erased: set[bytes] = set()
        self._own: deque[bytes] = deque(maxlen=_MOST_OWN)  # events of this process, which several threads may read
        self._on_erasure = erased
        self._began: float | None = clock()
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def event(self, namespace: str, tag: str | None = None) -> bytes:
        """Record a deletion that this process is about to do; returns what is to be appended to the log before."""
        return self._recorded(Deletion(namespace, self._clock(), tag))

    def erasure(self, erased: Collection[bytes]) -> bytes:
        """`event` of an erasure, which may concern all entries.

        Args:
            erased: digests of names that are erased from totals.
        """
        return self._recorded(Deletion(self._namespace, self._clock(), within=True, names=tuple(erased)))

    def _recorded(self, one: Deletion) -> bytes:
        self._history.deleted(one)
        event = self._journal.write(DeletionEvent(one.namespace, one.at, one.tag, one.within, one.names))
        self._own.append(event)
        return event

    async def erased(self, driver: SyncDriver) -> Collection[bytes]:
        """Read the digests of names that were erased since this was called last, or since this process began."""
        await self.follow(driver)
        if self._began is not None:  # the log is followed from some later moment on
            with contextlib.suppress(StoreDown):
                await self._read_since(driver, self._began - _MOST_SKEW_SECONDS)
                self._began = None
        with self._lock:
            erased, self._erased = self._erased, set()
        return erased

    async def follow(self, driver: SyncDriver) -> None:
        """Read what is new in the log; what the store does not return now is read the next time."""
        with contextlib.suppress(StoreDown):
            while True:
                log, after = self.next_page()
                if self._take(after, await driver.call("log_read", log, after, _PAGE)):
                    return

    async def look_back(self, driver: SyncDriver, moment: float) -> None:
        """Read what was deleted since a moment, on the monotonic clock, at which the log was not followed yet.

        That is so after a hit for a retriever, and then a miss for a model, in a new process.
        """
        if moment >= self._known_since:
            return
        began = self._clock() - (time.monotonic() - moment) - _MOST_SKEW_SECONDS
        with contextlib.suppress(StoreDown):
            before = self._known_from
            while before > 0:
                after = max(before - _PAGE, 0)
                page: LogPage = await driver.call("log_read", self.log, after, _PAGE)
                events = [data for sequence, data in page.events if sequence <= before]
                before = after if self._take_since(events, began) else 0
            self._known_since = moment

    def _take_since(self, events: list[bytes], began: float) -> bool:
        """Take in the events of a page that are newer; returns whether there may be others before it."""
        newest_first = reversed(events)
        for data in newest_first:
            with contextlib.suppress(CodecError):
                if self._journal.read(data, DeletionEvent).at < began:
                    return False
            self._take_event(data)
        return bool(events)

    async def _read_since(self, driver: SyncDriver, began: float) -> None:
        position, is_last = 0, False
        while not is_last:
            page: LogPage = await driver.call("log_read", self.log, position, _PAGE)
            for _, data in page.events:
                with contextlib.suppress(CodecError):
                    event = self._journal.read(data, DeletionEvent)
                    if event.at >= began:
                        self._erased.update(event.erased)
            position = page.events[-1][0] if page.events else page.head
            is_last = position >= page.head

    def next_page(self) -> tuple[str, int]:
        """Where the log is to be read next: its namespace, and the position."""
        position = self._position
        return self.log, _NEVER_REACHED if position is None else position

    async def take(self, driver: SyncDriver, after: int, page: LogPage | None) -> None:
        """Take in a page that was read from a position of `next_page`, and read what follows or was not read."""
        if page is None or not self._take(after, page):
            await self.follow(driver)

    def _take(self, after: int, page: LogPage) -> bool:
        """Take in a page; returns whether it was the last one."""
        position = None if after == _NEVER_REACHED else after
        with self._lock:
            if position is None:
                if self._position is None:
                    self._position = self._known_from = page.head
                    self._known_since = time.monotonic()
                return True
            last = page.events[-1][0] if page.events else position
            is_full, is_lost = len(page.events) == _PAGE, page.truncated or page.head < position
            # The deletions first: another thread takes the position for what the history has.
            if is_lost or (last < page.head and not is_full):
                self._unknown()
            for _, event in page.events:
                self._take_event(event)
            if is_lost and not page.events:
                self._position = page.head
            elif self._position == position or last > (self._position or 0):
                self._position = last
            return not is_full

    def _take_event(self, event: bytes) -> None:
        if event in self._own:  # it is recorded as of when it was, and concerns nothing that was found since
            return
        try:
            one = self._journal.read(event, DeletionEvent)
        except CodecError:
            self._unknown()
        else:
            self._history.deleted(Deletion(one.namespace, one.at, one.tag, within=one.within, names=one.erased))
            self._erased.update(one.erased)
            if one.within:
                self._on_erasure()

    def _unknown(self) -> None:
        """Deletions that cannot be read: any entry may be meant."""
        self._history.deleted(Deletion(self._namespace, self._clock(), within=True))
        self._on_erasure()
