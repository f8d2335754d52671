"""Retrievals are stored until the documents change, and answers have their sources."""

import asyncio
import dataclasses
import datetime
import http
import logging
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import (
    Document,
    QueryBundle,
    VectorStoreIndex,
)
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import ImageNode, IndexNode, Node, NodeRelationship, NodeWithScore, TextNode

from askonce import Cache, Corpus
from askonce.llama_index import CachedRetriever
from askonce.stores.base import Record
from askonce.testing import FakeClock
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS, Events
from tests.llama_index.retrieval.colours import (
    KINDS,
    Given,
    auto_merging,
    fusion,
    is_called,
    router,
    summary,
    vector,
)

pytestmark = [
    *LLAMA_INDEX_WARNINGS,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


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


class OwnNode(TextNode):
    """A node of the application's own class."""


@pytest.mark.parametrize(
    "node",
    [OwnNode(text="x"), TextNode(text="x", metadata={"thing": object})],
)
def test_what_would_not_come_back_is_passed_through_with_one_warning(
    node: TextNode, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Given([NodeWithScore(node=node)])
    retriever = CachedRetriever(inner, corpus=corpus, name="given")
    assert [retriever.retrieve("x")[0].node is node for _ in range(3)] == [True] * 3
    assert inner.calls == 3
    assert len([record for record in caplog.records if "is not cached" in record.message]) == 1


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
        uuid.UUID(int=7),
        Decimal("1.10"),
        (1, {2, 3}),
        {4: {"deep": (None, b"5")}},
        http.HTTPStatus.OK,
        np.float32(0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_of_everyday_types_comes_back_with_them(value: object, corpus: Corpus) -> None:
    source = Document(text="whole", id_="d", metadata={"value": value}).as_related_node_info()
    nodes: list[TextNode] = [
        TextNode(id_="t", text="x", metadata={"value": value}, relationships={NodeRelationship.SOURCE: source}),
        Document(id_="e", text="x", metadata={"value": [value]}, relationships={NodeRelationship.CHILD: [source]}),
    ]
    inner = Given([NodeWithScore(node=node, score=0.5) for node in nodes])
    retriever = CachedRetriever(inner, corpus=corpus, name="given")
    fresh, hit = retriever.retrieve("x"), retriever.retrieve("x")
    assert hit == fresh
    assert inner.calls == 1
    assert type(hit[0].node.metadata["value"]) is type(value)
    related = hit[0].node.source_node
    assert related is not None and type(related.metadata["value"]) is type(value)


def test_arrays_in_metadata_come_back(corpus: Corpus) -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    retriever = CachedRetriever(
        Given([NodeWithScore(node=TextNode(text="x", metadata={"at": array}))]), corpus=corpus, name="given"
    )
    retriever.retrieve("x")
    (found,) = retriever.retrieve("x")
    np.testing.assert_array_equal(found.node.metadata["at"], array, strict=True)
    assert corpus.cache.stats().hits == 1


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


def test_an_empty_result_is_cached_for_a_short_time(clock: FakeClock) -> None:
    corpus = Corpus(Cache("memory://", clock=clock))
    retriever = CachedRetriever(Given([]), corpus=corpus, name="given", empty_ttl=60)
    assert is_called(retriever, "x")
    assert not is_called(retriever, "x")
    clock.advance(61)
    assert is_called(retriever, "x")
    never = CachedRetriever(Given([]), corpus=corpus, name="never", empty_ttl=0)
    assert is_called(never, "x")
    assert is_called(never, "x")


def test_a_retriever_that_fails_is_called_again(corpus: Corpus) -> None:
    inner = Given(OSError("index is down"))
    retriever = CachedRetriever(inner, corpus=corpus, name="given")
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            retriever.retrieve("x")
    assert inner.calls == 2


async def test_a_store_that_is_down_or_corrupt_leaves_plain_retrieval(
    index: VectorStoreIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    inner = index.as_retriever()
    retriever = CachedRetriever(inner, url, corpus="colours")
    plain = inner.retrieve("red")
    retriever.retrieve("red")
    store = retriever.cache.store
    for one, _ in list(store.scan(retriever.cache.engine.namespace)):
        store.put(retriever.cache.engine.namespace, [Record(key=one, value=b"garbage")])
    assert retriever.retrieve("red") == plain
    store.close()
    with caplog.at_level(logging.CRITICAL):
        assert retriever.retrieve("red") == await retriever.aretrieve("red") == plain


unseen: list[NodeWithScore] = []


class Elsewhere(Given):
    """Finds what it does not hold."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return list(unseen)


def test_an_audit_finds_what_was_changed_past_the_corpus(corpus: Corpus) -> None:
    unseen[:] = [NodeWithScore(node=TextNode(id_=one, text=one), score=1.0) for one in ("red", "blue")]
    retriever = CachedRetriever(Elsewhere([]), corpus=corpus, name="given", audit=1)

    def audits(count: int) -> tuple[int, int]:
        deadline = time.monotonic() + 10
        while (stats := corpus.cache.stats()).audited < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return stats.audited, stats.audited_wrong

    def found() -> list[str]:
        return [one.node_id for one in retriever.retrieve("red")]

    assert found() == found() == ["red", "blue"]
    assert audits(1) == (1, 0)
    del unseen[0]
    assert found() == ["red", "blue"]
    assert audits(2) == (2, 1)
    assert found() == ["blue"]


class Doubles(BaseEmbedding):
    """Vectors of numbers that need all 64 bits."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [0.1 + len(text) / 7, 0.3 + text.count("a") / 3]

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def test_scores_equal_those_of_the_plain_retriever(corpus: Corpus) -> None:
    nodes = [TextNode(text=text, id_=text) for text in ("a", "banana", "cherry")]
    index = VectorStoreIndex(nodes, embed_model=Doubles())
    for k in (1, 2, 3):  # the question's vector is in the cache from the second on
        inner = index.as_retriever(similarity_top_k=k)
        retriever = CachedRetriever(inner, corpus=corpus)
        expected = [one.score for one in inner.retrieve("a banana")]
        assert [one.score for one in retriever.retrieve("a banana")] == expected


class Counted(Doubles):
    _calls: int = PrivateAttr(default=0)

    def _get_query_embedding(self, query: str) -> list[float]:
        self._calls += 1
        return self._get_text_embedding(query)


@pytest.mark.parametrize("make", [vector, fusion, auto_merging])
async def test_an_embedding_model_that_counts_its_calls_costs_no_hit(
    make: Callable[[VectorStoreIndex], BaseRetriever], corpus: Corpus
) -> None:
    nodes = [TextNode(text=text, id_=text) for text in ("a", "banana", "cherry")]
    retriever = CachedRetriever(make(VectorStoreIndex(nodes, embed_model=Counted())), corpus=corpus)
    for question in ("a", "banana", "a", "banana"):
        await retriever.aretrieve(question)
    assert corpus.cache.stats().kinds["retrieval"].hits == 2


async def test_the_text_of_a_node_is_stored_once_whatever_its_score(corpus: Corpus) -> None:
    nodes = [TextNode(text=f"{text} " + 3000 * text[0], id_=text) for text in ("a", "banana", "cherry")]
    index = VectorStoreIndex(nodes, embed_model=Doubles())
    inner = index.as_retriever(similarity_top_k=3)
    retriever = CachedRetriever(inner, corpus=corpus)
    for number in range(6):
        question = number * "a" + " banana"
        plain = inner.retrieve(question)
        assert plain == retriever.retrieve(question) == await retriever.aretrieve(question)
    entries = [*corpus.cache.entries()]
    stored = corpus.cache.stats().entries or 0
    assert stored == len(entries) + len(nodes)
    assert corpus.cache.stats().hits >= 6
    assert corpus.cache.invalidate("doc:banana") == 1
    assert retriever.retrieve("a banana") == inner.retrieve("a banana")
    assert corpus.cache.stats().kinds["retrieval"].misses == 7


@dataclasses.dataclass
class OfUser(QueryBundle):
    user: Any = ""


class Salaries(BaseRetriever):
    """Finds what the question's user may see."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        user = getattr(query_bundle, "user", None)
        return [NodeWithScore(node=TextNode(id_=str(user), text=f"salary of {user!r}"), score=1.0)]


@pytest.mark.parametrize("is_field", [True, False])
async def test_all_that_an_application_adds_to_a_question_counts(is_field: bool, corpus: Corpus) -> None:
    def question_of(user: Any) -> QueryBundle:
        query: Any = OfUser("salary?", user=user) if is_field else QueryBundle("salary?")
        query.user = user
        return query  # type: ignore[no-any-return]

    retriever = CachedRetriever(Salaries(), corpus=corpus, name="salaries")
    for user in ("ann", "bob", 1, 1.0, True, [1], (1,), {1}, frozenset({1}), None):
        for _ in range(2):
            assert retriever.retrieve(question_of(user))[0].text == f"salary of {user!r}"
        assert (await retriever.aretrieve(question_of(user)))[0].text == f"salary of {user!r}"
    assert corpus.cache.stats().hits == 20


def test_a_question_with_what_cannot_be_read_is_not_cached(
    corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    retriever = CachedRetriever(Salaries(), corpus=corpus, name="salaries")
    for _ in range(2):
        assert retriever.retrieve(OfUser("salary?", user=iter([])))
    assert corpus.cache.stats().stored == 0
    assert "iterator" in caplog.text
