"""`Cache`: what applications call. `CacheEngine` (``askonce.engine``) is what adapters call."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from askonce.engine.engine import CacheEngine
from askonce.engine.explanation import Explanation
from askonce.engine.settings import CheckedSettings, Settings
from askonce.entries.entry import Entry, Place, mark_of, names_a_document
from askonce.errors import ConfigError, MissingExtraError
from askonce.options import check_name
from askonce.stats import Stats, Totals, TotalsBy
from askonce.stores import Client, Store, is_client
from askonce.stores.configured import default_settings, default_store, encryption_keys, named
from askonce.stores.fork import fork_lock
from askonce.totals.reading import Since

if TYPE_CHECKING:
    from askonce.engine.erasure import ErasureReport


class Cache:
    """Answers in a store. It can be given wherever a store's URL can.

        cache = Cache("redis://localhost:6379", ttl=3600)

    Methods that look at a namespace mean the one in effect: the cache's own, or within
    ``cache_options(namespace=…)`` that one.

    A copy, deep or not, is the cache itself. It can be pickled if its store can be opened anew: by a URL, and not
    in memory. What is pickled holds the URL and the settings, keys and passwords included.

    Args:
        store: a URL, a store, a ready client (see `open_store`), or ``None`` for the default: the variable
            ``ASKONCE_STORE``, else ``store`` in the table ``[tool.askonce]`` of pyproject.toml, else a SQLite file
            in the user's cache directory.
        settings: see `askonce.engine.settings.Settings`. Those not given are taken from ``[tool.askonce]``, and
            ``encryption_keys`` from the variable ``ASKONCE_ENCRYPTION_KEYS``.

    Attributes:
        engine: what adapters call.
        store: the store.
        namespace: the name given as ``namespace``.
        source: the URL (``None``: the default) and the settings by which another process opens it; ``None`` if none
            can.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used. The message says what to do.
    """

    def __init__(self, store: str | Store | Client | None = None, **settings: Unpack[Settings]) -> None:
        if not (store is None or isinstance(store, (str, Store)) or is_client(store)):
            kind = type(store).__name__  # what it holds may be a secret
            way_out = " (give its attribute cache)" if isinstance(getattr(store, "cache", None), Cache) else ""
            raise ConfigError(
                f"store is a URL such as 'sqlite:///cache.db', or a Store; got an object of {kind}{way_out}"
            )
        where = ""
        if store is None:
            store, where = default_store()
        settings, checked = _with_defaults(settings)  # also of a process that has no such file
        with named(where if store is not None else ""):
            self.engine = CacheEngine(store, checked)
        self.store, self.namespace = self.engine.store, self.engine.settings.namespace
        self.source: tuple[str | None, Settings] | None = None
        if (store is None or isinstance(store, str)) and not _is_in_memory(store):
            self.source = store, settings
        self._settings = settings

    def with_settings(self, settings: Settings) -> Cache:
        """A cache over the same store, with settings in the place of this one's.

        Args:
            settings: those that differ.

        Raises:
            ConfigError: one is wrong.
        """
        together: Settings = {**self._settings, **settings}
        if self.source is not None:
            return shared_cache(self.source[0], together)
        return Cache(getattr(self.store, "unsealed", self.store), **together)  # not encrypted twice

    def __copy__(self) -> Cache:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Cache:
        return self

    def __reduce__(self) -> Any:
        if self.source is None:
            raise TypeError(
                f"a cache over a {type(self.store).__name__} that was not opened by a URL cannot be pickled; give a"
                " URL, such as 'sqlite:///cache.db'"
            )
        return shared_cache, self.source

    # -- what it did -------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What was hit, missed and saved in this process, and what the namespace in effect holds."""
        return self.engine.stats()

    async def astats(self) -> Stats:
        """Asynchronous `stats`."""
        return await self.engine.astats()

    def totals(self, by: TotalsBy | None = None, since: Since | None = None) -> Totals:
        """What was hit, missed, saved and spent by all processes that use this namespace in this store.

        Counted since the cache was first used there, for 400 days: by hour for eight days, by day before.
        What other processes did in the last three seconds may be missing. Where a tenant's namespace is in effect,
        only of that tenant.

        Args:
            by: also the counts of each ``hour``, ``day``, ``layer``, ``model``, ``tenant`` or ``tag``.
            since: from the hour or day of a time on, or from so long ago: a `datetime.datetime`, a
                `datetime.timedelta`, or a text such as ``"2026-11-28"``, ``"24h"`` or ``"7d"``; ``None``: all.

        Raises:
            ConfigError: an argument is wrong.
            StoreError: the store failed.
        """
        return self.engine.totals(by, since)

    async def atotals(self, by: TotalsBy | None = None, since: Since | None = None) -> Totals:
        """Asynchronous `totals`."""
        import asyncio

        return await asyncio.to_thread(self.totals, by, since)

    def explain(self, call: Callable[[], object]) -> Explanation:
        """Why a request is answered from this cache, or not: its key, what is stored, what became of it before.

            print(cache.explain(lambda: model.invoke("Why is the sky blue?")))

        The call runs until its first request that is no hit, and ends there: no model is called, and nothing is
        stored. Requests before it that are hits are answered and counted. The framework's tracers see it fail.

        Args:
            call: calls a model, an embedding model or a retriever with this cache, in either framework.

        Returns:
            the explanation of the request that is no hit, or of the last one if all are.

        Raises:
            ConfigError: the call made no request to this cache.
            Exception: what the call raised before.
        """
        return self.engine.explain(call)

    async def aexplain(self, call: Callable[[], Awaitable[object]]) -> Explanation:
        """Asynchronous `explain`: ``await cache.aexplain(lambda: model.ainvoke("Why is the sky blue?"))``."""
        return await self.engine.aexplain(call)

    def entries(self) -> Iterator[Entry]:
        """The answers of the namespace in effect that can be used now, in no order.

        Raises:
            StoreError: the store failed.
        """
        namespace = self.engine.namespace_in_effect()
        for key, data in self.store.scan(namespace):
            if (entry := self.engine.flow.lookup.usable(Place(namespace, key), data)) is not None:
                yield entry

    async def aentries(self) -> AsyncIterator[Entry]:
        """Asynchronous `entries`."""
        namespace = self.engine.namespace_in_effect()
        async for key, data in self.store.ascan(namespace):
            if (entry := self.engine.flow.lookup.usable(Place(namespace, key), data)) is not None:
                yield entry

    # -- deleting ----------------------------------------------------------------------------------------------

    def invalidate(self, tag: str) -> int:
        """Delete all entries with a tag from the namespace in effect; returns how many there were.

        A document of a retrieval is an entry of its own, without which no retrieval that holds it is served.

        Raises:
            ConfigError: the tag is not a text.
            StoreError: the store failed, so the answers may still be there.
        """
        check_name("a tag", tag)
        namespace = self.engine.namespace_in_effect()
        self.engine.deleting(namespace, tag)
        deleted = self.store.delete_tag(namespace, tag)
        if names_a_document(tag):  # who has found it meanwhile is to know
            self.engine.deleting(namespace, tag)
        else:
            self.engine.forget()
        return deleted

    async def ainvalidate(self, tag: str) -> int:
        """Asynchronous `invalidate`."""
        check_name("a tag", tag)
        namespace = self.engine.namespace_in_effect()
        await self.engine.adeleting(namespace, tag)
        deleted = await self.store.adelete_tag(namespace, tag)
        if names_a_document(tag):
            await self.engine.adeleting(namespace, tag)
        else:
            self.engine.forget()
        return deleted

    def clear(self) -> None:
        """Delete all answers of the namespace in effect.

        Raises:
            StoreError: the store failed, so the answers may still be there.
        """
        namespace = self.engine.namespace_in_effect()
        self.engine.deleting(namespace)
        self.store.clear(namespace)
        self.engine.deleting(namespace)  # who has found something meanwhile is to know
        self.engine.forget_all_questions(namespace)

    async def aclear(self) -> None:
        """Asynchronous `clear`."""
        namespace = self.engine.namespace_in_effect()
        await self.engine.adeleting(namespace)
        await self.store.aclear(namespace)
        await self.engine.adeleting(namespace)
        self.engine.forget_all_questions(namespace)

    def erase(
        self,
        *,
        tenant: str | Sequence[str] = (),
        source: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> ErasureReport:
        """Erase all that came from a tenant, a document or a text, or has a tag, wherever this cache has stored it.

        It searches the namespace of the cache and those of all its tenants; change logs, learned state, the index
        of questions on this machine, and the access log of this cache. Nothing of it remains readable in files of
        the store. What other machines have in memory, and copies that a server or a backup has, are not reached.

        Args:
            tenant: as in `cache_options`; where these nest, all names, the outermost first.
            source: the id of a document.
            tag: of entries.
            text: entries that contain it, also as a number, a date or another value that is spelled like it, and
                those that were made from a request of which one text or number equals it.
            progress: called with the number of records searched since it was called last.

        Raises:
            ConfigError: none or several of them are given.
            StoreError: the store failed, so that something may still be there.
        """
        from askonce.engine.erasure import Target  # here: few need it

        if not isinstance(tenant, (str, Sequence)):
            raise ConfigError(f"a tenant is a name, or the names of nested ones, got {tenant!r}")
        tenants = (tenant,) if isinstance(tenant, str) else tuple(tenant)
        return self.engine.erase(Target(tenants, source, tag, text), progress)

    async def aerase(
        self,
        *,
        tenant: str | Sequence[str] = (),
        source: str | None = None,
        tag: str | None = None,
        text: str | None = None,
    ) -> ErasureReport:
        """Asynchronous `erase`."""
        import asyncio

        return await asyncio.to_thread(self.erase, tenant=tenant, source=source, tag=tag, text=text)

    def feedback(self, response: object, *, wrong: bool) -> bool:
        """Report that a response was wrong, or that it was right.

        A wrong answer is deleted, and so are all entries that point to it. If it was a semantic hit, this outweighs
        what a judge says.

        Args:
            response: a response of either framework, or its mark (``response_metadata["askonce"]``,
                ``additional_kwargs["askonce"]``).
            wrong: whether it was wrong.

        Returns:
            whether anything was learned or deleted: not if the response carries no mark, as for streams that were
            not a hit.

        Raises:
            StoreError: the store failed, so the answer may still be there.
        """
        mark = mark_of(response)
        semantic, namespace = self.engine.flow.semantic, None
        if semantic is not None and "match" in mark:
            namespace = semantic.feedback(bytes.fromhex(mark["match"]), wrong=wrong)
        if not wrong or "entry" not in mark:
            return namespace is not None
        place = Place(namespace or self.engine.namespace_in_effect(), bytes.fromhex(mark["entry"]))
        places = [place]
        data = self.store.get(*place)
        entry = None if data is None else self.engine.flow.lookup.usable(place, data)
        if entry is not None and entry.semantic is not None and entry.semantic.answer:
            places.append(Place(place.namespace, entry.semantic.answer))
        self.engine.forget(*places)
        for one in places:
            self.engine.deleted(one)
        return self.store.delete(place.namespace, [one.key for one in places]) > 0 or namespace is not None

    async def afeedback(self, response: object, *, wrong: bool) -> bool:
        """Asynchronous `feedback`."""
        import asyncio

        return await asyncio.to_thread(self.feedback, response, wrong=wrong)

    # -- life --------------------------------------------------------------------------------------------------

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until what runs in the background is done: hits are counted, fresh answers judged and learned from.

        Args:
            seconds: how long at most.

        Returns:
            whether all is done.
        """
        return self.engine.flush(seconds)

    def close(self) -> None:
        """Flush, and close the store if this cache opened it."""
        self.engine.close()

    async def aclose(self) -> None:
        """Asynchronous `close`: also closes connections of the running event loop."""
        await self.engine.aclose()

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


class CacheMethods:
    """The methods of `Cache`, for an object of an adapter that has one.

    Attributes:
        cache: the `Cache` in use.
    """

    cache: Cache

    def stats(self) -> Stats:
        """See `Cache.stats`."""
        return self.cache.stats()

    async def astats(self) -> Stats:
        """Asynchronous `stats`."""
        return await self.cache.astats()

    def totals(self, by: TotalsBy | None = None, since: Since | None = None) -> Totals:
        """See `Cache.totals`."""
        return self.cache.totals(by, since)

    async def atotals(self, by: TotalsBy | None = None, since: Since | None = None) -> Totals:
        """Asynchronous `totals`."""
        return await self.cache.atotals(by, since)

    def explain(self, call: Callable[[], object]) -> Explanation:
        """See `Cache.explain`."""
        return self.cache.explain(call)

    async def aexplain(self, call: Callable[[], Awaitable[object]]) -> Explanation:
        """Asynchronous `explain`."""
        return await self.cache.aexplain(call)

    def entries(self) -> Iterator[Entry]:
        """See `Cache.entries`."""
        return self.cache.entries()

    def aentries(self) -> AsyncIterator[Entry]:
        """Asynchronous `entries`."""
        return self.cache.aentries()

    def invalidate(self, tag: str) -> int:
        """See `Cache.invalidate`."""
        return self.cache.invalidate(tag)

    async def ainvalidate(self, tag: str) -> int:
        """Asynchronous `invalidate`."""
        return await self.cache.ainvalidate(tag)

    def erase(
        self,
        *,
        tenant: str | Sequence[str] = (),
        source: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> ErasureReport:
        """See `Cache.erase`."""
        return self.cache.erase(tenant=tenant, source=source, tag=tag, text=text, progress=progress)

    async def aerase(
        self,
        *,
        tenant: str | Sequence[str] = (),
        source: str | None = None,
        tag: str | None = None,
        text: str | None = None,
    ) -> ErasureReport:
        """Asynchronous `erase`."""
        return await self.cache.aerase(tenant=tenant, source=source, tag=tag, text=text)

    def feedback(self, response: object, *, wrong: bool) -> bool:
        """See `Cache.feedback`."""
        return self.cache.feedback(response, wrong=wrong)

    async def afeedback(self, response: object, *, wrong: bool) -> bool:
        """Asynchronous `feedback`."""
        return await self.cache.afeedback(response, wrong=wrong)

    def flush(self, seconds: float = 10.0) -> bool:
        """See `Cache.flush`."""
        return self.cache.flush(seconds)


def check_settings(settings: Settings) -> None:
    """See whether a cache of these settings, and of those of pyproject.toml, can be made.

    Raises:
        ConfigError: it cannot.
    """
    _with_defaults(settings)


def _with_defaults(settings: Settings) -> tuple[Settings, CheckedSettings]:
    """Settings, and those of pyproject.toml where they are not given; and both of them checked.

    Raises:
        ConfigError: a setting is wrong, or one of the table has no such name or cannot be written there.
    """
    defaults, where = default_settings()
    if unknown := defaults.keys() - CheckedSettings.plain:
        names = ", ".join(sorted(CheckedSettings.plain))
        in_code = sorted(unknown & Settings.__annotations__.keys())
        why = f"{', '.join(in_code)}: only in code" if in_code else f"no such option: {', '.join(sorted(unknown))}"
        raise ConfigError(f"{where}: {why}; it takes store, {names}")
    together: Settings = {**defaults, **settings}  # type: ignore[typeddict-item]
    if "encryption_keys" not in settings and (keys := encryption_keys()):
        together["encryption_keys"] = keys
    try:
        return together, CheckedSettings.of(together)
    except ConfigError as error:
        if defaults and _is_right(settings) and not isinstance(error, MissingExtraError):
            raise ConfigError(f"{where}: {error}") from error
        raise


def _is_right(settings: Settings) -> bool:
    try:
        CheckedSettings.of(settings)
    except ConfigError:
        return False
    return True


def _is_in_memory(url: object) -> bool:
    return isinstance(url, str) and url.lower() == "memory://"


_shared: weakref.WeakValueDictionary[Any, Cache] = weakref.WeakValueDictionary()
_sharing = fork_lock()


def shared_cache(store: str | Store | Client | Cache | None, settings: Settings) -> Cache:
    """The cache that an adapter is to use.

    Args:
        store: a cache, which is used as it is, or what `Cache` takes.
        settings: of a new cache. Equal URLs with equal settings share one cache in this process, so that models
            that are made for each request still wait for one another and share connections. One in memory is
            always new.

    Raises:
        ConfigError: a cache is given and settings too, or `Cache` raises it.
    """
    if isinstance(store, Cache):
        if settings:
            raise ConfigError(f"{', '.join(settings)}: give options to the Cache, not beside it")
        return store
    used = default_store()[0] if store is None else store
    if isinstance(used, Store) or _is_in_memory(used):
        return Cache(store, **settings)
    place = used if used is None or isinstance(used, str) else id(used)  # a client
    given = tuple(sorted((key, repr(value)) for key, value in settings.items()))
    name = (place, given, tuple(encryption_keys()))
    with _sharing:
        cache = _shared.get(name)
        if cache is None or not cache.engine.is_open:
            cache = _shared[name] = Cache(store, **settings)
        return cache
