"""Changes of documents are seen, and only what they concern is looked for anew."""

import asyncio
import copy
import multiprocessing
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import (
    Document,
    SummaryIndex,
    VectorStoreIndex,
)
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import (
    BaseRetriever,
    VectorIndexRetriever,
)
from llama_index.core.schema import TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import MetadataFilters, SimpleVectorStore

from askonce import ConfigError, Corpus
from askonce.llama_index import CachedRetriever, watch
from askonce.provenance.changes import Change
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS
from tests.llama_index.retrieval.colours import (
    TOPICS,
    TextStore,
    Topics,
    doc_ids,
    documents,
    fusion,
    inserting,
    is_called,
)
from tests.support.change_log import changes_of, shown

pytestmark = [
    *LLAMA_INDEX_WARNINGS,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_deleted_document_takes_its_retrievals_along(index: VectorStoreIndex, corpus: Corpus) -> None:
    with watch(index, corpus):
        index.insert(Document(text="green", id_="first"))  # from here on, other processes may have another index
        retriever = CachedRetriever(VectorIndexRetriever(index, similarity_top_k=1), corpus=corpus)
        retriever.retrieve("red")
        retriever.retrieve("blue")
        index.delete_ref_doc("1", delete_from_docstore=True)
    assert not is_called(retriever, "blue")
    assert is_called(retriever, "red")
    assert doc_ids(retriever.retrieve("red")) == ["3"]


def test_any_change_concerns_what_weighs_more_than_it_returns(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(fusion(index), corpus=corpus)
    retriever.retrieve("red")
    corpus.changed(["4"])
    assert is_called(retriever, "red")


def inserting_nodes(index: VectorStoreIndex) -> None:
    index.insert_nodes([TextNode(id_="9", text="red red red")])


def updating(index: VectorStoreIndex) -> None:
    index.update_ref_doc(Document(id_="4", text="red red red"))


def refreshing(index: VectorStoreIndex) -> None:
    assert index.refresh_ref_docs([*documents()[:3], Document(id_="4", text="red red red")])[3]


def deleting_nodes(index: VectorStoreIndex) -> None:
    found = index.as_retriever(similarity_top_k=1).retrieve("red")
    index.delete_nodes([found[0].node_id], delete_from_docstore=True)


@pytest.mark.parametrize("change", [inserting, inserting_nodes, updating, refreshing, deleting_nodes])
@pytest.mark.parametrize("awaited", [False, True])
async def test_changes_of_a_watched_index_are_seen(
    change: Callable[[Any], None], awaited: bool, index: VectorStoreIndex, corpus: Corpus
) -> None:
    inner = VectorIndexRetriever(index, similarity_top_k=1)  # as_retriever() has the nodes of now only
    retriever = CachedRetriever(inner, corpus=corpus)
    assert watch(index, corpus) and type(index).__name__ == "VectorStoreIndex"
    before = retriever.retrieve("red red red")
    if awaited:
        await asyncio.gather(*recorded(change, index))
    else:
        change(index)
    assert before != inner.retrieve("red red red") == retriever.retrieve("red red red")
    assert not is_called(retriever, "red red red")


def recorded(change: Callable[[Any], None], index: VectorStoreIndex) -> list[Any]:
    """The same change through the asynchronous methods."""

    class Awaited:
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def __getattr__(self, name: str) -> Any:
            method = getattr(index, "a" + name, None)
            if method is None:
                return getattr(index, name)
            return lambda *args, **kwargs: self.calls.append(method(*args, **kwargs)) or [True] * 4

    awaited = Awaited()
    change(awaited)
    return awaited.calls


@pytest.mark.parametrize("make", [VectorIndexRetriever, fusion])
def test_whatever_is_changed_and_searched_in_turn_nothing_stale_is_found(
    make: Callable[[VectorStoreIndex], BaseRetriever], index: VectorStoreIndex, corpus: Corpus
) -> None:
    watch(index, corpus)
    chance = random.Random(7)
    for turn in range(150):
        one = Document(id_=str(chance.randrange(8)), text=" ".join(chance.choices(TOPICS, k=4)) + f" {turn}")
        change = chance.choice([index.update_ref_doc, index.delete_ref_doc, None, None, None])
        if change == index.update_ref_doc:
            index.update_ref_doc(one)
        elif change is not None and one.id_ in index.ref_doc_info:
            index.delete_ref_doc(one.id_, delete_from_docstore=True)
        inner = make(index)
        retriever = CachedRetriever(inner, corpus=corpus)
        question = " ".join(chance.choices(TOPICS, k=2))
        assert retriever.retrieve(question) == inner.retrieve(question)
    assert corpus.cache.stats().hits > 5


def test_refreshing_what_has_not_changed_reports_nothing(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    retriever.retrieve("red")
    with watch(index, corpus):
        index.refresh_ref_docs(documents())
    assert not is_called(retriever, "red")


def test_indexes_without_vectors_are_watched_too(corpus: Corpus) -> None:
    index = SummaryIndex.from_documents(documents())
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    watch(index, corpus)
    retriever.retrieve("red")
    inserting(index)
    assert "9" in doc_ids(retriever.retrieve("red"))
    index.delete_ref_doc("9")
    assert "9" not in doc_ids(retriever.retrieve("red"))


def test_what_watch_returns_says_that_it_is_not_the_object(index: VectorStoreIndex, corpus: Corpus) -> None:
    returned: Any = watch(index, corpus)
    with pytest.raises(AttributeError, match="'insert': the object that was given is watched"):
        returned.insert(None)


def test_a_watched_object_reports_no_more_when_undone_and_pickles_as_it_was(corpus: Corpus) -> None:
    store = SimpleVectorStore()
    node = TextNode(id_="1", text="red", embedding=[1.0])
    first, second = watch(store, corpus), watch(store, corpus)
    first.undo()
    store.add([node])
    assert [shown(one) for one in changes_of(corpus)] == ["[1", "1+]"]  # of the second alone
    assert type(pickle.loads(pickle.dumps(store))) is SimpleVectorStore
    assert copy.deepcopy(store).to_dict() == store.to_dict()
    second.undo()
    store.delete("1")
    assert len(changes_of(corpus)) == 2
    with pytest.raises(ConfigError, match="no method that writes"):
        watch(object(), corpus)


async def test_a_watched_vector_store_reports_what_changed(corpus: Corpus) -> None:
    store = SimpleVectorStore()
    seen: list[Change] = []

    def log() -> list[str]:
        new = changes_of(corpus)[len(seen) :]
        seen.extend(new)
        return [shown(one) for one in new]

    watch(store, corpus)
    node = TextNode(id_="1", text="red", embedding=[1.0])
    store.add([node])
    assert log() == ["[1", "1+]"]
    await store.async_add([node])
    assert log() == ["[1", "1+]"]
    store.delete("1")
    await store.adelete("1")
    assert log() == ["[1", "1]", "[1", "1]"]
    store.delete_nodes(["1"])
    await store.adelete_nodes(["1"])
    assert log() == ["[1", "1]", "[1", "1]"]
    store.delete_nodes(filters=MetadataFilters(filters=[]))
    store.clear()
    assert log() == ["[*", "*]", "[*", "*+]"]


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_watched_pipeline_reports_upserts_and_deletions(awaited: bool, corpus: Corpus) -> None:
    store = TextStore()
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), Topics()],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy="upserts_and_delete",  # type: ignore[arg-type]
        disable_cache=True,
    )
    watch(pipeline, corpus)
    index = VectorStoreIndex.from_vector_store(store, embed_model=Topics())
    retriever = CachedRetriever(index.as_retriever(similarity_top_k=1), corpus=corpus)

    async def ingest(given: list[Document]) -> None:
        if awaited:
            await pipeline.arun(documents=given)
        else:
            pipeline.run(documents=given)

    await ingest(documents())
    assert doc_ids(retriever.retrieve("blue")) == ["2"]
    assert doc_ids(retriever.retrieve("red")) == ["1"]
    await ingest(documents())
    assert not is_called(retriever, "blue")
    await ingest([Document(id_="1", text="a changed text: blue blue blue"), *documents()[1:]])
    assert doc_ids(retriever.retrieve("blue")) == ["2"]
    assert doc_ids(retriever.retrieve("blue blue blue")) == ["1"]
    assert doc_ids(retriever.retrieve("red")) == ["3"]
    assert doc_ids(retriever.retrieve("green")) == ["3"]
    await ingest(documents()[:2])  # the others are gone
    assert doc_ids(retriever.retrieve("green")) != ["3"]


def test_a_change_that_fails_half_way_is_reported(index: VectorStoreIndex, corpus: Corpus) -> None:
    class Failing(SimpleVectorStore):
        def add(self, nodes: Any, **kwargs: Any) -> list[str]:
            super().add(nodes, **kwargs)
            raise OSError("after the first batch")

    store = Failing()
    watch(store, corpus)
    with pytest.raises(OSError, match="batch"):
        store.add([TextNode(id_="1", text="red", embedding=[1.0])])
    assert [shown(one) for one in changes_of(corpus)] == ["[1", "1+]"]


def test_a_change_by_another_process_is_seen_at_the_next_retrieval(index: VectorStoreIndex, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    retriever = CachedRetriever(index.as_retriever(similarity_top_k=1), url, corpus="colours")
    retriever.retrieve("red")
    retriever.retrieve("blue")
    change = f"from askonce import Corpus; Corpus({url!r}, name='colours').changed(['1'])"
    subprocess.run([sys.executable, "-c", change], check=True)
    assert is_called(retriever, "red")
    assert not is_called(retriever, "blue")
    retriever.cache.close()


class OwnStore:
    """Writes documents in ways of its own."""

    def ingest(self, text: str) -> str:
        return text

    def texts(self) -> list[str]:
        return []


async def test_document_stores_retrievers_and_whatever_writes_are_watched(
    index: VectorStoreIndex, corpus: Corpus
) -> None:
    def log() -> list[str]:
        new = changes_of(corpus)[len(seen) :]
        seen.extend(new)
        return [shown(one) for one in new]

    seen: list[Change] = []
    store, own = SimpleDocumentStore(), OwnStore()
    watch(store, corpus)
    watch(own, corpus)
    store.add_documents([TextNode(id_="n", text="red"), Document(id_="d", text="blue")])
    store.delete_document("n")
    await store.adelete_document("d")
    assert log() == ["[n,d", "n,d+]", "[n", "n]", "[d", "d]"]
    assert (own.ingest("x"), own.texts()) == ("x", [])
    assert log() == ["[*", "*+]"]
    with watch(fusion(index), corpus):
        pass  # what it searches is not watched any more
    watch(VectorIndexRetriever(index), corpus)
    inserting_nodes(index)
    assert set(log()) == {"[9", "9+]"}


@pytest.mark.parametrize("given", ["colours", None])
def test_watch_takes_a_corpus_only(given: Any, index: VectorStoreIndex) -> None:
    with pytest.raises(ConfigError, match=r"watch takes a corpus.*Corpus\(store, name="):
        watch(index, given)


def serve(index: VectorStoreIndex, retriever: CachedRetriever, worker: int, turns: Any, seen: Any) -> None:
    """Write a document of the worker's own, and search when all others did so, one after the other."""
    index.insert(Document(text="red red", id_=f"worker {worker}"))
    turns.wait(10)
    for one in range(3):
        if one == worker:
            seen.put((doc_ids(retriever.retrieve("red")), doc_ids(retriever.retriever.retrieve("red"))))
        turns.wait(10)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_workers_serve_what_is_in_their_own_memory(index: VectorStoreIndex, tmp_path: Path) -> None:
    corpus = Corpus(f"sqlite:///{tmp_path / 'cache.db'}")
    watch(index, corpus)
    index.insert(Document(text="red", id_="before"))
    retriever = CachedRetriever(VectorIndexRetriever(index, similarity_top_k=9), corpus=corpus)
    fork = multiprocessing.get_context("fork")
    turns, seen = fork.Barrier(3), fork.Queue()
    workers = [fork.Process(target=serve, args=(index, retriever, number, turns, seen)) for number in (1, 2)]
    for one in workers:
        one.start()
    serve(index, retriever, 0, turns, seen)
    results = [seen.get(timeout=30) for _ in range(3)]
    for one in workers:
        one.join()
    assert [served for served, _ in results] == [searched for _, searched in results]
