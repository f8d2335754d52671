"""Documents that a retriever holds itself: their order, edits in their place, and where a named one holds them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest
from langchain_classic.retrievers import EnsembleRetriever, TimeWeightedVectorStoreRetriever
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.store.memory import InMemoryStore

from askonce import Cache, ConfigError
from askonce.langchain import cached
from askonce.langchain.retrieval import held_documents
from tests.langchain.retrieval.library import Words, text_of


class First(BaseRetriever):
    """Finds the first of what it holds."""

    held: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return list(self.held.values() if isinstance(self.held, dict) else self.held)[:1]


class Finding(BaseRetriever):
    """Finds by a function."""

    held: Any = None
    find: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(text) for text in self.find(self.held)]


def numbered(count: int) -> list[Document]:
    return [Document(f"text {one}", id=f"d{one}", metadata={"tags": [one]}) for one in range(count)]


def by_id(documents: list[Document]) -> dict[str, Document]:
    return {str(one.id): one for one in documents}


@pytest.mark.parametrize("name", [None, "first"])
@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("put", [list, tuple, by_id])
def test_another_order_of_documents_is_another_result(put: Any, count: int, name: str | None) -> None:
    cache = Cache("memory://")
    for documents in (numbered(count), numbered(count)[::-1], numbered(count)):
        retriever = First(held=put(documents))
        assert cached(retriever, cache, corpus="one", name=name).invoke("?") == documents[:1]
    assert cache.stats().hits == 1


def edit_text(document: Document) -> None:
    document.page_content = "new"


def edit_metadata(document: Document) -> None:
    document.metadata["new"] = True


def edit_within_metadata(document: Document) -> None:
    document.metadata["tags"].append("new")


@pytest.mark.parametrize("name", [None, "first"])
@pytest.mark.parametrize("put", [list, by_id])
@pytest.mark.parametrize("edit", [edit_text, edit_metadata, edit_within_metadata])
def test_a_document_that_is_edited_in_its_place_is_seen(edit: Any, put: Any, name: str | None) -> None:
    documents = numbered(40)
    retriever = cached(First(held=put(documents)), "memory://", corpus="one", name=name)
    retriever.invoke("?")
    edit(documents[0])
    assert retriever.invoke("?") == documents[:1]
    retriever.invoke("?")
    assert retriever.cache.stats().hits == 1


def test_in_a_long_list_an_edit_is_seen_within_a_second() -> None:
    documents = numbered(2 * held_documents._AT_ONCE)
    retriever = cached(First(held=documents), "memory://", corpus="one")
    retriever.invoke("?")
    documents[0].page_content = "new"
    time.sleep(held_documents._SECONDS + 0.05)
    assert retriever.invoke("?") == documents[:1]
    documents[0] = Document("another", id="d0")  # is seen at once
    assert retriever.invoke("?") == documents[:1]


def store_of(text: str) -> InMemoryVectorStore:
    store = InMemoryVectorStore(Words())
    store.add_documents([Document(text, id="d")])
    return store


def texts_in(store: InMemoryVectorStore) -> list[str]:
    return [one["text"] for one in store.store.values()]


def in_a_namespace(text: str) -> BaseRetriever:
    return Finding(held=SimpleNamespace(store=store_of(text)), find=lambda held: texts_in(held.store))


def as_a_default(text: str) -> BaseRetriever:
    def find(held: Any, store: InMemoryVectorStore = store_of(text)) -> list[str]:  # noqa: B008
        return texts_in(store)

    return Finding(find=find)


def as_a_default_by_name(text: str) -> BaseRetriever:
    def find(held: Any, *, store: InMemoryVectorStore = store_of(text)) -> list[str]:  # noqa: B008
        return texts_in(store)

    return Finding(find=find)


def in_maps(text: str) -> BaseRetriever:
    return Finding(held=[{"text": text}], find=lambda held: [held[0]["text"]])


def in_a_graphs_store(text: str) -> BaseRetriever:
    store = InMemoryStore()
    store.put(("documents",), "d", {"text": text})
    return Finding(held=store, find=lambda held: [one.value["text"] for one in held.search(("documents",))])


@pytest.mark.parametrize("make", [in_a_namespace, as_a_default, as_a_default_by_name, in_maps, in_a_graphs_store])
def test_a_name_says_nothing_of_what_is_held(make: Callable[[str], BaseRetriever]) -> None:
    cache = Cache("memory://")
    found = [text_of(cached(make(text), cache, corpus="one", name="n").invoke("?")) for text in ("a", "b", "a")]
    assert found == ["a", "b", "a"]
    assert cache.stats().hits == 1


def test_the_function_of_a_method_counts() -> None:
    cache, owner = Cache("memory://"), SimpleNamespace()

    def finds(text: str) -> Finding:
        return Finding(find=MethodType(lambda _, held: [text], owner))

    found = [text_of(cached(finds(text), cache, corpus="one").invoke("?")) for text in ("a", "b")]
    assert found == ["a", "b"]


def test_what_is_put_into_a_graphs_store_is_seen() -> None:
    retriever = in_a_graphs_store("a")
    find = cached(retriever, "memory://", corpus="one", name="n")
    assert text_of(find.invoke("?")) == "a"
    retriever.held.put(("documents",), "d", {"text": "b"})  # type: ignore[attr-defined]
    assert text_of(find.invoke("?")) == "b"


def test_a_connection_to_sqlite_is_known_by_its_file(tmp_path: Path) -> None:
    def of_database(file: str, text: str) -> BaseRetriever:
        connection = sqlite3.connect(file)
        connection.execute("CREATE TABLE IF NOT EXISTS texts (text)")
        if not connection.execute("SELECT * FROM texts").fetchall():
            connection.execute("INSERT INTO texts VALUES (?)", (text,))
            connection.commit()
        return Finding(held=connection, find=lambda held: [held.execute("SELECT text FROM texts").fetchone()[0]])

    cache = Cache("memory://")
    for file, text in ((f"{tmp_path}/a", "a"), (f"{tmp_path}/b", "b"), (f"{tmp_path}/a", "a")):
        assert text_of(cached(of_database(file, text), cache, corpus="one", name="n").invoke("?")) == text
    assert cache.stats().hits == 1
    for text in ("c", "d"):
        assert text_of(cached(of_database(":memory:", text), cache, corpus="one", name="n").invoke("?")) == text


class Relevance(InMemoryVectorStore):
    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return float


def test_what_depends_on_the_time_needs_a_ttl() -> None:
    def of_time() -> TimeWeightedVectorStoreRetriever:
        retriever = TimeWeightedVectorStoreRetriever(vectorstore=Relevance(Words()))
        retriever.add_documents([Document("new", id="new")])
        return retriever

    for refused in (of_time(), EnsembleRetriever(retrievers=[of_time()], weights=[1])):
        with pytest.raises(ConfigError, match="ttl="):
            cached(refused, Cache("memory://"), corpus="one", name="n")
    retriever = cached(of_time(), Cache("memory://", ttl=300), corpus="one", name="n")
    for _ in range(2):
        assert "new" in text_of(retriever.invoke("?"))
    assert retriever.cache.stats().hits == 1
