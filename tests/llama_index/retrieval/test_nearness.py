"""With a margin, a corpus's retrievals stay when what is added is further away than what was found."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores import SimpleVectorStore

from askonce import Cache, Corpus
from askonce.llama_index import CachedRetriever, watch
from askonce.stores.memory import MemoryStore

QUESTIONS = [f"question {number}" for number in range(20)]


class Points(BaseEmbedding):
    """A text is a point on a sphere of a few dimensions, which its words determine."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(one) for one in np.random.default_rng([*text.encode()]).normal(size=4)]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def library(near_margin: float | None = 0.0, *, nodes: int = 40) -> tuple[VectorStoreIndex, CachedRetriever]:
    corpus = Corpus(Cache(MemoryStore()), near_margin=near_margin)
    index = VectorStoreIndex([node(number) for number in range(nodes)], embed_model=Points())
    watch(index, corpus)
    return index, CachedRetriever(VectorIndexRetriever(index, similarity_top_k=3), corpus=corpus, name="points")


def node(number: int, text: str | None = None) -> TextNode:
    return TextNode(id_=str(number), text=text or f"text {number}")


def found(nodes: list[NodeWithScore]) -> list[tuple[str, str, float | None]]:
    return [(one.node.node_id, one.text, one.score) for one in nodes]


def stayed(retriever: CachedRetriever) -> list[bool]:
    """Whether each question is a hit: the retriever inside is not called."""
    searched: list[str] = []
    inner = VectorIndexRetriever._retrieve

    def spy(self: Any, query: Any) -> list[NodeWithScore]:
        searched.append(query.query_str)
        return inner(self, query)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VectorIndexRetriever, "_retrieve", spy)
        for one in QUESTIONS:
            retriever.retrieve(one)
    return [one not in searched for one in QUESTIONS]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
async def test_with_an_exact_search_no_retrieval_that_stays_differs(seed: int, awaited: bool) -> None:
    chance = random.Random(seed)
    index, retriever = library(nodes=0)
    there: set[int] = set()
    for step in range(40):
        kind, one = chance.random(), chance.randrange(12)
        if kind < 0.2:
            if one in there:
                index.delete_nodes([str(one)], delete_from_docstore=True)
            new = [node(one, f"text {step} of {seed}")]  # no two alike
            await index.ainsert_nodes(new) if awaited else index.insert_nodes(new)
            there.add(one)
        elif kind < 0.25 and one in there:
            index.delete_nodes([str(one)], delete_from_docstore=True)
            there.remove(one)
        else:
            query = f"question {chance.randrange(5)}"
            fresh = VectorIndexRetriever(index, similarity_top_k=3).retrieve(query)
            cached = await retriever.aretrieve(query) if awaited else retriever.retrieve(query)
            assert [row[:2] for row in found(cached)] == [row[:2] for row in found(fresh)], step


def inserting_nodes(index: VectorStoreIndex, corpus: Corpus) -> None:
    index.insert_nodes([node(99, "something else")])


def inserting_a_document(index: VectorStoreIndex, corpus: Corpus) -> None:
    index.insert(Document(text="something else"))


def refreshing(index: VectorStoreIndex, corpus: Corpus) -> None:
    index.refresh_ref_docs([Document(text="something else", id_="new")])


def running_a_pipeline(index: VectorStoreIndex, corpus: Corpus) -> None:
    """It writes into a store of its own; what counts is what the corpus receives."""
    pipeline = IngestionPipeline(transformations=[Points()], vector_store=SimpleVectorStore())
    with watch(pipeline, corpus):
        pipeline.run(nodes=[node(99, "something else")])


@pytest.mark.parametrize("add", [inserting_nodes, inserting_a_document, refreshing, running_a_pipeline])
def test_of_the_retrievals_those_stay_to_which_nothing_near_was_added(add: Any) -> None:
    index, retriever = library()
    index.insert_nodes([node(98, "the first change")])  # from here on, other processes may have another index
    assert sum(stayed(retriever)) == 0
    add(index, retriever.corpus)
    assert 10 < sum(stayed(retriever)) < 20
    assert sum(stayed(retriever)) == 20


class Otherwise(SimpleVectorStore):
    """Its scores may be anything."""

    def query(self, query: Any, **kwargs: Any) -> Any:
        return super().query(query, **kwargs)


@pytest.mark.parametrize(("near_margin", "nodes"), [(None, 40), (2.0, 40), (0.0, 2)])
def test_when_distances_are_unavailable_all_are_made_anew(near_margin: float | None, nodes: int) -> None:
    index, retriever = library(near_margin, nodes=nodes)
    stayed(retriever)
    index.insert_nodes([node(99, "something else")])
    assert sum(stayed(retriever)) == 0


def test_scores_of_unknown_stores_are_not_used() -> None:
    index, retriever = library()
    index.vector_store.__class__ = Otherwise
    stayed(retriever)
    index.insert_nodes([node(99, "something else")])
    assert sum(stayed(retriever)) == 0
