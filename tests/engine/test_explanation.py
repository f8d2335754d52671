"""Why a request is a hit or a miss."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from askonce import Cache, ConfigError, Corpus, cache_options
from askonce.engine.explanation import Explanation
from askonce.entries.entry import Answer, RequestKind, Slice, Source
from askonce.keys.normal_form import NormalForm
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.semantic.test_aliases import DOG, OPEN, SUNDAY, cache_of, learn, sure
from tests.semantic.test_aliases import answer_to as answer_in_words
from tests.support.application import Application
from tests.support.stores import FailingStore


def explained(application: Application, question: str = "why?") -> Explanation:
    """The explanation; no model was called for it, and nothing counted but hits."""
    calls, before = application.calls, application.cache.stats()
    explanation = application.cache.explain(lambda: application.answer(question))
    after = application.cache.stats()
    assert application.calls == calls
    assert (after.misses, after.stored, after.bypassed) == (before.misses, before.stored, before.bypassed)
    return explanation


def invalidate(cache: Cache, clock: FakeClock) -> None:
    cache.invalidate("prices")


def clear(cache: Cache, clock: FakeClock) -> None:
    cache.clear()


def expire(cache: Cache, clock: FakeClock) -> None:
    clock.advance(101)


def evict(cache: Cache, clock: FakeClock) -> None:
    application = Application(cache)
    for number in range(3):
        clock.advance(1)
        application.answer(f"why {number}?")


def delete_elsewhere(cache: Cache, clock: FakeClock) -> None:
    cache.store.clear("default")


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (invalidate, "invalidated by the tag 'prices'"),
        (clear, "was deleted"),
        (expire, "has expired"),
        (evict, "probably evicted"),
        (delete_elsewhere, "by another process"),
    ],
)
def test_an_answer_that_is_no_longer_stored_is_explained(
    store: MemoryStore, clock: FakeClock, happens: Callable[[Cache, FakeClock], None], why: str
) -> None:
    with Cache(store, clock=clock, ttl=100, max_entries=3, eviction="lru") as cache:
        application = Application(cache)
        first = explained(application)
        assert (first.outcome, first.reason, first.stored) == ("miss", "absent", None)
        assert "this process has not made this request before" in first.why[0]
        with cache_options(tags=["prices"]):
            application.answer("why?")
        clock.advance(7)
        hit = explained(application)
        assert (hit.outcome, hit.reason, hit.key) == ("hit", "exact", first.key)
        assert hit.stored is not None
        assert (hit.stored.age_seconds, hit.stored.fresh_seconds) == (7, 93)
        assert (hit.stored.tags, hit.stored.model) == (("prices",), "gpt-4o")
        happens(cache, clock)
        gone = explained(application)
        assert (gone.outcome, gone.reason) == ("miss", "absent")
        assert why in gone.why[0], gone.why
        assert [one.type for one in gone.past] == ["miss", "stored"]


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lambda cache: cache.invalidate("doc:prices.pdf"), "was invalidated by the tag 'doc:prices.pdf'"),
        (lambda cache: cache.erase(source="prices.pdf"), "was probably erased"),
        (
            lambda cache: cache.store.delete_tag("default", "doc:prices.pdf"),
            "a document that its answer holds is gone",
        ),
    ],
)
def test_a_result_of_which_a_document_was_deleted_is_explained_by_that(
    store: MemoryStore, happens: Callable[[Cache], object], why: str
) -> None:
    with Cache(store) as cache:
        payload = b"a page of prices " * 60
        answer = Answer(payload, slices=(Slice(0, len(payload), ("prices.pdf",)),))

        def call() -> object:
            request = cache.engine.request("retrieval", lambda: NormalForm({"question": "prices"}))
            assert request is not None
            return cache.engine.answer(request, lambda: answer, lambda one: one)

        call()
        assert cache.explain(call).outcome == "hit"
        happens(cache)
        assert why in cache.explain(call).why[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda corpus: corpus.changed(["prices.pdf"]),
        lambda corpus: corpus.writing(["prices.pdf"], added=False).__enter__(),
    ],
)
def test_an_answer_is_outdated_also_where_the_change_deleted_it(
    store: MemoryStore, change: Callable[[Corpus], object]
) -> None:
    with Cache(store) as cache:
        corpus = Corpus(cache, name="prices")
        position = cache.engine.position(corpus.log)
        assert position is not None

        def call(ids: tuple[str, ...] = ("prices.pdf",), question: str = "prices") -> None:
            request = cache.engine.request("retrieval", lambda: NormalForm({"question": question}))
            assert request is not None
            answer = Answer(b"pages", sources=(Source(corpus.log, position.sequence, ids),))
            cache.engine.answer(request, lambda: answer, lambda one: one)

        call()
        call(("other.pdf",), "others")
        change(corpus)
        gone = cache.explain(call)
        assert (gone.reason, gone.differs) == ("outdated", ())
        assert gone.why == ("documents that the answer was made from have changed",)
        assert cache.explain(lambda: call(("other.pdf",), "others")).outcome == "hit"
        cache.clear()
        assert cache.explain(lambda: call(("other.pdf",), "others")).reason == "absent"


def test_the_same_question_is_more_similar_than_the_same_prompt(store: MemoryStore) -> None:
    def call(system: str, question: str, *more: str) -> None:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        messages += [{"role": "tool", "content": one} for one in more]
        request = cache.engine.request("answer", lambda: NormalForm({"messages": messages}))
        assert request is not None
        cache.engine.answer(request, lambda: "because", lambda text: Answer(text.encode()))

    with Cache(store) as cache:
        call("it is 10:00", "open?", "a result")
        call("it is 10:01", "how much?")
        nearest = cache.explain(lambda: call("it is 10:01", "open?"))
        assert nearest.differs == ("messages[0].content", "messages[2].content", "messages[2].role")


def test_an_expired_answer_is_reported_with_its_age(store: MemoryStore, clock: FakeClock) -> None:
    with Cache(store, clock=clock, ttl=100, stale_if_error=50) as cache:
        application = Application(cache)
        application.answer("why?")
        clock.advance(110)
        late = explained(application)
        assert (late.outcome, late.reason) == ("miss", "expired")
        assert late.stored is not None and late.stored.fresh_seconds == -10
        assert "a stale answer may be served" in " ".join(late.why)
        with cache_options(refresh=True):
            assert "refresh=True" in explained(application).why[0]
        with cache_options(bypass=True):
            bypassed = explained(application)
            assert (bypassed.outcome, bypassed.key) == ("bypassed", "")
            assert "bypass=True" in bypassed.why[0]


def test_an_answer_that_was_not_stored_is_reported_with_the_reason(store: MemoryStore) -> None:
    with Cache(store, cache_if=lambda _: False) as cache:
        application = Application(cache)
        application.answer("and then…")
        assert "not stored: it did not come to its proper end" in explained(application, "and then…").why[0]
    down = FailingStore()
    with Cache(down) as cache:
        application = Application(cache)
        application.answer("why?")
        down.failing = True
        assert explained(application).reason == "store down"


def test_a_request_is_compared_with_the_most_similar_one(store: MemoryStore) -> None:
    from askonce.entries.entry import Answer
    from askonce.keys.normal_form import NormalForm

    def answer_to(cache: Cache, **body: Any) -> None:
        request = cache.engine.request("answer", lambda: NormalForm(body, ("timeout",), "gpt-4o"))
        assert request is not None
        cache.engine.answer(request, lambda: "because", lambda text: Answer(text.encode()))

    with Cache(store) as cache:
        answer_to(cache, model={"name": "gpt-4o", "temperature": 0}, messages=["be brief", "why?"])
        answer_to(cache, model={"name": "gpt-4o", "temperature": 1}, messages=["be brief", "how?", "so"])
        answer_to(cache, model={"name": "gpt-4o", "temperature": 0, "tools": "more"}, messages=["be brief", "how?"])
        other = cache.explain(
            lambda: answer_to(cache, model={"name": "gpt-4o", "temperature": 0.7}, messages=["be brief", "why?"])
        )
        assert other.differs == ("model.temperature",)
        assert other.why[0] == "the same was requested of a model with other settings or tools"
        assert other.left_out == ("timeout",)
        agent = cache.explain(
            lambda: answer_to(
                cache, model={"name": "gpt-4o", "temperature": 1, "tools": "more"}, messages=["be brief", "why?"]
            )
        )
        assert agent.differs == ("model.temperature", "model.tools")  # the nearest is another question
        for part in ("model.temperature", other.key, "timeout", '"why?"', "miss (absent)"):
            assert part in str(other)
        with pytest.raises(ConfigError, match="no request to this cache"):
            cache.explain(lambda: None)
        with Cache(MemoryStore()) as another, pytest.raises(ConfigError):
            cache.explain(lambda: answer_to(another, messages=["why?"]))
        with pytest.raises(ZeroDivisionError):
            cache.explain(lambda: 1 / 0)

        async def call() -> None:
            answer_to(cache, messages=["why?"])

        with pytest.raises(ConfigError, match=r"await cache\.aexplain"):
            cache.explain(call)


def test_what_was_stored_under_another_key_is_named(store: MemoryStore) -> None:
    settings = {"temperature": 0.0}

    def request(kind: RequestKind = "answer") -> None:
        def form() -> NormalForm:
            return NormalForm({"kind": kind, **settings}, (), "gpt-4o")

        made = cache.engine.request(kind, form, digest=lambda: (form().digest(), "gpt-4o"))
        assert made is not None
        cache.engine.answer(made, lambda: "because", lambda text: Answer(text.encode()))

    with Cache(store) as cache:
        with cache_options(namespace="bob"):
            request("embedding")
            request()
        elsewhere = "it was answered in namespace 'default/bob', and namespaces share no entries"
        assert cache.explain(request).why[0] == elsewhere
        with cache_options(namespace="bob"):
            settings["temperature"] = 0.5
            changed = cache.explain(request)
            assert "before the object that it calls, or what that searches, was changed" in changed.why[0]
            assert changed.differs == ()
            request("embedding")
            assert cache.explain(lambda: request("retrieval")).differs == ()  # an embedding is not like it


def test_the_reason_is_reported_why_a_similar_question_is_no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    with cache_of() as cache:
        learn(cache, (SUNDAY, OPEN))
        near = cache.explain(lambda: answer_in_words(cache, DOG, "never"))
        assert near.nearest == SUNDAY and near.similarity is not None and abs(near.similarity) < 1
        assert "too few answers were compared" in near.why[1]
        requests = cache.stats().semantic.requests  # type: ignore[union-attr]
        sure(cache, monkeypatch)
        served = cache.explain(lambda: answer_in_words(cache, f"Please, {SUNDAY}", "never"))
        assert "would be served" in served.why[1], served.why
        assert cache.stats().semantic.requests == requests  # type: ignore[union-attr]


def test_a_large_request_is_not_held_when_it_was_answered(store: MemoryStore, clock: FakeClock) -> None:
    class Prompt:
        def __init__(self, text: str) -> None:
            self.text = text

        def form(self) -> NormalForm:
            return NormalForm({"messages": [self.text]})

    def answered(prompt: Prompt, many: bool) -> None:
        request = cache.engine.request("answer", prompt.form, digest=lambda: (prompt.form().digest(), "gpt-4o"))
        assert request is not None
        if many:
            cache.engine.store_many([request], [Answer(b"because")], 0.1)
        else:
            cache.engine.answer(request, lambda: "because", lambda text: Answer(text.encode()))

    def held(length: int, many: bool) -> bool:
        prompt = Prompt(f"{many}" * length)
        answered(prompt, many)
        cache.stats()  # takes what happened into the history
        reference = weakref.ref(prompt)
        del prompt
        gc.collect()
        return reference() is not None

    def why_missed(prompt: Prompt) -> str:
        clock.advance(101)
        return cache.explain(lambda: answered(prompt, False)).why[0]

    with Cache(store, clock=clock, ttl=100) as cache:
        assert [held(length, many) for length in (10, 100_000) for many in (False, True)] == [
            True,
            True,
            False,
            False,
        ]
        assert "and has expired" in why_missed(Prompt("False" * 100_000))  # what became of it is known all the same
