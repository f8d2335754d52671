"""Hits to be written to the store: collected, and written together, so that a hit never waits for a write."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from askonce.entries.entry import Place
from askonce.eviction.policy import Policy
from askonce.storage.pieces import FIRST_ENTRIES, by_part, next_length
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

if TYPE_CHECKING:
    from askonce.eviction.frequency import FrequencySketch


class HitBuffer:
    """Counts hits by place, and raises the priorities of their entries in the store.

    Args:
        breaker: the store's.
        policy: how a hit changes a priority.
        frequencies: counts requests, where the admission of new entries depends on them.
    """

    def __init__(self, breaker: CircuitBreaker, policy: Policy, frequencies: FrequencySketch | None) -> None:
        self._breaker, self._policy, self._frequencies = breaker, policy, frequencies
        self._hits: dict[str, dict[bytes, int]] = {}

    def add(self, places: Iterable[Place]) -> None:
        """Count hits."""
        for namespace, key in places:
            hits = self._hits.setdefault(namespace, {})
            hits[key] = hits.get(key, 0) + 1

    def flush(self) -> None:
        """Write what was counted to the store."""
        hits, self._hits = self._hits, {}
        for namespace, counts in hits.items():
            if self._frequencies is not None:
                for key, count in counts.items():
                    self._frequencies.add(key, count)
            keys = list(counts)
            for positions in by_part(keys, partial(self._breaker.store.part, namespace)).values():
                with contextlib.suppress(StoreDown):
                    self._touch(namespace, {keys[position]: counts[keys[position]] for position in positions})

    def _touch(self, namespace: str, counts: dict[bytes, int]) -> None:
        rows, start, length = list(counts.items()), 0, FIRST_ENTRIES
        while piece := rows[start : start + length]:
            began = time.monotonic()
            self._breaker.call(self._breaker.store.touch, namespace, dict(piece), self._policy)
            start, length = start + length, next_length(length, 0, time.monotonic() - began)
