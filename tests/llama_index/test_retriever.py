"""Retrievals are kept until the documents change, and answers know what they were made from."""

import asyncio
import contextvars
import copy
import gc
import logging
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import (
    Document,
    MockEmbedding,
    QueryBundle,
    StorageContext,
    SummaryIndex,
    VectorStoreIndex,
)
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.node_parser import HierarchicalNodeParser, SentenceSplitter, TokenTextSplitter, get_leaf_nodes
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import (
    AutoMergingRetriever,
    BaseRetriever,
    QueryFusionRetriever,
    RecursiveRetriever,
    RouterRetriever,
    TransformRetriever,
    VectorIndexRetriever,
)
from llama_index.core.schema import ImageNode, IndexNode, Node, NodeWithScore, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters, SimpleVectorStore
from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step

from askonce import Cache, ConfigError, Corpus
from askonce.llama_index import CachedRetriever, cached, watch
from askonce.llama_index.retrieval.runs import Runs
from askonce.provenance.retrieval_context import current_sources
from askonce.stores.base import Record
from askonce.testing import FakeClock
from tests.llama_index.conftest import Events

# LlamaIndex's own: in its workflows, and its chat memory never closes its database.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*aiosqlite:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TOPICS = ("red", "blue", "green", "gold")
embedded: list[str] = []


class Topics(BaseEmbedding):
    """How often a text speaks of each topic; what it was asked stands in `embedded`."""

    def _get_text_embedding(self, text: str) -> list[float]:
        words = re.findall(r"\w+", text.lower())
        return [words.count(topic) + 0.125 for topic in TOPICS]

    def _get_query_embedding(self, query: str) -> list[float]:
        embedded.append(query)
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def documents() -> list[Document]:
    texts = {"1": "red as fire", "2": "blue as the sea", "3": "green as grass, not red", "4": "gold and blue"}
    return [Document(id_=one, text=text, metadata={"n": int(one), "of": ["x"]}) for one, text in texts.items()]


@pytest.fixture
def index() -> VectorStoreIndex:
    embedded.clear()
    return VectorStoreIndex.from_documents(documents(), embed_model=Topics())


@pytest.fixture
def corpus(cache: Cache) -> Corpus:
    return Corpus(cache, name="colours")


async def apart(run: Coroutine[Any, Any, Any]) -> Any:
    """Run in a context in which nothing was retrieved."""
    return await asyncio.create_task(run, context=contextvars.Context())


def asked_anew(retriever: CachedRetriever, question: Any) -> bool:
    """Whether the retriever inside is asked."""
    before = retriever.cache.stats().misses
    retriever.retrieve(question)
    return retriever.cache.stats().misses > before


def doc_ids(nodes: list[NodeWithScore]) -> list[str | None]:
    return [found.node.ref_doc_id for found in nodes]


class TextStore(SimpleVectorStore):
    """A vector store that holds the documents itself, as servers do."""

    stores_text: bool = True
    collection_name: str = "texts"
    password: str = "secret"
    _texts: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, **names: str) -> None:
        super().__init__()
        for name, value in names.items():
            setattr(self, name, value)

    def add(self, nodes: Any, **kwargs: Any) -> list[str]:
        self._texts.update({node.node_id: node for node in nodes})
        return super().add(nodes, **kwargs)

    def query(self, query: Any, **kwargs: Any) -> Any:
        query.node_ids = query.node_ids or None
        result = super().query(query, **kwargs)
        result.nodes = [self._texts[one] for one in result.ids or []]
        return result


# -- what comes back -----------------------------------------------------------------------------------------------


def vector(index: VectorStoreIndex) -> BaseRetriever:
    return index.as_retriever(similarity_top_k=3)


def fusion(index: VectorStoreIndex) -> BaseRetriever:
    retrievers = [index.as_retriever(similarity_top_k=k) for k in (1, 3)]
    return QueryFusionRetriever(retrievers, llm=MockLLM(), num_queries=1, use_async=False, mode="reciprocal_rerank")


def auto_merging(index: VectorStoreIndex) -> BaseRetriever:
    text = Document(id_="long", text=" ".join(f"A red thing, the {n}th of many." for n in range(40)))
    splitters = {str(size): TokenTextSplitter(chunk_size=size, chunk_overlap=0) for size in (256, 64)}
    parser = HierarchicalNodeParser(node_parser_ids=["256", "64"], node_parser_map=splitters)
    nodes = parser.get_nodes_from_documents([text])
    storage = StorageContext.from_defaults()
    storage.docstore.add_documents(nodes)
    leaves = VectorStoreIndex(get_leaf_nodes(nodes), storage_context=storage, embed_model=Topics())
    return AutoMergingRetriever(leaves.as_retriever(similarity_top_k=6), storage)  # type: ignore[arg-type]


def router(index: VectorStoreIndex) -> BaseRetriever:
    tools = [RetrieverTool.from_defaults(index.as_retriever(), description="colours")]
    return RouterRetriever.from_defaults(tools, llm=MockFunctionCallingLLM(), selector=First())


def recursive(index: VectorStoreIndex) -> BaseRetriever:
    pointing = VectorStoreIndex([IndexNode(text="red things", index_id="inner")], embed_model=Topics())
    return RecursiveRetriever("root", {"root": pointing.as_retriever(), "inner": index.as_retriever()})


def pointing(index: VectorStoreIndex) -> BaseRetriever:
    to = IndexNode(text="red things", index_id="inner", obj=index.as_retriever(similarity_top_k=2))
    return VectorStoreIndex(objects=[to], embed_model=Topics()).as_retriever()


def summary(index: VectorStoreIndex) -> BaseRetriever:
    return SummaryIndex.from_documents(documents()).as_retriever()


def transforming(index: VectorStoreIndex) -> BaseRetriever:
    return TransformRetriever(index.as_retriever(), HyDEQueryTransform(llm=MockLLM()))


class First(BaseSelector):
    """Chooses the first tool."""

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...

    def _select(self, choices: Any, query: Any) -> SelectorResult:
        return SelectorResult(selections=[SingleSelection(index=0, reason="it is the first")])

    async def _aselect(self, choices: Any, query: Any) -> SelectorResult:
        return self._select(choices, query)


KINDS = [vector, fusion, auto_merging, router, recursive, pointing, summary, transforming]


@pytest.mark.parametrize("make", KINDS)
async def test_what_comes_back_equals_what_the_retriever_gave(
    make: Callable[[VectorStoreIndex], BaseRetriever], index: VectorStoreIndex, corpus: Corpus
) -> None:
    inner = make(index)
    retriever = CachedRetriever(inner, corpus=corpus, name="router" if make is router else None)
    plain = inner.retrieve("Something red?")
    assert plain
    fresh, hit, ahit = (
        retriever.retrieve("Something red?"),
        retriever.retrieve("something red"),
        await retriever.aretrieve("something RED!"),
    )
    assert plain == fresh == hit == ahit
    assert [found.node.hash for found in hit] == [found.node.hash for found in plain]
    assert [type(found.node) for found in hit] == [type(found.node) for found in plain]
    assert corpus.cache.stats().hits == 2


@pytest.mark.parametrize("make", [vector, fusion, auto_merging, summary])
async def test_asynchronous_retrieval_is_the_same(
    make: Callable[[VectorStoreIndex], BaseRetriever], index: VectorStoreIndex, corpus: Corpus
) -> None:
    inner = make(index)
    retriever = CachedRetriever(inner, corpus=corpus)
    results = await asyncio.gather(*(retriever.aretrieve("Something red?") for _ in range(5)))
    assert all(result == inner.retrieve("Something red?") for result in results)
    assert corpus.cache.stats().hits >= 4


def test_nodes_of_all_of_llama_indexs_classes_come_back(corpus: Corpus) -> None:
    nodes: list[Any] = [
        TextNode(id_="t", text="x", embedding=[0.1, 0.2], start_char_idx=3, excluded_llm_metadata_keys=["a"]),
        Node(id_="n", metadata={"a": {"b": [1, None, 2.5]}}),
        ImageNode(id_="i", text="x", image="aGk=", image_mimetype="image/png"),
        IndexNode(id_="p", text="x", index_id="elsewhere"),
        Document(id_="d", text="x"),
    ]
    given = [
        NodeWithScore(node=node, score=score) for node, score in zip(nodes, (0.5, None, 1, 0.0, -1), strict=True)
    ]
    retriever = CachedRetriever(Given(given), corpus=corpus, name="given")
    assert retriever.retrieve("x") == retriever.retrieve("x") == given
    assert corpus.cache.stats().hits == 1


class Given(BaseRetriever):
    """Finds what it was given, or raises it."""

    def __init__(self, found: Any) -> None:
        self.found, self.asked = found, 0
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return list(self.found)


class OwnNode(TextNode):
    """A node of the application's own class."""


@pytest.mark.parametrize(
    "node",
    [OwnNode(text="x"), TextNode(text="x", metadata={"when": (1, 2)}), TextNode(text="x", metadata={"o": {1: 2}})],
)
def test_what_would_not_come_back_is_passed_through_with_one_warning(
    node: TextNode, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Given([NodeWithScore(node=node)])
    retriever = CachedRetriever(inner, corpus=corpus, name="given")
    assert [retriever.retrieve("x")[0].node is node for _ in range(3)] == [True] * 3
    assert inner.asked == 3
    assert len([record for record in caplog.records if "is not cached" in record.message]) == 1


def test_hits_are_new_objects(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    retriever.retrieve("red")
    first = retriever.retrieve("red")
    first[0].score = 99.0
    first[0].node.metadata["n"] = "changed"
    assert retriever.retrieve("red") == index.as_retriever().retrieve("red")


def test_observers_see_a_hit_as_a_retrieval(index: VectorStoreIndex, corpus: Corpus, events: Events) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    retriever.retrieve("red")
    events.seen.clear()
    retriever.retrieve("red")
    assert events.names() == ["RetrievalStartEvent", "RetrievalEndEvent"]


# -- which questions are one ---------------------------------------------------------------------------------------


def test_a_hit_embeds_nothing_and_leaves_the_question_as_it_was(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    question = QueryBundle("What is red?")
    for _ in range(3):
        retriever.retrieve(question)
    assert embedded == ["What is red?"]
    assert question == QueryBundle("What is red?")


def test_after_an_addition_the_question_is_not_embedded_again(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    retriever.retrieve("red")
    corpus.added()
    assert asked_anew(retriever, "red")
    assert embedded == ["red"]


def test_what_is_asked_and_how_is_part_of_the_key(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    retriever.retrieve("What is red?")
    assert not asked_anew(retriever, " what  is “RED” ")
    for other in (
        "What is blue?",
        QueryBundle("What is red?", custom_embedding_strs=["blue"]),
        QueryBundle("What is red?", embedding=[0.0, 1.0, 0.0, 0.0]),
    ):
        assert asked_anew(retriever, other)
        assert not asked_anew(retriever, other)


def test_case_and_punctuation_count_if_wished(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus, ignore_case=False, ignore_punctuation=False)
    assert all(asked_anew(retriever, question) for question in ("red", "Red", "red?"))
    assert not asked_anew(retriever, " red ")


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
    assert all(asked_anew(CachedRetriever(one, corpus=corpus), "red") for one in retrievers)
    assert not any(asked_anew(CachedRetriever(one, corpus=corpus), "red") for one in retrievers)
    assert asked_anew(CachedRetriever(retrievers[0], corpus.cache, corpus="another"), "red")


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
    assert not asked_anew(retriever(password="other"), "red")
    assert asked_anew(retriever(collection_name="other"), "red")


def test_an_unknown_retriever_needs_a_name(index: VectorStoreIndex, corpus: Corpus) -> None:
    with pytest.raises(ConfigError, match=r"Given.*name="):
        CachedRetriever(Given([]), corpus=corpus)
    with pytest.raises(ConfigError, match="name="):
        CachedRetriever(QueryFusionRetriever([Given([])], llm=MockLLM()), corpus=corpus)
    found = [NodeWithScore(node=TextNode(text="x"))]
    assert asked_anew(CachedRetriever(Given(found), corpus=corpus, name="one"), "x")
    assert not asked_anew(CachedRetriever(Given(found), corpus=corpus, name="one"), "x")
    assert asked_anew(CachedRetriever(Given(found), corpus=corpus, name="other"), "x")


def test_a_corpus_in_another_store_is_refused(index: VectorStoreIndex, corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another store"):
        CachedRetriever(index.as_retriever(), "memory://", corpus=corpus)
    inner = CachedRetriever(index.as_retriever(), corpus=Corpus(corpus.cache, name="elsewhere"))
    with pytest.raises(ConfigError, match="another corpus"):
        CachedRetriever(QueryFusionRetriever([inner], llm=MockLLM()), corpus=corpus)
    url = f"sqlite:///{tmp_path}/cache.db"
    one = CachedRetriever(index.as_retriever(), url, corpus=Corpus(url), ttl=60)
    one.cache.close()


# -- changes -------------------------------------------------------------------------------------------------------


def test_a_deleted_document_takes_its_retrievals_along(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(similarity_top_k=1), corpus=corpus)
    retriever.retrieve("red")
    retriever.retrieve("blue")
    with watch(index, corpus):
        index.delete_ref_doc("1", delete_from_docstore=True)
    assert not asked_anew(retriever, "blue")
    assert asked_anew(retriever, "red")
    assert doc_ids(retriever.retrieve("red")) == ["3"]


def test_any_change_concerns_what_weighs_more_than_it_returns(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(fusion(index), corpus=corpus)
    retriever.retrieve("red")
    corpus.changed(["4"])
    assert asked_anew(retriever, "red")


def inserting(index: VectorStoreIndex) -> None:
    index.insert(Document(id_="9", text="red red red"))


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
    inner = VectorIndexRetriever(index, similarity_top_k=1)  # as_retriever() knows the nodes of now only
    retriever = CachedRetriever(inner, corpus=corpus)
    assert watch(index, corpus) and type(index).__name__ == "VectorStoreIndex"
    before = retriever.retrieve("red red red")
    if awaited:
        await asyncio.gather(*recorded(change, index))
    else:
        change(index)
    assert before != inner.retrieve("red red red") == retriever.retrieve("red red red")
    assert not asked_anew(retriever, "red red red")


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
def test_whatever_is_changed_and_asked_in_turn_nothing_stale_is_found(
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


def test_refreshing_what_has_not_changed_tells_nothing(index: VectorStoreIndex, corpus: Corpus) -> None:
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    retriever.retrieve("red")
    with watch(index, corpus):
        index.refresh_ref_docs(documents())
    assert not asked_anew(retriever, "red")


def test_indexes_without_vectors_are_watched_too(corpus: Corpus) -> None:
    index = SummaryIndex.from_documents(documents())
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    watch(index, corpus)
    retriever.retrieve("red")
    inserting(index)
    assert "9" in doc_ids(retriever.retrieve("red"))
    index.delete_ref_doc("9")
    assert "9" not in doc_ids(retriever.retrieve("red"))


def test_a_watched_object_is_told_of_no_more_when_undone_and_pickles_as_it_was(corpus: Corpus) -> None:
    store = SimpleVectorStore()
    node = TextNode(id_="1", text="red", embedding=[1.0])
    first, second = watch(store, corpus), watch(store, corpus)
    before = corpus.cache.position(corpus.log)
    first.undo()
    store.add([node])
    assert corpus.cache.position(corpus.log) == (before or 0) + 2  # of the second alone
    assert type(pickle.loads(pickle.dumps(store))) is SimpleVectorStore
    assert copy.deepcopy(store).to_dict() == store.to_dict()
    second.undo()
    store.delete("1")
    assert corpus.cache.position(corpus.log) == (before or 0) + 2
    with pytest.raises(ConfigError, match="watch"):
        watch(object(), corpus)  # type: ignore[arg-type]


async def test_a_watched_vector_store_tells_what_changed(corpus: Corpus) -> None:
    store = SimpleVectorStore()
    told: list[Any] = []

    def log() -> list[bytes]:
        events = corpus.cache.store.log_read(corpus.log, told[-1][0] if told else 0).events
        told.extend(events)
        return [event[:1] for _, event in events]

    watch(store, corpus)
    node = TextNode(id_="1", text="red", embedding=[1.0])
    store.add([node])
    assert log() == [b"-", b"+"]
    await store.async_add([node])
    assert log() == [b"-", b"+"]
    store.delete("1")
    await store.adelete("1")
    assert log() == [b"-", b"-"]
    store.delete_nodes(["1"])
    await store.adelete_nodes(["1"])
    assert log() == [b"-", b"-"]
    store.delete_nodes(filters=MetadataFilters(filters=[]))
    store.clear()
    assert log() == [b"*", b"*"]


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_watched_pipeline_tells_of_upserts_and_deletions(awaited: bool, corpus: Corpus) -> None:
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
    assert not asked_anew(retriever, "blue")
    await ingest([Document(id_="1", text="a changed text: blue blue blue"), *documents()[1:]])
    assert doc_ids(retriever.retrieve("blue")) == ["2"]
    assert doc_ids(retriever.retrieve("blue blue blue")) == ["1"]
    assert doc_ids(retriever.retrieve("red")) == ["3"]
    assert doc_ids(retriever.retrieve("green")) == ["3"]
    await ingest(documents()[:2])  # the others are gone
    assert doc_ids(retriever.retrieve("green")) != ["3"]


def test_a_change_that_fails_half_way_is_told(index: VectorStoreIndex, corpus: Corpus) -> None:
    class Failing(SimpleVectorStore):
        def add(self, nodes: Any, **kwargs: Any) -> list[str]:
            super().add(nodes, **kwargs)
            raise OSError("after the first batch")

    store = Failing()
    watch(store, corpus)
    with pytest.raises(OSError, match="batch"):
        store.add([TextNode(id_="1", text="red", embedding=[1.0])])
    events = corpus.cache.store.log_read(corpus.log, 0).events
    assert [event[:1] for _, event in events] == [b"-", b"+"]


def test_a_change_by_another_process_is_seen_at_the_next_retrieval(index: VectorStoreIndex, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    retriever = CachedRetriever(index.as_retriever(similarity_top_k=1), url, corpus="colours")
    retriever.retrieve("red")
    retriever.retrieve("blue")
    change = f"from askonce import Corpus; Corpus({url!r}, name='colours').changed(['1'])"
    subprocess.run([sys.executable, "-c", change], check=True)
    assert asked_anew(retriever, "red")
    assert not asked_anew(retriever, "blue")
    retriever.cache.close()


# -- sources -------------------------------------------------------------------------------------------------------


def sources_of(events: Events) -> set[str] | None:
    """The documents that the last hit among model calls shows; ``None`` if there was no hit."""
    hits = marks(events)
    return {one for one in hits[-1]["sources"] if len(one) == 1} if hits else None


def marks(events: Events) -> list[dict[str, Any]]:
    """The marks of the model calls that were hits."""
    ends = [event for event in events.seen if type(event).__name__ in ("LLMChatEndEvent", "LLMCompletionEndEvent")]
    found = [event.response.additional_kwargs.get("askonce") for event in ends if event.response is not None]
    return [mark for mark in found if mark]


@pytest.fixture
def retriever(index: VectorStoreIndex, corpus: Corpus) -> Iterator[CachedRetriever]:
    yield CachedRetriever(index.as_retriever(similarity_top_k=1), corpus=corpus)
    gc.collect()  # the chat memory's database, while its warning is ignored


async def query(retriever: CachedRetriever, llm: Any) -> None:
    RetrieverQueryEngine.from_args(retriever, llm=llm).query("red")


async def aquery(retriever: CachedRetriever, llm: Any) -> None:
    await RetrieverQueryEngine.from_args(retriever, llm=llm).aquery("red")


async def streamed_query(retriever: CachedRetriever, llm: Any) -> None:
    str(RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=True).query("red"))


async def streamed_aquery(retriever: CachedRetriever, llm: Any) -> None:
    response: Any = await RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=True).aquery("red")
    [part async for part in response.async_response_gen()]


async def chat(retriever: CachedRetriever, llm: Any) -> None:
    ContextChatEngine.from_defaults(retriever=retriever, llm=llm).chat("red")


async def achat(retriever: CachedRetriever, llm: Any) -> None:
    await CondensePlusContextChatEngine.from_defaults(retriever=retriever, llm=llm).achat("red")


async def streamed_chat(retriever: CachedRetriever, llm: Any) -> None:
    "".join(ContextChatEngine.from_defaults(retriever=retriever, llm=llm).stream_chat("red").response_gen)


async def streamed_achat(retriever: CachedRetriever, llm: Any) -> None:
    engine = CondensePlusContextChatEngine.from_defaults(retriever=retriever, llm=llm)
    response = await engine.astream_chat("red")
    [part async for part in response.async_response_gen()]


class RetrievedDocuments(Event):
    """What a step found."""

    nodes: list[Any]


async def workflow(retriever: CachedRetriever, llm: Any) -> None:
    class Rag(Workflow):
        @step
        async def find(self, event: StartEvent) -> RetrievedDocuments:
            return RetrievedDocuments(nodes=await retriever.aretrieve("red"))

        @step
        async def answer(self, event: RetrievedDocuments) -> StopEvent:
            return StopEvent(result=await llm.acomplete(f"red? {event.nodes[0].text}"))

    await Rag().run()


async def by_hand(retriever: CachedRetriever, llm: Any) -> None:
    nodes = retriever.retrieve("red")
    get_response_synthesizer(llm=llm).synthesize("red", nodes)


RUNS = [
    query, aquery, streamed_query, streamed_aquery, chat, achat, streamed_chat, streamed_achat, workflow, by_hand,
]  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
async def test_answers_know_their_sources_and_fall_with_them(
    run: Callable[[CachedRetriever, Any], Any], retriever: CachedRetriever, corpus: Corpus, events: Events
) -> None:
    llm = cached(MockLLM(), corpus.cache)
    await apart(run(retriever, llm))
    await apart(run(retriever, llm))
    assert sources_of(events) == {"1"}
    corpus.changed(["2"])
    events.seen.clear()
    await apart(run(retriever, llm))
    assert sources_of(events) == {"1"}
    corpus.changed(["1"])
    events.seen.clear()
    await apart(run(retriever, llm))
    assert sources_of(events) is None


def reply(messages: list[ChatMessage], **kwargs: Any) -> ChatMessage:
    """Calls the tool, then answers."""
    if any(message.role == MessageRole.TOOL for message in messages):
        return ChatMessage(role="assistant", content="It is red.")
    call = ToolCallBlock(tool_call_id="c1", tool_name="colours", tool_kwargs={"input": "red"})
    return ChatMessage(role="assistant", blocks=[call])


async def test_an_agents_answer_knows_what_its_tool_found(
    retriever: CachedRetriever, corpus: Corpus, events: Events
) -> None:
    model = MockFunctionCallingLLM(is_chat_model=True, response_generator=reply)
    llm = cached(model, corpus.cache)
    engine = RetrieverQueryEngine.from_args(retriever, llm=cached(MockLLM(), corpus.cache))
    tool = QueryEngineTool.from_defaults(engine, name="colours", description="of colours")

    async def ask() -> None:
        await FunctionAgent(tools=[tool], llm=llm).run("What is red?")

    await apart(ask())
    await apart(ask())
    assert sources_of(events) == {"1"}
    corpus.changed(["1"])
    events.seen.clear()
    await apart(ask())
    assert [mark.get("sources") for mark in marks(events)] == [None]  # the choice of the tool alone is kept


@pytest.mark.parametrize("run", [streamed_query, streamed_aquery, streamed_chat])
async def test_what_a_stream_asks_when_it_is_read_knows_its_sources(
    run: Callable[[CachedRetriever, Any], Any], corpus: Corpus, events: Events
) -> None:
    nodes = [TextNode(id_=one, text="red " * 2500) for one in "12"]  # more than one prompt can hold
    index = VectorStoreIndex(nodes, embed_model=Topics())
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    llm = cached(MockLLM(max_tokens=20), corpus.cache)
    await apart(run(retriever, llm))
    await apart(run(retriever, llm))
    assert len(marks(events)) > 1
    assert all(set(mark["sources"]) == {"1", "2"} for mark in marks(events))
    gc.collect()


async def test_runs_are_apart(retriever: CachedRetriever, corpus: Corpus, events: Events) -> None:
    llm = cached(MockLLM(), corpus.cache)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)

    async def ask() -> None:
        await asyncio.gather(*(engine.aquery(topic) for topic in TOPICS))
        engine.query("red")
        engine.query("blue")
        assert current_sources(corpus.cache._place) == ()

    await apart(ask())
    assert sources_of(events) == {"2"}
    assert len([one for one in get_dispatcher().span_handlers if isinstance(one, Runs)]) == 1


# -- faults --------------------------------------------------------------------------------------------------------


def test_nothing_found_is_believed_for_a_short_time(clock: FakeClock) -> None:
    corpus = Corpus(Cache("memory://", clock=clock))
    retriever = CachedRetriever(Given([]), corpus=corpus, name="given", empty_ttl=60)
    assert asked_anew(retriever, "x")
    assert not asked_anew(retriever, "x")
    clock.advance(61)
    assert asked_anew(retriever, "x")
    never = CachedRetriever(Given([]), corpus=corpus, name="never", empty_ttl=0)
    assert asked_anew(never, "x")
    assert asked_anew(never, "x")


def test_a_retriever_that_fails_is_asked_again(corpus: Corpus) -> None:
    inner = Given(OSError("index is down"))
    retriever = CachedRetriever(inner, corpus=corpus, name="given")
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            retriever.retrieve("x")
    assert inner.asked == 2


async def test_a_store_that_is_down_or_corrupt_leaves_plain_retrieval(
    index: VectorStoreIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    inner = index.as_retriever()
    retriever = CachedRetriever(inner, url, corpus="colours")
    plain = inner.retrieve("red")
    retriever.retrieve("red")
    store = retriever.cache.store
    for one, _ in list(store.scan(retriever.cache._own_namespace)):
        store.put(retriever.cache._own_namespace, [Record(key=one, value=b"garbage")])
    assert retriever.retrieve("red") == plain
    store.close()
    with caplog.at_level(logging.CRITICAL):
        assert retriever.retrieve("red") == await retriever.aretrieve("red") == plain
