"""Which questions are one."""

from pathlib import Path

import pytest
from llama_index.core import (
    MockEmbedding,
    QueryBundle,
    VectorStoreIndex,
)
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import (
    BaseRetriever,
    QueryFusionRetriever,
    VectorIndexRetriever,
)
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from askonce import ConfigError, Corpus
from askonce.llama_index import CachedRetriever
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS
from tests.llama_index.retrieval.colours import (
    Given,
    TextStore,
    Topics,
    documents,
    fusion,
    is_called,
    questions_embedded,
)

pytestmark = [
    *LLAMA_INDEX_WARNINGS,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_hit_embeds_nothing_and_leaves_the_question_as_it_was(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    question = QueryBundle("What is red?")
    for _ in range(3):
        retriever.retrieve(question)
    assert questions_embedded() == ["What is red?"]
    assert question == QueryBundle("What is red?")


def test_after_an_addition_the_question_is_not_embedded_again(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    retriever.retrieve("red")
    corpus.added()
    assert is_called(retriever, "red")
    assert questions_embedded() == ["red"]


def test_the_question_and_the_settings_are_part_of_the_key(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    retriever.retrieve("What is red?")
    assert not is_called(retriever, " what  is “RED” ")
    for other in (
        "What is blue?",
        QueryBundle("What is red?", custom_embedding_strs=["blue"]),
        QueryBundle("What is red?", embedding=[0.0, 1.0, 0.0, 0.0]),
    ):
        assert is_called(retriever, other)
        assert not is_called(retriever, other)


def test_case_and_punctuation_count_if_wished(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus, ignore_case=False, ignore_punctuation=False)
    assert all(is_called(retriever, question) for question in ("red", "Red", "red?"))
    assert not is_called(retriever, " red ")


def test_the_retrievers_settings_are_part_of_the_key(index: VectorStoreIndex, corpus: Corpus) -> None:
    blue = MetadataFilters(filters=[MetadataFilter(key="n", value=2)])
    green = MetadataFilters(filters=[MetadataFilter(key="n", value=3)])
    other = VectorStoreIndex.from_documents(documents(), embed_model=Topics())
    retrievers: list[BaseRetriever] = [
        index.as_retriever(),
        index.as_retriever(similarity_top_k=3),
        index.as_retriever(filters=blue),
        index.as_retriever(filters=green),
        index.as_retriever(doc_ids=["1"]),
        index.as_retriever(vector_store_query_mode="mmr"),
        index.as_retriever(vector_store_kwargs={"mmr_threshold": 0.5}),
        index.as_retriever(vector_store_kwargs={"tags": "a"}),
        index.as_retriever(vector_store_kwargs={"tags": "b"}),
        VectorIndexRetriever(index, embed_model=MockEmbedding(4)),
        other.as_retriever(),
        fusion(index),
        QueryFusionRetriever([index.as_retriever()], llm=MockLLM(), num_queries=1, use_async=False),
    ]
    assert all(is_called(CachedRetriever(one, corpus=corpus), "red") for one in retrievers)
    assert not any(is_called(CachedRetriever(one, corpus=corpus), "red") for one in retrievers)
    assert is_called(CachedRetriever(retrievers[0], corpus.cache, corpus="another"), "red")


def test_a_setting_changed_later_counts(index: VectorStoreIndex, corpus: Corpus) -> None:
    inner = index.as_retriever()
    retriever = CachedRetriever(inner, corpus=corpus)
    assert len(retriever.retrieve("red")) == 2
    inner.similarity_top_k = 3  # type: ignore[attr-defined]
    assert len(retriever.retrieve("red")) == 3


def test_an_index_over_a_store_of_documents_counts_by_its_store(corpus: Corpus) -> None:
    def retriever(**names: str) -> CachedRetriever:
        index = VectorStoreIndex.from_vector_store(TextStore(**names), embed_model=Topics())
        return CachedRetriever(index.as_retriever(), corpus=corpus)

    retriever().retrieve("red")
    assert not is_called(retriever(password="other"), "red")
    assert is_called(retriever(collection_name="other"), "red")


def test_an_unknown_retriever_needs_a_name(index: VectorStoreIndex, corpus: Corpus) -> None:
    with pytest.raises(ConfigError, match=r"Given.*name="):
        CachedRetriever(Given([]), corpus=corpus)
    with pytest.raises(ConfigError, match="name="):
        CachedRetriever(QueryFusionRetriever([Given([])], llm=MockLLM()), corpus=corpus)
    found = [NodeWithScore(node=TextNode(text="x"))]
    assert is_called(CachedRetriever(Given(found), corpus=corpus, name="one"), "x")
    assert not is_called(CachedRetriever(Given(found), corpus=corpus, name="one"), "x")
    assert is_called(CachedRetriever(Given(found), corpus=corpus, name="other"), "x")


def test_a_corpus_in_another_store_is_refused(index: VectorStoreIndex, corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another store"):
        CachedRetriever(index.as_retriever(), "memory://", corpus=corpus)
    inner = CachedRetriever(index.as_retriever(), corpus=Corpus(corpus.cache, name="elsewhere"))
    with pytest.raises(ConfigError, match="another corpus"):
        CachedRetriever(QueryFusionRetriever([inner], llm=MockLLM()), corpus=corpus)
    url = f"sqlite:///{tmp_path}/cache.db"
    one = CachedRetriever(index.as_retriever(), url, corpus=Corpus(url), ttl=60)
    one.cache.close()
