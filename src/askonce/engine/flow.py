"""The flow of one request: look up, join or lead, call the model, store.

Written once, as coroutines over a driver (``askonce.concurrency.drivers``). `RequestFlow.answer` is the whole of
it. Adapters that do not make the call themselves, or stream it, use its parts: `begin`, then `complete` or `fail`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from askonce.concurrency.beside import LARGE_BYTES, Turns
from askonce.concurrency.claims import Claim, Claims
from askonce.concurrency.drivers import SyncDriver
from askonce.concurrency.flight import Flight
from askonce.engine.deletions import SharedDeletions
from askonce.engine.events import CacheEvent, EventQueue
from askonce.engine.history import RequestHistory
from askonce.engine.lookup import Lookup
from askonce.engine.request import Leader, Request
from askonce.engine.vector_lengths import odd_lengths
from askonce.entries.entry import Answer, Entry, Hit, Miss, NotStoredReason, Place, Slice, tags_of
from askonce.storage.chunks import Apart, ChunkStorage
from askonce.storage.entries import EntryStorage
from askonce.storage.freshness import Freshness
from askonce.stores.base import Clock, Record
from askonce.stores.circuit_breaker import StoreDown

if TYPE_CHECKING:  # it loads numpy
    from askonce.semantic.semantic_cache import Attempt, SemanticCache

logger = logging.getLogger("askonce")
T = TypeVar("T")

_FAILED_LEADERS_TO_OUTLIVE, _TAKE_OVER_SECONDS = 2, 2.0
"""Waiting callers take over from failed leaders one by one, until they have seen so many and for so long."""
_MOST_REPORTED = 1000
_ENCODED_AT_ONCE = 512


class RequestFlow:
    """The parts that a request passes through.

    Args:
        lookup: finds entries.
        claims: who makes an answer.
        storage: stores entries.
        chunks: stores the parts of payloads that many entries hold.
        events: where events are emitted.
        semantic: finds answers to questions of the same meaning; ``None`` if they are not used.
        freshness: when a stale answer may be served.
        cache_empty: empty answers are stored, too.
        cache_truncated: truncated answers, too.
        cache_if: the application's predicate on answers; ``None`` for none.
        deletions: those of all processes.
        history: knows what was deleted meanwhile.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        lookup: Lookup,
        claims: Claims,
        storage: EntryStorage,
        chunks: ChunkStorage,
        events: EventQueue,
        semantic: SemanticCache | None,
        *,
        freshness: Freshness,
        cache_empty: bool,
        cache_truncated: bool,
        cache_if: Callable[[Any], object] | None,
        deletions: SharedDeletions,
        history: RequestHistory,
        clock: Clock,
    ) -> None:
        self.lookup, self.claims, self.storage, self.events, self.semantic = (
            lookup,
            claims,
            storage,
            events,
            semantic,
        )
        self._freshness, self._chunks = freshness, chunks
        self._cache_empty, self._cache_truncated, self._cache_if = cache_empty, cache_truncated, cache_if
        self.deletions, self._history = deletions, history
        self._reported: set[tuple[str | None, NotStoredReason]] = set()
        self._clock = clock

    # -- the whole flow ----------------------------------------------------------------------------------------

    async def answer(
        self,
        driver: SyncDriver,
        request: Request,
        call_model: Callable[[], Awaitable[T]],
        pack: Callable[[T], Answer | None],
    ) -> T | Hit:
        """Find the answer to a request, or make and store it.

        Raises:
            BaseException: what ``call_model`` raised, unless a stale answer may stand in.
        """
        began = time.monotonic()
        found = await self.lookup.find(driver, request)
        if isinstance(found, Miss) and (request.freshness or self._freshness).serves_while_revalidating(found):
            driver.spawn(self._revalidate(driver, request, found, call_model, pack))
            return self.hit(request, found.stale)
        leader = found if isinstance(found, Hit) else await self.join_or_lead(driver, request, found, began)
        if isinstance(leader, Hit):
            return self.hit(request, leader)
        self.miss(request, leader.miss)
        return await self._make(driver, request, leader, call_model, pack)

    async def _make(
        self,
        driver: SyncDriver,
        request: Request,
        leader: Leader,
        call_model: Callable[[], Awaitable[T]],
        pack: Callable[[T], Answer | None],
    ) -> T | Hit:
        try:
            with leader.calling():
                response = await call_model()
        except BaseException as error:
            stale = await self.fail(driver, request, leader, error)
            if stale is None:
                raise
            logger.warning("askonce: the model failed (%s); a stale answer is served", error)
            return stale
        await self.complete(driver, request, leader, lambda: pack(response))
        return response

    async def _revalidate(
        self,
        driver: SyncDriver,
        request: Request,
        miss: Miss,
        call_model: Callable[[], Awaitable[T]],
        pack: Callable[[T], Answer | None],
    ) -> None:
        """Make a stale answer anew, after it was served; a failure is only logged."""
        leader = await self.lead_revalidation(driver, request, Miss(miss.reason))
        if leader is not None:
            try:
                await self._make(driver, request, leader, call_model, pack)
            except Exception as error:
                logger.warning("askonce: a stale answer could not be made anew: %s", error)

    # -- its parts ---------------------------------------------------------------------------------------------

    async def begin(
        self, driver: SyncDriver, request: Request, found: Miss | None = None, *, waits: bool = True
    ) -> Hit | Leader:
        """Look up, and join or lead, for adapters that call the model themselves.

        A miss that the caller has just ``found`` is not looked up again.
        A stale answer that may be served while a new one is made is made anew by the first caller that finds it.
        """
        began = time.monotonic()
        if found is None:
            looked_up = await self.lookup.find(driver, request)
            if isinstance(looked_up, Hit):
                return self.hit(request, looked_up)
            found = looked_up
        leader: Hit | Leader | None
        if (request.freshness or self._freshness).serves_while_revalidating(found):
            leader = await self.lead_revalidation(driver, request, found) or found.stale
        else:
            leader = await self.join_or_lead(driver, request, found, began, waits=waits)
        assert leader is not None
        if isinstance(leader, Hit):
            return self.hit(request, leader)
        self.miss(request, leader.miss)
        return leader

    async def join_or_lead(
        self, driver: SyncDriver, request: Request, miss: Miss, began: float, *, waits: bool = True
    ) -> Hit | Leader:
        """Wait for whoever is making the answer, if ``waits``; or become the one who makes it."""
        spent = time.monotonic() - began
        driver = driver.for_request(spent, failed=miss.reason == "store down")
        failed, first_failure, joined = 0, math.inf, time.monotonic()
        while miss.reason != "refresh" and (
            failed < _FAILED_LEADERS_TO_OUTLIVE or time.monotonic() - first_failure < _TAKE_OVER_SECONDS
        ):
            flight, leads = self.claims.join(request.place)
            if leads:
                return await self._lead(driver, request, miss, flight, alone=False)
            if not waits:
                break
            outcome = await self.claims.wait(driver, flight, joined)
            driver.renew()
            if outcome == "lead":
                return await self._lead(driver, request, miss, flight, alone=True)
            if outcome == "alone":
                break
            entry = flight.entry
            if entry is not None and not await self.lookup.is_outdated(driver, entry):
                coalesced = self.lookup.unpacked(Hit(entry, "coalesced", 0.0), request)
                if isinstance(coalesced, Hit):
                    return coalesced
            failed, first_failure = failed + 1, min(first_failure, time.monotonic())
        semantic = await self._look_up_semantic(driver, request, miss)
        if isinstance(semantic, Hit):
            return semantic
        await self.deletions.follow(driver)
        return Leader(miss, attempt=semantic, driver=driver)

    async def _lead(
        self, driver: SyncDriver, request: Request, miss: Miss, flight: Flight, *, alone: bool
    ) -> Hit | Leader:
        """Lead, unless a question of the same meaning was answered; or another process leads: then wait for it."""
        found: Hit | Miss = miss

        async def claim() -> Claim:
            nonlocal found
            outcome, found = await self._claim(driver, request, flight)
            return outcome

        try:
            semantic = await self._look_up_semantic(driver, request, miss)
            if isinstance(semantic, Hit):
                self.claims.resolve_here(flight, semantic.entry)
                return semantic
            if not alone:
                await self.claims.wait_for_lease(driver, flight, claim)
        except BaseException:
            self.claims.resolve_here(flight, None)
            raise
        if isinstance(found, Hit):
            await self.claims.resolve(driver, flight, found.entry)
            return found
        flight.started, flight.attempt = time.monotonic(), semantic
        return Leader(miss, flight, flight.started, semantic, driver)

    async def _claim(self, driver: SyncDriver, request: Request, flight: Flight) -> tuple[Claim, Hit | Miss]:
        """Try to become the one process that makes an answer; and what is stored now."""
        log, after = self.deletions.next_page()
        claimed = await self.claims.claim(driver, flight, log, after)
        if claimed is None:
            found = await self.lookup.find(driver, request)
            await self.deletions.follow(driver)
            return "found" if isinstance(found, Hit) else "unknown", found
        found = await self.lookup.found(driver, request, claimed.value)
        if isinstance(found, Hit):
            return "found", found
        if claimed.is_held:  # the call may begin
            await self.deletions.take(driver, after, claimed.page)
        return "taken" if claimed.is_held else "of another", found

    async def lead_revalidation(self, driver: SyncDriver, request: Request, miss: Miss) -> Leader | None:
        """Become the one who makes a stale answer anew; ``None`` if somebody does already."""
        flight, leads = self.claims.join(request.place)
        if not leads:
            return None
        driver = driver.for_request()
        outcome, found = await self._claim(driver, request, flight)
        if outcome in ("found", "of another"):
            await self.claims.resolve(driver, flight, found.entry if isinstance(found, Hit) else None)
            return None
        semantic = await self._look_up_semantic(driver, request, miss, decide=False)
        assert not isinstance(semantic, Hit)
        return Leader(miss, flight, attempt=semantic, driver=driver)

    async def _look_up_semantic(
        self, driver: SyncDriver, request: Request, miss: Miss, *, decide: bool = True
    ) -> Hit | Attempt | None:
        """The answer to a question of the same meaning, if ``decide`` and it may be served; or what was tried."""
        if self.semantic is None or not request.is_semantic or miss.reason == "store down":
            return None
        decide = decide and miss.reason != "refresh"
        attempt = await self.semantic.lookup(
            driver, request.place, request.form, scope=request.scope, decide=decide
        )
        if attempt is None or attempt.decision is None or attempt.decision.action != "serve":
            return attempt
        indexed = attempt.decision.query
        assert indexed is not None
        hit = await self.lookup.find_in_store(driver, Place(request.place.namespace, indexed.key), request)
        if isinstance(hit, Hit) and indexed.is_in(hit.entry):
            return Hit(hit.entry, "semantic", hit.age_seconds, indexed.key, self.semantic.match(attempt), hit.value)
        if isinstance(hit, Hit) or hit.reason != "store down":
            self.semantic.discard(attempt)
        return attempt

    # -- back from the model -----------------------------------------------------------------------------------

    async def complete(
        self, driver: SyncDriver, request: Request, leader: Leader, pack: Callable[[], Answer | None]
    ) -> None:
        """Store a fresh answer if it is cacheable, and resolve waiting callers."""
        entry = None
        driver = leader.driver or driver.for_request()
        driver.renew()
        try:
            answer = self._packed(request, pack)
            if answer is not None:
                sources = request.sources
                seconds, attempt = time.monotonic() - leader.started, leader.attempt
                semantic = None
                if self.semantic is not None and attempt is not None and answer.answer_text is not None:
                    semantic = self.semantic.semantic_entry(attempt, answer.answer_text)
                of_answer = answer, request.kind, request.options, sources, seconds, semantic, request.form
                if request.is_large:  # the digests of its texts are made
                    entry, is_large = await driver.beside(self.storage.entry, *of_answer)
                else:
                    entry, is_large = self.storage.entry(*of_answer)
                request = _large(request) if is_large else request
                request.answered(entry)
                await self._look_back(driver, request)
                odd = _odd_lengths([request], [answer])
                cacheable = self._is_cacheable(request, answer, entry, leader.started, odd)
                if cacheable:
                    await self._store_whole(driver, request, entry, answer.slices, leader.flight)
                    cacheable = await self._stays(driver, request, answer, entry, leader.started)
                if self.semantic is not None and attempt is not None and semantic is not None:
                    self.semantic.learn(*request.place, attempt, semantic.answer_text, entry if cacheable else None)
                if not cacheable and not (answer.empty or answer.truncated):
                    entry = None  # followers call the model, too
        finally:
            if leader.flight is not None:
                await self.claims.resolve(driver, leader.flight, entry)

    async def fail(self, driver: SyncDriver, request: Request, leader: Leader, error: BaseException) -> Hit | None:
        """Let others try, since the model failed; returns what may be served in its place."""
        if leader.flight is not None:
            await self.claims.resolve(leader.driver or driver, leader.flight, None)
        rules = request.freshness or self._freshness
        if not isinstance(error, Exception) or not rules.serves_on_error(leader.miss, error):
            return None
        assert leader.miss.stale is not None
        return self.hit(request, leader.miss.stale, instead_of_miss=True)

    async def store_many(
        self, driver: SyncDriver, requests: Sequence[Request], answers: Sequence[Answer | None], seconds: float
    ) -> None:
        """Store the answers to requests of one namespace, made together in ``seconds``, in one round trip."""
        storable, entries, began, turns = [], [], time.monotonic() - seconds, Turns()
        odd = _odd_lengths(requests, answers)
        for request, answer in zip(requests, answers, strict=True):
            if answer is None:
                self.not_stored(request, "not storable")
                continue
            each = seconds / len(requests)
            entry, is_large = self.storage.entry(
                answer, request.kind, request.options, request.sources, each, form=request.form
            )
            request = _large(request) if is_large else request
            if self._is_cacheable(request, answer, entry, began, odd):
                storable.append(request)
                entries.append(entry)
            if turns.is_over():
                await driver.pause(0)
        if not entries:
            return
        await self._store(driver, storable, entries)
        await self.deletions.follow(driver)
        deleted = [
            request
            for request, entry in zip(storable, entries, strict=True)
            if self._history.was_deleted(request.place, entry.tags, began)
        ]
        await self._delete(driver, deleted)

    async def _store_whole(
        self,
        driver: SyncDriver,
        request: Request,
        entry: Entry,
        slices: Sequence[Slice],
        flight: Flight | None,
    ) -> None:
        """Store an entry, end the lease of its flight, and read which deletions came before it was there."""
        apart, place = Apart(entry), request.place
        if slices:  # first, so that nobody finds an entry without them
            apart = await self._chunks.put(driver, place.namespace, entry, slices)
        owner = self.claims.lease_owner(flight)
        if flight is None or owner is None:
            await self._store_some(driver, [request], [apart.entry], apart)
            await self.deletions.follow(driver)
            return
        record = await self._record(driver, place, apart.entry, apart.size_bytes)
        flight.stores = True
        log, after = self.deletions.next_page()
        result, page = await self.storage.fulfil(driver, place, apart.entry, record, owner, log, after)
        if isinstance(result, int):
            self.claims.released(flight)
        self._stored(request, apart.entry, record, result, apart)
        await self.deletions.take(driver, after, page)

    async def _store(self, driver: SyncDriver, requests: Sequence[Request], entries: Sequence[Entry]) -> None:
        for start in range(0, len(requests), _ENCODED_AT_ONCE):
            if start:
                await driver.pause(0)  # others have their turn
            some = slice(start, start + _ENCODED_AT_ONCE)
            await self._store_some(driver, requests[some], entries[some])

    async def _store_some(
        self,
        driver: SyncDriver,
        requests: Sequence[Request],
        entries: Sequence[Entry],
        apart: Apart | None = None,
    ) -> None:
        apart_bytes = apart.size_bytes if apart else 0
        places = [request.place for request in requests]
        records, turns = [], Turns()
        for place, entry in zip(places, entries, strict=True):
            records.append(await self._record(driver, place, entry, apart_bytes))
            if turns.is_over():
                await driver.pause(0)
        results = await self.storage.put(driver, places, entries, records)
        for request, entry, record, result in zip(requests, entries, records, results, strict=True):
            self._stored(request, entry, record, result, apart)

    async def _record(self, driver: SyncDriver, place: Place, entry: Entry, apart_bytes: int) -> Record:
        if len(entry.payload) > LARGE_BYTES:  # it is compressed
            return await driver.beside(self.storage.record, place, entry, apart_bytes)
        return self.storage.record(place, entry, apart_bytes)

    def _stored(
        self, request: Request, entry: Entry, record: Record, result: int | NotStoredReason, apart: Apart | None
    ) -> None:
        """Report an answer that was stored, or why it was not: ``result``, see `EntryStorage.put_records`."""
        if result == "too large":
            self.not_stored(request, result, f"{len(record.value):,} bytes", entry)
            return
        apart_bytes, evicted, tags = (apart.size_bytes, apart.evicted, apart.tags) if apart else (0, 0, ())
        stored = isinstance(result, int)
        event = CacheEvent(
            "stored" if stored else "not_stored",
            request.kind,
            request.model,
            entry.created_at,
            request.place,
            None if stored else "store down",
            msgspec.structs.replace(entry, tags=(*entry.tags, *tags)) if tags else entry,
            size_bytes=len(record.value) + apart_bytes,
            evicted=evicted + result if isinstance(result, int) else 0,
            form=request.form,
            tenants=request.options.tenants,
            tags=request.options.tags,
            is_large=request.is_large,
        )
        self.events.emit(event)

    def _packed(self, request: Request, pack: Callable[[], Answer | None]) -> Answer | None:
        answer, detail = None, ""
        try:
            answer = pack()
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            logger.debug("askonce: an answer cannot be stored", exc_info=True)
        if answer is None:
            self.not_stored(request, "not storable", detail)
        return answer

    async def _stays(
        self, driver: SyncDriver, request: Request, answer: Answer, entry: Entry, since: float
    ) -> bool:
        """Delete a stored answer that was to be deleted before it was there; returns whether there was no need."""
        if not self._is_deleted(request, answer, entry, since):
            return True
        await self._delete(driver, [request])
        return False

    async def _delete(self, driver: SyncDriver, requests: Sequence[Request]) -> None:
        """Delete what was stored a moment ago, since it was deleted before."""
        if not requests:
            return
        self.storage.forget()
        with contextlib.suppress(StoreDown):
            await driver.call("delete", requests[0].place.namespace, [one.place.key for one in requests])
        for request in requests:
            self.not_stored(request, "deleted")

    def _is_deleted(self, request: Request, answer: Answer, entry: Entry, since: float) -> bool:
        """Whether entries like an answer, or like a part of it that is stored apart, were deleted meanwhile."""
        tags = {*entry.tags, *tags_of(one for part in answer.slices for one in part.ids)}
        if self._history.was_deleted(request.place, tags, since):
            return True
        # What was made from a document falls with it, also what is made only after that.
        moments = request.made_from.found.moments if request.made_from is not None else ()
        return any(
            self._history.was_document_deleted(request.place, tags_of(ids), moment) for ids, moment in moments
        )

    async def _look_back(self, driver: SyncDriver, request: Request) -> None:
        """Know what was deleted since a request's documents were found."""
        moments = request.made_from.found.moments if request.made_from is not None else ()
        if moments:
            await self.deletions.look_back(driver, min(moment for _, moment in moments))

    def _is_cacheable(
        self, request: Request, answer: Answer, entry: Entry, since: float, odd: Mapping[int, str]
    ) -> bool:
        reason: NotStoredReason | None = None
        detail = answer.detail or odd.get(answer.vector_length, "")
        if self._is_deleted(request, answer, entry, since):
            reason = "deleted"
        elif answer.empty and not self._cache_empty:
            reason = "empty"
        elif answer.truncated and not self._cache_truncated:
            reason = "truncated"
        elif answer.invalid or answer.vector_length in odd:
            reason = "invalid"
        elif self._cache_if is not None and not self._passes(self._cache_if, answer):
            reason = "cache_if"
        if reason is not None:
            self.not_stored(request, reason, detail, entry)
        return reason is None

    @staticmethod
    def _passes(cache_if: Callable[[Any], object], answer: Answer) -> bool:
        try:
            return all(cache_if(value) for value in answer.values)
        except Exception:
            logger.exception("askonce: cache_if raised an error, so that the answer is not stored")
            return False

    # -- what happened -----------------------------------------------------------------------------------------

    def hit(self, request: Request, hit: Hit | None, *, instead_of_miss: bool = False) -> Hit:
        """Report a hit, and give it the key of the entry that answered."""
        assert hit is not None
        if request.made_from is not None:
            request.answered(hit.entry)
        place = Place(request.place.namespace, hit.key) if hit.key else request.place
        self.events.emit(
            CacheEvent(
                "hit", request.kind, request.model, self._clock(), place, hit.kind, hit.entry,
                hit.age_seconds, None, 0, instead_of_miss, request.form,
                request.options.tenants, request.options.tags,
            )
        )  # fmt: skip
        return Hit(hit.entry, hit.kind, hit.age_seconds, place.key, hit.match, hit.value)

    def miss(self, request: Request, miss: Miss, instead_of: Hit | None = None) -> None:
        """Report a miss; ``instead_of`` a hit that was reported, and is not served after all."""
        entry, kind = (None, None) if instead_of is None else (instead_of.entry, instead_of.kind)
        self.events.emit(
            CacheEvent(
                "miss", request.kind, request.model, self._clock(), request.place, miss.reason, entry,
                instead_of_hit=kind, form=request.form,
                tenants=request.options.tenants, tags=request.options.tags,
            )
        )  # fmt: skip

    def not_stored(
        self, request: Request, reason: NotStoredReason, detail: str = "", entry: Entry | None = None
    ) -> None:
        """Report an answer that is not stored; of each model and reason once in the log."""
        self.events.emit(
            CacheEvent(
                "not_stored", request.kind, request.model, self._clock(), request.place, reason, entry,
                form=request.form, tenants=request.options.tenants, tags=request.options.tags,
            )
        )  # fmt: skip
        news = request.model, reason
        is_news = news not in self._reported and (request.kind in ("answer", "embedding") or reason == "too large")
        level = logging.WARNING if is_news else logging.DEBUG
        if len(self._reported) < _MOST_REPORTED:
            self._reported.add(news)
        what = f"{'an' if request.kind[0] in 'ae' else 'a'} {request.kind} of {request.model or 'a model'}"
        line = "askonce: %s is not stored (%s)%s; stats().not_stored_reasons counts further ones"
        logger.log(level, line, what, reason, detail and f": {detail}")


def _large(request: Request) -> Request:
    return msgspec.structs.replace(request, is_large=True)


def _odd_lengths(requests: Sequence[Request], answers: Sequence[Answer | None]) -> dict[int, str]:
    """By length, what is wrong with vectors, made by one model, that have it."""
    lengths = {one.vector_length for one in answers if one and one.vector_length and not one.invalid}
    return odd_lengths(requests[0].form(), lengths) if lengths else {}
