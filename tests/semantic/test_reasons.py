"""Why a question was not answered from the cache: in its mark, in the statistics, and once in the log."""

from __future__ import annotations

import logging
import threading
from itertools import count, islice
from typing import Any

import pytest

from askonce import Cache, ConfigError, Semantic
from askonce.semantic import Comparison
from askonce.semantic.learning.judges import Judge, Verdicts
from askonce.semantic.query import question_of
from askonce.semantic.reasons import Reasons
from askonce.semantic.types import Question
from tests.semantic.faq import Desk, embed, questions
from tests.semantic.test_cache import equal


def semantic(**settings: Any) -> Semantic:
    return Semantic(embed, max_error=0.05, judge=equal, **settings)


def dated(cache: Cache, number: int) -> Desk:
    return Desk(cache, f"You answer customers. It is {number} minutes past midnight. Be short.")


def test_a_miss_says_why_and_the_statistics_count_the_reasons() -> None:
    with Cache("memory://", semantic=semantic(skip=lambda question: "today" in question)) as cache:
        desk = Desk(cache)
        for question in ["where is my refund?", "is my refund late?", "what about my refund today?"]:
            desk.answer(question)
            cache.flush()
        marks = [cache.engine.mark_of_fresh(desk._request(question)) for question in
                 ["where is my refund?", "is my refund late?", "what about my refund today?"]]  # fmt: skip
        assert [mark and mark["why"] for mark in marks] == ["new partition", "learning", "skipped"]
        stats = cache.stats().semantic
        assert stats is not None
        assert stats.reasons == {"new partition": 1, "learning": 1, "skipped": 1}
        assert stats.partitions == 1 and stats.advice


def test_a_prompt_that_differs_each_time_is_logged_once_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    with Cache("memory://", semantic=semantic()) as cache, caplog.at_level(logging.WARNING, "askonce"):
        for number, question in zip(range(45), questions(3), strict=False):
            dated(cache, 100 + number).answer(question)
        stats = cache.stats().semantic
    assert stats is not None and stats.partitions == stats.reasons["new partition"] == 45
    assert stats.advice is not None and "ignore" in stats.advice
    (record,) = [record.message for record in caplog.records if "ignore" in record.message]
    assert "messages[0].content, from character 30" in record or "messages[0].content, from character 31" in record
    assert "midnight" not in caplog.text and "If no answer depends on" in record


def test_a_declared_part_of_the_prompt_need_not_be_equal(caplog: pytest.LogCaptureFixture) -> None:
    numbers = count()
    with Cache("memory://", semantic=semantic(ignore=r"It is \d+ minutes past midnight\.")) as cache:
        for question in islice(questions(3), 30):
            dated(cache, next(numbers)).answer(question)
            cache.flush()
        Desk(cache, "You answer others.").answer("where is my refund?")
        stats = cache.stats().semantic
    assert stats is not None and stats.partitions == 2
    assert stats.reasons["learning"] > 20
    assert not [record for record in caplog.records if "ignore" in record.message]


def raises(comparison: Comparison) -> bool:
    raise RuntimeError("boom")


def ends(comparison: Comparison) -> bool:
    raise SystemExit(1)


@pytest.mark.parametrize(
    ("judge", "fails", "advice"),
    [(raises, True, "the judge fails"), (ends, True, "the judge fails"), (lambda _: None, False, "no verdict")],
    ids=["raises", "ends the thread", "undecided"],
)
def test_a_judge_without_verdicts_is_counted_and_shown(judge: Judge, fails: bool, advice: str) -> None:
    with Cache("memory://", semantic=Semantic(embed, max_error=0.05, judge=judge)) as cache:
        for question in islice(questions(3), 20):
            Desk(cache).answer(question)
            assert cache.flush(5)
        stats = cache.stats().semantic
    assert stats is not None and stats.judged == stats.waiting == 0
    assert stats.undecided > 10
    assert stats.judge_failures == (stats.undecided if fails else 0)
    assert stats.advice is not None and advice in stats.advice


def test_a_judge_that_does_not_return_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askonce.semantic.reasons._LATE_SECONDS", 0.01)
    done = threading.Event()
    with Cache("memory://", semantic=Semantic(embed, max_error=0.05, judge=lambda _: done.wait(30))) as cache:
        try:
            for question in islice(questions(3), 10):
                Desk(cache).answer(question)
                learned = cache.flush(0.2)  # the first is indexed before the next
            assert not learned
            stats = cache.stats().semantic
        finally:
            done.set()
    assert stats is not None and stats.waiting > 5
    assert stats.advice is not None and "has not returned" in stats.advice


def test_embeddings_and_a_skip_that_raise_are_reasons() -> None:
    def fails(_: str) -> Any:
        raise RuntimeError("down")

    for settings, reason in (({"skip": fails}, "skip failed"), ({"embeddings": fails}, "embedding failed")):
        with Cache("memory://", semantic=Semantic(**{"embeddings": embed, "judge": equal, **settings})) as cache:
            desk = Desk(cache)
            for question in islice(questions(3), 3):
                desk.answer(question)
            mark = cache.engine.mark_of_fresh(desk._request(question))
            stats = cache.stats().semantic
        assert stats is not None and stats.reasons == {reason: 3}
        assert mark is not None and mark["why"] == reason
        assert stats.advice is not None and "log" in stats.advice


@pytest.mark.parametrize(("verdict", "shown"), [(True, False), (False, True)])
def test_the_advice_on_a_judge_that_calls_most_different_needs_one(verdict: bool, shown: bool) -> None:
    reasons, verdicts = Reasons(), Verdicts()
    reasons.add(b"", "doubtful")
    for _ in range(9):
        verdicts.add(verdict, failed=False)
    advice = reasons.report(verdicts, 0.0)[2]
    assert advice is not None and ("ChatJudge" in advice) is shown


def test_advice_is_on_what_is_in_the_way_now() -> None:
    reasons = Reasons()
    for reason in (*["new partition"] * 300, *["learning"] * 200):
        reasons.add(b"", reason)
    assert "first 200" in (reasons.report(Verdicts(), 0.0)[2] or "")
    for _ in range(20):
        reasons.add(b"", "doubtful")
    counts, _, advice = reasons.report(Verdicts(), 0.0)
    assert counts == {"new partition": 300, "learning": 200, "doubtful": 20}
    assert advice is not None and "not sure enough" in advice


def test_the_advice_on_a_judge_that_fails_often_is_not_that_it_always_does() -> None:
    reasons, verdicts = Reasons(), Verdicts()
    reasons.add(b"", "doubtful")
    for number in range(9):
        verdicts.add(True if number < 4 else None, failed=number >= 4)
    advice = reasons.report(verdicts, 0.0)[2]
    assert advice is not None and "fails" in advice and "nothing is served" not in advice


def test_ignore_is_a_regular_expression() -> None:
    with pytest.raises(ConfigError, match="ignore"):
        semantic(ignore="(")


def test_text_around_the_question_that_differs_each_time_is_named_with_what_helps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reasons = Reasons()
    with caplog.at_level(logging.WARNING, "askonce"):
        for number, text in zip(range(25), questions(3), strict=False):
            content = f"Context: secret {number}\nQuestion: {text}"
            body = {"kind": "chat", "messages": [{"role": "user", "content": content}]}
            question = question_of(body, "", question=text)
            assert isinstance(question, Question)
            reasons.is_new(question, body)
            reasons.add(bytes([number]), "new partition")
    _, partitions, advice = reasons.report(Verdicts(), 0.0)
    (record,) = [record.message for record in caplog.records]
    assert partitions == 25 and advice is not None
    for message in (record, advice):
        assert "messages[0], before the question" in message and "cached retriever" in message
        assert "ignore" not in message and "secret" not in message


def test_no_text_of_an_error_is_logged_and_a_failing_skip_is_named(caplog: pytest.LogCaptureFixture) -> None:
    def fails(text: str) -> Any:
        raise ValueError(f"too long: {text}")

    with caplog.at_level(logging.DEBUG, "askonce"):
        for settings in ({"skip": fails}, {"embeddings": fails}):
            with Cache(
                "memory://", semantic=Semantic(**{"embeddings": embed, "judge": equal, **settings})
            ) as cache:
                desk = Desk(cache)
                desk.answer("where is my refund?")
                desk.answer("where is my invoice?")
    assert "refund" not in caplog.text and "invoice" not in caplog.text
    assert "`skip=` raises: ValueError" in caplog.text
    assert "the embeddings raise: ValueError" in caplog.text
