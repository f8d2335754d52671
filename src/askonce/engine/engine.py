"""`CacheEngine`: what adapters call.

An adapter turns a framework's request into a normal form (``askonce.keys``), calls one of the methods here, and
turns what it gets back into the framework's answer. To write an adapter:

* `request` gives a request its key; ``None`` means: call the model as if there were no cache.
* Where the adapter makes the call itself: `answer`, `aanswer`, `stream`, `astream`.
* Where the framework makes the call, and shows the lookup before it and the update after it: `lookup`, `update`.
* For many at once, such as embeddings: `lookup_many`, `store_many`.
* For retrievers: `position` before the search, and `record_retrieval` after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from askonce.concurrency.beside import Turns
from askonce.concurrency.claims import Claims
from askonce.concurrency.closing import Closing
from askonce.concurrency.drivers import AsyncDriver, SyncDriver, run
from askonce.concurrency.streams import aclosing, closing
from askonce.concurrency.waits import lead
from askonce.engine.audit import Audits
from askonce.engine.counters import Counters
from askonce.engine.deletions import SharedDeletions
from askonce.engine.events import CacheEvent
from askonce.engine.explanation import Explained, Explainer, Explanation, bypassed, explaining
from askonce.engine.flow import RequestFlow
from askonce.engine.history import Deletion, RequestHistory
from askonce.engine.lookup import Lookup
from askonce.engine.parts import event_queue, frequency_sketch, store_for
from askonce.engine.request import Leader, Request
from askonce.engine.settings import CheckedSettings
from askonce.entries.codec import Codec
from askonce.entries.entry import Answer, Entry, Hit, Miss, Place, RequestKind, place_of, tags_of
from askonce.entries.vectors import are_mixed
from askonce.errors import ConfigError
from askonce.keys.ignore import without
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.options import CacheOptions, options_in_effect
from askonce.provenance.corpora import Corpora, Position
from askonce.provenance.made_from import MadeFrom
from askonce.provenance.retrieval_context import (
    current_retrieval_context,
    record_retrieval,
    retrieval_in_effect,
)
from askonce.provenance.retrieved import RetrievedDocument, retrieved
from askonce.provenance.writes import WRITE_LEASE_SECONDS, Writes
from askonce.stats import Stats, Totals, TotalsBy
from askonce.storage.chunks import ChunkStorage
from askonce.storage.entries import EntryStorage
from askonce.storage.freshness import Freshness, is_refusal
from askonce.storage.hit_buffer import HitBuffer
from askonce.storage.local_cache import LocalCache
from askonce.stores import Client, Store
from askonce.stores.base import Size
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown
from askonce.totals.reading import Since, read_totals
from askonce.totals.writer import TotalsWriter

if TYPE_CHECKING:
    from askonce.engine.erasure import ErasureReport, Target
    from askonce.keys.counters import CallUnderWay

logger = logging.getLogger("askonce")
T = TypeVar("T")

_MOST_WARNINGS = 100
_NEVER_STALE = (
    "askonce: stale_while_revalidate or stale_if_error is set without ttl: answers never become stale, so that it "
    "counts only for requests with a ttl of their own"
)


class CacheEngine:
    """One store with one group of settings.

    Args:
        store: a URL, a store, or ``None`` for a SQLite file in the user's cache directory.
        settings: how it caches.

    Attributes:
        store: the store; one that sees no names, if there are encryption keys.
        store_name: identifies it in this process.
        settings: the settings.
        namespace: the namespace of requests that no ``cache_options(namespace=…)`` puts into another.
        flow: what requests pass through.
        counters: what happened in this process.
        history: what became of each request here that was no hit.
        totals_writer: writes what is counted to the store; ``None`` if the totals of all processes are not counted.
        breaker: the way to the store.
        is_semantic: answers are also found for questions of the same meaning.
        codec: from entries to bytes and back.
        corpora: the change logs of documents.
        writes: of documents, that are under way.

    Raises:
        ConfigError: the store cannot be used, or an encryption key has the wrong length.
    """

    def __init__(self, store: str | Store | Client | None, settings: CheckedSettings) -> None:
        codec, clock, budget = Codec(settings.encryption_keys), settings.clock, settings.budget
        self.store, opened, self.store_name = store_for(store, settings)
        self.settings, self._ignored = settings, settings.ignored
        self.namespace = CacheOptions().namespace(settings.namespace)
        self.breaker = breaker = CircuitBreaker(self.store, settings.timeout_seconds)
        self.codec = codec
        self.history = RequestHistory()
        self._deletions = deletions = SharedDeletions(
            codec, self.namespace, self.history, clock, _weakly(self._erased_elsewhere)
        )
        self.totals_writer: TotalsWriter | None = None
        if settings.totals:
            self.totals_writer = TotalsWriter(
                breaker, codec, self.namespace, clock, lambda: run(deletions.erased(SyncDriver(breaker)))
            )
        self.counters = Counters(self.totals_writer)
        lease_seconds = min(settings.lease_seconds or WRITE_LEASE_SECONDS, WRITE_LEASE_SECONDS)
        self.corpora = Corpora(codec, lease_seconds)
        self.writes = Writes(self.store, self.corpora, lease_seconds)
        self._local = LocalCache(settings.local_ttl, settings.local_max_entries) if settings.local_ttl else None
        frequencies = frequency_sketch(budget)
        freshness = settings.freshness
        if freshness.never_stale:
            logger.warning(_NEVER_STALE)
        storage = EntryStorage(
            breaker, codec, freshness, budget, self._local, frequencies, clock, settings.store_requests
        )
        chunks = ChunkStorage(storage, codec, freshness, budget)
        lookup = Lookup(codec, freshness, self.corpora, self._local, chunks, clock)
        hits = HitBuffer(breaker, budget.policy, frequencies)
        events = event_queue(settings, self.counters, self.history, hits, codec)
        semantic = None
        if settings.semantic is not None:
            from askonce.semantic.semantic_cache import SemanticCache

            semantic = SemanticCache(settings.semantic, breaker, codec, self.namespace, clock, lookup, storage)
        self.flow = RequestFlow(
            lookup,
            Claims(breaker, settings.lease_seconds, settings.max_wait),
            storage,
            chunks,
            events,
            semantic,
            freshness=freshness,
            cache_empty=settings.cache_empty,
            cache_truncated=settings.cache_truncated,
            cache_if=settings.cache_if,
            deletions=self._deletions,
            history=self.history,
            clock=clock,
        )
        self._audits = Audits(self.corpora, events, self.forget, clock)
        self.is_semantic = semantic is not None
        self._explainer = Explainer(lookup, codec, self.history, semantic, clock)
        self._sync, self._async = SyncDriver(breaker), AsyncDriver(breaker)
        self._warned: set[str] = set()
        self._opened = opened
        # At the latest when the interpreter ends, so that no hit is lost.
        self._closing = Closing(self, _close, self.flow, self.totals_writer, self.writes, breaker, opened)

    # -- the key of a request ----------------------------------------------------------------------------------

    def request(
        self,
        kind: RequestKind,
        form: Callable[[], NormalForm],
        *,
        digest: Callable[[], tuple[bytes, str | None]] | None = None,
        unpack: Callable[[bytes], Any] | None = None,
        from_sources: bool = True,
        semantic: bool = False,
        freshness: Freshness | None = None,
        counts: bool = True,
    ) -> Request | None:
        """Give a request its key.

        Args:
            kind: what is requested, such as ``answer``.
            form: makes its normal form; not called if the request is not to be cached.
            digest: makes the digest of its normal form and the model's name, where they are known without the form.
            unpack: turns a stored payload, the bytes of ``pack``, into the ``value`` of a `Hit`. What it raises
                makes the entry a miss, so that the answer is made anew.
            from_sources: its answer will be made from the documents retrieved in the running context.
            semantic: the answer to a question of the same meaning may be used, where the cache allows it.
            freshness: the rules for this request; ``None``: those of the cache.
            counts: it is counted as bypassed if it is not to be cached. It was before where its answer comes now.

        Returns:
            ``None`` if it is not to be cached: as the options in effect say, or because it has no key.
        """
        options = options_in_effect.get()
        if options.bypass:
            self._bypassed(kind, options, "cache_options(bypass=True) is in effect", counts=counts)
            return None
        try:
            if digest is None or self._ignored or options.ignore:
                made = form()
                if self._ignored or options.ignore:
                    made = self.without_ignored(made)
                form, name, model = lambda: made, made.digest(), made.model
            else:
                name, model = digest()
        # Uncacheable, or what an object in it raises; a RecursionError if it is too deep.
        except Exception as error:
            self._bypassed(kind, options, f"it has no key: {error}", counts=counts)
            self._warn_once("a request is not cached, since it has no key", error)
            return None
        namespace = options.namespace(self.settings.namespace) if options.tenants else self.namespace
        made_from = None
        if from_sources and (retrieved or retrieval_in_effect.get() is not None):
            made_from = self._made_from(namespace, options, form)
        request = Request(
            place_of(namespace, name), kind, options, form, model, made_from, semantic, unpack, freshness
        )
        if explaining.get() is not None:
            self.flow.events.take()  # what became of earlier requests
            self._explained(run(self._explainer.explanation(self._sync, request)))
        return request

    def _explained(self, explanation: Explanation) -> None:
        """Add an explanation, if those of this cache are wanted.

        Raises:
            Explained: it is no hit.
        """
        engine, explanations = explaining.get() or (None, [])
        if engine is self:
            explanations.append(explanation)
            if explanation.outcome != "hit":
                raise Explained(explanation)

    def _made_from(self, namespace: str, options: CacheOptions, form: Callable[[], NormalForm]) -> MadeFrom | None:
        """What an answer will be made from that is requested now; ``None``: nothing was retrieved lately."""
        texts, context = retrieved.get((self.store_name, options.tenants)), current_retrieval_context()
        if not texts and context is None:
            return None

        def was_deleted(ids: tuple[str, ...], moment: float) -> bool:
            return self.history.was_document_deleted(Place(namespace, b""), tags_of(ids), moment)

        return MadeFrom(
            context, texts, self.store_name, form, self.namespace, self.corpora.has_changed, was_deleted
        )

    def without_ignored(self, form: NormalForm) -> NormalForm:
        """A form without what the settings and the options in effect declare volatile.

        Raises:
            Uncacheable: a function that was declared failed.
        """
        ignored = (*self._ignored, *options_in_effect.get().ignore)
        return without(form, ignored) if ignored else form

    def check_model(self, request: Request, call: CallUnderWay | None, model: Callable[[], Any]) -> None:
        """See that a model is after a call what it was when the request was given its key.

        Args:
            request: what was answered.
            call: the call; what the model's own code has changed of it may be otherwise.
            model: makes the model's part of the normal form, as it is now.

        Raises:
            Uncacheable: it was changed meanwhile, so that nobody knows which answer this is; or it cannot be read.
        """
        before = request.form().body
        now = self.without_ignored(NormalForm({**before, "model": model()})).body
        if call is None or not call.has_left(before["model"], now["model"]):
            raise Uncacheable("the model was changed while it answered")

    def _bypassed(self, kind: RequestKind, options: CacheOptions, why: str, *, counts: bool) -> None:
        if explaining.get() is not None:
            self._explained(bypassed(kind, why))
        if not counts:
            return
        at = self.settings.clock()
        self.flow.events.emit(CacheEvent("bypassed", kind, None, at, tenants=options.tenants, tags=options.tags))

    def _warn_once(self, what: str, why: Exception) -> None:
        """Warn of something that will happen with each request of a kind, but not each time."""
        text = str(why) if isinstance(why, Uncacheable) else type(why).__name__
        level = logging.DEBUG if text in self._warned else logging.WARNING
        logger.log(level, "askonce: %s: %s", what, text)
        if len(self._warned) < _MOST_WARNINGS:
            self._warned.add(text)

    def namespace_in_effect(self) -> str:
        """The namespace of requests that are made now."""
        options = options_in_effect.get()
        return options.namespace(self.settings.namespace) if options.tenants else self.namespace

    # -- where the adapter makes the call ----------------------------------------------------------------------

    def answer(self, request: Request, call_model: Callable[[], T], pack: Callable[[T], Answer | None]) -> T | Hit:
        """Find the answer to a request, or make and store it.

        Args:
            request: from `request`.
            call_model: calls the model.
            pack: turns what the model returned into what is stored; ``None`` if it cannot be stored.

        Returns:
            a hit, or just what ``call_model`` returned.

        Raises:
            Exception: what ``call_model`` raised.
        """
        flow = self.flow.answer(self._sync, request, _awaitable(call_model), pack)
        return run(flow)

    async def aanswer(
        self, request: Request, call_model: Callable[[], Awaitable[T]], pack: Callable[[T], Answer | None]
    ) -> T | Hit:
        """Asynchronous `answer`."""
        return await self.flow.answer(self._async, request, call_model, pack)

    async def apeek(self, request: Request) -> Hit | Miss:
        """Look up alone. A miss is not counted: `astream` or `aanswer` of the same request is to follow it."""
        found = await self.flow.lookup.find(self._async, request)
        return self.flow.hit(request, found) if isinstance(found, Hit) else found

    def stale(self, request: Request, found: Miss) -> Hit | None:
        """The stale answer of a miss of `apeek` that may be served while a new one is made, counted as a hit.

        Whoever serves it has a new one made, by `astream`.
        """
        freshness = request.freshness or self.settings.freshness
        if found.stale is None or not freshness.serves_while_revalidating(found):
            return None
        return self.flow.hit(request, found.stale)

    def instead(self, request: Request, found: Miss, error: Exception) -> Hit | None:
        """The stale answer of a miss that may be served since the model failed, counted as a hit."""
        freshness = request.freshness or self.settings.freshness
        if found.stale is None or not freshness.serves_on_error(found, error):
            return None
        return self.flow.hit(request, found.stale)

    def judged(self, request: Request, hit: Hit) -> Hit | Miss:
        """What was found for another request of the same place, as this one would have found it."""
        rules, ttl = request.freshness, None
        if rules is None:
            rules, ttl = self.settings.freshness, request.options.ttl_seconds
        found = rules.judge(hit.entry, self.settings.clock(), ttl)
        if isinstance(found, Hit):
            return hit if hit.kind == "semantic" else msgspec.structs.replace(hit, kind=found.kind)
        stale = None if found.stale is None else msgspec.structs.replace(hit, kind="stale")
        return Miss(found.reason, stale, found.late_seconds)

    def coalesced(self, request: Request, made: Answer | Hit, seconds: float) -> None:
        """Count a request as a hit that got what another request of this process was just being given.

        Args:
            request: from `request`.
            made: what both got.
            seconds: how long it took.
        """
        if isinstance(made, Hit):
            entry = made.entry
        else:
            entry, _ = self.flow.storage.entry(made, request.kind, request.options, (), seconds, form=request.form)
        self.flow.hit(request, Hit(entry, "coalesced", 0.0))

    def stream(
        self,
        request: Request,
        call_model: Callable[[], Iterator[T]],
        pack: Callable[[], Answer | None],
        replay: Callable[[Hit], Iterator[T]],
        ended: Callable[[], bool] = lambda: False,
    ) -> Iterator[T]:
        """`answer` for a stream. One that fails or is abandoned half way is not stored.

        Args:
            request: from `request`.
            call_model: calls the model. ``None`` among its chunks is passed on and is nothing yet: if the model
                fails after it, a stale answer may still stand in. So an adapter can have the model called by the
                stream's first step, and leave the reading to whoever gets the rest.
            pack: turns what was streamed, when it is complete, into what is stored.
            replay: turns a hit into a stream.
            ended: whether what was streamed is complete although there may be more: a reader may close the stream
                after its end event.
        """
        leader = run(self.flow.begin(self._sync, request))
        if isinstance(leader, Hit):
            yield from replay(leader)
            return
        begun = False
        try:
            with closing(call_model()) as stream:
                for chunk in leader.chunks_of(stream):
                    begun = begun or chunk is not None
                    with leader.reading():
                        yield chunk
        except GeneratorExit:
            if ended():
                run(self.flow.complete(self._sync, request, leader, pack))
            elif leader.flight is not None:
                self.flow.claims.drop(leader.flight)
            raise
        except BaseException as error:
            stale = run(self.flow.fail(self._sync, request, leader, error))
            if stale is None or begun:
                raise
        else:
            run(self.flow.complete(self._sync, request, leader, pack))
            return
        yield from replay(stale)

    async def astream(
        self,
        request: Request,
        call_model: Callable[[], AsyncIterator[T]],
        pack: Callable[[], Answer | None],
        replay: Callable[[Hit], Iterator[T]],
        ended: Callable[[], bool] = lambda: False,
        found: Miss | None = None,
    ) -> AsyncIterator[T]:
        """Asynchronous `stream`; its reader may also be cancelled. ``found``: what `apeek` has just found."""
        leader = await self.flow.begin(self._async, request, found)
        if isinstance(leader, Hit):
            for chunk in replay(leader):
                yield chunk
            return
        begun = False
        try:
            async with aclosing(call_model()) as stream:
                async for chunk in leader.achunks_of(stream):
                    begun = begun or chunk is not None
                    with leader.reading():
                        yield chunk
        except BaseException as error:
            if isinstance(error, (GeneratorExit, asyncio.CancelledError)) and ended():
                await self.flow.complete(self._async, request, leader, pack)
                raise
            stale = await self.flow.fail(self._async, request, leader, error)
            if stale is None or begun:
                raise
        else:
            await self.flow.complete(self._async, request, leader, pack)
            return
        for chunk in replay(stale):
            yield chunk

    # -- where only the lookup before a call and the update after it are seen ------------------------------------

    def lookup(self, request: Request, group: str | None = None, call: FrameType | None = None) -> Hit | Miss:
        """Look up. On a miss the caller is to make the answer and `update`; others wait for it meanwhile.

        Args:
            request: from `request`.
            group: lookups of one thread or task with an equal group are one batch; any other lookup shows that
                the answers which it was to make before will not come.
            call: the call that will bring the answer; if it ends without, waiting callers go on.
        """
        return run(self._lookup(self._sync, request, group, call))

    async def alookup(self, request: Request, group: str | None = None) -> Hit | Miss:
        """Asynchronous `lookup`."""
        return await self._lookup(self._async, request, group, None)

    async def _lookup(
        self, driver: SyncDriver, request: Request, group: str | None, call: FrameType | None
    ) -> Hit | Miss:
        claims = self.flow.claims
        waits = await claims.release_others(driver, group) if claims.watched else True
        found = await self.flow.begin(driver, request, waits=waits)
        if isinstance(found, Hit):
            return found
        if found.flight is not None:
            found.flight.driver = found.driver
            claims.watch(found.flight, group, call)
            lead(found.flight)
        return found.miss

    def update(self, request: Request, pack: Callable[[], Answer | None]) -> None:
        """Store the answer that was made after a miss; ``pack`` as in `stream`."""
        run(self._update(self._sync, request, pack))

    async def aupdate(self, request: Request, pack: Callable[[], Answer | None]) -> None:
        """Asynchronous `update`."""
        await self._update(self._async, request, pack)

    async def _update(self, driver: SyncDriver, request: Request, pack: Callable[[], Answer | None]) -> None:
        flight = self.flow.claims.owned(request.place)
        leader = Leader(Miss("absent"))
        if flight is not None:
            leader = Leader(leader.miss, flight, flight.started, flight.attempt, flight.driver)
        await self.flow.complete(driver, request, leader, pack)

    # -- for many at once --------------------------------------------------------------------------------------

    def lookup_many(
        self, requests: Sequence[Request], length: Callable[[Any], int] | None = None
    ) -> list[Hit | Miss]:
        """Look up requests of one namespace in one round trip, waiting for nobody.

        Args:
            requests: from `request`.
            length: of the ``value`` of a hit, if that is a vector: none is a hit if they differ in length.
        """
        return run(self._lookup_many(self._sync, requests, length))

    async def alookup_many(
        self, requests: Sequence[Request], length: Callable[[Any], int] | None = None
    ) -> list[Hit | Miss]:
        """Asynchronous `lookup_many`."""
        return await self._lookup_many(self._async, requests, length)

    async def _lookup_many(
        self, driver: SyncDriver, requests: Sequence[Request], length: Callable[[Any], int] | None
    ) -> list[Hit | Miss]:
        found = await self.flow.lookup.find_many(driver, requests) if requests else []
        if length is not None and are_mixed(length(one.value) for one in found if isinstance(one, Hit)):
            found = [Miss("other length") if isinstance(one, Hit) else one for one in found]
        turns = Turns()
        for request, one in zip(requests, found, strict=True):
            if isinstance(one, Hit):
                self.flow.hit(request, one)
            else:
                self.flow.miss(request, one)
            if turns.is_over():
                await driver.pause(0)
        if any(isinstance(one, Miss) for one in found):
            await self.flow.deletions.follow(driver)
        return found

    def instead_of_many(self, missed: Sequence[tuple[Request, Miss]], error: Exception) -> list[Hit] | None:
        """The stale answers of misses of `lookup_many`, if one may stand in for each since the model failed.

        They are counted as hits then. One that may be served while a new one is made may be served here, too.

        Args:
            missed: requests, and what was found for them.
            error: why no answers could be made.
        """
        stale: list[tuple[Request, Hit]] = []
        for request, miss in missed:
            rules = request.freshness or self.settings.freshness
            serves = rules.serves_on_error(miss, error) or (
                rules.serves_while_revalidating(miss) and not is_refusal(error)
            )
            if miss.stale is None or not serves:
                return None
            stale.append((request, miss.stale))
        return [self.flow.hit(request, hit, instead_of_miss=True) for request, hit in stale]

    def not_served(self, hits: Iterable[tuple[Request, Hit]]) -> None:
        """Count hits of `lookup_many` as misses: the fresh vectors of their batch are of another length."""
        for request, hit in hits:
            self.flow.miss(request, Miss("other length"), instead_of=hit)

    def store_many(self, requests: Sequence[Request], answers: Sequence[Answer | None], seconds: float) -> None:
        """Store the answers to requests of one namespace, made together in ``seconds``, in one round trip."""
        run(self.flow.store_many(self._sync, requests, answers, seconds))

    async def astore_many(
        self, requests: Sequence[Request], answers: Sequence[Answer | None], seconds: float
    ) -> None:
        """Asynchronous `store_many`."""
        await self.flow.store_many(self._async, requests, answers, seconds)

    # -- for retrievers ----------------------------------------------------------------------------------------

    def position(self, corpus: str) -> Position | None:
        """How far the change log of a corpus goes, before documents are searched in it.

        Args:
            corpus: the namespace of the log.

        Returns:
            ``None`` if the store is down; then the result is not to be stored.
        """
        return run(self.corpora.position(self._sync, corpus))

    async def aposition(self, corpus: str) -> Position | None:
        """Asynchronous `position`."""
        return await self.corpora.position(self._async, corpus)

    def compare_states(self, corpus: str, states: Mapping[bytes, bytes]) -> bool:
        """Compare what collections of documents hold with the change log of a corpus; see `Corpora.compare`."""
        return run(self.corpora.compare(self._sync, corpus, states))

    def record_retrieval(self, documents: Sequence[RetrievedDocument], result: object = None) -> None:
        """Record that documents of a corpus in this store were retrieved in the running context.

        Args:
            documents: which.
            result: identifies the stored result that they are from; ``None``: a new one.
        """
        record_retrieval(documents, self.store_name, options_in_effect.get().tenants, result)

    def audit(self, request: Request, corpus: str, entry: Entry, is_same: Callable[[], bool]) -> None:
        """Compare an entry that was served with a new search, in the background; see `Audits.compare`."""
        self._sync.spawn(self._audits.compare(self._sync, request, corpus, entry, _awaitable(is_same)))

    def aaudit(self, request: Request, corpus: str, entry: Entry, is_same: Callable[[], Awaitable[bool]]) -> None:
        """`audit` on the running event loop."""
        self._async.spawn(self._audits.compare(self._async, request, corpus, entry, is_same))

    def spent(self, kind: RequestKind, model: str, seconds: float, usd: float) -> None:
        """Count a call that was made beside the requests to the cache: its time and cost."""
        tenants = options_in_effect.get().tenants
        self.counters.spent(kind, model, self.settings.clock(), tenants, seconds, usd)

    # -- one entry ---------------------------------------------------------------------------------------------

    def mark_of_fresh(self, request: Request) -> dict[str, Any] | None:
        """What a fresh answer shows under the name ``askonce``, for `Cache.feedback`; ``None`` for nothing."""
        if self.flow.semantic is None:
            return None
        mark, why = {"hit": "none", "entry": request.place.key.hex()}, self.flow.semantic.why(request.place.key)
        return mark if why is None else {**mark, "why": why}

    def delete(self, request: Request) -> bool:
        """Delete the answer to a request; returns whether there was one.

        Raises:
            StoreError: the store failed, so the answer may still be there.
        """
        self.forget(request.place)
        self.deleted(request.place)
        return self.store.delete(request.place.namespace, [request.place.key]) > 0

    async def adelete(self, request: Request) -> bool:
        """Asynchronous `delete`."""
        self.forget(request.place)
        self.deleted(request.place)
        return await self.store.adelete(request.place.namespace, [request.place.key]) > 0

    def reject(self, request: Request, place: Place | None = None) -> None:
        """Delete the answer to a request, since its caller could not parse it; a failure of the store is ignored.

        Args:
            request: from `request`.
            place: where the answer was found, if that is another place.
        """
        run(self._reject(self._sync, request, place))

    async def areject(self, request: Request, place: Place | None = None) -> None:
        """Asynchronous `reject`."""
        await self._reject(self._async, request, place)

    async def _reject(self, driver: SyncDriver, request: Request, place: Place | None) -> None:
        for one in {request.place, place or request.place}:
            self.forget(one)
            with contextlib.suppress(StoreDown):
                await driver.call("delete", one.namespace, [one.key])
        self.flow.not_stored(request, "not parsed")

    def deleted(self, place: Place) -> None:
        """Remember that an entry is deleted, for `Cache.explain`."""
        self.history.deleted(Deletion(place.namespace, self.settings.clock(), key=place.key))

    def deleting(self, namespace: str, tag: str | None = None) -> None:
        """Announce to all processes that entries of a namespace are deleted now: those with a tag, or all.

        Raises:
            StoreError: the store failed.
        """
        self.forget()
        self.store.log_append(self._deletions.log, self._deletions.event(namespace, tag))

    async def adeleting(self, namespace: str, tag: str | None = None) -> None:
        """Asynchronous `deleting`."""
        self.forget()
        await self.store.alog_append(self._deletions.log, self._deletions.event(namespace, tag))

    def forget(self, *places: Place) -> None:
        """Forget what this process holds of some entries, or of all if none is named."""
        self.flow.storage.forget()
        if self.flow.semantic is not None:
            for place in places:
                self.flow.semantic.forget(*place)

    def _erased_elsewhere(self) -> None:
        """Another process erased something, which may be held here, too."""
        getattr(self.store, "forget_names", lambda: None)()
        self.flow.storage.forget()

    def forget_all_questions(self, namespace: str) -> None:
        """All entries of a namespace were deleted."""
        if self.flow.semantic is not None:
            self.flow.semantic.clear(namespace)

    def erase(self, target: Target, progress: Callable[[int], object] | None = None) -> ErasureReport:
        """See `Cache.erase`."""
        from askonce.engine.erasure import erase_from, erased_names

        names = erased_names(target)
        self.store.log_append(self._deletions.log, self._deletions.erasure(names))
        self.flush(10.0)  # or it would be written afterwards
        self.forget()
        if self.totals_writer is not None:
            self.totals_writer.forget(names)
        report = erase_from(self.store, self.codec, self.namespace, target, self.settings.access_log, progress)
        if self._deletions.log in report.logs or report.total:
            # who has not read it yet, or has read an entry since, is to know
            self.store.log_append(self._deletions.log, self._deletions.erasure(names))
        self.flush(10.0)
        return report

    # -- why -------------------------------------------------------------------------------------------------------

    def explain(self, call: Callable[[], object]) -> Explanation:
        """See `Cache.explain`."""
        with self._explaining() as explanations:
            made = call()
            if isinstance(made, Awaitable):
                if isinstance(made, Coroutine):
                    made.close()  # or Python warns that it was never awaited
                raise ConfigError("the call is asynchronous: await cache.aexplain(…) with it")
        return _last(explanations)

    async def aexplain(self, call: Callable[[], Awaitable[object]]) -> Explanation:
        """Asynchronous `explain`."""
        with self._explaining() as explanations:
            await call()
        return _last(explanations)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[list[Explanation]]:
        explanations: list[Explanation] = []
        token = explaining.set((self, explanations))
        try:
            yield explanations
        except Explained:
            pass
        except Exception:  # also what a framework makes of it: LangChain's agenerate trips over it
            if not explanations or explanations[-1].outcome == "hit":
                raise
        finally:
            explaining.reset(token)

    # -- life --------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """See `Cache.stats`."""
        return run(self._stats(self._sync))

    async def astats(self) -> Stats:
        """Asynchronous `stats`."""
        return await self._stats(self._async)

    async def _stats(self, driver: SyncDriver) -> Stats:
        namespace, semantic = self.namespace_in_effect(), self.flow.semantic
        try:
            size: Size | None = await driver.call("size", namespace)
        except StoreDown:
            size = None
        self.flow.events.take()
        health = self.breaker.health
        return self.counters.stats(
            errors=health.errors,
            not_awaited=self.flow.claims.not_awaited,
            max_wait=self.settings.max_wait,
            entries=None if size is None else size.entries,
            size_bytes=None if size is None else size.size_bytes,
            store="down" if size is None or health.state == "open" else "up",
            semantic=None if semantic is None else await semantic.stats(driver, namespace),
        )

    def totals(self, by: TotalsBy | None, since: Since | None) -> Totals:
        """See `Cache.totals`."""
        self._write_totals()
        return read_totals(
            self.store,
            self.codec,
            self.namespace,
            by=by,
            since=since,
            now=self.settings.clock(),
            tenants=options_in_effect.get().tenants,
        )

    def _write_totals(self, seconds: float = 0.0) -> bool:
        """Write them; a store that fails is tried again for so long. Returns whether it has them all."""
        self.flow.events.take()
        self.counters.flush()
        return self.totals_writer is None or self.totals_writer.write_or_wait(seconds)

    @property
    def is_open(self) -> bool:
        """Whether it was not closed."""
        return not self._closing.is_done

    def flush(self, seconds: float) -> bool:
        """Wait until what runs in the background is done, ``seconds`` at most; returns whether it is."""
        ends = time.monotonic() + seconds
        self.flow.events.flush()
        written = self._write_totals(seconds)
        left = max(ends - time.monotonic(), 0.0)
        return (self.flow.semantic is None or self.flow.semantic.flush(left)) and written

    def close(self) -> None:
        """Flush, and close the store if it was opened here."""
        self._closing()

    async def aclose(self) -> None:
        """Asynchronous `close`: also closes connections of the running event loop."""
        import asyncio

        self._async.cancel()
        await asyncio.to_thread(_end_background, self.flow, self.totals_writer)
        self.writes.close()
        if self._closing.cancel() and self._opened is not None:
            self.breaker.close()
            await self._opened.aclose()


def _last(explanations: Sequence[Explanation]) -> Explanation:
    if not explanations:
        raise ConfigError("the call made no request to this cache: give a call of a model that is cached in it")
    return explanations[-1]


def _end_background(flow: RequestFlow, totals: TotalsWriter | None) -> None:
    if totals is not None:
        totals.stop()
    if flow.semantic is not None:
        flow.semantic.close()
    flow.events.close()
    if totals is not None:
        totals.close()
    flow.claims.close()


def _close(
    flow: RequestFlow, totals: TotalsWriter | None, writes: Writes, breaker: CircuitBreaker, opened: Store | None
) -> None:
    _end_background(flow, totals)
    writes.close()
    if opened is not None:
        breaker.close()  # first, or a call that is still in progress would open the store again
        opened.close()


def _weakly(method: Callable[[], object]) -> Callable[[], object]:
    """A method for threads, which are not to hold the object that it is of."""
    reference = weakref.WeakMethod(method)
    return lambda: (reference() or tuple)()


def _awaitable(function: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def call() -> T:
        return function()

    return call
