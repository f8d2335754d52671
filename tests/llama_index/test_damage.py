"""What cannot be read is a counted miss that is made anew: each method, each kind of damage."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.embeddings.mock_embed_model import MockEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms.mock import MockLLM
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import Document, NodeWithScore, QueryBundle, TextNode

from askonce import Cache
from askonce.llama_index import AskOnceKVStore, CachedRetriever, IngestionCache, cached
from askonce.stores.memory import MemoryStore
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS
from tests.llama_index.test_ingestion import Upper
from tests.support.damage import survived

pytestmark = [
    *LLAMA_INDEX_WARNINGS,
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
]

HELLO = [ChatMessage("Why is the sky blue?")]


class Finds(BaseRetriever):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        metadata = {"at": datetime.date(2026, 1, 2), "pair": (1, "two")}
        return [NodeWithScore(node=TextNode(id_="a", text=query_bundle.query_str, metadata=metadata), score=0.5)]


def last(stream: Any) -> Any:
    *_, end = stream
    return end


async def alast(stream: Any) -> Any:
    return [one async for one in await stream][-1]


def caller(name: str, llm: Any) -> Callable[[], Any]:
    about = HELLO if name.endswith("chat") else "Why is the sky blue?"
    method = getattr(llm, name)
    if name.startswith("astream"):
        return lambda: asyncio.run(alast(method(about)))
    if name.startswith("a"):
        return lambda: asyncio.run(method(about))
    return (lambda: last(method(about))) if name.startswith("stream") else (lambda: method(about))


@pytest.mark.parametrize(
    "name",
    [
        "chat",
        "achat",
        "stream_chat",
        "astream_chat",
        "complete",
        "acomplete",
        "stream_complete",
        "astream_complete",
    ],
)
def test_an_llm(name: str) -> None:
    store = MemoryStore()
    cache = Cache(store)
    call = caller(name, cached(MockLLM(), cache))
    assert survived(store, call, lambda one: "sky" in str(one), lambda: cache.stats().misses) > 50


@pytest.mark.parametrize(
    "name", ["get_text_embedding", "get_query_embedding", "aget_text_embedding", "get_text_embedding_batch",
             "aget_text_embedding_batch"]
)  # fmt: skip
def test_an_embedding_model(name: str) -> None:
    store = MemoryStore()
    cache = Cache(store)
    method = getattr(cached(MockEmbedding(4), cache), name)
    about: Any = ["text"] if name.endswith("batch") else "text"
    call = (lambda: asyncio.run(method(about))) if name.startswith("a") else (lambda: method(about))
    right = [[0.5] * 4] if name.endswith("batch") else [0.5] * 4
    assert survived(store, call, lambda one: one == right, lambda: cache.stats().misses) > 50


@pytest.mark.parametrize("name", ["retrieve", "aretrieve"])
def test_a_retriever(name: str) -> None:
    store = MemoryStore()
    cache = Cache(store)
    method = getattr(CachedRetriever(Finds(), cache, name="finds"), name)
    call = (lambda: asyncio.run(method("sky"))) if name.startswith("a") else (lambda: method("sky"))
    right = Finds().retrieve("sky")
    assert survived(store, call, lambda one: one == right, lambda: cache.stats().misses) > 50


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_key_value_store(asynchronous: bool) -> None:
    store = MemoryStore()
    values = AskOnceKVStore(Cache(store))

    def call() -> Any:
        found = asyncio.run(values.aget("k")) if asynchronous else values.get("k")
        assert found is None or isinstance(found, dict)
        if found is None:
            values.put("k", {"a": [1]})
        return found or values.get("k")

    assert survived(store, call, lambda one: one == {"a": [1]}, lambda: values.cache.stats().misses) > 50
    assert set(values.get_all()) <= {"k"}


def test_an_ingestion_cache() -> None:
    store = MemoryStore()
    cache = Cache(store)

    def call() -> Any:
        pipeline = IngestionPipeline(transformations=[Upper()], cache=IngestionCache(cache))
        return [node.get_content() for node in pipeline.run(documents=[Document(text="sky", id_="a")])]

    assert survived(store, call, lambda one: one == ["SKY"], lambda: cache.stats().misses) > 50
