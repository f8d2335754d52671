"""What this process counts, on its way to the store: written in the background, so that no request waits."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping

from askonce.concurrency.background import BackgroundWorker
from askonce.entries.codec import Codec
from askonce.stores.base import Clock, Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown
from askonce.stores.fork import reset_after_fork
from askonce.totals.buckets import Bucket, RowName, RowSums, requests_of, without
from askonce.totals.records import LATE_HOURS, Portion, TotalsRecords, hour_key, merge_days

logger = logging.getLogger("askonce")

WRITE_SECONDS = 2.0
"""Between two writes; a process that is killed loses what it counted since the last one."""
_CLOSE_SECONDS = 5.0
PATIENCE_SECONDS = 3.0
"""So long a store that fails is tried again when a cache is flushed or closed."""
_REST_SECONDS = 30.0
"""After that no cache waits again for so long: many that are closed one after another take no longer than one."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.4
_MERGE_EVERY_SECONDS = 3600.0

_gave_up_at = float("-inf")


class TotalsWriter:
    """Adds up what this process counts by hour, and writes the hours that have changed. Thread-safe.

    What cannot be written is tried again until `LATE_HOURS` after its hour.

    Args:
        breaker: the store's.
        codec: seals what is written, if it has keys.
        namespace: the cache's.
        clock: seconds since the epoch.
        erased: reads the digests of names that any process has erased since it was called last.

    Attributes:
        records: how totals lie in the store.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        codec: Codec,
        namespace: str,
        clock: Clock,
        erased: Callable[[], Collection[bytes]] = tuple,
    ) -> None:
        self._breaker, self._clock, self._erased = breaker, clock, erased
        self.records = TotalsRecords(codec, namespace)
        self._worker = BackgroundWorker("askonce-totals", self._step, delay_seconds=WRITE_SECONDS)
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        # What was counted is the parent's.
        self._adding, self._writing = threading.RLock(), threading.RLock()
        self._process = os.urandom(16)
        self._hours: dict[int, RowSums] = {}
        self._changed: set[int] = set()
        self._errors = 0
        self._unwritten = 0.0
        self._dropped = -1
        self._merged_at = float("-inf")

    def add(self, hour: int, name: RowName, amounts: Mapping[str, float]) -> None:
        """Add what happened in an hour, counted since the epoch; it is written soon."""
        with self._adding:
            sums = self._hours.get(hour)
            if sums is None:
                if hour <= self._dropped:  # its record must not be replaced with a smaller sum
                    hour = int(self._clock() // 3600)
                sums = self._hours.setdefault(hour, RowSums())
            sums.add(name, amounts)
            self._changed.add(hour)
            if not name[3]:  # what has a tag is counted without it, too
                self._unwritten += requests_of(amounts)
        if not self._worker.pending:
            self._worker.wake()

    def forget(self, erased: Collection[bytes]) -> None:
        """Count what was counted under erased names under another one."""
        with self._adding:
            for hour, sums in list(self._hours.items()):
                [before] = buckets = [Bucket(hour, 1, sums.rows())]
                [after] = without(buckets, erased)
                if after != before:
                    sums = self._hours[hour] = RowSums()
                    for row in after.rows:
                        sums.add(row.name, row.amounts)
                    self._changed.add(hour)

    def write(self) -> bool:
        """Write what has changed; returns whether the store has all that was counted."""
        with self._writing:
            if not self._changed:
                return True
            self.forget(self._erased())
            has_all = self._write()
            if has_all and (erased := self._erased()):  # while it was written
                self.forget(erased)
                has_all = self._write()
            return has_all

    def write_or_wait(self, seconds: float, *, last: bool = False) -> bool:
        """`write`, and again while the store fails: for ``seconds`` and at most `PATIENCE_SECONDS`.

        Args:
            seconds: how long.
            last: there is no later time: the store is tried also while the circuit breaker is open.
        """
        global _gave_up_at
        began, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
        waits = began - _gave_up_at > _REST_SECONDS
        ends = began + min(seconds, PATIENCE_SECONDS)
        while True:
            if last:
                self._breaker.health.try_now()
            if self.write():
                return True
            left = ends - time.monotonic()
            if not waits or self._breaker.is_closed or left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        if waits and seconds >= PATIENCE_SECONDS and not self._breaker.is_closed:
            _gave_up_at = time.monotonic()
        return False

    def _write(self) -> bool:
        now = int(self._clock() // 3600)
        if self._changed and (errors := self._breaker.health.errors) > self._errors:
            self.add(now, ("", "", "", ""), {"errors": errors - self._errors})
            self._errors = errors
        with self._adding:
            hours, self._changed = [one for one in self._changed if one >= now - LATE_HOURS], set()
            requests, self._unwritten = self._unwritten, 0.0
            records = [self._record(hour) for hour in hours]
        if records:
            try:
                self._breaker.call(self._breaker.store.put, self.records.namespace, records)
            except StoreDown:
                with self._adding:
                    self._changed.update(hours)
                    self._unwritten += requests
                return False
        with self._adding:
            for hour in [one for one in self._hours if one < now - 1 and one not in self._changed]:
                del self._hours[hour]
                self._dropped = max(self._dropped, hour)
        return True

    def _record(self, hour: int) -> Record:
        key = hour_key(self._process, hour)
        return self.records.record(key, Portion([Bucket(hour, 1, self._hours[hour].rows())]))

    def _step(self) -> None:
        if self.write():
            self._merge()
        else:
            self._worker.wake()

    def _merge(self) -> None:
        if time.monotonic() - self._merged_at > _MERGE_EVERY_SECONDS:
            self._merged_at = time.monotonic()
            with contextlib.suppress(StoreDown):  # counted and logged; the next pass goes on
                merge_days(self._breaker, self.records, self._process, self._clock())

    def stop(self) -> None:
        """End the thread, and start none for what is added from now on: no interpreter that ends can."""
        self._worker.close(_CLOSE_SECONDS)

    def close(self) -> None:
        """Write what is left, waiting for a store that fails, and end the thread."""
        self.stop()
        if not self._changed:
            return
        if self.write_or_wait(PATIENCE_SECONDS, last=True):
            self._merge()
        elif lost := round(self._unwritten):
            logger.warning(
                "askonce: store %s took no counts when the cache was closed: %d %s not in its totals",
                self._breaker.store.url,
                lost,
                "request is" if lost == 1 else "requests are",
            )
