"""What this process counts, on its way to the store: written in the background, so that no request waits."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping

from askonce.concurrency.background import BackgroundWorker
from askonce.entries.codec import Codec
from askonce.stores.base import Clock, Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown
from askonce.stores.fork import reset_after_fork
from askonce.totals.buckets import Bucket, RowName, RowSums, without
from askonce.totals.records import LATE_HOURS, Portion, TotalsRecords, hour_key, merge_days

WRITE_SECONDS = 2.0
"""Between two writes; a process that is killed loses what it counted since the last one."""
_CLOSE_SECONDS = 5.0
_MERGE_EVERY_SECONDS = 3600.0


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
        self._adding, self._writing = threading.Lock(), threading.Lock()
        self._process = os.urandom(16)
        self._hours: dict[int, RowSums] = {}
        self._changed: set[int] = set()
        self._errors = 0
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
        if not self._worker.pending:
            self._worker.wake()

    def forget(self, erased: Collection[bytes]) -> None:
        """Count what was counted under erased names under another one."""
        with self._adding:
            for hour, sums in self._hours.items():
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

    def _write(self) -> bool:
        now = int(self._clock() // 3600)
        if self._changed and (errors := self._breaker.health.errors) > self._errors:
            self.add(now, ("", "", "", ""), {"errors": errors - self._errors})
            self._errors = errors
        with self._adding:
            hours, self._changed = [one for one in self._changed if one >= now - LATE_HOURS], set()
            records = [self._record(hour) for hour in hours]
        if records:
            try:
                self._breaker.call(self._breaker.store.put, self.records.namespace, records)
            except StoreDown:
                self._changed.update(hours)
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
        if not self.write():
            self._worker.wake()
        elif time.monotonic() - self._merged_at > _MERGE_EVERY_SECONDS:
            self._merged_at = time.monotonic()
            with contextlib.suppress(StoreDown):  # counted and logged; the next pass goes on
                merge_days(self._breaker, self.records, self._process, self._clock())

    def stop(self) -> None:
        """End the thread, and start none for what is added from now on: no interpreter that ends can."""
        self._worker.close(_CLOSE_SECONDS)

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self.stop()
        if self._changed:
            self._step()
