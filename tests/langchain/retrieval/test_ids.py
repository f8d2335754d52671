"""Documents whose own ids a store leaves in their metadata are invalidated by these."""

from __future__ import annotations

from uuid import UUID

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from askonce import Cache, Corpus
from askonce.langchain import CachedRetriever, watch
from askonce.langchain.retrieval.documents import has_own_id, id_field, ids_of
from askonce.stores.memory import MemoryStore
from tests.langchain.retrieval.test_sources import Words


@pytest.mark.parametrize(
    ("metadata", "field", "ids", "is_own"),
    [
        ({"_id": "7"}, "_id", ("7",), True),
        ({"_id": "7", "_collection_name": "copied from Qdrant"}, None, ("7",), False),
        ({"pk": 7}, "pk", ("7",), True),
        ({"pk": 7}, None, ("7",), False),
        ({"doc_id": "of the whole"}, None, ("of the whole",), False),
        ({}, "pk", (), False),
    ],
)
def test_the_id_of_a_store_is_not_one_of_the_application(
    metadata: dict[str, object], field: str | None, ids: tuple[str, ...], is_own: bool
) -> None:
    document = Document("a", metadata=metadata)
    assert (ids_of([document]), has_own_id(document, field)) == (ids, is_own)
    assert has_own_id(Document("a", id="1", metadata=metadata), field)


def test_another_store_with_documents_of_qdrant_shows_no_id() -> None:
    assert id_field(InMemoryVectorStore(Words())) is None


def test_a_document_of_qdrant_is_invalidated_by_its_id_and_not_by_another() -> None:
    pytest.importorskip("langchain_qdrant")
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client, vectors = QdrantClient(":memory:"), VectorParams(size=10, distance=Distance.COSINE)
    client.create_collection("hr", vectors_config=vectors)
    with Cache(MemoryStore()) as cache:
        corpus = Corpus(cache, name="hr")
        store = watch(QdrantVectorStore(client, "hr", Words()), corpus)
        assert id_field(store) == "_id"
        ids = [str(UUID(int=number)) for number in (1, 2)]
        store.add_documents([Document("leave of all"), Document("salary of all")], ids=ids)
        retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)

        def hits() -> int:
            before = cache.stats().hits
            assert [one.page_content for one in retriever.invoke("leave")] == ["leave of all"]
            return cache.stats().hits - before

        assert [hits(), hits()] == [0, 1]
        store.delete([ids[1]])
        assert hits() == 1
        assert cache.invalidate(f"doc:{ids[0]}") > 0
        assert [hits(), hits()] == [0, 1]
        assert sum(cache.erase(source=ids[0]).entries.values()) > 0
        assert hits() == 0
