"""What a cache of retrievals has to do and does not do yet, over LangChain and LlamaIndex."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict
from uuid import uuid4

import pytest
from langchain_classic.retrievers import ParentDocumentRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough, ensure_config
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import CharacterTextSplitter
from langgraph.graph import START, StateGraph
from langgraph.runtime import get_runtime
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode

import askonce.llama_index
from askonce import Cache, ConfigError, Corpus
from askonce.langchain import CachedRetriever, watch

WORDS = "salary leave price apple pear plum secret ann bob".split()


class Words(Embeddings):
    """A vector counts words."""

    def __init__(self) -> None:
        self.model = "words"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[0.01, *(float(text.lower().split().count(word)) for word in WORDS)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


def texts(found: list[Document]) -> list[str]:
    return [one.page_content for one in found]


def apart(call: Callable[..., Any], *args: Any) -> Any:
    """Call in a context in which nothing was retrieved, as another web request does."""
    return contextvars.Context().run(call, *args)


# -- whose documents they are --------------------------------------------------------------------------------------


@dataclass
class Person:
    user: str


class Personal(BaseRetriever):
    """Finds what the one who runs it may see."""

    told_by: str

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if self.told_by == "context":
            return [Document(f"{query} of {get_runtime(Person).context.user}")]
        told = run_manager.metadata if self.told_by == "metadata" else ensure_config()["configurable"]
        return [Document(f"{query} of {told['user']}")]


def of_person(retriever: BaseRetriever, told_by: str, user: str) -> list[str]:
    """What a user finds, told by the configuration of a run, its metadata, or the context of a graph."""
    if told_by != "context":
        return texts((RunnablePassthrough() | retriever).invoke("salary", {told_by: {"user": user}}))

    class State(TypedDict):
        found: list[str]

    graph = StateGraph(State, context_schema=Person)
    graph.add_node("find", lambda state: {"found": texts(retriever.invoke("salary"))})
    graph.add_edge(START, "find")
    found: list[str] = graph.compile().invoke({"found": []}, context=Person(user))["found"]
    return found


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the configuration of a run is not in a retrieval's key, so that one user is given another's documents",
)
@pytest.mark.parametrize("told_by", ["configurable", "metadata", "context"])
def test_a_retriever_that_reads_the_runs_configuration_finds_each_users_documents(
    told_by: str, cache: Cache
) -> None:
    plain = Personal(told_by=told_by)
    retriever = CachedRetriever(plain, cache, corpus="hr")
    assert [of_person(plain, told_by, user) for user in ("ann", "bob")] == [["salary of ann"], ["salary of bob"]]
    assert [of_person(retriever, told_by, user) for user in ("ann", "bob")] == [
        ["salary of ann"],
        ["salary of bob"],
    ]


class Collection:
    """A collection of a client, as Chroma gives it."""

    def __init__(self, name: str) -> None:
        self.name, self.id = name, uuid4()


class Chroma(InMemoryVectorStore):
    """Holds what LangChain's Chroma holds of where its documents are: a collection's name, and the collection."""

    def __init__(self, text: str) -> None:
        super().__init__(Words())
        self._collection_name = "langchain"
        self._chroma_collection = Collection("langchain")
        self.add_documents([Document(text, id="1")])


Chroma.__module__ = "langchain_chroma.vectorstores"


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="stores whose collections have one name are one, so that one project is given another's documents",
)
@pytest.mark.parametrize("corpus", [None, "prices"])
def test_stores_of_one_collection_name_in_two_places_are_apart(corpus: str | None, cache: Cache) -> None:
    stores = [Chroma("price of project A"), Chroma("price of project B")]
    found = [texts(CachedRetriever(one.as_retriever(), cache, corpus=corpus).invoke("price?")) for one in stores]
    assert found == [["price of project A"], ["price of project B"]]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="indexes that each process holds for itself are one, so that all are given what the older one finds",
)
def test_an_index_in_memory_that_has_more_is_asked_itself(cache: Cache) -> None:
    corpus = Corpus(cache, name="fruit")
    retrievers = []
    for ids in ("a", "ab"):  # as in two workers of a server, of which one was given b
        store = watch(InMemoryVectorStore(Words()), corpus)
        store.add_documents([Document("apple", id=one) for one in ids])
        retrievers.append(CachedRetriever(store.as_retriever(), corpus=corpus))
    assert [len(one.invoke("apple")) for one in retrievers] == [1, 2]


# -- what comes back, and what it takes ----------------------------------------------------------------------------


class Doubles(BaseEmbedding):
    """Vectors of numbers that need all 64 bits."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [0.1 + len(text) / 7, 0.3 + text.count("a") / 3]

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a question's vector is used in 32 bits, so that scores are not those of the plain retriever",
)
def test_scores_equal_those_of_the_plain_retriever(cache: Cache) -> None:
    nodes = [TextNode(text=text, id_=text) for text in ("a", "banana", "cherry")]
    index = VectorStoreIndex(nodes, embed_model=Doubles())
    for k in (1, 2, 3):
        inner = index.as_retriever(similarity_top_k=k)
        retriever = askonce.llama_index.CachedRetriever(inner, cache, corpus="fruit")
        expected = [one.score for one in inner.retrieve("a banana")]
        assert [one.score for one in retriever.retrieve("a banana")] == expected


class Ranks:
    """Scores of words in texts, as BM25 has them."""

    def __init__(self, texts: list[str]) -> None:
        self.doc_freqs = [dict.fromkeys(one.split(), 1) for one in texts]


def by_parts() -> BaseRetriever:
    store = InMemoryVectorStore(Words())
    return ParentDocumentRetriever(
        vectorstore=store, docstore=InMemoryStore(), child_splitter=CharacterTextSplitter()
    )


def by_words() -> BaseRetriever:
    from langchain_community.retrievers import BM25Retriever  # says at its import that it is being sunset

    documents = [Document(f"apple {number}") for number in range(500)]
    return BM25Retriever(vectorizer=Ranks(texts(documents)), docs=documents)


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.xfail(
    strict=True, raises=ConfigError, reason="some of LangChain's own retrievers are refused without a name"
)
@pytest.mark.parametrize("make", [by_parts, by_words], ids=["ParentDocumentRetriever", "BM25Retriever"])
def test_retrievers_of_langchains_own_need_no_name(make: Callable[[], BaseRetriever], cache: Cache) -> None:
    CachedRetriever(make(), cache, corpus="fruit")


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a document's text is kept once for each question that finds it, which fills the store",
)
def test_a_documents_text_is_kept_once(cache: Cache) -> None:
    text = f"apple {random.Random(1).randbytes(20_000).hex()}"
    store = InMemoryVectorStore(Words())
    store.add_documents([Document(text, id="1")])
    retriever = CachedRetriever(store.as_retriever(), cache, corpus="fruit")
    for number in range(10):
        assert texts(retriever.invoke(f"apple {number}")) == [text]
    assert cache.stats().size_bytes < 3 * len(text)
