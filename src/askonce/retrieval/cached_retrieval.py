"""What the cached retrievers of both frameworks share: where results are stored, and how one is looked up."""

from __future__ import annotations

import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from askonce.cache import Cache, shared_cache
from askonce.engine.settings import Settings
from askonce.entries.entry import Answer, Hit, Near, Source
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm
from askonce.provenance.corpora import Position
from askonce.provenance.retrieved import RetrievedDocument
from askonce.retrieval.corpus import Corpus
from askonce.retrieval.encoded import EncodedDocument, payload_of, slices_of
from askonce.stores import Client, Store

logger = logging.getLogger("askonce")
Retriever = TypeVar("Retriever")
Document = TypeVar("Document")

_CHANCE = random.SystemRandom()
"""Has no state, so that the application's own random numbers stay as they are, and forked processes differ."""
_UNKNOWN_POSITION = -1
"""Before all positions: answers made from such a retrieval are not served."""


class NotPlain(Exception):
    """A document would not come back from the cache as it is; the message says why."""


def cache_and_corpus(
    store: str | Store | Client | Cache | None, corpus: Corpus | str | None, settings: Settings
) -> tuple[Cache, Corpus]:
    """The cache in which a retriever's results are stored, and the corpus that it searches.

    Args:
        store: as `askonce.Cache` takes it, or a `Cache`; ``None`` for the corpus's own, with the
            settings that are given in the place of its own.
        corpus: a corpus, the name of one in ``store``, or ``None`` for the one named ``default``.
        settings: of `askonce.Cache`.

    Raises:
        ConfigError: the corpus is in another store, or `Cache` raises it.
    """
    if not isinstance(corpus, Corpus):
        cache = shared_cache(store, settings)
        return cache, Corpus(cache, name=corpus or "default")
    if store is None:
        return (corpus.cache.with_settings(settings) if settings else corpus.cache), corpus
    cache = shared_cache(store, settings)
    if cache.engine.store_name != corpus.cache.engine.store_name:
        raise ConfigError(
            "a corpus has a store, and this is another store (or only one of them has encryption_keys), where its "
            "changes would not be seen: leave out store"
        )
    return cache, corpus


def check_empty_ttl(empty_ttl: float) -> None:
    """Check for how many seconds empty results are stored.

    Raises:
        ConfigError: it is negative.
    """
    if empty_ttl < 0:
        raise ConfigError(f"empty_ttl is a number of seconds, 0 to not store empty results; got {empty_ttl}")


def check_audit(audit: float) -> None:
    """Check which share of hits is audited.

    Raises:
        ConfigError: it is none.
    """
    if not 0 <= audit <= 1:
        raise ConfigError(f"audit is the share of hits that are compared with a new search, 0 to 1; got {audit}")


def check_inner(outer: Corpus, inner: Corpus) -> None:
    """Check that a cached retriever, which another one holds, is of its corpus.

    Raises:
        ConfigError: it is of another.
    """
    if inner.log != outer.log or inner.cache.engine.store_name != outer.cache.engine.store_name:
        raise ConfigError(
            f"a cached retriever holds another one of another corpus ({inner.name!r} within {outer.name!r}), whose"
            " changes it would not see; cache those inside only"
        )


class CachedRetrieval(ABC, Generic[Retriever, Document]):
    """One question to a cached retriever: looked up, else searched for and stored. An adapter makes a subclass.

    Args:
        retriever: the retriever inside.
        cache: where results are stored.
        corpus: the documents that are searched.
        empty_ttl: seconds for which an empty result is stored; 0 for never.
        audit: the share of hits that are compared with a new search.
        warned: why results of this retriever were not stored, as far as they were logged; shared by all retrievals.

    Attributes:
        retriever: the retriever inside.
        cache: where results are stored.
        corpus: the documents that are searched.
        position: in the corpus's change log, as of which the result is true; ``None`` if the store does not say.
        near: which additions of documents concern the result; ``None``: any.
        scope: the digest of the retriever with its settings; ``None`` if it is not cached.
    """

    def __init__(
        self, retriever: Retriever, cache: Cache, corpus: Corpus, empty_ttl: float, audit: float, warned: set[str]
    ) -> None:
        self.retriever, self.cache, self.corpus = retriever, cache, corpus
        self._empty_ttl, self._audit, self._warned = empty_ttl, audit, warned
        self.position: int | None = None
        self._is_stable = True
        self._result: object = None
        self._moment = time.monotonic()
        self.near: Near | None = None
        self.scope: bytes | None = None

    # -- what a framework says -------------------------------------------------------------------------------------

    @abstractmethod
    def form(self) -> NormalForm:
        """The normal form of the question to this retriever. Sets ``scope``.

        Raises:
            Uncacheable: there is none.
        """

    @abstractmethod
    def search(self) -> Sequence[Document]:
        """Call the retriever inside. May set ``near``."""

    @abstractmethod
    async def asearch(self) -> Sequence[Document]:
        """Asynchronous `search`."""

    @abstractmethod
    def encode(self, document: Document) -> EncodedDocument:
        """A document as bytes.

        Raises:
            NotPlain: it would not come back equal.
        """

    @abstractmethod
    def decode(self, payload: bytes) -> Sequence[Document]:
        """New documents, equal to those whose `payload_of` this is."""

    @abstractmethod
    def ids(self, documents: Sequence[Document]) -> tuple[str, ...]:
        """Every id by which a change of one of the documents may be announced."""

    @abstractmethod
    def texts(self, documents: Sequence[Document]) -> list[tuple[str, str]]:
        """What each document gives to a prompt, and its own text alone."""

    @abstractmethod
    def depends_on_others(self, documents: Sequence[Document]) -> bool:
        """Whether the deletion of a document that was not found can change the result."""

    # -- one retrieval ---------------------------------------------------------------------------------------------

    def run(self) -> list[Document]:
        """Look up the result, or search and store it. It is recorded for answers made from it."""
        request = self.cache.engine.request("retrieval", self.form, unpack=self.decode, from_sources=False)
        if request is None:
            return self._recorded(self._searched())
        found = self.cache.engine.answer(request, self._searched, self._packed)
        if isinstance(found, Hit) and self._is_audited():
            self.cache.engine.audit(request, self.corpus.log, found.entry, self._same_as(found))
        return self._recorded(self._of_hit(found) if isinstance(found, Hit) else found)

    async def arun(self) -> list[Document]:
        """Asynchronous `run`."""
        request = self.cache.engine.request("retrieval", self.form, unpack=self.decode, from_sources=False)
        if request is None:
            return self._recorded(await self._asearched())
        found = await self.cache.engine.aanswer(request, self._asearched, self._packed)
        if isinstance(found, Hit) and self._is_audited():
            self.cache.engine.aaudit(request, self.corpus.log, found.entry, self._asame_as(found))
        return self._recorded(self._of_hit(found) if isinstance(found, Hit) else found)

    def _searched(self) -> Sequence[Document]:
        self._begin_at(self.cache.engine.position(self.corpus.log))  # before the search, or a change is missed
        return self.search()

    async def _asearched(self) -> Sequence[Document]:
        self._begin_at(await self.cache.engine.aposition(self.corpus.log))
        return await self.asearch()

    def _begin_at(self, position: Position | None) -> None:
        self._moment = time.monotonic()
        if position is not None:
            self.position, self._is_stable = position.sequence, position.is_stable

    def _packed(self, documents: Sequence[Document]) -> Answer | None:
        """What is stored of a result; ``None`` for nothing."""
        if self.position is None or not self._is_stable or not (documents or self._empty_ttl):
            return None
        try:
            encoded = [self.encode(one) for one in documents]
        except NotPlain as error:
            self._warn_once(str(error))
            return None
        source = Source(
            self.corpus.log,
            self.position,
            self.ids(documents),
            whole=True,
            any_change=self.depends_on_others(documents),
            near=self.near,
        )
        payload = payload_of(encoded)
        return Answer(
            payload,
            ttl_seconds=None if documents else self._empty_ttl,
            sources=(source,),
            values=(list(documents),),
            slices=tuple(slices_of(encoded, payload)),
        )

    def _is_audited(self) -> bool:
        return self._audit > 0 and _CHANCE.random() < self._audit

    def _same_as(self, hit: Hit) -> Callable[[], bool]:
        stored = self._compared(hit.value)
        return lambda: self._compared(self.search()) == stored

    def _asame_as(self, hit: Hit) -> Callable[[], Awaitable[bool]]:
        stored = self._compared(hit.value)

        async def is_same() -> bool:
            return self._compared(await self.asearch()) == stored

        return is_same

    def _compared(self, documents: Sequence[Document]) -> list[bytes]:
        """Documents in no order: those of equal scores may change places."""
        return sorted(self.encode(one).content for one in documents)

    def _of_hit(self, hit: Hit) -> Sequence[Document]:
        self.position = min((source.position for source in hit.entry.sources), default=None)
        self._result = hit.key, hit.entry.created_at
        documents: Sequence[Document] = hit.value
        return documents

    def _recorded(self, documents: Sequence[Document]) -> list[Document]:
        """A result, recorded as a source of the answers that are made from now on in this run."""
        position = _UNKNOWN_POSITION if self.position is None else self.position
        self.corpus.cache.engine.record_retrieval(
            [
                RetrievedDocument(self.corpus.log, position, self.ids([one]), text, body, self.scope, self._moment)
                for one, (text, body) in zip(documents, self.texts(documents), strict=True)
            ],
            self._result,
        )
        return list(documents)

    def _warn_once(self, why: str) -> None:
        if why not in self._warned:
            self._warned.add(why)
            logger.warning(
                "askonce: what %s finds is not cached, since it would not come back as it is: %s; make metadata"
                " of texts, numbers, times and other common types",
                type(self.retriever).__name__,
                why,
            )
