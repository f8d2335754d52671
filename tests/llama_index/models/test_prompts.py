"""The question and the context are found in the templates of query and chat engines, however they are called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RetrieverQueryEngine

from askonce import Cache, Corpus, cache_options
from askonce.llama_index import CachedRetriever, cached
from askonce.semantic.config import Semantic
from tests.support.questions import Seen, ones, partitions, texts, watched

CARDS = ("Cards are free.", "Codes are sent by mail.", "Fees are due in May.", "Pins are set in the app.")
QUESTIONS = [f"What is the fee of card {one}?" for one in range(6)]
pytestmark = pytest.mark.filterwarnings("ignore:ChatMemoryBuffer:DeprecationWarning")


class Apart(MockEmbedding):
    """Each question finds another document."""

    def _get_query_embedding(self, query: str) -> list[float]:
        number = sum(map(ord, query)) % len(CARDS)
        return [float(number == at) for at in range(len(CARDS))]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(text.endswith(card)) for card in CARDS]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return watched(monkeypatch)


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://", semantic=Semantic(ones)) as cache:
        yield cache


class MockChat(MockLLM):
    """Takes messages, as chat models do."""

    @property
    def metadata(self) -> Any:
        return super().metadata.model_copy(update={"is_chat_model": True})


@pytest.fixture(params=[MockLLM, MockChat])
def llm(request: pytest.FixtureRequest, cache: Cache) -> Any:
    return cached(request.param(max_tokens=8), cache)


@pytest.fixture
def retriever(cache: Cache) -> CachedRetriever:
    documents = [Document(id_=str(at), text=text, metadata={"page": at}) for at, text in enumerate(CARDS)]
    index = VectorStoreIndex.from_documents(documents, embed_model=Apart(embed_dim=len(CARDS)))
    return CachedRetriever(index.as_retriever(similarity_top_k=1), cache, corpus=Corpus(cache), name="cards")


async def together(calls: list[Any]) -> list[Any]:
    return await asyncio.gather(*calls)


async def read(answer: Any) -> str:
    stream = await answer
    return "".join(
        [chunk async for chunk in (stream.async_response_gen() if hasattr(stream, "source_nodes") else stream)]
    )


TEMPLATE = PromptTemplate("Be brief.\nQuestion: {query_str}\nIn {language}.")
WAYS: dict[str, Callable[[Any, list[str]], Any]] = {
    "predict": lambda llm, questions: [llm.predict(TEMPLATE, query_str=one, language="Latin") for one in questions],
    "apredict": lambda llm, questions: asyncio.run(
        together([llm.apredict(TEMPLATE, query_str=one, language="Latin") for one in questions])
    ),
    "stream": lambda llm, questions: [
        "".join(llm.stream(TEMPLATE, query_str=one, language="Latin")) for one in questions
    ],
    "astream": lambda llm, questions: asyncio.run(
        together([read(llm.astream(TEMPLATE, query_str=one, language="Latin")) for one in questions])
    ),
    "partial": lambda llm, questions: [
        llm.predict(TEMPLATE.partial_format(query_str=one), language="Latin") for one in questions
    ],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_template_shows_the_question(way: Any, seen: Seen, llm: Any) -> None:
    way(llm, QUESTIONS)
    assert sorted(map(str, texts(seen))) == QUESTIONS
    assert len(partitions(seen)) == 1


def test_a_template_with_names_of_its_own_shows_it_too(seen: Seen, llm: Any) -> None:
    template = PromptTemplate("Question: {mine}", template_var_mappings={"query_str": "mine"})
    llm.predict(template, query_str="What is the fee?")
    assert texts(seen) == ["What is the fee?"]


class Fee(BaseModel):
    euros: int


def test_structured_answers_are_requested_with_the_question(seen: Seen, cache: Cache) -> None:
    llm = cached(MockChat(max_tokens=8), cache)
    with pytest.raises(ValueError, match=r"(?i)json|extract"):  # the mock speaks none
        llm.structured_predict(Fee, TEMPLATE, query_str="What is the fee?", language="Latin")
    assert texts(seen) == ["What is the fee?"]


def test_nothing_is_left_of_a_template_for_what_comes_after_it(seen: Seen, llm: Any) -> None:
    llm.predict(TEMPLATE, query_str="What is the fee?", language="Latin")
    llm.complete("Question: What is the fee?")
    llm.predict(PromptTemplate("{what}"), what="Question: What is the fee? ")
    assert texts(seen) == ["What is the fee?", None, None]
    with cache_options(question="fee of card 7"):
        llm.predict(TEMPLATE, query_str="What is the fee of card 7?", language="Latin")
    assert texts(seen[3:]) == ["fee of card 7"]


ENGINES: dict[str, Callable[[Any, str], Any]] = {
    "query": lambda engine, question: engine.query(question),
    "aquery": lambda engine, question: asyncio.run(engine.aquery(question)),
}


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize"])
@pytest.mark.parametrize("query", ENGINES.values(), ids=ENGINES)
def test_query_engines_show_the_question_and_a_context_of_tracked_documents(
    query: Any, mode: str, seen: Seen, llm: Any, retriever: CachedRetriever
) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm, response_mode=mode)
    for question in QUESTIONS:
        query(engine, question)
    assert texts(seen) == QUESTIONS
    assert len(partitions(seen)) == 1


def test_streaming_query_engines_show_it_too(seen: Seen, llm: Any, retriever: CachedRetriever) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=True)
    for question in QUESTIONS:
        assert "".join(engine.query(question).response_gen)
    assert texts(seen) == QUESTIONS
    assert len(partitions(seen)) == 1


def test_a_context_of_other_documents_must_be_equal(seen: Seen, llm: Any, retriever: CachedRetriever) -> None:
    engine = RetrieverQueryEngine.from_args(retriever.retriever, llm=llm)
    for question in QUESTIONS:
        engine.query(question)
    assert texts(seen) == QUESTIONS
    assert len(partitions(seen)) == len(CARDS)


def test_who_sees_other_documents_is_not_answered_from_these(
    seen: Seen, llm: Any, cache: Cache, retriever: CachedRetriever
) -> None:
    for question, name in zip(QUESTIONS, ("cards", "cards of Ann") * 3, strict=True):
        own = CachedRetriever(retriever.retriever, cache, corpus=retriever.corpus, name=name)
        RetrieverQueryEngine.from_args(own, llm=llm).query(question)
    assert texts(seen) == QUESTIONS
    assert len(partitions(seen)) == 2


@pytest.mark.parametrize("engine", [ContextChatEngine, CondensePlusContextChatEngine])
def test_chat_engines_show_the_question(engine: Any, seen: Seen, cache: Cache, retriever: CachedRetriever) -> None:
    llm = cached(MockChat(max_tokens=8), cache)
    for question in QUESTIONS:
        memory = ChatMemoryBuffer.from_defaults(llm=llm)
        engine.from_defaults(retriever=retriever, llm=llm, memory=memory).chat(question)
    assert texts(seen) == QUESTIONS
    assert len(partitions(seen)) == 1
    seen.clear()
    history = [ChatMessage("What is a card?"), ChatMessage("A piece of plastic.", role="assistant")]
    memory = ChatMemoryBuffer.from_defaults(llm=llm, chat_history=history)
    engine.from_defaults(retriever=retriever, llm=llm, memory=memory).chat("And what is the fee?")
    assert set(texts(seen)) == {None}
