"""One setting of a cache, followed request by request."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field

from askonce.eviction.policy import Budget, Policy
from askonce.simulate.log import Trace


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a replay.

    Attributes:
        hits: requests that found an answer.
        saved: what they would have cost, in the trace's unit.
        evicted: entries that were evicted, or not admitted.
    """

    hits: int
    saved: float
    evicted: int


@dataclass(slots=True)
class _Stored:
    size: int
    expires_at: float
    weight: float
    hits: int
    priority: float


@dataclass(slots=True)
class _Partition:
    """A namespace that holds no bytes: ``askonce.stores.memory`` without the values, and quicker.

    An entry's row in the heap may be older than its priority, but never above it: a priority never decreases
    while its entry is held. So rows are corrected only when they reach the top.
    """

    budget: Budget
    held: dict[int, _Stored] = field(default_factory=dict)
    heap: list[tuple[float, int]] = field(default_factory=list)
    expiries: deque[tuple[float, int]] = field(default_factory=deque)
    size_bytes: int = 0
    inflation: float = 0.0
    evicted: int = 0

    def remove(self, key: int) -> None:
        self.size_bytes -= self.held.pop(key).size

    def expire(self, now: float) -> None:
        while self.expiries and self.expiries[0][0] <= now:
            expires_at, key = self.expiries.popleft()
            held = self.held.get(key)
            if held is not None and held.expires_at == expires_at:
                self.remove(key)

    def victims(self, size: int) -> list[tuple[float, int]]:
        """What must be evicted for an entry of that size, taken out of the heap."""
        rows: list[tuple[float, int]] = []
        entries, size_bytes = len(self.held) + 1, self.size_bytes + size
        while len(rows) < len(self.held) and self.budget.exceeded_by(entries=entries, size_bytes=size_bytes):
            priority, key = heapq.heappop(self.heap)
            held = self.held.get(key)
            if held is None:
                continue
            if held.priority != priority:
                if held.priority > priority:
                    heapq.heappush(self.heap, (held.priority, key))
                continue
            if rows and rows[-1] == (priority, key):
                continue
            rows.append((priority, key))
            entries, size_bytes = entries - 1, size_bytes - held.size
        return rows

    def put(self, key: int, size: int, weight: float, hits: int, now: float, expires_at: float | None) -> bool:
        """Store an entry if it is admitted; returns whether it was."""
        if not self.budget.admits(size):
            return False
        policy = self.budget.policy
        judged = policy.judged_base(inflation=self.inflation, expires_at=expires_at)
        rows, gain = self.victims(size), hits * weight
        if rows and self.budget.selects and judged + gain <= rows[-1][0]:
            for row in rows:
                heapq.heappush(self.heap, row)
            if policy.inflates:
                self.inflation += gain / len(self.held)
            self.evicted += 1
            return False
        for priority, victim in rows:
            self.remove(victim)
            if policy.inflates:
                self.inflation = max(self.inflation, priority)
        self.evicted += len(rows)
        priority = policy.base(inflation=self.inflation, now=now, expires_at=expires_at) + gain
        self.held[key] = _Stored(size, math.inf if expires_at is None else expires_at, weight, hits, priority)
        if expires_at is not None:
            self.expiries.append((expires_at, key))
        self.size_bytes += size
        heapq.heappush(self.heap, (priority, key))
        return True


def replay(trace: Trace, budget: Budget, ttl_seconds: float | None = None) -> Outcome:
    """Replay a trace through a cache that begins empty and stores every answer that it can.

    The cache is that of ``askonce.stores``, with hits that count at once; so the outcome is the store's.

    Args:
        trace: the requests.
        budget: the limits, for a trace of all keys: for a sampled one they are scaled by its rate.
        ttl_seconds: how long an answer may be used.
    """
    policy = budget.policy
    space = _Partition(_scaled(budget, trace.rate))
    requests: dict[int, int] = {}
    hits, saved = 0, 0.0
    rows = zip(
        *(trace.keys.tolist(), trace.sizes.tolist(), trace.costs.tolist(), trace.times.tolist()), strict=True
    )
    for key, size, cost, now in rows:
        if ttl_seconds is not None:
            space.expire(now)
        expires_at = None if ttl_seconds is None else now + ttl_seconds
        held = space.held.get(key)
        requests[key] = requests.get(key, 0) + 1
        if held is not None:
            hits += 1
            saved += cost
            held.hits += 1
            if policy is not Policy.TTL:
                base = policy.base(inflation=space.inflation, now=now, expires_at=None)
                held.priority = base + held.hits * held.weight
            continue
        weight = policy.weight(cost=cost, size_bytes=size)
        space.put(key, size, weight, requests[key] if budget.selects else 1, now, expires_at)
    return Outcome(hits, saved, space.evicted)


def _scaled(budget: Budget, rate: float) -> Budget:
    if rate >= 1.0:
        return budget
    return Budget(
        budget.max_bytes and max(round(budget.max_bytes * rate), 1),
        budget.max_entries and max(round(budget.max_entries * rate), 1),
        budget.policy,
        budget.admission,
    )
