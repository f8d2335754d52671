"""Known faults of which users of such caches tell; each test says what is right, and fails until it is so."""

from __future__ import annotations

import asyncio
import copy
import datetime
import pickle
import time
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel
from langchain_core.outputs import Generation
from langchain_core.retrievers import BaseRetriever
from langchain_openai import OpenAIEmbeddings
from llama_index.core import Document as LlamaDocument
from llama_index.core import QueryBundle
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import BaseRetriever as LlamaRetriever
from llama_index.core.schema import NodeWithScore, TextNode

from askonce import Cache, ConfigError
from askonce.langchain import AskOnceCache, CachedEmbeddings, CachedRetriever
from askonce.llama_index import AskOnceKVStore
from askonce.llama_index import CachedRetriever as CachedLlamaRetriever
from askonce.stores import open_store
from askonce.stores.base import Record, Size
from askonce.stores.memory import MemoryStore
from tests.llama_index.openai_server import OpenAIServer
from tests.support import servers

# -- conversations -----------------------------------------------------------------------------------------------


# -- what is kept ------------------------------------------------------------------------------------------------


class Fixed(BaseRetriever):
    """Finds one document with that among its metadata, and counts."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        searches.append(query)
        return [Document("x", id="x", metadata={"at": metadata[0]})]


class LlamaFixed(LlamaRetriever):
    """The same for LlamaIndex."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        searches.append(query_bundle.query_str)
        return [NodeWithScore(node=TextNode(id_="x", text="x", metadata={"at": metadata[0]}), score=0.5)]


searches: list[str] = []
metadata: list[Any] = []


def langchain_finds(cache: Cache) -> Any:
    return CachedRetriever(Fixed(), cache, name="fixed").invoke("when?")[0].metadata["at"]


def llama_index_finds(cache: Cache) -> Any:
    return CachedLlamaRetriever(LlamaFixed(), cache, name="fixed").retrieve("when?")[0].node.metadata["at"]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what is found with dates, UUIDs or exact numbers among its metadata is not kept",
)
@pytest.mark.parametrize("find", [langchain_finds, llama_index_finds], ids=["langchain", "llama_index"])
@pytest.mark.parametrize(
    "value",
    [datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), uuid.UUID(int=7), Decimal("1.10")],
    ids=["datetime", "UUID", "Decimal"],
)
def test_documents_with_everyday_metadata_are_kept(cache: Cache, find: Callable[[Cache], Any], value: Any) -> None:
    searches.clear()
    metadata[:] = [value]
    assert [find(cache), find(cache)] == [value, value]
    assert len(searches) == 1


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="after `clear` the text of answers stands in the SQLite file and its log until the store is closed",
)
def test_cleared_answers_are_gone_from_the_file(cache: Cache, tmp_path: Path) -> None:
    answers = AskOnceCache(cache)
    for number in range(300):
        answers.update(f"who is {number}?", "model", [Generation(text=f"Patient {number} is ill")])

    def is_there() -> bool:
        return any(b"Patient 123 is ill" in file.read_bytes() for file in tmp_path.iterdir())

    assert is_there()
    cache.clear()
    assert not is_there()


# -- embeddings --------------------------------------------------------------------------------------------------


class OnDevice(Embeddings):
    """Of the shape of embeddings that run a model on this machine; one of their settings is an object."""

    def __init__(self, truncate_dim: int) -> None:
        self.model_name = "bge"
        self.model_kwargs = {"truncate_dim": truncate_dim, "torch_dtype": object()}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.5] * self.model_kwargs["truncate_dim"]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a map of settings that holds one object is left out of the key as a whole: another model's vectors",
)
def test_settings_beside_an_object_tell_embeddings_apart(cache: Cache) -> None:
    for dimensions in (2, 3):
        try:
            embeddings = CachedEmbeddings(OnDevice(dimensions), cache)
        except ConfigError:
            return  # it wants a name for them, which is right too
        assert [len(vector) for vector in embeddings.embed_documents(["x"])] == [dimensions]


class Letters:
    """A tokenizer that needs no download."""

    def encode_ordinary(self, text: str) -> list[int]:
        return list(map(ord, text[::2]))

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        return self.encode_ordinary(text)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what is sent in the place of a text, and to which configuration, is not in the key: others' vectors",
)
@pytest.mark.parametrize(
    "changed",
    [
        {"check_embedding_ctx_length": True},  # sends tokens, which not all servers read as OpenAI does
        {"default_headers": {"x-portkey-config": "another"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_sent_tells_embeddings_apart(
    cache: Cache, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda name: Letters())
    usual = {"check_embedding_ctx_length": False, "default_headers": {"x-portkey-config": "one"}}
    for fields in (usual, usual | changed):
        embeddings = OpenAIEmbeddings(model="e", base_url=server.url, api_key="sk-none", max_retries=0, **fields)
        CachedEmbeddings(embeddings, cache).embed_documents(["a text"])
    assert server.calls == 2


class Distant(MemoryStore):
    """Takes a time for each entry, as a server does: 5,000 of them a second."""

    def _pause(self, entries: Sequence[Any]) -> float:
        return len(entries) / 5_000

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        time.sleep(self._pause(keys))
        return super().get_many(namespace, keys)

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        await asyncio.sleep(self._pause(keys))
        return super().get_many(namespace, keys)

    def put(self, namespace: str, records: Sequence[Record], *args: Any) -> int:
        time.sleep(self._pause(records))
        return super().put(namespace, records, *args)

    async def aput(self, namespace: str, records: Sequence[Record], *args: Any) -> int:
        await asyncio.sleep(self._pause(records))
        return super().put(namespace, records, *args)


class Counting(Embeddings):
    """Counts the texts that it is given."""

    def __init__(self) -> None:
        self.model = "counting"
        self._texts = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._texts += len(texts)
        return [[0.5] * 16 for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a batch of any size has the time of one entry: large ones are embedded anew, and close off the store",
)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_large_batch_is_embedded_once(asynchronous: bool) -> None:
    inner, texts = Counting(), [str(number) for number in range(3_000)]
    with Cache(Distant()) as cache:
        embeddings = CachedEmbeddings(inner, cache)
        for _ in range(2):
            if asynchronous:
                asyncio.run(embeddings.aembed_documents(texts))
            else:
                embeddings.embed_documents(texts)
        assert (inner._texts, cache.stats().errors) == (3_000, 0)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what a put had charged when its time was over counts for an hour, so that the namespace evicts early",
)
async def test_a_put_that_is_cut_off_leaves_the_account_right(monkeypatch: pytest.MonkeyPatch) -> None:
    store, space, writing = open_store(servers.start("mongodb").url), uuid.uuid4().hex, asyncio.Event()

    async def hang(*args: Any, **kwargs: Any) -> None:
        writing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("pymongo.asynchronous.collection.AsyncCollection.bulk_write", hang)
    put = asyncio.create_task(store.aput(space, [Record(b"k" * 32, b"value")]))
    await writing.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    size = await store.asize(space)
    await store.aclose()
    assert size == Size(0, 0)


# -- what a hit tells --------------------------------------------------------------------------------------------


# -- parts of applications ---------------------------------------------------------------------------------------


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an ingestion cache names nodes by their texts alone: they come back as another document's",
)
def test_nodes_from_the_ingestion_cache_are_of_their_own_document(cache: Cache) -> None:
    def nodes(name: str) -> list[Any]:
        kept = IngestionCache(cache=AskOnceKVStore(cache))
        pipeline = IngestionPipeline(transformations=[SentenceSplitter()], cache=kept)
        return list(pipeline.run(documents=[LlamaDocument(text="The same text.", id_=name)]))

    assert [nodes(name)[0].ref_doc_id for name in ("a", "b")] == ["a", "b"]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an ingestion cache joins the texts of documents: others that join to the same get their nodes",
)
def test_texts_with_other_borders_have_other_nodes(cache: Cache) -> None:
    def texts(*given: str) -> list[str]:
        kept = IngestionCache(cache=AskOnceKVStore(cache))
        pipeline = IngestionPipeline(transformations=[SentenceSplitter()], cache=kept)
        documents = [LlamaDocument(text=text, id_=str(at)) for at, text in enumerate(given)]
        return [node.get_content() for node in pipeline.run(documents=documents)]

    assert [texts("ab", "c"), texts("a", "bc")] == [["ab", "c"], ["a", "bc"]]


def a_cache(url: str) -> Any:
    return AskOnceCache(url)


def a_model_with_a_cache(url: str) -> Any:
    return FakeListChatModel(responses=["yes"], cache=AskOnceCache(url))


def embeddings_with_a_cache(url: str) -> Any:
    return CachedEmbeddings(Counting(), url)


@pytest.mark.xfail(
    strict=True,
    raises=TypeError,
    reason="caches and embeddings that were given a store's URL can be neither copied nor pickled",
)
@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("make", [a_cache, a_model_with_a_cache, embeddings_with_a_cache])
def test_what_was_given_a_url_is_copied(url: str, make: Callable[[str], Any], way: Callable[[Any], Any]) -> None:
    made = make(url)
    assert type(way(made)) is type(made)
