"""Where LlamaIndex's vector stores have their documents is read."""

from __future__ import annotations

import json
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode

from askonce.llama_index.retrieval.identity import Identity
from askonce.llama_index.retrieval.variables import variables_in
from tests.providers.vector_stores import SECRET, Place, check, outputs

pytestmark = pytest.mark.filterwarnings("default")  # what the packages warn of is theirs


def chroma(place: Place) -> Any:
    import chromadb
    from llama_index.vector_stores.chroma import ChromaVectorStore

    client = chromadb.PersistentClient(str(place.directory))
    return ChromaVectorStore(chroma_collection=client.get_or_create_collection("quickstart"))


def qdrant(place: Place) -> Any:
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import AsyncQdrantClient

    url = f"http://{place.host}/{place.database}"
    return QdrantVectorStore("x", aclient=AsyncQdrantClient(url, api_key=SECRET, check_compatibility=False))


def lance(place: Place) -> Any:
    from llama_index.vector_stores.lancedb import LanceDBVectorStore

    return LanceDBVectorStore(uri=str(place.directory))


def lance_connection(place: Place) -> Any:
    import lancedb
    from llama_index.vector_stores.lancedb import LanceDBVectorStore

    return LanceDBVectorStore(connection=lancedb.connect(str(place.directory)))


def milvus(place: Place) -> Any:
    from llama_index.vector_stores.milvus import MilvusVectorStore

    return MilvusVectorStore(uri=str(place.directory / "milvus.db"), token=SECRET, dim=2, use_async_client=False)


def mongodb(place: Place) -> Any:
    from llama_index.vector_stores.mongodb import MongoDBAtlasVectorSearch
    from pymongo import AsyncMongoClient, MongoClient

    url = f"mongodb://ann:{SECRET}@{place.host}"
    silent: dict[str, Any] = {"connect": False, "serverSelectionTimeoutMS": 1}
    clients: Any = MongoClient(url, **silent), AsyncMongoClient(url, **silent)
    return MongoDBAtlasVectorSearch(clients[0], async_mongodb_client=clients[1], db_name=place.database)


def pinecone(place: Place) -> Any:
    from llama_index.vector_stores.pinecone import PineconeVectorStore
    from pinecone import Pinecone

    index = Pinecone(api_key=SECRET).Index(host=f"https://{place.host}")
    return PineconeVectorStore(pinecone_index=index, namespace=place.database)


def open_search(place: Place) -> Any:
    from llama_index.vector_stores.opensearch import OpensearchVectorClient, OpensearchVectorStore

    url, secret = f"http://{place.host}:9200", ("ann", SECRET)
    return OpensearchVectorStore(OpensearchVectorClient(url, place.database, 2, http_auth=secret))


def postgres(place: Place) -> Any:
    from llama_index.vector_stores.postgres import PGVectorStore

    account = {"user": "ann", "password": SECRET, "port": "5432"}
    return PGVectorStore.from_params(host=place.host, database=place.database, perform_setup=False, **account)


FILES = {"chroma": chroma, "lance": lance, "lance connection": lance_connection, "milvus": milvus}
SERVERS = {
    "qdrant": qdrant,
    "mongodb": mongodb,
    "pinecone": pinecone,
    "open search": open_search,
    "postgres": postgres,
}


@pytest.mark.parametrize("name", [*FILES, *SERVERS])
def test_two_places_are_two_and_two_clients_of_one_place_are_one(name: str, tmp_path: Path) -> None:
    def identity(store: Any) -> tuple[Any, list[str]]:
        one = Identity(None, "corpus", {})
        index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(2))
        return one.of(index.as_retriever()), one.nameless

    check({**FILES, **SERVERS}[name], identity, Place(tmp_path / "one"), files=name in FILES)


def terms(texts: list[str]) -> Any: ...
def other_terms(texts: list[str]) -> Any: ...


user: ContextVar[str] = ContextVar("user", default="nobody")


def only(tenant: str) -> Any:
    return lambda statement, table, **_: statement.where(table.metadata_["tenant"].astext == tenant)


def only_of_user(statement: Any, table: Any, **_: Any) -> Any:
    return statement.where(table.metadata_["user"].astext == user.get())


def postgres_by(**settings: Any) -> Any:
    from llama_index.vector_stores.postgres import PGVectorStore

    account = {"user": "ann", "password": SECRET, "port": "5432", "host": "one.invalid", "database": "x"}
    return PGVectorStore.from_params(perform_setup=False, **{**account, **settings})


def qdrant_by(**settings: Any) -> Any:
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import AsyncQdrantClient

    client = AsyncQdrantClient("http://one.invalid", check_compatibility=False)
    given = {"sparse_doc_fn": terms, "sparse_query_fn": terms, **settings}
    return QdrantVectorStore("x", aclient=client, enable_hybrid=True, **given)


def milvus_by(**settings: Any) -> Any:
    from llama_index.vector_stores.milvus import MilvusVectorStore

    fields = {"uri": "http://one.invalid", "collection_name": "x", "dim": 2}
    return MilvusVectorStore.model_construct(**fields, **settings)


SETTINGS: dict[str, tuple[Any, Any, Any]] = {
    "qdrant, terms": (qdrant_by, {"sparse_query_fn": terms}, {"sparse_query_fn": other_terms}),
    "qdrant, fusion": (qdrant_by, {"hybrid_fusion_fn": terms}, {"hybrid_fusion_fn": other_terms}),
    "postgres, query": (postgres_by, {"customize_query_fn": only("a")}, {"customize_query_fn": only("b")}),
    "postgres, HNSW": (
        postgres_by,
        {"hnsw_kwargs": {"hnsw_ef_search": 1}},
        {"hnsw_kwargs": {"hnsw_ef_search": 400}},
    ),
    "postgres, user": (postgres_by, {"user": "ann"}, {"user": "bob"}),
    "milvus, output": (milvus_by, {"output_fields": ["a"]}, {"output_fields": ["b"]}),
    "milvus, weights": (
        milvus_by,
        {"hybrid_ranker_params": {"weights": [1, 0]}},
        {"hybrid_ranker_params": {"weights": [0, 1]}},
    ),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_how_a_store_searches_counts(setting: str) -> None:
    make, one, other = SETTINGS[setting]

    def of(settings: dict[str, Any]) -> Any:
        index = VectorStoreIndex.from_vector_store(make(**settings), embed_model=MockEmbedding(2))
        return Identity(None, "corpus", {}).of(index.as_retriever())

    assert of(one) == of(one) != of(other)
    assert SECRET not in json.dumps(of(one))


def test_a_variable_that_a_function_of_a_store_uses_counts() -> None:
    store = postgres_by(customize_query_fn=only_of_user)
    index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(2))
    assert variables_in(index.as_retriever()) == [user]


def test_faiss_is_what_it_holds() -> None:
    import faiss
    from llama_index.vector_stores.faiss import FaissVectorStore

    def of(*texts: str) -> Any:
        stored = StorageContext.from_defaults(vector_store=FaissVectorStore(faiss.IndexFlatL2(2)))
        nodes = [TextNode(text=one, id_=one) for one in texts]
        index = VectorStoreIndex(nodes, embed_model=MockEmbedding(2), storage_context=stored)
        return Identity("named", "corpus", {}).of(index.as_retriever())

    assert of("a") == of("a") != of("b") != of("a", "b")


def test_how_an_index_of_faiss_searches_counts() -> None:
    import faiss
    from llama_index.vector_stores.faiss import FaissVectorStore

    inner = faiss.IndexHNSWFlat(2, 8)
    stored = StorageContext.from_defaults(vector_store=FaissVectorStore(inner))
    nodes = [TextNode(text="a", id_="a")]
    retriever = VectorStoreIndex(nodes, embed_model=MockEmbedding(2), storage_context=stored).as_retriever()

    def now() -> Any:
        return Identity("named", "corpus", {}).of(retriever)

    before = now()
    inner.hnsw.efSearch = 200
    assert now() != before
    inner.hnsw.efSearch = 16
    assert now() == before


SCRIPT = """
import sys
from askonce import Corpus
from askonce.llama_index import cached, watch
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex

kind, directory, texts, *words = sys.argv[1:]
settings = {"embed_model": MockEmbedding(2)}
if kind == "Chroma":
    import chromadb
    from llama_index.vector_stores.chroma import ChromaVectorStore
    collection = chromadb.PersistentClient(directory).get_or_create_collection("quickstart")
    store = ChromaVectorStore(chroma_collection=collection)
elif kind == "Qdrant":
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    store = QdrantVectorStore("x", client=QdrantClient(path=directory))
elif kind == "LanceDB":
    from llama_index.vector_stores.lancedb import LanceDBVectorStore
    store = LanceDBVectorStore(uri=directory)
else:
    store = None
corpus = Corpus(name="handbook")
if texts:
    if "anew" in words and kind == "Qdrant":
        store.clear()
    documents = [Document(text=one, id_=str(n)) for n, one in enumerate(texts.split(","))]
    stored = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(documents, storage_context=stored, **settings)
else:
    index = VectorStoreIndex.from_vector_store(store, **settings)
if "watched" in words:
    watch(index, corpus)
    index.insert(Document(text="a word more", id_="more"))
name = None if store else "simple"
retriever = cached(index.as_retriever(similarity_top_k=9), corpus=corpus, name=name)
found = sorted(one.text for one in retriever.retrieve("a question"))
print(*found, corpus.cache.stats().kinds["retrieval"].hits, sep="|")
"""

OUTLIVING = ["Chroma", "Qdrant", "LanceDB"]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    (tmp_path / "documents").mkdir()
    return file


@pytest.mark.parametrize("kind", [*OUTLIVING, "Simple"])
def test_another_run_of_a_script_finds_the_documents_that_it_made_the_store_of(kind: str, script: Path) -> None:
    documents = str(script.parent / "documents")
    runs = [[kind, documents, texts, "anew"] for texts in ("old,older", "new,newer")]
    first, second = outputs(script, script.parent, runs)
    assert first == "old|older|0"
    adds = kind in ("Chroma", "LanceDB")  # to what is there
    assert second == ("new|newer|old|older|0" if adds else "new|newer|0")


@pytest.mark.parametrize("kind", OUTLIVING)
def test_a_restart_without_a_write_finds_what_is_stored(kind: str, script: Path) -> None:
    documents = str(script.parent / "documents")
    runs = [[kind, documents, "old,older"], [kind, documents, ""]]
    runs += [[kind, documents, "", "watched"], [kind, documents, ""]]
    printed = outputs(script, script.parent, runs)
    assert printed[:2] == ["old|older|0", "old|older|1"]
    assert printed[2:] == ["a word more|old|older|0", "a word more|old|older|1"]
