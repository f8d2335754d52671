"""`CachedRetriever`: a retriever of LangChain whose results are stored until the documents change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from pydantic import PrivateAttr

import askonce.langchain.retrieval.runs  # noqa: F401  # so that answers know what was retrieved
from askonce.cache import Cache
from askonce.engine.settings import Settings
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable, plain, question, request_form
from askonce.langchain.instead import instead_of
from askonce.langchain.retrieval.documents import encoded, has_own_id, id_field, ids_of, unpack
from askonce.langchain.retrieval.identity import Identity, depends_on_time
from askonce.langchain.retrieval.nearness import Nearness, returns_all_it_weighs
from askonce.langchain.retrieval.readers import RunReaders
from askonce.langchain.retrieval.run_config import RunManager, given_by_run
from askonce.retrieval.cached_retrieval import (
    CachedRetrieval,
    cache_and_corpus,
    check_audit,
    check_empty_ttl,
    check_inner,
)
from askonce.retrieval.corpus import Corpus
from askonce.retrieval.encoded import EncodedDocument
from askonce.retrieval.held import found_within
from askonce.retrieval.made import MadeInSearches
from askonce.retrieval.places import machine_of, unplaced
from askonce.stores import Client, Store


class CachedRetriever(BaseRetriever):
    """A retriever that searches only for questions that are not in the cache, or whose documents have changed.

        corpus = Corpus("redis://localhost:6379", name="handbook")
        store = watch(Chroma("handbook", embeddings), corpus)
        retriever = cached(store.as_retriever(search_kwargs={"k": 5}), corpus=corpus)

    Questions are the same if they have the same words. The retriever's class and configuration and the arguments
    of the call are part of the key. Answers of models that are cached over the same store, made in the same run
    or context, record the documents found here, and are no longer served once one of them changes.

    Args:
        retriever: any retriever.
        store: a store's URL, a store, a `Cache`, or ``None`` for that of ``corpus``, else for a SQLite file in the
            user's cache directory.
        corpus: the documents that it searches: a `Corpus`, or the name of one in ``store``. Different sets of
            documents need different names.
        name: a name for the retriever and everything else that its results depend on, in place of its fields. Where
            its documents are, and which, is read all the same, as far as its stores show it.
        depends_on: names of what a run gives, in ``configurable``, metadata or LangGraph's context, that results
            depend on, such as ``["user_id"]``. ``None``: all but the ids of runs, threads and checkpoints, if the
            retriever or a part of it is of a class that is not LangChain's, else nothing.
        nearest: it returns the documents nearest to a question, and documents that are not returned have no
            influence; then the deletion of a document drops only results that held it, and otherwise all results.
            ``None``: as far as the retriever shows it.
        empty_ttl: seconds for which an empty result is stored; 0 for never.
        audit: the share of hits that are compared with a new search, in the background; what differs is deleted,
            logged and counted (``stats().audited_wrong``).
        ignore_case: questions that differ in capitals only are one.
        ignore_punctuation: questions that differ in quotes and closing punctuation only are one.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Attributes:
        retriever: the retriever inside.
        corpus: the documents that it searches.

    Raises:
        ConfigError: the retriever does not show what its results depend on and there is no ``name``, an argument is
            wrong, the corpus is in another store, or the store cannot be used.
    """

    retriever: BaseRetriever
    corpus: Corpus
    depends_on: Sequence[str] | None
    nearest: bool | None
    empty_ttl: float
    audit: float
    ignore_case: bool
    ignore_punctuation: bool
    _known_as: str | None = PrivateAttr()
    _known: dict[int, Any] = PrivateAttr()
    _made: MadeInSearches = PrivateAttr(default_factory=MadeInSearches)
    _readers: RunReaders | None = PrivateAttr(default=None)
    _cache: Cache = PrivateAttr()
    _warned: set[str] = PrivateAttr(default_factory=set)

    def __init__(
        self,
        retriever: BaseRetriever,
        store: str | Store | Client | Cache | None = None,
        *,
        corpus: Corpus | str | None = None,
        name: str | None = None,
        depends_on: Sequence[str] | None = None,
        nearest: bool | None = None,
        empty_ttl: float = 60,
        audit: float = 0,
        ignore_case: bool = True,
        ignore_punctuation: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        if not isinstance(retriever, BaseRetriever):
            raise ConfigError(
                f"CachedRetriever takes a retriever, not a {type(retriever).__name__}; {instead_of(retriever)}"
            )
        check_empty_ttl(empty_ttl)
        check_audit(audit)
        if isinstance(depends_on, str):
            raise ConfigError(f"depends_on is a list of names: depends_on=[{depends_on!r}]")
        known: dict[int, Any] = {}
        cache, own_corpus = cache_and_corpus(store, corpus, settings)
        identity = Identity(known, own_corpus)
        if name is None:
            _check_identity(identity, retriever, has_corpus=corpus is not None)
        else:
            identity.stores_in(retriever)
            for one in found_within(retriever, lambda part: isinstance(part, CachedRetriever)):
                check_inner(own_corpus, one.corpus)
        if name is not None and cache.engine.settings.ttl is None and any(found_within(retriever, depends_on_time)):
            raise ConfigError(
                "what a TimeWeightedVectorStoreRetriever finds depends on the time, and on what was found before: "
                "say how long it may be served: CachedRetriever(retriever, name='…', ttl=300)"
            )
        own_corpus.compare(identity.stores)
        fields: dict[str, Any] = {
            "retriever": retriever,
            "corpus": own_corpus,
            "depends_on": depends_on,
            "nearest": nearest,
            "empty_ttl": empty_ttl,
            "audit": audit,
            "ignore_case": ignore_case,
            "ignore_punctuation": ignore_punctuation,
        }
        super().__init__(**fields)
        self._cache, self._known_as, self._known = cache, name, known
        if name is not None:
            self._readers = _readers_in(retriever)

    @property
    def cache(self) -> Cache:
        """The `Cache` in use."""
        return self._cache

    def _identity(self, identity: Identity) -> dict[str, Any]:
        known_as = self._known_as
        if identity.corpus is not None:
            check_inner(identity.corpus, self.corpus)
        identity.readers.any = identity.readers.any or self.depends_on is not None
        if self._readers is not None:
            identity.readers.add_all(self._readers)
        form = {
            "retriever": identity.of(self.retriever) if known_as is None else self._named(identity),
            "corpus": self.corpus.name,
            "folded": [self.ignore_case, self.ignore_punctuation],
        }
        machine = machine_of(self._cache.store.url, is_local=identity.is_local)
        return form if machine is None else {**form, "machine": machine}

    def _named(self, identity: Identity) -> dict[str, Any]:
        stores = identity.stores_in(self.retriever)
        return {"name": self._known_as, "stores": stores} if stores else {"name": self._known_as}

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return _Retrieval(self, query, kwargs, run_manager).run()

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await _Retrieval(self, query, kwargs, run_manager).arun()


class _Retrieval(CachedRetrieval[BaseRetriever, Document]):
    """One question to a `CachedRetriever`.

    Args:
        owner: which.
        query: the question.
        arguments: of the call.
        run: of the call.
    """

    def __init__(self, owner: CachedRetriever, query: str, arguments: dict[str, Any], run: RunManager) -> None:
        super().__init__(owner.retriever, owner.cache, owner.corpus, owner.empty_ttl, owner.audit, owner._warned)
        self._owner, self._query, self._arguments, self._run = owner, query, arguments, run
        self._embeddings: list[Any] = []

    def form(self) -> NormalForm:
        owner, query = self._owner, self._query
        identity = Identity(owner._known, owner.corpus, owner._made)
        content = (
            question(query, ignore_case=owner.ignore_case, ignore_punctuation=owner.ignore_punctuation)
            if isinstance(query, str)
            else plain(query)
        )
        model = owner._identity(identity)
        arguments = identity.given(self._arguments, self.retriever)
        self._embeddings = identity.embeddings
        parts = {"arguments": arguments}
        if identity.readers.any:
            given = given_by_run(self._run, owner.depends_on, identity.readers)
            if given:
                parts["run"] = identity.given(given, self.retriever)
        self.scope = request_form("retrieval", model, **parts).digest()
        return request_form("retrieval", model, question=content, **parts)

    def search(self) -> list[Document]:
        config: RunnableConfig = {"callbacks": self._run.get_child()}
        with self._owner._made.during(self.retriever, self._embeddings):
            found = self.retriever.invoke(self._query, config, **self._arguments)
        self.near = Nearness(self.corpus, self.retriever, self._arguments).of(self._query, found)
        return found

    async def asearch(self) -> list[Document]:
        config: RunnableConfig = {"callbacks": self._run.get_child()}
        with self._owner._made.during(self.retriever, self._embeddings):
            found = await self.retriever.ainvoke(self._query, config, **self._arguments)
        self.near = await Nearness(self.corpus, self.retriever, self._arguments).aof(self._query, found)
        return found

    def encode(self, document: Document) -> EncodedDocument:
        return encoded(document)

    def decode(self, payload: bytes) -> list[Document]:
        return unpack(payload)

    def ids(self, documents: Sequence[Document]) -> tuple[str, ...]:
        return ids_of(documents)

    def texts(self, documents: Sequence[Document]) -> list[tuple[str, str]]:
        return [(one.page_content, one.page_content) for one in documents]

    def depends_on_others(self, documents: Sequence[Document]) -> bool:
        nearest = self._owner.nearest
        if nearest is None:
            nearest = returns_all_it_weighs(self.retriever, self._arguments)
        field = id_field(getattr(self.retriever, "vectorstore", None))
        return not nearest or not all(has_own_id(one, field) for one in documents)


def _readers_in(retriever: BaseRetriever) -> RunReaders:
    """The parts of a retriever with a name that may read what a run gives."""
    identity = Identity({})
    try:
        identity.of(retriever)
    except Uncacheable:
        identity.readers.any = True  # what cannot be read may
    identity.readers.add_within(retriever)
    return identity.readers


def _check_identity(identity: Identity, retriever: BaseRetriever, *, has_corpus: bool) -> None:
    try:
        identity.of(retriever)
    except Uncacheable as error:
        raise ConfigError(
            f"{type(retriever).__name__} does not show what its results depend on ({error}); name it: "
            "CachedRetriever(retriever, name='…'), with another name whenever its configuration is another"
        ) from error
    if identity.nameless and not has_corpus:
        raise ConfigError(unplaced(identity.nameless[0]))
