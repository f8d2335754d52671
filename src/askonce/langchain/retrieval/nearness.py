"""Which retrievers find the nearest documents, and how near an addition must be to change what one found.

The latter from vectors of questions and documents, where a vector store's embeddings are cached.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore, VectorStoreRetriever

from askonce.entries.entry import Near
from askonce.langchain.embeddings import CachedEmbeddings
from askonce.provenance import additions
from askonce.provenance.additions import AddedVectors, added_vectors
from askonce.retrieval.corpus import Corpus
from askonce.retrieval.parts import own_class

logger = logging.getLogger("askonce")

_DEFAULT_K = 4  # of all vector stores
# Those that return the nearest documents; with a filter too, if it is applied before the search.
_NEAREST = {
    "langchain_core": "InMemoryVectorStore",
    "langchain_chroma": "Chroma",
    "langchain_community": "FAISS LanceDB PGVector SQLiteVec",
    "langchain_milvus": "Milvus",
    "langchain_mongodb": "MongoDBAtlasVectorSearch",
    "langchain_pinecone": "PineconeVectorStore",
    "langchain_postgres": "PGVector PGVectorStore AsyncPGVectorStore",
    "langchain_qdrant": "QdrantVectorStore",
    "langchain_redis": "RedisVectorStore",
}
_FILTER_FIRST = frozenset({"InMemoryVectorStore", "Chroma", "QdrantVectorStore"})
_BESIDE_VECTORS = ("builtin_func", "hybrid_search_config", "_reranker")
Vectors = list[list[float]]


def returns_all_it_weighs(retriever: BaseRetriever, arguments: Mapping[str, Any]) -> bool:
    """Whether the deletion of a document can change only those results that hold it.

    That is so for the nearest documents to a question. It is not so where more are weighed than returned (MMR,
    re-rankers, compressors), where documents that are passed over count (filters after the search, as in FAISS),
    or where ranks depend on the whole (fusion, BM25, hybrid search); nor is it known of other classes.
    """
    if type(retriever) is not VectorStoreRetriever or retriever.search_type == "mmr":
        return False
    name = own_class(type(retriever.vectorstore)).__name__
    settings = {"k", "score_threshold", "filter"} if name in _FILTER_FIRST else {"k", "score_threshold"}
    return _finds_nearest(retriever.vectorstore) and {*retriever.search_kwargs, *arguments} <= settings


def _finds_nearest(store: VectorStore) -> bool:
    cls = own_class(type(store))
    mode = getattr(store, "retrieval_mode", None)  # of Qdrant
    return (
        cls.__name__ in _NEAREST.get(cls.__module__.partition(".")[0], "").split()
        and getattr(mode, "value", "dense") == "dense"
        and all(getattr(store, name, None) is None for name in _BESIDE_VECTORS)
        and all(_finds_nearest(inner) for inner in vars(store).values() if isinstance(inner, VectorStore))
    )


class Nearness:
    """How near additions must be to one question to change its result.

    Args:
        corpus: whose margin counts.
        retriever: only one that finds the nearest in a vector store over `CachedEmbeddings` shows it.
        arguments: those of the call.
    """

    def __init__(self, corpus: Corpus, retriever: BaseRetriever, arguments: Mapping[str, Any]) -> None:
        self._margin = corpus.near_margin
        self._embeddings: CachedEmbeddings | None = None
        self._cosine = False
        self._k = _DEFAULT_K
        if (
            self._margin is not None
            and isinstance(retriever, VectorStoreRetriever)
            and returns_all_it_weighs(retriever, arguments)
        ):
            self._embeddings = _cached(retriever.vectorstore)
            self._cosine = isinstance(retriever.vectorstore, InMemoryVectorStore)
            self._k = {"k": _DEFAULT_K, **retriever.search_kwargs, **arguments}["k"]

    def of(self, query: str, found: Sequence[Document]) -> Near | None:
        """``None`` if it is not known how near documents must be to be found."""
        if self._embeddings is None or len(found) < self._k:
            return None
        try:
            question = self._embeddings.embed_query(query)
            return self._near(question, self._embeddings.embed_documents([one.page_content for one in found]))
        except Exception:
            _unknown()
            return None

    async def aof(self, query: str, found: Sequence[Document]) -> Near | None:
        """Asynchronous `of`."""
        if self._embeddings is None or len(found) < self._k:
            return None
        try:
            question = await self._embeddings.aembed_query(query)
            vectors = await self._embeddings.aembed_documents([one.page_content for one in found])
            return self._near(question, vectors)
        except Exception:
            _unknown()
            return None

    def _near(self, question: list[float], vectors: Vectors) -> Near | None:
        assert self._margin is not None
        least = additions.similarity(question, vectors, cosine=self._cosine)
        return additions.near(question, least, self._margin)


def addition(corpus: Corpus, store: object, texts: list[str]) -> AddedVectors | None:
    """The vectors of texts that were added to a vector store, if they are known."""
    embeddings = _cached(store)
    if corpus.near_margin is None or embeddings is None or not texts:
        return None
    try:
        return added_vectors(embeddings.embed_documents(texts))
    except Exception:
        _unknown()
        return None


async def aaddition(corpus: Corpus, store: object, texts: list[str]) -> AddedVectors | None:
    """Asynchronous `addition`."""
    embeddings = _cached(store)
    if corpus.near_margin is None or embeddings is None or not texts:
        return None
    try:
        return added_vectors(await embeddings.aembed_documents(texts))
    except Exception:
        _unknown()
        return None


def _cached(store: object) -> CachedEmbeddings | None:
    """The embeddings of a vector store, if their vectors can be had again for nothing."""
    embeddings = store.embeddings if isinstance(store, VectorStore) else None
    return embeddings if isinstance(embeddings, CachedEmbeddings) else None


def _unknown() -> None:
    logger.info("askonce: no vectors are known, so an addition may concern any retrieval", exc_info=True)
