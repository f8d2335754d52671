"""From an answer to what the store keeps, and back.

What an entry costs, how long it lives, and how it is weighed against others when the store is full, is decided here
and in the modules that this one asks; `RequestFlow` decides when.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence

from askonce.concurrency.drivers import SyncDriver
from askonce.costs import pricing
from askonce.engine.request import Request
from askonce.entries.codec import Codec
from askonce.entries.entry import Answer, Entry, Hit, Miss, SemanticEntry
from askonce.errors import CodecError
from askonce.eviction.frequency import FrequencySketch
from askonce.eviction.policy import Budget
from askonce.options import CacheOptions
from askonce.stats import Counters
from askonce.storage.access_log import AccessLog
from askonce.storage.freshness import Freshness
from askonce.storage.hit_buffer import HitBuffer
from askonce.storage.local_cache import LocalCache
from askonce.stores.base import Clock, Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

logger = logging.getLogger("askonce")

USD_PER_SECOND = 0.001
"""What a second of waiting weighs against money when entries are compared and no price is known."""


class EntryStorage:
    """What one cache keeps, and how. See `Cache` for the settings."""

    def __init__(
        self,
        breaker: CircuitBreaker,
        counters: Counters,
        *,
        codec: Codec,
        freshness: Freshness,
        budget: Budget,
        near: LocalCache | None,
        cache_empty: bool,
        cache_truncated: bool,
        clock: Clock,
        accesses: AccessLog | None,
    ) -> None:
        self.near = near
        self._frequencies = FrequencySketch() if budget.selects else None
        self.hits = HitBuffer(_Touch(breaker, budget, self._frequencies), accesses.flush if accesses else None)
        self._breaker, self._counters, self._accesses = breaker, counters, accesses
        self._codec, self._freshness, self._budget = codec, freshness, budget
        self._keep_empty, self._keep_truncated = cache_empty, cache_truncated
        self._clock = clock

    # -- back from the store -----------------------------------------------------------------------------------

    def read(self, request: Request, data: bytes | None, now: float) -> Entry | Miss:
        """The entry in what the store gave for a request."""
        if data is None:
            return Miss("absent")
        try:
            entry = self._codec.decode(data, bound_to=request.place)
        except CodecError as error:
            logger.info("askonce: a kept answer cannot be read and will be made anew: %s", error)
            return Miss("corrupt")
        if self.near is not None:
            self.near.put(request.namespace, request.key, entry, now)
        return entry

    def opened(self, namespace: str, key: bytes, data: bytes) -> Entry | None:
        """The entry in ``data``, if it can be read."""
        try:
            return self._codec.decode(data, bound_to=Request(namespace, key, CacheOptions()).place)
        except CodecError:
            return None

    def usable(self, namespace: str, key: bytes, data: bytes) -> Entry | None:
        """The entry in ``data``, found by a scan, if it can be read and is fresh."""
        entry = self.opened(namespace, key, data)
        if entry is None:
            return None
        return entry if isinstance(self._freshness.judge(entry, self._clock(), None), Hit) else None

    def note(self, request: Request, hit: Hit) -> None:
        """Count a hit."""
        key = hit.key or request.key
        self._counters.hit(hit)
        if self._accesses is not None:
            self._accesses.add(self._clock(), request.namespace, key, hit.entry, _cost(hit.entry))
        self.hits.add(request.namespace, key)
        if hit.entry.meaning is not None and hit.entry.meaning.answer:
            self.hits.add(request.namespace, hit.entry.meaning.answer)

    # -- to the store ------------------------------------------------------------------------------------------

    def pack(self, pack: Callable[[], Answer | None]) -> Answer | None:
        """A fresh answer as its adapter hands it over; ``None`` if it cannot be kept."""
        try:
            answer = pack()
        except Exception:
            logger.warning("askonce: an answer cannot be kept", exc_info=True)
            answer = None
        if answer is None:
            self._counters.add(not_stored=1)
        return answer

    def is_cacheable(self, answer: Answer) -> bool:
        """Whether an answer is to be kept, by the rules for empty and truncated ones."""
        worth = (self._keep_empty or not answer.empty) and (self._keep_truncated or not answer.truncated)
        if not worth:
            self._counters.add(not_stored=1)
        return worth

    def entry(
        self, request: Request, answer: Answer, seconds: float, meaning: SemanticEntry | None = None
    ) -> Entry:
        """The entry of an answer that took so long."""
        now = self._clock()
        cost = answer.cost_usd
        sources = answer.sources or request.sources
        tags = dict.fromkeys(tag for source in sources for tag in source.tags)
        fresh_until = self._freshness.fresh_until(now, request.options.ttl_seconds)
        if answer.ttl_seconds is not None:
            fresh_until = min(fresh_until or math.inf, now + answer.ttl_seconds)
        return Entry(
            payload=answer.payload,
            created_at=now,
            fresh_until=fresh_until,
            cost_seconds=seconds,
            cost_usd=pricing.cost_usd(answer.model, answer.usage) if cost is None else cost,
            usage=answer.usage,
            tags=(*request.options.tags, *tags),
            sources=sources,
            meaning=meaning,
        )

    async def put(self, driver: SyncDriver, requests: Sequence[Request], entries: Sequence[Entry]) -> None:
        """Keep entries under requests of one namespace, in one round trip."""
        if not entries:
            return
        if self._frequencies is not None:
            for request in requests:
                self._frequencies.add(request.key)
        records = [self._record(request, entry) for request, entry in zip(requests, entries, strict=True)]
        if self._accesses is not None:
            for entry, record in zip(entries, records, strict=True):
                size_bytes, cost = len(record.value), _cost(entry)
                self._accesses.add(entry.created_at, requests[0].namespace, record.key, size_bytes, cost)
            self.hits.notify()
        try:
            evicted = await driver.call("put", requests[0].namespace, records, self._budget)
        except StoreDown:
            return
        if self.near is not None:
            for request, entry in zip(requests, entries, strict=True):
                self.near.put(request.namespace, request.key, entry, entry.created_at)
        self._counters.add(
            stored=len(records),
            evicted=evicted,
            spent_seconds=sum(entry.cost_seconds for entry in entries),
            spent_usd=sum(entry.cost_usd or 0.0 for entry in entries),
        )

    def _record(self, request: Request, entry: Entry) -> Record:
        value = self._codec.encode(entry, bound_to=request.place)
        return Record(
            key=request.key,
            value=value,
            expires_at=self._freshness.expires_at(entry.fresh_until),
            weight=self._budget.policy.weight(cost=_cost(entry), size_bytes=len(value)),
            tags=entry.tags,
            hits=max(self._frequencies[request.key], 1) if self._frequencies else 1,
        )

    def replace(self, namespace: str, key: bytes, entry: Entry) -> int:
        """Keep an entry in place of the one under its key; returns by how many bytes it is smaller."""
        request = Request(namespace, key, CacheOptions())
        before = self._breaker.call(self._breaker.store.get, namespace, key)
        record = self._record(request, entry)
        self._breaker.call(self._breaker.store.put, namespace, [record], self._budget)
        if self.near is not None:
            self.near.put(namespace, key, entry, self._clock())
        return len(before or b"") - len(record.value)


def _cost(entry: Entry) -> float:
    """What making an entry again would cost, in dollars, as far as it is known."""
    return entry.cost_seconds * USD_PER_SECOND if entry.cost_usd is None else entry.cost_usd


class _Touch:
    """Hands collected hits to the store, and to the sketch of frequencies."""

    def __init__(self, breaker: CircuitBreaker, budget: Budget, frequencies: FrequencySketch | None) -> None:
        self._breaker, self._policy, self._frequencies = breaker, budget.policy, frequencies

    def __call__(self, namespace: str, hits: Mapping[bytes, int]) -> None:
        if self._frequencies is not None:
            for key, count in hits.items():
                self._frequencies.add(key, count)
        with contextlib.suppress(StoreDown):
            self._breaker.call(self._breaker.store.touch, namespace, hits, self._policy)
