"""A store in this process's memory: for tests, and for caches that need not outlive the process."""

from __future__ import annotations

import heapq
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from askonce.eviction.policy import UNLIMITED, Budget, Policy
from askonce.stores.base import LEASE_SLACK, LOG_LENGTH, Clock, LogPage, Page, Record, Size, Store, log_begins


@dataclass(slots=True)
class _Held:
    record: Record
    priority: float
    hits: int


@dataclass(slots=True)
class _Space:
    """One namespace."""

    held: dict[bytes, _Held] = field(default_factory=dict)
    tagged: dict[str, set[bytes]] = field(default_factory=dict)
    # Both heaps may hold outdated rows; a row counts only if `held` agrees with it.
    by_priority: list[tuple[float, bytes]] = field(default_factory=list)
    by_expiry: list[tuple[float, bytes]] = field(default_factory=list)
    size_bytes: int = 0
    inflation: float = 0.0
    leases: dict[bytes, tuple[str, float]] = field(default_factory=dict)
    log: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))
    head: int = 0

    def remove(self, key: bytes) -> bool:
        held = self.held.pop(key, None)
        if held is None:
            return False
        self.size_bytes -= len(held.record.value)
        for tag in held.record.tags:
            keys = self.tagged.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self.tagged[tag]
        return True

    def rank(self, key: bytes, held: _Held) -> None:
        heapq.heappush(self.by_priority, (held.priority, key))
        if len(self.by_priority) > 4 * len(self.held) + 64:
            self.by_priority = [(other.priority, name) for name, other in self.held.items()]
            heapq.heapify(self.by_priority)

    def expire(self, now: float) -> None:
        while self.by_expiry and self.by_expiry[0][0] <= now:
            expires_at, key = heapq.heappop(self.by_expiry)
            held = self.held.get(key)
            if held is not None and held.record.expires_at == expires_at:
                self.remove(key)

    def lowest(self, budget: Budget, entries: int, size_bytes: int) -> dict[bytes, float]:
        """What must be evicted for so much more to fit, with the priorities, lowest first."""
        rows: dict[bytes, float] = {}
        held, held_bytes = len(self.held) + entries, self.size_bytes + size_bytes
        while len(rows) < len(self.held) and budget.exceeded_by(entries=held, size_bytes=held_bytes):
            priority, key = heapq.heappop(self.by_priority)
            row = self.held.get(key)
            if row is not None and row.priority == priority and key not in rows:
                rows[key] = priority
                held, held_bytes = held - 1, held_bytes - len(row.record.value)
        return rows


class MemoryStore(Store):
    """Holds records in dictionaries. Thread-safe; nothing is shared between processes.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, *, clock: Clock = time.time) -> None:
        self.url = "memory://"
        self._clock = clock
        self._lock = threading.RLock()
        _alive.add(self)
        self._spaces: dict[str, _Space] = {}

    def _space(self, namespace: str) -> _Space:
        space = self._spaces.get(namespace)
        if space is None:
            space = self._spaces.setdefault(namespace, _Space())
        return space

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, namespace: str, key: bytes) -> bytes | None:
        held = self._space(namespace).held.get(key)
        if held is None:
            return None
        record = held.record
        if record.expires_at is not None and record.expires_at <= self._clock():
            return None
        return record.value

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(namespace, key) for key in keys]

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        with self._lock:
            space = self._space(namespace)
            space.expire(self._clock())
            rows = [(key, held.record.value) for key, held in space.held.items()]
        yield from rows

    def page(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        with self._lock:
            space = self._space(namespace)
            space.expire(self._clock())
            keys = heapq.nsmallest(limit, (key for key in space.held if key > cursor))
            rows = [space.held[key] for key in keys]
        records = [msgspec.structs.replace(row.record, hits=row.hits, tags=()) for row in rows]
        return Page(records, keys[-1] if len(keys) == limit else b"")

    def namespaces(self) -> list[str]:
        with self._lock:
            return [name for name, space in self._spaces.items() if space.held or space.log]

    def size(self, namespace: str) -> Size:
        with self._lock:
            space = self._space(namespace)
            space.expire(self._clock())
            return Size(len(space.held), space.size_bytes)

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        evicted = 0
        with self._lock:
            space = self._space(namespace)
            now = self._clock()
            space.expire(now)
            for record in records:
                space.remove(record.key)
                if budget.admits(len(record.value)):
                    victims = space.lowest(budget, 1, len(record.value))
                    if budget.selects and victims and self._refuse(space, record, victims, budget.policy):
                        evicted += 1
                        continue
                    evicted += self._evict(space, victims, budget.policy)
                    self._insert(space, record, budget.policy, now)
        return evicted

    @staticmethod
    def _refuse(space: _Space, newcomer: Record, victims: Mapping[bytes, float], policy: Policy) -> bool:
        """Whether a newcomer has no higher priority than one that it would evict; then all stay."""
        base = policy.judged_base(inflation=space.inflation, expires_at=newcomer.expires_at)
        gain = newcomer.hits * newcomer.weight
        if base + gain > max(victims.values()):
            return False
        for key, priority in victims.items():
            heapq.heappush(space.by_priority, (priority, key))
        if policy.inflates:
            space.inflation += gain / len(space.held)
        return True

    @staticmethod
    def _evict(space: _Space, victims: Mapping[bytes, float], policy: Policy) -> int:
        for key, priority in victims.items():
            space.remove(key)
            if policy.inflates:
                space.inflation = max(space.inflation, priority)
        return len(victims)

    @staticmethod
    def _insert(space: _Space, record: Record, policy: Policy, now: float) -> None:
        base = policy.base(inflation=space.inflation, now=now, expires_at=record.expires_at)
        held = _Held(record, base + record.hits * record.weight, record.hits)
        space.held[record.key] = held
        space.size_bytes += len(record.value)
        for tag in record.tags:
            space.tagged.setdefault(tag, set()).add(record.key)
        if record.expires_at is not None:
            heapq.heappush(space.by_expiry, (record.expires_at, record.key))
        space.rank(record.key, held)

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        with self._lock:
            space = self._space(namespace)
            now = self._clock()
            space.expire(now)
            for key, count in hits.items():
                held = space.held.get(key)
                if held is not None:
                    held.hits += count
                    base = policy.base(inflation=space.inflation, now=now, expires_at=held.record.expires_at)
                    held.priority = base + held.hits * held.record.weight
                    space.rank(key, held)

    def evict(self, namespace: str, budget: Budget) -> int:
        with self._lock:
            space = self._space(namespace)
            space.expire(self._clock())
            return self._evict(space, space.lowest(budget, 0, 0), budget.policy)

    def delete(self, namespace: str, keys: Sequence[bytes]) -> int:
        with self._lock:
            space = self._space(namespace)
            space.expire(self._clock())
            return sum(space.remove(key) for key in keys)

    def delete_tag(self, namespace: str, tag: str) -> int:
        with self._lock:
            space = self._space(namespace)
            space.expire(self._clock())
            return sum(space.remove(key) for key in list(space.tagged.get(tag, ())))

    def clear(self, namespace: str) -> None:
        with self._lock:
            old = self._space(namespace)
            self._spaces[namespace] = _Space(leases=old.leases, log=old.log, head=old.head)

    def erase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        erased = 0
        for namespace, keys in places.items():
            if keys is not None:
                erased += self.delete(namespace, keys)
                continue
            with self._lock:
                erased += self.size(namespace).entries
                del self._spaces[namespace]
        return erased

    # -- between processes (here: between threads) -----------------------------------------------------------

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        with self._lock:
            leases = self._space(namespace).leases
            now = self._clock()
            holder, until = leases.get(key, (owner, now))
            if holder != owner and now < until <= now + LEASE_SLACK * seconds:
                return False
            leases[key] = (owner, now + seconds)
            return True

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        with self._lock:
            leases = self._space(namespace).leases
            if leases.get(key, ("", 0.0))[0] == owner:
                del leases[key]

    def log_append(self, namespace: str, event: bytes) -> int:
        with self._lock:
            space = self._space(namespace)
            space.head = space.head + 1 if space.head else log_begins(self._clock())
            space.log.append((space.head, event))
            return space.head

    def log_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        with self._lock:
            space = self._space(namespace)
            events = [(sequence, event) for sequence, event in space.log if sequence > after]
            missed = after < space.head - len(space.log) if after else len(space.log) == LOG_LENGTH
            return LogPage(events[:limit], space.head, truncated=missed)

    # -- life ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass

    # -- asynchronous twins: nothing here waits, so they call the synchronous methods ------------------------------

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        return self.get(namespace, key)

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.get_many(namespace, keys)

    async def ascan(self, namespace: str) -> AsyncIterator[tuple[bytes, bytes]]:
        for row in self.scan(namespace):
            yield row

    async def apage(self, namespace: str, cursor: bytes = b"", limit: int = 1000) -> Page:
        return self.page(namespace, cursor, limit)

    async def anamespaces(self) -> list[str]:
        return self.namespaces()

    async def asize(self, namespace: str) -> Size:
        return self.size(namespace)

    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        return self.put(namespace, records, budget)

    async def atouch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        self.touch(namespace, hits, policy)

    async def aevict(self, namespace: str, budget: Budget) -> int:
        return self.evict(namespace, budget)

    async def adelete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return self.delete(namespace, keys)

    async def adelete_tag(self, namespace: str, tag: str) -> int:
        return self.delete_tag(namespace, tag)

    async def aclear(self, namespace: str) -> None:
        self.clear(namespace)

    async def aerase(self, places: Mapping[str, Sequence[bytes] | None]) -> int:
        return self.erase(places)

    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return self.lease(namespace, key, owner, seconds)

    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        self.release(namespace, key, owner)

    async def alog_append(self, namespace: str, event: bytes) -> int:
        return self.log_append(namespace, event)

    async def alog_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return self.log_read(namespace, after, limit)

    async def aclose(self) -> None:
        self.close()


_alive: weakref.WeakSet[MemoryStore] = weakref.WeakSet()
_forking = threading.local()


def _before_fork() -> None:
    """No thread is in the middle of a change, which its copy in the child would never end."""
    _forking.held = [store._lock for store in list(_alive)]
    for lock in _forking.held:
        lock.acquire()


def _after_fork() -> None:
    for lock in _forking.held:
        lock.release()


def _after_fork_in_child() -> None:
    for lock in _forking.held:
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
