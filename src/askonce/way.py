"""The way of a request: look-up → (wait | lead) → keep.

Written once, as coroutines over a *face* (``askonce.faces``): driven inline for synchronous callers, awaited for
asynchronous ones. `Way.seek` ends with a hit, or makes the caller the one who asks the model; `Way.conclude` and
`Way.give_up` are how it comes back.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from askonce import pricing
from askonce.access_log import AccessLog
from askonce.changes import ANYTHING, Changes
from askonce.codec import Codec
from askonce.control import Control
from askonce.entry import Answer, Entry, Hit, Meaning, Miss, Source, digest_of
from askonce.errors import CodecError
from askonce.eviction import Budget
from askonce.faces import Inline
from askonce.flight import Flight, Flights
from askonce.frequency import FrequencySketch
from askonce.freshness import Freshness
from askonce.guard import Down, Guard
from askonce.hits import HitBuffer
from askonce.keys import Form
from askonce.leases import LEASE_SECONDS, Leases
from askonce.near import NearTier
from askonce.stores.base import Clock, LogPage, Record
from askonce.telemetry import Counters

if TYPE_CHECKING:  # it loads numpy
    from askonce.semantic.settings import Semantic
    from askonce.semantic.tier import SemanticTier, Trial

logger = logging.getLogger("askonce")

USD_PER_SECOND = 0.001
"""What a second of waiting weighs against money when entries are compared and no price is known."""

_FAILED_LEADERS_TO_OUTLIVE, _TAKE_OVER_SECONDS = 2, 2.0
"""Those who wait take over from failed leaders one by one, until they have seen so many and for so long."""
_FIRST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.02, 0.25


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has a name.

    Attributes:
        namespace: where its answer is kept.
        key: its name there.
        control: the wishes that were in force when it was made.
        sources: the documents that its answer will be made from.
        form: makes its normal form, if another question's answer may do.
    """

    namespace: str
    key: bytes
    control: Control
    sources: tuple[Source, ...] = ()
    form: Callable[[], Form] | None = None

    @property
    def place(self) -> bytes:
        """What a sealed entry is bound to."""
        return self.key + self.namespace.encode()


@dataclass(frozen=True, slots=True)
class Lead:
    """The caller is to make the answer.

    Attributes:
        miss: why none was found.
        flight: what others wait for; ``None`` if nobody can.
        started: when the making began, on the monotonic clock.
        trial: what is known of the meaning of what is asked.
    """

    miss: Miss
    flight: Flight | None = None
    started: float = field(default_factory=time.monotonic)
    trial: Trial | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """While the reader of a stream has a chunk and has not asked for the next."""
        if self.flight is None:
            yield
            return
        self.flight.kind, self.flight.idle_since = "stream", time.monotonic()
        yield
        self.flight.idle_since = None


class Way:
    """Everything that a request meets. See `Cache` for the settings."""

    def __init__(
        self,
        guard: Guard,
        *,
        codec: Codec,
        freshness: Freshness,
        budget: Budget,
        near: NearTier | None,
        keep_empty: bool,
        keep_truncated: bool,
        lease_seconds: float,
        clock: Clock,
        semantic: Semantic | None,
        namespace: str,
        accesses: AccessLog | None = None,
    ) -> None:
        self.counters = Counters()
        self.flights = Flights(lease_seconds or 30.0)
        self.leases = Leases(guard, self.flights.is_gone, min(lease_seconds, LEASE_SECONDS))
        self._accesses = accesses
        self._frequencies = FrequencySketch() if budget.selects else None
        self.hits = HitBuffer(_Touch(guard, budget, self._frequencies), accesses.flush if accesses else None)
        self.near = near
        self._codec, self._freshness, self._budget = codec, freshness, budget
        self._keep_empty, self._keep_truncated = keep_empty, keep_truncated
        self._slow_seconds = guard.timeout_seconds / 3
        self._clock = clock
        self._changes: dict[str, Changes] = {}  # by corpus
        self._guard = guard
        self.semantic: SemanticTier | None = None
        if semantic is not None:
            from askonce.semantic.tier import SemanticTier

            self.semantic = SemanticTier(semantic, guard, codec, namespace, clock, self.usable, self._replace)

    # -- to the answer, or to the model ------------------------------------------------------------------------

    async def seek(self, face: Inline, request: Request, *, waits: bool = True) -> Hit | Lead | Miss:
        """Find the answer, waiting for whoever is making it if ``waits``; or become the one who makes it.

        Returns:
            a hit; the lead; or a miss whose stale answer may be served while a new one is made: then the caller
            goes on with `serve_stale` or `lead_revalidation`.
        """
        began = time.monotonic()
        found = await self._find(face, request)
        if isinstance(found, Hit):
            return self._hit(request, found)
        if self._freshness.serves_while_revalidating(found):
            return found
        took = time.monotonic() - began
        failed, first_failure = 0, math.inf
        while found.reason != "refresh" and (
            failed < _FAILED_LEADERS_TO_OUTLIVE or time.monotonic() - first_failure < _TAKE_OVER_SECONDS
        ):
            flight, leads = self.flights.board((request.namespace, request.key))
            if leads:
                slow = took > self._slow_seconds  # the store has taken enough of this request's time
                return await self._take_off(face, request, found, flight, alone=slow)
            if not waits:
                break
            entry = await face.landing(self.flights, flight)
            if entry is not None and not await self._is_outdated(face, entry):
                return self._hit(request, Hit(entry, "coalesced", 0.0))
            failed, first_failure = failed + 1, min(first_failure, time.monotonic())
        meant = await self._seek_meaning(face, request, decide=found.reason != "refresh")
        return meant if isinstance(meant, Hit) else self._lead(found, trial=meant)

    async def _take_off(
        self, face: Inline, request: Request, miss: Miss, flight: Flight, *, alone: bool
    ) -> Hit | Lead:
        """Lead, unless a question that means the same was answered; or another process leads: then wait for it."""
        found: Hit | Miss = miss
        try:
            meant = await self._seek_meaning(face, request, decide=True)
            if isinstance(meant, Hit):
                self.flights.land(flight, meant.entry)
                return meant
            if alone:
                return self._lead(miss, flight, meant)
            pause = _FIRST_LOOK_SECONDS
            while not (leads := await self.leases.take(face, flight)) and not self.flights.is_gone(flight):
                await face.pause(pause)
                pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
                if isinstance(found := await self._find(face, request), Hit):
                    break
            if leads:
                found = await self._find(face, request)  # it may have come since the first look
        except BaseException:
            self.flights.land(flight, None)
            raise
        if isinstance(found, Hit):
            await self._land(face, flight, found.entry)
            return self._hit(request, found)
        return self._lead(miss, flight, meant)

    def _lead(self, miss: Miss, flight: Flight | None = None, trial: Trial | None = None) -> Lead:
        self.counters.add(misses=1, corrupt=miss.reason == "corrupt")
        if flight is not None:
            flight.started, flight.trial = time.monotonic(), trial
        return Lead(miss, flight, trial=trial)

    def serve_stale(self, request: Request, miss: Miss) -> Hit:
        """The stale answer of a miss, in place of a fresh one."""
        assert miss.stale is not None
        return self._hit(request, miss.stale)

    async def lead_revalidation(self, face: Inline, request: Request, miss: Miss) -> Lead | None:
        """Become the one who makes a stale answer anew; ``None`` if somebody does already."""
        flight, leads = self.flights.board((request.namespace, request.key))
        if not leads:
            return None
        if not await self.leases.take(face, flight):
            self.flights.land(flight, None)
            return None
        meant = await self._seek_meaning(face, request, decide=False)
        assert not isinstance(meant, Hit)
        return Lead(miss, flight, trial=meant)

    async def _seek_meaning(self, face: Inline, request: Request, *, decide: bool) -> Hit | Trial | None:
        """The answer to a question that means the same, if ``decide`` and it may be served; or what was tried."""
        if self.semantic is None or request.form is None:
            return None
        known_sources = bool(request.sources)
        trial = await self.semantic.seek(
            face, request.namespace, request.form, sources_known=known_sources, decide=decide
        )
        if trial is None or trial.decision is None or trial.decision.action != "serve":
            return trial
        known = trial.decision.known
        assert known is not None
        hit = await self._find_in_store(face, Request(request.namespace, known.key, request.control))
        if isinstance(hit, Hit) and known.is_in(hit.entry):
            match = self.semantic.match(trial)
            return self._hit(request, Hit(hit.entry, "semantic", hit.age_seconds, known.key, match))
        if isinstance(hit, Hit) or hit.reason != "store down":
            self.semantic.lose(trial)
        return trial

    async def _find(self, face: Inline, request: Request) -> Hit | Miss:
        """Look in the near tier and in the store."""
        if request.control.refresh:
            return Miss("refresh")
        now = self._clock()
        if self.near is not None:
            entry = self.near.get(request.namespace, request.key, now)
            if entry is not None:
                return await self._judge(face, request, entry, now)
        return await self._find_in_store(face, request)

    async def _find_in_store(self, face: Inline, request: Request) -> Hit | Miss:
        now = self._clock()
        try:
            data = await face.call("get", request.namespace, request.key)
        except Down:
            return Miss("store down")
        found = self._read(request, data, now)
        return found if isinstance(found, Miss) else await self._judge(face, request, found, now)

    async def find_many(self, face: Inline, requests: Sequence[Request]) -> list[Hit | Miss]:
        """Look up requests of one namespace in one round trip, waiting for nobody."""
        if not requests:
            return []
        now = self._clock()
        try:
            rows = await face.call("get_many", requests[0].namespace, [request.key for request in requests])
        except Down:
            rows = None
        found: list[Hit | Miss] = []
        for request, data in zip(requests, rows or [None] * len(requests), strict=True):
            read = self._read(request, data, now) if rows is not None else Miss("store down")
            found.append(read if isinstance(read, Miss) else await self._judge(face, request, read, now))
        for request, one in zip(requests, found, strict=True):
            if isinstance(one, Hit):
                self._hit(request, one)
            else:
                self.counters.add(misses=1, corrupt=one.reason == "corrupt")
        return found

    def _read(self, request: Request, data: bytes | None, now: float) -> Entry | Miss:
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

    async def _judge(self, face: Inline, request: Request, entry: Entry, now: float) -> Hit | Miss:
        if request.control.refresh:
            return Miss("refresh")
        if entry.sources and await self._is_outdated(face, entry):
            return Miss("outdated")
        if entry.meaning is not None and entry.meaning.answer:
            whole = await self._through_alias(face, request, entry, entry.meaning.answer)
            if isinstance(whole, Miss):
                return whole
            entry = whole
        return self._freshness.judge(entry, now, request.control.ttl_seconds)

    async def _through_alias(self, face: Inline, request: Request, alias: Entry, key: bytes) -> Entry | Miss:
        """An alias with the answer that another entry holds, as old as that is."""
        try:
            data = await face.call("get", request.namespace, key)
        except Down:
            return Miss("store down")
        if data is None:
            return Miss("absent")
        try:
            kept = self._codec.decode(data, bound_to=Request(request.namespace, key, request.control).place)
        except CodecError:
            return Miss("corrupt")
        meaning, said = kept.meaning, alias.meaning
        if meaning is None or said is None or meaning.answer or digest_of(meaning.said) != said.digest:
            return Miss("absent")  # it is another answer by now
        if kept.sources and await self._is_outdated(face, kept):
            return Miss("outdated")
        ends = [until for until in (alias.fresh_until, kept.fresh_until) if until is not None]
        return msgspec.structs.replace(
            alias, payload=kept.payload, created_at=kept.created_at, fresh_until=min(ends, default=None)
        )

    def usable(self, namespace: str, key: bytes, data: bytes) -> Entry | None:
        """The entry in ``data``, found by a scan, if it can be read and is fresh."""
        try:
            entry = self._codec.decode(data, bound_to=Request(namespace, key, Control()).place)
        except CodecError:
            return None
        return entry if isinstance(self._freshness.judge(entry, self._clock(), None), Hit) else None

    # -- what happened to the documents ------------------------------------------------------------------------

    async def _is_outdated(self, face: Inline, entry: Entry) -> bool:
        """Whether documents that an entry was found in, or made from, have changed; also if that cannot be told."""
        for corpus in dict.fromkeys(source.corpus for source in entry.sources):
            changes = await self.changes(face, corpus)
            if changes is None or any(changes.concern(one) for one in entry.sources if one.corpus == corpus):
                return True
        return False

    async def changes(self, face: Inline, corpus: str) -> Changes | None:
        """All changes of a corpus until now; ``None`` if the store does not tell."""
        changes = self._changes.setdefault(corpus, Changes())
        try:
            while True:
                after = changes.position
                page: LogPage = await face.call("log_read", corpus, after)
                if not changes.learn(after, page):
                    return changes
        except Down:
            return None

    async def position(self, face: Inline, corpus: str) -> int | None:
        """How far the log of a corpus goes; it is begun if there is none. ``None`` if the store does not tell."""
        changes = await self.changes(face, corpus)
        if changes is not None and not changes.position:
            try:
                await face.call("log_append", corpus, ANYTHING)
            except Down:
                return None
            changes = await self.changes(face, corpus)
        return None if changes is None else changes.position

    def _hit(self, request: Request, hit: Hit) -> Hit:
        key = hit.key or request.key
        self.counters.hit(hit)
        if self._accesses is not None:
            self._accesses.add(self._clock(), request.namespace, key, hit.entry, _cost(hit.entry))
        self.hits.add(request.namespace, key)
        meaning = hit.entry.meaning
        if meaning is not None and meaning.answer:
            self.hits.add(request.namespace, meaning.answer)
        return Hit(hit.entry, hit.kind, hit.age_seconds, key, hit.match)

    # -- back from the model -----------------------------------------------------------------------------------

    async def conclude(self, face: Inline, request: Request, lead: Lead, pack: Callable[[], Answer | None]) -> None:
        """Keep a fresh answer if it is worth keeping, and hand it to those who wait."""
        entry = None
        try:
            answer = self._pack(pack)
            if answer is not None:
                entry = self._entry(request, answer, time.monotonic() - lead.started, lead.trial)
                worth = self._worth_keeping(answer)
                if worth:
                    await self._put(face, [request], [entry])
                if entry.meaning is not None and self.semantic is not None and lead.trial is not None:
                    kept = entry if worth else None
                    self.semantic.learn(request.namespace, request.key, lead.trial, entry.meaning.said, kept)
        finally:
            if lead.flight is not None:
                await self._land(face, lead.flight, entry)

    async def give_up(self, face: Inline, request: Request, lead: Lead, error: BaseException) -> Hit | None:
        """Let others try, since the model failed; returns what may be served in its place."""
        if lead.flight is not None:
            await self._land(face, lead.flight, None)
        if not isinstance(error, Exception) or not self._freshness.serves_on_error(lead.miss):
            return None
        self.counters.add(misses=-1)
        return self.serve_stale(request, lead.miss)

    async def give_up_group(self, face: Inline, group: str | None) -> None:
        """Let others try what the running task or thread was to make and evidently will not."""
        for flight in self.flights.abandoned(group):
            await self.leases.give_back(face, flight)

    async def keep_many(
        self, face: Inline, requests: Sequence[Request], answers: Sequence[Answer], seconds: float
    ) -> None:
        """Keep the answers to requests of one namespace, made together in ``seconds``, in one round trip."""
        if requests:
            each = seconds / len(requests)
            worth = [pair for pair in zip(requests, answers, strict=True) if self._worth_keeping(pair[1])]
            entries = [self._entry(request, answer, each, None) for request, answer in worth]
            await self._put(face, [request for request, _ in worth], entries)

    def _pack(self, pack: Callable[[], Answer | None]) -> Answer | None:
        try:
            answer = pack()
        except Exception:
            logger.warning("askonce: an answer cannot be kept", exc_info=True)
            answer = None
        if answer is None:
            self.counters.add(not_stored=1)
        return answer

    def _worth_keeping(self, answer: Answer) -> bool:
        worth = (self._keep_empty or not answer.empty) and (self._keep_truncated or not answer.truncated)
        if not worth:
            self.counters.add(not_stored=1)
        return worth

    def _entry(self, request: Request, answer: Answer, seconds: float, trial: Trial | None) -> Entry:
        now = self._clock()
        cost = answer.cost_usd
        sources = answer.sources or request.sources
        tags = dict.fromkeys(tag for source in sources for tag in source.tags)
        fresh_until = self._freshness.fresh_until(now, request.control.ttl_seconds)
        if answer.ttl_seconds is not None:
            fresh_until = min(fresh_until or math.inf, now + answer.ttl_seconds)
        return Entry(
            payload=answer.payload,
            created_at=now,
            fresh_until=fresh_until,
            cost_seconds=seconds,
            cost_usd=pricing.cost_usd(answer.model, answer.usage) if cost is None else cost,
            usage=answer.usage,
            tags=(*request.control.tags, *tags),
            sources=sources,
            meaning=self._meaning(trial, answer),
        )

    def _meaning(self, trial: Trial | None, answer: Answer) -> Meaning | None:
        if self.semantic is None or trial is None or answer.said is None:
            return None
        return self.semantic.meaning(trial, answer.said)

    async def _put(self, face: Inline, requests: Sequence[Request], entries: Sequence[Entry]) -> None:
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
            self.hits.stir()
        try:
            evicted = await face.call("put", requests[0].namespace, records, self._budget)
        except Down:
            return
        if self.near is not None:
            for request, entry in zip(requests, entries, strict=True):
                self.near.put(request.namespace, request.key, entry, entry.created_at)
        self.counters.add(
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

    def _replace(self, namespace: str, key: bytes, entry: Entry) -> int:
        """Keep an entry in place of the one under its key; returns by how many bytes it is smaller."""
        request = Request(namespace, key, Control())
        before = self._guard.call(self._guard.store.get, namespace, key)
        record = self._record(request, entry)
        self._guard.call(self._guard.store.put, namespace, [record], self._budget)
        if self.near is not None:
            self.near.put(namespace, key, entry, self._clock())
        return len(before or b"") - len(record.value)

    def close(self) -> None:
        """End what runs in the background, with nothing lost."""
        if self.semantic is not None:
            self.semantic.close()
        self.hits.close()
        self.leases.close()

    async def _land(self, face: Inline, flight: Flight, entry: Entry | None) -> None:
        self.flights.land(flight, entry)
        await self.leases.give_back(face, flight)


def _cost(entry: Entry) -> float:
    """What making an entry again would cost, in dollars, as far as it is known."""
    return entry.cost_seconds * USD_PER_SECOND if entry.cost_usd is None else entry.cost_usd


class _Touch:
    """Hands collected hits to the store, and to the sketch of frequencies."""

    def __init__(self, guard: Guard, budget: Budget, frequencies: FrequencySketch | None) -> None:
        self._guard, self._policy, self._frequencies = guard, budget.policy, frequencies

    def __call__(self, namespace: str, hits: Mapping[bytes, int]) -> None:
        if self._frequencies is not None:
            for key, count in hits.items():
                self._frequencies.add(key, count)
        with contextlib.suppress(Down):
            self._guard.call(self._guard.store.touch, namespace, hits, self._policy)
