"""Where LangChain's vector stores have their documents is read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import sqlalchemy
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_qdrant import RetrievalMode
from langchain_qdrant.sparse_embeddings import SparseEmbeddings
from sqlalchemy.ext.asyncio import create_async_engine

from askonce import Cache, Corpus
from askonce.langchain import cached, watch
from askonce.langchain.retrieval.identity import Identity
from askonce.langchain.retrieval.indexes import memory_version
from askonce.retrieval.states import states_of, unseen
from tests.providers.vector_stores import SECRET, Place, check, outputs

pytestmark = pytest.mark.filterwarnings("default")  # what the packages warn of is theirs


class Lengths(Embeddings):
    def __init__(self) -> None:
        self.model = "lengths"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, float(len(text))] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0, float(len(text))]


def chroma(place: Place) -> Any:
    from langchain_chroma import Chroma

    return Chroma(embedding_function=Lengths(), persist_directory=str(place.directory))


def qdrant(place: Place) -> Any:
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    client = QdrantClient(f"http://{place.host}/{place.database}", api_key=SECRET, check_compatibility=False)
    return QdrantVectorStore(client, "x", Lengths(), validate_collection_config=False)


def lance(place: Place) -> Any:
    from langchain_community.vectorstores import LanceDB

    return LanceDB(uri=str(place.directory), embedding=Lengths())


def milvus(place: Place) -> Any:
    from langchain_milvus import Milvus

    return Milvus(Lengths(), connection_args={"uri": str(place.directory / "milvus.db"), "token": SECRET})


def mongodb(place: Place) -> Any:
    from langchain_mongodb import MongoDBAtlasVectorSearch
    from pymongo import MongoClient

    client: Any = MongoClient(f"mongodb://ann:{SECRET}@{place.host}", connect=False)
    return MongoDBAtlasVectorSearch(client[place.database]["x"], Lengths(), auto_create_index=False)


def pinecone(place: Place) -> Any:
    from langchain_pinecone import PineconeVectorStore
    from pinecone import Pinecone

    index = Pinecone(api_key=SECRET).Index(host=f"https://{place.host}")
    return PineconeVectorStore(index=index, embedding=Lengths(), namespace=place.database)


def elasticsearch(place: Place) -> Any:
    from elasticsearch import Elasticsearch
    from langchain_elasticsearch import ElasticsearchStore

    client = Elasticsearch(f"http://{place.host}:9200", basic_auth=("ann", SECRET))
    return ElasticsearchStore(place.database, embedding=Lengths(), client=client)


def open_search(place: Place) -> Any:
    from langchain_community.vectorstores import OpenSearchVectorSearch

    url, secret = f"http://{place.host}:9200", ("ann", SECRET)
    return OpenSearchVectorSearch(url, place.database, Lengths(), http_auth=secret)


def postgres(place: Place) -> Any:
    from langchain_postgres import PGVector

    url = f"postgresql+psycopg://ann:{SECRET}@{place.host}/{place.database}"
    with mock.patch.object(PGVector, "__post_init__"):  # makes tables
        return PGVector(Lengths(), connection=url)


def redis(place: Place) -> Any:
    from langchain_redis import RedisConfig, RedisVectorStore
    from redisvl.index import SearchIndex

    url = f"redis://:{SECRET}@{place.host}:6379"
    silent = mock.patch.object(SearchIndex, "create"), mock.patch("redis.Redis.execute_command")
    connected = mock.patch("redis.connection.ConnectionPool.get_connection")
    valid = mock.patch("redisvl.redis.connection.RedisConnectionFactory.validate_sync_redis", create=True)
    with silent[0], silent[1], connected, valid:
        config = RedisConfig(index_name=place.database, redis_url=url, embedding_dimensions=2)
        return RedisVectorStore(Lengths(), config)


FILES = {"chroma": chroma, "lance": lance, "milvus": milvus}
SERVERS = {
    "qdrant": qdrant,
    "mongodb": mongodb,
    "pinecone": pinecone,
    "elasticsearch": elasticsearch,
    "open search": open_search,
    "postgres": postgres,
    "redis": redis,
}


@pytest.mark.parametrize("name", [*FILES, *SERVERS])
def test_two_places_are_two_and_two_clients_of_one_place_are_one(name: str, tmp_path: Path) -> None:
    def identity(store: Any) -> tuple[Any, list[str]]:
        one = Identity({})
        return one.of(store.as_retriever()), one.nameless

    check({**FILES, **SERVERS}[name], identity, Place(tmp_path / "one"), files=name in FILES)


class Terms(SparseEmbeddings):
    def __init__(self, model: str) -> None:
        self.model = model

    def embed_documents(self, texts: list[str]) -> Any: ...
    def embed_query(self, text: str) -> Any: ...


def qdrant_by(**settings: Any) -> Any:
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    client = QdrantClient("http://one.invalid", check_compatibility=False)
    return QdrantVectorStore(
        client, "x", Lengths(), validate_collection_config=False, validate_embeddings=False, **settings
    )


def elasticsearch_by(**settings: Any) -> Any:
    from elasticsearch import Elasticsearch
    from langchain_elasticsearch import ElasticsearchStore

    user, headers = settings.pop("user", "ann"), settings.pop("headers", {})
    client = Elasticsearch("http://one.invalid:9200", basic_auth=(user, SECRET))
    client = client.options(headers={**headers, "x-opaque-id": str(random.random())})
    return ElasticsearchStore("x", embedding=Lengths(), client=client, **settings)


def elasticsearch_at(url: str, **settings: Any) -> Any:
    from elasticsearch import Elasticsearch
    from langchain_elasticsearch import ElasticsearchStore

    return ElasticsearchStore("x", embedding=Lengths(), client=Elasticsearch(url, **settings))


def open_search_by(**settings: Any) -> Any:
    from langchain_community.vectorstores import OpenSearchVectorSearch

    return OpenSearchVectorSearch("http://one.invalid:9200", "x", Lengths(), **settings)


def qdrant_of(key: str) -> Any:
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    client = QdrantClient("http://one.invalid", api_key=key, check_compatibility=False)
    return QdrantVectorStore(client, "x", Lengths(), validate_collection_config=False, validate_embeddings=False)


def pgvector_by(url: str = "postgresql+psycopg://one.invalid/x", **arguments: Any) -> Any:
    from langchain_postgres import PGVector

    options, server_options = arguments.pop("options", {}), arguments.pop("server_options", "")
    given = {**arguments, "options": server_options, "password": SECRET}
    engine = sqlalchemy.create_engine(url, connect_args=given)
    with mock.patch.object(PGVector, "__post_init__"):  # makes tables
        return PGVector(Lengths(), connection=engine.execution_options(**options))


def lance_by(**settings: Any) -> Any:
    from langchain_community.vectorstores import LanceDB

    return LanceDB(uri="directory", embedding=Lengths(), **settings)


def postgres_by(**settings: Any) -> Any:
    from langchain_postgres.v2.async_vectorstore import AsyncPGVectorStore

    user = settings.pop("user", "ann")
    engine = create_async_engine(f"postgresql+asyncpg://{user}:{SECRET}@one.invalid/x")
    names = {"table_name": "t", "content_column": "c", "embedding_column": "e"}
    key = AsyncPGVectorStore._AsyncPGVectorStore__create_key
    return AsyncPGVectorStore(key, engine=engine, embedding_service=Lengths(), **names, **settings)


def ranked(weight: float) -> Any:
    from lancedb.rerankers import LinearCombinationReranker

    return LinearCombinationReranker(weight=weight)


def searched(ef: int) -> Any:
    from langchain_postgres.v2.indexes import HNSWQueryOptions

    return HNSWQueryOptions(ef_search=ef)


def strategy(name: str, **settings: Any) -> Any:
    import langchain_elasticsearch

    return getattr(langchain_elasticsearch, name)(**settings)


SETTINGS: dict[str, tuple[Any, Any, Any]] = {
    "qdrant, sparse embeddings": (
        qdrant_by,
        lambda: {"sparse_embedding": Terms("a"), "retrieval_mode": RetrievalMode.HYBRID},
        lambda: {"sparse_embedding": Terms("b"), "retrieval_mode": RetrievalMode.HYBRID},
    ),
    "elasticsearch, strategy": (
        elasticsearch_by,
        lambda: {"strategy": strategy("BM25Strategy")},
        lambda: {"strategy": strategy("DenseVectorStrategy")},
    ),
    "elasticsearch, hybrid": (
        elasticsearch_by,
        lambda: {"strategy": strategy("DenseVectorStrategy")},
        lambda: {"strategy": strategy("DenseVectorStrategy", hybrid=True)},
    ),
    "elasticsearch, user": (elasticsearch_by, lambda: {"user": "ann"}, lambda: {"user": "bob"}),
    "elasticsearch, headers": (
        elasticsearch_by,
        lambda: {"headers": {"es-security-runas-user": "ann"}},
        lambda: {"headers": {"es-security-runas-user": "bob"}},
    ),
    "elasticsearch, headers of the client": (
        elasticsearch_at,
        lambda: {"url": "http://one.invalid:9200", "headers": {"x-user": "ann"}},
        lambda: {"url": "http://one.invalid:9200", "headers": {"x-user": "bob"}},
    ),
    "elasticsearch, user in the URL": (
        elasticsearch_at,
        lambda: {"url": f"http://ann:{SECRET}@one.invalid:9200"},
        lambda: {"url": f"http://bob:{SECRET}@one.invalid:9200"},
    ),
    "elasticsearch, key": (
        elasticsearch_at,
        lambda: {"url": "http://one.invalid:9200", "api_key": SECRET},
        lambda: {"url": "http://one.invalid:9200", "api_key": "another"},
    ),
    "open search, headers": (
        open_search_by,
        lambda: {"headers": {"opendistro_security_impersonate_as": "ann"}},
        lambda: {"headers": {"opendistro_security_impersonate_as": "bob"}},
    ),
    "open search, user": (
        open_search_by,
        lambda: {"http_auth": ("ann", SECRET)},
        lambda: {"http_auth": ("bob", SECRET)},
    ),
    "qdrant, key": (qdrant_of, lambda: {"key": SECRET}, lambda: {"key": "another"}),
    "pgvector, search path": (
        pgvector_by,
        lambda: {"server_options": "-csearch_path=ann"},
        lambda: {"server_options": "-csearch_path=bob"},
    ),
    "pgvector, user": (
        pgvector_by,
        lambda: {"url": "postgresql+psycopg://", "host": "one.invalid", "user": "ann"},
        lambda: {"url": "postgresql+psycopg://", "host": "one.invalid", "user": "bob"},
    ),
    "pgvector, schema": (
        pgvector_by,
        lambda: {"options": {"schema_translate_map": {None: "ann"}}},
        lambda: {"options": {"schema_translate_map": {None: "bob"}}},
    ),
    "lance, re-ranker": (lance_by, lambda: {"reranker": ranked(0.1)}, lambda: {"reranker": ranked(0.9)}),
    "postgres, metadata": (
        postgres_by,
        lambda: {"metadata_columns": ["a"]},
        lambda: {"metadata_columns": ["a", "b"]},
    ),
    "postgres, options": (
        postgres_by,
        lambda: {"index_query_options": searched(1)},
        lambda: {"index_query_options": searched(400)},
    ),
    "postgres, user": (postgres_by, lambda: {"user": "ann"}, lambda: {"user": "bob"}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_how_a_store_searches_counts(setting: str) -> None:
    make, one, other = SETTINGS[setting]

    def of(settings: dict[str, Any]) -> Any:
        return Identity({}).of(make(**settings).as_retriever())

    assert of(one()) == of(one()) != of(other())
    assert SECRET not in json.dumps(of(one()))


def test_another_connection_to_a_milvus_that_holds_documents_changes_nothing(tmp_path: Path) -> None:
    from langchain_milvus import Milvus

    def store() -> Any:
        flat, uri = {"index_type": "FLAT", "metric_type": "L2"}, str(tmp_path / "milvus.db")
        return Milvus(Lengths(), connection_args={"uri": uri}, auto_id=False, index_params=flat)

    store().add_texts(["a"], ids=["1"])
    one, other = (Identity({}).of(store().as_retriever()) for _ in range(2))
    assert one == other


def test_faiss_is_what_it_holds() -> None:
    from langchain_community.vectorstores import FAISS

    def of(*texts: str) -> Any:
        store = FAISS.from_texts(list(texts), Lengths(), ids=[str(one) for one in range(len(texts))])
        return Identity({}).of(store.as_retriever())

    assert of("a") == of("a") != of("b") != of("a", "b")


def in_lists(centres: list[list[float]], wrapped: bool) -> Any:
    """A store whose index searches in the lists nearest to a question."""
    import faiss
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS

    quantizer = faiss.IndexFlatL2(2)
    quantizer.add(np.array(centres, dtype="float32"))
    index = faiss.IndexIVFFlat(quantizer, 2, len(centres))
    index.is_trained = True
    outer = faiss.IndexIDMap(index) if wrapped else index
    store = FAISS(Lengths(), outer, InMemoryDocstore(), {})
    if not wrapped:  # FAISS adds without ids
        store.add_texts(["a", "bb"], ids=["1", "2"])
    return store, index


@pytest.mark.parametrize("wrapped", [False, True])
def test_how_an_index_of_faiss_searches_counts(wrapped: bool) -> None:
    centres = [[1.0, 0.0], [1.0, 5.0]]

    def of(store: Any) -> Any:
        return Identity({}).of(store.as_retriever())

    store, index = in_lists(centres, wrapped)
    (same, _), (other, _) = in_lists(centres, wrapped), in_lists([[1.0, 0.0], [1.0, 7.0]], wrapped)
    before = of(store)
    assert of(same) == before != of(other)
    index.nprobe = 2
    assert of(store) != before
    index.nprobe = 1
    assert of(store) == before


@pytest.mark.parametrize("kind", ["FAISS", "InMemoryVectorStore"])
def test_vectors_in_memory_count_with_their_documents(kind: str) -> None:
    from langchain_community.vectorstores import FAISS

    def of(*vectors: list[float]) -> Any:
        if kind == "FAISS":
            store: Any = FAISS.from_embeddings(list(zip("ab", vectors, strict=True)), Lengths(), ids=["1", "2"])
        else:
            store = InMemoryVectorStore.from_texts(["a", "b"], Given(vectors), ids=["1", "2"])
        return memory_version(store)

    assert of([1.0, 0.0], [0.0, 1.0]) == of([1.0, 0.0], [0.0, 1.0]) != of([0.0, 1.0], [1.0, 0.0])


class Given(Lengths):
    """Embeds texts to what it was given."""

    def __init__(self, vectors: Any) -> None:
        super().__init__()
        self._vectors = vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [list(one) for one in self._vectors]


def test_a_self_query_retriever_is_read() -> None:
    from langchain_classic.chains.query_constructor.schema import AttributeInfo
    from langchain_classic.retrievers.self_query.base import SelfQueryRetriever
    from langchain_community.query_constructors.chroma import ChromaTranslator
    from langchain_community.vectorstores import FAISS
    from langchain_core.language_models import FakeListChatModel

    def of(attribute: str, **kwargs: Any) -> Any:
        retriever = SelfQueryRetriever.from_llm(
            FakeListChatModel(responses=["x"]),
            FAISS.from_texts(["a"], Lengths(), ids=["1"]),
            "animals",
            [AttributeInfo(name=attribute, description="a number", type="integer")],
            structured_query_translator=ChromaTranslator(),
            **kwargs,
        )
        return Identity({}).of(retriever)

    lenient = {"chain_kwargs": {"fix_invalid": True}}
    assert of("legs") == of("legs") != of("eyes")
    assert of("legs", **lenient) == of("legs", **lenient) != of("eyes", **lenient)


SCRIPT = """
import sys
from askonce import Cache, Corpus
from askonce.langchain import cached, watch
from tests.providers.test_langchain_vector_stores import Lengths

kind, directory, texts, *words = sys.argv[1:]
texts, numbers = texts.split(","), [f"00000000-0000-0000-0000-{n:012}" for n in range(8)]
if kind == "Chroma":
    from langchain_chroma import Chroma
elif kind == "Qdrant":
    from langchain_qdrant import QdrantVectorStore
elif kind == "InMemory":
    from langchain_core.vectorstores import InMemoryVectorStore
else:
    from langchain_community.vectorstores import FAISS, LanceDB
ids = numbers[: len(texts)] if "ids" in words else None
make = {
    "Chroma": lambda: Chroma.from_texts(texts, Lengths(), ids=ids, persist_directory=directory),
    "Qdrant": lambda: QdrantVectorStore.from_texts(
        texts, Lengths(), ids=ids, path=directory, collection_name="x", force_recreate="anew" in words),
    "LanceDB": lambda: LanceDB.from_texts(texts, Lengths(), uri=directory),
    "FAISS": lambda: FAISS.from_texts(texts, Lengths(), ids=ids),
    "InMemory": lambda: InMemoryVectorStore.from_texts(texts, Lengths(), ids=ids),
}
opened = {
    "Chroma": lambda: Chroma(embedding_function=Lengths(), persist_directory=directory),
    "Qdrant": lambda: QdrantVectorStore.from_existing_collection("x", Lengths(), path=directory),
    "LanceDB": lambda: LanceDB(uri=directory, embedding=Lengths()),
}
corpus = Corpus(name="handbook")
store = (opened if texts == [""] else make)[kind]()
if "watched" in words:
    store = watch(store, corpus)
    store.add_texts(["a word more"])
retriever = cached(store.as_retriever(search_kwargs={"k": 9}), corpus=corpus)
print(*sorted(one.page_content for one in retriever.invoke("a question")), corpus.cache.stats().hits, sep="|")
"""

OUTLIVING = ["Chroma", "Qdrant", "LanceDB"]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    (tmp_path / "documents").mkdir()
    return file


@pytest.mark.parametrize("ids", ["", "ids"])
@pytest.mark.parametrize("kind", [*OUTLIVING, "FAISS", "InMemory"])
def test_another_run_of_a_script_finds_the_documents_that_it_made_the_store_of(
    kind: str, ids: str, script: Path
) -> None:
    documents = str(script.parent / "documents")
    anew = ["anew"] if kind == "Qdrant" and not ids else []
    runs = [[kind, documents, texts, ids, *anew] for texts in ("old,older", "new,newer")]
    first, second = outputs(script, script.parent, runs)
    assert first == "old|older|0"
    added = kind == "Chroma" and not ids  # whose from_texts adds to what is there
    assert second == ("new|newer|old|older|0" if added else "new|newer|0")


@pytest.mark.parametrize("kind", OUTLIVING)
def test_a_restart_without_a_write_finds_what_is_stored(kind: str, script: Path) -> None:
    documents = str(script.parent / "documents")
    runs = [[kind, documents, "old,older", "ids"], [kind, documents, ""]]
    runs += [[kind, documents, "", "watched"], [kind, documents, ""]]
    printed = outputs(script, script.parent, runs)
    assert printed[:2] == ["old|older|0", "old|older|1"]
    after = "a word more" if kind == "LanceDB" else "a word more|old|older"  # it overwrites by default
    assert printed[2:] == [f"{after}|0", f"{after}|1"]


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_was_written_past_watch_is_seen_at_the_next_write(by_hand: bool, tmp_path: Path) -> None:
    from langchain_chroma import Chroma

    corpus = Corpus(f"sqlite:///{tmp_path}/cache.db", name="handbook")
    store = watch(chroma(Place(tmp_path)), corpus)
    store.add_texts(["30 days", "to be deleted"], ids=["leave", "old"])
    retriever = cached(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
    assert retriever.invoke("30 days")[0].page_content == "30 days"
    Chroma(embedding_function=Lengths(), persist_directory=str(tmp_path)).update_document(
        "leave", Document("40 days", metadata={"year": 2026})
    )
    if by_hand:
        with corpus.writing(["old"], added=False):
            store._collection.delete(["old"])
    else:
        store.delete(["old"])
    assert retriever.invoke("30 days")[0].page_content == "40 days"
    store.delete(["none"])
    retriever.invoke("30 days")
    assert corpus.cache.stats().hits == 1


def test_how_many_rows_there_are_is_part_of_the_state_of_a_table(tmp_path: Path) -> None:
    import lancedb
    from langchain_community.vectorstores import LanceDB

    def state(rows: int) -> Any:
        connection = lancedb.connect(str(tmp_path))
        connection.drop_table("x", ignore_missing=True)
        store = LanceDB(connection=connection, embedding=Lengths(), table_name="x")
        store.add_texts([str(row) for row in range(rows)], ids=[str(row) for row in range(rows)])
        return states_of([store])

    assert state(1000) == state(1000) != state(1001)


def test_a_store_that_cannot_be_read_is_compared_as_soon_as_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, corpus = chroma(Place(tmp_path)), Corpus(f"sqlite:///{tmp_path}/cache.db")
    collection = store._collection
    store.delete_collection()
    store._chroma_collection = collection
    watch(store, corpus)
    watch(store, corpus)
    assert caplog.text.count("cannot be read now") == 1
    assert unseen([store], corpus.log) == [store]
    store._Chroma__ensure_collection()
    watch(store, corpus)
    assert unseen([store], corpus.log) == []


class Held(BaseRetriever):
    """Finds all that is in a collection of Chroma's client, or in a data frame."""

    held: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        texts = self.held.get()["documents"] if hasattr(self.held, "upsert") else list(self.held["text"])
        return [Document(one) for one in texts]


def raw_collection(directory: Path, text: str) -> Any:
    import chromadb

    collection = chromadb.PersistentClient(str(directory)).get_or_create_collection("handbook")
    collection.upsert(ids=["1"], documents=[text], embeddings=[[1.0, 0.0]])
    return collection


@pytest.mark.parametrize("name", [None, "held"])
def test_what_was_written_to_a_raw_collection_is_seen_at_the_start(name: str | None, tmp_path: Path) -> None:
    hits = []
    for text in ("30 days", "30 days", "40 days"):
        corpus = Corpus(Cache(f"sqlite:///{tmp_path}/cache.db"), name="handbook")
        held = Held(held=raw_collection(tmp_path, text))
        assert cached(held, corpus=corpus, name=name).invoke("?")[0].page_content == text
        hits.append(corpus.cache.stats().hits)
    assert hits == [0, 1, 0]


def test_raw_collections_of_two_places_share_nothing(tmp_path: Path) -> None:
    corpus = Corpus(Cache("memory://"), name="handbook")
    for text in ("a", "b"):
        held = Held(held=raw_collection(tmp_path / text, text))
        assert cached(held, corpus=corpus, name="held").invoke("?")[0].page_content == text


def test_data_frames_are_read_under_a_name() -> None:
    import pandas

    corpus = Corpus(Cache("memory://"), name="handbook")
    frame = pandas.DataFrame({"text": ["a"]})
    retriever = cached(Held(held=frame), corpus=corpus, name="held")
    for text in ("a", "b", "a"):
        frame.loc[0, "text"] = text
        assert retriever.invoke("?")[0].page_content == text
        other = Held(held=pandas.DataFrame({"text": [text]}))
        assert cached(other, corpus=corpus, name="held").invoke("?")[0].page_content == text
    assert corpus.cache.stats().hits >= 1
