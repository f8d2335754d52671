"""With a margin, a corpus's retrievals stay when what is added is further away than what was found."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from askonce import Cache, Corpus
from askonce.langchain import CachedEmbeddings, CachedRetriever, watch
from askonce.stores.memory import MemoryStore


class Points(Embeddings):
    """A text is a point on a sphere of a few dimensions, which its words determine."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return list(np.random.default_rng([*text.encode()]).normal(size=4))


class Updating(InMemoryVectorStore):
    """Replaces documents, as Chroma does."""

    def update_document(self, document_id: str, document: Document) -> None:
        self.update_documents([document_id], [document])

    def update_documents(self, ids: list[str], documents: list[Document]) -> None:
        super().add_documents(documents, ids=ids)


Updating.__module__, Updating.__name__ = InMemoryVectorStore.__module__, InMemoryVectorStore.__name__


def anything(document: Document) -> bool:
    return True


def library(near_margin: float | None = 0.0, **search: Any) -> tuple[Updating, CachedRetriever]:
    cache = Cache(MemoryStore())
    corpus = Corpus(cache, near_margin=near_margin)
    store = watch(Updating(CachedEmbeddings(Points(), cache, model="points")), corpus)
    return store, CachedRetriever(store.as_retriever(search_kwargs={"k": 3, **search}), corpus=corpus)


def found(documents: list[Document]) -> list[tuple[str | None, str]]:
    return [(one.id, one.page_content) for one in documents]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
async def test_with_an_exact_search_no_retrieval_that_stays_differs(seed: int, awaited: bool) -> None:
    chance = random.Random(seed)
    store, retriever = library()
    for step in range(40):
        kind, one = chance.random(), str(chance.randrange(12))
        document = Document(f"text {step} of {seed}", id=one)  # no two alike
        if kind < 0.2:
            await store.aadd_documents([document]) if awaited else store.add_documents([document])
        elif kind < 0.3:
            store.update_document(one, document)
        elif kind < 0.35:
            await store.adelete([one]) if awaited else store.delete([one])
        else:
            query = f"question {chance.randrange(5)}"
            fresh = retriever.retriever.invoke(query)
            cached = await retriever.ainvoke(query) if awaited else retriever.invoke(query)
            assert found(cached) == found(fresh), step


@pytest.mark.parametrize("awaited", [False, True])
async def test_of_the_retrievals_those_stay_to_which_nothing_near_was_added(awaited: bool) -> None:
    store, retriever = library()
    store.add_documents([Document(f"text {number}", id=str(number)) for number in range(40)])
    questions = [f"question {number}" for number in range(30)]
    before = [found(retriever.invoke(one)) for one in questions]
    new = [Document("something else", id="new")]
    await store.aadd_documents(new) if awaited else store.add_documents(new)
    after = [found(await retriever.ainvoke(one) if awaited else retriever.invoke(one)) for one in questions]
    changed = [one != other for one, other in zip(before, after, strict=True)]
    assert 0 < sum(changed) < 15
    assert after == [found(retriever.retriever.invoke(one)) for one in questions]
    assert sum(stayed(retriever, questions)) == 30


def test_an_update_drops_what_held_the_document_or_could_now_hold_it() -> None:
    store, retriever = library()
    store.add_documents([Document(f"text {number}", id=str(number)) for number in range(40)])
    questions = [f"question {number}" for number in range(40)]
    stayed(retriever, questions)
    for step in range(5):
        before = [found(retriever.retriever.invoke(one)) for one in questions]
        store.update_document(str(step), Document(f"text {step} anew"))
        after = [found(retriever.retriever.invoke(one)) for one in questions]
        stays = stayed(retriever, questions)
        assert [found(retriever.invoke(one)) for one in questions] == after
        assert not any(stay and a != b for stay, a, b in zip(stays, before, after, strict=True))
        assert sum(stays) > 25


def stayed(retriever: CachedRetriever, questions: list[str]) -> list[bool]:
    """Whether each is a hit: the retriever inside is not called."""
    searched: list[str] = []
    inner = type(retriever.retriever)._get_relevant_documents

    def spy(self: Any, query: str, **kwargs: Any) -> list[Document]:
        searched.append(query)
        return inner(self, query, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(retriever.retriever), "_get_relevant_documents", spy)
        for one in questions:
            retriever.invoke(one)
    return [one not in searched for one in questions]


@pytest.mark.parametrize(
    ("near_margin", "search", "documents", "stays"),
    [
        (0.0, {}, 40, "most"),
        (2.0, {}, 40, "none"),
        (None, {}, 40, "none"),
        (0.0, {}, 2, "none"),  # fewer than requested: whatever comes is found
        (0.0, {"filter": anything}, 40, "most"),
        (0.0, {"fetch_k": 9}, 40, "none"),  # it may weigh more than it returns
    ],
)
def test_when_distances_are_unavailable_all_are_made_anew(
    near_margin: float | None, search: dict[str, Any], documents: int, stays: str
) -> None:
    store, retriever = library(near_margin, **search)
    store.add_documents([Document(f"text {number}", id=str(number)) for number in range(documents)])
    questions = [f"question {number}" for number in range(20)]
    assert sum(stayed(retriever, questions)) == 0
    store.add_documents([Document("something else", id="new")])
    assert (sum(stayed(retriever, questions)) > 10) == (stays == "most")


def test_texts_without_vectors_drop_all() -> None:
    store, retriever = library()
    store.add_documents([Document(f"text {number}", id=str(number)) for number in range(40)])
    questions = [f"question {number}" for number in range(20)]
    stayed(retriever, questions)
    store.add_texts(text for text in ["something else"])
    assert sum(stayed(retriever, questions)) == 0
    store.add_texts(["something else again"])
    assert sum(stayed(retriever, questions)) > 10
    with pytest.raises(ValueError, match="same length"):
        store.add_documents([Document("a"), Document("b")], ids=["one"])
    assert sum(stayed(retriever, questions)) == 0
