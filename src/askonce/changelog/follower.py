"""Synchronizes the state of one process with that of the others.

Each process appends what it learns to a change log, as deltas, and applies those of the others. Now and then one of
them stores a snapshot beside the log. A new process begins from it, and so does one that has missed deltas which
the log no longer has. All calls pass the store's circuit breaker.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from askonce.changelog.journal import Delta, Journal, Snapshot, packed, unpacked
from askonce.changelog.seen import Seen
from askonce.entries.codec import Codec
from askonce.errors import CodecError
from askonce.eviction.policy import Budget
from askonce.stores.base import LogPage, Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

logger = logging.getLogger("askonce")

D = TypeVar("D", bound=msgspec.Struct)
S = TypeVar("S", bound=msgspec.Struct)

_SNAPSHOT_KEY = b"snapshot"
_LEASE_SECONDS = 30.0
_PAGE, _RECORDS_AT_ONCE = 500, 100
_MOST_SOURCES = 1000
_RECORDS = Budget(max_bytes=256 * 2**20)


class SharedState(Protocol[D, S]):
    """State that processes share. Thread-safe; `Follower` calls it from one thread at a time.

    Attributes:
        delta_type: of its deltas.
        snapshot_type: of its snapshots.
    """

    @property
    def delta_type(self) -> type[D]: ...

    @property
    def snapshot_type(self) -> type[S]: ...

    def take(self) -> D | None:
        """What is new in this process since the last call; ``None`` for nothing."""

    def merge(self, delta: D, *, is_new: bool) -> None:
        """Add what another process learned.

        Where ``is_new`` is False a snapshot contained it, and it is read again since `restart` returned an earlier
        position: then only idempotent changes may be made.

        Raises:
            CodecError: it is not valid.
        """

    def snapshot(self) -> tuple[D | None, S]:
        """`take`, and the whole state, as of one moment."""

    def restart(self, snapshot: S | None) -> int | None:
        """Begin, or begin again after deltas were missed.

        The snapshot replaces all but what `take` has not returned yet; without one, all stays.

        Returns:
            the position from which the log must be read, if that is before the snapshot's; ``None`` otherwise.

        Raises:
            CodecError: the snapshot is not valid.
        """


class Follower(Generic[D, S]):
    """Publishes what this process learns, and applies what others learned. Thread-safe.

    After a fork its owner makes a new one.

    Args:
        breaker: the store's.
        codec: seals what is shared.
        log: the namespace of the change log.
        state: what is shared.
        snapshot_after: how many deltas there are between two snapshots; ``None`` for no snapshots.
        expires_at: when a delta becomes useless, in seconds since the epoch. If it is given, deltas are stored in
            records that expire, and the log holds their keys.

    Attributes:
        position: of the last delta that was read; -1 before anything was.
        is_current: whether the last `step` succeeded.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        codec: Codec,
        log: str,
        state: SharedState[D, S],
        *,
        snapshot_after: int | None = None,
        expires_at: Callable[[D], float] | None = None,
    ) -> None:
        self._breaker, self._store, self._log = breaker, breaker.store, log
        self._journal, self._state = Journal(codec, log), state
        self._snapshot_after, self._expires_at = snapshot_after, expires_at
        self._source, self._number = os.urandom(8), 0
        self._seen = Seen()
        self._unsent: tuple[Delta, D] | None = None
        self._last_active: dict[bytes, float] = {}
        self._since_snapshot = 0
        self._turn = threading.RLock()
        self._logged_invalid = False
        self.position = -1
        self.is_current = True

    # -- synchronizing -----------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Publish what is new and apply what others published; returns whether the store did not fail."""
        with self._turn:
            return self._tried(self._step)

    def save(self) -> bool:
        """`step`, and store a snapshot if there was a delta since the last one; returns as `step` does."""
        with self._turn:
            self._take()
            if self.position < 0 and self._unsent is None:
                return True  # nothing was shared
            return self._tried(self._step) and (not self._since_snapshot or self._tried(self._save))

    def has_all_after(self, position: int) -> bool:
        """Whether the log still has all deltas after a position.

        Raises:
            StoreDown: the store failed.
        """
        page: LogPage = self._breaker.call(self._store.log_read, self._log, position, 1)
        return not page.truncated and page.head >= position

    def active_sources(self, seconds: float) -> int:
        """How many other processes published within the last ``seconds``."""
        since = time.monotonic() - seconds
        return sum(at > since for at in list(self._last_active.values()))

    def _tried(self, step: Callable[[], None]) -> bool:
        try:
            step()
            self.is_current = True
        except StoreDown:  # it was counted and logged; what is not published yet stays for the next step
            self.is_current = False
        return self.is_current

    def _step(self) -> None:
        if self.position < 0:
            self._begin()
        self._publish()
        self._read()
        if self._snapshot_after is not None and self._since_snapshot >= self._snapshot_after:
            self._save()

    # -- to the log --------------------------------------------------------------------------------------------

    def _take(self) -> None:
        if self._unsent is None:
            self._enqueue(self._state.take())

    def _enqueue(self, value: D | None) -> None:
        if value is not None:
            self._number += 1
            self._seen.add(self._source, self._number)
            self._unsent = Delta(self._source, self._number, packed(value)), value

    def _publish(self) -> None:
        for _ in range(2):  # what could not be published before, and what is new
            self._take()
            if self._unsent is None:
                return
            self._append(*self._unsent)
            self._unsent = None

    def _append(self, delta: Delta, value: D) -> None:
        event = self._journal.write(delta)
        if self._expires_at is not None:
            key = delta.source + delta.number.to_bytes(8)
            record = Record(key, event, self._expires_at(value), 1.0)
            self._breaker.call(self._store.put, self._log, [record], _RECORDS)
            event = key
        self._breaker.call(self._store.log_append, self._log, event)

    def _save(self) -> None:
        owner = self._source.hex()
        if self._breaker.call(self._store.lease, self._log, _SNAPSHOT_KEY, owner, _LEASE_SECONDS):
            new, value = self._state.snapshot()
            self._enqueue(new)
            snapshot = Snapshot(self.position, self._seen.stored(), packed(value))
            self._publish()  # a snapshot holds nothing that the log does not
            record = Record(_SNAPSHOT_KEY, self._journal.write(snapshot))
            self._breaker.call(self._store.put, self._log, [record])
            self._breaker.call(self._store.release, self._log, _SNAPSHOT_KEY, owner)
        self._since_snapshot = 0  # or another process stores it

    # -- from the log ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        data = None
        if self._snapshot_after is not None:
            data = self._breaker.call(self._store.get, self._log, _SNAPSHOT_KEY)
        if not (data is not None and self._restore(data)):
            self._state.restart(None)
            self.position = max(self.position, 0)

    def _restore(self, data: bytes) -> bool:
        """Begin from a snapshot, if it is valid and ahead of this process."""
        try:
            found = self._journal.read(data, Snapshot)
            if found.position <= self.position:
                return False
            complete = self._state.restart(unpacked(found.value, self._state.snapshot_type))
        except CodecError as error:
            self._log_invalid(error)
            return False
        self._seen = Seen(found.seen)
        if self._unsent is not None:
            delta, value = self._unsent
            if self._seen.add(delta.source, delta.number):
                self._state.merge(value, is_new=True)
        self.position = found.position if complete is None else min(found.position, complete)
        return True

    def _read(self) -> None:
        while True:
            page: LogPage = self._breaker.call(self._store.log_read, self._log, self.position, _PAGE)
            if (page.truncated and self.position > 0) or page.head < self.position:
                self._begin_again(page)
                continue
            for data in self._deltas([event for _, event in page.events]):
                self._apply(data)
            if page.events:
                self._since_snapshot += len(page.events)
                self.position = page.events[-1][0]
            if not page.events or self.position >= page.head:
                return

    def _begin_again(self, page: LogPage) -> None:
        """Deltas were missed: begin as a new process does."""
        self._begin()
        oldest = page.events[0][0] - 1 if page.events else page.head
        if not oldest <= self.position <= page.head:
            self.position = oldest

    def _deltas(self, events: list[bytes]) -> list[bytes]:
        """The deltas in these events, or in the records of their keys, without those of this process."""
        if self._expires_at is None:
            return events
        keys = [key for key in events if key[:8] != self._source]
        found: list[bytes] = []
        for begin in range(0, len(keys), _RECORDS_AT_ONCE):
            some = keys[begin : begin + _RECORDS_AT_ONCE]
            rows = self._breaker.call(self._store.get_many, self._log, some)
            found += [data for data in rows if data is not None]
        return found

    def _apply(self, data: bytes) -> None:
        try:
            delta = self._journal.read(data, Delta)
            value = unpacked(delta.value, self._state.delta_type)
            is_new = self._seen.add(delta.source, delta.number)
            if is_new or delta.source != self._source:
                self._state.merge(value, is_new=is_new)
        except CodecError as error:
            self._log_invalid(error)
            return
        if delta.source != self._source:
            self._last_active.pop(delta.source, None)
            self._last_active[delta.source] = time.monotonic()
            if len(self._last_active) > _MOST_SOURCES:
                del self._last_active[next(iter(self._last_active))]

    def _log_invalid(self, error: CodecError) -> None:
        level = logging.DEBUG if self._logged_invalid else logging.WARNING
        self._logged_invalid = True
        logger.log(level, "askonce: invalid shared state from another process in %s; ignored: %s", self._log, error)
