"""The way of a request through the core, over a store in memory and over stores that fail."""

import time
from collections.abc import Callable

import pytest

from askonce import Cache
from askonce.entries.entry import Answer, Hit, Miss
from askonce.keys.normal_form import NormalForm
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.support.application import Application, Both, lookup, update


def test_a_repeated_question_causes_one_call(both: Callable[..., Both]) -> None:
    app = both()
    assert [app.answer(), app.answer(), app.answer("when?")] == ["why?!", "exact: why?!", "when?!"]
    assert app.application.calls == 2


def test_savings_are_counted(both: Callable[..., Both], clock: FakeClock) -> None:
    app = both()
    app.application.delay = 0.02
    for question in ("why?", "why?", "why?", "when?"):
        app.answer(question)
    stats = app.application.cache.stats()
    assert (stats.hits, stats.misses, stats.stored, stats.errors) == (2, 2, 2, 0)
    assert (stats.entries, stats.hit_rate, stats.saved_tokens) == (2, 0.5, 30)
    assert stats.saved_seconds >= 0.04
    assert stats.saved_usd == pytest.approx(2 * (10 * 2.5e-6 + 5 * 10e-6))
    assert stats.size_bytes and stats.store == "up"


def test_answers_that_are_not_stored_count_as_spent(both: Callable[..., Both]) -> None:
    app = both()
    app.answer("and so on…")
    stats = app.application.cache.stats()
    assert (stats.stored, stats.not_stored_reasons) == (0, {"truncated": 1})
    assert stats.spent_usd == pytest.approx(10 * 2.5e-6 + 5 * 10e-6)
    assert (stats.spent_input_tokens, stats.spent_output_tokens) == (10, 5)


def test_errors_are_not_stored(both: Callable[..., Both]) -> None:
    app = both()
    app.application.fails = lambda call: call == 1
    with pytest.raises(RuntimeError, match="call 1"):
        app.answer()
    assert app.answer() == "why?!"


@pytest.mark.parametrize(("question", "option"), [("", "cache_empty"), ("…", "cache_truncated")])
def test_empty_and_truncated_answers_are_stored_only_by_option(
    both: Callable[..., Both], question: str, option: str
) -> None:
    def model(_: str) -> str:
        return question

    for options, expected in (({}, False), ({option: True}, True)):
        app = both(namespace=str(options), **options)
        app.application.model = model  # type: ignore[method-assign]

        async def amodel(_: str) -> str:
            return question

        app.application.amodel = amodel  # type: ignore[method-assign]
        app.answer("q")
        assert app.answer("q").startswith("exact") is expected
        assert app.application.cache.stats().not_stored == (0 if expected else 2)


def test_an_answer_that_cannot_be_packed_reaches_the_caller(store: MemoryStore) -> None:
    cache = Cache(store)
    application = Application(cache)

    def broken(_: str) -> Answer:
        raise TypeError("cannot be packed")

    assert cache.engine.answer(application.request("q"), lambda: "a", broken) == "a"
    assert cache.engine.answer(application.request("q"), lambda: "a", lambda _: None) == "a"
    assert cache.stats().not_stored == 2


def test_a_corrupt_entry_is_a_miss_and_is_replaced(both: Callable[..., Both], store: MemoryStore) -> None:
    app = both()
    app.answer()
    (record,) = [held.record for held in store._space("default").held.values()]
    store.put("default", [type(record)(record.key, b"\x01\x00" + record.key[:16] + b"garbage")])
    assert app.answer() == "why?!"
    assert app.answer() == "exact: why?!"
    assert app.application.cache.stats().corrupt == 1


def test_lookup_and_update_measure_the_call(store: MemoryStore) -> None:
    application = Application(Cache(store))
    assert lookup(application, "q") == Miss("absent")
    time.sleep(0.02)
    update(application, "q")
    hit = lookup(application, "q")
    assert isinstance(hit, Hit) and hit.entry.cost_seconds >= 0.02


@pytest.mark.parametrize("error", [ValueError("from __eq__"), RecursionError("too deep"), TypeError("unhashable")])
def test_a_request_that_cannot_be_read_is_not_cached(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def form() -> NormalForm:
        raise error

    with Cache("memory://") as cache:
        assert [cache.engine.request("answer", form) for _ in range(3)] == [None] * 3
        assert cache.stats().bypassed == 3
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
