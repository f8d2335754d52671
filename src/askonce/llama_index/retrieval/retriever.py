"""`CachedRetriever`: a retriever of LlamaIndex whose results are stored until the documents change."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores import SimpleVectorStore

from askonce.cache import Cache
from askonce.engine.settings import Settings
from askonce.entries.entry import Near
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable, plain, question, request_form, text
from askonce.llama_index.embeddings import cached_embed_model
from askonce.llama_index.models.twin import Twin
from askonce.llama_index.retrieval.documents import encoded, ids_of, unpack
from askonce.llama_index.retrieval.identity import Identity, LongLists, finds_by_nearness
from askonce.llama_index.retrieval.runs import follow_runs
from askonce.llama_index.retrieval.variables import values_of, variables_in
from askonce.provenance import additions
from askonce.retrieval.cached_retrieval import (
    CachedRetrieval,
    cache_and_corpus,
    check_audit,
    check_empty_ttl,
    check_inner,
)
from askonce.retrieval.corpus import Corpus
from askonce.retrieval.encoded import EncodedDocument
from askonce.retrieval.held import attributes_of, found_within
from askonce.retrieval.made import MadeInSearches
from askonce.retrieval.places import machine_of, unplaced
from askonce.stores import Client, Store

_OF_QUESTIONS = frozenset(one.name for one in dataclasses.fields(QueryBundle))


class CachedRetriever(BaseRetriever):
    """A retriever that searches only for questions that are not in the cache, or whose documents have changed.

        corpus = Corpus("redis://localhost:6379", name="handbook")
        watch(index, corpus)
        retriever = cached(index.as_retriever(similarity_top_k=5), corpus=corpus)

    A result equals what the retriever inside gave, in new objects: texts, ids, scores, metadata, relationships. A
    hit searches nothing and embeds nothing. Results are dropped when their ``corpus`` changes (see `watch`), and
    so are model answers made from them in the same run. Results that would not come back equal (nodes of other
    classes than LlamaIndex's own, metadata that is not plain data) are passed through, with a warning. When a
    retriever by vectors has to search, the question's vector comes from the cache, too.

    Args:
        retriever: any retriever.
        store: a store's URL, a store, a `Cache`, or ``None`` for that of ``corpus``, else for a SQLite file in the
            user's cache directory.
        corpus: the documents that it searches: a `Corpus`, or the name of one in ``store``. Different sets of
            documents need different names.
        name: stands for the retriever where its class is not LlamaIndex's, or where it holds such objects; another
            name for each configuration that finds other documents. It also stands for the id of an index, which is
            random where each process builds the index anew.
        depends_on: names of the context variables that results depend on, such as ``["user_id"]``. ``None``: all
            that the code of the application's own classes and functions in the retriever uses.
        empty_ttl: seconds for which an empty result is stored; 0 for never.
        audit: the share of hits that are compared with a new search, in the background; what differs is deleted,
            logged and counted (``stats().audited_wrong``).
        ignore_case: questions that differ in capitals only are one.
        ignore_punctuation: questions that differ in quotes and closing punctuation only are one.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Attributes:
        cache: where results are stored.
        corpus: the documents that it searches.

    Raises:
        ConfigError: the retriever does not show what its results depend on and there is no ``name``, an argument is
            wrong, the corpus is in another store, or the store cannot be used.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        store: str | Store | Client | Cache | None = None,
        *,
        corpus: Corpus | str | None = None,
        name: str | None = None,
        depends_on: Sequence[str] | None = None,
        empty_ttl: float = 60.0,
        audit: float = 0,
        ignore_case: bool = True,
        ignore_punctuation: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        if not isinstance(retriever, BaseRetriever):
            raise ConfigError(f"CachedRetriever takes a LlamaIndex retriever, got a {type(retriever).__name__}")
        check_empty_ttl(empty_ttl)
        check_audit(audit)
        if isinstance(depends_on, str):
            raise ConfigError(f"depends_on is a list of names: depends_on=[{depends_on!r}]")
        super().__init__(callback_manager=getattr(retriever, "callback_manager", None))
        self._cached_retriever = retriever
        self.cache, self.corpus = cache_and_corpus(store, corpus, settings)
        for inner in found_within(retriever, lambda part: isinstance(part, CachedRetriever)):
            check_inner(self.corpus, inner.corpus)
        self._empty_ttl, self._audit = empty_ttl, audit
        self._ignoring = {"ignore_case": ignore_case, "ignore_punctuation": ignore_punctuation}
        self._warned: set[str] = set()
        self._name = name
        self._known: LongLists = {}
        self._made = MadeInSearches()
        identity = self._identity()
        try:
            identity.of(retriever)
        except Uncacheable as error:
            raise ConfigError(
                f"{error}: give the CachedRetriever a name= that stands for it, and another one for each"
                " configuration that finds other documents"
            ) from error
        if identity.nameless and corpus is None and name is None:
            raise ConfigError(unplaced(identity.nameless[0]))
        self.corpus.compare(identity.stores)
        self._depends_on = depends_on
        self._variables = variables_in(retriever, is_lenient=depends_on is not None)
        follow_runs()

    @property
    def retriever(self) -> BaseRetriever:
        """The retriever inside."""
        return self._cached_retriever

    def _identity(self) -> Identity:
        return Identity(self._name, self.corpus.log, self._known, self._made)

    def _form(self, identity: Identity) -> Any:
        form = identity.of(self.retriever)
        if self._variables:
            form["variables"] = values_of(self._variables, self._depends_on)
        machine = machine_of(self.cache.store.url, is_local=identity.is_local)
        return form if machine is None else {**form, "machine": machine}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _Retrieval(self, query_bundle).run()

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await _Retrieval(self, query_bundle).arun()

    def _handle_recursive_retrieval(
        self, query_bundle: QueryBundle, nodes: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        return nodes  # the retriever inside has done it

    async def _ahandle_recursive_retrieval(
        self, query_bundle: QueryBundle, nodes: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        return nodes

    def _get_prompt_modules(self) -> PromptMixinType:
        return {"retriever": self.retriever}


class _Retrieval(CachedRetrieval[BaseRetriever, NodeWithScore]):
    """One question to a `CachedRetriever`.

    Args:
        owner: which.
        query: the question.
    """

    def __init__(self, owner: CachedRetriever, query: QueryBundle) -> None:
        super().__init__(owner.retriever, owner.cache, owner.corpus, owner._empty_ttl, owner._audit, owner._warned)
        self._owner, self._question = owner, query
        self._models: Sequence[Any] = ()

    def form(self) -> NormalForm:
        read, query = self._owner._identity(), self._question
        identity = self._owner._form(read)
        self._models = read.models
        self.scope = request_form("retrieval", identity, corpus=self.corpus.log).digest()
        query_form: dict[str, Any] = {"question": question(query.query_str, **self._owner._ignoring)}
        if query.custom_embedding_strs is not None:
            query_form["embedded"] = [text(one) for one in query.custom_embedding_strs]
        if query.embedding is not None:
            query_form["embedding"] = plain([float(one) for one in query.embedding])
        if query.image_path is not None:
            query_form["image"] = plain(_content(query.image_path))
        more = {name: one for name, one in attributes_of(query).items() if name not in _OF_QUESTIONS}
        if more or type(query) is not QueryBundle:
            query_form["has"] = Identity(None, self.corpus.log, {}).of_question(query, more)
        return request_form("retrieval", identity, corpus=self.corpus.log, query=query_form)

    def search(self) -> list[NodeWithScore]:
        query, model = self._query()
        if model is not None:
            query.embedding = model.get_agg_embedding_from_queries(query.embedding_strs)
        with self._owner._made.during(self.retriever, self._models):
            found = self.retriever.retrieve(query)
        self.near = self._near(query, found)
        return found

    async def asearch(self) -> list[NodeWithScore]:
        query, model = self._query()
        if model is not None:
            query.embedding = await model.aget_agg_embedding_from_queries(query.embedding_strs)
        with self._owner._made.during(self.retriever, self._models):
            found = await self.retriever.aretrieve(query)
        self.near = self._near(query, found)
        return found

    def _near(self, query: QueryBundle, found: list[NodeWithScore]) -> Near | None:
        """By the scores of a store that is known to give cosine similarities."""
        inner, margin = self.retriever, self.corpus.near_margin
        if margin is None or not isinstance(inner, VectorIndexRetriever) or query.embedding is None:
            return None
        scores = [one.score for one in found if one.score is not None]
        by_cosine = type(inner._vector_store).query is SimpleVectorStore.query
        if not by_cosine or not finds_by_nearness(inner) or not len(found) == len(scores) >= inner.similarity_top_k:
            return None
        return additions.near(query.embedding, min(scores, default=None), margin)

    def _query(self) -> tuple[QueryBundle, Any]:
        """A copy of the query, since retrievers write in it; and the model to embed it with, if any."""
        query, inner = copy.copy(self._question), self.retriever
        if type(inner) is not VectorIndexRetriever or query.embedding is not None or not query.embedding_strs:
            return query, None
        model = inner._embed_model
        if not inner._needs_embedding() or isinstance(model, Twin):
            return query, None
        return query, cached_embed_model(model, self.cache, {})

    def encode(self, document: NodeWithScore) -> EncodedDocument:
        return encoded(document)

    def decode(self, payload: bytes) -> list[NodeWithScore]:
        return unpack(payload)

    def ids(self, documents: Sequence[NodeWithScore]) -> tuple[str, ...]:
        return ids_of(documents)

    def texts(self, documents: Sequence[NodeWithScore]) -> list[tuple[str, str]]:
        return [(one.node.get_content(MetadataMode.LLM), one.node.get_content()) for one in documents]

    def depends_on_others(self, documents: Sequence[NodeWithScore]) -> bool:
        return not finds_by_nearness(self.retriever)


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Uncacheable(f"the image of a question cannot be read: {error}") from error
