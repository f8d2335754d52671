"""The commands of each operation, without sending them.

A namespace is spread over shards, each a hash tag of its own and so in one slot of a cluster. A shard's keys:

=======================  =========  =================================================================
``askonce:{name.0}:v``   hash       key -> expiry (a double, 0 for never), value
``askonce:{name.0}:m``   hash       key -> expiry, weight, hits, length of the value, digests of tags
``askonce:{name.0}:p``   zset       key by priority
``askonce:{name.0}:x``   zset       key by expiry, for keys that have one
``askonce:{name.0}:t``   zset       digest of a tag + key, all with score 0: found by their prefix
``askonce:{name.0}:s``   hash       inflation, size_bytes
``askonce:{name.0}:q``   zset       partitions that have a vector set, by its expiry
``askonce:{name.0}:q:…``  vectors   a partition's vector set: vector by key (Redis 8 only)
=======================  =========  =================================================================

A plan is a generator: it yields commands that may be sent together, receives their replies, and returns the
operation's result. The synchronous and the asynchronous store share it.
"""

from __future__ import annotations

import hashlib
import math
import pkgutil
import struct
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

from askonce.eviction.policy import Budget, Policy
from askonce.stores.base import (
    LEASE_SLACK,
    LOG_LENGTH,
    Claimed,
    Clock,
    LogPage,
    Page,
    Record,
    Size,
    log_begins,
)

T = TypeVar("T")
Argument = bytes | str | int | float
Command = tuple[Argument, ...]
Plan = Generator[list[Command], list[Any], T]

CLUSTER_SHARDS = 64
BATCH = 64
"""How many records one call of a script handles: 64 take about 0.6 ms, in which the server does nothing else."""
BATCH_BYTES = 1_000_000
SCAN_COUNT = 100
PAGE_BYTES = 4_000_000
SCANNED_NAMES = 1000
CLEARED = 1000
"""How many vector sets of a shard are unlinked at once."""
_NO_LIMIT = 1e300
_EXPIRY, _RECORD = struct.Struct(">d"), struct.Struct(">dddI")


class Script(NamedTuple):
    """A Lua script and its SHA-1, by which the server knows it."""

    source: str
    sha: str


def _text(name: str) -> str:
    data = pkgutil.get_data(__package__, f"{name}.lua")  # as modules are read, which is never forbidden
    assert data is not None
    return data.decode()


def _load(name: str, prelude: str = "") -> Script:
    source = prelude + _text(name)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


_SHARD = _text("shard")
_PUT, _TOUCH, _EVICT, _DELETE, _DELETE_TAG, _SIZE = (
    _load(name, _SHARD) for name in ("put", "touch", "evict", "delete", "delete_tag", "size")
)
_LEASE, _RELEASE, _LOG_APPEND = (_load(name) for name in ("lease", "release", "log_append"))
_VECTOR_PUT, _VECTOR_DELETE = _load("vector_put"), _load("vector_delete")
SOURCES = {
    script.sha: script.source
    for script in (
        *(_PUT, _TOUCH, _EVICT, _DELETE, _DELETE_TAG, _SIZE),
        *(_LEASE, _RELEASE, _LOG_APPEND, _VECTOR_PUT, _VECTOR_DELETE),
    )
}
"""Source of each script by its digest, for a server that lacks it."""


class Shard(NamedTuple):
    """The names of one shard's keys, in the order in which the scripts take them."""

    values: bytes
    records: bytes
    priorities: bytes
    expiries: bytes
    tags: bytes
    totals: bytes


def _name(namespace: str, shard: int, suffix: str) -> bytes:
    # Quoted, a namespace has no braces, so Redis takes the first pair, around the tag.
    return f"askonce:{{{quote(namespace, safe='', errors='surrogatepass')}.{shard}}}:{suffix}".encode()


NAMES = "askonce:{*"
"""Matches the names of all keys."""


def namespace_in(name: bytes) -> str | None:
    """The namespace that a key is of; ``None`` for a lease, which is neither a record nor a log."""
    quoted, _, rest = name.removeprefix(b"askonce:{").partition(b"}:")
    if not rest or rest.startswith(b"lease:"):
        return None
    return unquote(quoted.rpartition(b".")[0].decode(), errors="surrogatepass")


@lru_cache(maxsize=4096)
def shard(namespace: str, number: int) -> Shard:
    """The keys of one shard."""
    return Shard(*(_name(namespace, number, suffix) for suffix in "vmpxts"))


def shard_of(key: bytes, shards: int) -> int:
    """The shard of a namespace that holds a key."""
    return zlib.crc32(key) % shards if shards > 1 else 0


def _expiry(expires_at: float | None) -> float:
    return 0.0 if expires_at is None else expires_at or -1.0  # 0 stands for never


def unpacked(stored: bytes | None, now: float) -> bytes | None:
    """The value in what is stored; ``None`` if there is none or it has expired, empty if it is damaged."""
    if stored is None:
        return None
    if len(stored) < _EXPIRY.size:
        return b""
    expiry: float = _EXPIRY.unpack_from(stored)[0]
    return None if 0.0 != expiry <= now else stored[8:]


def _record(key: bytes, value: bytes, row: bytes) -> Record:
    """A record and its row; of one that is damaged nothing is taken."""
    if len(row) < _RECORD.size:
        return Record(key, value)
    expiry, weight, hits, _ = _RECORD.unpack_from(row)
    if not (math.isfinite(expiry) and math.isfinite(weight) and math.isfinite(hits)):
        return Record(key, value)
    return Record(key, value, expiry or None, weight, hits=int(hits))


def _call(script: Script, keys: Sequence[bytes], *arguments: Argument) -> Command:
    return ("EVALSHA", script.sha, len(keys), *keys, *arguments)


def with_source(command: Command) -> Command:
    """The same call with the script's source; other commands unchanged."""
    return ("EVAL", SOURCES[str(command[1])], *command[2:]) if command[0] == "EVALSHA" else command


class InOrder(list[Command]):
    """Commands of which each is to be done after those before it."""


def to_send_again(commands: Sequence[Command], lacking: Sequence[int]) -> Sequence[int]:
    """Which commands are to be sent again where the server lacks the scripts of some: what was to follow, too."""
    return range(lacking[0], len(commands)) if lacking and isinstance(commands, InOrder) else lacking


def _tag_digest(tag: str) -> bytes:
    return hashlib.blake2b(tag.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _base(policy: Policy, now: float) -> str | float:
    """The base of a priority, or the name of what a script takes for it."""
    if policy.inflates:
        return "inflation"
    return "expiry" if policy is Policy.TTL else policy.base(inflation=0.0, now=now, expires_at=None)


def _limits(budget: Budget, shards: int) -> tuple[float, float]:
    share = budget.share(shards) if shards > 1 else budget
    return (
        _NO_LIMIT if share.max_entries is None else share.max_entries,
        _NO_LIMIT if share.max_bytes is None else share.max_bytes,
    )


def _by_shard(keys: Sequence[bytes], shards: int) -> dict[int, list[int]]:
    """Positions in ``keys``, by the shard in which they are."""
    places: dict[int, list[int]] = {}
    for position, key in enumerate(keys):
        places.setdefault(shard_of(key, shards), []).append(position)
    return places


def _batches(keys: Sequence[bytes], shards: int) -> Iterator[tuple[int, list[bytes]]]:
    for number, positions in _by_shard(keys, shards).items():
        for start in range(0, len(positions), BATCH):
            yield number, [keys[position] for position in positions[start : start + BATCH]]


def fresh(page: Mapping[bytes, bytes], seen: set[bytes], now: float) -> Iterator[tuple[bytes, bytes]]:
    """The records of a scanned page that were not seen and have not expired."""
    for key, stored in page.items():
        value = unpacked(stored, now)
        if value is not None and key not in seen:
            seen.add(key)
            yield key, value


def _put_arguments(records: Sequence[Record]) -> Iterator[Argument]:
    """As many of the records as one call should take, and at least one."""
    size_bytes = 0
    for record in records[:BATCH]:
        if size_bytes and size_bytes + len(record.value) > BATCH_BYTES:
            return
        size_bytes += len(record.value)
        digests = b"".join(sorted({_tag_digest(tag) for tag in record.tags}))
        expiry = _expiry(record.expires_at)
        yield from (record.key, _EXPIRY.pack(expiry) + record.value, expiry, record.weight, record.hits, digests)


def _log_names(namespace: str) -> list[bytes]:
    return [_name(namespace, 0, "log"), _name(namespace, 0, "head")]


def _log_ends(namespace: str) -> list[Command]:
    events, head = _log_names(namespace)
    return [("GET", head), ("LLEN", events)]


def _empty_page(ends: Sequence[Any], after: int) -> LogPage | None:
    """The page after a position, by the replies to `_log_ends`; ``None`` if there are events to be read."""
    head, retained = int(ends[0] or 0), ends[1]
    if not head or not retained:  # a server that is short of memory may have dropped one of the keys
        return LogPage()
    return LogPage([], head) if head <= after else None


@dataclass(frozen=True, slots=True)
class Plans:
    """The operations of the store.

    Attributes:
        shards: how many each namespace has.
        clock: seconds since the epoch.
    """

    shards: int
    clock: Clock

    def _on(self, script: Script, namespace: str, number: int, *arguments: Argument) -> Command:
        return _call(script, shard(namespace, number), self.clock(), *arguments)

    def _on_all(self, script: Script, namespace: str, *arguments: Argument) -> Plan[int]:
        """Call a script on every shard until it is done there; returns the sum of what it counts."""
        count = 0
        todo = list(range(self.shards))
        while todo:
            replies = yield [self._on(script, namespace, number, *arguments) for number in todo]
            count += sum(counted for counted, _ in replies)
            todo = [number for number, (_, done) in zip(todo, replies, strict=True) if not done]
        return count

    # -- reading ---------------------------------------------------------------------------------------------

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> Plan[list[bytes | None]]:
        places = _by_shard(keys, self.shards)
        commands = self._gets(namespace, keys, places)
        replies = (yield commands) if commands else []
        return self._got(keys, places, replies)

    def get_many_with_log(
        self, namespace: str, keys: Sequence[bytes], log: str, after: int, limit: int
    ) -> Plan[tuple[list[bytes | None], LogPage]]:
        places = _by_shard(keys, self.shards)
        head, retained, *replies = yield [*_log_ends(log), *self._gets(namespace, keys, places)]
        page = yield from self._log_page(log, after, limit, (head, retained))
        return self._got(keys, places, replies), page

    @staticmethod
    def _gets(namespace: str, keys: Sequence[bytes], places: Mapping[int, list[int]]) -> list[Command]:
        return [
            ("HMGET", shard(namespace, number).values, *(keys[position] for position in positions))
            for number, positions in places.items()
        ]

    def _got(
        self, keys: Sequence[bytes], places: Mapping[int, list[int]], replies: Sequence[Any]
    ) -> list[bytes | None]:
        values: list[bytes | None] = [None] * len(keys)
        now = self.clock()
        for positions, reply in zip(places.values(), replies, strict=True):
            for position, stored in zip(positions, reply, strict=True):
                values[position] = unpacked(stored, now)
        return values

    def scan_page(
        self, namespace: str, number: int, cursor: int, count: int = SCAN_COUNT
    ) -> Plan[tuple[int, dict[bytes, bytes]]]:
        count = min(max(count, 1), SCAN_COUNT)
        [(following, page)] = yield [("HSCAN", shard(namespace, number).values, cursor, "COUNT", count)]
        return int(following), page

    def page(self, namespace: str, begin: bytes, limit: int) -> Plan[Page]:
        """The cursor of a page: shard and cursor of HSCAN there."""
        number, cursor = map(int, begin.split(b".")) if begin else (0, 0)
        records: dict[bytes, Record] = {}
        while True:
            cursor, page = yield from self.scan_page(namespace, number, cursor, limit - len(records))
            keys = list(page)
            [rows] = (yield [("HMGET", shard(namespace, number).records, *keys)]) if keys else [[]]
            for key, row in zip(keys, rows, strict=True):
                value = unpacked(page[key], self.clock())
                if value is not None and row is not None:
                    records[key] = _record(key, value, row)
            if not cursor:
                number += 1
            if number >= self.shards:
                return Page(list(records.values()))
            if len(records) >= limit or sum(len(one.value) for one in records.values()) > PAGE_BYTES:
                return Page(list(records.values()), b"%d.%d" % (number, cursor))

    def erase(self, namespace: str) -> Plan[int]:
        """Delete all of a namespace but its leases, which soon end."""
        size = yield from self.size(namespace)
        yield from self.clear(namespace)
        yield [
            ("UNLINK", *_log_names(namespace)),
            *(("UNLINK", _name(namespace, n, "q")) for n in range(self.shards)),
        ]
        return size.entries

    def size(self, namespace: str) -> Plan[Size]:
        entries = size_bytes = 0
        todo = list(range(self.shards))
        while todo:
            replies = yield [self._on(_SIZE, namespace, number) for number in todo]
            # A shard that still holds expired records is queried again; only its last reply counts.
            entries += sum(held for held, _, swept in replies if swept)
            size_bytes += sum(held for _, held, swept in replies if swept)
            todo = [number for number, (_, _, swept) in zip(todo, replies, strict=True) if not swept]
        return Size(entries, size_bytes)

    def eval_check(self) -> Plan[None]:
        """Whether scripts may be sent: a server that has them does not ask for them, until it is started anew."""
        yield [with_source(self._on(_SIZE, "", 0))]

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, namespace: str, records: Sequence[Record], budget: Budget) -> Plan[int]:
        evicted = 0
        places = _by_shard([record.key for record in records], self.shards)
        todo = {number: [records[position] for position in positions] for number, positions in places.items()}
        base, limits = _base(budget.policy, self.clock()), _limits(budget, self.shards)
        while todo:
            replies = yield [
                self._on(_PUT, namespace, number, base, *limits, budget.admission, *_put_arguments(waiting))
                for number, waiting in todo.items()
            ]
            for (number, waiting), (removed, done) in zip(list(todo.items()), replies, strict=True):
                evicted += removed
                if done < len(waiting):
                    todo[number] = waiting[done:]
                else:
                    del todo[number]
        return evicted

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy) -> Plan[None]:
        base = _base(policy, self.clock())
        commands = [
            self._on(_TOUCH, namespace, number, base, *(part for key in keys for part in (key, hits[key])))
            for number, keys in _batches(list(hits), self.shards)
        ]
        if commands:
            yield commands

    def evict(self, namespace: str, budget: Budget) -> Plan[int]:
        base, limits = _base(budget.policy, self.clock()), _limits(budget, self.shards)
        return self._on_all(_EVICT, namespace, base, *limits)

    def delete(self, namespace: str, keys: Sequence[bytes]) -> Plan[int]:
        commands = [self._on(_DELETE, namespace, number, *batch) for number, batch in _batches(keys, self.shards)]
        return sum((yield commands)) if commands else 0

    def delete_tag(self, namespace: str, tag: str) -> Plan[int]:
        return self._on_all(_DELETE_TAG, namespace, _tag_digest(tag))

    def clear(self, namespace: str) -> Plan[None]:
        yield [("UNLINK", *shard(namespace, number)) for number in range(self.shards)]
        todo = list(range(self.shards))
        while todo:
            names = [_name(namespace, number, "q") for number in todo]
            replies = yield [("ZRANGE", name, 0, CLEARED - 1) for name in names]
            commands: list[Command] = []
            for name, partitions in zip(names, replies, strict=True):
                if partitions:
                    commands.append(("ZREM", name, *partitions))
                    commands.append(("UNLINK", *(name + b":" + partition for partition in partitions)))
            if commands:
                yield commands
            todo = [number for number, reply in zip(todo, replies, strict=True) if len(reply) == CLEARED]

    # -- vector search ---------------------------------------------------------------------------------------

    def _vector_names(self, namespace: str, partition: bytes) -> tuple[bytes, bytes]:
        names = _name(namespace, shard_of(partition, self.shards), "q")
        return names + b":" + partition, names

    def vector_check(self) -> Plan[None]:
        yield [("VCARD", _name("", 0, "q:"))]

    def vector_put(
        self, namespace: str, partition: bytes, key: bytes, vector: bytes, expires_at: float | None
    ) -> Plan[None]:
        names = self._vector_names(namespace, partition)
        yield [_call(_VECTOR_PUT, names, self.clock(), _expiry(expires_at), partition, key, vector)]

    def vector_search(
        self, namespace: str, partition: bytes, vector: bytes, k: int
    ) -> Plan[list[tuple[bytes, float]]]:
        name, _ = self._vector_names(namespace, partition)
        [reply] = yield [("VSIM", name, "FP32", vector, "WITHSCORES", "COUNT", k)]
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return [(key, 2 * float(score) - 1) for key, score in pairs]  # the score is (1 + cosine) / 2

    def vector_delete(self, namespace: str, partition: bytes, keys: Sequence[bytes]) -> Plan[int]:
        names = self._vector_names(namespace, partition)
        batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
        commands = [_call(_VECTOR_DELETE, names, partition, *batch) for batch in batches]
        return sum((yield commands)) if commands else 0

    # -- between processes -----------------------------------------------------------------------------------

    def _lease_name(self, namespace: str, key: bytes) -> bytes:
        return _name(namespace, shard_of(key, self.shards), "lease:") + key

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> Plan[bool]:
        [held] = yield [
            _call(_LEASE, [self._lease_name(namespace, key)], self.clock(), owner, seconds, LEASE_SLACK)
        ]
        return bool(held)

    def release(self, namespace: str, key: bytes, owner: str) -> Plan[None]:
        yield [self._release(namespace, key, owner)]

    def _release(self, namespace: str, key: bytes, owner: str) -> Command:
        return _call(_RELEASE, [self._lease_name(namespace, key)], owner)

    def claim(self, namespace: str, key: bytes, owner: str, seconds: float, log: str, after: int) -> Plan[Claimed]:
        """The lease and the record are on one node; on a cluster the log may be on another, which may be down."""
        commands = InOrder(
            [
                _call(_LEASE, [self._lease_name(namespace, key)], self.clock(), owner, seconds, LEASE_SLACK),
                ("HGET", shard(namespace, shard_of(key, self.shards)).values, key),
            ]
        )
        if self.shards == 1:
            commands.extend(_log_ends(log))
        held, stored, *ends = yield commands
        page = _empty_page(ends, after) if ends else None
        return Claimed(bool(held), unpacked(stored, self.clock()), page)

    def fulfil(
        self, namespace: str, record: Record, budget: Budget, owner: str, log: str, after: int
    ) -> Plan[tuple[int, LogPage | None]]:
        number = shard_of(record.key, self.shards)
        base, limits = _base(budget.policy, self.clock()), _limits(budget, self.shards)
        put = self._on(_PUT, namespace, number, base, *limits, budget.admission, *_put_arguments([record]))
        commands = InOrder([put, self._release(namespace, record.key, owner)])
        if self.shards == 1:
            commands.extend(_log_ends(log))
        (evicted, done), _, *ends = yield commands
        if not done:
            evicted += yield from self.put(namespace, [record], budget)
            ends = []  # of a moment before the record was put
        return evicted, _empty_page(ends, after) if ends else None

    def log_append(self, namespace: str, event: bytes) -> Plan[int]:
        begin = log_begins(self.clock())
        [sequence] = yield [_call(_LOG_APPEND, _log_names(namespace), event, LOG_LENGTH, begin)]
        return int(sequence)

    def log_read(self, namespace: str, after: int, limit: int) -> Plan[LogPage]:
        ends = yield _log_ends(namespace)
        return (yield from self._log_page(namespace, after, limit, ends))

    def _log_page(self, log: str, after: int, limit: int, ends: Sequence[Any]) -> Plan[LogPage]:
        """The page after a position, given the replies to `_log_ends`.

        Not by a script, which a server that takes no writes, or a user who may not send scripts, cannot run.
        """
        name, head_name = _log_names(log)
        slack = 0  # events are dropped at the beginning while others are appended
        while (page := _empty_page(ends, after)) is None:
            begin = max(after - (int(ends[0]) - ends[1]) - slack, 0)
            *ends, events, head = yield [
                *_log_ends(log),
                ("LRANGE", name, begin, begin + slack + limit - 1),
                ("GET", head_name),
            ]
            dropped = int(ends[0] or 0) - ends[1]
            first, wanted = dropped + begin + 1, max(after, dropped) + 1
            if head == ends[0] and ends[1] and first <= wanted:  # else it changed meanwhile
                missed = after < dropped if after else ends[1] >= LOG_LENGTH
                read = list(enumerate(events, first))[wanted - first : wanted - first + limit]
                return LogPage(read, int(head), truncated=missed)
            slack = 2 * slack + BATCH
        return page
