"""What a report is made of: sums over requests, stored by each process for itself.

The data, in namespace ``<namespace>:prefix:days``: one record for each process and day, its key the BLAKE2b digest
of both, its value a `Day` in MessagePack. A process replaces its own records with larger sums, and nobody else's:
whoever reads adds up the records of all, so that nothing is counted twice and no two processes contend. Records
expire after 90 days.
"""

from __future__ import annotations

import bisect
import datetime
import os
import threading
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

import msgspec

from askonce.entries.decodable import decodable
from askonce.prefix.tracking.diagnosis import Diagnosis
from askonce.stores.fork import reset_after_fork

RETENTION_DAYS = 90
GAP_SECONDS = (60, 300, 600, 1_800, 3_600, 21_600, 86_400)
"""The upper bounds of the classes of `SegmentSums.gaps`; one more class holds what is longer."""
_MOST_ROWS = 2_000
_MESSAGES_APART = 8
OTHERS = "others"


class Sums(msgspec.Struct):
    """Requests of one application and prompt family that had one cause, at one segment, on one day (UTC).

    Attributes:
        application: as the application named itself.
        provider: as in `askonce.prefix.requests.rules.ProviderRule`.
        model: as the requests named it.
        family: see `askonce.prefix.requests.chain.Chain.family`.
        cause: a value of `askonce.prefix.tracking.diagnosis.Cause`.
        segment: which segment broke the prefix, or what changed; else empty.
        requests: how many.
        unknown: how many of them the provider reported no usage for. All that follows is of the others.
        input_tokens: of their prompts.
        readable_tokens: that could have been read without the cause.
        predicted_tokens: that should have been read by the rule.
        read_tokens: that were read.
        written_tokens: that were written.
        lost_tokens: that could have been read and were not.
        lost_usd: what these cost more than if they had been read; 0 where no price is known.
        lost_seconds: how much longer they took, see `askonce.prefix.tracker.PrefixTracker`.
        unpriced: requests whose model has no known price.
        disagreed: requests for which the prediction and the provider's figure differ.
        machines: over how many machines the requests of one minute were spread, at most.
        looks_like: what the difference looked like in the last of them, see `askonce.prefix.tracking.difference`.
        example: the last difference, encoded (and sealed, if there are keys) by `askonce.entries.codec.Codec`;
            empty without ``keep_text``.
        remedy: what to do about it.
    """

    application: str
    provider: str
    model: str
    family: str
    cause: str
    segment: str
    requests: int = 0
    unknown: int = 0
    input_tokens: int = 0
    readable_tokens: int = 0
    predicted_tokens: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    lost_tokens: int = 0
    lost_usd: float = 0.0
    lost_seconds: float = 0.0
    unpriced: int = 0
    disagreed: int = 0
    looks_like: str = ""
    example: bytes = b""
    remedy: str = ""
    machines: int = 1


class SegmentSums(msgspec.Struct):
    """What is known of one segment of a family's prompts on one day.

    Attributes:
        application: as in `Sums`.
        family: as in `Sums`.
        position: its place among the segments in the last request that had it, from 0.
        level: ``tools``, ``system`` or ``messages``.
        label: its name; messages behind the eighth are ``later messages``.
        requests: how many had it.
        known: in how many of them it was the same as in an earlier one.
        prefix_known: in how many the whole prompt up to its end was.
        tokens: summed over the requests.
        characters: summed over the requests.
        gaps: how many seconds the prefix up to its end was last sent before, in classes, see `GAP_SECONDS`.
    """

    application: str
    family: str
    position: int
    level: str
    label: str
    requests: int = 0
    known: int = 0
    prefix_known: int = 0
    tokens: int = 0
    characters: int = 0
    gaps: list[int] = msgspec.field(default_factory=lambda: [0] * (len(GAP_SECONDS) + 1))


@decodable
class Day(msgspec.Struct):
    """All sums of one process for one day, or of all processes when they were added up.

    Attributes:
        day: ``2026-11-21``, in UTC.
        sums: see `Sums`.
        segments: see `SegmentSums`.
        version: of this format.
    """

    day: str
    sums: list[Sums] = msgspec.field(default_factory=list)
    segments: list[SegmentSums] = msgspec.field(default_factory=list)
    version: int = 1


SumsName = tuple[str, str, str, str, str, str]
SegmentName = tuple[str, str, str]


def log_namespace(namespace: str) -> str:
    """Where in the store is what the processes of a tracker's namespace share."""
    return f"{namespace}:prefix"


def days_namespace(namespace: str) -> str:
    """Where in the store the sums of a tracker's namespace are."""
    return f"{log_namespace(namespace)}:days"


def day_of(seconds: float) -> str:
    """The day (UTC) of a time in seconds since the epoch."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


class Aggregates:
    """The sums of this process. Thread-safe."""

    def __init__(self) -> None:
        self.clear()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()  # the garbage collector ends streams, whatever this thread is at

    def clear(self) -> None:
        """Begin as a new process, also in one that was just forked."""
        self.after_fork()
        self._process = os.urandom(16)
        self._sums: dict[str, dict[SumsName, Sums]] = {}
        self._segments: dict[str, dict[SegmentName, SegmentSums]] = {}
        self._changed: set[str] = set()

    def add(self, day: str, row: Sums, segments: Iterable[SegmentSums]) -> None:
        """Add one request: rows that hold its figures alone."""
        with self._lock:
            _add(self._sums.setdefault(day, {}), self._segments.setdefault(day, {}), [row], segments)
            self._changed.add(day)

    @property
    def dirty(self) -> bool:
        """Whether there is anything that the store does not have yet."""
        return bool(self._changed)

    def days(self) -> list[Day]:
        """The sums of today and yesterday of this process."""
        with self._lock:
            return [_copy(day, self._sums[day], self._segments[day]) for day in self._sums]

    def changed(self) -> list[tuple[bytes, bytes]]:
        """The records (key and value) of the days that changed since the last call."""
        with self._lock:
            days, self._changed = self._changed, set()
            records = []
            for day in days:
                key = blake2b(self._process + day.encode(), digest_size=16).digest()
                value = msgspec.msgpack.encode(_copy(day, self._sums[day], self._segments[day]))
                records.append((key, value))
            for day in sorted(self._sums)[:-2]:  # what is past does not change
                del self._sums[day], self._segments[day]
        return records

    def forget_examples(self) -> None:
        """Forget the differences that are shown."""
        with self._lock:
            for day, rows in self._sums.items():
                for row in rows.values():
                    if row.example:
                        row.example = b""
                        self._changed.add(day)

    def again(self) -> None:
        """The changed records did not reach the store: give them out once more."""
        with self._lock:
            self._changed |= set(self._sums)


def added_up(records: Iterable[bytes]) -> list[Day]:
    """The days of all processes from the values of their records, oldest first. What cannot be read is left out."""
    sums: dict[str, dict[SumsName, Sums]] = {}
    segments: dict[str, dict[SegmentName, SegmentSums]] = {}
    for record in records:
        try:
            day = msgspec.msgpack.decode(record, type=Day)
        except msgspec.MsgspecError:
            continue
        _add(sums.setdefault(day.day, {}), segments.setdefault(day.day, {}), day.sums, day.segments)
    return [_copy(day, sums[day], segments[day]) for day in sorted(sums)]


def without_examples(record: bytes) -> bytes:
    """The value of a day's record without the differences that it shows; the same object if it shows none."""
    try:
        day = msgspec.msgpack.decode(record, type=Day)
    except msgspec.MsgspecError:
        return record
    if not any(row.example for row in day.sums):
        return record
    sums = [msgspec.structs.replace(row, example=b"") for row in day.sums]
    return msgspec.msgpack.encode(msgspec.structs.replace(day, sums=sums))


def together(days: Iterable[Day]) -> Day:
    """The sums of several days as if they were one, which has no name."""
    sums: dict[SumsName, Sums] = {}
    segments: dict[SegmentName, SegmentSums] = {}
    for day in days:
        _add(sums, segments, day.sums, day.segments)
    return _copy("", sums, segments)


def _copy(day: str, sums: dict[SumsName, Sums], segments: dict[SegmentName, SegmentSums]) -> Day:
    return Day(day, list(sums.values()), list(segments.values()))


_LAST_OR_MOST = ("looks_like", "example", "remedy", "machines")
_ADDED = [name for name in Sums.__struct_fields__ if name not in _LAST_OR_MOST][6:]


def _add(
    sums: dict[SumsName, Sums],
    segments: dict[SegmentName, SegmentSums],
    more_sums: Iterable[Sums],
    more_segments: Iterable[SegmentSums],
) -> None:
    for row in more_sums:
        name = (row.application, row.provider, row.model, row.family, row.cause, row.segment)
        if name not in sums and len(sums) >= _MOST_ROWS:
            name = (OTHERS, row.provider, row.model, OTHERS, row.cause, OTHERS)
        total = sums.setdefault(name, Sums(*name))
        for attribute in _ADDED:
            setattr(total, attribute, getattr(total, attribute) + getattr(row, attribute))
        total.looks_like, total.example = row.looks_like or total.looks_like, row.example or total.example
        total.remedy, total.machines = row.remedy or total.remedy, max(total.machines, row.machines)
    for one in more_segments:
        place = (one.application, one.family, one.label)
        if place not in segments and len(segments) >= _MOST_ROWS:
            continue
        merged = segments.setdefault(
            place, SegmentSums(one.application, one.family, one.position, one.level, one.label)
        )
        merged.position = one.position
        merged.requests += one.requests
        merged.known += one.known
        merged.prefix_known += one.prefix_known
        merged.tokens += one.tokens
        merged.characters += one.characters
        for index, times in enumerate(one.gaps):
            merged.gaps[index] += times


@lru_cache(maxsize=4096)
def shown_label(level: str, label: str) -> str:
    """The label under which a segment is counted: prompts have few tools, but any number of messages."""
    if level != "messages":
        return label
    number = label.removeprefix("message ").partition(" ")[0]
    return label if number.isdigit() and int(number) <= _MESSAGES_APART else "later messages"


def gap_class(seconds: float) -> int:
    """The index of a gap's class in `SegmentSums.gaps`."""
    return bisect.bisect_left(GAP_SECONDS, seconds)


def culprit_of(diagnosis: Diagnosis) -> str:
    """What a cause is about: the segment that broke the prefix, or what changed."""
    return shown_label(diagnosis.level, diagnosis.segment) if diagnosis.segment else diagnosis.changed
