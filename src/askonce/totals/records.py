"""How totals lie in a store: records that each process writes for itself, and days in which they are merged.

The data, in namespace ``<namespace>:totals``: one record for each process and hour. A process replaces its own
records with larger sums, and nobody else's; whoever reads adds up the records of all. So nothing is counted twice,
whatever fails and is tried again, and no two processes contend.

A day after a day is over, its records are merged into one. It lists their keys, which from then on are not counted,
and which the next pass deletes: no moment is without one of the two. Eight days later its hours become one sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from askonce.changelog.journal import Journal
from askonce.entries.codec import Codec
from askonce.entries.decodable import decodable
from askonce.errors import CodecError
from askonce.stores.base import Record
from askonce.stores.circuit_breaker import CircuitBreaker
from askonce.totals.buckets import Bucket, merged, without

LATE_HOURS = 12
"""So long after an hour a process may write its record, and no longer; merging begins later."""
MERGED_AFTER_HOURS = 24
HOURLY_DAYS = 8
"""For so long the hours of a day are separate."""
RETENTION_DAYS = 400
_DONE = b"merged"
_DONE_SECONDS = 6 * 3600.0
_LEASE_SECONDS = 60.0


@decodable
class Portion(msgspec.Struct, frozen=True, array_like=True):
    """The value of a record.

    Attributes:
        buckets: what it counts.
        merged: keys of records that it includes.
    """

    buckets: list[Bucket]
    merged: list[bytes] = msgspec.field(default_factory=list)


def totals_namespace(namespace: str) -> str:
    """Where the totals of a cache with that namespace are; no other namespace has this name."""
    return f"{namespace}:totals"


def hour_key(process: bytes, hour: int) -> bytes:
    """Of one process's record of an hour."""
    return b"h" + process + hour.to_bytes(5)


def _day_key(day: int) -> bytes:
    return b"d" + day.to_bytes(5)


class TotalsRecords:
    """The records as values.

    Args:
        codec: seals them, if it has keys.
        namespace: the cache's.

    Attributes:
        namespace: where they are.
    """

    def __init__(self, codec: Codec, namespace: str) -> None:
        self.namespace = totals_namespace(namespace)
        self._journal = Journal(codec, self.namespace)

    def record(self, key: bytes, portion: Portion) -> Record:
        """The record of a portion; it expires `RETENTION_DAYS` after its last hour."""
        last = max((bucket.start + bucket.hours for bucket in portion.buckets), default=0)
        return Record(key, self._journal.write(portion, key), (last + 24 * RETENTION_DAYS) * 3600.0)

    def portions(self, rows: Iterable[tuple[bytes, bytes]]) -> dict[bytes, Portion]:
        """What a scan found, by key. What cannot be read is left out."""
        found = {}
        for key, data in rows:
            try:
                found[key] = self._journal.read(data, Portion, key)
            except CodecError:
                continue
        return found

    def without(self, row: Record, erased: Collection[bytes]) -> Record:
        """A record with the same sums, where names of these digests are others; the same object if it has none.

        Raises:
            CodecError: it cannot be read.
        """
        portion = self._journal.read(row.value, Portion, row.key)
        buckets = without(portion.buckets, erased)
        return row if buckets == portion.buckets else self.record(row.key, Portion(buckets, portion.merged))

    def buckets(self, rows: Iterable[tuple[bytes, bytes]]) -> tuple[list[Bucket], int]:
        """All that was counted, each thing once; and how many records cannot be read."""
        stored = dict(rows)
        portions = self.portions(stored.items())
        included = _included(portions)
        found = [one for key, portion in portions.items() if key not in included for one in portion.buckets]
        return found, len(stored.keys() - portions.keys() - included)


def _included(portions: Mapping[bytes, Portion]) -> set[bytes]:
    return {key for portion in portions.values() for key in portion.merged}


def days_to_write(portions: Mapping[bytes, Portion], hour: int) -> dict[bytes, Portion]:
    """The days that are to be merged now, by key."""
    included = _included(portions)
    days: dict[int, list[bytes]] = defaultdict(list)
    for key, portion in portions.items():
        if key not in included and portion.buckets:
            days[portion.buckets[0].start // 24].append(key)
    made = {}
    for day, keys in days.items():
        if hour < 24 * (day + 1) + MERGED_AFTER_HOURS:
            continue
        buckets = [one for key in keys for one in portions[key].buckets]
        hours = 24 if hour >= 24 * (day + 1 + HOURLY_DAYS) else max(one.hours for one in buckets)
        name = _day_key(day)
        before = portions.get(name, Portion([]))
        listed = [key for key in before.merged if key in portions]
        new = [key for key in keys if key != name]
        if new or hours > before.buckets[0].hours:
            made[name] = Portion(merged(buckets, hours), [*listed, *new])
    return made


def merge_days(breaker: CircuitBreaker, records: TotalsRecords, owner: bytes, now: float) -> None:
    """Merge the days that are over, if nobody has done so in the last hours.

    Raises:
        StoreDown: the store failed; the next pass goes on.
    """
    store, namespace, key = breaker.store, records.namespace, _DONE
    if breaker.call(store.get, namespace, key) is not None:
        return
    if not breaker.call(store.lease, namespace, key, owner.hex(), _LEASE_SECONDS):
        return
    try:
        portions = records.portions(breaker.call(_all, store, namespace))
        if gone := [one for one in _included(portions) if one in portions]:
            breaker.call(store.delete, namespace, gone)
        for name, portion in days_to_write(portions, int(now // 3600)).items():
            breaker.call(store.put, namespace, [records.record(name, portion)])
        done = Record(key, records.record(key, Portion([])).value, now + _DONE_SECONDS)
        breaker.call(store.put, namespace, [done])
    finally:
        breaker.call(store.release, namespace, key, owner.hex())


def _all(store: Any, namespace: str) -> list[tuple[bytes, bytes]]:
    return list(store.scan(namespace))
