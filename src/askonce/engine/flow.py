"""The way of a request: look-up → (wait | lead) → keep.

Written once, as coroutines over a *face* (``askonce.concurrency.drivers``): driven inline for synchronous callers,
awaited for asynchronous ones. `RequestFlow.seek` ends with a hit, or makes the caller the one who asks the model;
`RequestFlow.conclude` and `RequestFlow.fail` are how it comes back.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from askonce.concurrency.drivers import SyncDriver
from askonce.concurrency.leases import LEASE_SECONDS, Leases
from askonce.concurrency.singleflight import Flight, SingleFlight
from askonce.engine.request import Leader, Request
from askonce.entries.codec import Codec
from askonce.entries.entry import Answer, Entry, Hit, Miss, digest_of
from askonce.eviction.policy import Budget
from askonce.provenance.changes import ANYTHING, Changes
from askonce.stats import Counters
from askonce.storage.access_log import AccessLog
from askonce.storage.entries import EntryStorage
from askonce.storage.freshness import Freshness
from askonce.storage.local_cache import LocalCache
from askonce.stores.base import Clock, LogPage
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

if TYPE_CHECKING:  # it loads numpy
    from askonce.semantic.config import Semantic
    from askonce.semantic.semantic_cache import Attempt, SemanticCache

logger = logging.getLogger("askonce")

_FAILED_LEADERS_TO_OUTLIVE, _TAKE_OVER_SECONDS = 2, 2.0
"""Those who wait take over from failed leaders one by one, until they have seen so many and for so long."""
_FIRST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.02, 0.25


class RequestFlow:
    """Everything that a request meets. See `Cache` for the settings."""

    def __init__(
        self,
        breaker: CircuitBreaker,
        *,
        codec: Codec,
        freshness: Freshness,
        budget: Budget,
        near: LocalCache | None,
        cache_empty: bool,
        cache_truncated: bool,
        lease_seconds: float,
        clock: Clock,
        semantic: Semantic | None,
        namespace: str,
        accesses: AccessLog | None = None,
    ) -> None:
        self.counters = Counters()
        self.flights = SingleFlight(lease_seconds or 30.0)
        self.leases = Leases(breaker, self.flights.is_gone, min(lease_seconds, LEASE_SECONDS))
        self.storage = EntryStorage(
            breaker,
            self.counters,
            codec=codec,
            freshness=freshness,
            budget=budget,
            near=near,
            cache_empty=cache_empty,
            cache_truncated=cache_truncated,
            clock=clock,
            accesses=accesses,
        )
        self.hits = self.storage.hits
        self._freshness = freshness
        self._slow_seconds = breaker.timeout_seconds / 3
        self._clock = clock
        self._changes: dict[str, Changes] = {}  # by corpus
        self.semantic: SemanticCache | None = None
        if semantic is not None:
            from askonce.semantic.semantic_cache import SemanticCache

            self.semantic = SemanticCache(semantic, breaker, codec, namespace, clock, self.storage)

    # -- to the answer, or to the model ------------------------------------------------------------------------

    async def lookup(self, driver: SyncDriver, request: Request, *, waits: bool = True) -> Hit | Leader | Miss:
        """Find the answer, waiting for whoever is making it if ``waits``; or become the one who makes it.

        Returns:
            a hit; the lead; or a miss whose stale answer may be served while a new one is made: then the caller
            goes on with `serve_stale` or `lead_revalidation`.
        """
        began = time.monotonic()
        found = await self._find(driver, request)
        if isinstance(found, Hit):
            return self._hit(request, found)
        if self._freshness.serves_while_revalidating(found):
            return found
        took = time.monotonic() - began
        failed, first_failure = 0, math.inf
        while found.reason != "refresh" and (
            failed < _FAILED_LEADERS_TO_OUTLIVE or time.monotonic() - first_failure < _TAKE_OVER_SECONDS
        ):
            flight, leads = self.flights.join((request.namespace, request.key))
            if leads:
                slow = took > self._slow_seconds  # the store has taken enough of this request's time
                return await self._take_off(driver, request, found, flight, alone=slow)
            if not waits:
                break
            entry = await driver.wait_for(self.flights, flight)
            if entry is not None and not await self._is_outdated(driver, entry):
                return self._hit(request, Hit(entry, "coalesced", 0.0))
            failed, first_failure = failed + 1, min(first_failure, time.monotonic())
        meant = await self._seek_meaning(driver, request, found)
        return meant if isinstance(meant, Hit) else self._lead(found, trial=meant)

    async def _take_off(
        self, driver: SyncDriver, request: Request, miss: Miss, flight: Flight, *, alone: bool
    ) -> Hit | Leader:
        """Lead, unless a question that means the same was answered; or another process leads: then wait for it."""
        found: Hit | Miss = miss
        try:
            meant = await self._seek_meaning(driver, request, miss)
            if isinstance(meant, Hit):
                self.flights.resolve(flight, meant.entry)
                return meant
            if alone:
                return self._lead(miss, flight, meant)
            pause = _FIRST_LOOK_SECONDS
            while not (leads := await self.leases.take(driver, flight)) and not self.flights.is_gone(flight):
                await driver.pause(pause)
                pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
                if isinstance(found := await self._find(driver, request), Hit):
                    break
            if leads:
                found = await self._find(driver, request)  # it may have come since the first look
        except BaseException:
            self.flights.resolve(flight, None)
            raise
        if isinstance(found, Hit):
            await self._resolve(driver, flight, found.entry)
            return self._hit(request, found)
        return self._lead(miss, flight, meant)

    def _lead(self, miss: Miss, flight: Flight | None = None, trial: Attempt | None = None) -> Leader:
        self.counters.add(misses=1, corrupt=miss.reason == "corrupt")
        if flight is not None:
            flight.started, flight.trial = time.monotonic(), trial
        return Leader(miss, flight, trial=trial)

    def serve_stale(self, request: Request, miss: Miss) -> Hit:
        """The stale answer of a miss, in place of a fresh one."""
        assert miss.stale is not None
        return self._hit(request, miss.stale)

    async def lead_revalidation(self, driver: SyncDriver, request: Request, miss: Miss) -> Leader | None:
        """Become the one who makes a stale answer anew; ``None`` if somebody does already."""
        flight, leads = self.flights.join((request.namespace, request.key))
        if not leads:
            return None
        if not await self.leases.take(driver, flight):
            self.flights.resolve(flight, None)
            return None
        meant = await self._seek_meaning(driver, request, miss, decide=False)
        assert not isinstance(meant, Hit)
        return Leader(miss, flight, trial=meant)

    async def _seek_meaning(
        self, driver: SyncDriver, request: Request, miss: Miss, *, decide: bool = True
    ) -> Hit | Attempt | None:
        """The answer to a question that means the same, if ``decide`` and it may be served; or what was tried."""
        if self.semantic is None or request.form is None or miss.reason == "store down":
            return None
        known_sources, decide = bool(request.sources), decide and miss.reason != "refresh"
        trial = await self.semantic.lookup(
            driver, request.namespace, request.form, sources_known=known_sources, decide=decide
        )
        if trial is None or trial.decision is None or trial.decision.action != "serve":
            return trial
        known = trial.decision.known
        assert known is not None
        hit = await self._find_in_store(driver, Request(request.namespace, known.key, request.options))
        if isinstance(hit, Hit) and known.is_in(hit.entry):
            match = self.semantic.match(trial)
            return self._hit(request, Hit(hit.entry, "semantic", hit.age_seconds, known.key, match))
        if isinstance(hit, Hit) or hit.reason != "store down":
            self.semantic.discard(trial)
        return trial

    async def _find(self, driver: SyncDriver, request: Request) -> Hit | Miss:
        """Look in the near tier and in the store."""
        if request.options.refresh:
            return Miss("refresh")
        now = self._clock()
        if self.storage.near is not None:
            entry = self.storage.near.get(request.namespace, request.key, now)
            if entry is not None:
                return await self._judge(driver, request, entry, now)
        return await self._find_in_store(driver, request)

    async def _find_in_store(self, driver: SyncDriver, request: Request) -> Hit | Miss:
        now = self._clock()
        try:
            data = await driver.call("get", request.namespace, request.key)
        except StoreDown:
            return Miss("store down")
        found = self.storage.read(request, data, now)
        return found if isinstance(found, Miss) else await self._judge(driver, request, found, now)

    async def lookup_many(self, driver: SyncDriver, requests: Sequence[Request]) -> list[Hit | Miss]:
        """Look up requests of one namespace in one round trip, waiting for nobody."""
        if not requests:
            return []
        now = self._clock()
        try:
            rows = await driver.call("get_many", requests[0].namespace, [request.key for request in requests])
        except StoreDown:
            rows = None
        found: list[Hit | Miss] = []
        for request, data in zip(requests, rows or [None] * len(requests), strict=True):
            read = self.storage.read(request, data, now) if rows is not None else Miss("store down")
            found.append(read if isinstance(read, Miss) else await self._judge(driver, request, read, now))
        for request, one in zip(requests, found, strict=True):
            if isinstance(one, Hit):
                self._hit(request, one)
            else:
                self.counters.add(misses=1, corrupt=one.reason == "corrupt")
        return found

    async def _judge(self, driver: SyncDriver, request: Request, entry: Entry, now: float) -> Hit | Miss:
        if request.options.refresh:
            return Miss("refresh")
        if entry.sources and await self._is_outdated(driver, entry):
            return Miss("outdated")
        if entry.meaning is not None and entry.meaning.answer:
            whole = await self._through_alias(driver, request, entry, entry.meaning.answer)
            if isinstance(whole, Miss):
                return whole
            entry = whole
        return self._freshness.judge(entry, now, request.options.ttl_seconds)

    async def _through_alias(self, driver: SyncDriver, request: Request, alias: Entry, key: bytes) -> Entry | Miss:
        """An alias with the answer that another entry holds, as old as that is."""
        try:
            data = await driver.call("get", request.namespace, key)
        except StoreDown:
            return Miss("store down")
        if data is None:
            return Miss("absent")
        kept = self.storage.opened(request.namespace, key, data)
        if kept is None:
            return Miss("corrupt")
        meaning, answer_text = kept.meaning, alias.meaning
        if (
            meaning is None
            or answer_text is None
            or meaning.answer
            or digest_of(meaning.answer_text) != answer_text.digest
        ):
            return Miss("absent")  # it is another answer by now
        if kept.sources and await self._is_outdated(driver, kept):
            return Miss("outdated")
        ends = [until for until in (alias.fresh_until, kept.fresh_until) if until is not None]
        return msgspec.structs.replace(
            alias, payload=kept.payload, created_at=kept.created_at, fresh_until=min(ends, default=None)
        )

    # -- what happened to the documents ------------------------------------------------------------------------

    async def _is_outdated(self, driver: SyncDriver, entry: Entry) -> bool:
        """Whether documents that an entry was found in, or made from, have changed; also if that cannot be told."""
        for corpus in dict.fromkeys(source.corpus for source in entry.sources):
            changes = await self.changes(driver, corpus)
            if changes is None or any(changes.concern(one) for one in entry.sources if one.corpus == corpus):
                return True
        return False

    async def changes(self, driver: SyncDriver, corpus: str) -> Changes | None:
        """All changes of a corpus until now; ``None`` if the store does not tell."""
        changes = self._changes.setdefault(corpus, Changes())
        try:
            while True:
                after = changes.position
                page: LogPage = await driver.call("log_read", corpus, after)
                if not changes.learn(after, page):
                    return changes
        except StoreDown:
            return None

    async def position(self, driver: SyncDriver, corpus: str) -> int | None:
        """How far the log of a corpus goes; it is begun if there is none. ``None`` if the store does not tell."""
        changes = await self.changes(driver, corpus)
        if changes is not None and not changes.position:
            try:
                await driver.call("log_append", corpus, ANYTHING)
            except StoreDown:
                return None
            changes = await self.changes(driver, corpus)
        return None if changes is None else changes.position

    def _hit(self, request: Request, hit: Hit) -> Hit:
        self.storage.note(request, hit)
        return Hit(hit.entry, hit.kind, hit.age_seconds, hit.key or request.key, hit.match)

    # -- back from the model -----------------------------------------------------------------------------------

    async def complete(
        self, driver: SyncDriver, request: Request, lead: Leader, pack: Callable[[], Answer | None]
    ) -> None:
        """Keep a fresh answer if it is worth keeping, and hand it to those who wait."""
        entry = None
        try:
            answer = self.storage.pack(pack)
            if answer is not None:
                seconds, trial = time.monotonic() - lead.started, lead.trial
                meaning = None
                if self.semantic is not None and trial is not None and answer.answer_text is not None:
                    meaning = self.semantic.meaning(trial, answer.answer_text)
                entry = self.storage.entry(request, answer, seconds, meaning)
                worth = self.storage.is_cacheable(answer)
                if worth:
                    await self.storage.put(driver, [request], [entry])
                if self.semantic is not None and trial is not None and meaning is not None:
                    kept = entry if worth else None
                    self.semantic.learn(request.namespace, request.key, trial, meaning.answer_text, kept)
        finally:
            if lead.flight is not None:
                await self._resolve(driver, lead.flight, entry)

    async def fail(self, driver: SyncDriver, request: Request, lead: Leader, error: BaseException) -> Hit | None:
        """Let others try, since the model failed; returns what may be served in its place."""
        if lead.flight is not None:
            await self._resolve(driver, lead.flight, None)
        if not isinstance(error, Exception) or not self._freshness.serves_on_error(lead.miss):
            return None
        self.counters.add(misses=-1)
        return self.serve_stale(request, lead.miss)

    async def fail_group(self, driver: SyncDriver, group: str | None) -> None:
        """Let others try what the running task or thread was to make and evidently will not."""
        for flight in self.flights.abandoned(group):
            await self.leases.give_back(driver, flight)

    async def store_many(
        self, driver: SyncDriver, requests: Sequence[Request], answers: Sequence[Answer], seconds: float
    ) -> None:
        """Keep the answers to requests of one namespace, made together in ``seconds``, in one round trip."""
        if requests:
            each = seconds / len(requests)
            worth = [pair for pair in zip(requests, answers, strict=True) if self.storage.is_cacheable(pair[1])]
            entries = [self.storage.entry(request, answer, each) for request, answer in worth]
            await self.storage.put(driver, [request for request, _ in worth], entries)

    def close(self) -> None:
        """End what runs in the background, with nothing lost."""
        if self.semantic is not None:
            self.semantic.close()
        self.hits.close()
        self.leases.close()

    async def _resolve(self, driver: SyncDriver, flight: Flight, entry: Entry | None) -> None:
        self.flights.resolve(flight, entry)
        await self.leases.give_back(driver, flight)
