"""From a fresh answer to the record in the store.

An entry's cost, lifetime and eviction weight are decided here and in the modules that this one calls; the engine
decides when.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from askonce.concurrency.beside import LARGE_BYTES
from askonce.concurrency.drivers import SyncDriver
from askonce.costs import pricing
from askonce.entries.codec import Codec
from askonce.entries.entry import Answer, Entry, NotStoredReason, Place, RequestKind, SemanticEntry, Source, tags_of
from askonce.eviction.policy import Budget
from askonce.keys.normal_form import NormalForm, encode
from askonce.keys.request_texts import digests_of
from askonce.options import CacheOptions
from askonce.storage.freshness import Freshness
from askonce.storage.local_cache import LocalCache
from askonce.storage.pieces import FIRST_ENTRIES, after_failure, by_part, fitting, next_length
from askonce.stores.base import LARGEST_VALUE_BYTES, Clock, LogPage, Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

if TYPE_CHECKING:
    from askonce.eviction.frequency import FrequencySketch

logger = logging.getLogger("askonce")

USD_PER_SECOND = 0.001
"""The cost of a second, for comparing entries whose price is not known."""


class EntryStorage:
    """Stores the entries of one cache.

    Args:
        breaker: the store's.
        codec: encodes entries.
        freshness: how long they live.
        budget: what a namespace may hold.
        local: entries held in this process as well; ``None`` for none.
        frequencies: counts requests, where the admission of new entries depends on them.
        clock: seconds since the epoch.
        store_requests: an entry has its request's normal form.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        codec: Codec,
        freshness: Freshness,
        budget: Budget,
        local: LocalCache | None,
        frequencies: FrequencySketch | None,
        clock: Clock,
        store_requests: bool = False,
    ) -> None:
        self._store_requests = store_requests
        self._breaker, self._codec, self._freshness, self._budget = breaker, codec, freshness, budget
        self._local, self._frequencies, self._clock = local, frequencies, clock

    def entry(
        self,
        answer: Answer,
        kind: RequestKind,
        options: CacheOptions,
        sources: tuple[Source, ...],
        seconds: float,
        semantic: SemanticEntry | None = None,
        form: Callable[[], NormalForm] | None = None,
    ) -> tuple[Entry, bool]:
        """The entry of an answer that took so long, to a request of this kind, with these options and sources.

        Its request has that form, of which it gets the digests of the texts; also whether that form is large.
        """
        texts, written, is_large = self._request_in(form)
        now = self._clock()
        sources = answer.sources or sources
        tags = dict.fromkeys(tag for source in sources for tag in source.tags)
        for tag in (tag for one in answer.slices for tag in tags_of(one.ids)):
            tags.pop(tag, None)  # that of a chunk: without it the entry is not found either
        fresh_until = self._freshness.fresh_until(now, options.ttl_seconds)
        if answer.ttl_seconds is not None:
            fresh_until = min(fresh_until or math.inf, now + answer.ttl_seconds)
        cost = answer.cost_usd
        entry = Entry(
            payload=answer.payload,
            created_at=now,
            fresh_until=fresh_until,
            cost_seconds=seconds,
            cost_usd=pricing.cost_usd(answer.model, answer.usage) if cost is None else cost,
            usage=answer.usage,
            tags=(*options.tags, *tags),
            sources=sources,
            semantic=semantic,
            kind=kind,
            model=answer.model,
            texts=texts,
            form=written,
        )
        return entry, is_large

    def _request_in(self, form: Callable[[], NormalForm] | None) -> tuple[bytes, bytes, bool]:
        """What an entry has of its request: the texts' digests, the form if that is stored; whether it is large."""
        if form is None:
            return b"", b"", False
        try:
            body = form().body
            texts, written = digests_of(body), encode(body)
            return texts, written if self._store_requests else b"", len(written) > LARGE_BYTES
        except Exception as error:  # of the application's own objects; the answer is stored all the same
            logger.debug("askonce: an entry is stored without its request's texts: %s", type(error).__name__)
            return b"", b"", True

    def record(self, place: Place, entry: Entry, apart_bytes: int = 0) -> Record:
        """The record of an entry, of which so many bytes are stored apart."""
        value = self._codec.encode(entry, bound_to=place.bound_to)
        return Record(
            key=place.key,
            value=value,
            expires_at=self._freshness.expires_at(entry.fresh_until),
            weight=self._budget.policy.weight(cost=cost_of(entry), size_bytes=len(value) + apart_bytes),
            tags=entry.tags,
            hits=max(self._frequencies[place.key], 1) if self._frequencies else 1,
        )

    async def put(
        self, driver: SyncDriver, places: Sequence[Place], entries: Sequence[Entry], records: Sequence[Record]
    ) -> list[int | NotStoredReason]:
        """Store entries of one namespace; returns what `put_records` does."""
        results = await self.put_records(driver, places[0].namespace, records)
        for place, entry, result in zip(places, entries, results, strict=True):
            self._report(place, entry, result)
        return results

    async def fulfil(
        self, driver: SyncDriver, place: Place, entry: Entry, record: Record, owner: str, log: str, after: int
    ) -> tuple[int | NotStoredReason, LogPage | None]:
        """Store an entry and end the lease of its place.

        Args:
            driver: of the caller.
            place: of the entry.
            entry: what is stored.
            record: the same as a record.
            owner: of the lease.
            log: the namespace of a change log.
            after: its position.

        Returns:
            how many entries were evicted, or why it was not stored; and a page of the log, read afterwards.
        """
        result: int | NotStoredReason = "too large"
        page = None
        if len(record.value) <= LARGEST_VALUE_BYTES:
            try:
                arguments = place.namespace, record, self._budget, owner, log, after
                evicted, page = await driver.call("fulfil", *arguments)
                result = evicted if self._budget.admits(len(record.value)) else "too large"
            except StoreDown:
                result = "store down"
        self._report(place, entry, result)
        return result, page

    def _report(self, place: Place, entry: Entry, result: int | NotStoredReason) -> None:
        """Report what became of an entry that was to be stored."""
        if isinstance(result, int) and self._local is not None:
            self._local.put(place, entry, entry.created_at)
        if self._frequencies is not None:
            self._frequencies.add(place.key)

    async def put_records(
        self, driver: SyncDriver, namespace: str, records: Sequence[Record]
    ) -> list[int | NotStoredReason]:
        """Store records of one namespace in few round trips.

        Returns:
            of each record, how many others were evicted (those of a whole piece with its first one), or why it was
            not stored.
        """
        results: list[int | NotStoredReason] = ["store down"] * len(records)
        sizes = [len(record.value) for record in records]
        parts = by_part([record.key for record in records], partial(driver.part, namespace))
        for positions in parts.values():
            start, length, failures = 0, FIRST_ENTRIES, 0
            while piece := positions[start : start + length]:
                piece = piece[: fitting([sizes[one] for one in piece], length)]
                taken = [records[one] for one in piece if sizes[one] <= LARGEST_VALUE_BYTES]
                began = time.monotonic()
                try:
                    evicted = await driver.call("put", namespace, taken, self._budget) if taken else 0
                except StoreDown:
                    failures += 1
                    retry = after_failure(start, length, failures)
                    if retry is None:
                        break
                    length = retry.length
                    await driver.pause(retry.pause)
                    continue
                start, failures = start + len(piece), 0
                length = next_length(len(piece), sum(sizes[one] for one in piece), time.monotonic() - began)
                for one in piece:
                    fits = sizes[one] <= LARGEST_VALUE_BYTES and self._budget.admits(sizes[one])
                    results[one], evicted = (evicted, 0) if fits else ("too large", evicted)
        return results

    def forget(self) -> None:
        """Forget what this process holds of entries."""
        if self._local is not None:
            self._local.clear()

    def replace(self, place: Place, entry: Entry) -> int:
        """Store an entry in place of the one at its place; returns by how many bytes it is smaller.

        Raises:
            StoreDown: it was not stored.
        """
        before = self._breaker.call(self._breaker.store.get, *place)
        record = self.record(place, entry)
        self._breaker.call(self._breaker.store.put, place.namespace, [record], self._budget)
        if self._local is not None:
            self._local.put(place, entry, self._clock())
        return len(before or b"") - len(record.value)


def cost_of(entry: Entry) -> float:
    """The cost of making an entry again, in dollars; estimated by its time where no price is known."""
    return entry.cost_seconds * USD_PER_SECOND if entry.cost_usd is None else entry.cost_usd
