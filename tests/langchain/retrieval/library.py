"""A library of animals: documents, embeddings that count words, and retrievers of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from zlib import crc32

from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MergerRetriever,
    MultiQueryRetriever,
    MultiVectorRetriever,
)
from langchain_classic.retrievers.document_compressors import EmbeddingsFilter
from langchain_classic.retrievers.self_query.base import SelfQueryRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.stores import InMemoryStore
from langchain_core.structured_query import StructuredQuery, Visitor
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import Field, PrivateAttr

from askonce import Cache, Corpus
from askonce.langchain import CachedRetriever, watch
from askonce.stores.memory import MemoryStore

ANIMALS = {
    "cat": "the cat sleeps all day",
    "dog": "the dog barks at the cat",
    "owl": "the owl flies at night",
    "bat": "the bat flies at night too",
    "ant": "the ant works all day",
}


class Words(Embeddings):
    """A vector counts words; each text is listed in `embedded`."""

    model = "words"
    embedded: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.model = "words"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.embedded.extend(texts)
        vocabulary = sorted({word for text in ANIMALS.values() for word in text.split()})
        return [
            [
                crc32(text.lower().encode()) / 2**34,
                *(float(text.lower().split().count(word)) for word in vocabulary),
            ]
            for text in texts  # no two of them are just as near
        ]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def animals(**texts: str) -> list[Document]:
    return [Document(text, id=name, metadata={"legs": len(name)}) for name, text in (texts or ANIMALS).items()]


def library(cache: Cache | str | None = None, name: str = "animals") -> tuple[InMemoryVectorStore, Corpus]:
    """A watched store of documents, and its corpus."""
    corpus = Corpus(Cache(MemoryStore()) if cache is None else cache, name=name)
    store = watch(InMemoryVectorStore(Words()), corpus)
    store.add_documents(animals())
    return store, corpus


def found(documents: list[Document]) -> list[str | None]:
    return [one.id for one in documents]


def at_night(document: Document) -> bool:
    return "night" in document.page_content


def everything(_: Any) -> StructuredQuery:
    return StructuredQuery(query="night", filter=None, limit=None)


class Untranslated(Visitor):
    def visit_operation(self, operation: Any) -> Any: ...
    def visit_comparison(self, comparison: Any) -> Any: ...
    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        return structured_query.query, {"filter": at_night}


def several(store: InMemoryVectorStore) -> BaseRetriever:
    parents = InMemoryStore()
    parents.mset([(name, Document(f"All of: {text}", metadata={"doc_id": name})) for name, text in ANIMALS.items()])
    children = InMemoryVectorStore(Words())
    children.add_documents([Document(text, metadata={"doc_id": name}) for name, text in ANIMALS.items()])
    return MultiVectorRetriever(vectorstore=children, docstore=parents, id_key="doc_id")


def self_query(store: InMemoryVectorStore) -> BaseRetriever:
    return SelfQueryRetriever(
        vectorstore=store,
        llm_chain=RunnableLambda(everything),
        structured_query_translator=Untranslated(),
    )


KINDS: dict[str, Callable[[InMemoryVectorStore], BaseRetriever]] = {
    "similarity": lambda store: store.as_retriever(search_kwargs={"k": 2}),
    "filter": lambda store: store.as_retriever(search_kwargs={"k": 2, "filter": at_night}),
    "mmr": lambda store: store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 3}),
    "ensemble": lambda store: EnsembleRetriever(
        retrievers=[store.as_retriever(), store.as_retriever(search_type="mmr")], weights=[0.4, 0.6]
    ),
    "merger": lambda store: MergerRetriever(retrievers=[store.as_retriever(), store.as_retriever()]),
    "multi-query": lambda store: MultiQueryRetriever.from_llm(
        store.as_retriever(search_kwargs={"k": 2}), llm=FakeListChatModel(responses=["who barks?\nwho flies?"])
    ),
    "self-query": self_query,
    "compression": lambda store: ContextualCompressionRetriever(
        base_retriever=store.as_retriever(), base_compressor=EmbeddingsFilter(embeddings=Words(), k=2)
    ),
    "multi-vector": several,
    "a cached one": lambda store: CachedRetriever(
        store.as_retriever(), corpus=vars(type(store))["_askonce_corpus"]
    ),
}


class Fixed(BaseRetriever):
    """Returns what it is given, and counts."""

    documents: list[Any] = Field(default_factory=list, exclude=True)
    k: int = 9
    _calls: int = PrivateAttr(default=0)

    def _get_relevant_documents(self, query: str, *, run_manager: Any, k: int | None = None) -> list[Document]:
        self._calls += 1
        if query in failing:
            raise RuntimeError("index down")
        return self.documents[: k or self.k]


failing: set[str] = set()


def text_of(documents: list[Document]) -> str:
    return " ".join(one.page_content for one in documents)
