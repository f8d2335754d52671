"""A cache that starts with what was answered in the past."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import BaseMessage, HumanMessage

from askonce import Cache, ConfigError, Semantic
from askonce.langchain import AskOnceCache, alearn, cached, learn
from askonce.semantic import ChatJudge
from tests.langchain.models.test_semantic import SYSTEM, FaqEmbeddings, FaqModel, semantic
from tests.semantic.faq import questions, topic_of


def messages(question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": str(SYSTEM.content)}, {"role": "user", "content": question}]


def answer(question: str) -> str:
    return f"About your {topic_of(question)}: see the page."


def past(count: int) -> list[tuple[list[dict[str, str]], str]]:
    return [(messages(question), answer(question)) for question in islice(questions(21), count)]


def new_questions(count: int) -> list[str]:
    first = set(islice(questions(21), 400))
    return list(islice((question for question in questions(22) if question not in first), count))


@pytest.fixture
def no_global_cache() -> Iterator[None]:
    yield
    set_llm_cache(None)


def hits_of(model: Any, cache: Cache, fresh: list[str]) -> int:
    """Semantic hits; each answer is right."""
    hits = 0
    for question in fresh:
        prompt: list[BaseMessage] = [SYSTEM, HumanMessage(question)]
        reply = model.invoke(prompt)
        assert reply.content == answer(question)
        hits += reply.response_metadata.get("askonce", {}).get("hit") == "semantic"
        cache.flush()
    return hits


@pytest.mark.parametrize("way", ["cached", "set_llm_cache"])
def test_the_first_requests_hit_after_learning(way: str, no_global_cache: None) -> None:
    with Cache("memory://", semantic=semantic()) as cache:
        plain = FaqModel()
        if way == "cached":
            model = cached(plain, cache)
            report = learn(model, past(400), cache)
        else:
            model = plain
            set_llm_cache(whole := AskOnceCache(cache))
            report = asyncio.run(alearn(plain, past(400), whole))
        stats = cache.stats()
        assert report.stored == report.compared == stats.stored > 300
        assert stats.semantic is not None and (stats.semantic.requests, stats.semantic.hits) == (0, 0)
        fresh = new_questions(200)
        assert hits_of(model, cache, fresh) > 60  # without: none before 200 answers were compared
        reply = model.invoke([SYSTEM, HumanMessage(past(1)[0][0][1]["content"])])
        assert (reply.content, reply.response_metadata["askonce"]["hit"]) == (past(1)[0][1], "exact")


def test_an_answer_that_is_there_stays_and_is_not_compared() -> None:
    with Cache("memory://", semantic=semantic()) as cache:
        model, question = cached(FaqModel(), cache), "how do I change my refund?"
        model.invoke([SYSTEM, HumanMessage(question)])
        report = learn(model, [(messages(question), "Not at all.")], cache)
        assert (report.stored, report.compared) == (0, 0)
        assert model.invoke([SYSTEM, HumanMessage(question)]).content == answer(question)


def test_the_judge_is_limited_and_its_calls_are_counted() -> None:
    judge = ChatJudge(FakeListChatModel(responses=["SAME"]))
    with Cache("memory://", semantic=Semantic(FaqEmbeddings(), judge=judge)) as cache:
        numbered = enumerate(islice(questions(3), 30))
        pairs = [(messages(question), f"{answer(question)} {number}") for number, question in numbered]
        report = learn(FaqModel(), pairs, cache, compared=10)
        assert report.compared == 10
        assert 10 <= report.judge_calls == judge.calls <= 60


def test_what_cannot_be_learned_from_is_refused() -> None:
    with Cache("memory://") as cache, pytest.raises(ConfigError, match="semantic"):
        learn(FaqModel(), past(1), cache)
    with Cache("memory://", semantic=semantic()) as cache, pytest.raises(ConfigError, match="pairs"):
        learn(FaqModel(), ["how do I change my refund?"], cache)  # type: ignore[list-item]


def test_a_failing_judge_is_reported_and_no_request_is_an_error() -> None:
    def fails(_: object) -> bool:
        raise RuntimeError("boom")

    with Cache("memory://", semantic=Semantic(FaqEmbeddings(), judge=fails)) as cache:
        report = learn(FaqModel(), past(30), cache)
        assert report.judge_failures == report.undecided > 10
        with pytest.raises(ConfigError, match="pairs of a request"):
            learn(FaqModel(), [(None, "an answer")], cache)  # type: ignore[list-item]
