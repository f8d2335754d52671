"""Which documents an answer was made from."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

from askonce.entries.entry import Source
from askonce.provenance.retrieval_context import (
    begin_retrieval_context,
    current_sources,
    end_retrieval_context,
    record_retrieval,
)
from tests.provenance.sources import part


def ids() -> list[str]:
    return [one for source in current_sources("s") for one in source.ids]


def fresh(test):  # type: ignore[no-untyped-def]
    """Run a test in a context of its own."""
    return lambda: contextvars.Context().run(test)


@fresh
def test_documents_reach_the_answer_that_comes_next() -> None:
    record_retrieval(part(1, "a", "b"), "s")
    record_retrieval(part(2, "b", "c"), "s")
    record_retrieval(part(1, "d"), "s")
    # Each as of its own position: had they the oldest, a change of "c" at 2 would concern what was found after it.
    assert current_sources("s") == (Source("c", 1, ("a", "b", "d")), Source("c", 2, ("b", "c")))


@fresh
def test_outside_a_run_a_retrieval_after_an_answer_begins_anew() -> None:
    record_retrieval(part(1, "a"), "s")
    assert ids() == ["a"] == ids()
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["b"]


@fresh
def test_within_a_run_documents_add_up_through_threads_and_contexts() -> None:
    assert begin_retrieval_context() is not None
    assert begin_retrieval_context() is None
    with ThreadPoolExecutor(1) as threads:
        threads.submit(contextvars.copy_context().run, record_retrieval, part(1, "a"), "s").result()
    assert ids() == ["a"]
    contextvars.copy_context().run(record_retrieval, part(1, "b"), "s")
    assert ids() == ["a", "b"]
    end_retrieval_context()
    assert ids() == []


@fresh
def test_an_answer_in_a_run_is_made_from_what_was_retrieved_before_it() -> None:
    record_retrieval(part(1, "a"), "s")
    begin_retrieval_context()
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["a", "b"]
    end_retrieval_context()
    begin_retrieval_context()
    assert ids() == ["a"]  # it may speak of what came before
    record_retrieval(part(1, "c"), "s")
    assert ids() == ["c"]
    end_retrieval_context()
    record_retrieval(part(1, "d"), "s")
    assert ids() == ["d"]


@fresh
def test_what_a_run_only_retrieved_reaches_the_answer_after_it() -> None:
    for question in ("a", "b"):
        for one in (question, question.upper()):
            begin_retrieval_context()
            record_retrieval(part(1, one), "s")
            end_retrieval_context()
        assert ids() == [question, question.upper()]


@fresh
def test_a_run_that_ends_in_another_context_has_ended() -> None:
    trail = begin_retrieval_context()
    record_retrieval(part(1, "a"), "s")
    contextvars.Context().run(end_retrieval_context, trail)
    assert ids() == ["a"]
    assert begin_retrieval_context() is not None
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["b"]


@fresh
def test_what_a_run_found_is_there_for_an_answer_that_is_still_being_made() -> None:
    trail = begin_retrieval_context()
    record_retrieval(part(1, "a"), "s")
    assert ids() == ["a"]
    end_retrieval_context(trail, answering=True)
    assert ids() == ["a"]
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["b"]


@fresh
def test_answers_in_another_store_know_nothing_of_a_corpus_that_it_cannot_follow() -> None:
    record_retrieval(part(1, "a"), "s")
    assert current_sources("another") == ()
    assert ids() == ["a"]


@fresh
def test_a_trail_does_not_grow_for_ever() -> None:
    begin_retrieval_context()
    for number in range(50):
        record_retrieval(part(number, *(f"{number}-{n}" for n in range(100))), "s")
    assert len(ids()) == 1000
    assert ids()[-1] == "49-99"
