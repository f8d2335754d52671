"""Documents and graphs that a retriever has from stores without vectors: those of another program are others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from llama_index.core import PropertyGraphIndex, StorageContext, SummaryIndex, VectorStoreIndex
from llama_index.core.graph_stores import SimpleGraphStore, SimplePropertyGraphStore
from llama_index.core.graph_stores.types import EntityNode, Relation
from llama_index.core.indices.property_graph import LLMSynonymRetriever
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.retrievers import AutoMergingRetriever, BaseRetriever, VectorIndexRetriever
from llama_index.core.schema import (
    IndexNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore
from llama_index.core.storage.docstore.types import BaseDocumentStore
from llama_index.core.storage.kvstore.types import BaseKVStore

from askonce import Cache, ConfigError, Corpus
from askonce.llama_index import CachedRetriever, watch
from askonce.llama_index.retrieval import indexes
from askonce.retrieval.versions import digest_of
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS
from tests.llama_index.retrieval.colours import TextStore, Topics

pytestmark = [*LLAMA_INDEX_WARNINGS, pytest.mark.usefixtures("event_loop_to_leave")]


class Names(CustomLLM):
    """Takes every question for one about prices."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="Price")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


def family(parent: str) -> list[TextNode]:
    """A parent of two children, which say nothing of it but its id."""
    nodes = [TextNode(text=parent, id_="p"), *(TextNode(text=f"red {n}", id_=f"c{n}") for n in range(2))]
    for child in nodes[1:]:
        child.relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id="p")
    nodes[0].relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id=one.node_id) for one in nodes[1:]]
    return nodes


class Vectors(TextStore):
    """Shows where it is."""

    url: str = ""


def merging(documents: BaseDocumentStore) -> AutoMergingRetriever:
    """Finds the parents of the children in a vector store that many programs have in common."""
    vectors = Vectors(url="http://vectors")
    stored = StorageContext.from_defaults(vector_store=vectors)
    VectorStoreIndex(family("")[1:], embed_model=Topics(), storage_context=stored)
    index = VectorStoreIndex.from_vector_store(vectors, embed_model=Topics())
    stored = StorageContext.from_defaults(docstore=documents, vector_store=vectors)
    return AutoMergingRetriever(VectorIndexRetriever(index, similarity_top_k=2), stored)


def in_document_store(text: str) -> BaseRetriever:
    documents = SimpleDocumentStore()
    documents.add_documents(family(text))
    return merging(documents)


def graph(text: str) -> SimplePropertyGraphStore:
    store = SimplePropertyGraphStore()
    store.upsert_nodes([EntityNode(name="Price"), EntityNode(name=text)])
    store.upsert_relations([Relation(label="IS", source_id="Price", target_id=text)])
    return store


def in_property_graph(text: str) -> BaseRetriever:
    return LLMSynonymRetriever(graph(text), llm=Names(), include_text=False)


def in_property_graph_index(text: str) -> BaseRetriever:
    index = PropertyGraphIndex.from_existing(
        property_graph_store=graph(text), llm=Names(), embed_model=Topics(), embed_kg_nodes=False
    )
    return index.as_retriever(include_text=False)


class OfGraph(BaseRetriever):
    """Of the application: finds all that is in a graph store."""

    def __init__(self, store: Any) -> None:
        self._graph_store = store
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        triples = self._graph_store.get("Price")
        return [NodeWithScore(node=TextNode(text=object_, id_=object_)) for _, object_ in triples]


def in_graph(text: str) -> BaseRetriever:
    store = SimpleGraphStore()
    store.upsert_triplet("Price", "is", text)
    return OfGraph(store)


class OwnGraphStore(SimpleGraphStore):
    """Of the application: holds its triples itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.triples = [["is", text]]

    def get(self, subj: str) -> list[list[str]]:
        return self.triples


class OwnDocumentStore(SimpleDocumentStore):
    """Of the application: holds the parent itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.parents = {"p": family(text)[0]}

    def get_document(self, doc_id: str, raise_error: bool = True) -> Any:
        return self.parents[doc_id]


PROGRAMS: dict[str, tuple[Callable[[str], BaseRetriever], tuple[str | None, ...]]] = {
    "a document store": (in_document_store, (None, "mine")),
    "a document store of its own": (lambda text: merging(OwnDocumentStore(text)), (None, "mine")),
    "a property graph": (in_property_graph, (None, "mine")),
    "the index of a property graph": (in_property_graph_index, (None, "mine")),
    "a graph": (in_graph, ("mine",)),
    "a graph of its own": (lambda text: OfGraph(OwnGraphStore(text)), ("mine",)),
}


def texts(retriever: CachedRetriever, question: str = "red") -> list[str]:
    return sorted(one.text for one in retriever.retrieve(question))


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in PROGRAMS for name in PROGRAMS[kind][1]])
def test_programs_with_other_documents_share_nothing(
    kind: str, name: str | None, watched: bool, cache: Cache
) -> None:
    corpus = Corpus(cache, name="colours")
    for text in ("old", "new", "old"):
        inner = PROGRAMS[kind][0](text)
        if watched:
            watch(inner, corpus)
        retriever = CachedRetriever(inner, corpus=corpus, name=name)
        assert [text in one for one in texts(retriever)] == [True]
    assert cache.stats().kinds["retrieval"].hits == 1


@pytest.mark.parametrize("watched", [False, True])
def test_a_write_to_a_document_store_is_seen(watched: bool, cache: Cache) -> None:
    corpus, documents = Corpus(cache, name="colours"), SimpleDocumentStore()
    documents.add_documents(family("old"))
    if watched:
        watch(documents, corpus)
    retriever = CachedRetriever(merging(documents), corpus=corpus)
    assert texts(retriever) == texts(retriever) == ["old"]
    documents.add_documents(family("new"))
    assert texts(retriever) == texts(retriever) == ["new"]
    assert cache.stats().kinds["retrieval"].hits == 2


@pytest.mark.parametrize("watched", [False, True])
def test_a_write_to_a_graph_is_seen(watched: bool, cache: Cache) -> None:
    corpus, store = Corpus(cache, name="colours"), graph("old")
    inner = LLMSynonymRetriever(store, llm=Names(), include_text=False)
    if watched:
        watch(inner, corpus)
    retriever = CachedRetriever(inner, corpus=corpus)
    assert texts(retriever) == texts(retriever) == ["Price -> IS -> old"]
    store.upsert_relations([Relation(label="IS", source_id="Price", target_id="new")])
    assert texts(retriever) == texts(retriever) == ["Price -> IS -> new", "Price -> IS -> old"]


def test_how_an_index_has_its_nodes_counts(cache: Cache) -> None:
    nodes = [TextNode(text=one, id_=one) for one in ("red", "blue")]
    for given in (nodes, nodes[::-1], nodes):
        inner = SummaryIndex(given).as_retriever()
        retriever = CachedRetriever(inner, cache, corpus="colours", name="mine")
        assert [one.text for one in retriever.retrieve("red")] == [one.text for one in given]
    assert cache.stats().kinds["retrieval"].hits == 1


def test_what_nodes_point_to_counts(cache: Cache) -> None:
    for text in ("old", "new", "old"):
        inner = VectorStoreIndex([TextNode(text=text, id_="a")], embed_model=Topics()).as_retriever()
        pointing = IndexNode(text="red", id_="b", index_id="inner", obj=inner)
        index = VectorStoreIndex(objects=[pointing], embed_model=Topics())
        retriever = CachedRetriever(index.as_retriever(), cache, corpus="colours", name="mine")
        assert texts(retriever) == [text]
    assert cache.stats().kinds["retrieval"].hits == 1


class OnServer(BaseKVStore):
    """A client for values that lie elsewhere."""

    servers: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def _values(self) -> dict[str, Any]:
        return self.servers.setdefault(self.url, {})

    def put(self, key: str, val: dict[str, Any], collection: str = "data") -> None:
        self._values[collection + key] = val

    def put_all(self, kv_pairs: Any, collection: str = "data", batch_size: int = 1) -> None:
        for key, value in kv_pairs:
            self.put(key, value, collection)

    def get(self, key: str, collection: str = "data") -> Any:
        return self._values.get(collection + key)

    def get_all(self, collection: str = "data") -> dict[str, Any]:
        raise NotImplementedError

    def delete(self, key: str, collection: str = "data") -> bool:
        return self._values.pop(collection + key, None) is not None

    aput = aput_all = aget = aget_all = adelete = None  # type: ignore[assignment]


def test_a_document_store_on_a_server_is_where_its_client_is(cache: Cache) -> None:
    def found(url: str, corpus: str | None = None) -> list[str]:
        documents = KVDocumentStore(OnServer(url))
        if not documents.document_exists("p"):
            documents.add_documents(family(url))
        return texts(CachedRetriever(merging(documents), cache, corpus=corpus))

    urls = ["http://one", "http://two", "http://one"]
    assert [found(url) for url in urls] == [[url] for url in urls]
    assert cache.stats().kinds["retrieval"].hits == 1
    with pytest.raises(ConfigError, match=r"OnServer does not show where.*corpus="):
        found("")


def test_what_a_process_holds_is_read_again_only_when_it_changed(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def digest(rows: Any) -> str:
        read.append(digest_of(rows))
        return read[-1]

    monkeypatch.setattr(indexes, "digest_of", digest)
    for inner in (in_document_store("old"), in_property_graph("old")):
        retriever = CachedRetriever(inner, cache, corpus="colours")
        before = len(read)
        for question in ("red", "blue", "red"):
            retriever.retrieve(question)
        assert len(read) == before > 0


def test_a_process_that_wrote_to_vectors_on_a_server_shares_what_it_finds_there(cache: Cache) -> None:
    corpus, server = Corpus(cache, name="colours"), Vectors(url="http://vectors")

    def index() -> VectorStoreIndex:
        return VectorStoreIndex.from_vector_store(server, embed_model=Topics())

    one, other = index(), index()
    watch(one, corpus)
    one.insert_nodes([TextNode(text="red", id_="a")])
    for each in (one, other):
        assert texts(CachedRetriever(each.as_retriever(), corpus=corpus)) == ["red"]
    assert cache.stats().kinds["retrieval"].hits == 1
