"""`Cache`: the face of askonce to adapters, and to applications that look after it.

It knows no framework. An adapter turns a framework's request into a normal form (``askonce.keys.normal_form``),
asks here, and turns what it gets back into the framework's answer. The ways to ask stand in
``askonce.engine.engine``, and what happens in between in ``askonce.engine.flow``.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from askonce.concurrency.drivers import AsyncDriver, SyncDriver, run
from askonce.engine.engine import CacheEngine
from askonce.engine.flow import RequestFlow
from askonce.engine.request import Request
from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Source, mark_of
from askonce.errors import ConfigError
from askonce.eviction.policy import AdmissionName, Budget, Policy, PolicyName, parse_bytes
from askonce.keys.normal_form import NormalForm, Uncacheable, key_of
from askonce.options import CacheOptions, check_name, current_options, positive_seconds
from askonce.provenance.retrieval_context import RetrievedDocuments, current_sources, record_retrieval
from askonce.stats import Stats
from askonce.storage.access_log import AccessLog
from askonce.storage.freshness import Freshness
from askonce.storage.local_cache import LocalCache
from askonce.stores import Store, default_url, open_store
from askonce.stores.base import DEFAULT_TIMEOUT_SECONDS, Clock, Size
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

if TYPE_CHECKING:  # in the functions that need it: with it, an import takes twice as long
    from askonce.semantic.config import Semantic

logger = logging.getLogger("askonce")
T = TypeVar("T")


class Cache(CacheEngine):
    """Answers kept in a store.

    Args:
        store: a URL (see `open_store`), a store, or ``None`` for a SQLite file in the user's cache directory.
        namespace: keeps these answers apart from all others in the store.
        ttl: seconds for which an answer may be used; ``None`` for ever.
        stale_while_revalidate: seconds past ``ttl`` for which an answer is served while a new one is made.
        stale_if_error: seconds past ``ttl`` for which an answer is served when the model fails.
        max_bytes: what the namespace may hold: a number of bytes, or a text such as ``"2GB"``.
        max_entries: how many entries it may hold.
        eviction: which go first when it is full: ``gdsf``, ``lec``, ``lru``, ``lfu`` or ``ttl``.
        admission: whether a new answer is kept ``always``, or only when it is ``worth`` more than those that would
            have to go for it. What is asked for is counted in this process, kept or not. By default ``worth`` with
            ``lec``, whose rule it is, else ``always``.
        access_log: a file to which requests are appended for ``askonce simulate``: digests, sizes, costs and times,
            no text.
        cache_empty: keep also answers that say nothing.
        cache_truncated: keep also answers that were cut off by a length limit or a content filter.
        local_ttl: answers found in the store are held in this process for so long, and served without
            asking the store; other processes' invalidations are seen that much later. 0 for never.
        local_max_entries: how many of them are held.
        lease_seconds: for how long others wait for a request under way of which only the look-up was seen (through
            LangChain's `set_llm_cache`) and nothing since; 0 to not wait for other processes at all.
        encryption_keys: AES keys of 16, 24 or 32 bytes; the first seals what is kept, all of them open it.
        timeout_seconds: how long the store may take for one call before it is left out.
        clock: seconds since the epoch.
        semantic: answer also questions that mean the same as an answered one; see `Semantic`.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used. The message says what to do.
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        namespace: str = "default",
        ttl: float | None = None,
        stale_while_revalidate: float = 0.0,
        stale_if_error: float = 0.0,
        max_bytes: int | str | None = None,
        max_entries: int | None = None,
        eviction: PolicyName = "gdsf",
        admission: AdmissionName | None = None,
        access_log: str | os.PathLike[str] | None = None,
        cache_empty: bool = False,
        cache_truncated: bool = False,
        local_ttl: float = 0.0,
        local_max_entries: int = 1000,
        lease_seconds: float = 30.0,
        encryption_keys: Sequence[bytes] = (),
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        clock: Clock = time.time,
        semantic: Semantic | None = None,
    ) -> None:
        check_name("namespace", namespace)
        positive_seconds("timeout_seconds", timeout_seconds)
        if local_ttl < 0 or local_max_entries < 1 or lease_seconds < 0:
            raise ConfigError("local_ttl and lease_seconds are at least 0, local_max_entries at least 1")
        if not (store is None or isinstance(store, (str, Store))):
            raise ConfigError(f"store is a URL such as 'sqlite:///cache.db', or a Store; got {store!r}")
        freshness = Freshness(ttl, stale_while_revalidate, stale_if_error)
        policy = _policy(eviction)
        admission = admission or ("cost" if policy is Policy.LEC else "always")
        budget = Budget(parse_bytes(max_bytes), max_entries, policy, admission)
        codec = Codec(encryption_keys)
        owned = (
            None
            if isinstance(store, Store)
            else open_store(default_url() if store is None else store, timeout_seconds=timeout_seconds)
        )
        self.store: Store = owned or store  # type: ignore[assignment]
        self._owned = owned
        # Stores of equal URLs are one store; those in memory are each their own.
        self._place = self.store.url if self.store.url != "memory://" else f"memory {id(self.store)}"
        self.namespace = namespace
        self._own_namespace = CacheOptions().namespace(namespace)
        self._breaker, self._codec = CircuitBreaker(self.store, timeout_seconds), codec
        way = RequestFlow(
            self._breaker,
            codec=codec,
            freshness=freshness,
            budget=budget,
            near=LocalCache(local_ttl, local_max_entries) if local_ttl else None,
            cache_empty=cache_empty,
            cache_truncated=cache_truncated,
            lease_seconds=lease_seconds,
            clock=clock,
            accesses=None if access_log is None else AccessLog(access_log, codec),
            semantic=semantic,
            namespace=self._own_namespace,
        )
        super().__init__(way, SyncDriver(self._breaker), AsyncDriver(self._breaker))
        self._told: set[str] = set()
        # Runs at the latest when the interpreter ends, so that no hit is lost.
        self._finalizer = weakref.finalize(self, _close, self._way, self._breaker, owned)

    # -- for adapters: naming ----------------------------------------------------------------------------------

    def request(
        self,
        form: Callable[[], NormalForm | bytes],
        *,
        from_sources: bool = True,
        meaning: Callable[[], NormalForm] | None = None,
    ) -> Request | None:
        """Name a request.

        Args:
            form: makes its normal form, or the form's digest; not called if the request asked for no cache.
            from_sources: its answer will be made from the documents retrieved in the running context.
            meaning: makes its normal form, if the answer to a question that means the same may do.

        Returns:
            ``None`` if it is not to be cached: by wish, or because it cannot be named.
        """
        options = current_options()
        if options.bypass:
            self._way.counters.add(bypassed=1)
            return None
        try:
            named = form()
            digest = named if isinstance(named, bytes) else named.digest()
        except Uncacheable as error:
            self._way.counters.add(bypassed=1)
            self._tell_once("a request is not cached, since it cannot be named", error)
            return None
        namespace = self._namespace_in_force()
        sources = current_sources(self._place) if from_sources else ()
        return Request(namespace, key_of(namespace, digest), options, sources, meaning)

    @property
    def is_semantic(self) -> bool:
        """Whether answers are also found for questions that mean the same."""
        return self._way.semantic is not None

    def record_retrieval(self, source: Source, found: RetrievedDocuments | None = None) -> None:
        """Note that documents of a corpus in this cache's store were retrieved in the running context.

        Args:
            source: which.
            found: what they give to prompts, if it can be told.
        """
        record_retrieval(source, self._place, found)

    def _tell_once(self, what: str, why: Exception) -> None:
        """Warn of something that will happen with each request of a kind, but not each time."""
        told = str(why)
        level = logging.DEBUG if told in self._told else logging.WARNING
        logger.log(level, "askonce: %s: %s", what, told)
        if len(self._told) < 100:
            self._told.add(told)

    def _namespace_in_force(self) -> str:
        options = current_options()
        return options.namespace(self.namespace) if options.tenants else self._own_namespace

    # -- for applications --------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What was hit, missed and saved in this process, and what the namespace in force holds."""
        return run(self._stats(self._sync_driver))

    async def astats(self) -> Stats:
        """Asynchronous `stats`."""
        return await self._stats(self._awaiting)

    async def _stats(self, driver: SyncDriver) -> Stats:
        try:
            size: Size | None = await driver.call("size", self._namespace_in_force())
        except StoreDown:
            size = None
        health, semantic = self._breaker.health, self._way.semantic
        counted: dict[str, Any] = self._way.counters.snapshot() | {
            "errors": health.errors,
            "entries": None if size is None else size.entries,
            "size_bytes": None if size is None else size.size_bytes,
            "store": "down" if size is None or health.state == "open" else "up",
            "semantic": semantic and await semantic.stats(driver, self._namespace_in_force()),
        }
        return Stats(**counted)

    def invalidate(self, tag: str) -> int:
        """Delete all answers with a tag from the namespace in force; returns how many there were.

        Raises:
            StoreError: the store failed, so the answers may still be there.
        """
        self._drop_near()
        return self.store.delete_tag(self._namespace_in_force(), tag)

    async def ainvalidate(self, tag: str) -> int:
        """Asynchronous `invalidate`."""
        self._drop_near()
        return await self.store.adelete_tag(self._namespace_in_force(), tag)

    def clear(self) -> None:
        """Delete all answers of the namespace in force.

        Raises:
            StoreError: the store failed, so the answers may still be there.
        """
        self._drop_near()
        self.store.clear(self._namespace_in_force())
        self._forget_questions()

    async def aclear(self) -> None:
        """Asynchronous `clear`."""
        self._drop_near()
        await self.store.aclear(self._namespace_in_force())
        self._forget_questions()

    def forget(self, request: Request) -> bool:
        """Delete the answer to a request; returns whether there was one.

        Raises:
            StoreError: the store failed, so the answer may still be there.
        """
        self._drop_near()
        self._forget_question(request.namespace, request.key)
        return self.store.delete(request.namespace, [request.key]) > 0

    async def aforget(self, request: Request) -> bool:
        """Asynchronous `forget`."""
        self._drop_near()
        self._forget_question(request.namespace, request.key)
        return await self.store.adelete(request.namespace, [request.key]) > 0

    def mark_of_fresh(self, request: Request) -> dict[str, Any] | None:
        """What a fresh answer shows under the name ``askonce``, for `feedback`; ``None`` for nothing."""
        return None if self._way.semantic is None else {"hit": "none", "entry": request.key.hex()}

    def feedback(self, response: object, *, wrong: bool) -> bool:
        """Tell that a response was wrong, or that it was right.

        A wrong answer is dropped, and so are all that point to it. If it was a semantic hit, what is learned of it
        outweighs what a judge says.

        Args:
            response: a response of either framework, or its mark (``response_metadata["askonce"]``,
                ``additional_kwargs["askonce"]``).
            wrong: whether it was wrong.

        Returns:
            whether anything was learned or dropped: not if the response carries no mark, as streams that were no
            hit do not.

        Raises:
            StoreError: the store failed, so the answer may still be there.
        """
        mark = mark_of(response)
        semantic, told = self._way.semantic, None
        if semantic is not None and "match" in mark:
            told = semantic.tell(bytes.fromhex(mark["match"]), wrong=wrong)
        if not wrong or "entry" not in mark:
            return told is not None
        namespace, key = told or self._namespace_in_force(), bytes.fromhex(mark["entry"])
        keys = [key]
        data = self.store.get(namespace, key)
        entry = None if data is None else self._way.storage.usable(namespace, key, data)
        if entry is not None and entry.meaning is not None and entry.meaning.answer:
            keys.append(entry.meaning.answer)
        self._drop_near()
        for key in keys:
            self._forget_question(namespace, key)
        return self.store.delete(namespace, keys) > 0 or told is not None

    async def afeedback(self, response: object, *, wrong: bool) -> bool:
        """Asynchronous `feedback`."""
        import asyncio

        return await asyncio.to_thread(self.feedback, response, wrong=wrong)

    def entries(self) -> Iterator[Entry]:
        """The answers of the namespace in force that can be used now, in no order.

        Raises:
            StoreError: the store failed.
        """
        namespace = self._namespace_in_force()
        for key, data in self.store.scan(namespace):
            if (entry := self._way.storage.usable(namespace, key, data)) is not None:
                yield entry

    async def aentries(self) -> AsyncIterator[Entry]:
        """Asynchronous `entries`."""
        namespace = self._namespace_in_force()
        async for key, data in self.store.ascan(namespace):
            if (entry := self._way.storage.usable(namespace, key, data)) is not None:
                yield entry

    def _forget_question(self, namespace: str, key: bytes) -> None:
        if self._way.semantic is not None:
            self._way.semantic.forget(namespace, key)

    def _forget_questions(self) -> None:
        if self._way.semantic is not None:
            self._way.semantic.clear(self._namespace_in_force())

    def _drop_near(self) -> None:
        if self._way.storage.near is not None:
            self._way.storage.near.clear()

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until what runs in the background is done: hits are counted, fresh answers judged and learned from.

        Args:
            seconds: how long at most.

        Returns:
            whether all is done.
        """
        self._way.hits.flush()
        return self._way.semantic is None or self._way.semantic.flush(seconds)

    def close(self) -> None:
        """Flush hits, and close the store if this cache opened it."""
        self._finalizer()

    async def aclose(self) -> None:
        """Asynchronous `close`: also closes connections of the running event loop."""
        import asyncio

        for task in list(self._refreshes):
            task.cancel()
        await asyncio.to_thread(self._way.close)
        if self._finalizer.detach() is not None and self._owned is not None:
            self._breaker.close()
            await self._owned.aclose()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Cache:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _close(way: RequestFlow, breaker: CircuitBreaker, owned: Store | None) -> None:
    way.close()
    if owned is not None:
        breaker.close()  # first, or a call that is still under way would open the store again
        owned.close()


def _policy(name: str) -> Policy:
    try:
        return Policy(name)
    except ValueError:
        raise ConfigError(f"eviction is one of gdsf, lec, lru, lfu, ttl; got {name!r}") from None
