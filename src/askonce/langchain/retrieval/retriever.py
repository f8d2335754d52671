"""`CachedRetriever`: a question is looked up in the documents once, until they change."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr

import askonce.langchain.retrieval.runs  # noqa: F401  # so that answers know what was retrieved
from askonce.cache import Cache
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Near, Source
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable, plain, question, request_form
from askonce.langchain.retrieval import documents as kept
from askonce.langchain.retrieval.identity import Identity, returns_all_it_weighs
from askonce.langchain.retrieval.nearness import Nearness
from askonce.provenance.retrieval_context import RetrievedDocuments, begin_retrieval_context, end_retrieval_context
from askonce.retrieval.corpus import Corpus
from askonce.stores import Store

logger = logging.getLogger("askonce")

_UNKNOWN_POSITION = -1  # before all: answers made from such a retrieval are not served


class CachedRetriever(BaseRetriever):
    """A retriever that looks only for what it was not asked before, or what may have another result by now.

        corpus = Corpus("redis://localhost:6379", name="handbook")
        store = watch(Chroma("handbook", embeddings), corpus)
        retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 5}), corpus=corpus)

    Questions are the same if they have the same words. The retriever's class and configuration and the arguments
    of the call are part of the key. Answers of models that are cached over the same store, made in the same run
    or context, know the documents found here, and fall with them.

    Args:
        retriever: any retriever.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        corpus: the documents in which it looks: a `Corpus`, or the name of one in ``store``.
        name: a name for the retriever and everything else that its results depend on, instead of what it shows
            of itself.
        nearest: it returns those documents that are nearest to a question, and a document counts only where it
            is returned; then the deletion of a document touches only results that held it, and otherwise all of
            them. ``None``: as far as the retriever shows it.
        empty_ttl: seconds for which it is remembered that nothing was found.
        ignore_case: capitals do not matter in a question.
        ignore_punctuation: neither quotes nor closing punctuation matter in a question.
        options: further arguments of `askonce.Cache`.

    Attributes:
        retriever: what was given.
        corpus: the `Corpus`.

    Raises:
        ConfigError: it cannot be told what the results depend on and ``name`` does not say it, an argument is
            wrong, or the store cannot be used.
    """

    retriever: BaseRetriever
    corpus: Corpus
    nearest: bool | None
    empty_ttl: float
    ignore_case: bool
    ignore_punctuation: bool
    _known_as: str | None = PrivateAttr()
    _embeddings: dict[int, Any] = PrivateAttr()
    _told: bool = PrivateAttr(default=False)

    def __init__(
        self,
        retriever: BaseRetriever,
        store: str | Store | Cache | None = None,
        *,
        corpus: Corpus | str | None = None,
        name: str | None = None,
        nearest: bool | None = None,
        empty_ttl: float = 60,
        ignore_case: bool = True,
        ignore_punctuation: bool = True,
        **options: Any,
    ) -> None:
        if not isinstance(retriever, BaseRetriever):
            raise ConfigError(f"CachedRetriever takes a retriever, not a {type(retriever).__name__}")
        if empty_ttl < 0:
            raise ConfigError(f"empty_ttl is a number of seconds, got {empty_ttl}")
        if isinstance(corpus, Corpus) and (store is not None or options):
            raise ConfigError("a corpus has a store: give the store and its options to the Corpus, not beside it")
        embeddings: dict[int, Any] = {}
        if name is None:
            _check_identity(Identity(embeddings), retriever, has_corpus=corpus is not None)
        fields: dict[str, Any] = {
            "retriever": retriever,
            "corpus": corpus if isinstance(corpus, Corpus) else Corpus(store, name=corpus or "default", **options),
            "nearest": nearest,
            "empty_ttl": empty_ttl,
            "ignore_case": ignore_case,
            "ignore_punctuation": ignore_punctuation,
        }
        super().__init__(**fields)
        self._known_as = name
        self._embeddings = embeddings

    @property
    def cache(self) -> Cache:
        """The `Cache` that is asked."""
        return self.corpus.cache

    def batch(self, inputs: list[str], *args: Any, **kwargs: Any) -> list[list[Document]]:
        """Look for the documents of several questions at once, in threads."""
        with _together():
            return super().batch(inputs, *args, **kwargs)

    async def abatch(self, inputs: list[str], *args: Any, **kwargs: Any) -> list[list[Document]]:
        """Asynchronous `batch`, in tasks."""
        with _together():
            return await super().abatch(inputs, *args, **kwargs)

    def _identity(self, identity: Identity) -> dict[str, Any]:
        known_as = self._known_as
        return {
            "retriever": identity.of(self.retriever) if known_as is None else {"name": known_as},
            "corpus": self.corpus.name,
            "folded": [self.ignore_case, self.ignore_punctuation],
        }

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        retrieval = _Retrieval(self, kwargs)

        def look() -> list[Document]:
            retrieval.position = self.cache.engine.position(self.corpus.log)
            found = self.retriever.invoke(query, config={"callbacks": run_manager.get_child()}, **kwargs)
            retrieval.near = Nearness(self.corpus, self.retriever, kwargs).of(query, found)
            return found

        request = retrieval.request(query)
        if request is None:
            return retrieval.noted(look())
        answer = self.cache.engine.answer(request, look, retrieval.pack)
        found = retrieval.unpack(answer) if isinstance(answer, Hit) else answer
        return retrieval.noted(look() if found is None else found)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        retrieval = _Retrieval(self, kwargs)

        async def look() -> list[Document]:
            retrieval.position = await self.cache.engine.aposition(self.corpus.log)
            found = await self.retriever.ainvoke(query, config={"callbacks": run_manager.get_child()}, **kwargs)
            retrieval.near = await Nearness(self.corpus, self.retriever, kwargs).aof(query, found)
            return found

        request = retrieval.request(query)
        if request is None:
            return retrieval.noted(await look())
        answer = await self.cache.engine.aanswer(request, look, retrieval.pack)
        found = retrieval.unpack(answer) if isinstance(answer, Hit) else answer
        return retrieval.noted(await look() if found is None else found)


@contextmanager
def _together() -> Iterator[None]:
    """Let what is retrieved in threads and tasks reach the code that began them, also outside of any run."""
    retrieval_context = begin_retrieval_context()
    try:
        yield
    finally:
        if retrieval_context is not None:
            end_retrieval_context(retrieval_context)


class _Retrieval:
    """One question to a `CachedRetriever`.

    Attributes:
        position: how far the corpus's log went before documents were looked for; ``None`` if that is not known.
        near: which additions concern what was found; ``None``: any.
    """

    def __init__(self, owner: CachedRetriever, arguments: dict[str, Any]) -> None:
        self._owner, self._arguments = owner, arguments
        self.position: int | None = None
        self.near: Near | None = None
        self._scope: bytes | None = None

    def request(self, query: str) -> Request | None:
        return self._owner.cache.engine.request("retrieval", lambda: self._form(query), from_sources=False)

    def _form(self, query: str) -> NormalForm:
        owner = self._owner
        identity = Identity(owner._embeddings)
        asked = (
            question(query, ignore_case=owner.ignore_case, ignore_punctuation=owner.ignore_punctuation)
            if isinstance(query, str)
            else plain(query)
        )
        model, arguments = owner._identity(identity), identity.of(self._arguments)
        self._scope = request_form("retrieval", model, arguments=arguments).digest()
        return request_form("retrieval", model, question=asked, arguments=arguments)

    def pack(self, found: list[Document]) -> Answer | None:
        owner = self._owner
        if self.position is None or (not found and not owner.empty_ttl):
            return None
        try:
            payload = kept.pack(found)
        except kept.NotPlain as error:
            if not owner._told:
                logger.warning(
                    "askonce: what %s finds is not kept, since it could not be given back equal: %s; "
                    "let metadata be plain data (texts, numbers, lists, maps)",
                    type(owner.retriever).__name__,
                    error,
                )
                owner._told = True
            return None
        nearest = owner.nearest
        if nearest is None:
            nearest = returns_all_it_weighs(owner.retriever, self._arguments)
        any_change = not nearest or not all(one.id for one in found)
        ids = kept.ids_of(found)
        source = Source(owner.corpus.log, self.position, ids, whole=True, any_change=any_change, near=self.near)
        return Answer(payload, ttl_seconds=None if found else owner.empty_ttl, sources=(source,))

    def unpack(self, hit: Hit) -> list[Document] | None:
        """What was found; ``None`` if it was kept in a way that cannot be read."""
        try:
            found = kept.unpack(hit.entry.payload)
        except (msgspec.DecodeError, ImportError, ValueError):
            logger.info("askonce: a kept retrieval cannot be read", exc_info=True)
            return None
        self.position = min((source.position for source in hit.entry.sources), default=None)
        return found

    def noted(self, found: list[Document]) -> list[Document]:
        """What was found, of which answers that are made from now on know."""
        position = _UNKNOWN_POSITION if self.position is None else self.position
        source = Source(self._owner.corpus.log, position, kept.ids_of(found))
        texts = tuple(one.page_content for one in found)
        self._owner.cache.engine.record_retrieval(
            source, None if self._scope is None else RetrievedDocuments(texts, self._scope)
        )
        return found


def _check_identity(identity: Identity, retriever: BaseRetriever, *, has_corpus: bool) -> None:
    try:
        identity.of(retriever)
    except Uncacheable as error:
        raise ConfigError(
            f"it cannot be told what the results of {type(retriever).__name__} depend on ({error}); name it: "
            "CachedRetriever(retriever, name='…'), with another name whenever its configuration is another"
        ) from error
    if identity.nameless and not has_corpus:
        raise ConfigError(
            f"{identity.nameless[0]} does not show where its documents are; name them: "
            "CachedRetriever(retriever, corpus='…'), or name the retriever: name='…'"
        )
