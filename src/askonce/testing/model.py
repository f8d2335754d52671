"""What one namespace of a store must hold, computed in the simplest way.

Written from the docstrings of ``askonce.stores.base`` and ``askonce.eviction.policy`` and from nothing else: every
operation looks at every record. ``StoreConformance`` compares stores with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from askonce.eviction.policy import NEVER, Budget, Policy
from askonce.stores.base import Clock, Record, Size


@dataclass
class _Row:
    record: Record
    hits: int
    priority: float


class StoreModel:
    """One namespace as a plain dictionary.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rows: dict[bytes, _Row] = {}
        self.inflation = 0.0

    def content(self) -> dict[bytes, bytes]:
        """Keys and values of the records that are not expired."""
        now = self.clock()
        self.rows = {
            key: row
            for key, row in self.rows.items()
            if row.record.expires_at is None or row.record.expires_at > now
        }
        return {key: row.record.value for key, row in self.rows.items()}

    def size(self) -> Size:
        """How much `content` is."""
        values = self.content().values()
        return Size(len(values), sum(map(len, values)))

    def put(self, records: Sequence[Record], budget: Budget) -> int:
        """As ``Store.put``."""
        evicted = 0
        for record in records:
            self.delete([record.key])
            if budget.max_bytes is None or len(record.value) <= budget.max_bytes:
                if budget.admission == "cost" and not self._is_admitted(record, budget):
                    evicted += 1
                    continue
                evicted += self._evict(budget, entries=1, size_bytes=len(record.value))
                priority = self._base(record, budget.policy) + record.hits * record.weight
                self.rows[record.key] = _Row(record, record.hits, priority)
        return evicted

    def touch(self, hits: Mapping[bytes, int], policy: Policy) -> None:
        """As ``Store.touch``."""
        for key in self.content().keys() & hits.keys():
            row = self.rows[key]
            row.hits += hits[key]
            row.priority = self._base(row.record, policy) + row.hits * row.record.weight

    def evict(self, budget: Budget) -> int:
        """As ``Store.evict``."""
        return self._evict(budget, entries=0, size_bytes=0)

    def delete(self, keys: Iterable[bytes]) -> int:
        """As ``Store.delete``."""
        found = self.content().keys() & set(keys)
        for key in found:
            del self.rows[key]
        return len(found)

    def delete_tag(self, tag: str) -> int:
        """As ``Store.delete_tag``."""
        self.content()
        return self.delete([key for key, row in self.rows.items() if tag in row.record.tags])

    def _base(self, record: Record, policy: Policy) -> float:
        never = NEVER if record.expires_at is None else record.expires_at
        bases = {"gdsf": self.inflation, "lec": 0.0, "lfu": self.clock() / 2**33, "lru": self.clock(), "ttl": never}
        return bases[policy.value]

    def _is_admitted(self, newcomer: Record, budget: Budget) -> bool:
        """Whether a newcomer has a higher priority than each that it would evict; if not, the inflation rises."""
        gain = newcomer.hits * newcomer.weight
        held = len(self.content())
        attempt = StoreModel(self.clock)
        attempt.rows, attempt.inflation = dict(self.rows), self.inflation
        attempt._evict(budget, entries=1, size_bytes=len(newcomer.value))
        victims = [self.rows[key].priority for key in self.rows.keys() - attempt.rows.keys()]
        base = 0.0 if budget.policy is Policy.LFU else self._base(newcomer, budget.policy)
        if all(priority < base + gain for priority in victims):
            return True
        if budget.policy is Policy.GDSF:
            self.inflation += gain / held
        return False

    def _evict(self, budget: Budget, *, entries: int, size_bytes: int) -> int:
        evicted = 0
        while self.content():
            size = self.size()
            too_many = budget.max_entries is not None and size.entries + entries > budget.max_entries
            too_large = budget.max_bytes is not None and size.size_bytes + size_bytes > budget.max_bytes
            if not (too_many or too_large):
                break
            priority, key = min((row.priority, key) for key, row in self.rows.items())
            if budget.policy is Policy.GDSF:  # the only one that ages its entries
                self.inflation = max(self.inflation, priority)
            del self.rows[key]
            evicted += 1
        return evicted
