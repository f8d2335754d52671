"""Semantic hits through LlamaIndex: every endpoint, `install`, and query engines over documents that change."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.base.response.schema import Response
from llama_index.core.llms import CustomLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from askonce import Cache, ConfigError, Corpus, Semantic
from askonce.llama_index import CachedRetriever, cached, install, learn
from tests.semantic.faq import NEW, TOPICS, embed, questions, topic_of
from tests.semantic.test_cache import equal
from tests.support.application import eventually


class FaqEmbedding(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


CALLS: list[str] = []
"""The prompts since a test began."""


class FaqLLM(CustomLLM):
    """Answers by the topic of the last question."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="faq")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        CALLS.append(prompt)
        question_text = prompt.rpartition("Query:")[2] if "Query:" in prompt else prompt
        return CompletionResponse(text=f"About your {topic_of(question_text)}: see the page.")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Iterator[CompletionResponse]:
        text = ""
        for word in self.complete(prompt).text.split(" "):
            text += f"{word} "
            yield CompletionResponse(text=text, delta=f"{word} ")


def semantic() -> Semantic:
    return Semantic(FaqEmbedding(model_name="faq"), max_error=0.05, judge=equal)


def messages(question: str) -> list[ChatMessage]:
    return [ChatMessage("You answer customers.", role="system"), ChatMessage(question)]


@pytest.fixture(scope="module")
def learned_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama_index") / "learned.db"
    with Cache(f"sqlite:///{path}", semantic=semantic()) as cache:
        llm = cached(FaqLLM(), cache)
        for question, _ in zip(questions(5), range(400), strict=False):
            llm.chat(messages(question))
            cache.flush()
    return path


@pytest.fixture
def cache(learned_file: Path, tmp_path: Path) -> Iterator[Cache]:
    CALLS.clear()
    with Cache(f"sqlite:///{shutil.copy(learned_file, tmp_path / 'cache.db')}", semantic=semantic()) as cache:
        eventually(lambda: (learned := cache.stats().semantic) is not None and learned.questions > 0)
        yield cache


async def _astream(llm: FaqLLM, question: str) -> ChatResponse:
    return [chunk async for chunk in await llm.astream_chat(messages(question))][-1]


REQUESTS: dict[str, Callable[[FaqLLM, str], ChatResponse]] = {
    "chat": lambda llm, question: llm.chat(messages(question)),
    "achat": lambda llm, question: asyncio.run(llm.achat(messages(question))),
    "stream_chat": lambda llm, question: list(llm.stream_chat(messages(question)))[-1],
    "astream_chat": lambda llm, question: asyncio.run(_astream(llm, question)),
}


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_a_question_in_other_words_is_answered(cache: Cache, endpoint: str) -> None:
    llm = cached(FaqLLM(), cache)
    answers = [REQUESTS[endpoint](llm, question) for question in NEW]
    marks = [answer.additional_kwargs.get("askonce", {}) for answer in answers]
    hits = [mark for mark in marks if mark.get("hit") == "semantic"]
    assert hits and len(CALLS) == len(NEW) - len(hits)
    texts = [str(answer.message.content) for answer in answers]
    assert all(topic_of(question) in one for question, one in zip(NEW, texts, strict=True))
    assert 0 < hits[0]["similarity"] < 1 and topic_of(hits[0]["question"]) != "something else"


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_a_miss_says_why_however_it_is_called(cache: Cache, endpoint: str) -> None:
    llm = cached(FaqLLM(), cache)
    fresh, again = (REQUESTS[endpoint](llm, "where is my parcel of yesterday?") for _ in range(2))
    mark = fresh.additional_kwargs["askonce"]
    assert mark["hit"] == "none" and mark["why"]
    assert again.additional_kwargs["askonce"]["hit"] == "exact" and "why" not in again.additional_kwargs["askonce"]


def test_a_wrong_response_is_dropped(cache: Cache) -> None:
    llm = cached(FaqLLM(), cache)
    answers = [llm.chat(messages(question)) for question in NEW]
    hit = next(one for one in answers if one.additional_kwargs["askonce"]["hit"] == "semantic")
    assert cache.feedback(hit, wrong=True)
    fresh = llm.chat(messages("where is my parcel?"))
    assert fresh.additional_kwargs["askonce"]["hit"] == "none"
    assert cache.feedback(fresh, wrong=True)
    assert "parcel" not in str(list(cache.entries()))


def test_installed_for_all_models(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_llm", "_embed_model"):
        monkeypatch.setattr(Settings, name, None)
    handle = install(cache)
    try:
        Settings.llm = FaqLLM()
        answers = [Settings.llm.chat(messages(question)) for question in NEW]
        assert any(one.additional_kwargs["askonce"]["hit"] == "semantic" for one in answers)
    finally:
        handle.uninstall()


class Notes(BaseRetriever):
    """Finds a note about the topic, and another one that depends on the words."""

    def __init__(self, notes: dict[str, str]) -> None:
        self.notes = notes
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        topic, names = topic_of(query_bundle.query_str), sorted(self.notes)
        other = names[len(query_bundle.query_str) % len(names)]
        found = [name for name in dict.fromkeys((topic, other)) if name in self.notes]
        return [NodeWithScore(node=TextNode(id_=name, text=self.notes[name]), score=1.0) for name in found]


def test_in_a_query_engine_the_question_is_found_and_answers_fall_with_their_documents(tmp_path: Path) -> None:
    with Cache(f"sqlite:///{tmp_path}/rag.db", semantic=semantic()) as cache:
        corpus = Corpus(cache)
        llm = cached(FaqLLM(), cache)
        retriever = CachedRetriever(
            Notes({topic: f"All about the {topic}." for topic in TOPICS}), corpus=corpus, name="notes"
        )
        engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=llm))
        for question, _ in zip(questions(6), range(400), strict=False):
            assert isinstance(engine.query(question), Response)
            cache.flush()
        assert cache.stats().semantic_hits > 20
        before = len(CALLS)
        corpus.changed(TOPICS)
        for question in NEW:
            engine.query(question)
        assert len(CALLS) == before + len(NEW)


def test_the_first_requests_hit_after_learning() -> None:
    system = {"role": "system", "content": "You answer customers."}
    with Cache("memory://", semantic=Semantic(FaqEmbedding(), max_error=0.05, judge=equal)) as cache:
        llm = cached(FaqLLM(), cache)
        past = [question for question, _ in zip(questions(21), range(400), strict=False)]
        pairs = [
            ([system, {"role": "user", "content": one}], f"About your {topic_of(one)}: see the page.")
            for one in past
        ]
        report = learn(llm, pairs, cache)
        assert 300 < report.stored == report.compared <= 400
        hits = 0
        for question, _ in zip(questions(22), range(150), strict=False):
            reply = llm.chat([ChatMessage(**system), ChatMessage(role="user", content=question)])
            assert topic_of(question) in str(reply.message.content)
            hits += reply.additional_kwargs.get("askonce", {}).get("hit") == "semantic"
            cache.flush()
        assert hits > 30


def test_what_install_returns_learns_too() -> None:
    settings = Semantic(FaqEmbedding(), max_error=0.05, judge=equal)
    with install("memory://", semantic=settings) as handle:
        report = learn(FaqLLM(), [([{"role": "user", "content": "where is my refund?"}], "It is sent.")], handle)
        assert report.stored == 1
        with pytest.raises(ConfigError, match="put it in a list"):
            learn(FaqLLM(), [({"role": "user", "content": "where is my refund?"}, "It is sent.")], handle)
