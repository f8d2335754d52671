"""`CachedRetriever`: a retriever whose finds are kept until the documents change."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores import SimpleVectorStore

from askonce.cache import Cache, shared_cache
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Near, Source
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable, plain, question, request_form, text
from askonce.llama_index.embeddings import CachedEmbedding
from askonce.llama_index.models.answers import NotPlain
from askonce.llama_index.models.twin import Twin
from askonce.llama_index.retrieval.documents import ids_of, pack, unpack
from askonce.llama_index.retrieval.identity import Identity, finds_by_nearness
from askonce.llama_index.retrieval.runs import follow_runs
from askonce.provenance import additions
from askonce.provenance.retrieval_context import RetrievedDocuments
from askonce.retrieval.corpus import Corpus
from askonce.stores import Store

logger = logging.getLogger("askonce")

_UNKNOWN = -1  # a position before all, so that answers made from such a retrieval are not served


class CachedRetriever(BaseRetriever):
    """A retriever that asks the cache first, and the retriever inside if that has no find that is still true.

    What comes back equals what the retriever inside gave, in new objects: texts, ids, scores, metadata,
    relationships. A hit searches nothing and embeds nothing. Finds are dropped when ``corpus`` is told of a change
    (see `watch`), and model answers made from them in the same run, too. Finds that would not come back equal
    (nodes of other classes than LlamaIndex's own, metadata that is not plain data) are passed through, with a
    warning. When a retriever by vectors has to search, the question's vector comes from the cache, too.

    Args:
        retriever: any retriever.
        store: a store's URL, a `Store`, a `Cache`, or ``None`` for that of ``corpus``, or the default store.
        corpus: the set of documents, or its name. Different sets need different names.
        name: which retriever it is, where that cannot be told: for a class that is not LlamaIndex's, or one that
            holds such objects; another name for each configuration that finds other documents. It also stands for
            the id of an index, which is random where each process builds the index anew.
        empty_ttl: for how many seconds it is believed that nothing was found; 0 for never.
        ignore_case: questions that differ in capitals only are one.
        ignore_punctuation: questions that differ in quotes and closing punctuation only are one.
        options: further arguments of `Cache`.

    Attributes:
        cache: where finds are kept.
        corpus: the set of documents.

    Raises:
        ConfigError: it cannot be told which retriever it is, and there is no ``name``; the corpus is in another
            store; or `Cache` raises it.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        store: str | Store | Cache | None = None,
        *,
        corpus: Corpus | str | None = None,
        name: str | None = None,
        empty_ttl: float = 60.0,
        ignore_case: bool = True,
        ignore_punctuation: bool = True,
        **options: Any,
    ) -> None:
        if not isinstance(retriever, BaseRetriever):
            raise ConfigError(f"CachedRetriever takes a LlamaIndex retriever, got a {type(retriever).__name__}")
        if empty_ttl < 0:
            raise ConfigError(f"empty_ttl is a number of seconds, 0 for never; got {empty_ttl}")
        super().__init__(callback_manager=getattr(retriever, "callback_manager", None))
        self._cached_retriever = retriever
        self.cache, self.corpus = _places(store, corpus, options)
        self._empty_ttl = empty_ttl
        self._ignoring = {"ignore_case": ignore_case, "ignore_punctuation": ignore_punctuation}
        self._told: set[str] = set()
        self._identity = Identity(name, self.corpus.log)
        try:
            self._identity.of(retriever)
        except Uncacheable as error:
            raise ConfigError(
                f"{error}: give the CachedRetriever a name= that stands for it, and another one for each"
                " configuration that finds other documents"
            ) from error
        follow_runs()

    @property
    def retriever(self) -> BaseRetriever:
        """The retriever inside."""
        return self._cached_retriever

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        look = _Look(self, query_bundle)
        request = look.request()
        if request is None:
            return look.fresh(look.search())
        found = self.cache.engine.answer(request, look.search, look.pack)
        if isinstance(found, Hit):
            kept = look.kept(found)
            return look.fresh(look.search()) if kept is None else kept
        return look.fresh(found)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        look = _Look(self, query_bundle)
        request = look.request()
        if request is None:
            return look.fresh(await look.asearch())
        found = await self.cache.engine.aanswer(request, look.asearch, look.pack)
        if isinstance(found, Hit):
            kept = look.kept(found)
            return look.fresh(await look.asearch()) if kept is None else kept
        return look.fresh(found)

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

    def _form(self, query: QueryBundle, which: Any) -> NormalForm:
        asked: dict[str, Any] = {"question": question(query.query_str, **self._ignoring)}
        if query.custom_embedding_strs is not None:
            asked["embedded"] = [text(one) for one in query.custom_embedding_strs]
        if query.embedding is not None:
            asked["embedding"] = plain([float(one) for one in query.embedding])
        if query.image_path is not None:
            asked["image"] = plain(_content(query.image_path))
        return request_form("retrieval", which, corpus=self.corpus.log, asked=asked)

    def _tell_once(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            logger.warning("askonce: what %s found is not cached: %s", type(self.retriever).__name__, why)


@dataclasses.dataclass(slots=True)
class _Look:
    """One retrieval.

    Attributes:
        asker: who retrieves.
        query: what for.
        position: in the corpus's log, as of which what was found is true; ``None`` if the store does not tell.
        near: which additions concern what was found; ``None``: any.
        scope: names the retriever as it is set now; ``None`` if that cannot be told.
    """

    asker: CachedRetriever
    query: QueryBundle
    position: int | None = None
    near: Near | None = None
    scope: bytes | None = None

    def request(self) -> Request | None:
        """Its name; ``None`` if it is not to be looked up."""
        return self.asker.cache.engine.request("retrieval", self._form, from_sources=False)

    def _form(self) -> NormalForm:
        which = self.asker._identity.of(self.asker.retriever)
        self.scope = request_form("retrieval", which, corpus=self.asker.corpus.log).digest()
        return self.asker._form(self.query, which)

    def search(self) -> list[NodeWithScore]:
        """Ask the retriever inside."""
        self.position = self.asker.cache.engine.position(self.asker.corpus.log)
        query, model = self._query()
        if model is not None:
            query.embedding = model.get_agg_embedding_from_queries(query.embedding_strs)
        found = self.asker.retriever.retrieve(query)
        self.near = self._near(query, found)
        return found

    async def asearch(self) -> list[NodeWithScore]:
        """Asynchronous `search`."""
        self.position = await self.asker.cache.engine.aposition(self.asker.corpus.log)
        query, model = self._query()
        if model is not None:
            query.embedding = await model.aget_agg_embedding_from_queries(query.embedding_strs)
        found = await self.asker.retriever.aretrieve(query)
        self.near = self._near(query, found)
        return found

    def _near(self, query: QueryBundle, found: list[NodeWithScore]) -> Near | None:
        """By the scores of a store that is known to give cosine similarities."""
        inner, margin = self.asker.retriever, self.asker.corpus.near_margin
        if margin is None or not isinstance(inner, VectorIndexRetriever) or query.embedding is None:
            return None
        scores = [one.score for one in found if one.score is not None]
        by_cosine = type(inner._vector_store).query is SimpleVectorStore.query
        if not by_cosine or not finds_by_nearness(inner) or not len(found) == len(scores) >= inner.similarity_top_k:
            return None
        return additions.near(query.embedding, min(scores, default=None), margin)

    def _query(self) -> tuple[QueryBundle, Any]:
        """A copy of the query, since retrievers write in it; and the model to embed it with, to keep the vector."""
        query, inner = dataclasses.replace(self.query), self.asker.retriever
        if type(inner) is not VectorIndexRetriever or query.embedding is not None or not query.embedding_strs:
            return query, None
        model = inner._embed_model
        if not inner._needs_embedding() or isinstance(model, Twin):
            return query, None
        return query, CachedEmbedding(model, self.asker.cache)

    def pack(self, nodes: list[NodeWithScore]) -> Answer | None:
        """What is kept of what was found."""
        if self.position is None or not (nodes or self.asker._empty_ttl):
            return None
        try:
            payload = pack(nodes)
        except NotPlain as error:
            self.asker._tell_once(str(error))
            return None
        source = Source(
            self.asker.corpus.log,
            self.position,
            ids_of(nodes),
            whole=True,
            any_change=not finds_by_nearness(self.asker.retriever),
            near=self.near,
        )
        return Answer(payload, sources=(source,), ttl_seconds=None if nodes else self.asker._empty_ttl)

    def fresh(self, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        """Note what was found."""
        position = _UNKNOWN if self.position is None else self.position
        self._note(Source(self.asker.corpus.log, position, ids_of(nodes)), nodes)
        return nodes

    def kept(self, hit: Hit) -> list[NodeWithScore] | None:
        """Note and give back what was found before; ``None`` if it cannot be read."""
        try:
            nodes, source = unpack(hit.entry.payload), hit.entry.sources[0]
        except Exception as error:
            logger.warning("askonce: a kept retrieval cannot be read, the retriever is asked: %s", error)
            return None
        self._note(Source(source.corpus, source.position, ids_of(nodes)), nodes)
        return nodes

    def _note(self, source: Source, nodes: list[NodeWithScore]) -> None:
        found = None
        if self.scope is not None:
            found = RetrievedDocuments(tuple(one.node.get_content(MetadataMode.LLM) for one in nodes), self.scope)
        self.asker.corpus.cache.engine.record_retrieval(source, found)


def _places(
    store: str | Store | Cache | None, corpus: Corpus | str | None, options: dict[str, Any]
) -> tuple[Cache, Corpus]:
    """The cache of finds, and the corpus."""
    if not isinstance(corpus, Corpus):
        cache = shared_cache(store, options)
        return cache, Corpus(cache, name=corpus or "default")
    if store is None and not options:
        return corpus.cache, corpus
    cache = shared_cache(store, options)
    one, other = cache.store, corpus.cache.store
    if one is not other and (one.url != other.url or one.url.startswith("memory:")):
        raise ConfigError("the corpus is in another store, where its changes would not be seen: leave out store")
    return cache, corpus


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Uncacheable(f"the image of a question cannot be read: {error}") from error
