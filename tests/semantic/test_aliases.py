"""Aliases, and other references to a stored answer, never serve another answer than was judged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from askonce import Cache, Semantic, cache_options
from askonce.entries.entry import Answer, Hit
from askonce.errors import StoreUnavailable
from askonce.semantic import Comparison
from askonce.testing import FakeClock
from tests.semantic.faq import embed, form_of

DOG, SUNDAY = "may I bring my dog for the voucher?", "is the delivery open on Sunday?"
OPEN, SHUT = "Yes, of course, all year round.", "No, only on Mondays, and not in May."


def cache_of(**settings: Any) -> Cache:
    judge = settings.pop("judge", lambda one: one.fresh_answer == one.cached_answer)
    return Cache("memory://", semantic=Semantic(embed, model="words", judge=judge, max_error=0.5), **settings)


def answer_to(cache: Cache, question: str, answer: str, system: str = "You answer customers.") -> tuple[str, str]:
    """What was answered, and how it was found."""
    request = cache.engine.request("answer", lambda: form_of(question, system), semantic=True)
    assert request is not None
    found = cache.engine.answer(
        request,
        lambda: answer,
        lambda answer_text: Answer(f"{system}{answer_text}".encode(), answer_text=answer_text),
    )
    text = found.entry.payload.decode() if isinstance(found, Hit) else system + found
    return text.removeprefix(system), found.kind if isinstance(found, Hit) else "none"


def learn(cache: Cache, *answered: tuple[str, str]) -> None:
    for question, answer in answered:
        assert answer_to(cache, question, answer)[1] == "none"
        assert cache.flush()


def sure(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the rule serve whatever is near."""
    rule = cache.engine.flow.semantic._rule  # type: ignore[union-attr]
    monkeypatch.setattr("askonce.semantic.decision.rule.WARM_LABELS", 0)
    monkeypatch.setattr(rule, "_audit_probability", lambda *_: 0.02)
    monkeypatch.setattr("askonce.semantic.semantic_cache._coin", lambda: 0.5)
    monkeypatch.setattr(rule, "_aim", lambda: None)
    rule._threshold = 1.0


def test_an_alias_does_not_follow_a_replaced_answer() -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN), (DOG, OPEN))
        assert answer_to(cache, DOG, "never") == (OPEN, "exact")
        with cache_options(refresh=True):
            answer_to(cache, SUNDAY, SHUT)
        assert answer_to(cache, DOG, OPEN) == (OPEN, "none")


def test_an_alias_stays_valid_when_its_answer_is_replaced_by_an_equal_one() -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN), (DOG, OPEN))
        with cache_options(refresh=True):
            answer_to(cache, SUNDAY, OPEN)
        assert answer_to(cache, DOG, "never") == (OPEN, "exact")


def test_a_question_near_an_alias_does_not_get_the_replacement_of_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN), (DOG, OPEN))
        sure(cache, monkeypatch)
        near = f"{DOG[:-1]}, please?"
        with cache_options(refresh=True):
            answer_to(cache, SUNDAY, SHUT)
        assert answer_to(cache, near, OPEN)[0] == OPEN


def test_a_question_near_an_invalidated_alias_calls_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN))
        with cache_options(tags=["dogs"]):
            learn(cache, (DOG, OPEN))
        sure(cache, monkeypatch)
        assert answer_to(cache, f"{DOG[:-1]} today?", "never")[1] == "semantic"
        cache.invalidate("dogs")
        assert answer_to(cache, f"{DOG[:-1]} now?", SHUT) == (SHUT, "none")


def test_equal_answers_to_requests_of_other_kinds_are_stored_separately() -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN))
        request = cache.engine.request("answer", lambda: form_of(DOG, "Be short."), semantic=True)
        assert request is not None
        cache.engine.answer(request, lambda: OPEN, lambda text: Answer(b"in another format", answer_text=text))
        assert cache.flush()
        found = cache.engine.lookup(request)
        assert isinstance(found, Hit) and found.entry.payload == b"in another format"


def test_a_late_judgement_does_not_undo_a_refresh() -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def slow(comparison: Comparison) -> bool:
        at_work.set()
        go_on.wait(30)
        return comparison.fresh_answer == comparison.cached_answer

    with cache_of(judge=slow) as cache:
        go_on.set()
        learn(cache, (SUNDAY, OPEN))
        go_on.clear()
        answer_to(cache, DOG, OPEN)
        assert at_work.wait(30)
        with cache_options(refresh=True):
            answer_to(cache, DOG, SHUT)
        go_on.set()
        assert cache.flush()
        assert answer_to(cache, DOG, "never") == (SHUT, "exact")


@pytest.mark.parametrize("seen_by", ["the process that served it", "another process"])
def test_feedback_through_an_alias_deletes_the_wrong_answer(seen_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN), (DOG, OPEN))
        sure(cache, monkeypatch)
        near = f"{DOG[:-1]} today?"
        request = cache.engine.request("answer", lambda: form_of(near), semantic=True)
        assert request is not None
        hit = cache.engine.lookup(request)
        assert isinstance(hit, Hit) and hit.kind == "semantic"
        mark = hit.mark()
        if seen_by == "another process":
            mark["match"] = bytes(8).hex()
        assert cache.feedback(mark, wrong=True)
        assert list(cache.entries()) == []


def test_vectors_of_another_length_are_logged_and_the_model_is_called(caplog: pytest.LogCaptureFixture) -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN))
        shorter = Semantic(lambda text: embed(text)[:8], model="words", judge=lambda _: None)
        with Cache(cache.store, semantic=shorter) as other:
            assert answer_to(other, DOG, OPEN) == (OPEN, "none")
    assert "64 dimensions" in caplog.text


def _fill(cache: Cache, count: int) -> None:
    for number in range(count):
        answer_to(
            cache, f"what does article number {number} cost?", f"It costs {number * 7919} euros in all shops."
        )


@pytest.mark.parametrize("flush_after", [1000, 100])
def test_evicted_questions_leave_the_index_however_fast_new_ones_are_added(flush_after: int) -> None:
    with cache_of(max_entries=50) as cache:
        for _ in range(1000 // flush_after):
            _fill(cache, flush_after)
            assert cache.flush()
        assert cache.flush()
        stats = cache.stats()
        assert stats.entries == 50 and stats.semantic is not None and stats.semantic.questions is not None
        assert stats.semantic.questions <= 150


def test_a_refreshed_answer_is_shared_with_other_processes(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"

    def opened() -> Cache:
        return Cache(url, semantic=Semantic(embed, model="words", judge=lambda _: None))

    with opened() as other:
        learn(other, (DOG, OPEN))
        with opened() as cache, cache_options(refresh=True):
            answer_to(cache, SUNDAY, SHUT)
        assert other.flush()
        stats = other.stats().semantic
        assert stats is not None and stats.questions == 2


def test_a_closed_cache_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    cache = cache_of()
    cache.close()
    pause: Callable[[float], Any] = waited.append

    async def paused(_: object, seconds: float) -> None:
        pause(seconds)

    monkeypatch.setattr("askonce.concurrency.drivers.SyncDriver.pause", paused)
    assert answer_to(cache, DOG, OPEN) == (OPEN, "none")
    assert not waited


def test_stats_of_a_new_process_include_what_was_learned_before(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, semantic=Semantic(embed, model="words", judge=lambda _: False)) as cache:
        learn(cache, (SUNDAY, SHUT), (DOG, OPEN))
    with Cache(url, semantic=Semantic(embed, model="words", judge=lambda _: False)) as cache:
        stats = cache.stats().semantic
    assert stats is not None and stats.requests == 2 and stats.questions == 2


def test_there_is_no_decision_while_the_store_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN), (DOG, OPEN))
        sure(cache, monkeypatch)
        with monkeypatch.context() as down:
            down.setattr(cache.store, "get", _fail)
            assert answer_to(cache, f"{DOG[:-1]} today?", OPEN) == (OPEN, "none")
        stats = cache.stats().semantic
        assert stats is not None and stats.requests == 2 and stats.hits == 0


def _fail(*_: object) -> bytes:
    raise StoreUnavailable("down")


def test_reported_wrong_answers_count_in_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN), (DOG, OPEN))
        sure(cache, monkeypatch)
        near = f"{DOG[:-1]} today?"
        request = cache.engine.request("answer", lambda: form_of(near), semantic=True)
        assert request is not None
        hit = cache.engine.lookup(request)
        assert isinstance(hit, Hit) and cache.feedback(hit.mark(), wrong=True)
        stats = cache.stats().semantic
        assert stats is not None and stats.error_low <= stats.estimated_error <= stats.error_high
        assert stats.estimated_error == pytest.approx(1 / 3)


def test_an_equal_request_gets_its_own_answer_whatever_a_judge_says() -> None:
    with cache_of(judge=lambda _: True) as cache:
        learn(cache, (SUNDAY, OPEN), (DOG, SHUT))
        assert answer_to(cache, DOG, "never") == (SHUT, "exact")
        assert answer_to(cache, SUNDAY, "never") == (OPEN, "exact")


def test_an_alias_is_as_fresh_as_its_own_answer_was(clock: FakeClock) -> None:
    with cache_of(clock=clock) as cache:
        learn(cache, (SUNDAY, OPEN))
        clock.advance(100)
        learn(cache, (DOG, OPEN))
        with cache_options(ttl=50):
            assert answer_to(cache, DOG, "never") == (OPEN, "exact")


def test_an_answer_that_lives_longer_is_no_alias(clock: FakeClock) -> None:
    with cache_of(clock=clock) as cache:
        with cache_options(ttl=10):
            learn(cache, (SUNDAY, OPEN))
        learn(cache, (DOG, OPEN))
        clock.advance(20)
        assert answer_to(cache, DOG, "never") == (OPEN, "exact")
