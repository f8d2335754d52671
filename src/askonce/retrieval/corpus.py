"""`Corpus`: a changing set of documents, whose changes are shared by all processes."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Unpack
from urllib.parse import quote

from askonce.cache import Cache, shared_cache
from askonce.concurrency.drivers import run
from askonce.engine.settings import Settings
from askonce.errors import ConfigError, StoreError
from askonce.options import CacheOptions, check_unicode
from askonce.provenance.additions import added_vectors
from askonce.provenance.changes import Change, batches
from askonce.provenance.writes import Call, Write, Writes
from askonce.retrieval.states import States, read_states, seen, states_of, unseen
from askonce.retrieval.written import Written
from askonce.stores import Client, Store

logger = logging.getLogger("askonce")
_MOST_STORES = 16
"""Of stores that are read after a write that names none."""


class Corpus:
    """A set of documents that retrievers search, shared by all processes that use the store.

    Retrievals that are cached with it are invalidated when documents change, and so are answers made from those
    documents. `watch` of the adapters reports changes made through a vector store or an index. If you write
    documents in another way, do that within `writing`, or call `changed` and `added` afterwards, *when the
    documents can be found*.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        name: distinguishes this set of documents from others.
        near_margin: with a number, an addition invalidates only retrievals with a question near it: as near as the
            last document that was found, less this much of the cosine similarity, from 0 (enough where the search
            is exact) to 2. All retrievers of the corpus, and the code that adds documents, must use one embedding
            model. ``None``: an addition invalidates all.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Attributes:
        cache: the `Cache` that the corpus is in.
        name: the name.
        near_margin: what was given.
        log: the namespace of its change log in the store.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    def __init__(
        self,
        store: str | Store | Client | Cache | None = None,
        *,
        name: str = "default",
        near_margin: float | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        if not name:
            raise ConfigError("a corpus needs a name")
        check_unicode("the name of a corpus", name)
        if near_margin is not None and not 0 <= near_margin <= 2:
            raise ConfigError(f"near_margin is a difference of cosine similarities, from 0 to 2; got {near_margin}")
        self.cache = shared_cache(store, settings)
        self.name = name
        self.near_margin = near_margin
        self._stores: deque[weakref.ref[object]] = deque(maxlen=_MOST_STORES)
        self.log = f"{CacheOptions().namespace(self.cache.namespace)}:corpus:{quote(name, safe='')}"

    @staticmethod
    def checked(corpus: object) -> Corpus:
        """A corpus, as it was given.

        Raises:
            ConfigError: it is none.
        """
        if not isinstance(corpus, Corpus):
            given = "a name" if isinstance(corpus, str) else f"a {type(corpus).__name__}"
            raise ConfigError(f"watch takes a corpus, not {given}: watch(…, Corpus(store, name='…'))")
        return corpus

    def added(self, embeddings: Sequence[Sequence[float]] | None = None) -> None:
        """Report that documents were added: any retrieval may have another result now, so all are invalidated.

        Args:
            embeddings: the vector of each document. With them, retrievals without a near document stay, if the
                retriever shows its question's vector and ``near_margin`` was given. For additions of some hundred
                documents (0.5 MB, at 2 bytes a number): a larger one invalidates all.

        Raises:
            ConfigError: ``embeddings`` are not vectors of one length.
            MissingExtraError: ``embeddings`` were given, and numpy is not installed.
            StoreError: the store failed, so that outdated retrievals may still be served.
        """
        run(self._report(self._call, _addition(embeddings, self._states())))

    async def aadded(self, embeddings: Sequence[Sequence[float]] | None = None) -> None:
        """Asynchronous `added`."""
        await self._report(self._acall, _addition(embeddings, await asyncio.to_thread(self._states)))

    def changed(self, ids: Iterable[str]) -> None:
        """Report documents that were deleted, or whose content changed without making them relevant to others.

        Retrievals that returned one of them, and answers made from one, are invalidated; others stay. If the new
        content may be found by other questions than its old one, call `added` too.

        Raises:
            StoreError: the store failed, so that outdated retrievals may still be served.
            ConfigError: ``ids`` is no list of texts that can be stored.
        """
        run(self._changed(self._call, _listed(ids), self._states()))

    async def achanged(self, ids: Iterable[str]) -> None:
        """Asynchronous `changed`."""
        await self._changed(self._acall, _listed(ids), await asyncio.to_thread(self._states))

    @contextmanager
    def writing(
        self, ids: Iterable[str] | None = None, *, added: bool = True, stores: Iterable[object] | None = None
    ) -> Iterator[Written]:
        """Announce a write of documents before it is done, and report it when it has ended.

            with corpus.writing(["leave-2026"]):
                database.execute("UPDATE …")

        Retrievals that returned these documents, and answers made from them, are invalidated at once. What is
        found during the block is not stored. If the process is killed in the block, everything found before
        is invalidated when the write's lease has run out, after ten seconds at most.

        Args:
            ids: the documents that are changed or deleted; ``None``: any may be.
            added: other documents are added, or the new content of these may be found by other questions.
            stores: the vector stores that are written to, of which is seen what was written to them before past
                the corpus; ``None``: all that are watched, or whose retriever is cached, in this process.

        Yields:
            what is reported at the end; the block may change it.

        Raises:
            StoreError: the store failed: if at the begin of the block, it is not entered; if at its end, everything
                found before is invalidated when the lease has run out.
        """
        written = Written(None if ids is None else _listed(ids), added)
        searched = self._known() if stores is None else [*stores]
        self._compare(searched)
        write = run(self._writes.begin(self._call, self.log, written.ids))
        try:
            yield written
        except BaseException:
            with self._only_logged():
                run(self._end(self._call, write, Written(written.ids, written.added), {}))
            raise
        run(self._end(self._call, write, written, states_of(searched)))

    @asynccontextmanager
    async def awriting(
        self, ids: Iterable[str] | None = None, *, added: bool = True, stores: Iterable[object] | None = None
    ) -> AsyncIterator[Written]:
        """Asynchronous `writing`."""
        written = Written(None if ids is None else _listed(ids), added)
        searched = self._known() if stores is None else [*stores]
        if searched:
            await asyncio.to_thread(self._compare, searched)
        write = await self._writes.begin(self._acall, self.log, written.ids)
        try:
            yield written
        except BaseException:  # also if it was cancelled: then nothing more may be awaited
            with self._only_logged():
                run(self._end(self._call, write, Written(written.ids, written.added), {}))
            raise
        states = await asyncio.to_thread(states_of, searched) if searched else {}
        await self._end(self._acall, write, written, states)

    def compare(self, stores: Iterable[object]) -> None:
        """See whether vector stores hold what they held after the last write that was reported here.

        Otherwise anything may have changed, as by ``Chroma.from_documents``. Each store is compared once here, as
        soon as it can be read, and again before each write.
        """
        new = unseen(stores, self.log)
        for one in new:
            if all(known() is not one for known in self._stores):
                self._stores.append(weakref.ref(one))
        self._compare(new)

    # -- the store -------------------------------------------------------------------------------------------------

    @property
    def _writes(self) -> Writes:
        return self.cache.engine.writes

    async def _call(self, operation: str, *args: Any) -> Any:
        return getattr(self.cache.store, operation)(*args)

    async def _acall(self, operation: str, *args: Any) -> Any:
        return await getattr(self.cache.store, f"a{operation}")(*args)

    @contextmanager
    def _only_logged(self) -> Iterator[None]:
        """While the error of a write is raised, which is the one that counts."""
        try:
            yield
        except StoreError as error:
            logger.warning("askonce: a write that failed half way could not be reported to a corpus: %s", error)

    async def _end(self, call: Call, write: Write, written: Written, states: States) -> None:
        await self._writes.end(call, write, written.change(states))
        if written.ids and not written.added:
            await self._free(call, written.ids)

    async def _free(self, call: Call, ids: list[str]) -> None:
        """Delete what was made from documents, which is no longer served."""
        namespace = self.cache.engine.namespace_in_effect()
        self.cache.engine.forget()
        for one in ids:
            await call("delete_tag", namespace, f"doc:{one}")

    def _compare(self, stores: list[object]) -> None:
        readings = [(one, read_states(one)) for one in stores]
        read = [one for one, states in readings if states is not None]
        states = {place: state for _, some in readings for place, state in (some or {}).items()}
        if not states or self.cache.engine.compare_states(self.log, states):
            seen(read, self.log)

    def _known(self) -> list[object]:
        """The stores whose retrievers are cached, or that are watched, in this process."""
        return [store for one in list(self._stores) if (store := one()) is not None]

    def _states(self) -> States:
        return states_of(self._known())

    async def _changed(self, call: Call, ids: list[str], states: States) -> None:
        for some in batches(ids) if ids else ():
            await self._report(call, Change(some, states=states))
        if ids:
            await self._free(call, ids)

    async def _report(self, call: Call, change: Change) -> None:
        await call("log_append", self.log, self.cache.engine.corpora.event(self.log, change))


def _addition(embeddings: Sequence[Sequence[float]] | None, states: States) -> Change:
    vectors = None if embeddings is None else added_vectors(embeddings)
    return Change(added=True, vectors=vectors, states=states)


def _listed(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        raise ConfigError(f"ids is a list of ids: ids=[{ids!r}]")
    listed = [str(one) for one in ids]
    for one in listed:
        check_unicode("an id", one)
    return listed
