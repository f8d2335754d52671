"""Semantic hits through LangChain: models, streams, chains over retrieved documents, feedback."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough

from askonce import Cache, Corpus, Semantic
from askonce.langchain import AskOnceCache, CachedRetriever, cached
from tests.semantic.faq import NEW, TOPICS, embed, questions, topic_of
from tests.semantic.test_cache import equal
from tests.support.application import eventually

SYSTEM = SystemMessage("You answer customers.")


class FaqEmbeddings(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return embed(text).tolist()


class FaqModel(BaseChatModel):
    """Answers by the topic of the last message."""

    questions: ClassVar[list[str]] = []

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @property
    def _llm_type(self) -> str:
        return "faq"

    def _say(self, messages: list[BaseMessage]) -> str:
        prompt_text = str(messages[-1].content)
        self.questions.append(prompt_text)
        return f"About your {topic_of(prompt_text.rpartition('Question')[2])}: see the page."

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self._say(messages)))])

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for word in self._say(messages).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))


def semantic() -> Semantic:
    return Semantic(FaqEmbeddings(), max_error=0.05, judge=equal)


@pytest.fixture(scope="module")
def learned_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("langchain") / "learned.db"
    with Cache(f"sqlite:///{path}", semantic=semantic()) as cache:
        model = cached(FaqModel(), cache)
        for question, _ in zip(questions(5), range(400), strict=False):
            model.invoke([SYSTEM, HumanMessage(question)])
            cache.flush()
    return path


@pytest.fixture
def cache(learned_file: Path, tmp_path: Path) -> Iterator[Cache]:
    with Cache(f"sqlite:///{shutil.copy(learned_file, tmp_path / 'cache.db')}", semantic=semantic()) as cache:
        eventually(lambda: (learned := cache.stats().semantic) is not None and learned.questions > 0)
        yield cache


def _stream(model: BaseChatModel, messages: Sequence[BaseMessage]) -> BaseMessage:
    whole = None
    for chunk in model.stream(list(messages)):
        whole = chunk if whole is None else whole + chunk
    assert isinstance(whole, BaseMessage)
    return whole


async def _astream(model: BaseChatModel, messages: Sequence[BaseMessage]) -> BaseMessage:
    whole = None
    async for chunk in model.astream(list(messages)):
        whole = chunk if whole is None else whole + chunk
    assert isinstance(whole, BaseMessage)
    return whole


Call = Callable[[BaseChatModel, Sequence[BaseMessage]], BaseMessage]
CALLS: dict[str, Call] = {
    "invoke": lambda model, messages: model.invoke(list(messages)),
    "ainvoke": lambda model, messages: asyncio.run(model.ainvoke(list(messages))),
    "stream": _stream,
    "astream": lambda model, messages: asyncio.run(_astream(model, messages)),
}


@pytest.mark.parametrize("way", [*CALLS, "set_llm_cache"])
def test_a_question_in_other_words_is_answered(cache: Cache, way: str) -> None:
    FaqModel.questions.clear()
    model = cached(FaqModel(), cache) if way != "set_llm_cache" else FaqModel(cache=AskOnceCache(cache))
    call = CALLS.get(way, CALLS["invoke"])
    answers = [call(model, [SYSTEM, HumanMessage(question)]) for question in NEW]
    marks = [answer.response_metadata.get("askonce", {}) for answer in answers]
    hits = [mark for mark in marks if mark.get("hit") == "semantic"]
    assert hits and all(
        topic_of(question) in str(answer.content) for question, answer in zip(NEW, answers, strict=True)
    )
    assert len(FaqModel.questions) == len(NEW) - len(hits)
    assert 0 < hits[0]["similarity"] < 1 and topic_of(hits[0]["question"]) != "something else"


@pytest.mark.parametrize("way", CALLS)
def test_a_miss_says_why_however_it_is_called(cache: Cache, way: str) -> None:
    model, request = cached(FaqModel(), cache), [SYSTEM, HumanMessage("where is my parcel of yesterday?")]
    fresh, again = (CALLS[way](model, request) for _ in range(2))
    assert fresh.content == again.content
    mark = fresh.response_metadata["askonce"]
    assert mark["hit"] == "none" and mark["why"]
    assert again.response_metadata["askonce"]["hit"] == "exact" and "why" not in again.response_metadata["askonce"]
    assert cache.feedback(fresh, wrong=True)


def test_a_wrong_response_is_dropped(cache: Cache) -> None:
    model = cached(FaqModel(), cache)
    answers = [model.invoke([SYSTEM, HumanMessage(question)]) for question in NEW]
    hit = next(one for one in answers if one.response_metadata["askonce"]["hit"] == "semantic")
    assert cache.feedback(hit, wrong=True)
    again = model.invoke([SYSTEM, HumanMessage(hit.response_metadata["askonce"]["question"])])
    assert again.response_metadata["askonce"]["hit"] in ("none", "semantic")
    fresh = model.invoke([SYSTEM, HumanMessage("where is my parcel?")])
    assert fresh.response_metadata["askonce"]["hit"] == "none"
    assert cache.feedback(fresh, wrong=True)
    assert "parcel" not in str(list(cache.entries()))


def test_other_conversations_and_tools_are_apart(cache: Cache) -> None:
    def hits(model: Any, before: list[BaseMessage]) -> int:
        answers = [model.invoke([*before, HumanMessage(question)]) for question in NEW]
        return sum(one.response_metadata["askonce"]["hit"] == "semantic" for one in answers)

    model = cached(FaqModel(), cache)
    assert hits(model, [SystemMessage("You are a pirate.")]) == 0
    assert hits(model, [SYSTEM, HumanMessage("I am from Spain."), AIMessage("Hello!")]) == 0
    assert hits(model.bind(temperature=0.9), [SYSTEM]) == 0


class Notes(BaseRetriever):
    """Finds a note about the topic, and another one that depends on the words."""

    notes: dict[str, str]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        topic = topic_of(query)
        other = sorted(self.notes)[len(query) % len(self.notes)]
        return [Document(self.notes[name], id=name) for name in dict.fromkeys((topic, other)) if name in self.notes]


def test_in_a_chain_the_question_is_found_and_answers_fall_with_their_documents(tmp_path: Path) -> None:
    notes = {topic: f"All about the {topic}, first edition." for topic in TOPICS}
    with Cache(f"sqlite:///{tmp_path}/rag.db", semantic=semantic()) as cache:
        corpus = Corpus(cache)
        retriever = CachedRetriever(Notes(notes=notes), corpus=corpus)
        model = FaqModel()
        prompt = ChatPromptTemplate.from_messages(
            [("system", "Answer from the context."), ("human", "Context: {context}\nQuestion: {question}")]
        )
        chain = (
            {
                "context": retriever | (lambda found: "\n".join(one.page_content for one in found)),
                "question": RunnablePassthrough(),
            }
            | prompt
            | cached(model, cache)
            | StrOutputParser()
        )
        for question, _ in zip(questions(6), range(400), strict=False):
            chain.invoke(question)
            cache.flush()
        stats = cache.stats()
        assert stats.semantic_hits > 20
        before = len(FaqModel.questions)
        corpus.changed(TOPICS)
        for question in NEW:
            chain.invoke(question)
        assert len(FaqModel.questions) == before + len(NEW)
