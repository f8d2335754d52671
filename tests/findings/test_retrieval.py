"""What a cache of retrievals has to do and does not do yet, over LangChain and LlamaIndex."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode

import askonce.llama_index
from askonce import Cache
from askonce.langchain import CachedRetriever

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
